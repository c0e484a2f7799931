"""What do probes find in a representation? The columns that the leakage matrix and the erasers are judged by.

Every probe is fitted on train objects and scored on held-out ones, and gives sums per held-out object, so that any score and
any ratio of scores has an interval over objects. Class: a logistic and a nearest-neighbour probe. Pose: vec R of the frame by
ridge, by a kernel (random Fourier features beside the linear ones, Rahimi & Recht 2007) and by an MLP, where all poses of an
object are in one frame; the relative rotation of a pair by the MLP of `vsie.evaluation.pose`. Light and floor colour, where the
scene's latents are known, by the kernel.

Notable: an audit draws its frames once, evenly over the objects, and every representation is then asked of the same frames: at
20,000 frames of 512 dims that is what keeps a matrix of probes within minutes on two cores. `shuffled=True` is the control:
classes are permuted over train objects, poses over train frames, and what is then still found is the probe's own bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from vsie import pose as geometry
from vsie.evaluation import bootstrap, classification, pose, rotations
from vsie.evaluation.ladder import ridge
from vsie.evaluation.moments import Moments, conditioning
from vsie.evaluation.paired import Sample
from vsie.evaluation.probes import Given, Training, best
from vsie.feature_set import Features

TRAIN_FRAMES = 4000
TEST_FRAMES = 4000
VIEWS = 4  # of an object at least, so that there are pairs: of more objects than that leaves room for, evenly chosen ones
FOURIER = 768  # random features of the kernel probe
PENALTIES = (1e-1, 1e-2, 1e-3)  # of the kernel probe's ridge, chosen on a tenth of the train objects
PAIR_STEPS = 400  # with a third of it the probe on a wide latent is far from done: a leak relative to it looks too large
MLP_STEPS = 300
PAIRS_PER_OBJECT = 24
LOOSE = ("every clip has a pose frame of its own: probes of a frame's pose (pose_linear, pose_kernel, pose_mlp), erasers of it "
         "and DCI are left out")  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One probe's outcome: sums (objects, S) per held-out object, what they are sums of, and the score of who sees nothing.

    Attributes:
        kind: ``accuracy`` (hits, items) or ``r2`` (the terms of `rotations.r2_sums`).
        floor: The majority class, or the train mean.
        beside: Further scores of the same probe, such as the median angle of the pair probe.
    """

    sums: np.ndarray
    kind: str
    floor: float
    beside: dict[str, float] = field(default_factory=dict)

    def of(self, sums: np.ndarray) -> np.ndarray:
        """The score (...) of sums (..., S)."""
        return sums[..., 0] / sums[..., 1] if self.kind == "accuracy" else rotations.r2_per_dimension(sums)

    @property
    def value(self) -> float:
        """The score over all objects."""
        return float(self.of(self.sums.sum(0)))

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """95 % over objects."""
        return bootstrap.sums_interval(self.sums, self.of, seed=seed)

    def sample(self, names: np.ndarray) -> Sample:
        """What is kept of it, the objects of its rows being `names` (objects,)."""
        return Sample("mean" if self.kind == "accuracy" else "r2", self.sums, names)


@dataclass(frozen=True)
class Rows:
    """One representation of an audit's frames: train (n, d) and test (m, d), float32."""

    train: Tensor
    test: Tensor

    def map(self, function) -> Rows:
        """The same function of both."""
        return Rows(function(self.train), function(self.test))

    @cached_property
    def conditioning(self) -> tuple[Tensor, ...]:
        """`moments.conditioning` of the train frames: what every probe but the nearest neighbours is given them by."""
        return conditioning(self.train)


def standardised(rows: Rows) -> Rows:
    """Unit variance on the train frames, dimension by dimension; dead ones are 0."""
    mean, std = rows.train.mean(0), rows.train.std(0)
    scale = torch.where(std > 1e-5 * std.max(), 1 / std.clamp_min(1e-30), torch.zeros_like(std))
    return rows.map(lambda x: (x - mean) * scale)


def conditioned(rows: Rows) -> Rows:
    """A representation as probes in closed form are given it: `moments.conditioning`, found on the train frames."""
    given = Given(*rows.conditioning[:2])
    return rows.map(given)


