"""Collapse alarms: how many directions a representation uses, how far it spreads, what it spreads over."""

from __future__ import annotations

import torch
from torch import Tensor


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
    if not bool(features.isfinite().all()):
        raise ValueError("rankme takes finite features; there are NaN or infinite ones")
    values = features.double()
    centred = values - values.mean(0)
    # From the smaller Gram matrix: d x d is far cheaper than an SVD of N x d.
    gram = centred.mT @ centred if centred.shape[0] >= centred.shape[1] else centred @ centred.mT
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    total = singular.sum()
    if float(total) <= 1e-12 * max(1.0, float(values.abs().max())) * len(values):
        return 0.0
    share = singular / total
    return float(torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum()))


def mean_std(features: Tensor) -> float:
    """Mean over dimensions of the standard deviation of features (N, d)."""
    return float(features.double().std(0, unbiased=False).mean())


def within_object_share(features: Tensor, objects: Tensor) -> float:
    """Share of the variance that lies within objects: mean over dimensions of within-object variance / total variance.

    It needs no pose: 0 for a representation that knows only the object, 1 for one that knows nothing of it.

    Args:
        features: (N, d).
        objects: (N,) ids.
    """
    values = features.double()
    _, index = torch.unique(objects, return_inverse=True)
    count = torch.bincount(index).to(values.dtype)
    means = values.new_zeros(len(count), values.shape[1]).index_add(0, index, values) / count[:, None]
    within = (values - means[index]).square().mean(0)
    total = (values - values.mean(0)).square().mean(0)
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
