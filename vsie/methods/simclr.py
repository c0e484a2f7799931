"""SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020, arXiv 2002.05709): contrast between objects, invariance only.

    l(i, j) = -log exp(cos(z_i, z_j) / t) / sum over k of exp(cos(z_i, z_k) / t)

over all ordered pairs (i, j) of views of one object; k runs over j and all views of other objects, which with two views of
each object is the paper's NT-Xent. The views are steps of clips instead of augmentations of one image.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vsie.methods.base import Method
from vsie.objectives import ObjectContrast


class SimCLR(Method):
    """Contrast between objects over the whole latent.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``identity``.
        temperature: Of the softmax.
    """

    TERMS = ("identity",)
    NEEDS_PREDICTOR = False
    PROJECTORS = "whole"
    similarity = "cosine"

    def __init__(self, *parts: Any, temperature: float = 0.1, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.identity = ObjectContrast(temperature=temperature)

    def terms(self, latents: Tensor, poses: Tensor | None) -> dict[str, Tensor]:
        return {"identity": self.identity(self.projector(latents))}
