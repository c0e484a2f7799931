"""Where in the network does it happen? SEIS, the ladder, and linear probes of pose and class, block by block.

For every block of the backbone, then head and mixing (where the latent's parts begin), for one motion that many pairs of
frames share: SEIS held out and the three rungs of the ladder on the block's channels (maps are averaged over positions), SEIS
as published on the positions (`seis.matricise`: an observation is a channel of a pair), R2 of vec R and Top-1 by least
squares. Each with its null or floor and an interval over objects.

Notable: two passes over the pictures, an object at a time: what is kept is one vector per frame and block, and covariances, so
memory depends neither on the maps nor on the number of objects. For SEIS on positions, maps are pooled to at most 14 x 14,
and a shuffled pair is of two objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vsie import pose
from vsie.evaluation import blocks, bootstrap, ladder, rotations, seis
from vsie.evaluation.audit import Rows, linear_prediction
from vsie.evaluation.inputs import Live
from vsie.evaluation.lie import by_part
from vsie.evaluation.moments import Moments
from vsie.feature_set import Features

SIDE = 14  # of the maps that SEIS on positions compares
TRAIN_FRAMES, TEST_FRAMES = 6000, 3000
SPACE_PAIRS, SPACE_CHANNELS = 16, 64  # of one object and layer, that SEIS on positions sees: at most so many, evenly chosen
OBJECT_FRAMES = 64  # of one object, which are encoded together
MEASURES = ("seis_equiv", "seis_inv", "seis_space_equiv", "seis_space_inv", "identity", "isometry", "linear", "pose_linear",
            "class_linear", "rank")  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A score, its 95 % interval over objects, and the score of nothing: the shuffled-pair null, or a probe's floor."""

    value: float
    interval: tuple[float, float] = (float("nan"), float("nan"))
    null: float = float("nan")


@dataclass
class Seen:
    """What one object shows.

    Attributes:
        activations: Per layer maps (n, c, h, w) or vectors (n, d), a row a frame.
        poses: (n, 4, 4) float64.
        object: Its id.
        label: Its class, -1 for none.
    """

    activations: dict[str, Tensor]
    poses: Tensor
    object: int
    label: int


@dataclass
class _Kept:
    """What is kept of a set of objects: per layer vectors (n, d), and per frame the rest."""

    vectors: dict[str, list[Tensor]] = field(default_factory=dict)
    poses: list[Tensor] = field(default_factory=list)
    objects: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    pairs: list[Tensor] = field(default_factory=list)
    count: int = 0

    def add(self, seen: Seen, pairs: Tensor) -> None:
        number = len(seen.poses)
        for name, values in seen.activations.items():
            self.vectors.setdefault(name, []).append(blocks.pooled(values).clone())
        self.poses.append(seen.poses)
        self.objects.append(np.full(number, seen.object))
        self.labels.append(np.full(number, seen.label))
        self.pairs.append(pairs + self.count)
        self.count += number

    def rows(self, name: str) -> Tensor:
        return torch.cat(self.vectors[name])


def pairs_of(poses: Tensor, fixed: ladder.FixedMotion, frame: str) -> Tensor:
    """Pairs (2, p) of frames with poses (n, 4, 4) that the fixed motion takes from one to the other."""
    first, second = (~torch.eye(len(poses), dtype=torch.bool)).nonzero(as_tuple=True)
    near = ladder.near(pose.delta(poses[first], poses[second], frame), fixed)
    return torch.stack([first[near], second[near]])


