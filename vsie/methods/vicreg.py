"""VICReg (Bardes, Ponce, LeCun, ICLR 2022, arXiv 2105.04906): the control that only knows invariance.

Variance, invariance, covariance on the embedding of the whole representation; motion is never told, so what pose there is
in the representation is what invariance left. Both "parts" of the latent are the same kind of thing here and are cut only
so that the table has the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vsie.encoders.base import Encoder
from vsie.methods.base import Method
from vsie.methods.conditioning import Conditioning
from vsie.methods.projector import Projector
from vsie.objectives import Invariance


class VICReg(Method):
    """Invariance, variance and covariance over the whole latent.

    Args:
        encoder: Clip -> per-step latents.
        conditioning: Not used; the frame in which evaluation states motion.
        predictor: Not used.
        invariant_share: Where the table cuts the latent.
        weights: Of ``invariance``, ``variance``, ``covariance``.
        projector_width: See `Projector`.
        projector_layers: See `Projector`.
        projector_norm: See `Projector`.
    """

    TERMS = ("invariance", "variance", "covariance")
    NEEDS_PREDICTOR = False

    def __init__(
        self,
        encoder: Encoder,
        conditioning: Conditioning,
        predictor: nn.Module | None = None,
        *,
        invariant_share: float = 0.5,
        weights: Mapping[str, float],
        projector_width: int = 256,
        projector_layers: int = 3,
        projector_norm: str = "batch",
    ) -> None:
        super().__init__(
            encoder, conditioning, None, invariant_share=invariant_share, weights=weights,
            projector_width=projector_width, projector_layers=projector_layers, projector_norm=projector_norm,
        )  # fmt: skip
        del self.invariant_projector, self.equivariant_projector
        self.projector = Projector(encoder.dim, width=projector_width, layers=projector_layers, norm=projector_norm)
        self.invariance = Invariance()

    def terms(self, latents: Tensor, poses: Tensor | None) -> dict[str, Tensor]:
        embedded = self.projector(latents)
        variance, covariance = self.anti_collapse(embedded)
        return {"invariance": self.invariance(embedded), "variance": variance, "covariance": covariance}

    def embed(self, equivariant: Tensor) -> Tensor:
        """Nothing steers here: the representation itself."""
        return equivariant
