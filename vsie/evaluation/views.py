"""The questions of the 3DIEBench line, asked of single frames among all views of an object: rotation, colour, MRR, PRE.

Each in two forms: ours (fixed seeded pairs, every view as a source, the source no candidate, R2 per dimension, hues on a
circle, geodesic errors) and SIE's released one (`as_released`; the definitions are in `released.py` and `steering.py`).
The functions add to the `Result` of a suite's task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from vsie import pose as geometry
from vsie.evaluation import bootstrap, classification, colour, pose, released, rotations, steering
from vsie.evaluation.inputs import Steering, part_of
from vsie.evaluation.moments import Unscorable
from vsie.feature_set import Features, flat

RELEASED = ("classification", "rotation", "colour", "pre", "mrr")
HITS = (1, 5, 10)
PASSES = 10  # of the rotation and colour probes over the train objects, at least


def _fit_stills(task, features: Features, part: str, targets) -> pose.PairProbe:
    """A pair probe on single frames, all views of the train objects."""
    groups = [group for group in features.views() if len(group) > 1]
    steps = max(task.probe_steps, PASSES * len(groups) // 24)
    rows = flat(features, part, "image").to(task.device)
    return pose.fit(rows, targets, groups, steps=steps, seed=task.seed)


def _stills(task, part: str, initial: str, train_targets, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What a pair probe on single frames, of the ``trained`` or the ``random`` encoder, says of test pairs."""
    train, test = (task.train, task.test) if initial == "trained" else task.random_init
    task.bar.set_postfix_str(f"pair probe on single frames, {part}, {initial}")
    probe = _fit_stills(task, train, part, train_targets)
    return probe.predict(flat(test, part, "image").to(task.device), source, target)


def rotation(task) -> None:
    """How did the object turn between two single frames?"""
    if not task.test.anchored:
        task.result.notes.append("rotation/r2_quaternion skipped: poses of two clips have no common frame")
    train_targets, test_targets = task.targets()
    source, target = pose.fixed_pairs(task.test, seed=task.seed)
    objects = task.test.objects[(source // task.test.frames).numpy()]
    floors = pose.floors(train_targets, task.train.views(), test_targets, source, target, seed=task.seed)
    for kind, numbers in _constants(train_targets, task.train, task.seed).items():
        wanted = test_targets.numbers(source, target)[:, 9:]
        terms = rotations.r2_sums(numbers[9:].expand(wanted.shape), wanted).sum(0)
        floors[kind]["r2_quaternion"] = float(rotations.r2_per_dimension(terms))
    floors["floor"]["r2_quaternion"] = max(floors[kind]["r2_quaternion"] for kind in ("constant", "identity"))

    def measures(scores: pose.PairScores) -> dict[str, float]:
        quaternions = float(rotations.r2_per_dimension(scores.quaternions.sum(0)))
        return {**scores.metrics(), "r2_quaternion": quaternions}

    def scored(part: str, initial: str) -> pose.PairScores:
        return pose.score(_stills(task, part, initial, train_targets, source, target), test_targets, source, target, objects)

    for part in task.test.parts():
        scores = scored(part, "trained")
        random = task.untrained("rotation", part, lambda part=part: measures(scored(part, "random")))
        sums = bootstrap.group_sums(scores.quaternions, objects)
        intervals = scores.intervals(task.seed)
        intervals["r2_quaternion"] = bootstrap.sums_interval(sums, rotations.r2_per_dimension, seed=task.seed)
        for name, value in measures(scores).items():
            if name == "r2_sie" or (name == "r2_quaternion" and not task.test.anchored):
                continue  # the one is compat=sie's, the other has signs that are those of poses
            beside = {kind: floors[kind][name] for kind in ("floor", "identity")}
            beside |= {"random_init": random[name]} if random else {}
            task.result.add(f"rotation/{name}/{part}", value, intervals[name], **beside)


def _constants(targets: pose.Targets, train: Features, seed: int) -> dict[str, torch.Tensor]:
    """The 13 numbers that a probe gives which looks at nothing: the train mean, and no rotation."""
    source, target = pose.fixed_pairs(train, per_object=16, seed=seed + 1)
    none = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], dtype=torch.float64)
    return {"constant": targets.numbers(source, target).mean(0), "identity": none}


