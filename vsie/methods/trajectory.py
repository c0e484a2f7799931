"""Viewpoint trajectory regularisation (Wang, Chen, Yu, ECCV 2024, arXiv 2403.14973): VICReg, and straight latent paths.

For three neighbouring frames with latents l, c, r of length 1 the path should follow a great circle of the sphere:

    u = (c - l) projected on the tangent plane at c,  v = (r - c) projected there
    L = VICReg + weight * (1 - cos(u, v))

Nobody tells a pose. As published: the formula (there -cos: the 1 is a constant), its place, the pooled representation, and that
each frame is encoded alone (an encoder that mixes the frames of a window could copy what is straight); one whose steps are
several frames sees the window.
Ours: every three neighbouring frames of a window are a triplet, where the authors render one left and right of a centre; and
VICReg's invariance is, as for the other methods here, among all views of an object, where theirs is between two augmentations
of the centre.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie.methods.base import Method, Outputs
from vsie.objectives import Invariance


class Trajectory(Method):
    """VICReg with locally straight trajectories, over the whole latent.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``invariance``, ``variance``, ``covariance``, ``trajectory``.
    """

    TERMS = ("invariance", "variance", "covariance", "trajectory")
    NEEDS_PREDICTOR = False
    PROJECTORS = "whole"

    def __init__(self, *parts: Any, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        self.invariance = Invariance()

    def check_views(self, windows: int, steps: int) -> None:
        if steps < 3:
            raise ValueError(f"trajectory needs windows of at least 3 steps, found {steps}: data.frames=4 or more, for example "
                             "data.windows=2 data.frames=4")  # fmt: skip

    def forward(self, clips: Tensor, poses: Tensor | None, labels: Tensor | None = None) -> Outputs:
        alone = clips if self.encoder.stride > 1 else rearrange(clips, "b v c t h w -> b (v t) c 1 h w")
        latents = self.encode(alone)
        return self.outputs(latents, self.terms(latents, clips.shape[1]))

    def terms(self, latents: Tensor, windows: int) -> dict[str, Tensor]:
        """From latents (B, N, D) that are `windows` windows of neighbouring steps per object."""
        embedded = self.projector(latents)
        variance, covariance = self.anti_collapse(embedded)
        steps = rearrange(latents, "b (v s) d -> b v s d", v=windows)
        return {
            "invariance": self.invariance(embedded), "variance": variance, "covariance": covariance,
            "trajectory": self.bend(steps),
        }  # fmt: skip

    @staticmethod
    def bend(steps: Tensor) -> Tensor:
        """How far paths of neighbouring steps (..., S, d), S >= 3, are from great circles: mean of 1 - cos(u, v), a scalar."""
        steps = nn.functional.normalize(steps, dim=-1)
        centre, step = steps[..., 1:-1, :], steps.diff(dim=-2)

        def along(x: Tensor) -> Tensor:
            return x - (x * centre).sum(-1, keepdim=True) * centre

        return 1 - torch.cosine_similarity(along(step[..., :-1, :]), along(step[..., 1:, :]), dim=-1).mean()
