"""VICReg (Bardes, Ponce, LeCun, ICLR 2022, arXiv 2105.04906): the control that only knows invariance.

Variance, invariance, covariance on the embedding of the whole representation; motion is never told, so what pose there is
in the representation is what invariance left. The latent is not split.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vsie.methods.base import Method
from vsie.objectives import Invariance


class VICReg(Method):
    """Invariance, variance and covariance over the whole latent.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``invariance``, ``variance``, ``covariance``.
    """

    TERMS = ("invariance", "variance", "covariance")
    NEEDS_PREDICTOR = False
    PROJECTORS = "whole"

    def __init__(self, *parts: Any, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.invariance = Invariance()

    def terms(self, latents: Tensor, poses: Tensor | None) -> dict[str, Tensor]:
        embedded = self.projector(latents)
        variance, covariance = self.anti_collapse(embedded)
        return {"invariance": self.invariance(embedded), "variance": variance, "covariance": covariance}