def colours(task) -> None:
    """How did floor and light change colour?"""
    hues = {name: released.hues_of(features) for name, features in (("train", task.train), ("test", task.test))}
    for name, values in hues.items():
        if values is None:
            task.result.notes.append(f"colour skipped: the {name} features have no latents {' and '.join(released.HUES)}")
            return
    train_targets, test_targets = colour.Targets(hues["train"]), colour.Targets(hues["test"])
    source, target = pose.fixed_pairs(task.test, seed=task.seed)
    objects = task.test.objects[(source // task.test.frames).numpy()]
    train_numbers = train_targets.numbers(*pose.fixed_pairs(task.train, per_object=16, seed=task.seed + 1))
    if float(train_numbers.std(0).max()) < 1e-6 or float(test_targets.numbers(source, target).std(0).max()) < 1e-6:
        task.result.notes.append("colour skipped: no object is seen under two colours of floor or light")
        return
    floors = colour.floors(train_numbers, test_targets, source, target)

    def scored(part: str, initial: str) -> colour.Scores:
        return colour.score(_stills(task, part, initial, train_targets, source, target), test_targets, source, target, objects)

    for part in task.test.parts():
        scores = scored(part, "trained")
        random = task.untrained("colour", part, lambda part=part: scored(part, "random").metrics())
        for name, value in scores.metrics().items():
            if name.endswith("r2"):
                sums = bootstrap.group_sums(scores.columns(name), objects)
                interval = bootstrap.sums_interval(sums, rotations.r2_per_dimension, seed=task.seed)
            else:
                interval = bootstrap.median_interval(scores.errors[:, colour.MEASURES[3:].index(name)], objects, seed=task.seed)
            beside = {"floor": floors[name]} | ({"random_init": random[name]} if random else {})
            task.result.add(f"colour/{name}/{part}", value, interval, **beside)


@contextlib.contextmanager
def _steered_stills(task) -> Iterator[tuple[Steering, torch.Tensor] | None]:
    """The predictor, on the task's device while it is used, and the embedded single frames of the test set; None where the
    latent has no equivariant part."""
    if part_of(task.steering) not in task.test.parts():
        task.result.notes.append("steering skipped: the latent has no equivariant part")
        yield None
        return
    predictor = task.steering if task.steering is not None else steering.Identity(frame=task.frame)
    note = "steering: the method has no predictor; the identity predictor on equi is measured instead"
    if task.steering is None and note not in task.result.notes:
        task.result.notes.append(note)
    moved = isinstance(predictor, torch.nn.Module)
    if moved:
        predictor.to(task.device)
    try:
        yield predictor, steering.embed(predictor, flat(task.test, part_of(predictor), "image"), device=task.device)
    finally:
        if moved:
            predictor.to("cpu")


def mrr(task, *, released_form: bool = False) -> None:
    """The rank of the true view among all views of the object."""
    with _steered_stills(task) as steered:
        if steered is None:
            return
        if max(len(group) for group in task.test.views()) < 3:
            task.result.notes.append("mrr skipped: no test object has three frames")
            return
        options = dict(cap=None, hits=HITS, released=released_form, device=task.device)
        scores = steering.retrieve(*steered, task.test, **options)
        identity = steering.Identity(similarity=steered[0].similarity, frame=task.frame)
        nothing = steering.retrieve(identity, steered[1], task.test, **options).metrics()
    chance = steering.chance(scores.candidates, HITS)
    for name, values in scores.values.items():
        interval = bootstrap.mean_interval(values, scores.objects, seed=task.seed)
        key = f"compat_sie/mrr/{name}" if released_form else f"mrr/{name}"
        task.result.add(key, values.mean(), interval, floor=chance[name], identity=nothing[name])


def pre(task, *, released_form: bool = False) -> None:
    """The pose of the nearest neighbour of a steered latent among all frames of the test set."""
    with _steered_stills(task) as steered:
        if steered is None:
            return
        if max(len(group) for group in task.test.views()) < 2:
            task.result.notes.append("pre skipped: no test object has two frames")
            return
        sources = "released" if released_form else "every"
        options = dict(cap=None, sources=sources, limit=steering.QUERIES, seed=task.seed, device=task.device)
        errors, objects, floors = steering.pre(*steered, task.test, **options)
        identity = steering.Identity(similarity=steered[0].similarity, frame=task.frame)
        nothing = steering.pre(identity, steered[1], task.test, **options)[0].mean()
    possible = sum(len(group) for group in task.test.views() if len(group) > 1)
    if not released_form and len(errors) < possible:
        task.result.notes.append(f"pre: {len(errors)} of {possible} frames are sources, evenly over the objects")
    key = "compat_sie/pre/pre" if released_form else "pre/pre"
    beside = {"floor": floors["constant"], "random": floors["random"], "identity": nothing}
    task.result.add(key, errors.mean(), bootstrap.mean_interval(errors, objects, seed=task.seed), **beside)


def as_released(task, chosen: Sequence[str]) -> None:
    """SIE's released measures of the chosen protocols."""
    if "pose" in chosen:
        chosen = [*chosen, *(name for name in ("rotation", "mrr", "pre") if name not in chosen)]
    if "tracking" in chosen:
        task.result.notes.append("tracking skipped: SIE has no released definition of it")
    for name in [name for name in RELEASED if name in chosen]:
        task.bar.set_postfix_str(f"{name}, as SIE released it")
        try:
            if name in ("mrr", "pre"):
                {"mrr": mrr, "pre": pre}[name](task, released_form=True)
            else:
                _released_probe(task, name)
        except Unscorable as error:  # the others are kept
            task.result.notes.append(f"{name} skipped: {error}")
        task.bar.update()


def _released_probe(task, name: str) -> None:
    judged = task.test if task.probed is None else task.probed
    questions = [_question(task, name, features) for features in (task.train, judged)]
    if None in questions:
        return
    train, test = (released.Views.of(features, task.device) for features in (task.train, judged))
    parts, result = released.widths(task.test), task.result
    constant = None if name == "classification" else released.mean_target(questions[0], train, seed=task.seed + 1)
    heads = released.fit(
        questions[0], train, parts, epochs=task.epochs, seed=task.seed, progress=None if task.bar.disable else f"{name} probe"
    )
    drawn = task.probed is not None
    answers = released.ask(heads, questions[1], test, parts, constant=constant, seed=task.seed, drawn=drawn)
    floors = classification.floors(task.train, judged) if name == "classification" else {"r2": answers.floor()}
    for part in parts:
        if name == "classification":
            for top in (1, 5):
                values = answers.hits(part, top)
                interval = bootstrap.mean_interval(values, answers.objects, seed=task.seed)
                result.add(f"compat_sie/{name}/top{top}/{part}", values.mean(), interval, floor=floors[f"top{top}"])
        else:
            terms = bootstrap.group_sums(answers.r2(part), answers.objects)
            interval = bootstrap.sums_interval(terms, rotations.r2_sie, seed=task.seed)
            result.add(f"compat_sie/{name}/r2/{part}", rotations.r2_sie(terms.sum(0)), interval, floor=floors["r2"])


def _question(task, name: str, features: Features) -> released.Question | None:
    """What a released probe is asked of a set of features; None, with a note, where that is not known."""
    if name == "rotation":
        if not features.anchored:
            raise Unscorable("it is asked for turns in the objects' own frame, and clips have none in common")
        known, own = (torch.from_numpy(np.ascontiguousarray(some.poses.reshape(-1, 4, 4), dtype=np.float64))
                      for some in (task.train, features))  # fmt: skip
        return released.rotation(own, geometry.mean_quaternion(known))
    if name == "colour":
        hues = released.hues_of(features)
        if hues is None:
            note = f"colour skipped: the features have no latents {' and '.join(released.HUES)}"
            task.result.notes += [note] if note not in task.result.notes else []
        return None if hues is None else released.colour(hues)
    if not classification.labelled(features).all():
        note = "classification skipped: SIE's probe needs a class for every clip"
        task.result.notes += [note] if note not in task.result.notes else []
        return None
    classes = int(max(task.train.labels.max(), task.test.labels.max())) + 1
    return released.classification(torch.from_numpy(np.repeat(features.labels, features.frames)), classes)
