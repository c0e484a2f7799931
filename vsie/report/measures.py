"""What each part knows, as tables: SEIS and the ladder, leakage, erasers, DCI, Lie derivatives, from the flat metrics.

Notable: a score is never printed without its null (or floor) beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

PARTS = ("inv", "equi", "all")
COLUMNS = {
    "class_linear": "class, linear", "class_knn": "class, kNN", "pose_linear": "pose R2, linear",
    "pose_kernel": "pose R2, kernel", "pose_mlp": "pose R2, MLP", "pair": "pair R2", "pair_median_deg": "pair, deg",
    "floor_hue": "floor hue R2",
    "spot_hue": "spot hue R2", "spot_direction": "spot direction R2",
}  # fmt: skip
ROWS = {
    "inv": "inv", "equi": "equi", "all": "all, same width", "whole": "all, full width", "raw": "raw backbone",
    "random_init": "random init", "leace": "all, LEACE-cleaned",
}  # fmt: skip
Table = tuple[str, list[str], list[list[str]]]


def number(value: float | None, decimals: int = 3) -> str:
    """A value as text; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _named(metrics: Mapping[str, float], prefix: str, place: int) -> list[str]:
    """The different names at a place of the keys under a prefix, in their order."""
    found = [key.split("/")[place] for key in metrics if key.startswith(prefix) and key.count("/") >= place]
    return list(dict.fromkeys(found))


def scores(metrics: Mapping[str, float]) -> Table | None:
    """SEIS and the ladder: a row per motion and score, a column per part, the null beside it."""
    kinds = (
        ("seis/equiv", "S_equiv"), ("seis/inv", "S_inv"), ("ladder/identity", "identity"), ("ladder/isometry", "isometry"),
        ("ladder/linear", "linear map"),
    )  # fmt: skip
    motions = {key.split("@")[1].split("/")[0] for key in metrics if key.startswith(("seis/equiv@", "ladder/identity@"))}
    keys = [(f"{kind}@{m}", f"{name}, {m} deg") for m in sorted(motions, key=float) for kind, name in kinds]
    keys += [("ladder/conditional", "linear map told the motion"), ("ladder/orbit_share", "orbit share of the variance")]
    lines = []
    for key, name in keys:
        if any(f"{key}/{part}" in metrics for part in PARTS):
            line = [name]
            for part in PARTS:
                null = metrics.get(f"{key}/{part}/null", metrics.get(f"{key}/{part}/shuffled"))
                line += [number(metrics.get(f"{key}/{part}")), number(null)]
            lines.append(line)
    header = ["held out, by motion", *(cell for part in PARTS for cell in (part, "null"))]
    return ("SEIS and the ladder", header, lines) if lines else None


def predictor(metrics: Mapping[str, float]) -> Table | None:
    """Defects of the predictor as a group action, and its out-of-plane Lie derivative."""
    names = (
        ("ladder/group_law", "group law", "/null"), ("ladder/inverse", "inverse", None), ("ladder/neutral", "no motion", None),
        ("ladder/motion", "how far it moves", None), ("lie/ratio", "Lie derivative over that of the unmoved latent", "/floor"),
    )  # fmt: skip
    lines = [
        [name, number(metrics[key]), number(metrics.get(f"{key}{null}")) if null else "-"]
        for key, name, null in names
        if key in metrics
    ]
    return ("the predictor as a group action", ["relative defect", "value", "null"], lines) if lines else None


def leakage(metrics: Mapping[str, float]) -> Table | None:
    """The leakage matrix, with floor and label-shuffled control in the last rows."""
    columns = [name for name in COLUMNS if f"leakage/{name}/all" in metrics]
    if not columns:
        return None
    lines = []
    for row, name in ROWS.items():
        if f"leakage/{columns[0]}/{row}" in metrics:
            lines.append([name, *(number(metrics.get(f"leakage/{c}/{row}"), 1 if "deg" in c else 3) for c in columns)])
    for beside in ("floor", "shuffled"):
        lines.append([beside, *(number(metrics.get(f"leakage/{c}/all/{beside}"), 1 if "deg" in c else 3) for c in columns)])
    return "what leaks (held-out objects)", ["row", *(COLUMNS[c] for c in columns)], lines


