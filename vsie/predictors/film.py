"""FiLM (Perez et al., AAAI 2018): the delta scales and shifts the hidden layers of an MLP on the latent."""

from __future__ import annotations

from torch import Tensor, nn

from vsie.predictors.base import Predictor, mlp


class FiLM(Predictor):
    """MLP on the latent; each hidden layer, normalised, is scaled by 1 + gamma(delta) and shifted by beta(delta).

    Args:
        dim: Width of the latent.
        delta_dim: Width of the delta's encoding.
        hidden: Widths of the hidden layers.
        embedding: Width of the delta's embedding, from which every gamma and beta is a linear map.
        residual: Predict the displacement, not the latent.
    """

    def __init__(
        self, dim: int, delta_dim: int, *, hidden: tuple[int, ...] = (512, 512), embedding: int = 64, residual: bool = False
    ) -> None:
        super().__init__(dim, delta_dim)
        if not hidden:
            raise ValueError("predictor.hidden is empty: there is no layer that the motion could modulate")
        self.residual = residual
        self.embed = mlp((delta_dim, embedding))
        widths = (dim, *hidden)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for width in hidden)
        self.modulations = nn.ModuleList(nn.Linear(embedding, 2 * width) for width in hidden)
        self.out = nn.Linear(hidden[-1], dim)

    def forward(self, latent: Tensor, delta: Tensor) -> Tensor:
        """Steer `latent` (..., dim) by `delta` (..., delta_dim); see `Predictor` for the leading shapes."""
        latent = self.align(latent, delta)
        embedded, hidden = self.embed(delta), latent
        for layer, norm, modulation in zip(self.layers, self.norms, self.modulations, strict=True):
            gamma, beta = modulation(embedded).chunk(2, -1)
            hidden = nn.functional.gelu(norm(layer(hidden)) * (1 + gamma) + beta)
        predicted = self.out(hidden)
        return latent + predicted if self.residual else predicted
