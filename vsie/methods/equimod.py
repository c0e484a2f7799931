"""EquiMod (Devillers, Lefort, ICLR 2023, arXiv 2211.01244): an equivariance module beside any invariance method.

Two projectors on the whole representation: in the space of one the views of an object are pulled together, in the space of
the other a predictor, told the motion, finds where it takes a view. Both ways the module's loss is that of the method it
stands beside:

    SimCLR form    NT-Xent on the first space, and on the second
                   -log exp(cos(u(z_i, delta_ij), z_j) / t) / sum over k != i of exp(cos(u(z_i, delta_ij), z_k) / t)
    VICReg form    squared distances |z_i - z_j|^2 and |u(z_i, delta_ij) - z_j|^2, variance and covariance on both spaces

The paper's module starts from the image without augmentation; here, as in the 3DIEBench line, every view of an object
starts and every other is the end. Ours as well: a predictor with a hidden layer (published: linear, with BatchNorm), and
predictions that are contrasted with real views alone (published: with the other predictions too).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vsie.methods.base import Method
from vsie.methods.projector import Projector
from vsie.objectives import EquivarianceError, Invariance, ObjectContrast, SteeredContrast

FORMS = {"simclr": ("identity", "equivariance"), "vicreg": ("invariance", "equivariance_error", "variance", "covariance")}


class EquiMod(Method):
    """SimCLR or VICReg with an equivariance module.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        form: ``simclr`` or ``vicreg``.
        weights: Of ``identity`` and ``equivariance`` (SimCLR form), and of ``invariance``, ``equivariance_error``,
            ``variance`` and ``covariance`` (VICReg form); those of the other form count nothing.
        temperature: Of both contrasts.
    """

    TERMS = FORMS["simclr"] + FORMS["vicreg"]
    PROJECTORS = "whole"
    part = "all"
    weighs = True

    def __init__(self, *parts: Any, form: str = "simclr", temperature: float = 0.1, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        if form not in FORMS:
            raise ValueError(f"method.form is {form!r}, expected one of {', '.join(FORMS)}")
        self.form, self.similarity = form, "cosine" if form == "simclr" else "euclidean"
        self.equivariant_projector = Projector(self.encoder.dim, **self.projector_options)
        self.identity, self.contrast = ObjectContrast(temperature=temperature), SteeredContrast(temperature=temperature)
        self.invariance, self.error = Invariance(), EquivarianceError()

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        invariant, equivariant = self.projector(latents), self.equivariant_projector(latents)
        predicted = self.predict(equivariant, poses)
        if self.form == "simclr":
            return {"identity": self.identity(invariant), "equivariance": self.contrast(predicted, equivariant, trust)}
        first, second = self.anti_collapse(invariant), self.anti_collapse(equivariant)  # each space by itself
        return {
            "invariance": self.invariance(invariant), "equivariance_error": self.error(predicted, equivariant, trust),
            "variance": first[0] + second[0], "covariance": first[1] + second[1],
        }  # fmt: skip

    def embed(self, latents: Tensor) -> Tensor:
        """The module's space, from whole latents (..., D)."""
        return self.equivariant_projector(latents)
