"""Depth of both frames is known: the rigid motion between two clouds of matched points (Kabsch 1976), reweighted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.motion.egomotion.base import Observation
from vsie.motion.egomotion.pairwise import Deltas, Matches, Pairwise
from vsie.motion.fields import sample
from vsie.motion.foreground import weighted_median


class Kabsch(Pairwise):
    """Weighted Procrustes with Cauchy weights, all pairs at once.

    Args:
        points: Per frame.
        gaps: Frames from source to target; the poses are joined from all of them.
        iterations: Reweightings.
    """

    NEEDS_DEPTH = True
    SCALE = "metric"

    def __init__(self, *, points: int = 400, gaps: tuple[int, ...] = (1, 2), iterations: int = 15) -> None:
        self.points, self.gaps, self.iterations = points, tuple(gaps), iterations

    def _region(self, clip: Observation) -> Tensor:
        return clip.region & torch.from_numpy(np.isfinite(clip.depth))

    def _deltas(self, clip: Observation, matches: Matches) -> Deltas:
        focal, middle = clip.camera
        known = torch.from_numpy(np.isfinite(clip.depth)).float()
        depth = torch.from_numpy(np.where(np.isfinite(clip.depth), clip.depth, 0)).float()
        maps = torch.stack([depth, known], -1)
        first, second = sample(maps, matches.source, matches.place), sample(maps, matches.target, matches.seen)
        # a place between object and ground has no depth of its own
        weight = (matches.weight * (first[..., 1] > 0.99) * (second[..., 1] > 0.99)).double()

        def cloud(place: Tensor, z: Tensor) -> Tensor:
            return (torch.cat([(place - middle) / focal, torch.ones_like(place[..., :1])], -1) * z[..., None]).double()

        source, target = cloud(matches.place, first[..., 0]), cloud(matches.seen, second[..., 0])
        told = matches.factor.double().square().sum((-1, -2)) / 2
        base = weight * told + 1e-12
        robust = base
        for _ in range(self.iterations):
            motion = procrustes(source, target, robust)
            residual = (target - source @ motion[:, :3, :3].mT - motion[:, None, :3, 3]).norm(dim=-1)
            scale = weighted_median(residual, base).clamp_min(1e-4)[:, None]
            robust = base / (1 + (residual / scale).square())
        about = source - (robust[..., None] * source).sum(1, keepdim=True) / robust.sum(1)[:, None, None]
        spread = torch.einsum("mp,mpi,mpj->mij", robust, about, about)
        inertia = torch.diagonal(spread, dim1=1, dim2=2).sum(-1)[:, None, None] * torch.eye(3, dtype=torch.float64) - spread
        covariance = 10 * (scale**2)[..., None] * torch.linalg.inv(inertia + 1e-9 * torch.eye(3, dtype=torch.float64))
        inliers = (base * (residual < 3 * scale)).sum(1) / base.sum(1)
        return Deltas(motion, covariance, inliers)


def procrustes(source: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The rigid motions (N, 4, 4) that take points (N, P, 3) nearest to others, weights (N, P)."""
    share = weight / weight.sum(1, keepdim=True)
    first, second = (share[..., None] * source).sum(1), (share[..., None] * target).sum(1)
    cross = torch.einsum("np,npi,npj->nij", share, target - second[:, None], source - first[:, None])
    rotation = pose.project(cross)
    return pose.rigid(rotation, second - (rotation @ first[..., None])[..., 0])
