"""From all pairs of a clip to one trajectory: rotation synchronisation.

Notable: with relative rotations ``R_ij = R_i^T R_j`` the block matrix of all of them has rank 3 and its eigenvectors are
the trajectory (Singer 2011); weights and a robust second look (Cauchy weights, block coordinate steps) discount wrong
pairs, which a chain of neighbours could never notice. Probe, inversion and estimated motion are all tracked by it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vsie import pose

FLOOR = math.radians(5)  # the scale of the Cauchy weights is never below this


def synchronise(relative: Tensor, weights: Tensor, *, frame: str, iterations: int = 8) -> Tensor:
    """Absolute rotations of clips from their pairwise ones.

    Args:
        relative: (B, F, F, 3, 3) the delta from frame i to frame j in `frame`; the diagonal is ignored.
        weights: (B, F, F) non-negative trust in each; 0 of a pair that nothing is known of.
        frame: ``body`` (R_i^T R_j) or ``camera`` (R_j R_i^T).
        iterations: Robust refinements after the spectral start.

    Returns:
        (B, F, 3, 3) rotations with R_0 = I, such that the delta from i to j is R_i^T R_j or R_j R_i^T.
    """
    if frame not in pose.FRAMES:
        raise ValueError(f"frame is {frame!r}, expected one of {', '.join(pose.FRAMES)}")
    relative = relative.double() if frame == "body" else relative.double().mT
    batch, frames = relative.shape[:2]
    if frames == 1:
        return torch.eye(3, dtype=torch.float64).expand(batch, 1, 3, 3).clone()
    weights = weights.double() * ~torch.eye(frames, dtype=torch.bool)
    observed = (weights + weights.mT) > 0
    weights = weights / weights.mean((1, 2), keepdim=True).clamp_min(1e-30) + 1e-6
    weights = weights * ~torch.eye(frames, dtype=torch.bool)
    # Both directions of a pair say one thing: X_i X_j^T with X_i = R_i^T (body) or R_i (camera).
    both = weights[..., None, None] * relative
    both = both + both.transpose(1, 2).mT
    trust = weights + weights.mT
    solution = _spectral(both, trust)
    mean = both / trust.clamp_min(1e-30)[..., None, None]
    for _ in range(iterations):
        current = torch.einsum("biac,bjdc->bijad", solution, solution)
        residual = (mean - current).flatten(-2).norm(dim=-1) / math.sqrt(2)  # ~ the angle, for small ones
        scale = _median_residual(residual, observed).clamp_min(FLOOR)[:, None, None]
        robust = trust / (1 + (residual / scale).square())
        solution = pose.project(torch.einsum("bij,bijac,bjcd->biad", robust, mean, solution))
    if frame == "body":
        solution = solution.mT
        return solution[:, :1].mT @ solution
    return solution @ solution[:, :1].mT


def _median_residual(residual: Tensor, observed: Tensor) -> Tensor:
    """Of the pairs (B, F, F) that anything is known of, (B,); 0 where there are none."""
    return residual.masked_fill(~observed, torch.nan).flatten(1).nanmedian(1).values.nan_to_num(0.0)


def _spectral(both: Tensor, trust: Tensor) -> Tensor:
    """The three leading eigenvectors of the degree-normalised block matrix (B, F, F, 3, 3), as rotations (B, F, 3, 3)."""
    batch, frames = both.shape[:2]
    scale = trust.sum(-1).clamp_min(1e-30).rsqrt()
    block = both * (scale[:, :, None] * scale[:, None, :])[..., None, None]
    block = block.permute(0, 1, 3, 2, 4).reshape(batch, 3 * frames, 3 * frames)
    vectors = torch.linalg.eigh(0.5 * (block + block.mT)).eigenvectors[..., -3:].reshape(batch, frames, 3, 3)
    vectors = vectors / vectors.flatten(-2).norm(dim=-1).clamp_min(1e-12)[..., None, None]
    # The eigenvectors are known up to a common orthogonal matrix: choose the handedness that most frames agree on.
    mirrored = torch.det(vectors).sum(1) < 0
    flip = torch.ones(batch, 1, 1, 3, dtype=both.dtype)
    flip[mirrored, ..., 2] = -1
    return pose.project(vectors * flip)
