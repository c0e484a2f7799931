"""What the estimators that look at one pair of frames at a time share: correspondences, then poses of the whole clip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vsie import pose
from vsie.motion import trajectory
from vsie.motion.egomotion.base import Egomotion, Motion, Observation, believe, choose, motionless, turns
from vsie.motion.fields import follow


@dataclass(frozen=True)
class Matches:
    """Correspondences of M pairs of frames.

    Attributes:
        source: (M,) frame numbers.
        target: (M,) frame numbers.
        place: (M, P, 2) pixels in the source.
        seen: (M, P, 2) pixels in the target.
        factor: (M, P, 2, 2): see `foreground.information`.
        weight: (M, P) trust, 0 for what is no match.
        index: (M, P) flat pixel index in the source.
    """

    source: Tensor
    target: Tensor
    place: Tensor
    seen: Tensor
    factor: Tensor
    weight: Tensor
    index: Tensor


def match(clip: Observation, points: int, gaps: tuple[int, ...], *, region: Tensor | None = None) -> Matches:
    """Points of every frame, followed over the gaps."""
    frames = len(clip)
    reach = max(gap for gap in (1, *gaps) if gap < frames)
    chosen = choose(clip, torch.arange(frames), points, region=region)
    seen, trust = follow(clip.fields, chosen.place, torch.arange(frames), reach, step=1)
    source, target = trajectory.pairs(frames, gaps)
    gap = target - source - 1
    return Matches(
        source, target, chosen.place[source], seen[source, gap], chosen.factor[source],
        trust[source, gap] * chosen.real[source], chosen.index[source],
    )  # fmt: skip


@dataclass(frozen=True)
class Deltas:
    """Of M pairs: deltas (M, 4, 4), covariance of the turn (M, 3, 3), share of inliers (M,)."""

    motion: Tensor
    covariance: Tensor
    inliers: Tensor


class Pairwise(Egomotion):
    """Deltas of single pairs over several gaps, joined in a pose graph."""

    SCALE = "metric"
    gaps: tuple[int, ...] = (1,)
    points: int = 400

    def _region(self, clip: Observation) -> Tensor:
        return clip.region

    def _deltas(self, clip: Observation, matches: Matches) -> Deltas:
        raise TypeError(f"{type(self).__name__} must define _deltas")

    def _estimate(self, observations: list[Observation]) -> list[Motion]:
        return [self._one(clip) for clip in observations]

    def _one(self, clip: Observation) -> Motion:
        name = type(self).__name__.lower()
        if clip.still:
            return motionless(clip, name)
        matches = match(clip, self.points, self.gaps, region=self._region(clip))
        deltas = self._deltas(clip, matches)
        rotation_vector = pose.log(deltas.motion[:, :3, :3].double())
        trust = believe(deltas.covariance, rotation_vector, floor=math.radians(2)) * deltas.inliers
        steps = len(clip) - 1
        if self.SCALE == "unit":  # lengths of different pairs cannot be compared, so no graph of them can be solved
            from vsie.motion.egomotion.base import chain

            poses = chain(deltas.motion[:steps])
        else:
            poses = trajectory.graph(matches.source, matches.target, deltas.motion, trust, len(clip))
        # the graph has changed a turn by so much: that is an error too
        moved = turns(poses[:, :3, :3]) - rotation_vector[:steps]
        covariance = deltas.covariance[:steps] + moved[:, :, None] * moved[:, None]
        confidence = believe(covariance, turns(poses[:, :3, :3]), floor=math.radians(2)) * deltas.inliers[:steps]
        return Motion(poses, covariance, confidence, self.SCALE, name)
