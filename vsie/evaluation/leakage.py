"""What does each part know that it should not? The leakage matrix: representations by probes, on held-out objects.

Rows: the invariant part, the equivariant part, both, and where given the raw backbone and the untrained encoder, and both with
the pose erased (LEACE on vec R and the l = 2 block): the learned invariant part has to beat that last row. Columns: see
`vsie.evaluation.audit`. From them, with "floor" for the score of who sees nothing:

    LeakPose  = (pose score of inv - floor) / (pose score of all - floor)
    LeakClass = (class score of equi - floor) / (class score of all - floor)
    utility   = (class score of a row - floor) / (class score of all - floor)

Notable: the rows have the same number of dimensions, that of the narrowest part, since a probe finds more in more dimensions.
Each is standardised and then reduced by the PCA of its own train frames: that keeps what varies, looks at no label, and does not
favour the part that happens to have larger numbers; `match="random"` takes a random projection in its place, which thins out
all directions alike, and `match="none"` leaves the widths. What goes with that reduction shows the row `whole`: both parts at
full width, by the cheap probes. Every cell has its floor, its label-shuffled control (linear, kNN and kernel probes; with few
classes one shuffle is a coarse control) and an interval over objects; ratios are resampled jointly.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np
import torch

from vsie.evaluation import bootstrap, erasure
from vsie.evaluation.audit import Audit, Column, Rows, of_task, standardised
from vsie.evaluation.moments import Moments, Unscorable, effective_rank, scorable_rank
from vsie.feature_set import Features, flat

MATCHES = ("pca", "random", "none")
CLASS_COLUMNS = ("class_linear", "class_knn")
POSE_COLUMNS = ("pose_linear", "pose_kernel", "pose_mlp", "pair")
LEAST = 0.02  # a reference that is not so much above its floor is none: ratios to it are NaN
CLEANED = "leace"
WHOLE = "whole"


def reduced(rows: Rows, width: int, match: str = "pca", *, seed: int = 0) -> Rows:
    """A representation with at most `width` dimensions, standardised; see the module's docstring.

    Raises:
        ValueError: An unknown way to match.
    """
    if match not in MATCHES:
        raise ValueError(f"match is {match!r}, expected one of {', '.join(MATCHES)}")
    rows = standardised(rows)
    dims = rows.train.shape[1]
    if match == "none" or dims <= width:
        return rows
    if match == "pca":
        basis = torch.linalg.eigh(Moments.of(rows.train).xx).eigenvectors[:, -width:]
    else:
        generator = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(dims, width, generator=generator, dtype=torch.float64)).Q
    return rows.map(lambda x: x @ basis.float())


@dataclass(frozen=True)
class Matrix:
    """The matrix.

    Attributes:
        cells: Row -> column -> outcome.
        shuffled: The same of the control.
        width: Dimensions of the rows; None where they were left as they are.
        ranks: Effective rank of each row, before it was reduced.
        seed: Of the resamples.
        left_out: Row -> why it is not there: it has collapsed.
    """

    cells: dict[str, dict[str, Column]]
    shuffled: dict[str, dict[str, Column]]
    width: int | None
    ranks: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def relative(self, row: str, column: str) -> tuple[float, tuple[float, float]]:
        """(score - floor) / (score of all - floor), and its interval; NaN where `all` is hardly above the floor."""
        own, whole = self.cells[row][column], self.cells["all"][column]
        if whole.value - whole.floor < LEAST:
            return float("nan"), (float("nan"), float("nan"))

        def ratio(sums: np.ndarray) -> np.ndarray:
            split = own.sums.shape[1]
            above = whole.of(sums[..., split:]) - whole.floor
            return (own.of(sums[..., :split]) - own.floor) / np.where(above > 0, above, np.nan)

        sums = np.concatenate([own.sums, whole.sums], 1)
        return float(ratio(sums.sum(0))), bootstrap.sums_interval(sums, ratio, seed=self.seed)

    def leaks(self) -> dict[str, tuple[float, tuple[float, float]]]:
        """``leak_pose/<probe>`` of inv, ``leak_class/<probe>`` of equi, ``utility/<row>``: values and intervals."""
        found = {}
        for prefix, row, columns in (("leak_pose", "inv", POSE_COLUMNS), ("leak_class", "equi", CLASS_COLUMNS)):
            for column in columns:
                if row in self.cells and column in self.cells[row]:
                    found[f"{prefix}/{column}"] = self.relative(row, column)
        for row, columns in self.cells.items():
            if "class_linear" in columns:
                found[f"utility/{row}"] = self.relative(row, "class_linear")
            for column in POSE_COLUMNS:  # the plane of leak against utility has a point for every row
                if column in columns:
                    found[f"pose_left/{column}/{row}"] = self.relative(row, column)
        return found

    def metrics(self, prefix: str = "leakage") -> tuple[dict[str, float], dict[str, float]]:
        """Flat: ``<prefix>/<column>/<row>`` with ``/floor`` and ``/shuffled`` beside it, and `leaks`; and the intervals."""
        values, intervals = {}, {}
        for row, columns in self.cells.items():
            values[f"{prefix}/rank/{row}"] = self.ranks.get(row, float("nan"))
            for name, column in columns.items():
                key = f"{prefix}/{name}/{row}"
                values[key], values[f"{key}/floor"] = column.value, column.floor
                intervals[f"{key}/low"], intervals[f"{key}/high"] = column.interval(self.seed)
                for beside, value in column.beside.items():
                    kind = intervals if beside.endswith(("/low", "/high")) else values
                    stem, _, rest = beside.partition("/")
                    kind[f"{prefix}/{name}_{stem}/{row}" + (f"/{rest}" if rest else "")] = value
                if name in self.shuffled.get(row, {}):
                    values[f"{key}/shuffled"] = self.shuffled[row][name].value
        for key, (value, interval) in self.leaks().items():
            values[f"{prefix}/{key}"] = value
            intervals[f"{prefix}/{key}/low"], intervals[f"{prefix}/{key}/high"] = interval
        if self.width is not None:
            values[f"{prefix}/width"] = float(self.width)
        return values, intervals


def cleaned(audit: Audit, train: Features, test: Features, *, source: str = "clip") -> Rows:
    """Both parts with vec R and the l = 2 block erased by LEACE, fitted on all train frames."""
    x = flat(train, "all", source)
    targets = erasure.independent(erasure.functions(train, ("rotation", "l2")))
    return audit.rows(train, test, "all", source).map(erasure.leace(Moments.of(x, targets)))


def matrix(
    audit: Audit, train: Features, test: Features, *, raw: tuple[Features, Features] | None = None,
    random_init: tuple[Features, Features] | None = None, match: str = "pca", source: str = "clip", pair: bool = True,
    mlp: bool = True, shuffled: bool = True, seed: int = 0, rows_done=None,
) -> Matrix:  # fmt: skip
    """Fill the matrix.

    Args:
        audit: The frames and the probes, of these train and test clips.
        train: Features that probes are fitted on.
        test: Features of other objects.
        raw: Train and test features of the same clips from a backbone without a split.
        random_init: The same from the encoder before training.
        match: How rows get the same width: ``pca``, ``random`` or ``none``.
        source: ``clip`` or ``image``, see `Features`.
        pair: Train pair probes too.
        mlp: Train MLPs on vec R too.
        shuffled: Fill the control too.
        seed: Of projections and resamples.
        rows_done: Called after each row, for a progress bar.

    Raises:
        Unscorable: All of the latent has collapsed. Another row that has is left out, and named.
    """
    rows = {part: audit.rows(train, test, part, source) for part in train.parts()}
    for name, pair_of_features in (("raw", raw), ("random_init", random_init)):
        if pair_of_features is not None:
            rows[name] = audit.rows(*pair_of_features, "all", source)
    ranks, left_out = {}, {}
    for name, values in list(rows.items()):
        moments = Moments.of(values.train)
        try:
            ranks[name] = scorable_rank(moments.xx, moments.mean_x, f"the row {name}")
        except Unscorable as error:
            if name == "all":
                raise
            left_out[name] = str(error)
            del rows[name]
    with contextlib.suppress(Unscorable):  # no pose varies: there is nothing to clean
        if audit.anchored:
            rows[CLEANED] = cleaned(audit, train, test, source=source)
            ranks[CLEANED] = effective_rank(Moments.of(rows[CLEANED].train).xx)
    width = None if match == "none" else min(rows[part].train.shape[1] for part in train.parts() if part in rows)
    cells, controls = {}, {}
    for name, values in rows.items():
        values = reduced(values, width or values.train.shape[1], match, seed=seed)
        cells[name] = audit.columns(values, pair=pair, mlp=mlp)
        controls[name] = audit.columns(values, shuffled=True) if shuffled else {}
        if rows_done is not None:
            rows_done(name)
    if width is not None and width < rows["all"].train.shape[1]:
        cells[WHOLE] = audit.columns(standardised(rows["all"]), pair=False, mlp=False)
        ranks[WHOLE] = ranks["all"]
    return Matrix(cells, controls, width, ranks, seed, left_out)


def protocol(task) -> None:
    """For `suite`: the keys of `Matrix.metrics`."""
    if task.raw is None:
        task.result.notes.append("leakage: no row of the raw backbone: there is none apart from the latent, or it is not known")
    found = matrix(
        of_task(task), task.train, task.test, raw=task.raw, random_init=task.random_init, seed=task.seed,
        rows_done=lambda row: task.bar.set_postfix_str(f"leakage, {row} done"),
    )  # fmt: skip
    task.result.notes += [f"leakage: {why}" for why in found.left_out.values()]
    values, intervals = found.metrics()
    task.result.metrics.update(values)
    task.result.intervals.update(intervals)
    names = of_task(task).names
    task.result.samples |= {
        f"leakage/{name}/{row}": column.sample(names) for row, columns in found.cells.items() for name, column in columns.items()
    }
