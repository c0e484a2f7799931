"""SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020, arXiv 2002.05709): contrast between objects, invariance only.

    l(i, j) = -log exp(cos(z_i, z_j) / t) / sum over k of exp(cos(z_i, z_k) / t)

over all ordered pairs (i, j) of views of one object; k runs over j and all views of other objects, which with two views of
each object is the paper's NT-Xent. The views are steps of clips instead of augmentations of one image.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vsie.encoders.base import Encoder
from vsie.methods.base import Method
from vsie.methods.conditioning import Conditioning
from vsie.objectives import ObjectContrast


class SimCLR(Method):
    """Contrast between objects over the whole latent.

    Args:
        encoder: Clip -> per-step latents.
        conditioning: Not used; the frame in which evaluation states motion.
        predictor: Not used.
        invariant_share: Where the table cuts the latent.
        weights: Of ``identity``.
        temperature: Of the softmax.
        projector_width: See `Projector`.
        projector_layers: See `Projector`.
        projector_norm: See `Projector`.
    """

    TERMS = ("identity",)
    NEEDS_PREDICTOR = False
    PROJECTORS = "whole"
    similarity = "cosine"

    def __init__(
        self,
        encoder: Encoder,
        conditioning: Conditioning,
        predictor: nn.Module | None = None,
        *,
        invariant_share: float = 0.5,
        weights: Mapping[str, float],
        temperature: float = 0.1,
        projector_width: int = 256,
        projector_layers: int = 3,
        projector_norm: str = "batch",
    ) -> None:
        super().__init__(
            encoder, conditioning, None, invariant_share=invariant_share, weights=weights,
            projector_width=projector_width, projector_layers=projector_layers, projector_norm=projector_norm,
        )  # fmt: skip
        self.identity = ObjectContrast(temperature=temperature)

    def terms(self, latents: Tensor, poses: Tensor | None) -> dict[str, Tensor]:
        return {"identity": self.identity(self.projector(latents))}
