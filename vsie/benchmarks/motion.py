"""What estimated motion is worth: error as a share of the motion, confidence, drift and speed on rendered clips that are kept
for this measurement alone (seed 1000; the estimators' constants were set on others)."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.benchmarks.base import Rows
from vsie.data.decode import Video
from vsie.motion.egomotion.auto import Auto
from vsie.motion.egomotion.base import Egomotion, Motion, Observation, chain
from vsie.motion.fields import neighbours
from vsie.motion.flow.base import Flow
from vsie.motion.flow.dis import Dis
from vsie.motion.solver import clip_motion
from vsie.render import Renderer, families
from vsie.render.clips import ClipSettings, encode_video, generator, render_clip

HELD_OUT = 1000
"""The seed whose objects, lights and speeds nobody looks at while changing an estimator."""


@dataclass(frozen=True)
class Truth:
    """A clip with all that is known of it: frames (T, H, W, 3) uint8 after H.264, poses (T, 4, 4) object in camera,
    intrinsics (3, 3) in pixels, depth (T, H, W) camera z."""

    family: str
    frames: np.ndarray
    poses: Tensor
    intrinsics: np.ndarray
    depth: np.ndarray


def rendered(
    trajectory: str, names: Iterable[str], *, seed: int = HELD_OUT, frames: int = 16, size: int = 128,
    degrees: tuple[float, float] = (5.0, 15.0),
) -> list[Truth]:  # fmt: skip
    """One clip of one new object of each family, written as a video and read again.

    Args:
        trajectory: ``turntable``, ``tumble`` or ``orbit``.
        names: Procedural classes.
        seed: Of objects, lights and motion.
        frames: Per clip.
        size: Pixels.
        degrees: Range of the turn from frame to frame (of the azimuth for `orbit`).
    """
    settings = ClipSettings(frames, size, trajectory, seed, 2, 8.0, ("depth",))
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        for number, family in enumerate(names):
            renderer = Renderer(families.build(family, generator(seed, number)), size=size, supersample=2)
            pictures, arrays = render_clip(
                renderer, settings, generator(seed, number, 0), speed=tuple(math.radians(angle) for angle in degrees)
            )
            file = Path(folder) / f"{number}.mp4"
            file.write_bytes(encode_video(pictures, settings.fps))
            with Video(file) as video:
                read = np.asarray(video.read(np.arange(frames)))
            poses = torch.from_numpy(arrays["object_in_camera"])
            clips.append(Truth(family, read, poses, arrays["intrinsics"], arrays["depth"]))
    return clips


def error(found: Tensor, true: Tensor, gap: int = 1) -> tuple[Tensor, Tensor]:
    """Angles (..., T - gap) in radians: between found and true turns over `gap` frames of poses (..., T, 4, 4), and true."""
    turn, expected = (
        poses[..., gap:, :3, :3].double() @ poses[..., :-gap, :3, :3].double().mT for poses in (found, true)
    )  # fmt: skip
    return pose.geodesic(turn, expected), pose.angle(expected)


def observe(flow: Flow, clips: Sequence[Truth], *, depth: bool) -> list[Observation]:
    """What an estimator sees of clips: pictures, intrinsics, estimated flow, and the depth if that is known."""
    return [
        Observation(clip.frames, neighbours(flow, clip.frames), clip.intrinsics, clip.depth if depth else None) for clip in clips
    ]


def told(flow: Flow, clips: Sequence[Truth]) -> list[Motion]:
    """What `tools/estimate_motion.py` and ``motion=estimated`` tell of clips by their pictures and intrinsics."""
    found = clip_motion(flow, Auto(), [clip.frames for clip in clips], [{"intrinsics": clip.intrinsics} for clip in clips])
    return [
        Motion(*(torch.from_numpy(one[name]) for name in ("object_in_camera", "covariance", "confidence")),
               *(str(one[name]) for name in ("scale", "estimator", "note"))) for one in found
    ]  # fmt: skip


def pairwise(estimator: Egomotion, observations: Sequence[Observation]) -> list[Tensor]:
    """Poses (T, 4, 4) of clips of which nothing but pairs of neighbours was looked at, joined one after the other."""
    parts = [
        Observation(
            clip.frames[start : start + 2], clip.fields[start : start + 2], clip.intrinsics,
            None if clip.depth is None else clip.depth[start : start + 2],
        )
        for clip in observations for start in range(len(clip) - 1)
    ]  # fmt: skip
    steps = iter(motion.poses[1] for motion in estimator(parts))
    return [chain(torch.stack(list(itertools.islice(steps, len(clip) - 1)))) for clip in observations]


def quality(motions: Sequence[Motion], clips: Sequence[Truth]) -> dict[str, float]:
    """Of the turn between neighbours, as shares of it: median and 90th percentile; the latter again without the fifth that
    is believed least (kept) and without the fifth that is worst (the least that any confidence could reach)."""
    off, turn = error(torch.stack([motion.poses for motion in motions]), torch.stack([clip.poses for clip in clips]))
    share, trust = (off / turn).flatten(), torch.stack([motion.confidence for motion in motions]).flatten()
    kept = share[trust.argsort(descending=True)[: round(0.8 * len(share))]]
    best = share.sort().values[: round(0.8 * len(share))]
    tail = float(share.quantile(0.9))
    return {
        "median": float(share.median()), "p90": tail, "kept p90": float(kept.quantile(0.9)),
        "best possible kept p90": float(best.quantile(0.9)),
    }  # fmt: skip


def rows(seconds: float) -> Rows:
    """Two clips of 16 frames of each kind for each of `seconds`, at most 55: 24 or more for figures to quote."""
    return measured(count=int(min(max(2 * seconds, 2), 55)))


def measured(*, count: int, frames: int = 16, seed: int = HELD_OUT) -> Rows:
    """All figures; `count` clips of a turntable and as many of an orbiting camera, no family in both."""
    flow, rows = Dis(workers=1), []
    names = families.names()
    spent, done = 0.0, 0
    for number, trajectory in enumerate(("turntable", "orbit")):
        chosen = list(itertools.islice(itertools.cycle(names[number::2]), count))
        clips = rendered(trajectory, chosen, seed=seed + number, frames=frames)
        true = torch.stack([clip.poses for clip in clips])
        seen = observe(flow, clips, depth=False)  # first, as what is loaded on first use is not counted
        begun = time.process_time()
        motions = told(flow, clips)
        spent, done = spent + time.process_time() - begun, done + len(clips)
        found = quality(motions, clips)
        known = [Observation(clip.frames, one.fields, clip.intrinsics, clip.depth) for clip, one in zip(clips, seen, strict=True)]
        with_depth = quality(Auto()(known), clips)
        figures = {"from RGB, median": ("median", 0.2), "from RGB, 90th percentile": ("p90", 0.6)}
        for figure, (name, most) in figures.items():
            rows.append({"figure": f"{trajectory}, {figure}", "value": found[name], "unit": "of the motion", "most": most})
        rows.append({"figure": f"{trajectory}, 90 %, least believed fifth dropped", "value": found["kept p90"],
                     "unit": "of the motion", "most": found["p90"] / 2})  # fmt: skip
        rows.append({"figure": f"{trajectory}, 90 %, worst fifth dropped", "value": found["best possible kept p90"],
                     "unit": "of the motion"})  # fmt: skip
        figures = {"with depth, median": ("median", 0.08), "with depth, 90th percentile": ("p90", 0.25)}
        for figure, (name, most) in figures.items():
            rows.append({"figure": f"{trajectory}, {figure}", "value": with_depth[name], "unit": "of the motion", "most": most})
        whole = torch.stack([motion.poses for motion in motions])
        chained = torch.stack(pairwise(Auto(), seen))
        for gap in sorted({1, frames // 2, frames - 1}):
            for label, poses in (("clip as a whole", whole), ("pairs chained", chained)):
                value = float(error(poses, true, gap)[0].rad2deg().median())
                rows.append({"figure": f"{trajectory}, over {gap} frames, {label}", "value": value, "unit": "degrees"})
        slow = rendered(trajectory, chosen[: max(2, count // 5)], seed=seed + number, frames=61, degrees=(0.7, 1.3))
        poses = torch.stack([motion.poses for motion in told(flow, slow)])
        off, turn = error(poses, torch.stack([clip.poses for clip in slow]), 12)
        for figure, share in (("median", 0.5), ("90th percentile", 0.9)):
            rows.append({"figure": f"{trajectory}, 1 degree a frame, over 12 frames, {figure}", "unit": "of the motion",
                         "value": float((off / turn).flatten().quantile(share))})  # fmt: skip
    rows.insert(0, {"figure": "clips a second of CPU, flow and motion", "value": done / spent, "unit": "clips/s"})
    return rows
