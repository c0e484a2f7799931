"""Is one thing larger than another, on the same held-out objects? Outcomes kept per object, and paired bootstraps of them.

A measure keeps what its score is made of as a `Sample`. Scores of two runs, or of two representations of one run, are then
resampled with the same draw of objects, so that what is hard for both cancels: the interval of a difference is much narrower
than two intervals side by side suggest. Over several seeds each resample also draws seeds: the held-out objects are the same in
all of them, so an average over seeds alone would hide how much the objects matter, and objects alone how much the seeds do.

Notable: with three seeds the draw of seeds often takes the least one three times (1 in 27), so an interval without zero means
in effect that no seed disagrees.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vsie.evaluation import rotations
from vsie.evaluation.bootstrap import LEVEL, draw, group_sums, medians
from vsie.feature_set import Features
from vsie.files import atomic_path

REPLICATES = 1000


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def _explained(sums: np.ndarray) -> np.ndarray:
    return 1 - sums[..., 0] / sums[..., 1]


def _share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / (sums[..., 2] - np.square(sums[..., 3:]).sum(-1) / sums[..., 1])


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": _ratio, "r2": rotations.r2_per_dimension, "explained": _explained, "share": _share,
}  # fmt: skip


class Quantity(Protocol):
    """A number with its resamples over objects.

    Attributes:
        names: (objects,) sorted ids of the held-out objects it was measured on.
        value: The number itself.
    """

    names: np.ndarray
    value: float

    def replicates(self, counts: np.ndarray) -> np.ndarray:
        """The number (R,) in resamples that hold object i `counts[:, i]` times, (R, objects)."""


@dataclass(frozen=True)
class Sample:
    """What a score is made of.

    Attributes:
        kind: ``median`` of values (items, 1), or the name of a statistic of sums: ``mean`` (sum, count), ``r2`` (terms of
            `rotations.r2_sums`), ``explained`` 1 - a / b of (a, b), ``share`` of the variance within orbits.
        values: (items, S): an item a row, or already summed by object.
        objects: (items,) object of each row.
    """

    kind: str
    values: np.ndarray
    objects: np.ndarray

    def __post_init__(self) -> None:
        if self.kind != "median" and self.kind not in STATISTICS:
            raise ValueError(f"a sample's kind is {self.kind!r}, expected median, {', '.join(STATISTICS)}")
        if self.values.ndim != 2 or self.objects.shape != self.values.shape[:1]:
            raise ValueError(f"a sample has values {self.values.shape} of objects {self.objects.shape}, expected (n, S), (n,)")

    @property
    def names(self) -> np.ndarray:
        """Sorted ids of its objects."""
        return np.unique(self.objects)

    @property
    def value(self) -> float:
        """The score over all objects."""
        if self.kind == "median":
            return float(np.median(self.values[:, 0]))
        return float(STATISTICS[self.kind](self.values.astype(np.float64).sum(0)))

    def replicates(self, counts: np.ndarray) -> np.ndarray:
        """The score (R,) in resamples (R, objects)."""
        if self.kind != "median":
            return STATISTICS[self.kind](counts @ group_sums(self.values.astype(np.float64), self.objects))
        return medians(self.values[:, 0], self.objects, counts).astype(np.float64)


def of_items(kind: str, values: np.ndarray, objects: np.ndarray) -> Sample:
    """A sample of the outcomes (items,) of items whose objects are (items,): a ``median``, or the sums of their ``mean``."""
    values = np.asarray(values, np.float64).reshape(-1)
    if kind == "median":
        return Sample(kind, values[:, None].astype(np.float32), np.asarray(objects))
    return Sample(kind, group_sums(np.stack([values, np.ones_like(values)], 1), objects), np.unique(objects))


@dataclass(frozen=True)
class Worst:
    """The largest of several scores, each above its own floor: what the best of several probes finds.

    Never below 0: a probe that does worse than who sees nothing has found nothing.
    """

    parts: Sequence[tuple[Quantity, float]]

    @property
    def names(self) -> np.ndarray:
        """Those of the scores, which have to agree."""
        return common([part for part, _ in self.parts])

    @property
    def value(self) -> float:
        """The largest score above its floor."""
        return float(np.max([part.value - floor for part, floor in self.parts]).clip(0))  # NaN where one is

    def replicates(self, counts: np.ndarray) -> np.ndarray:
        """The same (R,) in resamples (R, objects)."""
        return np.max([part.replicates(counts) - floor for part, floor in self.parts], 0).clip(0)


@dataclass(frozen=True)
class Relative:
    """(own - floor) / (whole - floor), a share of what `whole` knows; NaN where `whole` is less than `least` above the floor.

    Where less is better (`higher` False) above the floor means below it.
    """

    own: Quantity
    whole: Quantity
    floor: float
    least: float = 0.02
    higher: bool = True

    @property
    def names(self) -> np.ndarray:
        """Those of both, which have to agree."""
        return common([self.own, self.whole])

    @property
    def value(self) -> float:
        """The share."""
        above = self._above(self.whole.value)
        return self._above(self.own.value) / above if above >= self.least else math.nan

    def replicates(self, counts: np.ndarray) -> np.ndarray:
        """The same (R,) in resamples (R, objects)."""
        above = self._above(self.whole.replicates(counts))
        return self._above(self.own.replicates(counts)) / np.where(above >= self.least, above, np.nan)

    def _above(self, value):
        return value - self.floor if self.higher else self.floor - value


@dataclass(frozen=True)
class Minus:
    """One number less another, on the same objects."""

    first: Quantity
    second: Quantity

    @property
    def names(self) -> np.ndarray:
        """Those of both, which have to agree."""
        return common([self.first, self.second])

    @property
    def value(self) -> float:
        """The difference."""
        return self.first.value - self.second.value

    def replicates(self, counts: np.ndarray) -> np.ndarray:
        """The same (R,) in resamples (R, objects)."""
        return self.first.replicates(counts) - self.second.replicates(counts)


def common(quantities: Sequence[Quantity]) -> np.ndarray:
    """The objects (n,) that all of them were measured on.

    Raises:
        ValueError: They were measured on different ones: nothing is paired then.
    """
    names = quantities[0].names
    for other in quantities[1:]:
        if not np.array_equal(names, other.names):
            raise ValueError(f"measured on different held-out objects ({len(names)} and {len(other.names)}); nothing is paired")
    return names


@dataclass(frozen=True)
class Estimate:
    """A number over seeds: its mean, its 95 % interval over objects and seeds, and the number of each seed."""

    value: float
    low: float
    high: float
    each: tuple[float, ...]

    def verdict(self, *, higher: bool = True) -> str:
        """``better``, ``worse``, or ``not shown`` where the interval holds zero (or is not known)."""
        if not (self.low > 0 or self.high < 0):
            return "not shown"
        return "better" if (self.low > 0) == higher else "worse"

    def within(self, margin: float) -> bool:
        """Whether the interval shows that it is not below -`margin`."""
        return self.low > -margin


def estimate(quantities: Sequence[Quantity], *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """The mean over seeds of a number, with its interval over objects and seeds.

    Args:
        quantities: One per seed, all measured on the same held-out objects.
        replicates: Resamples; each draws objects once for all seeds, and seeds with replacement.
        seed: Of the resamples.

    Raises:
        ValueError: No seed is given, or the objects differ.
    """
    if not quantities:
        raise ValueError("an estimate needs at least one seed")
    counts = draw(len(common(quantities)), replicates=replicates, seed=seed)
    each = tuple(quantity.value for quantity in quantities)
    table = np.stack([quantity.replicates(counts) for quantity in quantities], 1)
    chosen = np.random.default_rng(seed + 1).integers(len(each), size=(replicates, len(each)))
    values = np.take_along_axis(table, chosen, 1).mean(1)
    if not (np.isfinite(each).all() and np.isfinite(values).any()):  # not known for all seeds: nothing is said of it
        return Estimate(float(np.mean(each)), math.nan, math.nan, each)
    low, high = np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Estimate(float(np.mean(each)), float(low), float(high), each)


def fingerprint(features: Features) -> str:
    """What tells one set of held-out clips (and what was known of them) from another, wherever the files lie."""
    digest = hashlib.sha256()
    for array in (features.objects, features.clips, features.labels):
        digest.update(np.ascontiguousarray(array, np.int64).tobytes())
    digest.update(np.ascontiguousarray(np.round(features.poses, 4) + 0.0, np.float32).tobytes())
    return digest.hexdigest()[:16]


def save(file: Path | str, samples: Mapping[str, Sample], *, clips: str = "") -> None:
    """Write samples by key to an .npz, atomically, with the fingerprint of the clips that they are of.

    Values are single precision there, sums of squares about the mean of all. A column that several samples have, such as the sums
    of a truth that many probes are held against, is there once: rows of ``values-N`` and ``objects-N`` are the distinct columns
    of N items, ``places`` says which are whose.
    """
    tables: dict[str, dict[bytes, int]] = {}

    def place(table: str, column: np.ndarray) -> int:
        held = tables.setdefault(table, {})
        return held.setdefault(column.tobytes(), len(held))

    items, widths, owners, places = [], [], [], []
    for sample in samples.values():
        count, width = sample.values.shape
        items.append(count)
        widths.append(width)
        owners.append(place(f"objects-{count}", np.asarray(sample.objects, np.int64)))
        values = rotations.recentred(sample.values) if sample.kind == "r2" else sample.values
        places += [place(f"values-{count}", column) for column in np.asarray(values.T, np.float32)]
    arrays = {
        name: np.frombuffer(b"".join(held), np.int64 if name.startswith("objects") else np.float32).reshape(len(held), -1)
        for name, held in tables.items()
    }
    arrays |= {"keys": np.array(list(samples), np.str_), "kinds": np.array([sample.kind for sample in samples.values()], np.str_)}
    arrays |= {"clips": np.array(clips, np.str_), "items": np.array(items, np.int64), "widths": np.array(widths, np.int64)}
    arrays |= {"owners": np.array(owners, np.int64), "places": np.array(places, np.int64)}
    with atomic_path(file) as temporary:
        np.savez_compressed(temporary, **arrays)


def load(file: Path | str) -> tuple[dict[str, Sample], str]:
    """Samples by key, and the fingerprint, from an .npz that `save` wrote; nothing in the file is run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not one of these.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"no samples at {file}: evaluate the run")
    with np.load(file, allow_pickle=False) as stored:
        expected = {"keys", "kinds", "clips", "items", "widths", "owners", "places"}
        if not expected <= set(stored.files):
            raise ValueError(f"{file} holds no samples: {', '.join(sorted(expected - set(stored.files)))} missing")
        arrays = {name: stored[name] for name in stored.files}
    last = np.cumsum(arrays["widths"])
    samples = {}
    for key, kind, count, width, owner, end in zip(
        *(arrays[name].tolist() for name in ("keys", "kinds", "items", "widths", "owners")), last.tolist(), strict=True
    ):
        values = arrays[f"values-{count}"][arrays["places"][end - width : end]].T
        samples[key] = Sample(kind, values, arrays[f"objects-{count}"][owner])
    return samples, str(arrays["clips"])
