"""Which class is it? A linear probe and k nearest neighbours, from train objects to held-out objects.

Notable: the linear probe is multinomial logistic regression by full-batch L-BFGS, so it has no learning rate, no epochs
and no seed; its one free number, the L2 penalty, is chosen on an inner split of the train *objects*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie.feature_set import CHUNK, Features, flat

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
NEIGHBOURS = 20
TEMPERATURE = 0.07
TRAIN_FRAMES = 16_000  # that the probes see, evenly spread over the objects: the budget is 2 cores
LEAST_FRAMES = 4  # of each object that the linear probe sees, however many objects there are; a neighbour may be one of each


@dataclass(frozen=True)
class Correct:
    """Per-item outcome of the four measures: 1 correct, 0 wrong, and the object of every item."""

    values: dict[str, np.ndarray]
    objects: dict[str, np.ndarray]


def fit_linear(
    features: Tensor, labels: Tensor, *, classes: int, penalty: float, start: Tensor | None = None, steps: int = 100
) -> Tensor:
    """Multinomial logistic regression: the weights (d + 1, classes), bias last, that minimise
    mean cross entropy + penalty / 2 * |weights without bias|^2.

    Args:
        features: (N, d), standardised.
        labels: (N,) int64.
        classes: Number of classes.
        penalty: L2.
        start: Weights to start from.
        steps: Limit on L-BFGS iterations.
    """
    weights = features.new_zeros(features.shape[1] + 1, classes) if start is None else start.clone()
    weights.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=steps, history_size=20, tolerance_grad=1e-5, tolerance_change=1e-8, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(features @ weights[:-1] + weights[-1], labels)
        loss = loss + 0.5 * penalty * weights[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weights.detach()


def _logits(features: Tensor, weights: Tensor) -> Tensor:
    return features @ weights[:-1] + weights[-1]


def linear_probe(train: Tensor, labels: Tensor, objects: np.ndarray, test: Tensor, *, classes: int, seed: int = 0) -> Tensor:
    """Logits (M, classes) on test features (M, d) of a probe on train features (N, d), the penalty chosen by objects.

    A fifth of the train objects judges the penalties, strongest first and each started from the last; the winner is
    refitted on all, from where it stood (the minimum is one, wherever the search for it begins).
    """
    labels = labels.to(train.device)
    mean, std = train.mean(0), train.std(0)
    std = torch.where(std > 1e-5 * mean.abs(), std, torch.ones_like(std))  # a constant dimension stays 0
    train = (train - mean) / std
    names = np.unique(objects)
    judges = np.random.default_rng(seed).permutation(names)[: max(1, len(names) // 5)]
    held = torch.from_numpy(np.isin(objects, judges)).to(train.device)
    best, penalty, start = -1.0, PENALTIES[1], None
    if len(names) >= 5:
        weights, fit = None, train[~held][::2]  # every second frame is enough to choose by
        for candidate in PENALTIES:
            weights = fit_linear(fit, labels[~held][::2], classes=classes, penalty=candidate, start=weights, steps=40)
            accuracy = float((_logits(train[held], weights).argmax(1) == labels[held]).float().mean())
            if accuracy > best:
                best, penalty, start = accuracy, candidate, weights
    weights = fit_linear(train, labels, classes=classes, penalty=penalty, start=start)
    return torch.cat([_logits((rows.to(mean) - mean) / std, weights).cpu() for rows in test.split(CHUNK)])


def nearest_neighbours(
    train: Tensor, labels: Tensor, test: Tensor, *, classes: int, neighbours: int = NEIGHBOURS, chunk: int = 2048,
    rows: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Votes (M, classes) of the nearest train features by cosine, each weighted exp(cosine / 0.07) (Wu et al. 2018).

    With `rows` of the test features alone, (M,). Both sets are centred on the train mean: a constant offset would press all
    cosines together.
    """
    mean = train.mean(0)
    bank = torch.nn.functional.normalize(train - mean, dim=1)
    rows = torch.arange(len(test)) if rows is None else rows
    labels = labels.to(train.device)
    votes = train.new_zeros(len(rows), classes)
    for start in range(0, len(rows), chunk):
        query = torch.nn.functional.normalize(test[rows[start : start + chunk]].to(mean) - mean, dim=1)
        near, index = (query @ bank.mT).topk(min(neighbours, len(bank)), dim=1)
        votes[start : start + chunk].scatter_add_(1, labels[index], torch.exp((near - 1) / TEMPERATURE))
    return votes.cpu()


