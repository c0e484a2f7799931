"""Render clips of turning objects with exact poses, as a data set that tools/train.py and vsie.data read.

    python tools/render.py out=data/tiny objects=32 clips_per_object=2 size=64    # seconds, on any machine
    python tools/render.py out=data/turntable objects=5000 size=128 workers=8     # Ctrl-C, then again: it continues
    python tools/render.py out=data/bench layout=3diebench objects=5000 size=128  # 50 views of each, as 3DIEBench is released
    python tools/render.py sheet=sheet.png                                        # a look at all families

On many machines give each its part: shard=0/4 ... shard=3/4 with the same out. See configs/render.yaml for all keys.
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.render.dataset import parse_shard, render_dataset
from vsie.schemas import RenderConfig


@hydra_main("render")
def main(config: RenderConfig) -> None:
    """Write the contact sheet, or the data set."""
    if config.sheet is not None:
        from vsie.render import sheet

        print(sheet.write(config.sheet, families=config.families, seed=config.seed))
        return
    if config.out is None:
        raise ValueError("out is missing: give the folder of the data set, for example out=data/turntable")
    manifest = render_dataset(
        out=config.out,
        objects=config.objects,
        layout=config.layout,
        clips_per_object=config.clips_per_object,
        frames=config.frames,
        size=config.size,
        trajectory=config.trajectory,
        translated=config.translated,
        seed=config.seed,
        workers=config.workers,
        shard=parse_shard(config.shard),
        families=config.families,
        meshes=config.meshes,
        auxiliary=config.auxiliary,
        supersample=config.supersample,
        fps=config.fps,
        val_fraction=config.val_fraction,
        allowed_skips=config.allowed_skips,
        overwrite=config.overwrite,
    )
    print(manifest)


if __name__ == "__main__":
    main()
