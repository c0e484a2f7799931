"""Can the position of a patch be taken out of its token? RASA where it was made for (Franca, 2507.14137), beside the others.

Tokens are the positions of the last map of the backbone that has at least 4 x 4 of them, of single frames. Erasers of the
normalised (row, column) are fitted on tokens of train objects: one linear shot, INLP, RASA, LEACE, and LEACE on waves of the
position (three harmonics along each side and their products). Each is judged on held-out objects: what a linear and a kernel
probe still tell of the position, and what the mean of an image's tokens tells of class and pose; beside it the change made, the
rank kept, and a random subspace of equal rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vsie.eraser import Eraser
from vsie.evaluation import blocks, bootstrap, erasure, rotations
from vsie.evaluation.audit import Rows, kernel_prediction, linear_prediction
from vsie.evaluation.layers import Value, probes
from vsie.evaluation.lie import pictures
from vsie.evaluation.moments import Moments

SMALLEST = 4  # positions along a side
TRAIN_PICTURES, TEST_PICTURES = 1500, 750
TOKENS = 4000  # that a probe sees, drawn: at even distances the column would go with the order of the pictures
HARMONICS = 3


@dataclass(frozen=True)
class Set:
    """Tokens (n, h w, c) float32 of n pictures; objects (n,), labels (n,), rotations (n, 9) or None where they mean nothing."""

    tokens: Tensor
    objects: np.ndarray
    labels: Tensor
    turns: Tensor | None


def waves(places: Tensor) -> Tensor:
    """Functions (N, 2 + 12 + 36) of normalised positions (N, 2): cosines and sines along each side, and their products."""
    angles = torch.pi * places[:, :, None] * torch.arange(1, HARMONICS + 1)  # [N, 2, 3]
    along = torch.cat([angles.cos(), angles.sin()], 2)
    products = (along[:, 0, :, None] * along[:, 1, None, :]).flatten(1)
    return torch.cat([places, along.flatten(1), products], 1)


def erasers(tokens: Tensor, places: Tensor, *, seed: int = 0) -> dict[str, Eraser]:
    """All erasers of the position, fitted on tokens (N, c) at normalised places (N, 2).

    Raises:
        ValueError: The tokens have collapsed.
    """
    linear = Moments.of(tokens, erasure.independent(places))
    some = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))[:TOKENS]
    return {
        "leace": erasure.leace(linear),
        "leace-waves": erasure.leace(Moments.of(tokens, erasure.independent(waves(places))), name="leace-waves"),
        "linear": erasure.inlp(linear, rounds=1, name="linear"),
        "inlp": erasure.inlp(linear),
        "rasa": erasure.rasa(tokens[some], places[some], seed=seed),
    }


def judge(train: Set, test: Set, places: Tensor, eraser: Eraser | None, *, seed: int = 0) -> dict[str, Value]:
    """What is left: ``position_linear``, ``position_kernel`` (R2 of row and column), ``class_linear``, ``pose_linear``.

    Args:
        train: Probes are fitted on these.
        test: Other objects.
        places: (h w, 2) normalised (row, column) of the tokens of a picture.
        eraser: None for the tokens as they are.
        seed: Of the kernel and the resamples.
    """
    sets, targets, shown = [], [], []
    for own in (train, test):
        flat = own.tokens.flatten(0, 1)
        some = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))[:TOKENS]
        sets.append(flat[some] if eraser is None else eraser(flat[some]))
        targets.append(places.repeat(len(own.tokens), 1)[some])
        shown.append(own.objects.repeat(len(places))[some.numpy()])
    rows, found = Rows(*sets), {}

    def terms(predicted: Tensor) -> np.ndarray:
        return bootstrap.group_sums(rotations.r2_sums(predicted, targets[1]), shown[1])

    r2 = rotations.r2_per_dimension
    floor = float(r2(terms(targets[0].mean(0).expand(targets[1].shape)).sum(0)))
    predictions = {"position_linear": linear_prediction(rows, targets[0]),
                   "position_kernel": kernel_prediction(rows, targets[0], shown[0], seed=seed)}  # fmt: skip
    for name, predicted in predictions.items():
        sums = terms(predicted)
        found[name] = Value(float(r2(sums.sum(0))), bootstrap.sums_interval(sums, r2, seed=seed), floor)
    means = [own.tokens.mean(1) if eraser is None else eraser(own.tokens.mean(1)) for own in (train, test)]  # both are affine
    turns = None if train.turns is None else (train.turns, test.turns)
    return found | probes(Rows(*means), turns, [train.labels, test.labels], test.objects, seed)


def protocol(task) -> None:
    """For `suite`: ``position/<column>/<eraser>`` with ``/floor``, ``/before`` and ``/random`` beside it (``none``: the tokens as
    they are), ``position/{change,kept}/<eraser>``, ``position/side``.
    """
    found = {} if task.live is None else _token_sets(task)
    if not found:
        task.result.notes.append("position skipped: it needs an encoder with a map of 4 x 4 positions or more")
        return
    (name, (train, test, height, width)), = found.items()
    places = erasure.positions(height, width)
    flat = train.tokens.flatten(0, 1)
    task.bar.set_postfix_str(f"position, {name}")
    try:
        fitted = erasers(flat, places.repeat(len(train.tokens), 1), seed=task.seed)
    except ValueError as error:
        task.result.notes.append(f"position skipped: {error}")
        return
    before = judge(train, test, places, None, seed=task.seed)
    for column, own in before.items():
        task.result.add(f"position/{column}/none", own.value, own.interval, floor=own.null)
    task.result.add("position/side", height)
    task.result.notes.append(f"position: tokens of {name}, {height} x {width}")
    moments, controls = Moments.of(flat), {}
    for kind, eraser in fitted.items():
        kept = eraser.dim - eraser.rank
        task.result.add(f"position/kept/{kind}", kept)
        task.result.add(f"position/change/{kind}", erasure.change(eraser, test.tokens.flatten(0, 1)))
        if not kept:
            continue
        if eraser.rank not in controls:
            aimless = erasure.random(moments, eraser.rank, seed=task.seed)
            controls[eraser.rank] = judge(train, test, places, aimless, seed=task.seed)
        for column, own in judge(train, test, places, eraser, seed=task.seed).items():
            control = controls[eraser.rank][column].value
            task.result.add(f"position/{column}/{kind}", own.value, own.interval, floor=own.null, before=before[column].value,
                            random=control)  # fmt: skip


def _token_sets(task) -> dict[str, tuple[Set, Set, int, int]]:
    """Train and test tokens of the last block with enough positions, by its name, with height and width; {} without one."""
    chosen = {name: block for name, block in blocks.of_encoder(task.live.encoder).items() if name.startswith("backbone")}
    shown = blocks.Taps(task.live.encoder, chosen)(pictures(task.live.test, 1)[0][:, :, None]) if chosen else {}
    large = [name for name in chosen if shown[name].ndim == 4 and min(shown[name].shape[2:]) >= SMALLEST]
    if not large:
        return {}
    taps, sets = blocks.Taps(task.live.encoder, {large[-1]: chosen[large[-1]]}), []
    for clips, features, count in ((task.live.train, task.train, TRAIN_PICTURES), (task.live.test, task.test, TEST_PICTURES)):
        frames, rows, numbers = pictures(clips, count, with_numbers=True)
        maps = torch.cat([taps(part[:, :, None])[large[-1]] for part in frames.split(64)])
        steps = np.minimum(numbers // task.live.encoder.stride, features.frames - 1)
        turns = torch.from_numpy(np.ascontiguousarray(features.poses[rows, steps, :3, :3], dtype=np.float64)).flatten(1)
        turns = turns if features.anchored else None
        labels = torch.from_numpy(features.labels[rows])
        sets.append(Set(rearrange(maps, "n c h w -> n (h w) c"), features.objects[rows], labels, turns))
    return {large[-1]: (*sets, *maps.shape[2:])}
