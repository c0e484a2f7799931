"""What a run is told of motion: the poses of its manifest, or what was estimated from the pictures; noise and shuffling of both.

Notable: what is *judged* is another matter. Where all clips have true poses, evaluation is against these however the run was
trained. Where none are known, it is against estimated motion on held-out clips, and every key of such a measure starts with
``estimated/``: the two are never in one column.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from vsie import pose
from vsie.data.clips import ClipsDataset
from vsie.data.manifest import SPLITS, Manifest
from vsie.data.pose_noise import PoseNoise
from vsie.evaluation.inversion import main_axis
from vsie.evaluation.suite import Result
from vsie.methods.base import Method
from vsie.motion.archives import settings
from vsie.motion.estimate import estimate_manifest
from vsie.motion.estimated import EstimatedClips, EstimatedMotion, common_length
from vsie.report.tables import ESTIMATED
from vsie.schemas import TrainConfig

SOURCES = ("known", "estimated")
UNPOSED = ("classification/", "collapse/")  # measures that no pose has a part in
ERROR = 0.15  # of the spread of told motions: as much of it off their main axis is put down to errors
FRAMES = 3  # of a clip that can be judged, at least
FEWEST = 2  # clips of a split that can be judged


def check(config: TrainConfig, method: Method) -> None:
    """Refuse, before anything is read, motion that the run cannot be told.

    Raises:
        ValueError: It says which option does not fit, and what would.
    """
    motion = config.motion
    if motion.source not in SOURCES:
        raise ValueError(f"motion.source is {motion.source!r}, expected one of {', '.join(SOURCES)}")
    PoseNoise(motion.noise_deg)
    if not 0 <= config.data.held_out < 1:
        raise ValueError(f"data.held_out is {config.data.held_out}, expected a share from 0 to below 1")
    if motion.source == "known":
        return
    if not config.flow or not config.egomotion:
        raise ValueError("motion.source=estimated needs estimators of flow and of egomotion: choose motion=estimated")
    if config.data.layout != "clips":
        raise ValueError(f"motion=estimated needs clips, found data.layout={config.data.layout}, whose views are in no order")
    if method.frame != "camera":
        raise ValueError(f"motion=estimated gives deltas in the camera's frame, found conditioning.frame={method.frame}, "
                         "expected conditioning.frame=camera")  # fmt: skip
    if method.NEEDS_PREDICTOR and not method.weighs:
        raise ValueError(f"{type(method).__name__.lower()} cannot weigh what it is told by trust, which motion=estimated needs")


def noise(config: TrainConfig) -> PoseNoise | None:
    """The noise that deltas are given; None for none."""
    return PoseNoise(config.motion.noise_deg, seed=config.seed) if config.motion.noise_deg else None


def tag(config: TrainConfig) -> str:
    """What tells a run from one with known motion, for the name of its folder; empty for known motion."""
    motion = config.motion
    words = ["estimated"] if motion.source == "estimated" else []
    words += [f"noise{motion.noise_deg:g}"] if motion.noise_deg else []
    words += ["shuffled"] if motion.shuffled else []
    return "".join(f"-{word}" for word in words)


def without_errors(deltas: Tensor) -> Tensor:
    """Told deltas (M, 4, 4) as the span in which motion is looked for: about one axis, where all but their errors is about it.

    A tracker that looks for its answer off the axis too, since errors lie there, finds motions that no training has taught the
    predictor to tell apart (measured with motion estimated on turntables: 68 degrees off the truth, and 23 about the axis).
    """
    vectors = pose.log(deltas[:, :3, :3].double())
    axis = main_axis(vectors, ERROR) if bool(vectors.any()) else None  # videos in which nothing moves are judged by their class
    if axis is None:
        return deltas
    deltas = deltas.clone()
    deltas[:, :3, :3] = pose.exp((vectors @ axis)[:, None] * axis).to(deltas)
    return deltas


def hold_out(manifest: Manifest, share: float) -> Manifest:
    """The manifest with a share of its objects, at least one, as split val, where it has neither val nor test.

    Which ones is a function of the objects' number alone, so all runs on the same data are judged by the same objects.
    """
    count = len(manifest.objects)
    if not share or manifest.holds("val") or manifest.holds("test") or count < 2:
        return manifest
    chosen = np.random.default_rng(0).permutation(count)[: max(1, round(share * count))]
    split = np.where(np.isin(manifest.object, chosen), SPLITS.index("val"), manifest.split).astype(manifest.split.dtype)
    return dataclasses.replace(manifest, split=split)


def check_truth(config: TrainConfig, manifest: Manifest) -> None:
    """Refuse poses that were estimated where they would pass for known ones.

    Raises:
        ValueError: It says how to train on them.
    """
    about = Path(manifest.root) / "motion.json"
    if config.data.layout == "clips" and about.is_file() and manifest.posed.any():
        source = json.loads(about.read_text(encoding="utf-8")).get("manifest", "VIDEOS")
        raise ValueError(f"{manifest.file} holds estimated motion, which is no truth to be judged by: data.root={source} "
                         f"motion=estimated motion.cache={manifest.root}")  # fmt: skip


def untold(manifest: Manifest, frame: str) -> str | None:
    """Why motion in a frame cannot be told from the pictures of a manifest with poses; None where it can."""
    if manifest.anchored or frame == "camera" or not manifest.posed.any():
        return None
    return (f"{manifest.file} has poses from structure from motion, where every object's own frame lies as it happened to: no "
            f"picture tells motion in it, found conditioning.frame={frame}, expected conditioning.frame=camera")  # fmt: skip


def estimated(config: TrainConfig, manifest: Manifest, rows: np.ndarray, caches: Path) -> EstimatedMotion:
    """The estimated motion of some rows of a manifest; what is missing of it is made first, resumably, with a bar.

    Args:
        config: With ``motion.source=estimated``.
        manifest: The videos.
        rows: Which of them.
        caches: The folder of all caches.

    Raises:
        ValueError: The cache was made by other settings or from other videos; or translations of different scales are wanted.
        SkippedError: Too many videos cannot be read.
    """
    motion = config.motion
    folder = Path(motion.cache) if motion.cache else caches / "motion" / _name(config, manifest)
    estimate_manifest(
        manifest=manifest.take(rows), out=folder, flow=config.flow, egomotion=config.egomotion,
        size=motion.size, uses=motion.uses, batch=motion.batch, allowed_skips=config.data.allowed_skips,
        listed=False,
    )  # fmt: skip
    found = EstimatedMotion(manifest, rows, folder, weighted=motion.weighted)
    if config.conditioning.translation and len(found.scales) > 1:
        raise ValueError(f"{folder}: translations are of different scales ({', '.join(found.scales)}), which cannot be told "
                         "together; choose one egomotion, or conditioning.translation=false")  # fmt: skip
    return found


def _name(config: TrainConfig, manifest: Manifest) -> str:
    """Of the folder for the motion of a manifest by these settings: other settings have another one."""
    text = settings(config.flow, config.egomotion, config.motion.size, config.motion.uses)
    digest = hashlib.sha256(json.dumps([str(Path(manifest.file).resolve()), text]).encode()).hexdigest()[:12]
    return f"{Path(manifest.root).name}-{config.egomotion['name']}-{digest}"


def judged(
    splits: Mapping[str, ClipsDataset], motion: EstimatedMotion, widest: int, stride: int = 1
) -> tuple[dict[str, EstimatedClips], list[str]]:
    """The clips of the splits as far as estimated motion is good enough to judge by, and lines that say how far that is.

    Args:
        splits: By name.
        motion: Of all of them.
        widest: Largest number of frames from one judged frame to the next.
        stride: Frames per step of the encoder; a clip needs two steps, or there is nothing to be judged in it.

    Returns:
        Nothing but the lines where too few are left.
    """
    frames = max(FRAMES, 2 * stride, common_length(motion, np.concatenate([clips.rows for clips in splits.values()])))
    kept = {name: EstimatedClips(clips, motion, frames=frames, widest=widest) for name, clips in splits.items()}
    lines = [f"{name}: {clips.left_out} of {len(clips) + clips.left_out} clips are left out: no stretch of {frames} frames has "
             "motion that can be relied on" for name, clips in kept.items() if clips.left_out]  # fmt: skip
    if min(map(len, kept.values())) < FEWEST:
        return {}, lines
    return kept, lines


def marked(result: Result, lines: list[str]) -> Result:
    """A result that was judged against estimated motion, with all that poses have a part in under ``estimated/``."""
    for name in ("metrics", "intervals", "samples"):
        values = getattr(result, name, None)
        if values:
            setattr(result, name, {key if key.startswith(UNPOSED) else ESTIMATED + key: value for key, value in values.items()})
    result.truth = "estimated motion"
    result.notes += [
        "no true poses: pose, steering and tracking are judged against estimated motion (keys estimated/...)",
        *lines,
    ]
    return result
