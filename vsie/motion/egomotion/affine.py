"""Anything else: the six numbers of the foreground's affine flow, and of them what a rigid motion can say.

The turn about the axis of view is the curl, the approach is the divergence, the shift is the mean; tilt cannot be told from
shape by an affine flow of one pair and is given as zero, with the covariance to say so: a motion of which it tells no turn is
never one to rely on, as a plain thing that turns looks like one that shifts. Unit of length: the depth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vsie import pose
from vsie.motion.egomotion.base import Observation
from vsie.motion.egomotion.pairwise import Deltas, Matches, Pairwise
from vsie.motion.foreground import fit_affine

TILT, ROLL = math.radians(5), math.radians(2)  # what is not known of the turn at least, where the flow shows no sign of tilt


class Affine(Pairwise):
    """Robust affine fit.

    Args:
        points: Per frame.
        gaps: Frames from source to target; the poses are joined from all of them.
    """

    SCALE = "image"

    def __init__(self, *, points: int = 400, gaps: tuple[int, ...] = (1, 2)) -> None:
        self.points, self.gaps = points, tuple(gaps)

    def _deltas(self, clip: Observation, matches: Matches) -> Deltas:
        focal, middle = clip.camera
        told = matches.factor.square().sum((-1, -2)) / 2
        weight = (matches.weight * told).double() + 1e-12
        place, motion = (matches.place - middle) / focal, (matches.seen - matches.place) / focal
        affine = fit_affine(place, motion, weight, scale=0.3 / focal)
        residual = (motion.double() - _apply(affine, place)).norm(dim=-1) * focal
        inliers = (weight * (residual < 1.5)).sum(1) / weight.sum(1)
        return Deltas(rigid_of(affine), covariance_of(affine), inliers)


def _apply(affine: Tensor, place: Tensor) -> Tensor:
    return torch.cat([place, torch.ones_like(place[..., :1])], -1).double() @ affine.mT


def rigid_of(affine: Tensor) -> Tensor:
    """Deltas (N, 4, 4) of affine flows (N, 2, 3) in normalised coordinates, for a plane at depth 1 that faces the camera."""
    grown = torch.eye(2, dtype=affine.dtype) + affine[:, :, :2]
    turn = torch.atan2(grown[:, 1, 0] - grown[:, 0, 1], grown[:, 0, 0] + grown[:, 1, 1])
    scale = torch.linalg.det(grown).clamp_min(1e-3).sqrt()
    depth = 1 / scale
    rotation = pose.exp(torch.stack([torch.zeros_like(turn), torch.zeros_like(turn), turn], -1))
    shift = torch.cat([affine[:, :, 2] * depth[:, None], (depth - 1)[:, None]], -1)
    return pose.rigid(rotation, shift)


def covariance_of(affine: Tensor) -> Tensor:
    """Squared radians (N, 3, 3): the shear and the foreshortening of (N, 2, 3) are tilt that was not accounted for."""
    part = affine[:, :, :2]
    shear = (part[:, 0, 0] - part[:, 1, 1]).square() + (part[:, 0, 1] + part[:, 1, 0]).square()
    return torch.diag_embed(torch.stack([shear + TILT**2, shear + TILT**2, 0.1 * (shear + ROLL**2)], -1))
