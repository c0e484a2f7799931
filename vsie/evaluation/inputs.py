"""What every measure is given: the features of a set of clips (`vsie.feature_set`), and the predictor that steers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.feature_set import CHUNK, SOURCES, Features


class Steering(Protocol):
    """A trained predictor in the form that evaluation needs: ``W(delta) z = sum_k h_k(delta) A_k z``.

    Optional members:

    * ``part``: which part of the latents `embed` takes; ``equi`` where there is none.
    * ``linear = False``, of a predictor that has no such sum. In place of `expand` and `coefficients` it then has
      ``steer(embedded, delta)``: steered latents (..., e) of embedded latents (..., e) and deltas (..., 4, 4) that broadcast.
      Steering is measured, and inverted, by evaluating it.
    * For a predictor that was given quaternions of either sign (SIE's raw ones, whose sign belongs to the pair and not to the
      delta): ``pair_coefficients(source, target)`` gives h_k, (..., K), from poses (..., 4, 4), and ``pair_steer(embedded,
      source, target)`` the steered latents; they are then used for steering. ``sign_free = True`` makes the factorised
      inversion try both signs of h (the direct one takes the canonical sign).
    * ``uses_translation``: whether a predictor that is not linear depends on the translation.
    * ``uses_colour``: whether `pair_coefficients` and `pair_steer` take poses with hues (..., 4, 5), see `pose.with_hues`.

    Attributes:
        similarity: ``cosine`` where the equivariance term is contrastive, ``euclidean`` where it is a squared error.
        frame: ``body`` or ``camera``, the frame of the deltas.
    """

    similarity: str
    frame: str

    def embed(self, latents: Tensor) -> Tensor:
        """Latents (..., d), their equivariant part or what `part` says, to the space (..., e) in which the predictor acts."""

    def expand(self, embedded: Tensor) -> Tensor:
        """All products A_k z, (..., K, e), of embedded latents (..., e)."""

    def coefficients(self, delta: Tensor) -> Tensor:
        """h_k(delta), (..., K), of deltas (..., 4, 4) as `vsie.pose.delta` gives them in `frame`."""


def linear(steering: Steering) -> bool:
    """Whether the steering has `expand` and `coefficients`."""
    return getattr(steering, "linear", True)


def part_of(steering: Steering | None) -> str:
    """The part of the latents that the steering embeds."""
    return getattr(steering, "part", "equi")


def view_poses(steering: Steering, features: Features) -> Tensor:
    """The poses (N * F, 4, 4) float64 of all frames, (N * F, 4, 5) with their hues where the steering is told of them.

    Raises:
        ValueError: It is told of them and the features have none.
    """
    poses = torch.from_numpy(np.ascontiguousarray(features.poses.reshape(-1, 4, 4), dtype=np.float64))
    if not getattr(steering, "uses_colour", False):
        return poses
    hues = [features.latent(name) for name in pose.HUES]
    if any(column is None for column in hues):
        raise ValueError(f"the predictor is told of changes of colour, but the features have no {' and '.join(pose.HUES)}")
    return pose.with_hues(poses, torch.from_numpy(np.stack(hues, 1)))


@dataclass(frozen=True)
class Live:
    """The encoder beside its features, for measures that have to look again: at moved pictures, between layers, at small turns.

    Attributes:
        encoder: `vsie.encoders.base.Encoder`, on the CPU and in eval mode.
        train: ``train[i]["frames"]`` is clip i of the train features, (F, H, W, 3) uint8.
        test: The same of the test features.
        window: How many frames of a clip the encoder sees together, and the largest number of frames between two of them.
        turns: Gives renderings of objects that turn a little (`vsie.render.turns.Turns`); None where there are none.
    """

    encoder: torch.nn.Module
    train: Sequence
    test: Sequence
    window: tuple[int, int]
    turns: Callable[[], object] | None = None


def check_scorable(features: Features, name: str) -> None:
    """Refuse features that hold NaN, or a part that is one point: no probe on them means anything.

    Raises:
        ValueError: Names the set, the source, and the part.
    """
    for source in SOURCES[:1] if features.clip is features.image else SOURCES:
        for part in features.parts():
            values = features.rows(part, source)
            bad, largest, deviation = _spread(values)
            if bad:
                raise ValueError(f"{name} features, part {part} ({source}): {bad} of {len(values)} rows are not finite")
            if deviation <= 1e-6 * max(1.0, largest):
                raise ValueError(
                    f"{name} features, part {part} ({source}) have collapsed: the largest standard deviation of a "
                    f"dimension is {deviation:.1e} (rank 0); there is nothing to score"
                )
    rotations = torch.from_numpy(np.ascontiguousarray(features.poses[..., :3, :3]))
    error = (rotations.mT @ rotations - torch.eye(3, dtype=rotations.dtype)).abs().amax((-1, -2))
    good = (error <= 1e-3).numpy() & np.isfinite(features.poses).all((-1, -2))
    if not good.all():
        clip, frame = np.argwhere(~good)[0]
        raise ValueError(
            f"{name} features, {features.paths[clip]}, frame {frame}: the pose's rotation is not orthonormal, or its translation "
            "not finite"
        )


def _spread(values: np.ndarray) -> tuple[int, float, float]:
    """Of rows (N, d), read in pieces: how many are not finite, the largest size, a dimension's largest standard deviation."""
    bad, largest, shift = 0, 0.0, values[0].astype(np.float64)
    sums = np.zeros((2, values.shape[1]))
    for first in range(0, len(values), CHUNK):
        piece = values[first : first + CHUNK].astype(np.float64)
        bad += int((~np.isfinite(piece)).any(1).sum())
        if not bad:
            largest = max(largest, float(np.abs(piece).max()))
            sums += (piece - shift).sum(0), np.square(piece - shift).sum(0)
    variance = sums[1] / len(values) - np.square(sums[0] / len(values))
    return bad, largest, float(np.sqrt(variance.clip(0).max()))
