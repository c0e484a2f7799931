"""Train and evaluate: renders turntable clips when no data is given.

    python tools/train.py                                        # the default run, about 20 minutes on 2 cores
    python tools/train.py experiment=debug                       # the whole job at toy size, under a minute
    python tools/train.py method=sie seed=1 out=runs/my_sie
"""

from __future__ import annotations

from vsie.config import TrainConfig, hydra_main


@hydra_main("train", TrainConfig)
def main(config: TrainConfig) -> None:
    from vsie.pipeline import train
    from vsie.training.loop import Interrupted

    try:
        train(config)
    except Interrupted as stopped:
        print(stopped)


if __name__ == "__main__":
    main()
