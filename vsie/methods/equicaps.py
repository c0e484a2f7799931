"""EquiCaps (Konstantinou, Leontidis, Thota, Durrant, 2025, arXiv 2506.09895): capsules moved by the true matrix.

A capsule is an activation (is its entity there?) and a 4 x 4 pose matrix (where?). Activations should not move with the
view, pose matrices should be multiplied by the motion itself; there is no predictor:

    L = H(a(x), a(y)) - H(mean a)                      activations agree, and all capsules are used
      + |M(x) T - M(y)|^2 / (16 C) + variance + covariance

with a the softmax over the C capsules' activations, H(., .) the cross-entropy of two views, and variance and covariance
those of VICReg on activations and matrices side by side.

As published: activations for invariance and 4 x 4 matrices for equivariance, multiplied by the motion's own matrix and by no
predictor; the first two terms are those of CapsIE (Everett et al., 2024, arXiv 2405.14386), of the same authors. Ours:
capsules are linear readouts of the two parts of a pooled latent, where the authors route (self-routing, 32 capsules) over the
places of the feature map; matrices are compared as they are, where theirs are divided by their norms; variance and covariance
are of logits and matrices, where theirs are of activations and divided matrices; and the weights, which no description that we
could read gives: written from descriptions of the paper, not from its code. The translation of T counts where
``conditioning.translation`` is on.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vsie.distributed import gather
from vsie.methods.action import MatrixAction
from vsie.methods.base import Method
from vsie.objectives import off_diagonal, weighted_mean


class EquiCaps(MatrixAction, Method):
    """Activations that stay and pose matrices that move.

    Args:
        invariant_share: Share of the latent from which activations are read; pose matrices are read from the rest.
        weights: Of ``invariance`` (cross-entropy), ``usage`` (how far the mean activation is from uniform, in nats),
            ``equivariance`` (squared error per entry), ``variance``, ``covariance``.
        capsules: C.
        temperature: Of the softmax over activations.
        projector_width: Not used: the capsules are what the losses see.
        projector_layers: Not used.
        projector_norm: Not used.
    """

    TERMS = ("invariance", "usage", "equivariance", "variance", "covariance")
    NEEDS_PREDICTOR = False
    PROJECTORS = "none"
    size = 4
    weighs = True

    def __init__(self, *parts: Any, capsules: int = 32, temperature: float = 1.0, **shared: Any) -> None:
        super().__init__(*parts, **shared)
        if capsules < 2:
            raise ValueError(f"method.capsules is {capsules}, expected at least 2")
        self.capsules, self.temperature = capsules, temperature
        self.activation = nn.Linear(self.split.invariant, capsules)
        self.matrix = nn.Linear(self.split.equivariant, capsules * self.size**2, bias=False)

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        invariant, equivariant = self.split(latents)
        activation, matrices = self.activation(invariant), self.embed(equivariant)
        log_share = (activation / self.temperature).log_softmax(-1)
        share = log_share.exp()
        count = latents.shape[1]
        entropy = -share @ log_share.mT  # [B, N, N]: the cross-entropy of view i with view j
        other = ~torch.eye(count, dtype=torch.bool, device=latents.device)
        mean = gather(share).flatten(0, 1).mean(0)
        variance, covariance = self.anti_collapse(activation, matrices)
        return {
            "invariance": entropy[:, other].mean(),
            "usage": math.log(self.capsules) + (mean * mean.clamp_min(1e-12).log()).sum(),
            "equivariance": weighted_mean(self.error(matrices, poses), off_diagonal(trust)) / matrices.shape[-1],
            "variance": variance,
            "covariance": covariance,
        }

    def embed(self, latents: Tensor) -> Tensor:
        """The entries of all pose matrices, (..., 16 C), of equivariant parts (..., d)."""
        return self.matrix(latents)
