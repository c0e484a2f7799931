"""How did the object turn between two frames? An MLP probe on the pair of latents, judged on held-out objects.

Notable: the first layer is linear in the pair, so it is applied once per frame and not once per pair, and a batch is all
ordered pairs among the drawn frames of an object: a probe that sees half a million pairs costs seconds on two cores. A tenth of
the train objects is not fitted but chooses among two ways to give it the latents (`moments.conditioning`) and among snapshots
of the probe (the constant it starts from is the first).
The invariant part is judged per frame, before any mean over steps: that is where a leak shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vsie import pose
from vsie.evaluation import bootstrap, rotations
from vsie.evaluation.moments import Unscorable, conditioning
from vsie.evaluation.probes import Given, Training, best
from vsie.feature_set import CHUNK, Features

TEST_PAIRS_PER_OBJECT = 48
STEPS = 800
SNAPSHOTS = 12


class PairProbe(nn.Module):
    """Two latents to the relative rotation: 2l - 256 - 256 - 13, the first layer factorised over the two frames.

    The 13 outputs are the 9 entries of the rotation matrix, row by row, and the 4 of the quaternion (xyzw), both trained
    by squared error, so they estimate conditional means: R2 is asked of them as they are, angles of the nearest rotation.

    Args:
        given: Latents (..., d) to what the first layer sees, (..., l).
        hidden: Width.
        outputs: Numbers that come out.
    """

    def __init__(self, given: Given, *, hidden: int = 256, outputs: int = 13):
        super().__init__()
        self.given = given
        self.register_buffer("offset", torch.zeros(outputs))
        dim = given.lift.shape[1]
        self.source = nn.Linear(dim, hidden)
        self.target = nn.Linear(dim, hidden, bias=False)
        self.middle = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)
        for layer in (self.source, self.target):  # each sees half of the fan-in
            nn.init.normal_(layer.weight, std=1 / math.sqrt(2 * dim))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def frames(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """First-layer terms (N, hidden), as source and as target, of frames (N, l) as the probe is given them."""
        return self.source(given), self.target(given)

    def pairs(self, source: Tensor, target: Tensor) -> Tensor:
        """Outputs (..., 13) of first-layer terms (..., hidden) of the sources and the targets."""
        middle = nn.functional.gelu(self.middle(nn.functional.gelu(source + target)))
        return self.output(middle) + self.offset

    @torch.no_grad()
    def predict(self, features: Tensor, source: Tensor, target: Tensor, *, chunk: int = 16384) -> Tensor:
        """Outputs (P, 13), on the CPU, for pairs of frames of features (N, d), on the probe's device, given by indices (P,)."""
        parts = []
        # more frames than that: twice the work, but flat in memory
        once = self.frames(self.given(features)) if len(features) <= CHUNK else None
        for i in range(0, len(source), chunk):
            first, second = source[i : i + chunk], target[i : i + chunk]
            if once is None:
                first, second = self.source(self.given(features[first])), self.target(self.given(features[second]))
            else:
                first, second = once[0][first], once[1][second]
            parts.append(self.pairs(first, second))
        return torch.cat(parts).cpu() if parts else torch.zeros(0, len(self.offset))


def entries(output: Tensor) -> Tensor:
    """The rotation matrices (..., 3, 3), not orthonormal, in outputs (..., 13) of a probe."""
    return output[..., :9].unflatten(-1, (3, 3))


@dataclass(frozen=True)
class Targets:
    """What a probe is asked, for frames in one list: poses (N, 4, 4) and signed quaternions (N, 4)."""

    poses: Tensor
    quaternions: Tensor
    frame: str

    @classmethod
    def of(cls, features: Features, *, reference: Tensor, frame: str) -> Targets:
        poses = torch.from_numpy(np.ascontiguousarray(features.poses.reshape(-1, 4, 4), dtype=np.float64))
        return cls(poses=poses, quaternions=pose.signed_quaternions(poses, reference), frame=frame)

    def rotations(self, source: Tensor, target: Tensor) -> Tensor:
        """True relative rotations (..., 3, 3) of pairs of frames."""
        return pose.delta(self.poses[source], self.poses[target], self.frame)[..., :3, :3]

    def numbers(self, source: Tensor, target: Tensor) -> Tensor:
        """What the 13 outputs should be, (..., 13): vec R and the signed relative quaternion."""
        rotation = self.poses[..., :3, :3]
        first, second = rotation[source], rotation[target]
        relative = first.mT @ second if self.frame == "body" else second @ first.mT
        # the product of the signed quaternions has their scalar product as its w, and with it the sign
        (a, u), (b, v) = ((q[..., 3:], q[..., :3]) for q in (self.quaternions[source], self.quaternions[target]))
        cross = torch.linalg.cross(v, u) if self.frame == "body" else torch.linalg.cross(u, v)
        quaternion = torch.cat([a * v - b * u + cross, a * b + (u * v).sum(-1, keepdim=True)], -1)
        return torch.cat([relative.flatten(-2), quaternion], -1)


