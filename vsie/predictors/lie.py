"""A predictor that is a representation of the rotation group: what holds of rotations holds of predictions, untrained.

    rho(R) = B D(R) B^-1,   D(R) = sum of irreducible blocks D^l(R), of 2 l + 1 rows each

which is ``exp(w_x G_x + w_y G_y + w_z G_z)`` with w = log R and the generators G = B J B^-1, J the block-diagonal angular
momenta. At every moment of training and for *all* rotations, not only about one axis,

    rho(I) = I,   rho(R^-1) = rho(R)^-1,   rho(S) rho(R) = rho(S R).

Why not the exponential of freely learned generators: with these the inverse, and composition of motions about one and the
same axis, hold; composition about different axes needs the commutators of rotations, ``[G_x, G_y] = G_z`` and so on, and
one value per rotation needs ``exp(2 pi G) = I``. The real matrices that have both are, up to a change of basis, the sums of
irreducible blocks and no others: so the blocks are fixed and the basis is learned, orthogonal (G skew-symmetric, lengths
kept) or any invertible one (G general).

Deltas are composed in the order of their frame: moving by a and then by b is ``a b`` in the body frame and ``b a`` in the
camera frame. So that prediction after prediction is the prediction of the composed motion in both, the body frame takes
rho(R^-1). The same predictor told the wrong frame still fits motions about one axis, and fails on others.

Notable: D^l(R) is a polynomial of degree l in the entries of R, so the predictor is linear in the latent with K = sum of
(2 l + 1)^2 coefficients, and tracking by inversion is that of the hypernetwork.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vsie import pose
from vsie.predictors.base import Predictor


class Lie(Predictor):
    """A representation of the rotation group in a learned basis.

    Args:
        dim: Width of the latent. As many copies of all blocks as fit; what is left over does not move.
        delta_dim: 9, the entries of R, neither centred nor scaled (`encoding`). Translation is refused: the translations
            and rotations together have no such finite representation that keeps lengths.
        degrees: Which blocks, l: 1 moves like a vector, 2 like a symmetric traceless matrix ...
        orthogonal: Basis orthogonal (Cayley transform of a skew matrix), or any invertible one (exponential of a matrix).
        frame: ``body`` or ``camera``: the frame of the deltas.
    """

    linear = True
    encoding = "matrix"

    def __init__(
        self, dim: int, delta_dim: int, *, degrees: tuple[int, ...] = (1, 2), orthogonal: bool = True, frame: str = "body"
    ) -> None:
        super().__init__(dim, delta_dim)
        if delta_dim != 9:
            raise ValueError(f"the lie predictor takes the 9 entries of a rotation, found deltas of width {delta_dim}, expected "
                             "conditioning.encoding=matrix conditioning.centred=false and no translation")  # fmt: skip
        if frame not in pose.FRAMES:
            raise ValueError(f"predictor.frame is {frame!r}, expected one of {', '.join(pose.FRAMES)}")
        if not degrees or min(degrees) < 1 or len(set(degrees)) < len(degrees):
            raise ValueError(f"predictor.degrees is {tuple(degrees)}, expected different numbers from 1 on")
        self.degrees, self.orthogonal, self.frame = tuple(sorted(degrees)), orthogonal, frame
        self.copies, self.still = divmod(dim, sum(2 * degree + 1 for degree in degrees))
        if not self.copies:
            raise ValueError(f"latents of width {dim} are too narrow for predictor.degrees {self.degrees}")
        for degree in range(2, self.degrees[-1] + 1):
            self.register_buffer(f"coupling_{degree}", coupling(degree).float())
        self.basis = nn.Parameter(torch.zeros(dim, dim))  # B = I at the start: a projector before it mixes as well

    def rotations(self, delta: Tensor) -> Tensor:
        """The rotations (..., 3, 3) with which the deltas (..., 9) act."""
        self.check(delta=delta)
        rotation = delta.unflatten(-1, (3, 3))
        return rotation.mT if self.frame == "body" else rotation

    def blocks(self, rotation: Tensor) -> list[Tensor]:
        """D^l(R), (..., 2 l + 1, 2 l + 1) for every l of `degrees`, of rotations (..., 3, 3)."""
        block, found = rotation, {1: rotation}
        for degree in range(2, self.degrees[-1] + 1):
            weights = getattr(self, f"coupling_{degree}").to(rotation.dtype).unflatten(0, (3, -1))  # [3, 2l - 1, 2l + 1]
            half = torch.einsum("...ij,jkn->...ikn", rotation, weights)
            whole = torch.einsum("...mk,...ikn->...imn", block, half)
            block = torch.einsum("imp,...imn->...pn", weights, whole)
            found[degree] = block
        return [found[degree] for degree in self.degrees]

    def bases(self) -> tuple[Tensor, Tensor]:
        """B and B^-1, (dim, dim)."""
        if not self.orthogonal:
            return torch.matrix_exp(self.basis), torch.matrix_exp(-self.basis)
        skew = self.basis - self.basis.mT
        identity = torch.eye(self.dim, dtype=skew.dtype, device=skew.device)
        basis = torch.linalg.solve(identity + skew, identity - skew)
        return basis, basis.mT

    def pieces(self, values: Tensor) -> list[Tensor]:
        """Values (..., dim) as one (..., copies, 2 l + 1) for every l, and the rest (..., still) last."""
        widths = [self.copies * (2 * degree + 1) for degree in self.degrees]
        *moving, still = values.split([*widths, self.still], -1)
        return [piece.unflatten(-1, (self.copies, -1)) for piece in moving] + [still]

    def forward(self, latent: Tensor, delta: Tensor) -> Tensor:
        """Steer `latent` (..., dim) by `delta` (..., 9); see `Predictor` for the leading shapes."""
        latent = self.align(latent, delta)
        basis, inverse = self.bases()
        *moving, still = self.pieces(latent @ inverse.mT)
        moved = [(part @ block.mT).flatten(-2) for part, block in zip(moving, self.blocks(self.rotations(delta)), strict=True)]
        return torch.cat([*moved, still.expand(*moved[0].shape[:-1], self.still)], -1) @ basis.mT

    def coefficients(self, delta: Tensor) -> Tensor:
        """The entries of all D^l, (..., K), of deltas (..., 9); a last 1 where a part of the latent does not move."""
        entries = [block.flatten(-2) for block in self.blocks(self.rotations(delta))]
        return torch.cat(entries + ([torch.ones_like(delta[..., :1])] if self.still else []), -1)

    def expand(self, latent: Tensor) -> Tensor:
        """A_k z for every k, (..., K, dim), of latents (..., dim)."""
        self.check(latent)
        basis, inverse = self.bases()
        *moving, still = self.pieces(latent @ inverse.mT)
        *columns, rest = self.pieces(basis)  # [dim, copies, 2l + 1]
        found = [
            torch.einsum("...mj,dmi->...ijd", part, column).flatten(-3, -2)
            for part, column in zip(moving, columns, strict=True)
        ]  # fmt: skip
        return torch.cat(found + ([(still @ rest.mT)[..., None, :]] if self.still else []), -2)

    def generators(self) -> Tensor:
        """G, (3, dim, dim), with ``rho(exp w) = exp(sum_i w_i G_i)``: for checks and for analysis."""
        basis, inverse = self.bases()
        momenta = []
        for axis in angular_momentum(self.degrees[-1]):
            blocks = [axis[degree] for degree in self.degrees for _ in range(self.copies)]
            momenta.append(torch.block_diag(*blocks, torch.zeros(self.still, self.still, dtype=torch.float64)))
        sign = -1 if self.frame == "body" else 1
        return sign * (basis @ torch.stack(momenta).to(basis) @ inverse)


def coupling(degree: int) -> Tensor:
    """Orthonormal columns (3 (2 l - 1), 2 l + 1), float64, of the block l inside the product of the blocks 1 and l - 1.

    The block is where ``J_x^2 + J_y^2 + J_z^2`` of the product has its lowest value, -l (l + 1).
    """
    return _coupled(degree)[0]


def angular_momentum(highest: int) -> list[dict[int, Tensor]]:
    """Per axis x, y, z the generators J^l (2 l + 1, 2 l + 1), float64, for l = 1 ... `highest`: D^l(exp w) = exp(w . J^l)."""
    found = [_coupled(degree)[1] if degree > 1 else _vector() for degree in range(1, highest + 1)]
    return [{degree: found[degree - 1][axis] for degree in range(1, highest + 1)} for axis in range(3)]


def _vector() -> Tensor:
    return pose.skew(torch.eye(3, dtype=torch.float64))


def _coupled(degree: int) -> tuple[Tensor, Tensor]:
    """`coupling` and the generators (3, 2 l + 1, 2 l + 1) of the block."""
    first = _vector()
    second = first if degree == 2 else _coupled(degree - 1)[1]
    small, large = torch.eye(3, dtype=torch.float64), torch.eye(2 * degree - 1, dtype=torch.float64)
    product = torch.stack([torch.kron(a, large) + torch.kron(small, b) for a, b in zip(first, second, strict=True)])
    columns = torch.linalg.eigh((product @ product).sum(0)).eigenvectors[:, : 2 * degree + 1]
    columns = columns * columns.gather(0, columns.abs().argmax(0, keepdim=True)).sign()
    return columns, columns.mT @ product @ columns
