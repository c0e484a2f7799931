"""Tracking without a probe: which rotation, given to the predictor, turns the source's latent into the target's?

Notable: with ``W(delta) z = sum_k h_k(delta) A_k z`` a candidate delta costs K numbers, not a forward pass. For latents z
(source) and y (target) let ``b_k = <A_k z, y>`` and ``G_kl = <A_k z, A_l z>``; then

    cosine      s(h) = h.b / (|y| sqrt(h.G h))            where the term is contrastive
    euclidean   s(h) = (2 h.b - h.G h) / |y|^2            = 1 - |y - W z|^2 / |y|^2

A coarse grid finds the modes, a few Levenberg-Marquardt steps on the rotation itself (never on the entries of vec R, most
of whose directions no motion excites) make them exact. The grid and the steps stay in the span of the training deltas: one
axis for a turntable, all rotations else.

A predictor that is not linear in z is inverted the same way with s(predictor(z, delta)) evaluated: grid, two best modes,
Levenberg-Marquardt with the predictor's derivative by differences. The candidates of one source are shared by its targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vsie import pose
from vsie.evaluation.inputs import Steering, linear
from vsie.evaluation.moments import Unscorable

APART = math.radians(30)  # modes closer than this are one mode
STEP = 1e-2  # radians, of the central differences of h
DIRECT_STEP = 4e-3  # radians, of the forward differences of a predictor that is not linear
PREDICTIONS = 2**15  # of such a predictor at once
ONE_AXIS = 0.02  # the share of the rotation vectors' spread off the main axis below which the motion has one axis


@dataclass(frozen=True)
class Candidates:
    """The coarse grid: rotations (C, 3, 3), their coefficients h (C, K) where the steering is linear (None else), which are
    one mode (C, C), the tangent basis (m, 3).

    `radius` (radians) is how near two rotations are that count as one mode; `tangent` holds one row, the axis, where the
    training deltas turn about one axis, and three else.
    """

    rotations: Tensor
    coefficients: Tensor | None
    near: Tensor
    tangent: Tensor
    radius: float


def _coefficients(steering: Steering, rotation: Tensor, dtype: torch.dtype) -> Tensor:
    return steering.coefficients(pose.rigid(rotation).to(dtype)).to(dtype)


def main_axis(rotation_vectors: Tensor, off: float = ONE_AXIS) -> Tensor | None:
    """The one axis (3,) that rotation vectors (M, 3) share, or None where a share `off` of their spread, or more, is off it.

    Raises:
        Unscorable: None of them turns.
    """
    second_moment = rotation_vectors.mT @ rotation_vectors
    values, vectors = torch.linalg.eigh(second_moment)
    if float(values[-1]) <= 0:
        raise Unscorable("all training deltas are the identity; there is no motion to invert")
    return vectors[:, -1] if float((values[:2].sum().clamp_min(0) / values[-1]).sqrt()) < off else None  # rounding: below 0


def arc(angles: Tensor, count: int) -> Tensor:
    """`count` angles (radians) evenly over the arc that `angles` (M,) cover: the circle without its largest empty gap, or
    all of it where no gap is as large as 20 degrees."""
    order = angles.remainder(2 * math.pi).sort().values
    gaps = torch.cat([order[1:] - order[:-1], order[:1] + 2 * math.pi - order[-1:]])
    widest = int(gaps.argmax())
    if float(gaps[widest]) < math.radians(20):
        return torch.arange(count, dtype=angles.dtype) * (2 * math.pi / count)
    start = float(order[(widest + 1) % len(order)])
    return start + torch.linspace(0, 1, count, dtype=angles.dtype) * (2 * math.pi - float(gaps[widest]))


def spread(rotations: Tensor, count: int) -> Tensor:
    """Indices (count,) of rotations (M, 3, 3) that lie far apart: each next one is the farthest from all taken."""
    quaternion = pose.to_quaternion(rotations).float()
    count = min(count, len(quaternion))
    taken = torch.zeros(count, dtype=torch.long)
    nearest = (quaternion @ quaternion[0]).abs()
    for i in range(1, count):
        taken[i] = nearest.argmin()
        torch.maximum(nearest, (quaternion @ quaternion[taken[i]]).abs(), out=nearest)
    return taken


def candidates(
    steering: Steering, training_deltas: Tensor, *, angles: int = 120, count: int = 1024, pool: int = 20_000, seed: int = 0
) -> Candidates:
    """The coarse grid over the span of the training deltas.

    Args:
        steering: Gives the coefficients.
        training_deltas: (M, 4, 4) or (M, 3, 3), in `steering.frame`.
        angles: Grid size where all deltas turn about one axis.
        count: Grid size else: that many well-spread training deltas.
        pool: At most so many deltas are looked at.
        seed: Which.

    Raises:
        ValueError: The deltas are no rotations.
        Unscorable: None of them turns, or the steering depends on their translation, which is not solved for.
    """
    deltas = torch.as_tensor(training_deltas)
    if deltas.ndim != 3 or deltas.shape[-1] not in (3, 4) or deltas.shape[-1] != deltas.shape[-2] or len(deltas) == 0:
        raise ValueError(f"training_deltas has shape {tuple(deltas.shape)}, expected (M, 4, 4) or (M, 3, 3) with M > 0")
    deltas = deltas.double()
    if len(deltas) > pool:
        deltas = deltas[torch.randperm(len(deltas), generator=torch.Generator().manual_seed(seed))[:pool]]
    rotation = deltas[:, :3, :3]
    if not bool(pose.is_rotation(rotation, 1e-3).all()):
        raise ValueError("training_deltas holds matrices that are no rotations")
    if deltas.shape[-1] == 4 and float(deltas[:, :3, 3].abs().max()) > 1e-6:
        if linear(steering):
            whole = steering.coefficients(deltas[:256].float())
            difference = (whole - _coefficients(steering, rotation[:256], torch.float32)).abs().max()
            translated = float(difference) > 1e-4 * float(whole.abs().max())
        else:
            translated = getattr(steering, "uses_translation", False)
        if translated:
            raise Unscorable("the steering depends on the deltas' translation; inversion solves for the rotation only")
    vectors = pose.log(rotation)
    axis = main_axis(vectors)
    if axis is None:
        grid, tangent = rotation[spread(rotation, count)], torch.eye(3, dtype=torch.float64)
    else:
        turn = vectors @ axis
        grid, tangent = pose.exp(arc(turn, angles)[:, None] * axis), axis[None]
    quaternion = pose.to_quaternion(grid)
    angle = 2 * torch.acos((quaternion @ quaternion.mT).abs().clamp_max(1))
    # A motion of a few degrees has no two modes 30 degrees apart: then a quarter of its span parts them.
    radius = min(APART, float(angle.max()) / 4)
    return Candidates(
        rotations=grid, near=angle < radius,
        coefficients=_coefficients(steering, grid, torch.float32) if linear(steering) else None,
        tangent=tangent.float(), radius=radius,
    )  # fmt: skip


@dataclass(frozen=True)
class _Problem:
    """P problems in K-space: b (P, K), G (P, K, K), |y| (P,)."""

    products: Tensor
    gram: Tensor
    length: Tensor
    similarity: str

    def score(self, h: Tensor) -> Tensor:
        """Scores (P,) of coefficients (P, K)."""
        linear = (h * self.products).sum(-1)
        square = (h * (self.gram @ h[..., None]).squeeze(-1)).sum(-1)
        if self.similarity == "cosine":
            return linear / (self.length * square.clamp_min(1e-20).sqrt())
        return (2 * linear - square) / self.length.square()

    def step(self, h: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (P, m) and Gauss-Newton matrix (P, m, m) of -score along the tangent, h' = jacobian (P, m, K)."""
        moved = jacobian @ self.gram  # (P, m, K)
        curvature = moved @ jacobian.mT
        slope = (jacobian @ self.products[..., None]).squeeze(-1)
        drag = (moved @ h[..., None]).squeeze(-1)
        if self.similarity == "euclidean":
            scale = self.length.square()[:, None]
            return -2 * (slope - drag) / scale, 2 * curvature / scale[..., None]
        square = (h * (self.gram @ h[..., None]).squeeze(-1)).sum(-1).clamp_min(1e-20)[:, None]
        linear = (h * self.products).sum(-1, keepdim=True)
        gradient = (slope - drag * linear / square) / (square.sqrt() * self.length[:, None])
        turn = (curvature - drag[..., :, None] * drag[..., None, :] / square[..., None]) / square[..., None]
        # On the sphere 1 - cosine curves by cosine * speed^2; a floor keeps bad matches convex.
        score = linear / (square.sqrt() * self.length[:, None])
        return -gradient, turn * score.clamp_min(0.1)[..., None]


