"""Latents that are matrices, moved by the motion's own matrix: steering without a predictor.

Columns are moved in the body frame, ``M -> M T``, rows in the camera frame, ``M -> T M``: then a motion after a motion is
the motion composed, in both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vsie import pose


class MatrixAction:
    """Steering members of a method whose embedded latents are some n x n matrices in a row, (..., C * n * n).

    A method derives from it beside `Method` and sets `size`; it has `conditioning` and `frame`.

    Attributes:
        size: n: 3 for rotations, 4 for rigid motions, whose translation counts with ``conditioning.translation`` alone.
    """

    size: int
    steers, linear, sign_free = True, True, False

    @property
    def uses_colour(self) -> bool:
        """Whether steering is told how hues change: a motion's own matrix knows none."""
        return False

    @property
    def uses_translation(self) -> bool:
        """Whether steering depends on the translation of a motion."""
        return self.size == 4 and self.conditioning.translation

    def matrices(self, motion: Tensor) -> Tensor:
        """What moves the latents, (..., n, n), of motions (..., 4, 4)."""
        if self.uses_translation:
            return motion[..., :4]
        rotation = motion[..., :3, :3]
        return rotation if self.size == 3 else pose.rigid(rotation)

    def move(self, embedded: Tensor, matrices: Tensor) -> Tensor:
        """Embedded latents (..., C * n * n) moved by matrices (..., n, n); leading shapes broadcast."""
        capsules = embedded.unflatten(-1, (-1, self.size, self.size))
        matrices = matrices[..., None, :, :]
        return (capsules @ matrices if self.frame == "body" else matrices @ capsules).flatten(-3)

    def steer(self, embedded: Tensor, motion: Tensor) -> Tensor:
        """Where motions (..., 4, 4) in `frame` take embedded latents (..., e), shapes as for a predictor: (..., e)."""
        if motion.dim() - 2 == embedded.dim():
            embedded = embedded[..., None, :]
        return self.move(embedded, self.matrices(motion))

    def pair_steer(self, embedded: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """`steer` by the motions between poses (..., 4, 4)."""
        return self.steer(embedded, pose.delta(source, target, self.frame))

    def expand(self, embedded: Tensor) -> Tensor:
        """A_ab z, (..., n * n, e): entry (a, b) of the motion's matrix takes column a to column b (camera: row b to row a)."""
        capsules = embedded.unflatten(-1, (-1, self.size, self.size))
        eye = torch.eye(self.size, dtype=embedded.dtype, device=embedded.device)
        form = "...cra,bs->...abcrs" if self.frame == "body" else "...cbs,ar->...abcrs"
        return torch.einsum(form, capsules, eye).flatten(-3).flatten(-3, -2)

    def coefficients(self, motion: Tensor) -> Tensor:
        """The entries of the motion's matrix, (..., n * n), of motions (..., 4, 4)."""
        return self.matrices(motion).flatten(-2)

    def pair_coefficients(self, source: Tensor, target: Tensor) -> Tensor:
        """`coefficients` of the motions between poses (..., 4, 4)."""
        return self.coefficients(pose.delta(source, target, self.frame))

    def error(self, embedded: Tensor, poses: Tensor) -> Tensor:
        """Squared distances (B, N (N - 1)) between views (B, N, e) moved to each other and those that are there.

        For all ordered pairs of different views of an object with poses (B, N, 4, 4).
        """
        count = embedded.shape[1]
        source, target = torch.nonzero(~torch.eye(count, dtype=torch.bool, device=embedded.device), as_tuple=True)
        motion = pose.delta(poses[:, source], poses[:, target], self.frame)
        return (self.move(embedded[:, source], self.matrices(motion)) - embedded[:, target]).square().sum(-1)
