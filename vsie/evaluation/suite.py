"""All questions at once: features and a predictor in, one flat dict of measures out, each with its floors beside it.

Keys: ``classification/{top1,top5,knn,clip_top1}/<part>``, ``pose/{geodesic_median_deg,geodesic_mean_deg,acc@15,acc@30,r2,
r2_sie}/<part>`` (and ``/inversion`` for the four angles: the predictor inverted on the very same pairs), ``steering/{mrr,
hit@1,hit@5,pre}``, ``tracking/{probe,inversion}/{rpe_deg@h,rpe_pair_deg@h,drift_deg,drift_pair_deg,closed_loop_deg,
pair_median_deg,drift_exponent}``, ``collapse/{rankme,std,within_object_share}/<part>``. Beside a key: ``<key>/floor`` (chance
or the best constant; of rotations no motion where that is better), ``<key>/identity``, ``<key>/random_init``. Parts are ``inv``,
``equi``, ``all``.

More protocols are files of this folder that have a `protocol(task)`, which says what its keys are: seis, ladder, leakage,
cleaned, single, dci, erasure, lie, aggregate, correlation, layers, position (lie and the last three look at pictures too, through
`Live`).

Steering and the inversion on pairs belong to the protocol ``pose``; ``tracking`` trains its own probe where ``pose`` did not.
Classification of single frames reads `Features.image`; everything about pose reads `Features.clip`. Where clips have no common
frame (`Features.anchored`), as with estimated motion, what compares poses and not motions is left out with a note: PRE, and the
R2 of quaternions, whose signs are those of poses.

The questions of the 3DIEBench line are asked of single frames (`Features.image`), of all views of an object:
``rotation/{geodesic_median_deg,geodesic_mean_deg,acc@15,acc@30,r2,r2_quaternion}/<part>``, ``colour/{r2,floor_hue_r2,
spot_hue_r2,floor_hue_median_deg,spot_hue_median_deg}/<part>``, ``mrr/{mrr,hit@1,hit@5,hit@10}``, ``pre/pre``. With
``compat="sie"`` SIE's released definitions are used instead (`released.py`, `steering.py`), and keys start with
``compat_sie/``; ``pose`` then means rotation, mrr and pre, and ``tracking`` has no released definition.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from vsie import collapse, evaluation
from vsie import pose as geometry
from vsie.eraser import Eraser
from vsie.evaluation import bootstrap, classification, inversion, pose, released, rotations, steering, tracking, views
from vsie.evaluation.inputs import Live, Steering, check_scorable, part_of
from vsie.evaluation.moments import Unscorable
from vsie.evaluation.paired import Sample, of_items
from vsie.feature_set import Features, flat

PROTOCOLS = ("classification", "rotation", "colour", "pre", "mrr", "pose", "tracking")
RELEASED = PROTOCOLS[:-1]  # those that SIE has released a definition of; its `pose` is rotation, mrr and pre
DEFAULT = ("classification", "pose", "tracking")
VERSION = 3  # one more wherever a probe or a measure (not its floor) gives something else: two versions are not compared
COMPATIBLE = ("sie",)
STEPS_PER_OBJECT = 8  # of a pair probe: with 27 objects 150 steps found what 1,200 did, with 120 they did not
PROBE_FRAMES = 24_000  # train frames that the pair probes see, evenly over the objects
PROBE_VIEWS = 16  # of an object, where it has them, and fewer objects then: from its ends alone no probe learns what lies between


@dataclass
class Result:
    """What was measured.

    Attributes:
        metrics: Flat, see the module's docstring.
        intervals: ``<key>/low`` and ``<key>/high``: 95 % percentile intervals over objects.
        arrays: For the figures: ``tracking/{true,probe,inversion}`` trajectories (B, F, 3, 3), ``tracking/index`` (B,) clips.
        notes: Lines about what was left out and why.
        erasers: By name, fitted on the train frames of all of the latent.
        seconds: CPU seconds of this process by protocol; what two protocols share counts for the first.
        samples: What scores are made of, per held-out object: differences between runs are resampled from them.
        truth: What tracks are drawn against.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    erasers: dict[str, Eraser] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)
    truth: str = "truth"

    def add(self, key: str, value: float, interval: tuple[float, float] | None = None, **beside: float) -> None:
        """Note a measure, its interval, and what stands beside it (``floor=``, ``identity=``, ``random_init=``)."""
        self.metrics[key] = float(value)
        for name, other in beside.items():
            self.metrics[f"{key}/{name}"] = float(other)
        if interval is not None:
            self.intervals[f"{key}/low"], self.intervals[f"{key}/high"] = interval