def _refine(problem: _Problem, steering: Steering, rotation: Tensor, tangent: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt on the rotation (P, 3, 3), ``R <- R exp(tangent^T w)``; a step is kept only where it is better.

    Returns:
        Rotations (P, 3, 3) and their scores (P,).
    """
    dims = len(tangent)
    dtype = problem.products.dtype
    probes = pose.exp(torch.cat([tangent, -tangent]).to(rotation.dtype) * STEP)  # (2m, 3, 3)
    h = _coefficients(steering, rotation, dtype)
    score = problem.score(h)
    damping = torch.full_like(score, 1e-2)
    eye = torch.eye(dims, dtype=dtype)
    for _ in range(steps):
        around = _coefficients(steering, rotation[:, None] @ probes, dtype)
        gradient, curvature = problem.step(h, (around[:, :dims] - around[:, dims:]) / (2 * STEP))
        level = curvature.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
        matrix = curvature + (damping * level + 1e-12)[:, None, None] * eye
        move = -torch.linalg.solve(matrix, gradient)
        move = move * (0.35 / move.norm(dim=-1, keepdim=True).clamp_min(0.35))  # at most 20 degrees at once
        trial = rotation @ pose.exp((move @ tangent).to(rotation.dtype))
        trial_h = _coefficients(steering, trial, dtype)
        trial_score = problem.score(trial_h)
        better = trial_score > score
        rotation = torch.where(better[:, None, None], trial, rotation)
        h = torch.where(better[:, None], trial_h, h)
        score = torch.where(better, trial_score, score)
        damping = torch.where(better, damping * 0.3, damping * 10).clamp(1e-4, 1e4)
    return rotation, score


def _solve(problem: _Problem, grid: Candidates, steering: Steering, *, steps: int, denominator: Tensor, row: Tensor):
    """Best rotation (P, 3, 3) and margin (P,): the grid's two best modes, both refined, the better one kept."""
    dots = problem.products @ grid.coefficients.mT  # (P, C)
    # Both quaternions of a rotation are tried where the predictor was given either: W(-q) = -W(q).
    both_signs = getattr(steering, "sign_free", False)
    table = dots.abs() if both_signs else dots
    if problem.similarity == "cosine":
        table = table / denominator[row]
        table = table / problem.length[:, None]
    else:
        table = (2 * table - denominator[row]) / problem.length.square()[:, None]

    def climb(start: Tensor) -> tuple[Tensor, Tensor]:
        products = problem.products.repeat(2, 1)
        if both_signs:
            products = products * dots.repeat(2, 1).gather(1, start[:, None]).sign()
        both = _Problem(products, problem.gram.repeat(2, 1, 1), problem.length.repeat(2), problem.similarity)
        return _refine(both, steering, grid.rotations[start], grid.tangent, steps=steps)

    return _best_mode(table, grid, climb)


def _best_mode(table: Tensor, grid: Candidates, climb: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Best rotation (P, 3, 3) and margin (P,) from the grid's scores (P, C): its two best modes climbed, the better one kept.

    `climb` refines from candidates (2P,), all first modes and then all second ones: rotations (2P, 3, 3) and scores (2P,).
    """
    first = table.argmax(1)
    rival = table.masked_fill(grid.near[first], -torch.inf).argmax(1)
    number = len(first)
    rotation, score = climb(torch.cat([first, rival]))
    one, two = rotation[:number], rotation[number:]
    score_one, score_two = score[:number], score[number:]
    swap = score_two > score_one
    best = torch.where(swap[:, None, None], two, one)
    high, low = torch.maximum(score_one, score_two), torch.minimum(score_one, score_two)
    # The second mode is the best of what lies outside the first: the other start, unless it climbed into the first too, and
    # the grid around the solution, which need not be the grid around the first start.
    low = low.masked_fill(pose.geodesic(one, two) < grid.radius, -torch.inf)
    cosine = pose.to_quaternion(best).float() @ pose.to_quaternion(grid.rotations).float().mT
    outside = table.masked_fill_(cosine.abs() > math.cos(grid.radius / 2), -torch.inf).amax(1)
    second = torch.maximum(low, outside)
    return best, torch.where(second.isfinite(), high - second, torch.zeros_like(high)).clamp_min(0)


@torch.no_grad()
def invert_pairs(
    steering: Steering, embedded: Tensor, source: Tensor, target: Tensor, grid: Candidates, *, steps: int = 5, chunk: int = 4096
) -> tuple[Tensor, Tensor]:
    """Relative rotations of pairs of frames, solved from the predictor alone.

    Args:
        steering: The predictor.
        embedded: (N, e) embedded latents of the frames.
        source: (P,) index of each pair's source; pairs that share a source are cheapest when neighbours in the list.
        target: (P,) index of each pair's target.
        grid: From `candidates`.
        steps: Levenberg-Marquardt steps.
        chunk: Pairs at once.

    Returns:
        Rotations (P, 3, 3) float64 in `steering.frame`, and confidences (P,): how much better (in cosine, or in explained
        share for a Euclidean term) the best mode is than the second, the best one more than 30 degrees away; 0 when tied.
    """
    if not linear(steering):
        return _invert_directly(steering, embedded, source, target, grid, steps=steps, chunk=chunk)
    rotations, confidences = [], []
    outer = (grid.coefficients[:, :, None] * grid.coefficients[:, None, :]).flatten(1)  # (C, K * K)
    for start in range(0, len(source), chunk):
        ids, row = torch.unique_consecutive(source[start : start + chunk], return_inverse=True)
        wanted = embedded[target[start : start + chunk]]
        expanded = steering.expand(embedded[ids]).to(wanted.dtype)  # (n, K, e)
        gram = expanded @ expanded.mT  # (n, K, K)
        squares = gram.flatten(1) @ outer.mT  # (n, C): |W z|^2 of every candidate
        denominator = squares.clamp_min(1e-20).sqrt() if steering.similarity == "cosine" else squares
        problem = _Problem(
            products=_products(expanded, wanted, row), gram=gram[row],
            length=wanted.norm(dim=-1).clamp_min(1e-20), similarity=steering.similarity,
        )  # fmt: skip
        rotation, margin = _solve(problem, grid, steering, steps=steps, denominator=denominator, row=row)
        rotations.append(rotation)
        confidences.append(margin)
    if not rotations:
        return torch.zeros(0, 3, 3, dtype=torch.float64), torch.zeros(0)
    return torch.cat(rotations), torch.cat(confidences)


def _invert_directly(
    steering: Steering, embedded: Tensor, source: Tensor, target: Tensor, grid: Candidates, *, steps: int, chunk: int
) -> tuple[Tensor, Tensor]:
    """`invert_pairs` for a predictor that is not linear in the latent: each candidate is a forward pass."""
    motions = pose.rigid(grid.rotations).to(embedded.dtype)
    per_source = max(1, PREDICTIONS // len(motions))
    rotations, confidences = [torch.zeros(0, 3, 3, dtype=torch.float64)], [torch.zeros(0)]
    for start in range(0, len(source), chunk):
        sources, wanted = embedded[source[start : start + chunk]], embedded[target[start : start + chunk]]
        ids, counts = torch.unique_consecutive(source[start : start + chunk], return_counts=True)
        tables, done = [], 0
        for group, sizes in zip(ids.split(per_source), counts.split(per_source), strict=True):
            predicted = steering.steer(embedded[group][:, None], motions)  # (n, C, e)
            squares = predicted.square().sum(-1)
            pairs = wanted[done : done + int(sizes.sum())].split(sizes.tolist())
            tables += [
                _score(pair @ predicted[i].mT, squares[i], pair.square().sum(-1, keepdim=True), steering.similarity)
                for i, pair in enumerate(pairs)
            ]
            done += int(sizes.sum())

        def climb(first: Tensor, sources: Tensor = sources, wanted: Tensor = wanted) -> tuple[Tensor, Tensor]:
            return _refine_directly(
                steering, sources.repeat(2, 1), wanted.repeat(2, 1), grid.rotations[first], grid.tangent, steps=steps
            )

        rotation, margin = _best_mode(torch.cat(tables), grid, climb)
        rotations.append(rotation)
        confidences.append(margin)
    return torch.cat(rotations), torch.cat(confidences)


def _score(dot: Tensor, square: Tensor, wanted: Tensor, similarity: str) -> Tensor:
    """Scores of the head of the file from <W z, y>, |W z|^2 and |y|^2, shapes that broadcast."""
    if similarity == "cosine":
        return dot / (square * wanted).clamp_min(1e-20).sqrt()
    return (2 * dot - square) / wanted.clamp_min(1e-20)


def _refine_directly(
    steering: Steering, latents: Tensor, wanted: Tensor, rotation: Tensor, tangent: Tensor, *, steps: int
) -> tuple[Tensor, Tensor]:
    """`_refine` for latents (P, e) and targets (P, e), by forward passes of the predictor."""
    dims, dtype = len(tangent), latents.dtype
    probes = pose.exp(tangent.to(rotation.dtype) * DIRECT_STEP)  # (m, 3, 3)
    cosine = steering.similarity == "cosine"
    power = wanted.square().sum(-1)

    def predict(rotations: Tensor) -> tuple[Tensor, Tensor]:
        found = steering.steer(latents, pose.rigid(rotations).to(dtype))
        return found, _score((found * wanted).sum(-1), found.square().sum(-1), power, steering.similarity)

    unit = torch.nn.functional.normalize(wanted, dim=-1)
    moved, score = predict(rotation)
    damping = torch.full_like(score, 1e-2)
    eye = torch.eye(dims, dtype=dtype)
    for _ in range(steps):
        around = steering.steer(latents[:, None], pose.rigid(rotation[:, None] @ probes).to(dtype))  # (P, m, e)
        jacobian, residual = (around - moved[:, None]) / DIRECT_STEP, moved - wanted
        if cosine:  # 1 - cosine is half the squared distance on the unit sphere
            length = moved.norm(dim=-1, keepdim=True).clamp_min(1e-10)
            direction = moved / length
            jacobian = jacobian / length[:, None]
            jacobian = jacobian - (jacobian @ direction[..., None]) * direction[:, None]
            residual = direction - unit
        gradient = (jacobian @ residual[..., None]).squeeze(-1)
        curvature = jacobian @ jacobian.mT
        level = curvature.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
        move = -torch.linalg.solve(curvature + (damping * level + 1e-12)[:, None, None] * eye, gradient)
        move = move * (0.35 / move.norm(dim=-1, keepdim=True).clamp_min(0.35))  # at most 20 degrees at once
        trial = rotation @ pose.exp((move @ tangent).to(rotation.dtype))
        trial_moved, trial_score = predict(trial)
        better = trial_score > score
        rotation = torch.where(better[:, None, None], trial, rotation)
        moved = torch.where(better[:, None], trial_moved, moved)
        score = torch.where(better, trial_score, score)
        damping = torch.where(better, damping * 0.3, damping * 10).clamp(1e-4, 1e4)
    return rotation, score


def _products(expanded: Tensor, wanted: Tensor, row: Tensor) -> Tensor:
    """b (P, K): <A_k z, y> for expanded sources (n, K, e), targets (P, e) and the source's row (P,)."""
    if len(expanded) == len(row):
        return torch.einsum("pke,pe->pk", expanded, wanted)
    return torch.cat([
        wanted[piece] @ expanded[i].mT
        for i, piece in enumerate(torch.split(torch.arange(len(row)), torch.bincount(row, minlength=len(expanded)).tolist()))
    ])  # fmt: skip


def invert(
    steering: Steering, source_embedded: Tensor, target_embedded: Tensor, training_deltas: Tensor, **options
) -> tuple[Tensor, Tensor]:
    """`invert_pairs` for embedded sources (N, e) and targets (N, e), the grid built from training deltas (M, 4, 4)."""
    if source_embedded.shape != target_embedded.shape or source_embedded.ndim != 2:
        raise ValueError(
            f"source_embedded {tuple(source_embedded.shape)} and target_embedded {tuple(target_embedded.shape)} "
            "should both be (N, e)"
        )
    number = len(source_embedded)
    index = torch.arange(number)
    grid = candidates(steering, training_deltas)
    return invert_pairs(steering, torch.cat([source_embedded, target_embedded]), index, index + number, grid, **options)