def thin(features: Features, count: int, *, least: int = 1) -> np.ndarray:
    """Indices among all N * F frames of at most about `count`, the same number from every object, evenly spaced.

    Where that would be fewer than `least` of each, `least` of evenly chosen objects.
    """
    groups = features.views()
    each = max(least, count // len(groups))
    chosen = np.linspace(0, len(groups) - 1, max(1, min(len(groups), count // least))).round().astype(int)
    if each == 1:  # not the first frame of all of them
        return np.sort([groups[i][i % len(groups[i])] for i in chosen])
    groups = features.views(each)
    return np.sort(np.concatenate([groups[i] for i in chosen]))


def _hits(scores: Tensor, labels: Tensor, top: int) -> np.ndarray:
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(1).numpy().astype(np.float64)


def labelled(features: Features) -> np.ndarray:
    """Which clips (N,) have a class."""
    return features.labels >= 0


def _train_frames(train: Features, part: str, count: int, device: torch.device | str) -> tuple[Tensor, Tensor, np.ndarray]:
    """About `count` labelled single frames, as many of each object: features (n, d) on `device`, labels (n,), objects (n,)."""
    chosen = thin(train, count)
    chosen = chosen[labelled(train)[chosen // train.frames]]
    clips = chosen // train.frames
    return flat(train, part, "image")[chosen].to(device), torch.from_numpy(train.labels[clips]), train.objects[clips]


def classify(train: Features, test: Features, part: str, *, seed: int = 0, device: torch.device | str = "cpu") -> Correct:
    """Top-1, Top-5 and kNN on single frames (`image`), clip Top-1 on the mean over a clip's steps (`clip`).

    Clips without a label are left out. About `TRAIN_FRAMES` train frames are used, evenly over the objects, and at least
    `LEAST_FRAMES` of each. The probes are fitted on `device`.

    Raises:
        ValueError: When train or test has no labelled clip.
    """
    for name, features in (("train", train), ("test", test)):
        if not labelled(features).any():
            raise ValueError(f"no clip of the {name} features has a label; classification cannot be measured")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    number = len(np.unique(train.objects))
    x, y, objects = _train_frames(train, part, max(TRAIN_FRAMES, LEAST_FRAMES * number), device)
    keep = np.repeat(labelled(test), test.frames)
    test_x = flat(test, part, "image")
    test_x = test_x if keep.all() else test_x[keep]
    test_y = torch.from_numpy(np.repeat(test.labels, test.frames)[keep])
    test_objects = np.repeat(test.objects, test.frames)[keep]

    logits = linear_probe(x, y, objects, test_x, classes=classes, seed=seed)
    some = np.sort(np.concatenate(test.views(32)))
    some = some[keep[some]]
    bank, bank_y, _ = _train_frames(train, part, max(TRAIN_FRAMES, number), device)
    votes = nearest_neighbours(bank, bank_y, flat(test, part, "image"), classes=classes, rows=torch.from_numpy(some))
    some_y = torch.from_numpy(test.labels[some // test.frames])

    rows, test_rows = labelled(train), labelled(test)
    clip_x, clip_test = _clip_means(train, part)[rows].to(device), _clip_means(test, part)[test_rows]
    clip_y, clip_test_y = torch.from_numpy(train.labels[rows]), torch.from_numpy(test.labels[test_rows])
    clip_logits = linear_probe(clip_x, clip_y, train.objects[rows], clip_test, classes=classes, seed=seed)
    return Correct(
        values={
            "top1": _hits(logits, test_y, 1), "top5": _hits(logits, test_y, 5),
            "knn": _hits(votes, some_y, 1), "clip_top1": _hits(clip_logits, clip_test_y, 1),
        },
        objects={
            "top1": test_objects, "top5": test_objects,
            "knn": test.objects[some // test.frames], "clip_top1": test.objects[test_rows],
        },
    )  # fmt: skip


def _clip_means(features: Features, part: str) -> Tensor:
    """The mean over each clip's steps (N, d), read in pieces."""
    values, step = features.part(part, "clip"), max(1, CHUNK // features.frames)
    return torch.from_numpy(np.concatenate([values[i : i + step].mean(1) for i in range(0, len(values), step)]))


def floors(train: Features, test: Features) -> dict[str, float]:
    """Accuracy of who looks at nothing and always names the commonest train class (the five commonest for Top-5)."""
    counts = np.bincount(train.labels[labelled(train)])
    order = np.argsort(-counts, kind="stable")
    truth = test.labels[labelled(test)]
    top1, top5 = float((truth == order[0]).mean()), float(np.isin(truth, order[:5]).mean())
    return {"top1": top1, "top5": top5, "knn": top1, "clip_top1": top1}