def ratios(metrics: Mapping[str, float]) -> Table | None:
    """LeakPose, LeakClass and utility, with their intervals where `metrics` holds these."""
    lines = []
    for prefix, name in (("leakage/leak_pose/", "LeakPose of inv"), ("leakage/leak_class/", "LeakClass of equi"),
                         ("leakage/utility/", "utility")):  # fmt: skip
        for key in (k for k in metrics if k.startswith(prefix) and not k.endswith(("/low", "/high"))):
            what = key.removeprefix(prefix)
            shown = COLUMNS.get(what, ROWS.get(what, what))
            low, high = (number(metrics.get(f"{key}/{end}")) for end in ("low", "high"))
            lines.append([f"{name}: {shown}", number(metrics[key]), low, high])
    return ("leakage and utility, as shares of what all knows", ["", "share", "low", "high"], lines) if lines else None


def erasure(metrics: Mapping[str, float]) -> Table | None:
    """Class and pose before and after each eraser, what it changed, and the random subspace of equal rank."""
    erasers = _named(metrics, "erasure/change/", 2)
    columns = [c for c in COLUMNS if any(f"erasure/{c}/{e}" in metrics for e in erasers)]
    if not erasers or not columns:
        return None
    lines = []
    for eraser in erasers:
        cells = [number(metrics.get(f"erasure/{c}/{eraser}"), 1 if "deg" in c else 3) for c in columns]
        facts = [number(metrics[f"erasure/change/{eraser}"]), number(metrics[f"erasure/kept/{eraser}"], 0)]
        lines.append([eraser, *cells, *facts])
        if any(f"erasure/{c}/{eraser}/random" in metrics for c in columns):
            lines.append(
                ["  random, same rank", *(number(metrics.get(f"erasure/{c}/{eraser}/random")) for c in columns), "-", "-"]
            )
    return "the pose erased afterwards", ["eraser", *(COLUMNS[c] for c in columns), "change", "dims kept"], lines


def cleaned(metrics: Mapping[str, float]) -> Table | None:
    """All of the latent after each eraser, at the width of the leakage matrix's rows."""
    erasers = _named(metrics, "cleaned/rank/", 2)
    columns = [c for c in COLUMNS if any(f"cleaned/{c}/{e}" in metrics for e in erasers)]
    if not columns:
        return None
    lines = [[e, *(number(metrics.get(f"cleaned/{c}/{e}"), 1 if "deg" in c else 3) for c in columns)] for e in erasers]
    lines.append(["floor", *(number(metrics.get(f"cleaned/{c}/{erasers[0]}/floor"), 1 if "deg" in c else 3) for c in columns)])
    return "all, the pose erased afterwards, at the width of what leaks", ["eraser", *(COLUMNS[c] for c in columns)], lines


def dci(metrics: Mapping[str, float]) -> Table | None:
    """Block DCI: importance of each part for each factor, and the factor's score."""
    factors = _named(metrics, "dci/informativeness/", 2)
    if not factors:
        return None
    lines = [
        [factor, *(number(metrics.get(f"dci/importance/{factor}/{block}")) for block in ("inv", "equi")),
         number(metrics[f"dci/informativeness/{factor}"]), number(metrics.get(f"dci/informativeness/{factor}/floor"))]
        for factor in factors
    ]  # fmt: skip
    if "dci/disentanglement" in metrics:
        lines.append(
            [
                "disentanglement / completeness",
                number(metrics["dci/disentanglement"]),
                number(metrics["dci/completeness"]),
                "-",
                "-",
            ]
        )
    return "block DCI", ["factor", "importance of inv", "of equi", "score", "floor"], lines


