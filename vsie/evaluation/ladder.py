"""How simply does a motion act on the latent? The ladder identity < isometry < linear map, held out and split by object.

For one fixed motion g, with pairs x (before) and y (after), centred on train means (a tilde below), maps fitted on train
pairs and scored on the pairs of other objects:

    identity  1 - sum |y - x|^2 / (sum |x~|^2 + sum |y~|^2)
    isometry  2 sum <Q^T x~, y~> / (sum |x~|^2 + sum |y~|^2),   Q = U V^T of the SVD of X~^T Y~
    linear    1 - sum |y~ - A^T x~|^2 / sum |y~|^2,   A ridge, lambda = 1e-3 tr(Cxx) / d   (Lenc & Vedaldi, CVPR 2015)

Where every pair has its own g, one map cannot fit: `conditional` is the R2 of a ridge from phi(g) (x) x, phi = [1, vec R, t],
against the same with the motions shuffled. Of a learned predictor rho: `group_law` (does rho(g2) rho(g1) equal rho(g2 g1), does
rho(g^-1) undo rho(g)). `orbit_share` needs no pose.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.evaluation import bootstrap
from vsie.evaluation.inputs import Steering
from vsie.evaluation.moments import CHUNK, Moments, Unscorable, derangement, scorable_rank
from vsie.evaluation.paired import STATISTICS, Sample
from vsie.feature_set import Features, flat

RUNGS = ("identity", "isometry", "linear")
RIDGE = 1e-3
COMPONENTS = 128
PAIRS = 2**20  # of a set are looked at for motions that many share: about 1.2 GB
Interval = tuple[float, float]


@dataclass(frozen=True)
class Maps:
    """What was fitted on train pairs: means (d,), Q (d, d), A (d, d), effective ranks of source and target."""

    means: tuple[Tensor, Tensor]
    isometry: Tensor
    linear: Tensor
    ranks: tuple[float, float]


@dataclass(frozen=True)
class Ladder:
    """The three rungs: score, 95 % interval over objects, null from shuffled pairs, and sample, by name; effective ranks."""

    scores: dict[str, float]
    intervals: dict[str, Interval]
    nulls: dict[str, float]
    ranks: tuple[float, float]
    samples: dict[str, Sample] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditional:
    """R2 of the pose-conditional linear map, its interval over objects, the control with shuffled motions, and its sample."""

    r2: float
    interval: Interval
    shuffled: float
    sample: Sample | None = None


def ridge(xx: Tensor, xy: Tensor, strength: float = RIDGE) -> Tensor:
    """The map (d, e) that minimises |y - A^T x|^2 + lambda |A|^2 with lambda = strength tr(xx) / d, from covariances."""
    regular = xx + strength * xx.diagonal().mean() * torch.eye(len(xx), dtype=xx.dtype)
    factor, failed = torch.linalg.cholesky_ex(regular)
    if int(failed):  # not positive within rounding: a covariance of nothing, or of numbers far apart in size
        return torch.linalg.lstsq(regular, xy, driver="gelsd").solution
    return torch.cholesky_solve(xy, factor)


def fit(moments: Moments, *, name: str = "the representation") -> Maps:
    """Fit Q and A from the moments of train pairs.

    Raises:
        ValueError: A side has collapsed, or the widths differ.
    """
    if moments.xy.shape[0] != moments.xy.shape[1]:
        raise ValueError(f"the ladder compares equal widths, found {moments.xy.shape[0]} and {moments.xy.shape[1]}")
    ranks = (
        scorable_rank(moments.xx, moments.mean_x, f"{name} (source)"),
        scorable_rank(moments.yy, moments.mean_y, f"{name} (target)"),
    )
    cross = moments.xy
    u, _, vt = torch.linalg.svd(cross)
    return Maps((moments.mean_x, moments.mean_y), u @ vt, ridge(moments.xx, cross), ranks)


def object_sums(maps: Maps, x: Tensor, y: Tensor, objects: np.ndarray) -> np.ndarray:
    """Per-object sums (objects, 5): |y - x|^2, |x~|^2, |y~|^2, <Q^T x~, y~>, |y~ - A^T x~|^2 of pairs x, y (N, d)."""
    terms = []
    for first in range(0, len(x), CHUNK):
        part = slice(first, first + CHUNK)
        a, b = x[part].double(), y[part].double()
        difference = (b - a).square().sum(1)
        a, b = a - maps.means[0], b - maps.means[1]
        rotated, mapped = a @ maps.isometry, a @ maps.linear
        squares = [difference, a.square().sum(1), b.square().sum(1), (rotated * b).sum(1), (b - mapped).square().sum(1)]
        terms.append(torch.stack(squares, 1))
    return bootstrap.group_sums(torch.cat(terms).numpy(), objects)


def rungs(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The three scores (...) from sums (..., 5) of `object_sums`."""
    moved, source, target, aligned, residual = np.moveaxis(np.asarray(sums), -1, 0)
    return {
        "identity": 1 - moved / (source + target),
        "isometry": 2 * aligned / (source + target),
        "linear": 1 - residual / target,
    }