class _Space:
    """SEIS on positions, streamed: moments of train pairs, then sums of test pairs, and the object of each."""

    def __init__(self) -> None:
        self.moments: dict[str, Moments] = {}
        self.shuffled: dict[str, Moments] = {}
        self.before: dict[str, tuple[int, Tensor, Tensor | None]] = {}  # object, its targets, those of the object before
        self.sums: dict[str, list[np.ndarray]] = {}
        self.objects: dict[str, list[int]] = {}
        self.null_sums: dict[str, list[np.ndarray]] = {}
        self.variates: dict[str, tuple[seis.Variates, seis.Variates]] = {}

    def _sides(self, seen: Seen, pairs: Tensor) -> Iterator[tuple[str, Tensor, Tensor, Tensor | None]]:
        """Per map layer: sources and targets (p c, positions), and as many targets of another object (None at first)."""
        for name, maps in seen.activations.items():
            if maps.ndim != 4 or maps.shape[2] * maps.shape[3] < 4 or not pairs.shape[1]:
                continue
            some = torch.linspace(0, pairs.shape[1] - 1, min(SPACE_PAIRS, pairs.shape[1])).round().long()
            channels = torch.linspace(0, maps.shape[1] - 1, min(SPACE_CHANNELS, maps.shape[1])).round().long()
            maps = maps[:, channels]
            source, target = maps[pairs[0, some]], maps[pairs[1, some]]
            last, known, other = self.before.get(name, (seen.object, None, None))
            other = known if last != seen.object else other  # several clips may show one object
            self.before[name] = seen.object, target.clone(), other
            if other is not None:
                other = seis.matricise(other[torch.arange(len(target)) % len(other)])
            yield name, seis.matricise(source), seis.matricise(target), other

    def learn(self, seen: Seen, pairs: Tensor) -> None:
        for name, x, y, other in self._sides(seen, pairs):
            self.moments.setdefault(name, Moments()).add(x, y)
            if other is not None:
                self.shuffled.setdefault(name, Moments()).add(x, other)

    def fit(self) -> list[str]:
        """Directions of all layers; lines about those that have collapsed."""
        said, self.before = [], {}
        for name, moments in self.moments.items():
            try:
                if name in self.shuffled:
                    self.variates[name] = seis.fit(moments, name=name), seis.fit(self.shuffled[name], name=name)
            except ValueError as error:
                said.append(f"layers: SEIS on positions skipped: {error}")
        return said

    def judge(self, seen: Seen, pairs: Tensor) -> None:
        for name, x, y, other in self._sides(seen, pairs):
            if name in self.variates:
                own, null = self.variates[name]
                one = np.zeros(len(x), int)
                self.sums.setdefault(name, []).append(seis.object_sums(own, x, y, one)[0])
                self.objects.setdefault(name, []).append(seen.object)
                if other is not None:
                    self.null_sums.setdefault(name, []).append(seis.object_sums(null, x, other, one)[0])

    def scores(self, name: str, seed: int) -> dict[str, Value]:
        if name not in self.sums or name not in self.null_sums:
            return {}
        own, null = self.variates[name]
        sums = bootstrap.group_sums(np.stack(self.sums[name]), np.array(self.objects[name]))
        cosines, null_cosines = own.cosines.numpy(), null.cosines.numpy()
        total, chance = seis.correlations(sums.sum(0)), seis.correlations(np.stack(self.null_sums[name]).sum(0))
        return {
            "seis_space_equiv": Value(float(total.mean()), bootstrap.sums_interval(
                sums, lambda s: seis.correlations(s).mean(-1), seed=seed), float(chance.mean())),
            "seis_space_inv": Value(float((total * cosines).mean()), bootstrap.sums_interval(
                sums, lambda s: (seis.correlations(s) * cosines).mean(-1), seed=seed), float((chance * null_cosines).mean())),
        }  # fmt: skip


