"""Render turntable clips (when no data is given), train, evaluate, report.

    python tools/train.py                                        # render, train, evaluate, report; 20 to 50 minutes
    python tools/train.py experiment=debug                       # the whole job at toy size
    python tools/train.py method=sie seed=1                      # another method, another seed
    python tools/train.py data=videos data.root=DIR out=runs/my  # your own clips: a manifest.csv with poses
    python tools/train.py data=videos data.root=DIR motion=estimated   # a folder of videos that nobody labelled
    python tools/train.py -m method=vsie,sie,vicreg seed=0,1,2   # a sweep
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import TrainConfig


@hydra_main("train")
def main(config: TrainConfig) -> float | None:
    from vsie.config import swept
    from vsie.pipeline import measured, run_folder, train
    from vsie.training.loop import Interrupted

    if (varied := swept()) and not config.out:
        config.out = str(run_folder(config, varied))
    try:
        run = train(config)
    except Interrupted as stopped:
        print(stopped)
        raise SystemExit(0) from None  # of a sweep, too: the runs that are left are started by the same command
    return measured(run, config.metric) if config.protocol else None


if __name__ == "__main__":
    main()