def ladder(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], objects: np.ndarray, *, name: str = "the representation",
    seed: int = 0,
) -> Ladder:  # fmt: skip
    """The ladder for pairs of one fixed motion.

    Args:
        train: x, y (N, d).
        test: x, y (M, d) of held-out objects.
        objects: (M,) object of each test pair.
        name: What an error calls it.
        seed: Of the shuffle and of the resamples.

    Raises:
        ValueError: A side has collapsed.
    """
    maps = fit(Moments.of(*train), name=name)
    sums = object_sums(maps, *test, objects)
    order, test_order = derangement(len(train[0]), seed=seed), derangement(len(test[0]), seed=seed + 1)
    shuffled = fit(Moments.of(train[0], train[1][order]), name=name)
    null = rungs(object_sums(shuffled, test[0], test[1][test_order], objects).sum(0))
    intervals = {key: bootstrap.sums_interval(sums, lambda s, key=key: rungs(s)[key], seed=seed) for key in RUNGS}
    scores = {key: float(value) for key, value in rungs(sums.sum(0)).items()}
    names, (moved, source, target, aligned, residual) = np.unique(objects), sums.T
    left = {"identity": (moved, source + target), "isometry": (source + target - 2 * aligned, source + target),
            "linear": (residual, target)}  # fmt: skip
    samples = {key: Sample("explained", np.stack(pair, 1), names) for key, pair in left.items()}
    return Ladder(scores, intervals, {key: float(value) for key, value in null.items()}, maps.ranks, samples)


def _functions(motion: Tensor) -> Tensor:
    """phi = [1, vec R, t], (N, 13), of motions (N, 4, 4); (N, 10) of rotations (N, 3, 3)."""
    numbers = [torch.ones(len(motion), 1, dtype=torch.float64), motion[:, :3, :3].double().flatten(1)]
    return torch.cat([*numbers, motion[:, :3, 3].double()] if motion.shape[-1] == 4 else numbers, 1)


def _independent(functions: Tensor) -> Tensor:
    """A basis (K, k) of what the functions (N, K) span on these motions: a turntable excites three of the ten.

    Translations are in any unit, and are measured by their own size first; as small as what rounding leaves, they are none.
    """
    unit, size = torch.ones(functions.shape[1], 1, dtype=functions.dtype), functions[:, 10:].square().mean().sqrt()
    unit[10:] = size if size > 1e-6 else 1
    functions = functions / unit.mT
    values, vectors = torch.linalg.eigh(functions.mT @ functions / len(functions))
    alive = values > 1e-6 * values[-1]
    return vectors[:, alive] / values[alive].sqrt() / unit


