"""Chooses the estimator by what is known and by what the flow looks like, and says which."""

from __future__ import annotations

import math

import torch

from vsie.motion.egomotion.affine import Affine
from vsie.motion.egomotion.base import Egomotion, Motion, Observation, choose, motionless
from vsie.motion.egomotion.essential import Essential
from vsie.motion.egomotion.orbit import Orbit
from vsie.motion.egomotion.pnp import Pnp
from vsie.motion.foreground import STILL, fit_affine


class Auto(Egomotion):
    """Nothing where nothing moves; `affine` where the thing only shifts or grows; `essential` where the picture moves as a whole,
    up to its border (but not where a thing before it is held still by the camera, which then does not move in it); else
    `orbit`. Where depth is known `pnp` takes the place of the first two, and is there for things beside the middle.

    Args:
        upright: Passed to `Orbit`.
        shift: Share of the foreground's motion above which a shift or a growth is all that it is.
        border: Share of the border's textured pixels that have to move for the camera to be what moves.
        beside: Of known depth: how far from the middle a thing may be, in its radii, to turn about a point on the axis of view.
    """

    def __init__(self, *, upright: bool = True, shift: float = 0.92, border: float = 0.5, beside: float = 0.8) -> None:
        self.shift, self.border, self.beside = shift, border, beside
        self.estimators = {"pnp": Pnp(), "orbit": Orbit(upright=upright), "affine": Affine(), "essential": Essential()}

    def choice(self, clip: Observation) -> str:
        """The name of the estimator for a clip, or ``none``."""
        if clip.still:
            return "none"
        known = clip.depth_known
        if self._border_moves(clip):
            return "pnp" if known else "affine" if self._held(clip) else "essential"
        if self._share(clip) > self.shift:
            return "pnp" if known else "affine"
        return "pnp" if known and self._beside(clip) > self.beside else "orbit"

    def _estimate(self, observations: list[Observation]) -> list[Motion]:
        names = [self.choice(clip) for clip in observations]
        found: list[Motion | None] = [
            motionless(clip, "none") if name == "none" else None for clip, name in zip(observations, names, strict=True)
        ]
        for name, estimator in self.estimators.items():
            members = [index for index, chosen in enumerate(names) if chosen == name]
            if members:
                for index, motion in zip(members, estimator([observations[index] for index in members]), strict=True):
                    found[index] = motion
        return found

    def _share(self, clip: Observation) -> float:
        """How much of the foreground's flow a shift and a growth explain, up to 1: the median over the steps.

        Of the flow itself, not of its affine part: the visible side of a round thing that turns has nearly the affine flow of
        a thing that shifts, and what tells them apart is what no affine flow explains.
        """
        points = choose(clip, torch.arange(len(clip) - 1), 300)
        flow = clip.fields.forward.flatten(1, 2).gather(1, points.index[..., None].expand(-1, -1, 2)).double()
        trust = clip.fields.forward_confidence.flatten(1).gather(1, points.index)
        weight = (points.real * trust * points.factor.square().sum((-1, -2))).double() + 1e-9
        affine = fit_affine(points.place, flow, weight)
        grow = (affine[:, 0, 0] + affine[:, 1, 1]) / 2
        middle = (weight[..., None] * points.place).sum(1) / weight.sum(1, keepdim=True)
        mean = (affine[:, :, :2] @ middle[..., None])[..., 0] + affine[:, :, 2]
        simple = mean[:, None] + grow[:, None, None] * (points.place - middle[:, None])
        left, power = ((weight * field.square().sum(-1)).sum(1) for field in (flow - simple, flow))
        return float((1 - left / power.clamp_min(1e-12)).median())

    def _beside(self, clip: Observation) -> float:
        """How far from the middle of the picture the thing is on the average over the clip, in its radii."""
        region = clip.region.double()
        size = region.sum((1, 2)).clamp_min(1)
        places = [torch.arange(length, dtype=torch.float64) + 0.5 for length in region.shape[1:]]
        down, right = ((region.sum(3 - axis) @ place / size) for axis, place in enumerate(places, 1))
        away = torch.stack([right, down]).mean(1) - clip.camera[1]
        return float(away.norm() / (size.mean() / math.pi).sqrt())

    def _held(self, clip: Observation) -> bool:
        """Whether what differs from the background's motion does not move in the picture."""
        region = clip.region[:-1] & (clip.texture[:-1] > 0.3)
        if region.float().mean() < 0.005:
            return False
        return bool(clip.fields.forward.norm(dim=-1)[region].median() < STILL)

    def _border_moves(self, clip: Observation) -> bool:
        """Whether the border has texture, and moves."""
        told = clip.texture[:-1]
        height, width = told.shape[1:]
        depth = max(2, min(height, width) // 8)
        rim = torch.ones(height, width, dtype=torch.bool)
        rim[depth:-depth, depth:-depth] = False
        textured = (told[:, rim] > 0.3) & (clip.fields.forward_confidence[:, rim] > 0.3)
        moving = clip.fields.forward[:, rim].norm(dim=-1) > 0.3
        if textured.float().mean() < 0.1:
            return False
        return bool((moving & textured).sum() > self.border * textured.sum())
