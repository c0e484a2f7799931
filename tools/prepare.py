"""Make a manifest of a data set as its authors release it; videos and images stay where they are.

    python tools/prepare.py data=co3d data.root=DIR out=manifests/co3d
    python tools/prepare.py data=kinetics data.root=DIR out=manifests/kinetics
    python tools/prepare.py data=images data.root=DIR data.reader.fps=10 out=manifests/mine
    python tools/estimate_motion.py manifest=manifests/mine out=motion      # then
    python tools/train.py data=co3d data.root=DIR                           # or straight away: prepares in the cache

Data sets: kinetics, co3d, uco3d, realestate10k, mvimgnet, colmap, images; data_manifests/README.md describes each.
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import PrepareConfig


@hydra_main("prepare")
def main(config: PrepareConfig) -> None:
    from vsie.data import manifest
    from vsie.data.prepare import prepare

    data = config.data
    if not data.reader or not data.root:
        raise ValueError("data.root is missing, or data is none to be prepared: give data=co3d data.root=DIR or the like")
    written = prepare(data.reader, data.root, config.out, overwrite=config.overwrite)
    table = manifest.load(written)
    counts = ", ".join(f"{len(table.rows(split))} {split}" for split in manifest.SPLITS if table.holds(split))
    print(f"{written}: {len(table)} clips ({counts}), {len(table.objects)} objects, {int(table.posed.sum())} with cameras")


if __name__ == "__main__":
    main()
