"""Which class is it, from several views at once? A linear probe on what the method makes of 1, 3 and 5 views of an object.

Notable: a method says itself what its invariant representation of a set of views is (`Method.summarise`); without a say of its
own that is the mean of the invariant part, or of all of a latent without one. seq-JEPA's is its transformer's aggregate of views
and motions, which the paper judges with 1, 3 and 5 of them. Beside it stands the mean of the whole latent over the same views.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vsie.evaluation import bootstrap, classification
from vsie.evaluation.inputs import view_poses
from vsie.feature_set import Features, flat

COUNTS = (1, 3, 5)
TRAIN_SETS, TEST_SETS = 16_000, 16_000  # at most, the same number of each object
CHUNK = 4096  # sets at once

Summary = Callable[[Tensor, Tensor], Tensor]


def draw(features: Features, count: int, sets: int, *, seed: int = 0) -> np.ndarray:
    """Sets of `count` different frames of an object, in random order: indices (S, count) among all N * F frames.

    As many of each object as it has frames, at most `sets` in all; objects without a class or with fewer frames are left out.
    """
    rng = np.random.default_rng(seed)
    groups = [g for g in features.views() if len(g) >= count and features.labels[g[0] // features.frames] >= 0]
    found = [np.empty((0, count), np.int64)]
    for group in groups:
        number = min(len(group), max(1, sets // len(groups)))
        found.append(group[rng.random((number, len(group))).argsort(1)[:, :count]])
    return np.concatenate(found)


def summaries(features: Features, poses: Tensor, sets: np.ndarray, summary: Summary) -> Tensor:
    """What `summary` makes of the views of each set (S, M), with poses (N * F, 4, 4) of all frames: (S, I) float32."""
    rows = flat(features, "all", "image")
    return torch.cat([summary(rows[some], poses[some].float()) for some in torch.from_numpy(sets).split(CHUNK)]).float()


def protocol(task) -> None:
    """For `suite`: ``aggregate/top1@<views>``, with ``/floor`` and ``/mean``: of the mean of the whole latent over the views."""
    both = (task.train, task.test)
    width = task.test.invariant_dim or task.test.image.shape[-1]
    if not (task.summary or task.test.invariant_dim):
        task.result.notes.append("aggregate: the latent has no split; all of it is asked")
    own = task.summary or (lambda latents, poses: latents[..., :width].mean(1))
    poses = [view_poses(task.steering, features) for features in both]
    classes = int(max(features.labels.max() for features in both)) + 1
    for count in COUNTS:
        sets = [draw(f, count, most, seed=task.seed + count) for f, most in zip(both, (TRAIN_SETS, TEST_SETS), strict=True)]
        if not all(len(some) for some in sets):
            task.result.notes.append(f"aggregate of {count} views skipped: no labelled object has so many")
            continue
        clips = [some[:, 0] // features.frames for some, features in zip(sets, both, strict=True)]
        labels, truth = (features.labels[of] for features, of in zip(both, clips, strict=True))
        objects, judged = (features.objects[of] for features, of in zip(both, clips, strict=True))
        hits = {}
        for name, summary in (("own", own), ("mean", lambda latents, poses: latents.mean(1))):
            x, y = (summaries(*given, summary) for given in zip(both, poses, sets, strict=True))
            logits = classification.linear_probe(x, torch.from_numpy(labels), objects, y, classes=classes, seed=task.seed)
            hits[name] = (logits.argmax(1).numpy() == truth).astype(np.float64)
        floor = (truth == np.bincount(labels).argmax()).mean()
        interval = bootstrap.mean_interval(hits["own"], judged, seed=task.seed)
        task.result.add(f"aggregate/top1@{count}", hits["own"].mean(), interval, floor=floor, mean=hits["mean"].mean())
