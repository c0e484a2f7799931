"""Would it do to remove the pose afterwards? All of the latent, cleaned by each eraser, on the terms of the leakage matrix.

Rows: all of the latent after LEACE (vec R; and a basis of functions), one-shot linear removal, INLP, RASA and orbit removal (see
`erasure`), each reduced to the width of the narrowest part and asked by all probes exactly as the rows of `leakage` are, on the
same frames: the learned invariant part and these are points of one plane, pose that is left against class that is kept.

Notable: `erasure` judges the erasers as such (full width, what they change, a random subspace of equal rank); here the question
is whether a learned part is better than they are, so nothing may differ but the rows.
"""

from __future__ import annotations

from vsie.evaluation import erasure, leakage
from vsie.evaluation.audit import Audit, Column, of_task
from vsie.evaluation.moments import Moments, Unscorable, effective_rank
from vsie.feature_set import Features

LEAST_RANK = 1.5  # effective: below it hardly anything is left that a class could be told from


def cleaned(
    audit: Audit, train: Features, test: Features, erasers: dict[str, erasure.Eraser], *, match: str = "pca",
    source: str = "clip", seed: int = 0, row_done=None,
) -> dict[str, tuple[dict[str, Column], float]]:  # fmt: skip
    """By eraser its columns, see `Audit.columns`, and the effective rank that it leaves.

    Args:
        audit: The frames and the probes, of these train and test clips.
        train: Features that probes are fitted on.
        test: Features of other objects.
        erasers: By name, for all of the latent; one that leaves nothing is passed over.
        match: How rows get the width of the narrowest part, see `leakage.reduced`.
        source: ``clip`` or ``image``, see `Features`.
        seed: Of random projections.
        row_done: Called with the name after each row, for a progress bar.
    """
    rows = audit.rows(train, test, "all", source)
    width = min(train.part(part).shape[-1] for part in train.parts())
    found = {}
    for name, eraser in erasers.items():
        clean = rows.map(eraser)
        rank = effective_rank(Moments.of(clean.train).xx) if eraser.rank < eraser.dim else 0.0
        if rank < LEAST_RANK:
            continue
        found[name] = audit.columns(leakage.reduced(clean, width, match, seed=seed)), rank
        if row_done is not None:
            row_done(name)
    return found


def protocol(task) -> None:
    """For `suite`: ``cleaned/<column>/<eraser>`` with ``/floor``, columns as in ``leakage``; ``cleaned/rank/<eraser>``."""
    audit, result = of_task(task), task.result
    task.bar.set_postfix_str("cleaned, fitting")
    try:
        erasers = result.erasers or erasure.fitted(task)
    except Unscorable as error:  # no pose varies: there is nothing to clean
        result.notes.append(f"cleaned skipped: {error}")
        return
    result.erasers.update(erasers)
    found = cleaned(
        audit, task.train, task.test, erasers, seed=task.seed,
        row_done=lambda name: task.bar.set_postfix_str(f"cleaned, {name} done"),
    )  # fmt: skip
    result.notes += [f"cleaned: {name} leaves nothing to judge" for name in erasers if name not in found]
    for name, (columns, rank) in found.items():
        result.add(f"cleaned/rank/{name}", rank)
        for column, outcome in columns.items():
            result.add(f"cleaned/{column}/{name}", outcome.value, outcome.interval(task.seed), floor=outcome.floor)
            result.samples[f"cleaned/{column}/{name}"] = outcome.sample(audit.names)
            if "median_deg" in outcome.beside:
                median, *ends, floor = (outcome.beside[f"median_deg{end}"] for end in ("", "/low", "/high", "/floor"))
                result.add(f"cleaned/{column}_median_deg/{name}", median, tuple(ends), floor=floor)