def curves(
    train: Iterator[Seen], test: Iterator[Seen], fixed: ladder.FixedMotion, *, frame: str = "body", anchored: bool = True,
    seed: int = 0,
) -> tuple[dict[str, dict[str, Value]], list[str]]:
    """All measures of all layers.

    Args:
        train: What probes and maps are fitted on, object by object; each is looked at once.
        test: Other objects.
        fixed: The motion of the pairs.
        frame: ``body`` or ``camera``.
        anchored: Ask for the pose of a frame too, see `Features.anchored`.
        seed: Of shuffles and resamples.

    Returns:
        Layer -> measure of `MEASURES` -> value, layers in their order; and lines about what was left out.

    Raises:
        ValueError: Too few pairs share the motion.
    """
    space = _Space()

    def keep(stream: Iterator[Seen], take) -> _Kept:
        own = _Kept()
        for seen in stream:
            pairs = pairs_of(seen.poses, fixed, frame)
            own.add(seen, pairs)
            take(seen, pairs)
        if not own.count:
            raise ValueError("there are no objects to look at")
        return own

    learned = keep(train, space.learn)
    notes = space.fit()
    kept = [learned, keep(test, space.judge)]
    pairs = [torch.cat(own.pairs, 1) for own in kept]
    objects = np.concatenate(kept[1].objects)
    if min(p.shape[1] for p in pairs) < 2 or len(np.unique(objects[pairs[1][0].numpy()])) < 2:
        raise ValueError(f"{pairs[0].shape[1]} train and {pairs[1].shape[1]} test pairs share the motion, expected more")
    turns = [torch.cat(own.poses)[:, :3, :3].double().flatten(1) for own in kept] if anchored else None
    labels = [torch.from_numpy(np.concatenate(own.labels)) for own in kept]
    found: dict[str, dict[str, Value]] = {}
    for name in kept[0].vectors:
        x, u = (own.rows(name) for own in kept)
        try:
            found[name] = _channels(name, x, u, pairs, objects, seed) | space.scores(name, seed)
        except ValueError as error:
            notes.append(f"layers: {error}")
            continue
        found[name] |= probes(Rows(x, u), turns, labels, objects, seed)
    return found, notes


def _channels(name: str, x: Tensor, u: Tensor, pairs: list[Tensor], objects: np.ndarray, seed: int) -> dict[str, Value]:
    """SEIS and the ladder of vectors (n, d) and (m, d)."""
    train, test = tuple(x[i] for i in pairs[0]), tuple(u[i] for i in pairs[1])
    shown = objects[pairs[1][0].numpy()]
    scores = seis.held_out(train, test, shown, name=name, seed=seed)
    rungs = ladder.ladder(train, test, shown, name=name, seed=seed)
    found = {rung: Value(rungs.scores[rung], rungs.intervals[rung], rungs.nulls[rung]) for rung in ladder.RUNGS}
    return found | {
        "seis_equiv": Value(scores.equiv, scores.equiv_interval, scores.equiv_null),
        "seis_inv": Value(scores.inv, scores.inv_interval, scores.inv_null),
        "rank": Value(rungs.ranks[0]),
    }


def probes(rows: Rows, turns: Sequence[Tensor] | None, labels: list[Tensor], objects: np.ndarray, seed: int) -> dict[str, Value]:
    """``pose_linear`` (R2 of vec R) and ``class_linear`` (Top-1) by least squares, where poses vary and classes are known.

    Args:
        rows: Train and test vectors.
        turns: vec R (n, 9) and (m, 9); None where they mean nothing.
        labels: (n,) and (m,), -1 for none.
        objects: (m,) of the test rows, for the intervals.
        seed: Of the resamples.
    """
    found = {}
    if turns is not None and float(turns[0].std(0).max()) > 1e-6:

        def terms(predicted: Tensor) -> np.ndarray:
            return bootstrap.group_sums(rotations.r2_sums(predicted, turns[1]), objects)

        own, floor = terms(linear_prediction(rows, turns[0])), terms(turns[0].mean(0).expand(turns[1].shape))
        r2 = rotations.r2_per_dimension
        found["pose_linear"] = Value(float(r2(own.sum(0))), bootstrap.sums_interval(own, r2, seed=seed), float(r2(floor.sum(0))))
    keep, test_keep = labels[0] >= 0, labels[1] >= 0
    if bool(keep.any()) and bool(test_keep.any()):
        kinds = int(max(labels[0].max(), labels[1].max())) + 1
        wanted = torch.nn.functional.one_hot(labels[0][keep], kinds).double()
        hits = linear_prediction(Rows(rows.train[keep], rows.test[test_keep]), wanted).argmax(1) == labels[1][test_keep]
        chance = float((labels[1][test_keep] == int(wanted.sum(0).argmax())).double().mean())
        hits = hits.double().numpy()
        interval = bootstrap.mean_interval(hits, objects[test_keep.numpy()], seed=seed)
        found["class_linear"] = Value(float(hits.mean()), interval, chance)
    return found


