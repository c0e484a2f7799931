"""Measures as a table: for a terminal, for a README, and several runs beside each other.

Notable: each row has its floor in it. A number alone (an R2 of 0.9 on small video steps, say) can be below its floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

DIRECT = "direct supervision: poses or labels were targets of this method; compare it with its like only"
PARTS = ("inv", "equi", "all")
BESIDE = ("floor", "identity", "random_init")
COLUMNS = ("measure", "inv", "equi", "all", "floor", "random init")
LOWER_IS_BETTER = ("_deg", "steering/pre", "pre/pre")
COMPAT = "compat_sie/"
ESTIMATED = "estimated/"  # of keys that were judged against estimated motion
AGAINST = "against estimated motion"

NAMES = {
    "classification/top1": "Top-1, single frame", "classification/top5": "Top-5, single frame",
    "classification/knn": "kNN (k = 20), single frame", "classification/clip_top1": "Top-1, clip",
    "pose/geodesic_median_deg": "rotation of a pair, median deg", "pose/geodesic_mean_deg": "rotation of a pair, mean deg",
    "pose/acc@15": "rotation within 15 deg", "pose/acc@30": "rotation within 30 deg",
    "pose/r2": "R2 per dimension", "pose/r2_sie": "R2 as SIE prints it",
    "steering/mrr": "MRR among the object's views", "steering/hit@1": "H@1", "steering/hit@5": "H@5", "steering/pre": "PRE",
    "rpe_deg@1": "RPE over 1 frame, deg", "rpe_deg@2": "RPE over 2 frames, deg", "rpe_deg@4": "RPE over 4 frames, deg",
    "rpe_deg@8": "RPE over 8 frames, deg", "drift_deg": "drift at the last frame, deg",
    "closed_loop_deg": "closed loop, deg", "pair_median_deg": "all pairs of a clip, median deg",
    "rotation/geodesic_median_deg": "rotation of a pair of stills, median deg",
    "rotation/geodesic_mean_deg": "rotation of a pair of stills, mean deg",
    "rotation/acc@15": "stills: rotation within 15 deg", "rotation/acc@30": "stills: rotation within 30 deg",
    "rotation/r2": "stills: R2 per dimension, matrix", "rotation/r2_quaternion": "stills: R2 per dimension, quaternion",
    "colour/r2": "change of both hues, R2", "colour/floor_hue_r2": "change of the floor's hue, R2",
    "colour/spot_hue_r2": "change of the light's hue, R2",
    "colour/floor_hue_median_deg": "change of the floor's hue, median deg",
    "colour/spot_hue_median_deg": "change of the light's hue, median deg",
    "mrr/mrr": "MRR among all other views", "mrr/hit@1": "H@1", "mrr/hit@5": "H@5", "mrr/hit@10": "H@10",
    "pre/pre": "PRE among all frames",
    "compat_sie/classification/top1": "Top-1", "compat_sie/classification/top5": "Top-5",
    "compat_sie/rotation/r2": "rotation, R2", "compat_sie/colour/r2": "colour, R2",
    "compat_sie/mrr/mrr": "MRR", "compat_sie/mrr/hit@1": "H@1", "compat_sie/mrr/hit@5": "H@5",
    "compat_sie/mrr/hit@10": "H@10", "compat_sie/pre/pre": "PRE",
    "collapse/rankme": "effective rank (RankMe)", "collapse/std": "standard deviation",
    "collapse/within_object_share": "share of variance within objects",
}  # fmt: skip
ROWS = (
    "classification/top1", "classification/top5", "classification/knn", "classification/clip_top1",
    "pose/geodesic_median_deg", "pose/geodesic_mean_deg", "pose/acc@15", "pose/acc@30", "pose/r2", "pose/r2_sie",
    "rotation/geodesic_median_deg", "rotation/geodesic_mean_deg", "rotation/acc@15", "rotation/acc@30", "rotation/r2",
    "rotation/r2_quaternion", "colour/r2", "colour/floor_hue_r2", "colour/spot_hue_r2", "colour/floor_hue_median_deg",
    "colour/spot_hue_median_deg", "compat_sie/classification/top1", "compat_sie/classification/top5",
    "compat_sie/rotation/r2", "compat_sie/colour/r2",
    "collapse/rankme", "collapse/std", "collapse/within_object_share",
)  # fmt: skip
STEERING = ("steering/mrr", "steering/hit@1", "steering/hit@5", "steering/pre")
RETRIEVAL = ("mrr/mrr", "mrr/hit@1", "mrr/hit@5", "mrr/hit@10", "pre/pre")
TRACKING = ("rpe_deg@1", "rpe_deg@2", "rpe_deg@4", "rpe_deg@8", "drift_deg", "closed_loop_deg", "pair_median_deg")


def lower_is_better(key: str) -> bool:
    """Whether a smaller value of a measure is the better one."""
    return any(mark in key for mark in LOWER_IS_BETTER)


def direction(key: str) -> str:
    """What is to be said behind a measure's name: of an invariant part that nothing tells of the pose the error is large."""
    if key.removeprefix(ESTIMATED) == "pose/geodesic_median_deg/inv":
        return " (higher: less of it leaks)"
    return " (lower is better)" if lower_is_better(key) else ""


