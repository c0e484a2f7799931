"""Judge a run: classification, pose, tracking, for the invariant part, the equivariant part, and both.

    python tools/evaluate.py checkpoint=runs/vsie-turntable64-T4-seed0
    python tools/evaluate.py checkpoint=RUN protocol=[tracking] out=judged
    python tools/evaluate.py checkpoint=RUN protocol=[seis,ladder,leakage,dci,erasure,lie] out=known
    python tools/evaluate.py checkpoint=RUN data=OTHER/manifest.csv out=judged_elsewhere
    python tools/evaluate.py checkpoint=RUN ood=DIR out=judged_ood           # 3DIEBench: held-out rotations
"""

from __future__ import annotations

from vsie.config import EvaluateConfig, hydra_main


@hydra_main("evaluate", EvaluateConfig)
def main(config: EvaluateConfig) -> None:
    from pathlib import Path

    from vsie.pipeline import evaluate

    out = Path(config.out or config.checkpoint)
    if config.out and (out / "metrics.json").exists() and not config.overwrite:
        raise FileExistsError(f"{out / 'metrics.json'} exists; overwrite=true replaces it")
    evaluate(
        Path(config.checkpoint), protocols=config.protocol, out=out, data=config.data, ood=config.ood, seed=config.seed
    )  # fmt: skip


if __name__ == "__main__":
    main()
