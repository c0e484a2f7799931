"""SIE: Split Invariant-Equivariant (Garrido, Najman, LeCun, ICML 2023, arXiv 2302.10283), written from its formulas.

    L = 10 MSE(x_inv, y_inv) + 4.5 MSE(W(q) x_equi, y_equi)
      + 10 [hinge(X) + hinge(Y)] + 10 hinge(W(q) x_equi) + 1 [covariance(X) + covariance(Y)]

with X = [x_inv, x_equi], an ordered pair (x, y) of views of an object, q the raw body-frame quaternion (not centred) and W
the linear hypernetwork. The paper encodes two views of an object; where a batch has more of them, clips are sets of stills
and a random matching makes every view part of one pair, so that no image is encoded for nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vsie.distributed import rank, world_size
from vsie.methods.base import Method
from vsie.objectives import EquivarianceError, Invariance, weighted_mean


class SIE(Method):
    """Paper-faithful terms.

    Args:
        invariant_share: The paper's: 0.5.
        weights: Of ``invariance``, ``equivariance``, ``variance``, ``predicted_variance``, ``covariance``.
        pairs: ``disjoint``: a random matching of an object's views, each in one ordered pair (of two views: the paper's), or
            ``all`` ordered pairs.
        projector_width: See `Projector`; the paper's: 1024 for parts of 256.
        projector_layers: The paper's: 3.
        projector_norm: The paper's: batch.
    """

    TERMS = ("invariance", "equivariance", "variance", "predicted_variance", "covariance")
    weighs = True

    def __init__(self, *parts: Any, pairs: str = "disjoint", **shared: Any) -> None:
        super().__init__(*parts, **shared)
        if pairs not in ("disjoint", "all"):
            raise ValueError(f"method.pairs is {pairs!r}, expected disjoint or all")
        self.pairs = pairs
        self.invariance, self.error = Invariance(), EquivarianceError()

    def terms(self, latents: Tensor, poses: Tensor | None, trust: Tensor | None = None) -> dict[str, Tensor]:
        invariant, equivariant = self.split(latents)
        return self.of_embedded(poses, trust, self.equivariant_projector(equivariant), self.invariant_projector(invariant))

    def of_embedded(
        self, poses: Tensor | None, trust: Tensor | None, equivariant: Tensor, invariant: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The terms of embedded parts (B, N, e); without an invariant one there is no invariance."""
        of_pairs = self.of_all_pairs if self.pairs == "all" else self.of_disjoint_pairs
        return of_pairs(self.known(poses), trust, equivariant, invariant)

    def of_disjoint_pairs(
        self, poses: Tensor, trust: Tensor | None, equivariant: Tensor, invariant: Tensor | None
    ) -> dict[str, Tensor]:
        """`of_embedded` over a random matching of an object's views."""
        source, target = self.draw_pairs(equivariant)
        objects = torch.arange(len(equivariant), device=equivariant.device)[:, None]
        parts = [part for part in (invariant, equivariant) if part is not None]
        x, y = ([part[objects, index] for part in parts] for index in (source, target))  # [B, P, e]
        predicted = self.predictor(x[-1], self.conditioning(poses[objects, source], poses[objects, target]))
        weight = None if trust is None else trust[objects, source, target][..., None].expand_as(predicted)
        (variance, covariance), (other_variance, other_covariance) = self.anti_collapse(*x), self.anti_collapse(*y)
        return ({} if invariant is None else {"invariance": (x[0] - y[0]).square().mean()}) | {
            "equivariance": weighted_mean((predicted - y[-1]).square(), weight),
            "variance": variance + other_variance,
            "predicted_variance": self.variance(predicted.flatten(0, 1)),
            "covariance": covariance + other_covariance,
        }

    def of_all_pairs(
        self, poses: Tensor, trust: Tensor | None, equivariant: Tensor, invariant: Tensor | None
    ) -> dict[str, Tensor]:
        """`of_embedded` over all ordered pairs of an object's views: X and Y are then all views, and an extra pair costs what an
        extra delta does."""
        predicted = self.predict(equivariant, poses)  # [B, N, N, e]
        variance, covariance = self.anti_collapse(*(part for part in (invariant, equivariant) if part is not None))
        other = ~torch.eye(poses.shape[1], dtype=torch.bool, device=poses.device)
        return ({} if invariant is None else {"invariance": self.invariance(invariant)}) | {
            "equivariance": self.error(predicted, equivariant, trust),
            "variance": 2 * variance,
            "predicted_variance": self.variance(predicted[:, other].flatten(0, 1)),
            "covariance": 2 * covariance,
        }

    def draw_pairs(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (B, P) of source and target views: a random matching of each object's views, one left out of an odd number."""
        objects, count = latents.shape[:2]
        # drawn for the global batch, so that the draw does not depend on how many processes share it
        draw = torch.rand(world_size() * objects, count)[rank() * objects : (rank() + 1) * objects]
        order = draw.argsort(1).to(latents.device)
        return order[:, : count // 2], order[:, count // 2 : count // 2 * 2]