def number(key: str, value: float | None) -> str:
    """A value as text: degrees and ranks with one decimal, shares and R2 with three, a missing one as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if "_deg" in key or "rankme" in key:
        return f"{value:.1f}"
    return f"{value:.3f}"


def name(key: str) -> str:
    """The words for a measure's key; for an unknown one the key itself."""
    return NAMES.get(key) or NAMES.get(key.split("/", 2)[-1]) or key


def _block(key: str) -> str:
    """The block of the table that a measure stands in."""
    if key.startswith(COMPAT):
        return "compat_sie"
    family = key.split("/")[0]
    return "retrieval" if family in ("mrr", "pre") else family


def _beside(metrics: Mapping[str, float], keys: Sequence[str], what: str) -> float | None:
    """The floor (or another neighbour) of the first of `keys` that has one."""
    return next((metrics[f"{key}/{what}"] for key in keys if f"{key}/{what}" in metrics), None)


def stripped(metrics: Mapping[str, float]) -> dict[str, float]:
    """What was judged against estimated motion, under the keys that it would have had against true poses."""
    return {key.removeprefix(ESTIMATED): value for key, value in metrics.items() if key.startswith(ESTIMATED)}


def rows(metrics: Mapping[str, float]) -> list[tuple[str, list[list[str]]]]:
    """Blocks of rows: (title, rows of one text per column of `COLUMNS`). What was not measured is left out.

    What was judged against estimated motion stands in blocks of its own, and their titles say so.
    """
    told = stripped(metrics)
    apart = [(f"{title}, {AGAINST}", block) for title, block in rows(told)] if told else []
    blocks: dict[str, list[list[str]]] = {}
    for key in ROWS:
        keys = [f"{key}/{part}" for part in ("all", "equi", "inv")]
        if not any(k in metrics for k in keys):
            continue
        cells = [number(key, metrics.get(f"{key}/{part}")) for part in PARTS]
        cells += [number(key, _beside(metrics, keys, what)) for what in ("floor", "random_init")]
        blocks.setdefault(_block(key), []).append([name(key), *cells])
    for key in (*STEERING, *RETRIEVAL, *(f"{COMPAT}{key}" for key in RETRIEVAL)):
        if key in metrics:
            blocks.setdefault(_block(key), []).append(
                [name(key), "-", number(key, metrics[key]), "-", number(key, metrics.get(f"{key}/floor")), "-"]
            )
    inverted = "pose/geodesic_median_deg/inversion"
    if inverted in metrics and "pose" in blocks:
        cells = ["-", number(inverted, metrics[inverted]), "-", number(inverted, metrics.get(f"{inverted}/floor")), "-"]
        blocks["pose"].insert(1, ["  the same, predictor inverted", *cells])
    for tracker in ("probe", "inversion"):
        for measure in TRACKING:
            key = f"tracking/{tracker}/{measure}"
            if key in metrics:
                beside = [number(key, metrics.get(f"{key}/{what}")) for what in ("floor", "random_init")]
                title = f"tracking, {'pair probe' if tracker == 'probe' else 'predictor inverted'}"
                blocks.setdefault(title, []).append([name(measure), "-", number(key, metrics[key]), "-", *beside])
    order = ["classification", "pose", "steering", "tracking, pair probe", "tracking, predictor inverted", "rotation", "colour",
             "retrieval", "compat_sie", "collapse"]  # fmt: skip
    titles = {"collapse": "collapse alarms", "pose": "pose from a pair of frames", "rotation": "pose from a pair of stills",
              "retrieval": "steering of stills", "compat_sie": "as SIE released it (floors differ)"}  # fmt: skip
    return [(titles.get(title, title), blocks[title]) for title in order if title in blocks] + apart


def _aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    return [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in [header, *lines]
    ]


def terminal(metrics: Mapping[str, float]) -> str:
    """A plain table: rows are measures, columns the parts, the floor (chance or best constant) and the random encoder."""
    blocks = rows(metrics)
    if not blocks:
        return "(nothing was measured)"
    everything = [row for _, block in blocks for row in block]
    header, *lines = _aligned(COLUMNS, everything)
    result, start = [header, "-" * len(header)], 0
    for title, block in blocks:
        result += ["", title, *lines[start : start + len(block)]] if start else [title, *lines[start : start + len(block)]]
        start += len(block)
    return "\n".join(result)