def conditional(
    train: tuple[Tensor, Tensor, Tensor], test: tuple[Tensor, Tensor, Tensor], objects: np.ndarray, *,
    components: int = COMPONENTS, name: str = "the representation", seed: int = 0,
) -> Conditional:  # fmt: skip
    """R2 of y from phi(g) (x) x where every pair has its own motion g.

    Args:
        train: x, y (N, d) and motions (N, 4, 4) or (N, 3, 3).
        test: The same of held-out objects.
        objects: (M,) object of each test pair.
        components: At most so many principal components of x enter the product (its covariance has (components K)^2 entries);
            y is scored whole.
        name: What an error calls it.
        seed: Of the shuffle and of the resamples.

    Raises:
        ValueError: A side has collapsed.
    """
    moments = Moments.of(*train[:2])
    scorable_rank(moments.xx, moments.mean_x, f"{name} (source)")
    scorable_rank(moments.yy, moments.mean_y, f"{name} (target)")
    main = torch.linalg.eigh(moments.xx).eigenvectors[:, -components:]
    functions = _functions(train[2])
    basis = _independent(functions)
    functions, test_functions = functions @ basis, _functions(test[2]) @ basis

    def products(x: Tensor, phi: Tensor) -> Tensor:
        reduced = (x.double() - moments.mean_x) @ main
        return (phi[:, :, None] * reduced[:, None, :]).flatten(1)

    def sums(phi: Tensor, test_phi: Tensor) -> np.ndarray:
        chunk, width = 2048, phi.shape[1] * main.shape[1]
        gram = torch.zeros(width, width, dtype=torch.float64)
        cross = torch.zeros(width, moments.yy.shape[0], dtype=torch.float64)
        for first in range(0, len(phi), chunk):
            part = slice(first, first + chunk)
            z = products(train[0][part], phi[part])
            gram.addmm_(z.mT, z)
            cross.addmm_(z.mT, train[1][part].double() - moments.mean_y)
        weights = ridge(gram / len(phi), cross / len(phi))
        terms = []
        for first in range(0, len(test_phi), chunk):
            part = slice(first, first + chunk)
            wanted = test[1][part].double() - moments.mean_y
            residual = wanted - products(test[0][part], test_phi[part]) @ weights
            terms.append(torch.stack([residual.square().sum(1), wanted.square().sum(1)], 1))
        return bootstrap.group_sums(torch.cat(terms).numpy(), objects)

    own = sums(functions, test_functions)
    order, test_order = derangement(len(functions), seed=seed), derangement(len(test_functions), seed=seed + 1)
    control = sums(functions[order], test_functions[test_order]).sum(0)
    interval = bootstrap.sums_interval(own, lambda s: 1 - s[..., 0] / s[..., 1], seed=seed)
    total = own.sum(0)
    sample = Sample("explained", own, np.unique(objects))
    return Conditional(float(1 - total[0] / total[1]), interval, float(1 - control[0] / control[1]), sample)


def steer(steering: Steering, embedded: Tensor, motion: Tensor) -> Tensor:
    """Embedded latents (N, e) moved by deltas (N, 4, 4); by the steering's own `steer` where it is not linear and has one."""
    own = getattr(steering, "steer", None)
    if own is not None:
        return own(embedded, motion)
    mixing = steering.coefficients(motion).to(embedded.dtype)
    return (mixing[:, None, :] @ steering.expand(embedded)).squeeze(1)


def _relative(difference: Tensor, whole: Tensor) -> Tensor:
    return difference.square().sum(1).sqrt() / whole.square().sum(1).sqrt().clamp_min(1e-30)


@torch.no_grad()
def group_law(
    steering: Steering, latents: Tensor, first: Tensor, second: Tensor, objects: np.ndarray | None = None, *, seed: int = 0
) -> dict[str, float]:
    """Defects of a learned predictor rho as a group action, each a mean of |difference| / |z| over latents.

    A predictor that was trained by cosine owes no length: its outputs are normalised before they are compared. A predictor that
    ignores the motion obeys every law, so how far it moves anything stands beside (`motion`).

    Args:
        steering: The predictor.
        latents: (N, d) of the equivariant part.
        first: (N, 4, 4) deltas, in the predictor's frame.
        second: (N, 4, 4) deltas that follow.
        objects: (N,) object of each latent, for the intervals; None: each its own.
        seed: Of the resamples.

    Returns:
        ``group_law``: |rho(g2) rho(g1) z - rho(g2 after g1) z|, ``inverse``: |rho(g^-1) rho(g) z - z|, ``neutral``:
        |rho(1) z - z|, ``motion``: |rho(g1) z - z|; ``group_law_null``: the composed prediction against that of another
        motion, ``inverse_null``: taken back by the inverse of another motion; of each ``<name>/low`` and ``<name>/high``, 95 %
        over objects.
    """
    embedded = steering.embed(latents)
    finish = torch.nn.functional.normalize if steering.similarity == "cosine" else torch.nn.Identity()
    first, second = first.double(), second.double()
    composed = first @ second if steering.frame == "body" else second @ first
    moved = steer(steering, embedded, first.to(latents.dtype))
    twice = finish(steer(steering, moved, second.to(latents.dtype)))
    once = finish(steer(steering, embedded, composed.to(latents.dtype)))
    back = finish(steer(steering, moved, pose.inverse(first).to(latents.dtype)))
    still = finish(steer(steering, embedded, torch.eye(4, dtype=latents.dtype).expand(len(latents), 4, 4)))
    other = finish(steer(steering, embedded, composed.roll(1, 0).to(latents.dtype)))
    astray = finish(steer(steering, moved, pose.inverse(first.roll(1, 0)).to(latents.dtype)))
    z, moved = finish(embedded), finish(moved)
    differences = {"group_law": twice - once, "inverse": back - z, "neutral": still - z, "motion": moved - z,
                   "group_law_null": twice - other, "inverse_null": astray - z}  # fmt: skip
    objects, found = np.arange(len(latents)) if objects is None else objects, {}
    for name, difference in differences.items():
        defects = _relative(difference, z).double().numpy()
        found[name] = float(defects.mean())
        found[f"{name}/low"], found[f"{name}/high"] = bootstrap.mean_interval(defects, objects, seed=seed)
    return found


