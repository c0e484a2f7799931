"""Means and covariances of (paired) arrays, from chunks and in float64: what SEIS, the ladder, erasers and probes stand on.

Notable: every chunk is shifted by the mean of the first one before it is squared, so a large constant offset costs no digits,
and no array is ever held in float64 as a whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 8192
FAINTEST = 1e-6  # of the strongest direction's variance; less is what rounding leaves of a network that computes in bfloat16
BESIDE = 0.3  # least standard deviation of a principal direction, beside unit dimensions
CONDITIONED = 65_536  # rows are enough to know how they vary
MINIMUM_RANK = 2.0  # a representation with fewer directions is collapsed: a score of it would say nothing


class Unscorable(ValueError):
    """What a question is asked of has no answer to it: it has collapsed, or nothing in it moves."""


class Moments:
    """Running first and second moments of x (N, d) and, where given, y (N, e)."""

    def __init__(self) -> None:
        self.count = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor | None = None) -> Moments:
        """Take in more rows; returns itself.

        Raises:
            ValueError: x and y differ in rows, or hold NaN.
        """
        y = x[:, :0] if y is None else y
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(f"paired arrays are {tuple(x.shape)} and {tuple(y.shape)}, expected (N, d) and (N, e)")
        for first in range(0, len(x), CHUNK):
            a, b = x[first : first + CHUNK].double(), y[first : first + CHUNK].double()
            if not bool(a.isfinite().all() and b.isfinite().all()):
                raise ValueError(f"paired arrays {tuple(x.shape)} and {tuple(y.shape)} hold NaN or infinite numbers")
            if self._shift is None:
                self._shift = a.mean(0), b.mean(0)
            a, b = a - self._shift[0], b - self._shift[1]
            sums = [a.sum(0), b.sum(0), a.mT @ a, a.mT @ b, b.mT @ b]
            self._sums = [s + t for s, t in zip(self._sums, sums, strict=True)] if self._sums else sums
            self.count += len(a)
        return self

    @classmethod
    def of(cls, x: Tensor, y: Tensor | None = None) -> Moments:
        """Of whole arrays."""
        return cls().add(x, y)

    @property
    def mean_x(self) -> Tensor:
        """(d,)."""
        return self._shift[0] + self._sums[0] / self.count

    @property
    def mean_y(self) -> Tensor:
        """(e,)."""
        return self._shift[1] + self._sums[1] / self.count

    @property
    def xx(self) -> Tensor:
        """Covariance (d, d), divided by N."""
        return self._covariance(2, 0, 0)

    @property
    def xy(self) -> Tensor:
        """Cross-covariance (d, e), divided by N."""
        return self._covariance(3, 0, 1)

    @property
    def yy(self) -> Tensor:
        """Covariance (e, e), divided by N."""
        return self._covariance(4, 1, 1)

    def _covariance(self, which: int, left: int, right: int) -> Tensor:
        means = self._sums[left] / self.count, self._sums[right] / self.count
        return self._sums[which] / self.count - torch.outer(*means)


def conditioning(rows: Tensor) -> tuple[Tensor, ...]:
    """Two views of rows (N, d) for a probe: their mean (d,), and maps (d, d) and (d, r) of centred rows, float32.

    Both start from dimensions of unit variance. The first raises the variance v along each of their principal directions to
    v + BESIDE^2; the second makes it 1, and leaves out the directions that rounding could have made. With unit dimensions alone
    a latent that has nearly all of its variance along a few directions hides what it knows in the others: a probe that learns by
    gradient descent finds the less, the worse the latent is conditioned. With the second alone, noise is as loud as what is told,
    which costs where the latent is well conditioned. So probes try both, and train objects choose. Of rows that are all one
    point there is no second. Of more than `CONDITIONED` rows as many are drawn.
    """
    if len(rows) > CONDITIONED:  # drawn, since every so many rows may be the first frames of all clips
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:CONDITIONED].sort().values]
    moments = Moments.of(rows)
    mean, std = moments.mean_x, moments.xx.diagonal().clamp_min(0).sqrt()
    alive = (std > 1e-5 * mean.abs()) & (std > 1e-5 * std.max())
    scale = torch.where(alive, 1 / std.clamp_min(1e-300), torch.zeros_like(std))
    variances, directions = torch.linalg.eigh(moments.xx * scale[:, None] * scale)
    keep = variances > FAINTEST * variances.max().clamp_min(1e-300)
    variances, directions = variances[keep], directions[:, keep]
    lifted = (directions * ((1 + BESIDE**2 / variances).sqrt() - 1)) @ directions.mT
    maps = [scale.diag() + scale[:, None] * lifted, scale[:, None] * directions / variances.sqrt()]
    return tuple(part.float() for part in (mean, *maps[: 2 if len(variances) else 1]))


def effective_rank(covariance: Tensor) -> float:
    """RankMe (Garrido et al. 2023) of centred features with this covariance (d, d): 0 for one point, d for isotropic ones."""
    singular = torch.linalg.eigvalsh(covariance).clamp_min(0).sqrt()
    total = singular.sum()
    if float(total) == 0:
        return 0.0
    share = singular / total
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))


def scorable_rank(covariance: Tensor, mean: Tensor, name: str) -> float:
    """The effective rank of what is about to be scored.

    Raises:
        Unscorable: It has collapsed (all rows are one point, or lie on a line); `name` says what.
    """
    dims = len(covariance)
    spread = float(covariance.diagonal().clamp_min(0).max().sqrt()) if dims else 0.0
    rank = effective_rank(covariance) if spread > 1e-6 * max(1.0, float(mean.abs().max())) else 0.0
    if rank < min(MINIMUM_RANK, (dims + 1) / 2) - 1e-6:
        raise Unscorable(
            f"{name} has collapsed: effective rank {rank:.2f} of {dims} dimensions (largest standard deviation {spread:.1e}); "
            f"it is flagged and not scored"
        )
    return rank


def derangement(count: int, *, seed: int = 0) -> Tensor:
    """A permutation (count,) without fixed points: which pairs are shuffled to for a null."""
    if count < 2:
        raise ValueError(f"{count} pairs cannot be shuffled, expected at least 2")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    result = torch.empty_like(order)
    result[order] = order.roll(1)
    return result
