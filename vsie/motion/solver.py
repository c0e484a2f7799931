"""The motion of clips, stretch by stretch: flow between neighbours, then what moved, cut where the clip is cut.

Notable: stretches of many clips are solved together, no more frames than `FRAMES` at a time; a stretch goes on where the one
before it ended, and across a cut nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsie import components, pose
from vsie.motion.egomotion.base import Egomotion, Motion, Observation, believe, motionless
from vsie.motion.fields import neighbours
from vsie.motion.flow.base import Flow
from vsie.motion.pace import Frames, at_its_pace, facts_of
from vsie.motion.stretches import Stretch, stretches

FRAMES = 512  # that are solved at a time: 4 MB each at 256 x 340 pixels
LONGEST = 96  # that are solved together: a frame takes the longer the more there are, and things are to move at one pace
FLOOR = 0.035  # radians: added to the size of a turn, below it nothing can be told


def build(flow: Mapping[str, Any], egomotion: Mapping[str, Any]) -> tuple[Flow, Egomotion]:
    """The two estimators from their options, the component's name under ``name``."""
    return components.build_from("motion.flow", flow), components.build_from("motion.egomotion", egomotion)


def clip_motion(
    flow: Flow,
    egomotion: Egomotion,
    clips: Sequence[np.ndarray],
    known: Sequence[Mapping[str, np.ndarray]] | None = None,
) -> list[dict[str, np.ndarray]]:
    """The motion of clips, cut where they are cut.

    Args:
        flow: Estimator of flow.
        egomotion: Estimator of motion.
        clips: Each (T, H, W, 3) uint8 with T >= 1.
        known: For each what else is known, of `archives.USES`: see `Observation`.

    Returns:
        For each clip what `ClipMotion.joined` says.
    """
    solver, motions = Solver(flow, egomotion), [ClipMotion() for _ in clips]
    for motion, frames, facts in zip(motions, clips, known or [{}] * len(clips), strict=True):
        for stretch in stretches([frames], len(frames), LONGEST):
            solver.add(motion, stretch, facts_of(facts, stretch.span))
    solver.solve()
    return [motion.joined() for motion in motions]


