"""SIE: Split Invariant-Equivariant (Garrido, Najman, LeCun, ICML 2023, arXiv 2302.10283), written from its formulas.

    L = 10 MSE(x_inv, y_inv) + 4.5 MSE(W(q) x_equi, y_equi)
      + 10 [hinge(X) + hinge(Y)] + 10 hinge(W(q) x_equi) + 1 [covariance(X) + covariance(Y)]

with X = [x_inv, x_equi], one ordered pair (x, y) of views per object, q the raw body-frame quaternion (not centred) and W
the linear hypernetwork. Clips are taken as sets of stills: the pair is one step of the context window and one of a target
window, drawn at random.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vsie.distributed import rank, world_size
from vsie.methods.base import Method
from vsie.objectives import weighted_mean


class SIE(Method):
    """Paper-faithful terms.

    Args:
        invariant_share: The paper's: 0.5.
        weights: Of ``invariance``, ``equivariance``, ``variance``, ``predicted_variance``, ``covariance``.
        pairs: ``one`` ordered pair per object and step (the paper's), or ``all`` ordered pairs of the object's views.
        projector_width: The paper's: 1024.
        projector_layers: The paper's: 3.
        projector_norm: The paper's: batch.
    """

    TERMS = ("invariance", "equivariance", "variance", "predicted_variance", "covariance")
    weighs = True

    def __init__(self, *parts: Any, pairs: str = "one", projector_width: int = 1024, **shared: Any) -> None:
        super().__init__(*parts, projector_width=projector_width, **shared)
        if pairs not in ("one", "all"):
            raise ValueError(f"method.pairs is {pairs!r}, expected one or all")
        self.pairs = pairs

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        poses = self.known(poses)
        invariant, equivariant = self.split(latents)
        invariant, equivariant = self.invariant_projector(invariant), self.equivariant_projector(equivariant)
        source, target = self.draw_pairs(latents)
        objects = torch.arange(len(latents), device=latents.device)[:, None]
        x_inv, y_inv, x_equi, y_equi = (
            part[objects, index] for part in (invariant, equivariant) for index in (source, target)
        )  # [B, P, e]
        predicted = self.predictor(x_equi, self.conditioning(poses[objects, source], poses[objects, target]))
        weight = None if trust is None else trust[objects, source, target][..., None].expand_as(predicted)
        x, y = (self.anti_collapse(*parts) for parts in ((x_inv, x_equi), (y_inv, y_equi)))
        return {
            "invariance": (x_inv - y_inv).square().mean(),
            "equivariance": weighted_mean((predicted - y_equi).square(), weight),
            "variance": x[0] + y[0],
            "predicted_variance": self.variance(predicted.flatten(0, 1)),
            "covariance": x[1] + y[1],
        }

    def draw_pairs(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (B, P) of source and target views: one random ordered pair per object, or all of them."""
        objects, count, device = latents.shape[0], latents.shape[1], latents.device
        if self.pairs == "one":
            # drawn for the global batch, so that the draw does not depend on how many processes share it
            draw = torch.rand(world_size() * objects, count)[rank() * objects : (rank() + 1) * objects]
            order = draw.argsort(1).to(device)
            return order[:, :1], order[:, 1:2]
        source, target = torch.nonzero(~torch.eye(count, dtype=torch.bool, device=device), as_tuple=True)
        return source.expand(objects, -1), target.expand(objects, -1)
