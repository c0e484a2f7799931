"""Is each factor in one part, and does each part hold one factor? DCI (Eastwood & Williams, ICLR 2018), for blocks.

Published for single dimensions; here for the two blocks of the latent, an own form: the importance of a block for a factor is
how much of a linear probe's held-out score (above its floor) is lost when the block's rows are permuted among the frames.
With importances r(b, f), clipped to [0, 1]: disentanglement of a block is 1 - entropy over factors, completeness of a factor
1 - entropy over blocks (both relative to the largest possible), informativeness the probe's score itself. Blocks and factors are
weighted by their importance.

Notable: a factor that is in both blocks can be read by the probe from either; how it shares its weights is then a matter of the
ridge. Completeness is low there, which is right, but 0.5 is not to be read as half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vsie.evaluation import bootstrap
from vsie.evaluation.audit import Audit, Column, Rows, linear_prediction, of_task
from vsie.feature_set import Features

LEAST = 0.02  # a factor whose score is not so much above its floor is in no block


@dataclass(frozen=True)
class Dci:
    """Disentanglement and completeness with intervals over objects; per factor its score, and importances (blocks, factors).

    `scores` and `floors` are by factor; a factor that the probe cannot tell is in `scores` but not in `factors`.
    """

    disentanglement: float
    completeness: float
    disentanglement_interval: tuple[float, float]
    completeness_interval: tuple[float, float]
    blocks: tuple[str, ...]
    factors: tuple[str, ...]
    importance: np.ndarray
    scores: dict[str, float]
    floors: dict[str, float]


def _concentration(importance: np.ndarray, axis: int) -> np.ndarray:
    """1 - relative entropy along an axis, (..., the other axis), weighted later; NaN where that axis has one entry."""
    total = importance.sum(axis, keepdims=True)
    share = importance / np.where(total > 0, total, 1)
    count = importance.shape[axis]
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis) / (np.log(count) if count > 1 else np.nan)
    return 1 - entropy


def scores(importance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disentanglement (NaN with one factor: there is nothing to keep apart) and completeness (...) of importances
    (..., blocks, factors)."""
    whole = importance.sum((-1, -2))
    whole = np.where(whole > 0, whole, np.nan)
    blocks, factors = importance.sum(-1), importance.sum(-2)
    disentanglement = (_concentration(importance, -1) * blocks).sum(-1) / whole
    return disentanglement, (_concentration(importance, -2) * factors).sum(-1) / whole


def block_dci(audit: Audit, train: Features, test: Features, *, source: str = "clip", seed: int = 0) -> Dci:
    """DCI of the two parts, for class, rotation, and translation, light and floor colour where these are known and vary.

    Args:
        audit: The frames, of these train and test clips.
        train: Features that probes are fitted on.
        test: Features of other objects.
        source: ``clip`` or ``image``.
        seed: Of the permutations and of the resamples.

    Raises:
        ValueError: The latent has one part only, no factor can be told from it, or every clip has a pose frame of its own.
    """
    if not audit.anchored:
        raise ValueError("every clip has a pose frame of its own, in which rotation is no factor of the object's views")
    blocks = tuple(part for part in ("inv", "equi") if part in train.parts())
    if len(blocks) < 2:
        raise ValueError(f"block DCI compares two parts; the latent has {', '.join(blocks) or 'none'}")
    rows = audit.rows(train, test, "all", source)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows.test)))
    edge = train.invariant_dim
    tests = [rows.test]
    for part in (slice(None, edge), slice(edge, None)):
        permuted = rows.test.clone()
        permuted[:, part] = rows.test[order][:, part]
        tests.append(permuted)

    wanted = {"rotation": audit.rotations, **audit.scenes}
    places = tuple(p[:, :3, 3] for p in audit.poses)
    if float(places[0].std(0).max()) > 1e-6:
        wanted["translation"] = places
    outcomes: dict[str, list[Column]] = {}
    for name, targets in wanted.items():
        alive = targets[0].std(0) > 1e-6
        if bool(alive.any()):
            chosen = targets[0][:, alive], targets[1][:, alive]
            outcomes[name] = [audit.regress(Rows(rows.train, one), chosen, "linear") for one in tests]
    if audit.labelled:
        keep, test_keep = audit.labels[0] >= 0, audit.labels[1] >= 0
        classes = torch.nn.functional.one_hot(audit.labels[0][keep]).double()
        predicted = [linear_prediction(Rows(rows.train[keep], one[test_keep]), classes) for one in tests]
        outcomes["class"] = [audit.class_scores(scores) for scores in predicted]

    told = {name: own for name, own in outcomes.items() if own[0].value - own[0].floor > LEAST}
    if not told:
        raise ValueError(f"none of the factors {', '.join(outcomes)} can be told from the latent; there is no DCI of it")

    def importance(totals: dict[str, list[np.ndarray]]) -> np.ndarray:
        found = []
        for name, own in told.items():
            full, *lost = (column.of(sums) for column, sums in zip(own, totals[name], strict=True))
            above = np.maximum(full - own[0].floor, LEAST)
            found.append(np.stack([np.clip((full - one) / above, 0, 1) for one in lost], -1))
        return np.stack(found, -1)

    table = importance({name: [column.sums.sum(0) for column in own] for name, own in told.items()})
    counts = bootstrap.draw(len(audit.names), seed=seed)
    resampled = scores(importance({name: [counts @ column.sums for column in own] for name, own in told.items()}))
    low_high = [
        tuple(np.nanpercentile(values, [2.5, 97.5]).tolist()) if np.isfinite(values).any() else (np.nan, np.nan)
        for values in resampled
    ]
    disentanglement, completeness = scores(table)
    return Dci(
        float(disentanglement), float(completeness), low_high[0], low_high[1], blocks, tuple(told), table,
        {name: own[0].value for name, own in outcomes.items()}, {name: own[0].floor for name, own in outcomes.items()},
    )  # fmt: skip


def protocol(task) -> None:
    """For `suite`: ``dci/{disentanglement,completeness}``, ``dci/informativeness/<factor>`` with its floor,
    ``dci/importance/<factor>/<block>``.
    """
    try:
        found = block_dci(of_task(task), task.train, task.test, seed=task.seed)
    except ValueError as error:
        task.result.notes.append(f"dci skipped: {error}")
        return
    task.result.add("dci/disentanglement", found.disentanglement, found.disentanglement_interval)
    task.result.add("dci/completeness", found.completeness, found.completeness_interval)
    for factor, score in found.scores.items():
        task.result.add(f"dci/informativeness/{factor}", score, floor=found.floors[factor])
    for factor, column in zip(found.factors, found.importance.T, strict=True):
        for block, value in zip(found.blocks, column, strict=True):
            task.result.add(f"dci/importance/{factor}/{block}", value)
