"""The validation table of SEIS and the ladder: pairs whose scores are known, d = 64."""

from __future__ import annotations

import numpy as np
import torch

DIMS = 64
# S_equiv, S_inv in sample on 4,000 pairs; identity, isometry, linear fitted on these and scored on 8,000 others.
TABLE = {
    "identity": (1, 1, 1, 1, 1),
    "random orthogonal": (1, 0.11, 0, 1, 1),
    "half identity, half rotated": (1, 0.50, 0.50, 1, 1),
    "general linear": (0.98, 0.09, 0.03, 0.94, 1),
    "diagonal rescale": (0.98, 0.91, 0.74, 0.78, 1),
    "identity + noise": (0.71, 0.70, 0.67, 0.66, 0.49),
    "half the dims destroyed": (0.54, 0.51, 0.50, 0.50, 0.49),
    "sign flip": (1, 1, -1, 1, 1),
    "mean shift": (1, 1, 0.50, 1, 1),
    "independent": (0.09, 0.02, 0, 0, -0.01),
    "block rotation by a random angle": (0.54, 0.51, 0.51, 0.50, 0.49),
}
R2_CONDITIONAL, R2_SHUFFLED = 1.00, 0.48  # of the last row


def _orthogonal(rng: np.random.Generator, dims: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(dims, dims)))
    return q * np.sign(np.diag(r))


class World:
    """Sources with a mildly uneven spectrum in coordinates of their own, unit variance on average, and what maps them."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        mixing = np.linspace(1, 0.5, DIMS)[:, None] * _orthogonal(rng, DIMS)
        self.mixing = mixing * np.sqrt(DIMS / np.square(mixing).sum())
        self.rotation, self.half = _orthogonal(rng, DIMS), np.eye(DIMS)
        self.half[DIMS // 2 :, DIMS // 2 :] = _orthogonal(rng, DIMS // 2)
        self.linear = _orthogonal(rng, DIMS) @ (np.linspace(0.4, 1.6, DIMS)[:, None] * _orthogonal(rng, DIMS))
        self.scales = rng.permutation(np.linspace(0.3, 3, DIMS))
        self.rng = rng

    def sources(self, count: int) -> np.ndarray:
        return self.rng.normal(size=(count, DIMS)) @ self.mixing

    def pairs(self, row: str, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x, y (count, 64) of a row of the table, and rotations (count, 3, 3): those of the row's random angle."""
        x, other = self.sources(count), self.sources(count)
        half = DIMS // 2
        angle = self.rng.uniform(0, 2 * np.pi, count)
        cos, sin = np.cos(angle), np.sin(angle)
        zero, one = np.zeros(count), np.ones(count)
        motion = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).reshape(-1, 3, 3)
        blocks = np.einsum("nij,nbj->nbi", motion[:, :2, :2], x[:, half:].reshape(count, -1, 2)).reshape(count, -1)
        y = {
            "identity": x, "random orthogonal": x @ self.rotation, "half identity, half rotated": x @ self.half,
            "general linear": x @ self.linear, "diagonal rescale": x * self.scales, "identity + noise": x + other,
            "half the dims destroyed": np.concatenate([x[:, :half], other[:, half:]], 1), "sign flip": -x, "mean shift": x + 1,
            "independent": other, "block rotation by a random angle": np.concatenate([x[:, :half], blocks], 1),
        }[row]  # fmt: skip
        return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(motion)
