"""The predictor of EquiMod and its kin: an MLP that is given the latent and an embedding of the delta side by side."""

from __future__ import annotations

from torch import Tensor, nn

from vsie.predictors.base import Predictor, mlp, row_norm


class MLP(Predictor):
    """MLP on ``[latent, embed(delta)]``.

    Notable: the first layer is ``U latent + V embed(delta)``, so all motions of one latent share its product with U.

    Args:
        dim: Width of the latent.
        delta_dim: Width of the delta's encoding.
        hidden: Widths of the hidden layers.
        embedding: Width of the delta's embedding (one linear layer and a GELU).
        residual: Predict the displacement, not the latent.
        norm: Of the first hidden layer before its activation: ``none``, ``batch`` or ``layer``.
    """

    def __init__(
        self, dim: int, delta_dim: int, *, hidden: tuple[int, ...] = (512,), embedding: int = 64, residual: bool = False,
        norm: str = "none",
    ) -> None:  # fmt: skip
        super().__init__(dim, delta_dim)
        if not hidden:
            raise ValueError("predictor.hidden is empty: without a hidden layer latent and motion would only be added")
        self.residual = residual
        self.embed = mlp((delta_dim, embedding))
        self.from_latent = nn.Linear(dim, hidden[0])
        self.from_delta = nn.Linear(embedding, hidden[0], bias=False)
        self.norm = nn.Identity() if norm == "none" else row_norm(norm, hidden[0])
        self.trunk = mlp(tuple(hidden))
        self.out = nn.Linear(hidden[-1], dim)

    def forward(self, latent: Tensor, delta: Tensor) -> Tensor:
        """Steer `latent` (..., dim) by `delta` (..., delta_dim); see `Predictor` for the leading shapes."""
        latent = self.align(latent, delta)
        mixed = self.from_latent(latent) + self.from_delta(self.embed(delta))
        mixed = self.norm(mixed.reshape(-1, mixed.shape[-1])).reshape(mixed.shape)
        predicted = self.out(self.trunk(nn.functional.gelu(mixed)))
        return latent + predicted if self.residual else predicted
