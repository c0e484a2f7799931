"""Percentile intervals over objects.

Notable: frames and pairs of one object are not independent, so whole objects are drawn with replacement. A statistic is
never recomputed from raw data: means and ratios come from per-object sums, medians from one sort and cumulated weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

REPLICATES = 200
LEVEL = 0.95
COUNTS = 2**23  # how often items are in resamples, so many numbers at once: 64 MiB


def draw(objects: int, *, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """How often each of `objects` is in each resample: (replicates, objects), every row sums to `objects`."""
    if objects < 1:
        raise ValueError(f"bootstrap over {objects} objects, expected at least one")
    return np.random.default_rng(seed).multinomial(objects, np.full(objects, 1 / objects), size=replicates)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    if np.isnan(values).all():  # of nothing that varies
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def group_sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums (objects, ...) of values (items, ...) by group (items,), groups in sorted order."""
    _, index = np.unique(groups, return_inverse=True)
    sums = np.zeros((index.max() + 1, *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def sums_interval(sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, seed: int = 0) -> tuple[float, float]:
    """Interval of a statistic of summed quantities.

    Args:
        sums: (objects, S) per-object sums.
        statistic: Maps (replicates, S) sums of a resample to (replicates,) values.
        seed: Of the resamples.
    """
    return _percentiles(statistic(draw(len(sums), seed=seed) @ sums))


def mean_interval(values: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Interval of the mean of values (items,) whose objects are groups (items,)."""
    values = np.asarray(values, np.float64)
    sums = group_sums(np.stack([values, np.ones_like(values)], 1), groups)
    return sums_interval(sums, lambda total: total[:, 0] / total[:, 1], seed=seed)


def median_interval(values: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Interval of the median of values (items,) whose objects are groups (items,)."""
    counts = draw(len(np.unique(groups)), seed=seed)
    return _percentiles(medians(np.asarray(values), groups, counts))


def medians(values: np.ndarray, groups: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Medians (R,) of values (items,), whose objects are groups (items,), in resamples (R, objects) that hold object i, in sorted
    order, `counts[:, i]` times."""
    _, index = np.unique(groups, return_inverse=True)
    order = np.argsort(values, kind="stable")
    values, index, found = values[order], index[order], []
    step = max(1, COUNTS // len(values))
    for first in range(0, len(counts), step):
        cumulated = counts[first : first + step, index]
        np.cumsum(cumulated, axis=1, out=cumulated)
        middle = (cumulated < cumulated[:, -1:] / 2).sum(1)
        found.append(values[np.minimum(middle, len(values) - 1)])
    return np.concatenate(found)