def look(live: Live, clips, features: Features, taps: blocks.Taps, *, frames: int) -> Iterator[Seen]:
    """Activations of the clips of a set, object by object.

    Args:
        live: For the window of frames that the encoder sees together.
        clips: ``clips[i]["frames"]`` is clip i of the features.
        features: For poses, objects and labels.
        taps: Of the encoder.
        frames: About so many frames in all, of evenly chosen objects.
    """
    from vsie.features import covering, whole_steps

    stride, (window, widest) = live.encoder.stride, live.window
    names, starts = np.unique(features.orbit, return_index=True)
    per_object = [np.flatnonzero(features.orbit == name)[: max(1, OBJECT_FRAMES // features.frames)] for name in names]
    number = max(2, min(len(names), frames // max(1, len(per_object[0]) * features.frames)))
    for item in np.unique(np.linspace(0, len(names) - 1, number).round().astype(int)):
        chosen = per_object[item]
        video = torch.stack([torch.as_tensor(clips[int(clip)]["frames"]) for clip in chosen])
        poses = torch.from_numpy(np.ascontiguousarray(features.poses[chosen], dtype=np.float64))
        if stride > 1:
            video = whole_steps(live.encoder, video)
        else:
            index = torch.from_numpy(covering(video.shape[1], min(window, video.shape[1]), widest))
            video = rearrange(video[:, index], "n w t h x c -> (n w) t h x c")
            poses = rearrange(poses[:, index], "n w t i j -> (n w t) i j")
        activations = taps(rearrange(video, "n t h w c -> n c t h w").float() / 255)
        latent = activations.pop("latent")
        last = next(reversed(activations), None)
        if last is not None and not last.startswith("backbone"):
            # the parts begin with the head; earlier layers have none
            for name in [name for name in activations if not name.startswith("backbone")]:
                values = activations.pop(name)
                activations |= {f"{name}:{part}": one for part, one in by_part(values, features).items()}
        else:
            activations |= {f"latent:{part}": one for part, one in by_part(latent, features).items()}
        own = starts[item]
        yield Seen(activations, poses.reshape(-1, 4, 4), int(features.objects[own]), int(features.labels[own]))


def protocol(task) -> None:
    """For `suite`: ``layers/<measure>/<nn>-<layer>/<part>`` with ``/null`` beside it, nn counting the layers from 00; the
    motion's angle is ``layers/angle_deg``. ``part`` is ``all`` before the latent's parts begin.
    """
    chosen = {} if task.live is None else blocks.of_encoder(task.live.encoder)
    if not chosen:
        task.result.notes.append("layers skipped: they need an encoder with blocks that can be looked into")
        return
    source, target = ladder.some_pairs(task.train, views=16)
    motions = ladder.deltas(task.train, source, target, task.frame)
    fixed = ladder.fixed_motions(motions, number=3, wanted=max(200, len(motions) // 100), seed=task.seed)
    fixed = fixed[len(fixed) // 2]
    taps = blocks.Taps(task.live.encoder, chosen, side=SIDE)
    sets = []
    for clips, features, frames in ((task.live.train, task.train, TRAIN_FRAMES), (task.live.test, task.test, TEST_FRAMES)):
        sets.append(look(task.live, clips, features, taps, frames=frames))
    task.bar.set_postfix_str("layers")
    try:
        found, notes = curves(*sets, fixed, frame=task.frame, anchored=task.train.anchored, seed=task.seed)
    except ValueError as error:
        task.result.notes.append(f"layers skipped: {error}")
        return
    task.result.notes += notes
    order = list(dict.fromkeys(name.split(":")[0] for name in found))
    task.result.add("layers/angle_deg", float(torch.rad2deg(pose.angle(fixed.motion[:3, :3]))))
    for name, values in found.items():
        layer, _, part = name.partition(":")
        for measure, own in values.items():
            key = f"layers/{measure}/{order.index(layer):02d}-{layer}/{part or 'all'}"
            beside = {} if np.isnan(own.null) else {"null": own.null}
            task.result.add(key, own.value, None if np.isnan(own.interval[0]) else own.interval, **beside)
