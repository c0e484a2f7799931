"""The contract of every predictor."""

from __future__ import annotations

from torch import Tensor, nn


class Predictor(nn.Module):
    """Steers a latent by an encoded delta: ``(latent (..., dim), delta (..., delta_dim)) -> (..., dim)``.

    Leading shapes broadcast. A delta may also have one axis more than the latent, at the place before the last: (B, S, d)
    with (B, S, M, k) are M motions of each of the S latents and give (B, S, M, d).

    Attributes:
        linear: Whether the prediction is ``sum_k h_k(delta) A_k latent`` with a fixed number of matrices. Then the predictor
            also has `expand` and `coefficients`, and a candidate motion costs evaluation K numbers, not a forward pass.
        encoding: The encoding in which the delta has to be told, neither centred nor with a translation; None takes any.

    Args:
        dim: Width of the latent.
        delta_dim: Width of the delta's encoding.
    """

    linear = False
    encoding: str | None = None

    def __init__(self, dim: int, delta_dim: int) -> None:
        super().__init__()
        self.dim, self.delta_dim = dim, delta_dim

    def check(self, latent: Tensor | None = None, delta: Tensor | None = None) -> None:
        """Raise a ValueError unless the widths are those of the constructor."""
        if latent is not None and latent.shape[-1] != self.dim:
            raise ValueError(f"the predictor takes latents of width {self.dim}, found {latent.shape[-1]}")
        if delta is not None and delta.shape[-1] != self.delta_dim:
            raise ValueError(f"the predictor takes deltas of width {self.delta_dim}, found {delta.shape[-1]}")

    def align(self, latent: Tensor, delta: Tensor) -> Tensor:
        """The latent, with an axis for the motions of one latent where the delta has one more than the latent."""
        self.check(latent, delta)
        return latent[..., None, :] if delta.dim() == latent.dim() + 1 else latent

    def fit(self, deltas: Tensor) -> None:
        """Told encoded training deltas (M, delta_dim) once, before the training, by a predictor that makes use of them."""

    # Only where `linear`:

    def expand(self, latent: Tensor) -> Tensor:
        """A_k x for every k, (..., K, dim), of latents (..., dim)."""
        raise TypeError(f"{type(self).__name__} is not linear in the latent: it has no fixed matrices")

    def coefficients(self, delta: Tensor) -> Tensor:
        """h_k, (..., K), of encoded deltas (..., delta_dim)."""
        raise TypeError(f"{type(self).__name__} is not linear in the latent: it has no coefficients")


ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


def mlp(widths: tuple[int, ...], *, activation: str = "gelu", bias: bool = True) -> nn.Sequential:
    """Linear layers of these widths, each followed by an activation, of `ACTIVATIONS`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def row_norm(name: str, width: int) -> nn.Module:
    """The norm layer of rows (R, width) that is called `name`: ``batch``, or ``layer`` (free of the batch)."""
    if name == "batch":
        return nn.BatchNorm1d(width)
    if name == "layer":
        return nn.LayerNorm(width)
    raise ValueError(f"norm is {name!r}, expected batch or layer")
