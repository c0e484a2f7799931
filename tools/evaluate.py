"""Judge a run: classification, pose, tracking, for the invariant part, the equivariant part, and both.

    python tools/evaluate.py checkpoint=runs/vsie-turntable64-T4-seed0
    python tools/evaluate.py checkpoint=RUN protocol=[tracking] out=judged
    python tools/evaluate.py checkpoint=RUN protocol=[rotation,mrr,pre] out=judged
    python tools/evaluate.py checkpoint=RUN compat=sie protocol=[classification,rotation,colour,pre,mrr]   # as SIE released them
    python tools/evaluate.py checkpoint=RUN protocol=[seis,ladder,leakage,dci,erasure,lie] out=known
    python tools/evaluate.py checkpoint=RUN data=OTHER/manifest.csv out=judged_elsewhere
    python tools/evaluate.py checkpoint=RUN ood=DIR out=judged_ood           # 3DIEBench: held-out rotations
"""

from __future__ import annotations

from vsie.config import EvaluateConfig, hydra_main


@hydra_main("evaluate", EvaluateConfig)
def main(config: EvaluateConfig) -> float | None:
    from pathlib import Path

    import torch

    from vsie.pipeline import evaluate

    out = Path(config.out or config.checkpoint)
    if config.out and not config.compat and (out / "metrics.json").exists() and not config.overwrite:
        raise FileExistsError(f"{out / 'metrics.json'} exists; overwrite=true replaces it")
    protocols = [config.protocol] if isinstance(config.protocol, str) else config.protocol
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    metrics = evaluate(
        Path(config.checkpoint), protocols=protocols, compat=config.compat, out=out, data=config.data, ood=config.ood,
        seed=config.seed, device=device,
    )  # fmt: skip
    return metrics.get(config.metric) if config.metric else None


if __name__ == "__main__":
    main()
