"""How did floor and light change colour between two frames? The pair probe of `pose.py`, asked for two hues.

Notable: a hue is an angle. The probe gives cosine and sine of each difference, so .99 and .01 are near each other, and a
constant scores an R2 of 0. (SIE's released probe regresses the plain difference: `released.colour`.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie.evaluation import rotations
from vsie.evaluation.released import HUES

MEASURES = ("r2", *(f"{hue}_r2" for hue in HUES), *(f"{hue}_median_deg" for hue in HUES))


@dataclass(frozen=True)
class Targets:
    """Hues (N, 2) of frames in one list, in turns."""

    hues: Tensor

    def numbers(self, source: Tensor, target: Tensor) -> Tensor:
        """What the 4 outputs should be, (..., 4): cosine and sine of the floor's difference, then of the spot's."""
        turn = 2 * math.pi * (self.hues[target] - self.hues[source])
        return torch.stack([turn.cos(), turn.sin()], -1).flatten(-2)


def angles_deg(numbers: Tensor) -> np.ndarray:
    """Differences of the two hues (P, 2) in degrees of the colour circle, of outputs (P, 4)."""
    pairs = numbers.double().unflatten(-1, (2, 2))
    return torch.rad2deg(torch.atan2(pairs[..., 1], pairs[..., 0])).numpy()


def circular_errors(predicted_deg: np.ndarray, true_deg: np.ndarray) -> np.ndarray:
    """Absolute differences of angles in degrees, in [0, 180]."""
    return np.abs((predicted_deg - true_deg + 180) % 360 - 180)


@dataclass(frozen=True)
class Scores:
    """On fixed pairs: errors (P, 2) in degrees, R2 terms (P, 13) of the four numbers, object of every pair (P,)."""

    errors: np.ndarray
    terms: np.ndarray
    objects: np.ndarray

    def metrics(self) -> dict[str, float]:
        """The five measures."""
        return {name: float(rotations.r2_per_dimension(self.columns(name).sum(0))) for name in MEASURES[:3]} | {
            name: float(np.median(self.errors[:, i])) for i, name in enumerate(MEASURES[3:])
        }

    def columns(self, name: str) -> np.ndarray:
        """The R2 terms that belong to a measure."""
        if name == "r2":
            return self.terms
        first = 2 * MEASURES[1:3].index(name)
        return self.terms[:, [0, *(1 + 4 * block + first + i for block in range(3) for i in range(2))]]


def score(output: Tensor, targets: Targets, source: Tensor, target: Tensor, objects: np.ndarray) -> Scores:
    """Scores of outputs (P, 4) for pairs of frames (P,), (P,) whose objects are (P,)."""
    wanted = targets.numbers(source, target)
    errors = circular_errors(angles_deg(output), angles_deg(wanted))
    return Scores(errors=errors, terms=rotations.r2_sums(output, wanted), objects=objects)


def floors(train_numbers: Tensor, targets: Targets, source: Tensor, target: Tensor) -> dict[str, float]:
    """Scores of the best constant: the train mean for R2, the best of 360 angles for each median error.

    Args:
        train_numbers: (M, 4) true numbers of train pairs.
        targets: Of the test frames.
        source: (P,) test frames.
        target: (P,) test frames.
    """
    wanted = targets.numbers(source, target)
    constant = train_numbers.double().mean(0).expand(wanted.shape)
    result = score(constant, targets, source, target, np.zeros(len(source), np.int64)).metrics()
    train_deg, test_deg = angles_deg(train_numbers), angles_deg(wanted)
    grid = np.arange(360)[:, None] - 180.0
    for i, name in enumerate(MEASURES[3:]):
        best = grid[np.median(circular_errors(grid, train_deg[None, :4000, i]), axis=1).argmin()]
        result[name] = float(np.median(circular_errors(best, test_deg[:, i])))
    return result