def linear_prediction(rows: Rows, wanted: Tensor) -> Tensor:
    """Ridge predictions (m, k) float64 on the test frames of a map fitted to `wanted` (n, k)."""
    rows = conditioned(rows)
    moments = Moments.of(rows.train, wanted)
    return (rows.test.double() - moments.mean_x) @ ridge(moments.xx, moments.xy) + moments.mean_y


def kernel_prediction(rows: Rows, wanted: Tensor, objects: np.ndarray, *, seed: int = 0, fourier: int = FOURIER) -> Tensor:
    """`kernel_predictions` of one target (n, k): (m, k)."""
    return kernel_predictions(rows, [wanted], objects, seed=seed, fourier=fourier)[0]


def kernel_predictions(
    rows: Rows, wanted: Sequence[Tensor], objects: np.ndarray, *, seed: int = 0, fourier: int = FOURIER
) -> list[Tensor]:
    """Predictions (m, k) float64 of a ridge on random Fourier features, at the median distance, beside the linear ones.

    The penalty of each target is chosen on a tenth of the train objects (n,). All targets share the covariance of the features,
    which is what costs.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = conditioned(rows)
    some = rows.train[torch.randperm(len(rows.train), generator=generator)[:500]]
    width = torch.pdist(some).median().clamp_min(1e-12)
    frequencies = torch.randn(rows.train.shape[1], fourier, generator=generator) / width
    phase = 2 * torch.pi * torch.rand(fourier, generator=generator)

    def lift(x: Tensor) -> Tensor:
        return torch.cat([x / x.shape[1] ** 0.5, (2 / fourier) ** 0.5 * torch.cos(x @ frequencies + phase)], 1)

    train, test = lift(rows.train), lift(rows.test).double()
    held = torch.from_numpy(_judges(objects, seed))
    spans = np.cumsum([0, *(part.shape[1] for part in wanted)])
    together = torch.cat([part.double() for part in wanted], 1)
    moments, judged = Moments.of(train[~held], together[~held]), train[held].double()

    def solve(xx: Tensor, xy: Tensor, found: Moments, strength: float) -> tuple[Tensor, Tensor]:
        weights = ridge(xx, xy, strength)
        return weights, found.mean_y - found.mean_x @ weights

    best = [PENALTIES[1]] * len(wanted)
    if bool(held.any()):
        xx, xy, errors = moments.xx, moments.xy, []
        for strength in PENALTIES:
            weights, offset = solve(xx, xy, moments, strength)
            squares = (judged @ weights + offset - together[held]).square().sum(0)
            errors.append([float(squares[first:last].sum()) for first, last in pairwise(spans)])
        best = [PENALTIES[int(np.argmin(column))] for column in np.array(errors).T]
    moments.add(train[held], together[held])
    xx, xy = moments.xx, moments.xy
    solved = {strength: solve(xx, xy, moments, strength) for strength in set(best)}
    predicted = {strength: test @ weights + offset for strength, (weights, offset) in solved.items()}
    return [predicted[strength][:, first:last] for strength, (first, last) in zip(best, pairwise(spans), strict=True)]


def _judges(objects: np.ndarray, seed: int) -> np.ndarray:
    """Which rows belong to a tenth of the objects, drawn by seed; none where there are fewer than ten."""
    names = np.unique(objects)
    return np.isin(objects, np.random.default_rng(seed).permutation(names)[: len(names) // 10])


def mlp_prediction(
    rows: Rows, wanted: Tensor, objects: np.ndarray, *, steps: int = MLP_STEPS, hidden: int = 256, batch: int = 256, seed: int = 0
) -> Tensor:
    """Predictions (m, k) float64 of an MLP l - 256 - 256 - k; a tenth of the train objects (n,) chooses: see `probes`."""
    held = torch.from_numpy(_judges(objects, seed))
    (x, judging), (y, judged) = ((part[~held], part[held]) for part in (rows.train, wanted.float()))
    middle, (mean, *lifts) = y.mean(0), rows.conditioning

    def training(lift: Tensor) -> Training:
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first, second = nn.Linear(lift.shape[1], hidden), nn.Linear(hidden, hidden)
            last = nn.Linear(hidden, y.shape[1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        probe = nn.Sequential(Given(mean, lift), first, nn.GELU(), second, nn.GELU(), last)

        def loss() -> Tensor:
            index = torch.randint(len(x), (batch,), generator=generator)
            return (probe(x[index]) + middle - y[index]).square().sum(1).mean()

        def judge() -> float:
            return float((probe(judging) + middle - judged).square().mean())

        return Training(probe, loss, judge if len(judged) else None, steps=steps)

    probe = best([training(lift) for lift in lifts])
    return (probe(rows.test) + middle).double()


def scene_targets(features: Features, rows: np.ndarray) -> dict[str, Tensor]:
    """What is known of light and floor at frames `rows` (n,): circles for the hues, a direction for the spot; {} where not known.

    Reads `latents` (N, F, L) and `latent_names` where the features have them: hues in turns, angles in radians.
    """
    latents, names = getattr(features, "latents", None), list(getattr(features, "latent_names", ()))
    if latents is None:
        return {}
    flat = torch.from_numpy(np.asarray(latents, np.float64).reshape(-1, len(names))[rows])
    column = {name: flat[:, i] for i, name in enumerate(names)}
    found = {}
    for hue in ("floor_hue", "spot_hue"):
        if hue in column:
            turn = 2 * torch.pi * column[hue]
            found[hue] = torch.stack([turn.cos(), turn.sin()], 1)
    if {"spot_theta", "spot_phi"} <= column.keys():
        theta, phi = column["spot_theta"], column["spot_phi"]
        found["spot_direction"] = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], 1)
    return {name: value for name, value in found.items() if bool(value.isfinite().all())}


class Audit:
    """Probes on a fixed choice of frames of train and held-out clips.

    Args:
        train: Clips that probes are fitted on.
        test: Clips of other objects.
        frame: ``body`` or ``camera``, of the pair probe's deltas.
        seed: Of probes, pairs and shuffles.
        train_frames: At most about so many frames, evenly over the objects (`classification.thin`).
        test_frames: The same of the held-out ones.
        pair_steps: Optimiser steps of the pair probe.
        mlp_steps: Optimiser steps of the MLP.
    """

    def __init__(
        self, train: Features, test: Features, *, frame: str = "body", seed: int = 0, train_frames: int = TRAIN_FRAMES,
        test_frames: int = TEST_FRAMES, pair_steps: int = PAIR_STEPS, mlp_steps: int = MLP_STEPS,
    ):  # fmt: skip
        self.frame, self.seed, self.pair_steps, self.mlp_steps = frame, seed, pair_steps, mlp_steps
        self.anchored = train.anchored and test.anchored
        self.chosen = tuple(
            classification.thin(f, count, least=VIEWS) for f, count in ((train, train_frames), (test, test_frames))
        )
        sets = (train, test)
        self.objects = tuple(f.objects[rows // f.frames] for f, rows in zip(sets, self.chosen, strict=True))
        self.orbits = tuple(f.orbit[rows // f.frames] for f, rows in zip(sets, self.chosen, strict=True))
        self.labels = tuple(torch.from_numpy(f.labels[rows // f.frames]) for f, rows in zip(sets, self.chosen, strict=True))
        self.poses = tuple(
            torch.from_numpy(np.ascontiguousarray(f.poses.reshape(-1, 4, 4)[rows], dtype=np.float64))
            for f, rows in zip(sets, self.chosen, strict=True)
        )
        self.rotations = tuple(p[:, :3, :3].flatten(1) for p in self.poses)
        scenes = tuple(scene_targets(f, rows) for f, rows in zip(sets, self.chosen, strict=True))
        self.scenes = {name: (value, scenes[1][name]) for name, value in scenes[0].items() if name in scenes[1]}
        self.names = np.unique(self.objects[1])
        rng = np.random.default_rng(seed)
        objects, first = np.unique(self.objects[0], return_index=True)
        relabelled = dict(zip(objects.tolist(), rng.permutation(self.labels[0].numpy()[first]).tolist(), strict=True))
        self._shuffled_labels = torch.tensor([relabelled[o] for o in self.objects[0].tolist()])
        self._shuffled_order = torch.from_numpy(rng.permutation(len(self.objects[0])))
        self._pairs = self._draw_pairs()

    def rows(self, train: Features, test: Features, part: str, source: str = "clip") -> Rows:
        """A part of the features of the audit's frames."""
        found = []
        for features, rows in zip((train, test), self.chosen, strict=True):
            values = features.part(part, source)
            found.append(torch.from_numpy(np.ascontiguousarray(values.reshape(-1, values.shape[-1])[rows], np.float32)))
        return Rows(*found)

    @property
    def labelled(self) -> bool:
        """Whether train and test frames have classes."""
        return bool((self.labels[0] >= 0).any() and (self.labels[1] >= 0).any())

    def _sums(self, terms: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Terms (items, S) summed by held-out object, with a row for every object."""
        result = np.zeros((len(self.names), terms.shape[1]))
        np.add.at(result, np.searchsorted(self.names, objects), terms)
        return result

    def class_scores(self, scores: Tensor) -> Column:
        """Top-1 of scores (items, classes) of the held-out frames that have a class."""
        keep = (self.labels[1] >= 0).numpy()
        hits = (scores.argmax(1) == self.labels[1][keep]).double().numpy()
        counts = torch.bincount(self.labels[0][self.labels[0] >= 0])
        floor = float((self.labels[1][keep] == int(counts.argmax())).double().mean())
        return Column(self._sums(np.stack([hits, np.ones_like(hits)], 1), self.objects[1][keep]), "accuracy", floor)

    def _labelled(self, rows: Rows, shuffled: bool) -> tuple[Tensor, Tensor, np.ndarray, Tensor, int]:
        keep, test_keep = self.labels[0] >= 0, self.labels[1] >= 0
        labels = (self._shuffled_labels if shuffled else self.labels[0])[keep].clamp_min(0)
        classes = int(max(self.labels[0].max(), self.labels[1].max())) + 1
        return rows.train[keep], labels, self.objects[0][keep.numpy()], rows.test[test_keep], classes

    def class_linear(self, rows: Rows, *, shuffled: bool = False) -> Column:
        """Top-1 of multinomial logistic regression."""
        train, labels, objects, test, classes = self._labelled(rows, shuffled)
        return self.class_scores(classification.linear_probe(train, labels, objects, test, classes=classes, seed=self.seed))

    def class_knn(self, rows: Rows, *, shuffled: bool = False) -> Column:
        """Top-1 of weighted nearest neighbours."""
        train, labels, _, test, classes = self._labelled(rows, shuffled)
        return self.class_scores(classification.nearest_neighbours(train, labels, test, classes=classes))

    def _r2(self, predicted: Tensor, wanted: Tensor, mean: Tensor) -> Column:
        floor = rotations.r2_per_dimension(rotations.r2_sums(mean.expand(wanted.shape), wanted).sum(0))
        return Column(self._sums(rotations.r2_sums(predicted, wanted), self.objects[1]), "r2", float(floor))

    def regress(self, rows: Rows, wanted: tuple[Tensor, Tensor], probe: str, *, shuffled: bool = False) -> Column:
        """R2 per dimension of targets (n, k), (m, k) by a probe: ``linear``, ``kernel`` or ``mlp``."""
        train = wanted[0][self._shuffled_order] if shuffled else wanted[0]
        if probe == "linear":
            predicted = linear_prediction(rows, train)
        elif probe == "kernel":
            predicted = kernel_prediction(rows, train, self.objects[0], seed=self.seed)
        else:
            predicted = mlp_prediction(rows, train, self.objects[0], steps=self.mlp_steps, seed=self.seed)
        return self._r2(predicted, wanted[1], wanted[0].mean(0))

    def pose(self, rows: Rows, probe: str, *, shuffled: bool = False) -> Column:
        """R2 of vec R of single frames."""
        return self.regress(rows, self.rotations, probe, shuffled=shuffled)

    def _draw_pairs(self) -> dict:
        reference = geometry.mean_quaternion(self.poses[0])
        targets = [pose.Targets(p, geometry.signed_quaternions(p, reference), self.frame) for p in self.poses]
        groups = []
        for orbits in self.orbits:
            _, index = np.unique(orbits, return_inverse=True)
            order = np.argsort(index, kind="stable")
            groups.append(np.split(order, np.cumsum(np.bincount(index))[:-1]))
        rng = np.random.default_rng(self.seed)
        pairs = []
        for group in groups[1]:
            if len(group) > 1:
                first = rng.integers(len(group), size=PAIRS_PER_OBJECT)
                second = (first + rng.integers(1, len(group), size=PAIRS_PER_OBJECT)) % len(group)
                pairs.append(np.stack([group[first], group[second]]))
        source, target = torch.from_numpy(np.concatenate(pairs, 1)) if pairs else (None, None)
        return {"targets": targets, "groups": groups[0], "source": source, "target": target}

    @property
    def paired(self) -> bool:
        """Whether there are pairs: frames of one object, in train and in test."""
        return self._pairs["source"] is not None and any(len(group) > 1 for group in self._pairs["groups"])

    def pair(self, rows: Rows, *, steps: int | None = None) -> Column:
        """R2 of vec R of the relative rotation by the pair probe; beside it the median geodesic error in degrees."""
        targets, source, target = self._pairs["targets"], self._pairs["source"], self._pairs["target"]
        probe = pose.fit(rows.train, targets[0], self._pairs["groups"], steps=steps or self.pair_steps, seed=self.seed)
        objects = self.objects[1][source.numpy()]
        scores = pose.score(probe.predict(rows.test, source, target), targets[1], source, target, objects)
        floors = pose.floors(targets[0], self._pairs["groups"], targets[1], source, target, seed=self.seed)["floor"]
        low, high = bootstrap.median_interval(scores.errors, objects, seed=self.seed)
        median = {"median_deg": float(np.median(scores.errors)), "median_deg/floor": floors["geodesic_median_deg"],
                  "median_deg/low": low, "median_deg/high": high}  # fmt: skip
        return Column(self._sums(scores.entries, objects), "r2", floors["r2"], median)

    def columns(
        self, rows: Rows, *, pair: bool = True, mlp: bool = True, shuffled: bool = False, pair_steps: int | None = None
    ) -> dict[str, Column]:
        """All columns of a representation by name; those that the data has no answer to are left out.

        Args:
            rows: The representation.
            pair: Train a pair probe too.
            mlp: Train an MLP on vec R too.
            shuffled: The control; never with a pair probe or an MLP.
            pair_steps: Of the pair probe; None for the audit's.
        """
        found = {}
        if self.labelled:
            found["class_linear"] = self.class_linear(rows, shuffled=shuffled)
            found["class_knn"] = self.class_knn(rows, shuffled=shuffled)
        lit = ({"pose_kernel": self.rotations} if self.anchored else {}) | self.scenes
        wanted = [train[self._shuffled_order] if shuffled else train for train, _ in lit.values()]
        read = kernel_predictions(rows, wanted, self.objects[0], seed=self.seed) if lit else []
        lit = {name: self._r2(p, own[1], own[0].mean(0)) for (name, own), p in zip(lit.items(), read, strict=True)}
        if self.anchored:
            found["pose_linear"] = self.pose(rows, "linear", shuffled=shuffled)
            found["pose_kernel"] = lit.pop("pose_kernel")
            if mlp and not shuffled:
                found["pose_mlp"] = self.pose(rows, "mlp")
        if pair and self.paired and not shuffled:
            found["pair"] = self.pair(rows, steps=pair_steps)
        return found | lit


def of_task(task) -> Audit:
    """The audit of an evaluation (`suite`), made when first asked for and shared by its protocols."""
    if "audit" not in task.probes:
        steps = max(1, round(PAIR_STEPS * task.probe_steps / pose.STEPS))
        task.probes["audit"] = Audit(
            task.train,
            task.test,
            frame=task.frame,
            seed=task.seed,
            pair_steps=steps,
            mlp_steps=max(10, MLP_STEPS * steps // PAIR_STEPS),
        )
        task.result.notes += [] if task.probes["audit"].anchored else [LOOSE]
    return task.probes["audit"]
