"""SIE's ablation without an invariant part ("only equivariance"; Garrido, Najman, LeCun, ICML 2023, arXiv 2302.10283).

    L = 10 MSE(W(q) x, y) + 10 [hinge(X) + hinge(Y)] + 10 hinge(W(q) x) + 1 [covariance(X) + covariance(Y)]

with one expander on the whole representation, in whose space the predictor acts; pairs and conditioning as in `sie.py`. What
the split is worth is what this method lacks at class.
"""

from __future__ import annotations

from torch import Tensor

from vsie.methods.sie import SIE


class SIEEquivariant(SIE):
    """The equivariant terms of SIE on all of the latent.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``equivariance``, ``variance``, ``predicted_variance``, ``covariance``.
    """

    TERMS = ("equivariance", "variance", "predicted_variance", "covariance")
    PROJECTORS = "whole"
    part = "all"

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        return self.of_embedded(poses, trust, self.projector(latents))

    def embed(self, latents: Tensor) -> Tensor:
        """The expander's space, from whole latents (..., D)."""
        return self.projector(latents)