def markdown(metrics: Mapping[str, float]) -> str:
    """The same table in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for title, block in rows(metrics):
        lines.append(f"| **{title}** |" + " |" * (len(COLUMNS) - 1))
        lines += ["| " + " | ".join(cell.strip() for cell in row) + " |" for row in block]
    return "\n".join(lines)


COMPARED = (
    "classification/top1/all", "classification/top1/inv", "classification/clip_top1/all",
    "pose/geodesic_median_deg/equi", "pose/geodesic_median_deg/all", "pose/geodesic_median_deg/inv",
    "pose/geodesic_median_deg/inversion", "pose/r2/equi", "steering/mrr", "steering/hit@1", "steering/hit@5",
    "tracking/probe/rpe_deg@1", "tracking/probe/drift_deg", "tracking/inversion/rpe_deg@1", "tracking/inversion/drift_deg",
    "rotation/geodesic_median_deg/equi", "rotation/r2_quaternion/equi", "colour/r2/equi", *RETRIEVAL,
    "compat_sie/classification/top1/all", "compat_sie/rotation/r2/equi", "compat_sie/rotation/r2/all",
    "compat_sie/colour/r2/all", *(f"{COMPAT}{key}" for key in RETRIEVAL),
    *(f"{ESTIMATED}{key}" for key in (
        "pose/geodesic_median_deg/equi", "pose/geodesic_median_deg/all", "pose/geodesic_median_deg/inv",
        "pose/geodesic_median_deg/inversion", "steering/mrr",
        "steering/hit@1", "tracking/probe/rpe_deg@1", "tracking/probe/drift_deg", "tracking/inversion/rpe_deg@1",
        "tracking/inversion/drift_deg",
    )),
)  # fmt: skip


def spread(key: str, values: Sequence[float]) -> str:
    """Median of several seeds, and the range where there is more than one: ``15.8 (15.1-16.2)``."""
    kept = [value for value in values if not math.isnan(value)]
    if not kept:
        return "-"
    middle = number(key, float(np.median(kept)))
    return middle if len(kept) == 1 else f"{middle} ({number(key, min(kept))}-{number(key, max(kept))})"


def _long_name(key: str) -> str:
    """Words for a full key, the part or the tracker included."""
    if key.startswith(ESTIMATED):
        return f"{_long_name(key.removeprefix(ESTIMATED))}, {AGAINST}"
    if key.startswith(COMPAT):
        words = name(key) if key in NAMES else f"{name(key.rpartition('/')[0])}, {key.rpartition('/')[2]}"
        return f"SIE's release: {words}"
    if key in NAMES:
        return name(key)
    family, *rest = key.split("/")
    if family == "tracking":
        return f"{name(rest[-1])}, {rest[0]}"
    if family == "steering":
        return name(key)
    return f"{name('/'.join([family, rest[0]]))}, {rest[1]}"


def compare(runs: Mapping[str, Sequence[Mapping[str, float]]], keys: Sequence[str] = COMPARED, *, form: str = "markdown") -> str:
    """Several methods beside each other: median and range over seeds, the floor in the last column.

    Args:
        runs: For each method (a column) the metrics of its seeds.
        keys: The measures (the rows); those that no run has are left out.
        form: ``markdown`` or ``terminal``.

    Raises:
        ValueError: When there is no run, or the form is unknown.
    """
    if not runs or not all(runs.values()):
        raise ValueError("a comparison needs at least one run for each method")
    if form not in ("markdown", "terminal"):
        raise ValueError(f"form is {form!r}, expected markdown or terminal")
    header = ["measure", *runs, "floor"]
    lines = []
    for key in keys:
        found = {title: [run[key] for run in seeds if key in run] for title, seeds in runs.items()}
        if not any(found.values()):
            continue
        floor = [run[f"{key}/floor"] for seeds in runs.values() for run in seeds if f"{key}/floor" in run]
        label = _long_name(key) + direction(key)
        cells = [spread(key, values) for values in found.values()]
        floors = list(dict.fromkeys(number(key, value) for value in (min(floor), max(floor)))) if floor else ["-"]
        lines.append([label, *cells, " to ".join(floors)])  # of one number where all were judged on the same clips
    if form == "terminal":
        head, *body = _aligned(header, lines)
        return "\n".join([head, "-" * len(head), *body])
    top = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(top + ["| " + " | ".join(line) + " |" for line in lines])
