"""The ceiling: class and pose learned from the labels themselves.

    L = cross-entropy(linear(invariant part), class) + |phi(equivariant pair) - R|^2

for every view, and for all ordered pairs of an object's views; R is the rotation between them, as its first two columns,
and phi a perceptron with one hidden layer. What no method without labels is expected to pass, with this encoder and budget.

Direct supervision: classes and poses are targets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vsie import pose
from vsie.methods.base import Method
from vsie.objectives import off_diagonal, weighted_mean


class Supervised(Method):
    """Classification and relative pose from labels.

    Args:
        invariant_share: Share of the latent that the class is read from; the pose is read from the rest.
        weights: Of ``classification`` (nats) and ``pose`` (squared error, summed over six numbers).
        classes: At least as many as the data has; more do no harm, as none of them is ever right.
        projector_width: Width of the pose head's hidden layer.
        projector_layers: Not used.
        projector_norm: Not used.
    """

    TERMS = ("classification", "pose")
    NEEDS_PREDICTOR = False
    PROJECTORS = "none"
    direct_supervision = True
    needs_labels = True
    weighs = True

    def __init__(self, *parts: Any, classes: int = 64, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.classes = classes
        self.class_head = nn.Linear(self.split.invariant, classes)
        width = self.projector_options["width"]
        self.pose_head = nn.Sequential(nn.Linear(2 * self.split.equivariant, width), nn.ReLU(), nn.Linear(width, 6))

    @property
    def needs_motion(self) -> bool:
        return self.weights["pose"] != 0

    def check_data(self, *, posed: bool, classes: int) -> None:
        super().check_data(posed=posed, classes=classes)
        if not classes:
            raise ValueError("supervised needs classes, but the data has no labels (manifest column 'label')")
        if classes > self.classes:
            raise ValueError(f"the data has {classes} classes, but method.classes is {self.classes}: method.classes={classes}")

    def terms(self, latents: Tensor, poses: Tensor | None, labels: Tensor, trust: Tensor | None = None) -> dict[str, Tensor]:
        invariant, equivariant = self.split(latents)
        count = latents.shape[1]
        error = nn.functional.cross_entropy(
            self.class_head(invariant).mT, labels[:, None].clamp_min(0).expand(-1, count), reduction="none"
        )
        terms = {"classification": weighted_mean(error.mean(1), labels >= 0)}
        if not self.needs_motion:
            return terms
        poses = self.known(poses)
        source, target = torch.nonzero(~torch.eye(count, dtype=torch.bool, device=latents.device), as_tuple=True)
        found = self.pose_head(torch.cat([equivariant[:, source], equivariant[:, target]], -1))
        motion = pose.delta(poses[:, source], poses[:, target], self.frame)
        wanted = pose.encode(motion, "6d").to(found.dtype)
        return terms | {"pose": weighted_mean((found - wanted).square().sum(-1), off_diagonal(trust))}
