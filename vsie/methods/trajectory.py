"""Viewpoint trajectory regularisation (Wang, Chen, Yu, ECCV 2024, arXiv 2403.14973): VICReg, and straight latent paths.

For three neighbouring frames with latents l, c, r the path through them should be locally straight:

    L = VICReg + weight * (1 - cos(c - l, r - c))

Nobody tells a pose. The straightness is asked of the representation itself, of every three neighbouring frames of a window;
VICReg's invariance is, as for the other methods here, among all views of an object. Which layer and which views the authors
take was not checked against their code.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from vsie.methods.base import Method, Outputs
from vsie.objectives import Invariance


class Trajectory(Method):
    """VICReg with locally straight trajectories, over the whole latent.

    Args:
        invariant_share: Where the table cuts the latent.
        weights: Of ``invariance``, ``variance``, ``covariance``, ``trajectory``.
    """

    TERMS = ("invariance", "variance", "covariance", "trajectory")
    NEEDS_PREDICTOR = False
    PROJECTORS = "whole"

    def __init__(self, *parts: Any, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.invariance = Invariance()

    def check_data(self, *, posed: bool, classes: int, windows: int, steps: int) -> None:
        if steps < 3:
            raise ValueError(f"trajectory needs windows of at least 3 steps, found {steps}: data.frames=4 or more, for example "
                             "data.windows=2 data.frames=4")  # fmt: skip

    def forward(self, clips: Tensor, poses: Tensor | None, labels: Tensor | None = None) -> Outputs:
        latents = self.encode(clips)
        return self.outputs(latents, self.terms(latents, clips.shape[1]))

    def terms(self, latents: Tensor, windows: int) -> dict[str, Tensor]:
        """From latents (B, N, D) that are `windows` windows of neighbouring steps per object."""
        embedded = self.projector(latents)
        variance, covariance = self.anti_collapse(embedded)
        step = rearrange(latents, "b (v s) d -> b v s d", v=windows).diff(dim=2)
        straight = torch.cosine_similarity(step[:, :, :-1], step[:, :, 1:], dim=-1)
        return {
            "invariance": self.invariance(embedded), "variance": variance, "covariance": covariance,
            "trajectory": 1 - straight.mean(),
        }  # fmt: skip
