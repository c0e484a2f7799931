"""The projector ("expander") between a representation and the space of a loss."""

from __future__ import annotations

from torch import Tensor, nn

from vsie.predictors.base import row_norm


class Projector(nn.Module):
    """Linear, norm, ReLU, as often as asked for, and a last linear layer without bias (VICReg, SIE).

    Args:
        dim: Width of the representation.
        width: Of all layers.
        layers: Linear layers in all; 0 is the identity.
        norm: ``batch`` or ``layer``.
    """

    def __init__(self, dim: int, *, width: int = 256, layers: int = 3, norm: str = "batch") -> None:
        super().__init__()
        modules: list[nn.Module] = []
        fan_in = dim
        for _ in range(layers - 1):
            modules += [nn.Linear(fan_in, width), row_norm(norm, width), nn.ReLU(inplace=True)]
            fan_in = width
        if layers:
            modules.append(nn.Linear(fan_in, width, bias=False))
        self.layers = nn.Sequential(*modules)
        self.dim = width if layers else dim

    def forward(self, representation: Tensor) -> Tensor:
        """(..., dim) -> (..., width)."""
        return self.layers(representation.flatten(0, -2)).unflatten(0, representation.shape[:-1])
