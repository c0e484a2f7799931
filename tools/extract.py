"""Features for downstream video tasks: one invariant vector per clip, one equivariant vector per step.

Of a method that does not split its latent (vicreg, simclr, ...) all of it per step: `features`.

    python tools/extract.py checkpoint=RUN manifest=video.mp4 out=features.npz
    python tools/extract.py checkpoint=RUN manifest=FOLDER out=features.parquet frames=8 stride=4
    python tools/extract.py checkpoint=RUN manifest=manifest.csv split=val out=val.npz overwrite=true
    python tools/extract.py checkpoint=RUN manifest=FOLDER out=clean.npz eraser=leace-basis
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import ExtractConfig


@hydra_main("extract")
def main(config: ExtractConfig) -> None:
    from pathlib import Path

    from vsie.extraction import extract

    windows, skipped = extract(
        Path(config.checkpoint), Path(config.manifest), Path(config.out), split=config.split, frames=config.frames,
        spacing=config.spacing, stride=config.stride, size=config.size, batch=config.batch, overwrite=config.overwrite,
        eraser=config.eraser, device=config.device, allowed_share=config.allowed_skips,
    )  # fmt: skip
    print(f"{config.out}: {windows} windows" + (f", {skipped} videos skipped (see {config.out}.skipped.csv)" if skipped else ""))


if __name__ == "__main__":
    main()
