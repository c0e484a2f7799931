"""Collapse alarms: how many directions a representation uses, how far it spreads, what it spreads over."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vsie.feature_set import CHUNK


def pieces(features: Tensor) -> Iterator[Tensor]:
    """Rows (n, d) in float64, a few at a time: features may be a file that is larger than memory."""
    return (rows.double() for rows in features.split(CHUNK))


def mean_of(features: Tensor) -> Tensor:
    """The mean row (d,) in float64."""
    return features.double().mean(0) if len(features) <= CHUNK else sum(rows.sum(0) for rows in pieces(features)) / len(features)


def rankme(features: Tensor) -> float:
    """Effective rank: the exponential of the entropy of the normalised singular values (RankMe, Garrido et al. 2023).

    The features are centred first, so a constant representation has rank 0 and an isotropic one has rank d.

    Args:
        features: (N, d).

    Returns:
        A number from 0 (one point) to min(N - 1, d).

    Raises:
        ValueError: When the features are not a non-empty matrix of finite numbers.
    """
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(f"rankme takes features (N, d), found {tuple(features.shape)}")
    if not all(bool(rows.isfinite().all()) for rows in pieces(features)):
        raise ValueError("rankme takes finite features; there are NaN or infinite ones")
    mean, largest = mean_of(features), max(float(features.max()), -float(features.min()))
    # From the smaller Gram matrix: d x d is far cheaper than an SVD of N x d.
    if features.shape[0] >= features.shape[1]:
        gram = sum((rows - mean).mT @ (rows - mean) for rows in pieces(features))
    else:
        centred = features.double() - mean
        gram = centred @ centred.mT
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    total = singular.sum()
    if float(total) <= 1e-12 * max(1.0, largest) * len(features):
        return 0.0
    share = singular / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum()))


def mean_std(features: Tensor) -> float:
    """Mean over dimensions of the standard deviation of features (N, d)."""
    if len(features) <= CHUNK:
        return float(features.double().std(0, unbiased=False).mean())
    mean = mean_of(features)
    return float((sum((rows - mean).square().sum(0) for rows in pieces(features)) / len(features)).sqrt().mean())


def within_object_share(features: Tensor, objects: Tensor) -> float:
    """Share of the variance that lies within objects: mean over dimensions of within-object variance / total variance.

    It needs no pose: 0 for a representation that knows only the object, 1 for one that knows nothing of it.

    Args:
        features: (N, d).
        objects: (N,) ids.
    """
    _, index = torch.unique(objects, return_inverse=True)
    count = torch.bincount(index).double()
    means = torch.zeros(len(count), features.shape[1], dtype=torch.float64, device=features.device)
    for own, rows in zip(index.split(CHUNK), pieces(features), strict=True):
        means.index_add_(0, own, rows)
    means /= count[:, None]
    mean = mean_of(features)
    within = sum((rows - means[own]).square().sum(0) for own, rows in zip(index.split(CHUNK), pieces(features), strict=True))
    total = sum((rows - mean).square().sum(0) for rows in pieces(features))
    within, total = within / len(features), total / len(features)
    alive = total > 1e-12 * total.max().clamp_min(1e-30)
    return float((within[alive] / total[alive]).mean()) if bool(alive.any()) else 0.0


def summary(parts: dict[str, Tensor], objects: Tensor) -> dict[str, float]:
    """All alarms for named parts (N, d): ``collapse/{rankme,std,within_object_share}/<part>``."""
    result = {}
    for name, values in parts.items():
        result[f"collapse/rankme/{name}"] = rankme(values)
        result[f"collapse/std/{name}"] = mean_std(values)
        result[f"collapse/within_object_share/{name}"] = within_object_share(values, objects)
    return result