def orbit_share(latents: Tensor, objects: np.ndarray, *, name: str = "the representation", seed: int = 0) -> dict[str, float]:
    """Share of the variance that lies within orbits (the views of one object): tr V_T / (tr V_T + tr V_S), no pose needed.

    V_T is the covariance within objects, V_S that of the objects' means, weighted by their views.

    Args:
        latents: (N, d).
        objects: (N,) orbit of each latent.
        name: What an error calls it.
        seed: Of the shuffle and of the resamples.

    Returns:
        ``share``, ``low`` and ``high`` (95 % over objects), ``null`` (objects shuffled over latents), ``rank``.

    Raises:
        ValueError: The representation has collapsed.
    """
    moments = Moments.of(latents)
    rank = scorable_rank(moments.xx, moments.mean_x, name)
    share = STATISTICS["share"]
    own = orbit_sums(latents, objects)
    low, high = bootstrap.sums_interval(own, share, seed=seed)
    null = share(orbit_sums(latents, np.random.default_rng(seed).permutation(objects)).sum(0))
    return {"share": float(share(own.sum(0))), "low": low, "high": high, "null": float(null), "rank": rank}


def orbit_sums(latents: Tensor, objects: np.ndarray) -> np.ndarray:
    """Sums (objects, 3 + d) from which `orbit_share` follows: |x|^2 within the object, count, |x|^2, x, about the mean of all."""
    names, mean = np.unique(objects), sum(part.double().sum(0) for part in latents.split(CHUNK)) / len(latents)
    total = np.zeros((len(names), 2 + latents.shape[1]))
    for part, own in zip(latents.split(CHUNK), np.split(objects, range(CHUNK, len(objects), CHUNK)), strict=True):
        centred = part.double() - mean
        terms = torch.cat([torch.ones(len(centred), 1), centred.square().sum(1, keepdim=True), centred], 1).numpy()
        total[np.searchsorted(names, np.unique(own))] += bootstrap.group_sums(terms, own)
    within = total[:, 1] - np.square(total[:, 2:]).sum(1) / total[:, 0]
    return np.concatenate([within[:, None], total], 1)


@dataclass(frozen=True)
class FixedMotion:
    """One motion (4, 4), and how far in degrees the rotations of the pairs taken for it may be from it."""

    motion: Tensor
    tolerance: float


