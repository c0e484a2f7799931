"""What leaks, and would an eraser do, where no frame sees another? The rows of `leakage` and `cleaned` from frames encoded alone.

Notable: where the frames of a clip are mixed, a latent of the equivariant part knows the class from all of them, and with it
`all` and what erasers make of it, while an invariant part that is each frame's own knows it from one. Side by side these are not
the same question; here every latent is of one frame. For an encoder of stills nothing is different and nothing is computed again.
"""

from __future__ import annotations

import re

import numpy as np

from vsie.evaluation import erasure, leakage
from vsie.evaluation.audit import of_task
from vsie.evaluation.cleaned import cleaned
from vsie.evaluation.moments import Unscorable

NAMED = r"(?:leakage|cleaned)/((?:class|pose)_[a-z]+|pair|floor_hue|spot_[a-z]+)/([^/]+)"


def protocol(task) -> None:
    """For `suite`: ``single/<column>/<row>`` with ``/floor`` beside it, columns and rows as in ``leakage`` and ``cleaned``."""
    result, audit = task.result, of_task(task)
    if {"leakage", "cleaned"} <= {key.split("/")[0] for key in result.samples} and all(
        np.array_equal(features.image, features.clip) for features in (task.train, task.test)
    ):
        for key, sample in list(result.samples.items()):
            if match := re.fullmatch(NAMED, key):
                interval = result.intervals[f"{key}/low"], result.intervals[f"{key}/high"]
                name = "single/{}/{}".format(*match.groups())
                result.add(name, result.metrics[key], interval, floor=result.metrics[f"{key}/floor"])
                result.samples[name] = sample
        return
    matrix = leakage.matrix(
        audit, task.train, task.test, raw=getattr(task, "raw", None), random_init=task.random_init, source="image",
        shuffled=False, seed=task.seed, rows_done=lambda row: task.bar.set_postfix_str(f"single frames, {row} done"),
    )  # fmt: skip
    found = dict(matrix.cells)
    result.notes += [f"single frames: {why}" for why in matrix.left_out.values()]
    task.bar.set_postfix_str("single frames, fitting erasers")
    try:
        erasers = erasure.fitted(task, "image")
    except Unscorable as error:  # no pose varies: there is nothing to clean
        result.notes.append(f"single frames: no erasers: {error}")
        erasers = {}
    rows = cleaned(
        audit, task.train, task.test, erasers, source="image", seed=task.seed,
        row_done=lambda name: task.bar.set_postfix_str(f"single frames, {name} done"),
    )  # fmt: skip
    found |= {name: columns for name, (columns, _) in rows.items()}
    for row, columns in found.items():
        for name, column in columns.items():
            result.add(f"single/{name}/{row}", column.value, column.interval(task.seed), floor=column.floor)
            result.samples[f"single/{name}/{row}"] = column.sample(audit.names)