def pictures(metrics: Mapping[str, float]) -> Table | None:
    """Lie derivatives of the parts over their variance: in the plane, and out of it at small rendered turns."""
    motions = _named({k: v for k, v in metrics.items() if k.endswith("/relative")}, "lie/plane/", 2)
    keys = [(f"lie/plane/{motion}/{{}}/relative", motion.replace("_", " ")) for motion in motions]
    keys.append(("lie/rendered/relative/{}", "out of the plane, rendered"))
    lines = [[name, *(number(metrics.get(key.format(part))) for part in PARTS)] for key, name in keys]
    lines = [line for line in lines if set(line[1:]) != {"-"}]
    return ("Lie derivative over the variance (0: invariant)", ["motion", *PARTS], lines) if lines else None


def maps(metrics: Mapping[str, float]) -> Table | None:
    """Feature maps of moved images against moved feature maps: 1 where they agree, 0 where no more than of different images."""
    named = [key.split("@")[1] for key in metrics if key.startswith("correlation/equivariance@") and key.count("/") == 2]
    lines = []
    for key in named:
        motion, block = key.split("/")
        cells = [number(metrics.get(f"correlation/{what}@{key}")) for what in ("equivariance", "invariance")]
        lines.append([f"{block}, {motion.replace('_', ' ')}", *cells, number(metrics.get(f"lie/block/{key}/relative"))])
    header = ["block, motion", "equivariance", "invariance", "Lie derivative"]
    return ("do feature maps move with the image?", header, lines) if lines else None


def position(metrics: Mapping[str, float]) -> Table | None:
    """The position of a patch erased from its token, and what the image's mean token still tells."""
    columns = {"position_linear": "position R2, linear", "position_kernel": "position R2, kernel",
               "class_linear": "class, linear", "pose_linear": "pose R2, linear"}  # fmt: skip
    erasers = _named(metrics, "position/position_linear/", 2)
    columns = {key: name for key, name in columns.items() if any(f"position/{key}/{eraser}" in metrics for eraser in erasers)}
    lines = []
    for eraser in erasers:
        facts = [number(metrics.get(f"position/change/{eraser}")), number(metrics.get(f"position/kept/{eraser}"), 0)]
        lines.append([eraser, *(number(metrics.get(f"position/{column}/{eraser}")) for column in columns), *facts])
        if f"position/position_linear/{eraser}/random" in metrics:
            cells = [number(metrics.get(f"position/{column}/{eraser}/random")) for column in columns]
            lines.append(["  random, same rank", *cells, "-", "-"])
    header = ["eraser", *columns.values(), "change", "dims kept"]
    return ("the position of a patch erased from its token", header, lines) if lines else None


def aggregate(metrics: Mapping[str, float]) -> Table | None:
    """Top-1 of what the method makes of several views of an object."""
    keys = [f"aggregate/top1@{views}" for views in (1, 3, 5)]
    lines = [
        [key.split("@")[1], number(metrics[key]), number(metrics[f"{key}/mean"]), number(metrics[f"{key}/floor"])]
        for key in keys if key in metrics
    ]  # fmt: skip
    return ("class from several views, Top-1", ["views", "the method's own", "mean latent", "floor"], lines) if lines else None


def tables(metrics: Mapping[str, float]) -> list[Table]:
    """All tables (title, header, lines) that the metrics have something for."""
    makers = (scores, predictor, leakage, ratios, cleaned, erasure, dci, aggregate, pictures, maps, position)
    found = (make(metrics) for make in makers)
    return [table for table in found if table is not None]


def _aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    return [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in (header, *lines)
    ]


def terminal(metrics: Mapping[str, float]) -> str:
    """Plain text; empty where nothing of it was measured."""
    blocks = []
    for title, header, lines in tables(metrics):
        first, *rest = _aligned(header, lines)
        blocks.append("\n".join([title, first, "-" * len(first), *rest]))
    return "\n\n".join(blocks)


def markdown(metrics: Mapping[str, float]) -> str:
    """The same in Markdown."""
    blocks = []
    for title, header, lines in tables(metrics):
        rule = "|---|" + "---:|" * (len(header) - 1)
        rows = ["| " + " | ".join(line) + " |" for line in (header, *lines)]
        blocks.append("\n".join([f"**{title}**", "", rows[0], rule, *rows[1:]]))
    return "\n\n".join(blocks)
