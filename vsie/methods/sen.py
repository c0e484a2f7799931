"""SEN (Park, Biza, Zhao, van de Meent, Walters, ICML 2022, arXiv 2204.11371): symmetric embedding networks.

One latent, moved as a whole by a linear map M(delta), learned by contrast over steered latents alone:

    -log exp(cos(M(delta_ij) z_i, z_j) / t) / sum over k != i of exp(cos(M(delta_ij) z_i, z_k) / t)

with k over all views of the batch. There is no invariance term. The paper's contrast is a hinge on distances; InfoNCE is
the form in which the 3DIEBench line compares with it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vsie.methods.base import Method
from vsie.objectives import SteeredContrast


class SEN(Method):
    """Contrast over steered latents.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``equivariance``.
        temperature: Of the contrast.
    """

    TERMS = ("equivariance",)
    PROJECTORS = "whole"
    part = "all"
    similarity = "cosine"
    weighs = True

    def __init__(self, *parts: Any, temperature: float = 0.1, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.contrast = SteeredContrast(temperature=temperature)

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        embedded = self.projector(latents)
        return {"equivariance": self.contrast(self.predict(embedded, poses), embedded, trust)}

    def embed(self, latents: Tensor) -> Tensor:
        """The predictor's space, from whole latents (..., D)."""
        return self.projector(latents)
