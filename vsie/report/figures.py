"""Pictures of what was measured: training curves, steering strip, trajectories, principal components.

Notable: nothing is drawn on a screen (matplotlib's Agg through `Figure`, so no global state); colours are Okabe and Ito's,
which everybody can tell apart, and angles are coloured on a cyclic map.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vsie.files import atomic_path
from vsie.report.tables import AGAINST, ESTIMATED

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C", "#7A4B94", "#B8A800",
           "#882255", "#6F4E2A")  # fmt: skip
PARTS = {"inv": COLOURS[0], "equi": COLOURS[1], "all": COLOURS[2]}
INK, QUIET = "#222222", "#888888"
MARKERS = "osD^vPX<>*ph"


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, out: Path | str) -> Path:
    out = Path(out)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=150)
    return out


def _plain(axes, *, grid: bool = True) -> None:
    """Only the axes that carry numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=8)
    if grid:
        axes.grid(True, color="#E6E6E6", linewidth=0.6)
        axes.set_axisbelow(True)


def read_curves(file: Path | str) -> dict[str, np.ndarray]:
    """Columns of a CSV that has a ``step`` column; empty cells are NaN.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it has no rows, no ``step``, or a cell that is no number: the row and the column are named.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"no training log at {file}")
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        names, rows = reader.fieldnames or [], list(reader)
    if "step" not in names or not rows:
        raise ValueError(f"{file} should have a column `step` and at least one row, found {len(rows)} rows of {names}")
    columns: dict[str, list[float]] = {name: [] for name in names}
    for index, row in enumerate(rows, 2):
        for name in names:
            try:
                columns[name].append(float(row[name]) if row[name] not in ("", None) else math.nan)
            except ValueError:
                raise ValueError(f"{file}, row {index}, column {name}: found {row[name]!r}, expected a number") from None
    return {name: np.array(values) for name, values in columns.items()}


def mark(number: int) -> tuple[str, str]:
    """Colour and marker of the `number`-th of several things; of the first 144 no two share both."""
    return COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def _smooth(values: np.ndarray) -> np.ndarray:
    """A centred running mean over a fortieth of the curve; short curves stay as they are."""
    half = len(values) // 80
    if half < 1:
        return values
    kept = np.nan_to_num(values)
    weight = np.convolve(np.isfinite(values), np.ones(2 * half + 1), "same")
    return np.convolve(kept, np.ones(2 * half + 1), "same") / np.maximum(weight, 1)


TITLES = {
    "online/top1": "online probe: Top-1", "online/pose_deg": "online probe: pose error, deg",
    "online/told_pose_deg": "online probe: error against told motion, deg",
    "collapse/rankme": "effective rank", "collapse/std": "standard deviation",
    "collapse/within_object_share": "share of variance within objects",
}  # fmt: skip
PANELS_OFF = ("learning_rate", "lr", "ready", "seconds", "images", "images_per_second", "time_left", "epoch", "step")


def training_curves(file: Path | str, out: Path | str) -> Path:
    """Loss terms, online probes and collapse alarms over the steps, from a CSV ``step,...``.

    Columns ``<group>/<measure>/<part>`` share a panel per measure, coloured by part, and the floor is dashed; the loss and its
    terms share one on a logarithmic scale where none of them is negative. Speeds and learning rates are left out.
    """
    columns = read_curves(file)
    step = columns.pop("step")
    panels: dict[str, dict[str, np.ndarray]] = {}
    for name, values in columns.items():
        stem, _, last = name.rpartition("/")
        if name.split("/")[-1] in PANELS_OFF or not np.isfinite(values).any():
            continue
        panels.setdefault(stem if last in (*PARTS, "floor") else "loss and terms", {})[last] = values
    if not panels:
        raise ValueError(f"{file} has no column to draw; found {', '.join(columns)}")
    wide = min(3, len(panels))
    tall = math.ceil(len(panels) / wide)
    figure = _figure(4.0 * wide, 2.9 * tall)
    for index, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(tall, wide, index + 1)
        for number, (label, values) in enumerate(curves.items()):
            colour = PARTS.get(label, INK if label == "loss" else COLOURS[number % len(COLOURS)])
            line = 2.0 if label == "loss" else 1.5
            dash = "-" if number < len(COLOURS) and label != "floor" else "--"
            colour = QUIET if label == "floor" else colour
            axes.plot(step, _smooth(values), dash, color=colour, linewidth=line, label=label.replace("_", " "))
        everything = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
        positive = everything[everything > 0]
        if title == "loss and terms" and (everything >= 0).all() and positive.max(initial=0) > 20 * positive.min(initial=np.inf):
            axes.set_yscale("log", nonpositive="mask")
            axes.set_ylim(bottom=max(positive.min(), 1e-5 * positive.max()))  # a term that is 0 at first grows from anywhere
        axes.margins(y=0.12)
        if len(curves) > 4:  # room for the names above the curves
            low, high = axes.get_ylim()
            axes.set_ylim(top=high * (high / low) ** 0.35 if axes.get_yscale() == "log" else high + 0.35 * (high - low))
        _plain(axes)
        axes.set_title(TITLES.get(title, title), fontsize=10, color=INK, loc="left")
        axes.set_xlabel("step", fontsize=8, color=INK)
        many = {"ncols": 3, "loc": "upper right"} if len(curves) > 4 else {}
        axes.legend(fontsize=7, framealpha=0.85, edgecolor="none", **many)
    return _save(figure, out)


def steering_strip(
    images: np.ndarray, sources: Sequence[int], found: np.ndarray, truth: np.ndarray, angles_deg: Sequence[float],
    out: Path | str, *, wrong: np.ndarray | None = None,
) -> Path:  # fmt: skip
    """For each source frame two rows over a sweep of deltas: the nearest neighbour of the steered latent, and the truth.

    Args:
        images: (N, H, W, 3) uint8.
        sources: R indices of source frames.
        found: (R, S) indices of the nearest neighbours, one per source and delta; -1 where there is none.
        truth: (R, S) indices of the frames that are truly there.
        angles_deg: S angles of the sweep, printed above the columns.
        out: Where to.
        wrong: (R, S) angle in degrees between the found frame and the truth, printed on the found one.
    """
    rows, steps = np.shape(found)
    if np.shape(truth) != (rows, steps) or len(sources) != rows or len(angles_deg) != steps:
        raise ValueError(
            f"steering strip: {len(sources)} sources, {len(angles_deg)} angles, found {np.shape(found)}, "
            f"truth {np.shape(truth)}; expected (sources, angles) for both"
        )
    from matplotlib.gridspec import GridSpec

    figure = _figure(0.95 * (steps + 1.6) + 0.3, 1.98 * rows + 0.35)
    figure.set_layout_engine("none")
    grid = GridSpec(
        3 * rows, steps + 1, figure=figure, height_ratios=[1, 1, 0.12] * rows, width_ratios=[1.7] + [1] * steps,
        left=0.01, right=0.955, top=1 - 0.3 / (1.98 * rows + 0.35), bottom=0.01, wspace=0.05, hspace=0.05,
    )  # fmt: skip
    for row in range(rows):
        axes = figure.add_subplot(grid[3 * row : 3 * row + 2, 0])
        _picture(axes, images[sources[row]], INK)
        if row == 0:
            axes.set_title("source", fontsize=9, color=INK)
        for column in range(steps):
            for line, indices in enumerate((found, truth)):
                axes = figure.add_subplot(grid[3 * row + line, column + 1])
                index = int(indices[row, column])
                good = wrong is None or index < 0 or wrong[row, column] <= 30
                colour = (COLOURS[2] if good else COLOURS[1]) if line == 0 else QUIET
                _picture(axes, images[index] if index >= 0 else None, colour)
                if line == 0 and row == 0:
                    axes.set_title(f"{angles_deg[column]:+.0f}°", fontsize=9, color=INK)
                if line == 0 and wrong is not None and index >= 0:
                    text = f"{wrong[row, column]:.0f}°"
                    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
                    style = {"fontsize": 7, "ha": "right", "va": "bottom", "color": INK, "bbox": box}
                    axes.text(0.95, 0.05, text, transform=axes.transAxes, **style)
                if column == steps - 1:
                    label = ("steered", "truth")[line]
                    axes.text(
                        1.08, 0.5, label, transform=axes.transAxes, fontsize=8, color=INK, rotation=270, va="center", ha="left"
                    )
    return _save(figure, out)


def _picture(axes, image: np.ndarray | None, colour: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if image is None:
        axes.set_facecolor("#F2F2F2")
        axes.set_aspect("equal")
    else:
        axes.imshow(image, interpolation="bilinear")
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(1.6)


def _unwrapped(angle: np.ndarray, about: np.ndarray) -> np.ndarray:
    """Angles (deg) shifted by whole turns to lie within 180 of `about`."""
    return angle + 360 * np.round((about - angle) / 360)


def trajectories(
    true_deg: np.ndarray, tracked_deg: Mapping[str, np.ndarray], out: Path | str, *, titles: Sequence[str] | None = None,
    errors_deg: Mapping[str, np.ndarray] | None = None, ylabel: str = "angle from the first frame, deg", truth: str = "truth",
) -> Path:  # fmt: skip
    """True against tracked angle over each clip, one small plot per clip.

    Args:
        true_deg: (B, F) true angles from the first frame.
        tracked_deg: Tracker name to (B, F) angles.
        out: Where to.
        titles: One per clip.
        errors_deg: Tracker name to (B, F) geodesic errors; their medians are printed above each plot.
        ylabel: Of the left plots.
        truth: What the true angles are called.
    """
    clips, frames = true_deg.shape
    wide = min(4, clips)
    tall = math.ceil(clips / wide)
    figure = _figure(2.9 * wide, 2.35 * tall + 0.4)
    steps = np.arange(frames)
    handles: dict[str, object] = {}
    first = None
    for clip in range(clips):
        axes = figure.add_subplot(tall, wide, clip + 1, sharex=first)
        first = first or axes
        true = np.degrees(np.unwrap(np.radians(true_deg[clip])))
        handles[truth] = axes.plot(steps, true, color=INK, linewidth=1.2, zorder=1)[0]
        lines = []
        for number, (name, angles) in enumerate(tracked_deg.items()):
            found = _unwrapped(angles[clip], true)
            marker = "os^D"[number % 4]
            handles[name] = axes.plot(
                steps, found, marker, color=COLOURS[number], markersize=4 if number == 0 else 3.2, linewidth=0, zorder=2 + number,
                markerfacecolor="white" if number == 0 else COLOURS[number], markeredgewidth=1.1,
            )[0]  # fmt: skip
            if errors_deg is not None:
                lines.append(f"{name} {np.median(errors_deg[name][clip]):.0f}°")
        _plain(axes)
        words = [*([] if titles is None else [titles[clip]]), *([", ".join(lines)] if lines else [])]
        axes.set_title("\n".join(words), fontsize=7.5, color=INK, loc="left")  # in the plot it would hide points
        if clip % wide == 0:
            axes.set_ylabel(ylabel, fontsize=7, color=INK)
        if clip >= clips - wide:
            axes.set_xlabel("frame", fontsize=8, color=INK)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=9, frameon=False)
    return _save(figure, out)


def layer_rows(metrics: Mapping[str, float]) -> list[dict[str, float | str]]:
    """The layer curves in flat metrics (with intervals): layer, part, measure, value, low, high, null (NaN where unknown), and
    whether its poses are ``true`` or ``estimated``."""
    rows = []
    for key, value in metrics.items():
        place = key.removeprefix(ESTIMATED).split("/")
        if place[0] == "layers" and len(place) == 4 and value is not None:
            beside = {name: metrics.get(f"{key}/{name}", math.nan) for name in ("low", "high", "null")}
            beside["poses"] = "estimated" if key.startswith(ESTIMATED) else "true"
            rows.append({"layer": place[2], "part": place[3], "measure": place[1], "value": value, **beside})
    return sorted(rows, key=lambda row: (row["measure"], row["layer"], row["part"]))


LAYER_PANELS = {
    "SEIS, channels": {"seis_equiv": "S_equiv", "seis_inv": "S_inv"},
    "SEIS, positions": {"seis_space_equiv": "S_equiv", "seis_space_inv": "S_inv"},
    "the ladder": {"identity": "identity", "isometry": "isometry", "linear": "linear map"},
    "linear probes": {"class_linear": "class, Top-1", "pose_linear": "pose, R2"},
}


def layer_curves(metrics: Mapping[str, float], out: Path | str) -> Path:
    """What happens along the network: a panel for SEIS on channels and on positions, the ladder, and probes.

    Whole latents are lines (with 95 % intervals), their parts markers where they begin, nulls and floors dotted.

    Args:
        metrics: Flat, with ``layers/...`` keys and intervals, all of true poses or all of estimated ones.
        out: Where to.
    """
    from matplotlib.lines import Line2D

    rows = layer_rows(metrics)
    layers = sorted({row["layer"] for row in rows})
    against = f", {AGAINST}" if any(row["poses"] == "estimated" for row in rows) else ""
    panels = {title: names for title, names in LAYER_PANELS.items() if any(row["measure"] in names for row in rows)}
    figure = _figure(4.2 * len(panels), 4.4)
    for number, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for index, (measure, name) in enumerate(names.items()):
            own = [row for row in rows if row["measure"] == measure]
            line = [row for row in own if row["part"] == "all"]
            places = [layers.index(row["layer"]) for row in line]
            values, low, high, null = (np.array([row[key] for row in line]) for key in ("value", "low", "high", "null"))
            axes.plot(places, values, color=COLOURS[index], linewidth=1.4, marker="o", markersize=3, label=name)
            axes.fill_between(places, low, high, color=COLOURS[index], alpha=0.15, linewidth=0)
            axes.plot(places, null, color=COLOURS[index], linewidth=1, linestyle=":")
            for part, marker in (("inv", "s"), ("equi", "^")):
                some = [row for row in own if row["part"] == part]
                where, what = [layers.index(row["layer"]) for row in some], [row["value"] for row in some]
                axes.plot(where, what, marker, color=COLOURS[index], markersize=6, markerfacecolor="white")
        _plain(axes)
        axes.set_title(title + against, fontsize=10, color=INK, loc="left")
        lowest = min([row["value"] for row in rows if row["measure"] in names] + [0.0])
        axes.set(ylim=(max(-1.05, lowest - 0.05), 1.05), xticks=range(len(layers)))
        axes.set_xticklabels([layer.split("-", 1)[1].removeprefix("backbone.") for layer in layers], rotation=90, fontsize=7)
        axes.legend(fontsize=8, frameon=False)
    handles = [Line2D([], [], color=QUIET, marker=marker, linestyle=style, markerfacecolor="white")
               for marker, style in (("s", ""), ("^", ""), ("", ":"))]  # fmt: skip
    names = ["invariant part", "equivariant part", "shuffled pairs, or floor"]
    figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return _save(figure, out)


def principal_components(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components (N, 2) of features (N, d), and their shares (2,) of the variance."""
    centred = features.astype(np.float64) - features.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, ::-1][:, :2]
    if vectors.shape[1] < 2:
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(2)] + 1e-30)  # one sign whatever LAPACK gives
    shares = np.pad(values[::-1], (0, 2))[:2] / max(float(values.clip(0).sum()), 1e-30)
    return centred @ vectors, shares


