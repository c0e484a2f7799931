"""Errors and floors of predicted rotations.

Notable: the floor of a rotation error is not chance but the best *constant* rotation, searched among the train deltas
for each measure on its own: it is what a probe learns that sees nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vsie import pose

MEASURES = ("geodesic_median_deg", "geodesic_mean_deg", "acc@15", "acc@30")


def errors_deg(predicted: Tensor, true: Tensor) -> np.ndarray:
    """Geodesic errors (...) in degrees between rotations (..., 3, 3)."""
    return torch.rad2deg(pose.geodesic(predicted.double(), true.double())).numpy()


def summarise(errors: np.ndarray) -> dict[str, float]:
    """Median and mean in degrees, and the share of errors (P,) of at most 15 and 30 degrees."""
    return {
        "geodesic_median_deg": float(np.median(errors)),
        "geodesic_mean_deg": float(errors.mean()),
        "acc@15": float((errors <= 15).mean()),
        "acc@30": float((errors <= 30).mean()),
    }


def _angle_table(candidates: Tensor, true: Tensor) -> Tensor:
    """Angles (C, P) in degrees between unit quaternions of rotations (C, 3, 3) and (P, 3, 3)."""
    first, second = pose.to_quaternion(candidates.double()), pose.to_quaternion(true.double())
    return torch.rad2deg(2 * torch.acos((first @ second.mT).abs().clamp_max(1)))


def best_constants(deltas: Tensor, *, candidates: int = 400, pairs: int = 4000, seed: int = 0) -> dict[str, Tensor]:
    """The constant rotation (3, 3) that scores best on `deltas` (M, 3, 3), for each of `MEASURES`.

    Searched among `candidates` of the deltas themselves, their chordal mean and the identity, judged on at most `pairs`
    of the deltas.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(deltas), generator=generator)
    judged = deltas[order[:pairs]].double()
    pool = deltas[order.flip(0)[:candidates]].double()
    pool = torch.cat([pool, pose.project(deltas.double().mean(0))[None], torch.eye(3, dtype=torch.float64)[None]])
    table = _angle_table(pool, judged)
    scores = {
        "geodesic_median_deg": -table.median(1).values, "geodesic_mean_deg": -table.mean(1),
        "acc@15": (table <= 15).double().mean(1), "acc@30": (table <= 30).double().mean(1),
    }  # fmt: skip
    return {name: pool[int(score.argmax())] for name, score in scores.items()}


def constant_floor(constants: dict[str, Tensor], true: Tensor) -> dict[str, float]:
    """What the constants of `best_constants` score on true deltas (P, 3, 3)."""
    return {name: summarise(errors_deg(constants[name].expand(true.shape), true))[name] for name in MEASURES}


def r2_sums(predicted: Tensor, true: Tensor) -> np.ndarray:
    """Per-item terms (P, 1 + 3 d) from whose sums every R2 below follows: 1, residual^2, true, true^2 per dimension."""
    predicted, true = predicted.double(), true.double()
    ones = torch.ones(len(true), 1, dtype=torch.float64)
    return torch.cat([ones, (predicted - true).square(), true, true.square()], 1).numpy()


def recentred(sums: np.ndarray) -> np.ndarray:
    """Sums (items, 1 + 3 d) of the terms of `r2_sums` with the true numbers about their mean over all items.

    Every R2 of them is the same, and what does not vary is 0 and not the difference of two large numbers.
    """
    count, residual, first, second = _split(sums)
    mean = first.sum(0) / count.sum(0)
    mean = np.where(np.abs(mean) > 1e-4 * np.sqrt(np.maximum(second.sum(0), 0) / count.sum(0)), mean, 0)  # about it already
    return np.concatenate([count, residual, first - count * mean, second - 2 * mean * first + count * mean**2], -1)


def r2_per_dimension(sums: np.ndarray) -> np.ndarray:
    """Mean over dimensions of 1 - SS_res / SS_tot; dimensions with no variance are left out.

    Args:
        sums: (..., 1 + 3 d) sums over items of the terms of `r2_sums`.
    """
    count, residual, first, second = _split(sums)
    total = second - first**2 / count
    alive = total > 1e-9 * count
    ratio = np.where(alive, residual / np.where(alive, total, 1), 0)
    number = alive.sum(-1)
    return np.where(number > 0, 1 - ratio.sum(-1) / np.maximum(number, 1), np.nan)


def r2_sie(sums: np.ndarray) -> np.ndarray:
    """SIE's R2: 1 - SS_res / SS_tot over all dimensions together, SS_tot about ONE scalar mean (see REFERENCE: a constant
    predictor scores 0.229 on 3DIEBench, not 0).

    Args:
        sums: (..., 1 + 3 d) sums over items of the terms of `r2_sums`.
    """
    count, residual, first, second = _split(sums)
    dims = residual.shape[-1]
    total = second.sum(-1) - first.sum(-1) ** 2 / (count[..., 0] * dims)
    return 1 - residual.sum(-1) / total


def _split(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    dims = (sums.shape[-1] - 1) // 3
    return sums[..., :1], sums[..., 1 : 1 + dims], sums[..., 1 + dims : 1 + 2 * dims], sums[..., 1 + 2 * dims :]
