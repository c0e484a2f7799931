"""Judge a run, any encoder, or features made elsewhere: what do the invariant part, the equivariant part, and both know?

    python tools/evaluate.py checkpoint=runs/vsie-turntable64-T4-seed0 overwrite=true   # what it holds already is replaced
    python tools/evaluate.py checkpoint=RUN protocol=[tracking] out=judged
    python tools/evaluate.py checkpoint=RUN protocol=[rotation,mrr,pre] out=judged
    python tools/evaluate.py checkpoint=RUN compat=sie protocol=[classification,rotation,colour,pre,mrr]   # as SIE released them
    python tools/evaluate.py checkpoint=RUN protocol=[seis,ladder,leakage,dci,erasure,lie,correlation,layers,position] out=known
    python tools/evaluate.py checkpoint=RUN data=OTHER/manifest.csv out=judged_elsewhere
    python tools/evaluate.py checkpoint=RUN ood=DIR out=judged_ood           # 3DIEBench: held-out rotations
    python tools/evaluate.py checkpoint=RUN data=DIR views=8 out=judged_8    # another folder in 3DIEBench's layout, of 8 views
    python tools/evaluate.py encoder=torchvision/resnet18 size=224 out=judged_resnet     # weights=FILE, or weights=random
    python tools/evaluate.py encoder=FILE.pt2 data=FOLDER out=judged_exported            # a file of torch.export.save
    python tools/evaluate.py features=FILE.npz out=judged_features                       # its keys: vsie/features_file.py
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import EvaluateConfig


@hydra_main("evaluate")
def main(config: EvaluateConfig) -> float | None:
    from pathlib import Path

    from vsie import judging
    from vsie.components import nearest
    from vsie.features import device_of
    from vsie.pipeline import evaluate

    subject = {"checkpoint": config.checkpoint, "encoder": config.network, "features": config.features}
    given = [name for name, value in subject.items() if value]
    if len(given) != 1:
        raise ValueError(f"give one of checkpoint=RUN, encoder=NAME, features=FILE.npz; found {', '.join(given) or 'none'}")
    of_encoder = {"weights": config.weights, "size": config.size, "frames": config.frames}
    of_run = {"compat": config.compat, "ood": config.ood}
    of_data = {"data": config.manifest, "views": config.views}
    unused = {"checkpoint": of_encoder, "encoder": of_run, "features": {**of_encoder, **of_run, **of_data}}
    wrong = [name for name, value in unused[given[0]].items() if value is not None]
    if wrong:
        raise ValueError(f"{wrong[0]}={unused[given[0]][wrong[0]]} does not go with {given[0]}=")
    if not config.checkpoint and not config.out:
        raise ValueError(f"out is missing: with {given[0]}= there is no run folder that results could go to")
    out = Path(config.out or config.checkpoint)
    elsewhere = bool(config.manifest or config.ood)  # its figures are not to be mixed with those of the run's own data
    adds = config.compat and not (elsewhere and not config.out)
    if (out / "metrics.json").exists() and not config.overwrite and not adds:
        raise FileExistsError(f"{out / 'metrics.json'} exists; overwrite=true replaces it")
    protocols = [config.protocol] if isinstance(config.protocol, str) else config.protocol
    shared = {"protocols": protocols, "out": out, "seed": config.seed, "device": device_of(config.device)}
    if config.network:
        metrics = judging.judge_encoder(config.network, **of_data, **of_encoder, **shared)
    elif config.features:
        metrics = judging.judge_features(config.features, **shared)
    else:
        keep = bool(config.compat) and not (elsewhere and config.overwrite)
        metrics = evaluate(Path(config.checkpoint), **of_data, **of_run, **shared, keep=keep)
    if config.metric and metrics and config.metric not in metrics:
        print(f"metric={config.metric} was not measured{nearest(config.metric, metrics)}")
    return metrics.get(config.metric) if config.metric else None


if __name__ == "__main__":
    main()
