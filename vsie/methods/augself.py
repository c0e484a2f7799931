"""AugSelf (Lee, Lee, Lee, Lee, Shin, NeurIPS 2021, arXiv 2111.09613): SimCLR, and the motion is regressed from the pair.

    L = contrast between objects + weight * |phi(f(x), f(y)) - delta|^2

with phi a three-layer perceptron on the two representations side by side (before the projector), for all ordered pairs of
an object's views. The target is the delta as a predictor would be told it (`Conditioning`), so its mean square is 1.

Direct supervision: the pose delta is a target here, not a condition.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vsie.methods.base import Method
from vsie.methods.projector import Projector
from vsie.objectives import ObjectContrast, off_diagonal, weighted_mean


class AugSelf(Method):
    """SimCLR with a head that regresses the delta.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``identity`` (SimCLR's contrast) and ``delta`` (squared error, summed over the delta's numbers).
        temperature: Of the contrast.
        projector_width: See `Projector`; also of the regressing head.
    """

    TERMS = ("identity", "delta")
    NEEDS_PREDICTOR = False
    told = True
    PROJECTORS = "whole"
    direct_supervision = True
    similarity = "cosine"
    weighs = True

    def __init__(self, *parts: Any, temperature: float = 0.1, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.identity = ObjectContrast(temperature=temperature)
        trunk = Projector(2 * self.encoder.dim, **{**self.projector_options, "layers": 2})
        self.head = nn.Sequential(trunk, nn.ReLU(), nn.Linear(trunk.dim, self.conditioning.width))

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        count = latents.shape[1]
        source, target = torch.nonzero(~torch.eye(count, dtype=torch.bool, device=latents.device), as_tuple=True)
        found = self.head(torch.cat([latents[:, source], latents[:, target]], -1))
        wanted = self.conditioning(poses[:, source], poses[:, target])
        delta = weighted_mean((found - wanted).square().sum(-1), off_diagonal(trust))
        return {"identity": self.identity(self.projector(latents)), "delta": delta}
