"""Can the pose be taken out afterwards? Erasers fitted on train frames, judged by probes on held-out objects.

Methods: LEACE (Belrose et al., 2306.03819), ``r(x) = x - W^+ P W (x - mean)`` with W = Sxx^(-1/2) and P the projector on
col(W Sxz): no linear probe finds z any more, at the least possible change. INLP (Ravfogel et al., ACL 2020): project out the
directions of a linear probe, again and again; once is the one-shot removal of Into the Rabbit Hull. RASA (Franca, 2507.14137):
the same with probes sigmoid(W x) of a normalised target, Gram-Schmidt, 8 rounds; made for the (row, column) of a patch token,
here also of a pose. `orbit`: project out the main directions of the variance within objects, no label and no pose. `random`:
a random subspace, the control of equal rank.

Notable: what LEACE erases is a basis of functions (vec R, the l = 2 block of rotations, translation, time), never Euler angles
or raw quaternions, and it is standardised first, so that no tolerance depends on a unit. Each new head of RASA is made
orthogonal to all that is removed already; without that the removal is incomplete. LEACE and INLP follow from covariances, so
the data may be of any length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie.eraser import Eraser
from vsie.evaluation.audit import Audit, Column, Rows, of_task
from vsie.evaluation.ladder import ridge
from vsie.evaluation.moments import CHUNK, Moments, Unscorable, effective_rank, scorable_rank
from vsie.feature_set import Features, flat
from vsie.pose import quadratic_block

FUNCTIONS = ("rotation", "l2", "translation", "time")
ROUNDS = 8
ORBIT_SHARE = 0.9
HARMONICS = 3


def functions(features: Features, which: Iterable[str]) -> Tensor:
    """Functions (N * F, k) float64 of all frames, by name.

    Args:
        features: For poses and times.
        which: ``rotation`` vec R; ``l2`` the 25 entries of the l = 2 block; ``translation``, the largest component being 1;
            ``time`` the place in the clip, from 0 to 1, and three harmonics of it.

    Raises:
        ValueError: An unknown name.
    """
    poses = torch.from_numpy(np.ascontiguousarray(features.poses.reshape(-1, 4, 4), dtype=np.float64))
    found = []
    for name in which:
        if name == "rotation":
            found.append(poses[:, :3, :3].flatten(1))
        elif name == "l2":
            found.append(quadratic_block(poses[:, :3, :3]).flatten(1))
        elif name == "translation":
            found.append(poses[:, :3, 3] / poses[:, :3, 3].abs().max().clamp_min(1e-30))  # in no unit
        elif name == "time":
            place = torch.linspace(0, 1, features.frames, dtype=torch.float64).repeat(len(features.poses))[:, None]
            waves = torch.pi * place * torch.arange(1, HARMONICS + 1)
            found.append(torch.cat([place, waves.cos(), waves.sin()], 1))
        else:
            raise ValueError(f"there is no function {name!r}, expected one of {', '.join(FUNCTIONS)}")
    return torch.cat(found, 1)


def positions(rows: int, columns: int) -> Tensor:
    """Normalised (row, column) (rows * columns, 2) float64 in [0, 1] of patch tokens, row by row."""
    first, second = torch.meshgrid(
        torch.linspace(0, 1, rows, dtype=torch.float64), torch.linspace(0, 1, columns, dtype=torch.float64), indexing="ij"
    )
    return torch.stack([first.flatten(), second.flatten()], 1)


def independent(targets: Tensor) -> Tensor:
    """Targets (N, k) standardised, and as an orthonormal basis (N, r) of what they span: constants and repetitions are gone.

    Raises:
        Unscorable: All of them are constant; there is nothing to erase.
    """
    centred = targets.double() - targets.double().mean(0)
    scale = centred.square().mean(0).sqrt()
    alive = scale > 1e-6 * max(1.0, float(targets.abs().max()))
    if not bool(alive.any()):
        raise Unscorable(f"all {targets.shape[1]} functions that should be erased are constant on these frames")
    standard = centred[:, alive] / scale[alive]
    values, vectors = torch.linalg.eigh(standard.mT @ standard / len(standard))
    keep = values > 1e-8 * values[-1]
    return standard @ (vectors[:, keep] / values[keep].sqrt())


def shrunk(covariance: Tensor, count: int) -> Tensor:
    """Covariance (d, d) of `count` observations drawn towards a multiple of the identity: OAS (Chen et al., 2010)."""
    dims = len(covariance)
    trace, square = covariance.trace(), covariance.square().sum()
    spread = (count + 1 - 2 / dims) * (square - trace.square() / dims)
    share = (((1 - 2 / dims) * square + trace.square()) / spread.clamp_min(1e-300)).clamp(0, 1)
    return (1 - share) * covariance + share * trace / dims * torch.eye(dims, dtype=covariance.dtype)


def leace(moments: Moments, *, shrink: bool = True, name: str = "leace") -> Eraser:
    """LEACE from the moments of latents x (N, d) and targets z (N, k); rank of Sxz many directions are removed.

    Args:
        moments: Of x and z.
        shrink: Whiten by a shrunk covariance. The cross-covariance is zero with any; but where frames are few for the dimensions,
            directions of hardly any variance tell z by accident, and an oblique projection along them ruins held-out frames.
        name: Of the eraser.

    Raises:
        ValueError: The latents have collapsed.
    """
    scorable_rank(moments.xx, moments.mean_x, "what should be erased from")
    values, vectors = torch.linalg.eigh(shrunk(moments.xx, moments.count) if shrink else moments.xx)
    keep = values > 1e-10 * values[-1]
    values, vectors = values[keep], vectors[:, keep]
    scale = moments.yy.diagonal().clamp_min(1e-300).sqrt()
    u, singular, _ = torch.linalg.svd((vectors / values.sqrt()).mT @ moments.xy / scale, full_matrices=False)
    u = u[:, singular > 1e-7 * singular[0].clamp_min(1e-300)]  # correlations: a relative tolerance is one
    return Eraser(moments.mean_x, (vectors * values.sqrt()) @ u, (vectors / values.sqrt()) @ u, name)


def _projector(mean: Tensor, basis: Tensor, name: str) -> Eraser:
    return Eraser(mean, basis, basis, name)


def _orthonormal(directions: Tensor, basis: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Orthonormal directions (d, m) of what `directions` (d, k) add to an orthonormal `basis` (d, b)."""
    left = directions / directions.norm(dim=0).clamp_min(1e-300)
    for _ in range(2):  # twice is enough
        left = left - basis @ (basis.mT @ left)
    u, singular, _ = torch.linalg.svd(left, full_matrices=False)
    return u[:, singular > tolerance]


