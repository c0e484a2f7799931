"""Depth of the source frame is known: six numbers a pair, by reprojection, then by alignment of the pictures.

Weighted Gauss-Newton with Cauchy weights over all pairs at once; the second half aligns grey levels instead of flow
(direct alignment, as in visual odometry: Kerl et al., ICRA 2013), since flow of small plain objects is too short.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.motion.adjustment import derivatives
from vsie.motion.egomotion.base import Observation
from vsie.motion.egomotion.pairwise import Deltas, Matches, Pairwise
from vsie.motion.fields import sample


class Pnp(Pairwise):
    """Perspective-n-point on dense flow.

    Args:
        points: Per frame.
        gaps: Frames from source to target; the poses are joined from all of them.
        iterations: Of the fit to the flow.
        refinements: Steps of the alignment of the pictures; 0 leaves it out.
    """

    NEEDS_DEPTH = True
    SCALE = "metric"

    def __init__(self, *, points: int = 400, gaps: tuple[int, ...] = (1, 2), iterations: int = 10, refinements: int = 12) -> None:
        self.points, self.gaps, self.iterations, self.refinements = points, tuple(gaps), iterations, refinements

    def _region(self, clip: Observation) -> Tensor:
        return clip.region & torch.from_numpy(np.isfinite(clip.depth))

    def _deltas(self, clip: Observation, matches: Matches) -> Deltas:
        focal, middle = clip.camera
        depth = torch.from_numpy(np.where(np.isfinite(clip.depth), clip.depth, 1)).double().flatten(1)
        depth = depth[matches.source].gather(1, matches.index)
        rays = torch.cat([(matches.place - middle) / focal, torch.ones_like(matches.place[..., :1])], -1).double()
        points = rays * depth[..., None]
        motion = torch.eye(4, dtype=torch.float64).repeat(len(points), 1, 1)
        seen, factor, weight = matches.seen.double(), matches.factor.double(), matches.weight.double()
        for _ in range(self.iterations):
            motion, covariance, inliers = _step(points, seen, factor, weight, motion, focal, middle, 0.5)
        if self.refinements:
            blurred = [cv2.GaussianBlur(image, (0, 0), 0.8) for image in clip.grey.numpy()]
            images = derivatives(torch.from_numpy(np.stack(blurred)))
            here = sample(images, matches.source, matches.place)
            real = (matches.weight > 0).double()
            for _ in range(self.refinements):
                place = _project(points, motion, focal, middle)
                there = sample(images, matches.target, place.float())
                slope = ((here + there)[..., 1:] / 2).double()
                strength = slope.square().sum(-1, keepdim=True) + 20
                shift = (-slope * (there[..., :1] - here[..., :1]) / strength).clamp(-2, 2)
                rows = (slope / strength.sqrt())[..., None, :]
                motion, covariance, inliers = _step(points, place + shift, rows, real, motion, focal, middle, 0.3)
        return Deltas(motion, covariance, inliers)


def _project(points: Tensor, motion: Tensor, focal: float, middle: Tensor) -> Tensor:
    moved = points @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
    return moved[..., :2] / moved[..., 2:].clamp_min(1e-6) * focal + middle


def _step(
    points: Tensor, seen: Tensor, factor: Tensor, weight: Tensor, motion: Tensor, focal: float, middle: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """One Gauss-Newton step on motions (M, 4, 4); the covariance of the turn and the share of inliers before it."""
    turned = points @ motion[:, :3, :3].mT
    moved = turned + motion[:, None, :3, 3]
    inverse = 1 / moved[..., 2:].clamp_min(1e-6)
    place = moved[..., :2] * inverse * focal + middle
    # about the points' middle, where turn and shift hardly trade
    centre = (weight[..., None] * moved).sum(1, keepdim=True) / weight.sum(1)[:, None, None].clamp_min(1e-9)
    columns = torch.cat([-pose.skew(moved - centre), torch.eye(3, dtype=points.dtype).expand(*points.shape[:2], 3, 3)], -1)
    flat = (columns[..., :2, :] - (moved[..., :2] * inverse)[..., None] * columns[..., 2:, :]) * inverse[..., None] * focal
    both = factor @ torch.cat([flat, (place - seen)[..., None]], -1) / scale
    square = both[..., -1].square().sum(-1)
    robust = weight / (1 + square)
    both = both * robust.sqrt()[..., None, None]
    jacobian, error = both[..., :-1].flatten(1, 2), both[..., -1].flatten(1, 2)
    normal = jacobian.mT @ jacobian
    diagonal = torch.diagonal(normal, dim1=1, dim2=2)
    damped = normal + torch.diag_embed(1e-6 * diagonal + 1e-9 * diagonal.amax(1, keepdim=True) + 1e-9)
    step = -torch.linalg.solve(damped, (jacobian.mT @ error[..., None]))[..., 0]
    step = step * (0.3 / step[:, :3].norm(dim=1).clamp_min(1e-9)).clamp_max(1)[:, None]
    turn = pose.exp(step[:, :3])
    about = centre[:, 0]
    shift = about - (turn @ about[..., None])[..., 0] + step[:, 3:]
    covariance = 10 * torch.linalg.inv(damped)[:, :3, :3]  # neighbouring pixels' errors are not independent
    inliers = (weight * (square < 4)).sum(1) / weight.sum(1).clamp_min(1e-6)
    return pose.rigid(turn, shift) @ motion, covariance, inliers