Remembered = Callable[[str, Callable[[], dict[str, float]]], dict[str, float]]


@dataclass
class _Task:
    """What the protocols share, so that no probe is trained twice."""

    train: Features
    test: Features
    steering: Steering | None
    training_deltas: torch.Tensor | None
    random_init: tuple[Features, Features] | None
    frame: str
    seed: int
    probe_steps: int
    bar: tqdm
    result: Result
    probes: dict = field(default_factory=dict)
    embedded: torch.Tensor | None = None
    grid: inversion.Candidates | None = None
    device: torch.device | str = "cpu"
    probed: Features | None = None
    epochs: int = released.EPOCHS
    raw: tuple[Features, Features] | None = None
    live: Live | None = None
    summary: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    remembered: Remembered | None = None

    def targets(self) -> tuple[pose.Targets, pose.Targets]:
        """Of the train and the test frames."""
        poses = torch.from_numpy(np.ascontiguousarray(self.train.poses.reshape(-1, 4, 4), dtype=np.float64))
        reference = geometry.mean_quaternion(poses)
        return tuple(pose.Targets.of(f, reference=reference, frame=self.frame) for f in (self.train, self.test))

    def groups(self) -> list[np.ndarray]:
        """The train frames that probes see, per object; where that would be few of each, more of evenly chosen objects."""
        each = PROBE_FRAMES // len(np.unique(self.train.objects))
        if each >= PROBE_VIEWS:
            return self.train.views(each)
        groups = self.train.views()
        count = int(PROBE_FRAMES / np.mean([min(len(group), PROBE_VIEWS) for group in groups]))
        chosen = np.linspace(0, len(groups) - 1, min(max(1, count), len(groups))).round().astype(int)
        rng = np.random.default_rng(self.seed)
        return [np.sort(rng.permutation(groups[i])[:PROBE_VIEWS]) for i in chosen]

    def probe(self, part: str, initial: str = "trained") -> pose.PairProbe:
        """The pair probe on a part, of the trained or the random encoder; trained when first asked for."""
        if (part, initial) not in self.probes:
            self.bar.set_postfix_str(f"pair probe, {part}, {initial}")
            features = self.train if initial == "trained" else self.random_init[0]
            self.probes[part, initial] = pose.fit(
                flat(features, part, "clip"), self.targets()[0], self.groups(), steps=self.probe_steps, seed=self.seed
            )
        return self.probes[part, initial]

    def untrained(self, name: str, part: str, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """What the random encoder's `part` gives for what `name` says, by `measure` where it is not remembered; {} where there
        is no random encoder."""
        if self.random_init is None:
            return {}
        split = "" if part == "all" else f" of {self.test.invariant_dim}"
        key = f"{name}/{part}{split}, seed {self.seed}, {self.probe_steps} steps, {self.frame} frame, measures {VERSION}"

        def measured() -> dict[str, float]:
            return {name: float(value) for name, value in measure().items()}

        return measured() if self.remembered is None else self.remembered(key, measured)

    def invertible(self) -> bool:
        """Whether the predictor can be inverted; prepares the grid and the embedded test frames."""
        if self.steering is None:
            return False
        if self.grid is None:
            deltas = self.training_deltas
            try:
                if deltas is None:
                    source, target = pose.fixed_pairs(self.train, seed=self.seed)
                    poses = self.targets()[0].poses
                    deltas = geometry.delta(poses[source], poses[target], self.frame)
                self.grid = inversion.candidates(self.steering, deltas, seed=self.seed)
            except Unscorable as error:
                if str(error) not in " ".join(self.result.notes):
                    self.result.notes.append(f"the predictor is not inverted: {error}")
                return False
            if getattr(self.steering, "uses_colour", False):
                self.result.notes.append("the predictor is inverted as if no colour changed between two views")
        if self.embedded is None:
            self.embedded = steering.embed(self.steering, flat(self.test, part_of(self.steering), "clip"))
        return True


def measures() -> dict[str, Callable[[_Task], None]]:
    """Further protocols by name: the files of this folder that have a `protocol`."""
    files = [module.name for module in pkgutil.iter_modules(evaluation.__path__) if module.name != "suite"]
    modules = {name: importlib.import_module(f"{evaluation.__name__}.{name}") for name in files}
    return {name: module.protocol for name, module in modules.items() if hasattr(module, "protocol")}


def check_protocols(protocols: Sequence[str], compat: str | None = None) -> None:
    """Refuse protocols, or a compatibility, that are not there."""
    known = PROTOCOLS if compat else (*PROTOCOLS, *measures())
    unknown = sorted(set(protocols) - set(known))
    if unknown:
        raise ValueError(f"unknown protocol {', '.join(unknown)}; there are {', '.join(known)}")
    if compat is not None and compat not in COMPATIBLE:
        raise ValueError(f"compat is {compat!r}, expected null or one of {', '.join(COMPATIBLE)}")


def evaluate(
    train: Features,
    test: Features,
    *,
    steering: Steering | None = None,
    training_deltas: np.ndarray | torch.Tensor | None = None,
    random_init: tuple[Features, Features] | None = None,
    raw: tuple[Features, Features] | None = None,
    live: Live | None = None,
    protocols: Sequence[str] = DEFAULT,
    compat: str | None = None,
    probed: Features | None = None,
    seed: int = 0,
    frame: str = "body",
    probe_steps: int | None = None,
    epochs: int = released.EPOCHS,
    summary: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    remembered: Remembered | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Result:
    """Measure what each part of the latent knows, on held-out objects.

    Args:
        train: Features that probes are fitted on.
        test: Features of other objects.
        steering: The predictor; None for a method without one, which is then steered with the identity and not inverted.
        training_deltas: (M, 4, 4) or (M, 3, 3) deltas seen in training, in `frame`: the span that inversion searches; None
            takes those between the train frames of an object.
        random_init: Train and test features of the same clips from the encoder before training.
        raw: Train and test features of the same clips from the backbone alone, without a split.
        live: The encoder and the clips, for measures that look at other pictures than these features are of.
        protocols: Which of `PROTOCOLS` and `measures`.
        compat: ``sie``: the released definitions of SIE; None: ours.
        probed: With `compat`: the test features that probes are judged on where these are not `test`, because the released
            scripts train probes with BatchNorm in train mode (`train` was encoded so), which moves the statistics that they
            are judged with: the frames of `released.validation`.
        seed: Of probes, pairs and resamples.
        frame: ``body`` or ``camera``, of all deltas.
        probe_steps: Optimiser steps of each pair probe; fewer for a quick look only. None: `pose.STEPS`, and fewer where so few
            objects are there to train on that more steps change nothing (`STEPS_PER_OBJECT`).
        epochs: Of the released probes; fewer for a quick look only.
        summary: `Method.summarise`, for the protocol ``aggregate``; None for the mean of the invariant part.
        remembered: Is given a key and what measures it, and returns what was measured of `random_init`, now or before
            (`feature_cache.Measured`); None: now.
        device: Where the probes of the 3DIEBench line are trained and its retrieval is computed.
        progress: Show a bar.

    Raises:
        ValueError: On unknown protocols, sets that share objects or differ in shape, features that are not finite or have
            collapsed.
    """
    check_protocols(protocols, compat)
    questions = {**QUESTIONS, **measures()}
    if steering is not None and steering.frame != frame:
        raise ValueError(f"the steering's deltas are in the {steering.frame} frame, the evaluation's in the {frame} frame")
    _check(train, test, random_init=random_init, raw=raw)
    if probed is not None:
        _check(train, probed)
    deltas = None if training_deltas is None else torch.as_tensor(training_deltas)
    if probe_steps is None:
        probe_steps = min(pose.STEPS, STEPS_PER_OBJECT * len(np.unique(train.objects)))
    chosen = [name for name in questions if name in protocols]
    bar = tqdm(total=len(chosen), desc="evaluation", disable=not progress, leave=False)
    task = _Task(
        train, test, steering, deltas, random_init, frame, seed, probe_steps, bar, Result(), device=device,
        probed=probed, epochs=epochs, raw=raw, live=live, summary=summary, remembered=remembered,
    )  # fmt: skip
    if compat is not None:
        with torch.no_grad(), bar:
            views.as_released(task, chosen)
        return task.result
    with torch.no_grad(), bar:
        parts = {name: flat(test, name, "clip") for name in test.parts()}
        task.result.metrics.update(collapse.summary(parts, torch.from_numpy(np.repeat(test.objects, test.frames))))
        for name in chosen:
            bar.set_postfix_str(name)
            begun = time.process_time()
            try:
                questions[name](task)
            except Unscorable as error:  # what is known by now is kept
                task.result.notes.append(f"{name} cut short: {error}")
            task.result.seconds[name] = time.process_time() - begun
            bar.update()
    return task.result


def _check(train: Features, test: Features, **others: tuple[Features, Features] | None) -> None:
    """Refuse what would give wrong numbers."""
    if train.image.shape[-1] != test.image.shape[-1] or train.invariant_dim != test.invariant_dim:
        raise ValueError(
            f"train features have {train.image.shape[-1]} dims ({train.invariant_dim} invariant), "
            f"test features {test.image.shape[-1]} ({test.invariant_dim}); they should be of one encoder"
        )
    shared = np.intersect1d(train.objects, test.objects)
    if len(shared):
        raise ValueError(f"{len(shared)} objects are in train and in test, e.g. {shared[0]}; test objects should be held out")
    check_scorable(train, "train")
    check_scorable(test, "test")
    for kind, pair in others.items():
        for name, own, other in (("train", train, pair[0]), ("test", test, pair[1])) if pair is not None else ():
            if other.poses.shape != own.poses.shape or not np.array_equal(other.objects, own.objects):
                raise ValueError(f"{kind}'s {name} features are not of the same clips as the {name} features")
            check_scorable(other, f"{kind} {name}")


def _classification(task: _Task) -> None:
    for name, features in (("train", task.train), ("test", task.test)):
        if not classification.labelled(features).any():
            task.result.notes.append(f"classification skipped: no clip of the {name} features has a label")
            return
    floors = classification.floors(task.train, task.test)
    for part in task.test.parts():
        correct = classification.classify(task.train, task.test, part, seed=task.seed, device=task.device)

        def of_random(part: str = part) -> dict[str, float]:
            found = classification.classify(*task.random_init, part, seed=task.seed, device=task.device)
            return {name: values.mean() for name, values in found.values.items()}

        random = task.untrained("classification", part, of_random)
        for name, values in correct.values.items():
            interval = bootstrap.mean_interval(values, correct.objects[name], seed=task.seed)
            beside = {"random_init": random[name]} if random else {}
            task.result.add(f"classification/{name}/{part}", values.mean(), interval, floor=floors[name], **beside)
            task.result.samples[f"classification/{name}/{part}"] = of_items("mean", values, correct.objects[name])


def _pose(task: _Task) -> None:
    if not task.test.anchored:
        task.result.notes.append("steering/pre and pose/r2_sie skipped: poses of two clips have no common frame")
    train_targets, test_targets = task.targets()
    source, target = pose.fixed_pairs(task.test, seed=task.seed)
    objects = task.test.objects[(source // task.test.frames).numpy()]
    floors = pose.floors(train_targets, task.groups(), test_targets, source, target, seed=task.seed)
    for part in task.test.parts():
        output = task.probe(part).predict(flat(task.test, part, "clip"), source, target)
        scores = pose.score(output, test_targets, source, target, objects)

        def of_random(part: str = part) -> dict[str, float]:
            output = task.probe(part, "random").predict(flat(task.random_init[1], part, "clip"), source, target)
            return pose.score(output, test_targets, source, target, objects).metrics()

        random = task.untrained("pose", part, of_random)
        intervals = scores.intervals(task.seed)
        for name, value in scores.metrics().items():
            if name == "r2_sie" and not task.test.anchored:  # signs of quaternions are those of poses
                continue
            beside = {kind: floors[kind][name] for kind in ("floor", "identity")}
            if random:
                beside["random_init"] = random[name]
            task.result.add(f"pose/{name}/{part}", value, intervals[name], **beside)
        task.result.samples[f"pose/geodesic_median_deg/{part}"] = of_items("median", scores.errors, objects)
    _steering(task)
    if not task.invertible():
        return
    relative, _ = inversion.invert_pairs(task.steering, task.embedded, source, target, task.grid)
    errors = rotations.errors_deg(relative, test_targets.rotations(source, target))
    intervals = pose.angle_intervals(errors, objects, task.seed)
    for name, value in rotations.summarise(errors).items():
        beside = {kind: floors[kind][name] for kind in ("floor", "identity")}
        task.result.add(f"pose/{name}/inversion", value, intervals[name], **beside)
    task.result.samples["pose/geodesic_median_deg/inversion"] = of_items("median", errors, objects)


def _steering(task: _Task) -> None:
    if task.steering is None:
        instead = "the identity predictor on equi is measured instead" if "equi" in task.test.parts() else "nothing is steered"
        task.result.notes.append(f"steering: the method has no predictor; {instead}")
    elif part_of(task.steering) not in task.test.parts():
        task.result.notes.append("steering skipped: the latent has no equivariant part")
    if part_of(task.steering) not in task.test.parts():
        return
    if max(len(group) for group in task.test.views(steering.VIEWS)) < 3:
        task.result.notes.append("steering skipped: no test object has three frames")
        return
    scores, pre, floors, embedded = steering.evaluate(task.steering, task.test, frame=task.frame)
    if task.steering is not None:
        task.embedded = embedded
    for name, values in scores.values.items():
        interval = bootstrap.mean_interval(values, scores.objects, seed=task.seed)
        beside = {"floor": floors["chance"][name], "identity": floors["identity"][name]}
        task.result.add(f"steering/{name}", values.mean(), interval, **beside)
        task.result.samples[f"steering/{name}"] = of_items("mean", values, scores.objects)
    if pre is None:
        return
    interval = bootstrap.mean_interval(*pre, seed=task.seed)
    beside = {"floor": floors["chance"]["pre"], "identity": floors["identity"]["pre"]}
    task.result.add("steering/pre", pre[0].mean(), interval, **beside)


def _tracking(task: _Task) -> None:
    clips = tracking.Clips.of(task.test)
    if clips.frames < 2 or task.train.frames < 2:
        task.result.notes.append("tracking skipped: clips of one frame have nothing to track")
        return
    if clips.frames < task.test.frames:
        task.result.notes.append(f"tracking: clips have {task.test.frames} frames, the first {clips.frames} are tracked")
    part = "equi" if "equi" in task.test.parts() else "all"
    total = task.test.frames
    tracks = {"probe": tracking.by_probe(
        task.probe(part), flat(task.test, part, "clip"), clips, total_frames=total, frame=task.frame
    )}  # fmt: skip

    def of_random() -> dict[str, float]:
        features = flat(task.random_init[1], part, "clip")
        tracked = tracking.by_probe(task.probe(part, "random"), features, clips, total_frames=total, frame=task.frame)
        return tracking.score(tracked, clips, task.frame).metrics()

    random = {"probe": task.untrained("tracking", part, of_random)}
    if task.invertible():
        tracks["inversion"] = tracking.by_inversion(task.steering, task.embedded, clips, task.grid, total_frames=total)
    floors = tracking.floors(task.train, clips, task.frame, seed=task.seed)
    arrays = task.result.arrays
    arrays["tracking/index"] = clips.index
    true = clips.poses[..., :3, :3]
    start = true[:, :1]
    arrays["tracking/true"] = (start.mT @ true if task.frame == "body" else true @ start.mT).numpy()
    for name, tracked in tracks.items():
        scores = tracking.score(tracked, clips, task.frame)
        for measure, value in scores.metrics().items():
            interval, beside = None, {}
            if measure in scores.errors:
                interval = bootstrap.median_interval(scores.errors[measure], scores.objects[measure], seed=task.seed)
                beside = {kind: floors[kind].get(measure, np.nan) for kind in ("floor", "identity")}
            if random.get(name):
                beside["random_init"] = random[name].get(measure, np.nan)
            task.result.add(f"tracking/{name}/{measure}", value, interval, **beside)
            if measure in scores.errors:
                sample = of_items("median", scores.errors[measure], scores.objects[measure])
                task.result.samples[f"tracking/{name}/{measure}"] = sample
        arrays[f"tracking/{name}"] = tracked.trajectory.numpy()


QUESTIONS = {
    "classification": _classification, "rotation": views.rotation, "colour": views.colours, "pre": views.pre,
    "mrr": views.mrr, "pose": _pose, "tracking": _tracking,
}  # fmt: skip