def inlp(moments: Moments, *, rounds: int = ROUNDS, name: str = "inlp") -> Eraser:
    """Project out the directions of a linear probe of z (N, k), `rounds` times; one round is the one-shot linear removal.

    The probe is the ridge of the ladder, so all follows from the moments of x (N, d) and z.

    Raises:
        ValueError: The latents have collapsed.
    """
    scorable_rank(moments.xx, moments.mean_x, "what should be erased from")
    basis = moments.xx.new_zeros(len(moments.xx), 0)
    for _ in range(rounds):
        if basis.shape[1] == len(moments.xx):
            break
        left = torch.eye(len(moments.xx), dtype=moments.xx.dtype) - basis @ basis.mT
        basis = torch.cat([basis, _orthonormal(ridge(left @ moments.xx @ left, left @ moments.xy), basis)], 1)
    return _projector(moments.mean_x, basis, name)


def rasa(
    latents: Tensor, targets: Tensor, *, rounds: int = ROUNDS, steps: int = 40, penalty: float = 1e-4,
    name: str = "rasa", seed: int = 0,
) -> Eraser:  # fmt: skip
    """Project out the heads of sigmoid(W x + b) that tell a normalised target, `rounds` times.

    Args:
        latents: (N, d), patch tokens or latents.
        targets: (N, k) in [0, 1]: `positions` of the tokens, or (vec R + 1) / 2.
        rounds: How often; each takes at most k directions.
        steps: L-BFGS iterations per round.
        penalty: L2 on standardised weights.
        name: Of the eraser.
        seed: Of the heads' start.

    Raises:
        ValueError: Targets outside of [0, 1]; latents that have collapsed.
    """
    if float(targets.min()) < -1e-6 or float(targets.max()) > 1 + 1e-6:
        raise ValueError(f"RASA's targets are in [{float(targets.min()):.3g}, {float(targets.max()):.3g}], expected [0, 1]")
    moments = Moments.of(latents)
    scorable_rank(moments.xx, moments.mean_x, "what should be erased from")
    scale = moments.xx.diagonal().mean().sqrt()
    wanted = targets.double()
    dims, generator = latents.shape[1], torch.Generator().manual_seed(seed)
    basis = moments.xx.new_zeros(dims, 0)
    for _ in range(rounds):
        if basis.shape[1] >= dims:
            break
        x = (latents.double() - moments.mean_x) / scale
        x = x - (x @ basis) @ basis.mT
        heads = 1e-2 * torch.randn(dims, wanted.shape[1], generator=generator, dtype=torch.float64)
        heads = _fit_heads(x, wanted, heads, steps, penalty)
        basis = torch.cat([basis, _orthonormal(heads, basis)], 1)
    return _projector(moments.mean_x, basis, name)