def components(
    parts: Mapping[str, np.ndarray], labels: np.ndarray, angles_deg: np.ndarray, out: Path | str,
    *, classes: Sequence[str] | None = None, limit: int = 4000,
) -> Path:  # fmt: skip
    """Two principal components of each part (a row), coloured by class (left) and by angle (right).

    Args:
        parts: Part name to features (N, d).
        labels: (N,) class, -1 for none.
        angles_deg: (N,) angle of the pose.
        out: Where to.
        classes: Names for the legend.
        limit: At most so many points, evenly thinned.
    """
    from matplotlib.lines import Line2D

    keep = np.unique(np.linspace(0, len(labels) - 1, min(limit, len(labels))).round().astype(int))
    labels, angles = labels[keep], angles_deg[keep] % 360
    turned = "by angle" if np.ptp(angles) > 0 else "no pose is known"
    names = {"inv": "invariant part", "equi": "equivariant part", "all": "whole latent"}
    figure = _figure(9.6, 3.9 * len(parts))
    kinds = np.unique(labels)
    colour_of = {kind: "#CCCCCC" if kind < 0 else COLOURS[i % len(COLOURS)] for i, kind in enumerate(kinds)}
    markers = {kind: "o^sDP"[i // len(COLOURS) % 5] for i, kind in enumerate(kinds)}
    right = []
    order = np.random.default_rng(0).permutation(len(labels))  # no class hides another
    for row, (part, values) in enumerate(parts.items()):
        points, shares = principal_components(np.asarray(values)[keep])
        points = points / max(float(points.std()), 1e-30)
        left, other = (figure.add_subplot(len(parts), 2, 2 * row + i + 1) for i in range(2))
        for marker in dict.fromkeys(markers.values()):
            some = order[[markers[k] == marker for k in labels[order]]]
            left.scatter(*points[some].T, s=9, c=[colour_of[k] for k in labels[some]], linewidths=0, alpha=0.8, marker=marker)
        cloud = other.scatter(
            *points[order].T, s=9, c=angles[order], cmap="twilight_shifted", vmin=0, vmax=360, linewidths=0
        )
        for axes, title in ((left, "by class"), (other, turned)):
            _plain(axes, grid=False)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{names.get(part, part)}, {title}", fontsize=10, color=INK, loc="left")
            axes.set_xlabel(f"component 1 ({shares[0]:.0%})", fontsize=8, color=INK)
            axes.set_ylabel(f"component 2 ({shares[1]:.0%})", fontsize=8, color=INK)
        right.append(other)
    bar = figure.colorbar(cloud, ax=right, shrink=0.7, pad=0.02)
    bar.set_label("angle, deg", fontsize=8, color=INK)
    bar.set_ticks([0, 90, 180, 270, 360])
    bar.ax.tick_params(labelsize=8)
    handles = [Line2D([], [], marker=markers[k], linewidth=0, markersize=5, color=colour_of[k]) for k in kinds]
    words = ["no class" if k < 0 else classes[k] if classes is not None and k < len(classes) else str(k) for k in kinds]
    figure.legend(handles, words, loc="outside lower center", ncols=min(8, len(kinds)), fontsize=8, frameon=False)
    return _save(figure, out)
