"""The control: whatever the motion, nothing changes."""

from __future__ import annotations

import torch
from torch import Tensor

from vsie.predictors.base import Predictor


class Identity(Predictor):
    """Predicts no change: with it an equivariance term is one more invariance term."""

    linear = True

    def __init__(self, dim: int, delta_dim: int) -> None:
        super().__init__(dim, delta_dim)

    def expand(self, latent: Tensor) -> Tensor:
        """The latent itself, (..., 1, dim)."""
        self.check(latent)
        return latent[..., None, :]

    def coefficients(self, delta: Tensor) -> Tensor:
        """Always 1, (..., 1)."""
        self.check(delta=delta)
        return torch.ones_like(delta[..., :1])

    def forward(self, latent: Tensor, delta: Tensor) -> Tensor:
        """The latent, in the shape that latent and delta broadcast to."""
        latent = self.align(latent, delta)
        return latent.expand(*torch.broadcast_shapes(latent.shape[:-1], delta.shape[:-1]), self.dim)