def fit(
    features: Tensor, targets: Targets, groups: list[np.ndarray], *, steps: int = STEPS, objects: int = 24, views: int = 6,
    rate: float = 4e-3, seed: int = 0,
) -> PairProbe:  # fmt: skip
    """Train a pair probe.

    Args:
        features: (N, d) of all train frames, on the device where the probe is trained.
        targets: Of the same frames; any object whose `numbers(source, target)` gives what the outputs should be.
        groups: Per object the indices of its frames.
        steps: Optimiser steps (AdamW, warm-up and cosine).
        objects: Objects per step.
        views: Frames drawn per object; all their ordered pairs are the batch (24 objects x 6 frames: 720 pairs). Where the
            median object has fewer, so many; objects with fewer still are not fitted on, and do not shrink the batch.
        rate: Peak learning rate.
        seed: Of the weights and of the draws.

    Raises:
        Unscorable: No object has two frames.
    """
    groups = [torch.from_numpy(group) for group in groups if len(group) > 1]
    if not groups:
        raise Unscorable("the pair probe needs an object with at least two frames; there is none")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(groups), generator=generator).tolist()
    judges = [groups[i] for i in order[: len(groups) // 10]]
    groups = [groups[i] for i in order[len(groups) // 10 :]]
    mean, *lifts = conditioning(features)
    offset = targets.numbers(*_draw_pairs(groups, 8, generator)).mean(0)
    judged = _judging(features, targets, judges, generator) if judges else None
    views = min(views, sorted(len(group) for group in groups)[(len(groups) - 1) // 2])
    shape, groups = (views, objects), [group for group in groups if len(group) >= views]
    state = generator.get_state()

    def training(lift: Tensor) -> Training:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            probe = PairProbe(Given(mean, lift), outputs=len(offset)).to(features.device)
        probe.offset.copy_(offset)
        loss = _loss(probe, features, targets, groups, shape, torch.Generator().set_state(state))
        return Training(probe, loss, judged and (lambda: judged(probe)), steps=steps, rate=rate, snapshots=SNAPSHOTS)

    return best([training(lift) for lift in lifts])


def _loss(
    probe: PairProbe, features: Tensor, targets: Targets, groups: list[Tensor], shape: tuple[int, int], generator: torch.Generator
) -> Callable[[], Tensor]:
    """The squared error on all ordered pairs among (views, objects) drawn frames."""
    views, objects = shape
    once = probe.given(features) if len(features) <= CHUNK else None  # each frame is drawn many times
    first, second = (~torch.eye(views, dtype=torch.bool)).nonzero(as_tuple=True)

    def loss() -> Tensor:
        chosen = torch.randint(len(groups), (objects,), generator=generator).tolist()
        index = torch.stack([groups[i][torch.randperm(len(groups[i]), generator=generator)[:views]] for i in chosen])
        drawn = index.flatten()
        source, target = probe.frames(probe.given(features[drawn]) if once is None else once[drawn])
        source, target = source.unflatten(0, index.shape), target.unflatten(0, index.shape)
        output = probe.pairs(source[:, first], target[:, second])
        return (output - targets.numbers(index[:, first], index[:, second]).to(output)).square().sum(-1).mean()

    return loss


def _judging(
    features: Tensor, targets: Targets, judges: list[Tensor], generator: torch.Generator
) -> Callable[[PairProbe], float]:
    """The mean squared error of a probe on pairs of frames of the judging objects."""
    pairs = _draw_pairs(judges, 32, generator)
    index, place = torch.unique(torch.cat(pairs), return_inverse=True)
    rows, places, wanted = features[index], place.split(len(pairs[0])), targets.numbers(*pairs).float()
    return lambda probe: float((probe.predict(rows, *places) - wanted).square().mean())


def _draw_pairs(groups: list[Tensor], per_object: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`per_object` ordered pairs of two different frames from each object: indices (P,), (P,)."""
    sources, targets = [], []
    for group in groups:
        first = torch.randint(len(group), (per_object,), generator=generator)
        shift = torch.randint(1, len(group), (per_object,), generator=generator)
        sources.append(group[first])
        targets.append(group[(first + shift) % len(group)])
    return torch.cat(sources), torch.cat(targets)


def fixed_pairs(features: Features, *, per_object: int = TEST_PAIRS_PER_OBJECT, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Seeded pairs of different frames of one object, within and across its clips, the same number from each object.

    Returns:
        Indices (P,), (P,) into the N * F frames.

    Raises:
        Unscorable: No object has two frames.
    """
    groups = [torch.from_numpy(group) for group in features.views() if len(group) > 1]
    if not groups:
        raise Unscorable("pose is measured on pairs of frames of one object; no object has two frames")
    return _draw_pairs(groups, per_object, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class PairScores:
    """Of one predictor on the fixed test pairs: geodesic errors (P,) in degrees, R2 terms, object of every pair (P,)."""

    errors: np.ndarray
    entries: np.ndarray
    quaternions: np.ndarray
    objects: np.ndarray

    def metrics(self) -> dict[str, float]:
        """The six measures."""
        return {
            **rotations.summarise(self.errors),
            "r2": float(rotations.r2_per_dimension(self.entries.sum(0))),
            "r2_sie": float(rotations.r2_sie(self.quaternions.sum(0))),
        }

    def intervals(self, seed: int) -> dict[str, tuple[float, float]]:
        """Their 95 % intervals over objects."""
        result = angle_intervals(self.errors, self.objects, seed)
        for name, terms, statistic in (
            ("r2", self.entries, rotations.r2_per_dimension), ("r2_sie", self.quaternions, rotations.r2_sie)
        ):  # fmt: skip
            result[name] = bootstrap.sums_interval(bootstrap.group_sums(terms, self.objects), statistic, seed=seed)
        return result


def angle_intervals(errors: np.ndarray, objects: np.ndarray, seed: int) -> dict[str, tuple[float, float]]:
    """Intervals over objects of the measures of `rotations.summarise`, for errors (P,) of pairs whose objects are (P,)."""
    return {
        "geodesic_median_deg": bootstrap.median_interval(errors, objects, seed=seed),
        "geodesic_mean_deg": bootstrap.mean_interval(errors, objects, seed=seed),
        "acc@15": bootstrap.mean_interval(errors <= 15, objects, seed=seed),
        "acc@30": bootstrap.mean_interval(errors <= 30, objects, seed=seed),
    }


def score(output: Tensor, targets: Targets, source: Tensor, target: Tensor, objects: np.ndarray) -> PairScores:
    """Scores of outputs (P, 13) for pairs of frames (P,), (P,) whose objects are (P,)."""
    wanted = targets.numbers(source, target)
    predicted = pose.project(entries(output).double())
    return PairScores(
        errors=rotations.errors_deg(predicted, targets.rotations(source, target)),
        entries=rotations.r2_sums(output[:, :9], wanted[:, :9]),
        quaternions=rotations.r2_sums(output[:, 9:], wanted[:, 9:]),
        objects=objects,
    )


def floors(train: Targets, groups: list[np.ndarray], test: Targets, source: Tensor, target: Tensor, *, seed: int = 0) -> dict:
    """Scores of who looks at nothing: ``constant`` (the best constant for each measure, found on train pairs; for the
    two R2 the train mean), ``identity`` (no rotation), and ``floor``, the better of both: constants are found on other pairs than
    they are judged on, and where only pairs near each other can be hit by one those of few views are too few to find it."""
    generator = torch.Generator().manual_seed(seed + 1)
    train_source, train_target = _draw_pairs([torch.from_numpy(g) for g in groups if len(g) > 1], 16, generator)
    numbers = train.numbers(train_source, train_target)
    true, wanted = test.rotations(source, target), test.numbers(source, target)
    none = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], dtype=torch.float64)
    result = {
        "constant": rotations.constant_floor(rotations.best_constants(entries(numbers), seed=seed), true),
        "identity": rotations.summarise(rotations.errors_deg(entries(none).expand(true.shape), true)),
    }
    for name, value in (("constant", numbers.mean(0)), ("identity", none)):
        value = value.expand(wanted.shape)
        result[name]["r2"] = float(rotations.r2_per_dimension(rotations.r2_sums(value[:, :9], wanted[:, :9]).sum(0)))
        result[name]["r2_sie"] = float(rotations.r2_sie(rotations.r2_sums(value[:, 9:], wanted[:, 9:]).sum(0)))
    better = {name: min if "deg" in name else max for name in result["constant"]}
    return result | {"floor": {name: better[name](value, result["identity"][name]) for name, value in result["constant"].items()}}
