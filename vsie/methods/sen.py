"""SEN (Park, Biza, Zhao, van de Meent, Walters, ICML 2022, arXiv 2204.11371): symmetric embedding networks.

One latent, moved as a whole by a linear map M(delta), learned by contrast over steered latents alone:

    -log exp(cos(M(delta_ij) z_i, z_j) / t) / sum over k != i of exp(cos(M(delta_ij) z_i, z_k) / t)

with k over all views of the batch. There is no invariance term. The paper's contrast is a hinge on distances; InfoNCE is
the form in which the 3DIEBench line compares with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vsie.encoders.base import Encoder
from vsie.methods.base import Method
from vsie.methods.conditioning import Conditioning
from vsie.objectives import SteeredContrast
from vsie.predictors.base import Predictor


class SEN(Method):
    """Contrast over steered latents.

    Args:
        encoder: Clip -> per-step latents.
        conditioning: How deltas are told.
        predictor: The paper's is linear in the latent: `Hypernetwork`, or `Lie`.
        invariant_share: Where the table cuts the latent.
        weights: Of ``equivariance``.
        temperature: Of the contrast.
        projector_width: See `Projector`.
        projector_layers: See `Projector`.
        projector_norm: See `Projector`.
    """

    TERMS = ("equivariance",)
    PROJECTORS = "whole"
    part = "all"
    similarity = "cosine"
    weighs = True

    def __init__(
        self,
        encoder: Encoder,
        conditioning: Conditioning,
        predictor: Predictor,
        *,
        invariant_share: float = 0.5,
        weights: Mapping[str, float],
        temperature: float = 0.1,
        projector_width: int = 256,
        projector_layers: int = 3,
        projector_norm: str = "batch",
    ) -> None:
        super().__init__(
            encoder, conditioning, predictor, invariant_share=invariant_share, weights=weights,
            projector_width=projector_width, projector_layers=projector_layers, projector_norm=projector_norm,
        )  # fmt: skip
        self.contrast = SteeredContrast(temperature=temperature)

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        embedded = self.projector(latents)
        return {"equivariance": self.contrast(self.predict(embedded, poses), embedded, trust)}

    def embed(self, latents: Tensor) -> Tensor:
        """The predictor's space, from whole latents (..., D)."""
        return self.projector(latents)
