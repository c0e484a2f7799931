"""Estimate the motion of clips that nobody labelled: poses relative to each clip's first frame, with a confidence.

    python tools/estimate_motion.py manifest=FOLDER out=motion                       # a folder of videos
    python tools/estimate_motion.py manifest=data/turntable out=motion egomotion=orbit flow=dis
    python tools/estimate_motion.py manifest=manifest.csv out=motion shard=0/4       # on many machines, the same out

Then train with data.root=FOLDER motion=estimated motion.cache=motion (which without a cache makes its own). Run the same command
again to continue; see configs/estimate_motion.yaml for all keys.
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import EstimateMotionConfig


@hydra_main("estimate_motion")
def main(config: EstimateMotionConfig) -> None:
    from vsie.motion.estimate import estimate_manifest
    from vsie.render.dataset import parse_shard

    written = estimate_manifest(
        manifest=config.manifest, out=config.out, flow=config.flow, egomotion=config.egomotion, size=config.size,
        uses=config.uses, batch=config.batch, shard=parse_shard(config.shard), allowed_skips=config.allowed_skips,
        overwrite=config.overwrite,
    )  # fmt: skip
    print(written)


if __name__ == "__main__":
    main()