def _fit_heads(x: Tensor, wanted: Tensor, start: Tensor, steps: int, penalty: float) -> Tensor:
    """Weights (d, k) of sigmoid(x W + b) with the least squared error."""
    weights, bias = start.clone().requires_grad_(True), torch.zeros(wanted.shape[1], dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (torch.sigmoid(x @ weights + bias) - wanted).square().sum(1).mean() + penalty * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weights.detach()


def within_covariance(latents: Tensor, objects: np.ndarray) -> Tensor:
    """Covariance (d, d) float64 of latents (N, d) about the means of their objects (N,)."""
    _, index = np.unique(objects, return_inverse=True)
    place = torch.from_numpy(index)
    means = torch.zeros(int(place.max()) + 1, latents.shape[1], dtype=torch.float64)
    for first in range(0, len(latents), CHUNK):
        means.index_add_(0, place[first : first + CHUNK], latents[first : first + CHUNK].double())
    means /= torch.bincount(place)[:, None]
    total = torch.zeros(latents.shape[1], latents.shape[1], dtype=torch.float64)
    for first in range(0, len(latents), CHUNK):
        about = latents[first : first + CHUNK].double() - means[place[first : first + CHUNK]]
        total.addmm_(about.mT, about)
    return total / len(latents)


def orbit(
    latents: Tensor, objects: np.ndarray, *, share: float = ORBIT_SHARE, rank: int | None = None, name: str = "orbit"
) -> Eraser:
    """Project out the main directions of the variance within objects: no label, no pose.

    Args:
        latents: (N, d).
        objects: (N,) orbit of each.
        share: Of the variance within objects that goes; not used where `rank` is given.
        rank: How many directions go.
        name: Of the eraser.

    Raises:
        ValueError: The latents have collapsed, or do not vary within any object.
    """
    moments = Moments.of(latents)
    scorable_rank(moments.xx, moments.mean_x, "what should be erased from")
    within = within_covariance(latents, objects)
    values, vectors = torch.linalg.eigh(within)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if float(values.sum()) <= 1e-12 * float(moments.xx.diagonal().sum()):
        raise Unscorable("the latents do not vary within objects; there is no orbit to remove")
    if rank is None:
        rank = int((values.cumsum(0) / values.sum() < share).sum()) + 1
    return _projector(moments.mean_x, vectors[:, :rank], name)


def random(moments: Moments, rank: int, *, seed: int = 0, name: str | None = None) -> Eraser:
    """Project out a random subspace: what an eraser of this rank does when it aims at nothing."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(len(moments.mean_x), rank, generator=generator, dtype=torch.float64)
    return _projector(moments.mean_x, torch.linalg.qr(draw).Q, name or f"random-{rank}")


def change(eraser: Eraser, latents: Tensor) -> float:
    """Mean |r(x) - x|^2 over mean |x - mean|^2 of latents (N, d): 0 nothing is changed, 1 all is gone."""
    moved, total = 0.0, 0.0
    mean = latents.double().mean(0)
    for first in range(0, len(latents), CHUNK):
        part = latents[first : first + CHUNK].double()
        moved += float((eraser(part) - part).square().sum())
        total += float((part - mean).square().sum())
    return moved / total


def standard_set(
    train: Features, part: str = "all", *, source: str = "clip", rounds: int = ROUNDS, rasa_frames: int = 4000, seed: int = 0
) -> dict[str, Eraser]:
    """All erasers of the pose, fitted on the train frames of a part of the latent.

    ``leace-rotation`` (vec R), ``leace-basis`` (with the l = 2 block, translation and time where these vary), ``linear`` (one
    shot), ``inlp``, ``rasa``: where poses are in the objects' frames; ``orbit``: where there is one.

    Raises:
        Unscorable: The part has collapsed, no pose varies, or none of the erasers can be fitted.
    """
    x = flat(train, part, source)
    found = _of_pose(train, x, rounds, rasa_frames, seed) if train.anchored else {}
    try:
        found["orbit"] = orbit(x, np.repeat(train.objects, train.frames))
    except Unscorable:
        if not found:
            raise
    return found


def _of_pose(train: Features, x: Tensor, rounds: int, rasa_frames: int, seed: int) -> dict[str, Eraser]:
    """Those that are fitted to the poses of the frames whose latents are x (N * F, d)."""
    turn = functions(train, ("rotation",))
    rotation, basis = independent(turn), independent(functions(train, FUNCTIONS))
    own = Moments.of(x, rotation)
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:rasa_frames]
    varied = ((turn - turn.mean(0)).abs().amax(0) > 1e-6).nonzero().squeeze(1)
    return {
        "leace-rotation": leace(own, name="leace-rotation"),
        "leace-basis": leace(Moments.of(x, basis), name="leace-basis"),
        "linear": inlp(own, rounds=1, name="linear"),
        "inlp": inlp(own, rounds=rounds, name="inlp"),
        "rasa": rasa(x[some], (turn[some][:, varied] + 1) / 2, rounds=rounds, seed=seed),
    }


def fitted(task, source: str = "clip") -> dict[str, Eraser]:
    """`standard_set` of an evaluation (`suite`); a note says where `orbit` is not among them."""
    erasers = standard_set(task.train, source=source, seed=task.seed)
    note = "no orbit removal: the latents do not vary within objects"
    task.result.notes += [] if "orbit" in erasers or note in task.result.notes else [note]
    return erasers


@dataclass(frozen=True)
class Judged:
    """An eraser and what is left after it: probes' columns, the change made, ranks, and the control of equal rank.

    Attributes:
        eraser: None for the latents as they are.
        columns: By name, see `Audit.columns`.
        control: The same after a random subspace of equal rank, without pair probe and MLP; {} where there is none.
        change: Mean |r(x) - x|^2 over the variance, on held-out frames.
        kept: Algebraic rank that is left, d - k.
        rank: Effective rank that is left.
    """

    eraser: Eraser | None
    columns: dict[str, Column]
    control: dict[str, Column]
    change: float
    kept: int
    rank: float


def judge(
    audit: Audit,
    rows: Rows,
    erasers: dict[str, Eraser],
    *,
    pair: bool = True,
    mlp: bool = False,
    controls: bool = True,
    seed: int = 0,
) -> dict[str, Judged]:
    """Class and pose before (``none``) and after each eraser, on the audit's frames.

    Args:
        audit: The frames and the probes.
        rows: The latents that the erasers are for.
        erasers: By name.
        pair: Audit by a pair probe too.
        mlp: Audit by an MLP too, beside the kernel.
        controls: Judge a random subspace of the same rank too.
        seed: Of the random subspaces.
    """
    moments, steps = Moments.of(rows.train), max(1, audit.pair_steps // 2)  # eight pair probes: half as long each, all alike
    random_columns: dict[int, dict[str, Column]] = {}

    def control(rank: int) -> dict[str, Column]:
        if rank not in random_columns:
            random_columns[rank] = audit.columns(rows.map(random(moments, rank, seed=seed)), pair=False, mlp=False)
        return random_columns[rank]

    found = {
        "none": Judged(
            None,
            audit.columns(rows, pair=pair, mlp=mlp, pair_steps=steps),
            {},
            0.0,
            rows.train.shape[1],
            effective_rank(moments.xx),
        )
    }
    for name, eraser in erasers.items():
        clean = rows.map(eraser)
        kept = eraser.dim - eraser.rank
        beside = control(eraser.rank) if controls and kept else {}
        columns = audit.columns(clean, pair=pair, mlp=mlp, pair_steps=steps) if kept else {}
        rank = effective_rank(Moments.of(clean.train).xx) if kept else 0.0
        found[name] = Judged(eraser, columns, beside, change(eraser, rows.test), kept, rank)
    return found


def protocol(task) -> None:
    """For `suite`: ``erasure/<column>/<eraser>`` with ``/floor``, ``/before`` and ``/random`` (a random subspace of equal rank)
    beside it, ``erasure/{change,kept,rank}/<eraser>``; the erasers themselves are in the result, to be kept with the run.
    """
    audit = of_task(task)
    task.bar.set_postfix_str("erasure, fitting")
    erasers = task.result.erasers or fitted(task)
    task.bar.set_postfix_str("erasure, judging")
    found = judge(audit, audit.rows(task.train, task.test, "all"), erasers, seed=task.seed)
    before = found["none"].columns
    for name, judged in found.items():
        for column, outcome in judged.columns.items():
            beside = {"floor": outcome.floor} | ({} if judged.eraser is None else {"before": before[column].value})
            if column in judged.control:
                beside["random"] = judged.control[column].value
            task.result.add(f"erasure/{column}/{name}", outcome.value, outcome.interval(task.seed), **beside)
            if "median_deg" in outcome.beside:
                low_high = outcome.beside["median_deg/low"], outcome.beside["median_deg/high"]
                floor = outcome.beside["median_deg/floor"]
                task.result.add(f"erasure/{column}_median_deg/{name}", outcome.beside["median_deg"], low_high, floor=floor)
        task.result.add(f"erasure/change/{name}", judged.change)
        task.result.add(f"erasure/kept/{name}", judged.kept)
        task.result.add(f"erasure/rank/{name}", judged.rank)
    task.result.erasers.update(erasers)
