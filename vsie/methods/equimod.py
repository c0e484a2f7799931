"""EquiMod (Devillers, Lefort, ICLR 2023, arXiv 2211.01244): an equivariance module beside any invariance method.

Two projectors on the whole representation: in the space of one the views of an object are pulled together, in the space of
the other a predictor, told the motion, finds where it takes a view. Both ways the module's loss is that of the method it
stands beside:

    SimCLR form    NT-Xent on the first space, and on the second
                   -log exp(cos(u(z_i, delta_ij), z_j) / t) / sum over k != i of exp(cos(u(z_i, delta_ij), z_k) / t)
    VICReg form    squared distances |z_i - z_j|^2 and |u(z_i, delta_ij) - z_j|^2, variance and covariance on both spaces

The paper's module starts from the image without augmentation; here, as in the 3DIEBench line, every view of an object
starts and every other is the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vsie.encoders.base import Encoder
from vsie.methods.base import Method
from vsie.methods.conditioning import Conditioning
from vsie.methods.projector import Projector
from vsie.objectives import EquivarianceError, Invariance, ObjectContrast, SteeredContrast
from vsie.predictors.base import Predictor

FORMS = {"simclr": ("identity", "equivariance"), "vicreg": ("invariance", "equivariance_error", "variance", "covariance")}


class EquiMod(Method):
    """SimCLR or VICReg with an equivariance module.

    Args:
        encoder: Clip -> per-step latents.
        conditioning: How deltas are told.
        predictor: The paper's: `MLP`.
        invariant_share: Where the table cuts the latent; both projectors see all of it.
        form: ``simclr`` or ``vicreg``.
        weights: Of ``identity`` and ``equivariance`` (SimCLR form), and of ``invariance``, ``equivariance_error``,
            ``variance`` and ``covariance`` (VICReg form); those of the other form count nothing.
        temperature: Of both contrasts.
        projector_width: See `Projector`.
        projector_layers: See `Projector`.
        projector_norm: See `Projector`.
    """

    TERMS = FORMS["simclr"] + FORMS["vicreg"]
    PROJECTORS = "whole"
    part = "all"
    weighs = True

    def __init__(
        self,
        encoder: Encoder,
        conditioning: Conditioning,
        predictor: Predictor,
        *,
        invariant_share: float = 0.5,
        form: str = "simclr",
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
        if form not in FORMS:
            raise ValueError(f"method.form is {form!r}, expected one of {', '.join(FORMS)}")
        self.form, self.similarity = form, "cosine" if form == "simclr" else "euclidean"
        self.equivariant_projector = Projector(encoder.dim, width=projector_width, layers=projector_layers, norm=projector_norm)
        self.identity, self.contrast = ObjectContrast(temperature=temperature), SteeredContrast(temperature=temperature)
        self.invariance, self.error = Invariance(), EquivarianceError()

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        invariant, equivariant = self.projector(latents), self.equivariant_projector(latents)
        predicted = self.predict(equivariant, poses)
        if self.form == "simclr":
            return {"identity": self.identity(invariant), "equivariance": self.contrast(predicted, equivariant, trust)}
        variance, covariance = self.anti_collapse(invariant, equivariant)
        return {
            "invariance": self.invariance(invariant), "equivariance_error": self.error(predicted, equivariant, trust),
            "variance": variance, "covariance": covariance,
        }  # fmt: skip

    def embed(self, latents: Tensor) -> Tensor:
        """The module's space, from whole latents (..., D)."""
        return self.equivariant_projector(latents)