def all_pairs(features: Features, *, views: int = 32, most: int = PAIRS) -> tuple[Tensor, Tensor]:
    """All ordered pairs (P,), (P,) of different frames of one object, of at most `views` frames each.

    Where these are more than `most`, those of as many evenly chosen objects as give so many.
    """
    groups = features.views(views)
    pairs = sum(len(group) * (len(group) - 1) for group in groups)
    if pairs > most:
        chosen = np.linspace(0, len(groups) - 1, max(2, len(groups) * most // pairs)).round().astype(int)
        groups = [groups[i] for i in chosen]
    sources, targets = [], []
    for group in groups:
        index = torch.from_numpy(group)
        first, second = (~torch.eye(len(group), dtype=torch.bool)).nonzero(as_tuple=True)
        sources.append(index[first])
        targets.append(index[second])
    return torch.cat(sources), torch.cat(targets)


def some_pairs(features: Features, *, views: int = 32) -> tuple[Tensor, Tensor]:
    """`all_pairs`, at least one.

    Raises:
        Unscorable: There is none.
    """
    source, target = all_pairs(features, views=views)
    if not len(source):
        raise Unscorable("no object has two frames")
    return source, target


def deltas(features: Features, source: Tensor, target: Tensor, frame: str) -> Tensor:
    """Motions (P, 4, 4) between frames (P,), (P,) of the N * F."""
    poses = torch.from_numpy(np.ascontiguousarray(features.poses.reshape(-1, 4, 4), dtype=np.float64))
    return pose.delta(poses[source], poses[target], frame)


def near(motions: Tensor, fixed: FixedMotion) -> Tensor:
    """Which motions (P, 4, 4) count as the fixed one, bool (P,)."""
    return torch.rad2deg(pose.geodesic(motions, fixed.motion[None])) <= fixed.tolerance


def fixed_motions(
    motions: Tensor, *, number: int = 3, wanted: int = 1000, least_deg: float = 20.0, candidates: int = 48, seed: int = 0
) -> list[FixedMotion]:
    """Motions that many train pairs share, small, middle and large ones.

    The tolerance is the smallest of 3, 5, 10, 20 and 30 degrees at which `wanted` pairs share the most common candidate; where
    rotations are uniform over all of SO(3) it is a coarse one.

    Args:
        motions: (P, 4, 4) of the train pairs.
        number: How many motions.
        wanted: Pairs that should share one.
        least_deg: Smaller rotations are no candidates.
        candidates: How many are tried.
        seed: Of the candidates.
    """
    angles = torch.rad2deg(pose.angle(motions[:, :3, :3]))
    large = (angles >= least_deg).nonzero().squeeze(1)
    if not len(large):
        large = torch.arange(len(motions))
    generator = torch.Generator().manual_seed(seed)
    pool = motions[large[torch.randperm(len(large), generator=generator)[:candidates]]]
    quaternion, all_quaternions = pose.to_quaternion(pool[:, :3, :3]), pose.to_quaternion(motions[:, :3, :3])
    table = torch.rad2deg(2 * torch.acos((quaternion @ all_quaternions.mT).abs().clamp_max(1)))  # (C, P)
    for tolerance in (3.0, 5.0, 10.0, 20.0, 30.0):
        counts = (table <= tolerance).sum(1)
        if int(counts.max()) >= wanted:
            break
    usual = (counts >= min(wanted, 0.5 * float(counts.max()))).nonzero().squeeze(1)
    order = usual[torch.rad2deg(pose.angle(pool[usual, :3, :3])).argsort()]
    chosen = order[torch.linspace(0, len(order) - 1, min(number, len(order))).round().long()]
    return [FixedMotion(pool[i], tolerance) for i in chosen.unique_consecutive().tolist()]


@dataclass(frozen=True)
class Pairs:
    """Train and test pairs that share one motion: indices (P,) of source and target frames, and the test pairs' objects."""

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    objects: np.ndarray


def of_task(task) -> list[Pairs]:
    """Pairs of up to three fixed motions of an evaluation (`suite`), named by their angle in degrees; found once."""
    if "fixed motions" not in task.probes:
        sets = [some_pairs(features) for features in (task.train, task.test)]
        motions = [deltas(f, *pairs, task.frame) for f, pairs in zip((task.train, task.test), sets, strict=True)]
        wanted = max(1000, 4 * task.train.image.shape[-1])
        objects, found = np.repeat(task.test.objects, task.test.frames), {}
        for fixed in fixed_motions(motions[0], wanted=wanted, seed=task.seed):
            name = f"{float(torch.rad2deg(pose.angle(fixed.motion[:3, :3]))):.0f}"
            kept = [near(motion, fixed).nonzero().squeeze(1) for motion in motions]
            train, test = (tuple(index[k] for index in pairs) for pairs, k in zip(sets, kept, strict=True))
            if min(len(kept[0]), len(kept[1])) < 2 or len(np.unique(objects[test[0].numpy()])) < 2:
                task.result.notes.append(f"seis, ladder: too few pairs turn by {name} degrees; that motion is left out")
                continue
            if len(kept[0]) < 2 * task.train.image.shape[-1]:
                task.result.notes.append(
                    f"seis, ladder: {len(kept[0])} train pairs turn by {name} degrees (within {fixed.tolerance:.0f}) for "
                    f"{task.train.image.shape[-1]} dimensions; maps fitted to so few generalise badly"
                )
            found.setdefault(name, Pairs(name, train, test, objects[test[0].numpy()]))
        task.probes["fixed motions"] = list(found.values())
    return task.probes["fixed motions"]


def _of_part(task, part: str, mixed: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """What `protocol` says of one part; `mixed` are train and test pairs of any motion."""
    result, objects = task.result, np.repeat(task.test.objects, task.test.frames)
    x, u = flat(task.train, part, "clip"), flat(task.test, part, "clip")
    for pairs in of_task(task):
        sets = tuple(tuple(z[i] for i in index) for z, index in ((x, pairs.train), (u, pairs.test)))
        found = ladder(*sets, pairs.objects, name=f"part {part}", seed=task.seed)

        def of_random(pairs: Pairs = pairs) -> dict[str, float]:
            a, b = (flat(features, part, "clip") for features in task.random_init)
            sets = tuple(tuple(z[i] for i in index) for z, index in ((a, pairs.train), (b, pairs.test)))
            maps = fit(Moments.of(*sets[0]), name=f"part {part} of random_init")
            return rungs(object_sums(maps, *sets[1], pairs.objects).sum(0))

        beside = task.untrained(f"ladder@{pairs.name}", part, of_random)
        for rung in RUNGS:
            extra = {"null": found.nulls[rung]} | ({"random_init": beside[rung]} if beside else {})
            result.add(f"ladder/{rung}@{pairs.name}/{part}", found.scores[rung], found.intervals[rung], **extra)
            result.samples[f"ladder/{rung}@{pairs.name}/{part}"] = found.samples[rung]
        result.add(f"ladder/pairs@{pairs.name}/{part}", len(pairs.train[0]), rank=found.ranks[0])
    (i, j, g), (k, m, h) = mixed
    bent = conditional((x[i], x[j], g), (u[k], u[m], h), objects[k.numpy()], name=f"part {part}", seed=task.seed)
    result.add(f"ladder/conditional/{part}", bent.r2, bent.interval, shuffled=bent.shuffled)
    result.samples[f"ladder/conditional/{part}"] = bent.sample
    share = orbit_share(u, objects, name=f"part {part}", seed=task.seed)
    result.add(
        f"ladder/orbit_share/{part}", share["share"], (share["low"], share["high"]), null=share["null"], rank=share["rank"]
    )
    result.samples[f"ladder/orbit_share/{part}"] = Sample("share", orbit_sums(u, objects), np.unique(objects))


def protocol(task) -> None:
    """For `suite`: ``ladder/{identity,isometry,linear}@<deg>/<part>`` with ``/null``, ``/random_init`` beside them;
    ``ladder/{conditional,orbit_share}/<part>`` with ``/shuffled`` and ``/null``; ``ladder/{group_law,inverse,neutral,motion}`` of
    the predictor.
    """
    result, objects = task.result, np.repeat(task.test.objects, task.test.frames)
    generator = torch.Generator().manual_seed(task.seed)
    mixed = []
    for features, count in ((task.train, 16_000), (task.test, 8000)):
        source, target = some_pairs(features)
        some = torch.randperm(len(source), generator=generator)[:count]
        mixed.append((source[some], target[some], deltas(features, source[some], target[some], task.frame)))
    for part in task.test.parts():
        try:
            _of_part(task, part, mixed)
        except Unscorable as error:
            result.notes.append(f"ladder skipped: {error}")
    part = getattr(task.steering, "part", "equi")
    if task.steering is None:
        result.notes.append("ladder: group-law and inverse defects skipped: there is no predictor")
    if task.steering is not None and part in task.test.parts():
        source, _, motion = mixed[1]
        some = torch.randperm(len(source), generator=generator)[:2000]
        shown = flat(task.test, part, "clip")[source[some]]
        own = objects[source[some].numpy()]
        defects = group_law(task.steering, shown, motion[some], motion[some.roll(1)], own, seed=task.seed)
        for name in ("group_law", "inverse", "neutral", "motion"):
            beside = {"null": defects[f"{name}_null"]} if f"{name}_null" in defects else {}
            result.add(f"ladder/{name}", defects[name], (defects[f"{name}/low"], defects[f"{name}/high"]), **beside)
