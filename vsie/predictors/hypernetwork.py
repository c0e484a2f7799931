"""The hypernetwork predictor of SIE (Garrido, Najman, LeCun, ICML 2023), without ever building its matrices.

A hypernetwork whose last layer is linear gives ``W(c) = sum_k h_k(c) A_k``, so ``W(c) x = sum_k h_k(c) (A_k x)``: K
products with fixed matrices, shared by the whole batch, in place of one d x d matrix per sample. It is the same function
exactly, with B*K*d numbers in memory and not B*d*d; and all S deltas from one source share its K products.

Where h(c) = c, K is no more than the number of directions that the training deltas have (`Hypernetwork.fit`): a turntable's, told
harmonics, have 4 of 34. On what training tells this is the same function and the same gradients; a direction that training never
tells is not acted on, where untrained matrices would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vsie.predictors.base import Predictor, mlp


class Hypernetwork(Predictor):
    """Linear map of the latent whose matrix is predicted from the delta.

    Args:
        dim: Width d of the latent.
        delta_dim: Width of the delta's encoding. Deltas are expected with a mean square length near 1 (see
            `vsie.methods.conditioning.Conditioning`); unit-variance latents then give unit-variance predictions at the
            start.
        hidden: Widths of an MLP before the linear layer. Empty: h(c) = c. SIE's deep one: the width of the delta twice, ``relu``,
            no bias.
        activation: Between the MLP's layers, ``gelu`` or ``relu``.
        bias: Whether its layers have biases.

    Raises:
        ValueError: There is no such activation.
    """

    linear = True
    UNTOLD = 1e-8  # of the largest mean square along any direction: what has less is rounding

    def __init__(
        self, dim: int, delta_dim: int, *, hidden: tuple[int, ...] = (), activation: str = "gelu", bias: bool = True
    ) -> None:
        super().__init__(dim, delta_dim)
        widths = (delta_dim, *hidden)
        self.trunk = mlp(widths, activation=activation, bias=bias)
        self.matrices = nn.Parameter(torch.empty(widths[-1], dim, dim))  # A_k, [output, input]
        with torch.no_grad():
            deltas = nn.functional.normalize(torch.randn(4096, delta_dim), dim=-1)
            power = self.trunk(deltas).square().sum(-1).mean()
            nn.init.normal_(self.matrices, std=(dim * power.item()) ** -0.5)
        self.register_buffer("directions", torch.eye(widths[-1]))  # columns: an orthonormal basis of what is told, then zeros
        self.basis_size = widths[-1]  # K, the number of fixed matrices: of columns that are not zero

    @torch.no_grad()
    def fit(self, deltas: Tensor) -> None:
        """Take the directions in which encoded training deltas (M, delta_dim) lie; all of them with a hidden layer."""
        self.check(delta=deltas)
        if len(self.trunk):
            return
        rows = deltas.double().flatten(0, -2)
        values, vectors = torch.linalg.eigh(rows.mT @ rows / len(rows))
        kept = vectors[:, values > self.UNTOLD * values[-1]]
        if 0 < kept.shape[1] < self.delta_dim:
            self.directions.zero_()[:, : kept.shape[1]] = kept.to(self.directions)
        else:
            self.directions.copy_(torch.eye(self.delta_dim))
        self.basis_size = int(self.directions.any(0).sum())

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self.basis_size = int(self.directions.any(0).sum())

    def coefficients(self, delta: Tensor) -> Tensor:
        """h(c), shape (..., K), of encoded deltas (..., delta_dim), along the directions that are told."""
        self.check(delta=delta)
        coefficients = self.trunk(delta)
        return coefficients if self._whole else coefficients @ self._told

    def expand(self, latent: Tensor) -> Tensor:
        """A_k x for every k, shape (..., K, dim), of latents (..., dim)."""
        self.check(latent)
        return nn.functional.linear(latent, self.basis().flatten(0, 1)).unflatten(-1, (-1, self.dim))

    def basis(self) -> Tensor:
        """A_k, (K, dim, dim), [k, output, input]."""
        return self.matrices if self._whole else torch.einsum("ck,cij->kij", self._told, self.matrices)

    @property
    def _whole(self) -> bool:
        return self.basis_size == len(self.matrices)

    @property
    def _told(self) -> Tensor:
        return self.directions[:, : self.basis_size]

    def forward(self, latent: Tensor, delta: Tensor) -> Tensor:
        """Steer `latent` (..., dim) by `delta` (..., delta_dim); leading shapes broadcast. Returns (..., dim).

        Deltas may have one more axis than latents at the place before the last: (B, S, d) with (B, S, M, K) gives all M
        predictions of each source, (B, S, M, d), from one expansion.
        """
        self.check(latent, delta)
        coefficients = self.coefficients(delta)
        if coefficients.dim() == latent.dim() + 1:
            return coefficients @ self.expand(latent)
        if coefficients.shape[:-1] == latent.shape[:-1]:
            # one product with K*d inputs instead of K products whose results are added: less memory traffic
            mixed = (coefficients[..., :, None] * latent[..., None, :]).flatten(-2)
            weight = self.basis().permute(1, 0, 2).flatten(1)  # [output, K * input]
            return nn.functional.linear(mixed, weight)
        return (coefficients[..., None, :] @ self.expand(latent)).squeeze(-2)

    def matrix(self, delta: Tensor) -> Tensor:
        """The explicit W(c), shape (..., dim, dim): for checks and for analysis, never for training."""
        return torch.einsum("...k,kij->...ij", self.coefficients(delta), self.basis())