class ClipMotion:
    """The motion of a clip, stretch by stretch."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int, bool]] = []  # first frame, the one after the last, whether it goes on
        self.motions: dict[int, Motion] = {}  # by the number of the span; of a single frame there is none

    @property
    def solved(self) -> bool:
        """Whether nothing is waited for."""
        return len(self.motions) == sum(stop - start > 1 for start, stop, _ in self.spans)

    def joined(self) -> dict[str, np.ndarray]:
        """All of it.

        Returns:
            object_in_camera (T, 4, 4), the delta from the first frame of the segment; segment (T,) int64, a number for each
            part between cuts; confidence (T - 1,), 0 across a cut; covariance (T - 1, 3, 3); and as text scale, estimator, note.
        """
        frames = self.spans[-1][1]
        poses = np.tile(np.eye(4), (frames, 1, 1))
        confidence = np.zeros(frames - 1)
        covariance = np.tile(np.eye(3) * np.pi**2, (frames - 1, 1, 1))
        segment = np.zeros(frames, np.int64)
        number = -1
        for place, (start, stop, goes_on) in enumerate(self.spans):
            number += not goes_on
            segment[start:stop] = number
            if place in self.motions:
                motion = self.motions[place]
                poses[start:stop] = motion.poses.numpy() @ poses[start]  # the identity after a cut
                confidence[start : stop - 1] = motion.confidence.numpy()
                covariance[start : stop - 1] = motion.covariance.numpy()
        told = [self.motions[place] for place in sorted(self.motions)]
        text = {name: "; ".join(dict.fromkeys(str(getattr(m, name)) for m in told if getattr(m, name)))
                for name in ("scale", "estimator", "note")}  # fmt: skip
        return {"object_in_camera": poses, "segment": segment, "confidence": confidence, "covariance": covariance} | {
            name: np.array(value) for name, value in text.items()
        }


class Solver:
    """Motion of stretches of any clips, no more than `FRAMES` frames at a time.

    Args:
        flow: Estimator of flow.
        egomotion: Estimator of motion.
        batch: Stretches at a time.
    """

    def __init__(self, flow: Flow, egomotion: Egomotion, batch: int = 16) -> None:
        self.flow, self.egomotion, self.batch = flow, egomotion, batch
        self.waiting: list[tuple[ClipMotion, int, Frames]] = []

    def add(self, clip: ClipMotion, stretch: Stretch, facts: Mapping[str, np.ndarray], times: np.ndarray | None = None) -> None:
        """The next stretch of a clip, with what else is known of its frames and their times; it is solved sooner or later."""
        clip.spans.append((stretch.span.start, stretch.span.stop, stretch.goes_on))
        if len(stretch.frames) < 2:
            return
        if self.waiting and sum(len(other.frames) for *_, other in self.waiting) + len(stretch.frames) > FRAMES:
            self.solve()
        self.waiting.append((clip, len(clip.spans) - 1, Frames(stretch.frames, facts, times)))
        if len(self.waiting) == self.batch:
            self.solve()

    def forget(self, clip: ClipMotion) -> None:
        """Leave out what is waiting of a clip."""
        self.waiting = [item for item in self.waiting if item[0] is not clip]

    def solve(self) -> None:
        """All that is waiting."""
        motions = at_its_pace(self.estimate, [frames for *_, frames in self.waiting])
        for (clip, place, _), motion in zip(self.waiting, motions, strict=True):
            clip.motions[place] = motion
        self.waiting = []

    def estimate(self, clips: Sequence[Frames]) -> list[Motion]:
        """The motion of clips as they are, by all of their frames."""
        seen = [Observation(clip.frames, neighbours(self.flow, clip.frames), **clip.facts) for clip in clips]
        moving = [lasts(clip) for clip in seen]
        found = iter(self.egomotion([clip for clip, moves in zip(seen, moving, strict=True) if moves]))
        return [next(found) if moves else motionless(clip, "none") for clip, moves in zip(seen, moving, strict=True)]


def lasts(clip: Observation, *, least: float = 0.3, area: float = 2e-3) -> bool:
    """Whether anything moves for longer than a step; a clip of two frames is given the benefit of the doubt.

    A static video is not static once it was recorded and encoded: at every key frame up to 90 % of its textured pixels "move" by
    0.2 pixels and more, grain moves them in every step. But that never goes on in one direction: where the flows of two steps
    in a row have the inner product m^2, motion lasts by m (measured on static clips with noise of 0 to 4 grey levels, H.264 at
    crf 10 to 35: at most 0.1 % of the pixels have m > 0.3; a shift of 0.4 pixels a frame: 12 %).

    Args:
        clip: What is seen.
        least: Pixels a frame by which motion has to last.
        area: Share of the pixels where it has to.
    """
    flow = clip.fields.forward
    if len(flow) < 2:
        return True
    seen = (clip.texture[:-1] > 0.05) & (clip.fields.forward_confidence > 0.2)
    lasting = (flow[1:] * flow[:-1]).sum(-1) > least**2
    return bool((lasting & seen[1:] & seen[:-1]).float().mean() > area)


def known_pairs(confidence: Tensor, segment: Tensor, covariance: Tensor, poses: Tensor) -> Tensor:
    """Trust (..., T, T) in the deltas between all frames of a clip: 0 across a cut, 1 from a frame to itself.

    Variances of the steps between add up, and the confidence is that of `believe` for the whole turn, times the least
    confidence on the way: errors of neighbouring steps of one solution go together.

    Args:
        confidence: (..., T - 1).
        segment: (..., T).
        covariance: (..., T - 1, 3, 3).
        poses: (..., T, 4, 4).
    """
    frames = segment.shape[-1]
    passed = torch.nn.functional.pad(covariance.flatten(-2).cumsum(-2), (0, 0, 1, 0)).unflatten(-1, (3, 3))
    between = (passed[..., None, :, :, :] - passed[..., :, None, :, :]).abs()
    relative = poses[..., None, :, :3, :3] @ poses[..., :, None, :3, :3].mT
    told = believe(between, pose.log(relative), floor=FLOOR)
    least = confidence.new_ones(*confidence.shape[:-1], frames, frames)
    for gap in range(1, frames):
        windows = confidence.unfold(-1, gap, 1).amin(-1)
        index = torch.arange(frames - gap)
        least[..., index, index + gap] = windows
        least[..., index + gap, index] = windows
    same = segment[..., :, None] == segment[..., None, :]
    trust = told * least * same
    return torch.where(torch.eye(frames, dtype=torch.bool), torch.ones_like(trust), trust)
