"""BYOL (Grill et al., NeurIPS 2020, arXiv 2006.07733): predict a slow copy's projection of another view; no negatives.

    L = 2 - 2 cos(q(g(f(x))), g'(f'(y)))

over all ordered pairs (x, y) of an object's views, f' and g' the moving averages of encoder f and projector g, no gradient
through them; q is a two-layer perceptron. Invariance only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vsie.methods import ema
from vsie.methods.base import Method, Outputs
from vsie.methods.projector import Projector


class BYOL(Method):
    """Prediction of a moving average's projections, over the whole latent.

    Args:
        invariant_share: Where extracted features are cut; nothing else is.
        weights: Of ``invariance``.
        momentum: Of the moving average at the start; it rises to 1 along a cosine.
    """

    TERMS = ("invariance",)
    NEEDS_PREDICTOR = False
    PROJECTORS = "whole"
    similarity = "cosine"

    def __init__(self, *parts: Any, momentum: float = 0.99, projector_layers: int = 2, **shared: Any) -> None:
        super().__init__(*parts, projector_layers=projector_layers, **shared)
        if not 0 <= momentum <= 1:
            raise ValueError(f"method.momentum is {momentum}, expected a number from 0 to 1")
        self.momentum = momentum
        self.head = Projector(self.projector.dim, **{**self.projector_options, "width": self.projector.dim, "layers": 2})
        self.target_encoder, self.target_projector = ema.follower(self.encoder), ema.follower(self.projector)

    def forward(self, clips: Tensor, poses: Tensor | None, labels: Tensor | None = None) -> Outputs:
        latents = self.encode(clips)
        with torch.no_grad():
            targets = self.target_projector(self.encode(clips, self.target_encoder))
        return self.outputs(latents, self.terms(latents, targets))

    def terms(self, latents: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """From latents (B, N, D) and the moving average's projections of the same views (B, N, e)."""
        found, targets = (nn.functional.normalize(x, dim=-1) for x in (self.head(self.projector(latents)), targets))
        cosine = found @ targets.mT  # [B, N, N]
        count = cosine.shape[1]
        other = ~torch.eye(count, dtype=torch.bool, device=cosine.device)
        return {"invariance": 2 - 2 * cosine[:, other].mean()}

    def after_step(self, step: int, steps: int) -> None:
        momentum = ema.schedule(self.momentum, step, steps)
        ema.follow(self.target_encoder, self.encoder, momentum)
        ema.follow(self.target_projector, self.projector, momentum)
