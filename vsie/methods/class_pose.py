"""Class-pose decomposition (Marchetti, Tegner, Varava, Kragic, 2022, arXiv 2207.03116): a latent that holds the group element.

    L = |P(x) . g - P(g x)|^2 + contrast between objects of the class part

The pose part P(x) is itself a rotation, and equivariance is the group's own multiplication: nothing is predicted and no
action has to be learned, the motion between two views is ``P(x)^-1 P(y)``. The class part is made invariant by contrast.
P is read from the equivariant part by one linear layer and Gram-Schmidt, so that part carries it openly. Up to one unknown
rotation per object, the origin of its orbit, P is the pose. The group is that of rotations; it is assumed to act freely, so
an object with symmetries cannot be told exactly.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vsie import pose
from vsie.methods.action import MatrixAction
from vsie.methods.base import Method
from vsie.objectives import ObjectContrast, off_diagonal, weighted_mean


class ClassPose(MatrixAction, Method):
    """A class part and a rotation.

    Args:
        invariant_share: Share of the latent that is the class part.
        weights: Of ``identity`` (contrast of the class part) and ``equivariance`` (squared distance of rotations).
        temperature: Of the contrast.
    """

    TERMS = ("identity", "equivariance")
    NEEDS_PREDICTOR = False
    PROJECTORS = "invariant"
    size = 3
    weighs = True

    def __init__(self, *parts: Any, temperature: float = 0.1, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.element = nn.Linear(self.split.equivariant, 6)
        self.identity = ObjectContrast(temperature=temperature)

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        invariant, equivariant = self.split(latents)
        return {
            "identity": self.identity(self.invariant_projector(invariant)),
            "equivariance": weighted_mean(self.error(self.embed(equivariant), poses), off_diagonal(trust)),
        }

    def embed(self, latents: Tensor) -> Tensor:
        """The entries of P, (..., 9), of equivariant parts (..., d)."""
        return pose.from_6d(self.element(latents)).flatten(-2)
