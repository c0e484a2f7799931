"""SEIS: is the information still there after a transformation, and is it still in the same place? (arXiv 2602.04054)

Activations before and after a fixed transformation are compared by canonical correlations rho_i between the two leading
subspaces (99 % of the variance), with weight vectors w_i and v_i: ``S_equiv = mean rho_i`` asks whether the information
survives, ``S_inv = mean rho_i |cos(w_i, v_i)|`` whether it stays where it was. High and high: invariant; high and low:
encoded anew; low and low: destroyed. No code was published; this is written from the formulas.

Notable: in sample, as published, the correlations of unrelated data are far from 0 when there are few observations (mean 0.39
at five per variable). `held_out` fits the weights on train pairs and correlates on test pairs, where the null is 0. S_inv has
a floor too, ``S_equiv sqrt(2 / (pi r))``, which is the mean cosine of random directions and is given beside it; a change of
sign passes as no change. Everything follows from covariances, so data of any length can be streamed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vsie.evaluation import bootstrap, ladder
from vsie.evaluation.moments import CHUNK, Moments, Unscorable, derangement, scorable_rank
from vsie.feature_set import flat

VARIANCE = 0.99


@dataclass(frozen=True)
class Variates:
    """Canonical directions: weights (d, r) and (e, r), means (d,) and (e,), in-sample correlations (r,), |cosines| (r,).

    `ranks` are the effective ranks of the two sides.
    """

    weights: tuple[Tensor, Tensor]
    means: tuple[Tensor, Tensor]
    correlations: Tensor
    cosines: Tensor
    ranks: tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """S_equiv and S_inv, each with its 95 % interval over objects and its shuffled-pair null.

    Attributes:
        inv_floor: ``equiv sqrt(2 / (pi r))``, S_inv of directions that have nothing to do with each other.
        ranks: Effective rank of the source and of the target.
        dims: r, the number of canonical correlations.
    """

    equiv: float
    inv: float
    equiv_interval: tuple[float, float]
    inv_interval: tuple[float, float]
    equiv_null: float
    inv_null: float
    inv_floor: float
    ranks: tuple[float, float]
    dims: int


def matricise(activations: Tensor) -> Tensor:
    """Feature maps (b, c, h, w) as published: observations (b c) by variables, the positions (h w)."""
    return rearrange(activations, "b c h w -> (b c) (h w)")


def _whiten(covariance: Tensor, variance: float) -> Tensor:
    """Leading directions (d, k), scaled to unit variance, that hold `variance` of it."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    share = values.cumsum(0) / values.sum()
    keep = int((share < variance).sum()) + 1
    return vectors[:, :keep] / values[:keep].sqrt()


def fit(moments: Moments, *, variance: float = VARIANCE, name: str = "the representation") -> Variates:
    """Canonical directions from the moments of pairs.

    Args:
        moments: Of x (source) and y (target), of one width where S_inv is wanted.
        variance: Share of each side's variance that is kept.
        name: What an error calls it.

    Raises:
        ValueError: A side has collapsed.
    """
    covariances, means = (moments.xx, moments.yy), (moments.mean_x, moments.mean_y)
    ranks = tuple(
        scorable_rank(c, m, f"{name} ({side})") for c, m, side in zip(covariances, means, ("source", "target"), strict=True)
    )
    if len(covariances[0]) != len(covariances[1]):
        raise ValueError(f"SEIS compares equal widths, found {len(covariances[0])} and {len(covariances[1])} variables")
    left, right = (_whiten(c, variance) for c in covariances)
    u, correlations, vt = torch.linalg.svd(left.mT @ moments.xy @ right, full_matrices=False)
    weights = left @ u, right @ vt.mT
    cosines = torch.nn.functional.cosine_similarity(*weights, dim=0).abs()
    return Variates(weights=weights, means=means, correlations=correlations.clamp(max=1), cosines=cosines, ranks=ranks)


def object_sums(variates: Variates, x: Tensor, y: Tensor, objects: np.ndarray) -> np.ndarray:
    """Per-object sums (objects, 1 + 5 r) of 1, u, v, u u, v v, u v over pairs x, y (N, d), in chunks."""
    _, index = np.unique(objects, return_inverse=True)
    place = torch.from_numpy(index)
    sums = torch.zeros(int(place.max()) + 1, 1 + 5 * len(variates.correlations), dtype=torch.float64)
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        u = (x[part].double() - variates.means[0]) @ variates.weights[0]
        v = (y[part].double() - variates.means[1]) @ variates.weights[1]
        terms = torch.cat([torch.ones(len(u), 1, dtype=torch.float64), u, v, u * u, v * v, u * v], 1)
        sums.index_add_(0, place[part], terms)
    return sums.numpy()


def correlations(sums: np.ndarray) -> np.ndarray:
    """Correlations (..., r) from sums (..., 1 + 5 r) of `object_sums`."""
    count, rest = sums[..., :1], sums[..., 1:] / sums[..., :1]
    u, v, uu, vv, uv = np.split(rest, 5, -1)
    scale = np.sqrt(np.maximum(uu - u * u, 0) * np.maximum(vv - v * v, 0))
    return np.where(scale > 0, (uv - u * v) / np.where(scale > 0, scale, 1), 0) * (count > 0)


def _scores(variates: Variates, sums: np.ndarray, null: tuple[float, float], seed: int) -> Scores:
    cosines = variates.cosines.numpy()
    total = correlations(sums.sum(0))
    equiv = float(total.mean())
    return Scores(
        equiv=equiv, inv=float((total * cosines).mean()),
        equiv_interval=bootstrap.sums_interval(sums, lambda s: correlations(s).mean(-1), seed=seed),
        inv_interval=bootstrap.sums_interval(sums, lambda s: (correlations(s) * cosines).mean(-1), seed=seed),
        equiv_null=null[0], inv_null=null[1], inv_floor=equiv * math.sqrt(2 / (math.pi * len(cosines))),
        ranks=variates.ranks, dims=len(cosines),
    )  # fmt: skip


def in_sample(
    x: Tensor, y: Tensor, objects: np.ndarray, *, variance: float = VARIANCE, name: str = "the representation", seed: int = 0
) -> Scores:
    """SEIS as published: fitted and scored on the same pairs.

    The interval resamples objects with the directions held: it is that of the correlations, not of their bias, which the null
    shows.

    Args:
        x: (N, d) source, a row a pair (`matricise` for feature maps).
        y: (N, d) target, after the transformation that is the same for all pairs.
        objects: (N,) object of each pair.
        variance: Share of each side's variance that is kept.
        name: What an error calls it.
        seed: Of the shuffle and of the resamples.

    Raises:
        ValueError: A side has collapsed.
    """
    variates = fit(Moments.of(x, y), variance=variance, name=name)
    shuffled = fit(Moments.of(x, y[derangement(len(y), seed=seed)]), variance=variance, name=name)
    null = float(shuffled.correlations.mean()), float((shuffled.correlations * shuffled.cosines).mean())
    return _scores(variates, object_sums(variates, x, y, objects), null, seed)


def held_out(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], objects: np.ndarray, *, variance: float = VARIANCE,
    name: str = "the representation", seed: int = 0,
) -> Scores:  # fmt: skip
    """SEIS with directions fitted on train pairs and correlations taken on the pairs of other objects.

    Args:
        train: x, y (N, d).
        test: x, y (M, d) of held-out objects.
        objects: (M,) object of each test pair.
        variance: Share of each side's variance that is kept.
        name: What an error calls it.
        seed: Of the shuffle and of the resamples.

    Raises:
        ValueError: A side has collapsed.
    """
    variates = fit(Moments.of(*train), variance=variance, name=name)
    order, test_order = derangement(len(train[0]), seed=seed), derangement(len(test[0]), seed=seed + 1)
    shuffled = fit(Moments.of(train[0], train[1][order]), variance=variance, name=name)
    total = correlations(object_sums(shuffled, test[0], test[1][test_order], objects).sum(0))
    null = float(total.mean()), float((total * shuffled.cosines.numpy()).mean())
    return _scores(variates, object_sums(variates, *test, objects), null, seed)


def protocol(task) -> None:
    """For `suite`: ``seis/{equiv,inv}@<deg>/<part>`` held out, ``seis/{equiv,inv}_in_sample@<deg>/<part>`` as published on the
    test pairs, each with ``/null`` (and for inv ``/floor``) beside it; ``seis/rank@<deg>/<part>``.
    """
    for part in task.test.parts():
        x, u = flat(task.train, part, "clip"), flat(task.test, part, "clip")
        for pairs in ladder.of_task(task):
            train, test = (tuple(z[i] for i in index) for z, index in ((x, pairs.train), (u, pairs.test)))
            options = {"name": f"part {part}", "seed": task.seed}
            try:
                both = held_out(train, test, pairs.objects, **options), in_sample(*test, pairs.objects, **options)
            except Unscorable as error:
                task.result.notes.append(f"seis@{pairs.name} skipped: {error}")
                continue
            for kind, found in zip(("", "_in_sample"), both, strict=True):
                end = f"{kind}@{pairs.name}/{part}"
                task.result.add(f"seis/equiv{end}", found.equiv, found.equiv_interval, null=found.equiv_null)
                task.result.add(f"seis/inv{end}", found.inv, found.inv_interval, null=found.inv_null, floor=found.inv_floor)
            task.result.add(f"seis/rank@{pairs.name}/{part}", found.ranks[1], kept=found.dims)
