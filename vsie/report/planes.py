"""Pictures of a study: the plane of leak against utility, differences from a reference, measures against frames per window."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsie.evaluation.paired import Estimate
from vsie.report.figures import COLOURS, INK, QUIET, _figure, _plain, _save, mark

FAR = 0.12  # a point whose class accuracy is so far below all others is left out of the closer look


@dataclass(frozen=True)
class Point:
    """One representation on the plane.

    Attributes:
        name: In the legend.
        leak: Pose that is left, above its floor.
        utility: Class accuracy.
        learned: Drawn larger: what is asked about.
    """

    name: str
    leak: Estimate
    utility: Estimate
    learned: bool = False


def styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each name; no two share both."""
    return {name: mark(number) for number, name in enumerate(names)}


def _bars(value: Estimate) -> np.ndarray:
    ends = np.array([[value.value - value.low], [value.high - value.value]])
    return np.where(np.isfinite(ends), ends.clip(0), 0)


def _cloud(axes, points: Sequence[Point], style: Mapping[str, tuple[str, str]]) -> list:
    handles = []
    for point in points:
        colour, marker = style[point.name]
        axes.plot(point.leak.each, point.utility.each, marker, color=colour, markersize=3.5, alpha=0.5, linewidth=0)
        size = {"markersize": 13 if point.learned else 8, "markeredgecolor": INK if point.learned else colour}
        handles.append(axes.errorbar(
            [point.leak.value], [point.utility.value], xerr=_bars(point.leak), yerr=_bars(point.utility), fmt=marker,
            color=colour, ecolor=colour, elinewidth=1.1, capsize=2, label=point.name, zorder=4 if point.learned else 3, **size,
        ))  # fmt: skip
    return handles


def near(points: Sequence[Point]) -> list[Point]:
    """The points without those that are far below the others: of them a closer look is taken."""
    lowest = sorted(point.utility.value for point in points)
    for low, high in zip(lowest, lowest[1:], strict=False):
        if high - low > FAR:
            return near([point for point in points if point.utility.value >= high])
    return list(points)


def plane(
    points: Sequence[Point], out: Path | str, *, floor: float, xlabel: str = "pose left: R2 above the floor, best of all probes",
    ylabel: str = "class: Top-1 of a linear probe",
) -> Path:  # fmt: skip
    """Class that is kept against pose that is left: up and to the left is better. All points, and a closer look.

    Args:
        points: A large mark is the mean over seeds with its interval, a small one a seed.
        out: Where to.
        floor: Accuracy of who sees nothing; the floor of the leak is 0.
        xlabel: Words.
        ylabel: Words.

    Raises:
        ValueError: There is no point.
    """
    if not points:
        raise ValueError("no representation has both a leak and a class accuracy; nothing to draw")
    style, close = styles([point.name for point in points]), near(points)
    figure = _figure(11.5, 4.9)
    handles = []
    for column, (shown, title) in enumerate(((points, "all"), (close, "a closer look"))):
        axes = figure.add_subplot(1, 2, column + 1)
        found = _cloud(axes, shown, style)
        handles = handles or found
        axes.margins(0.10)
        axes.axvline(0, color=QUIET, linewidth=1, linestyle="--", zorder=1)
        if column == 0:
            axes.axhline(floor, color=QUIET, linewidth=1, linestyle="--", zorder=1)
            place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "fontsize": 8, "color": QUIET}
            axes.text(0.99, floor, f"knows no class ({floor:.3f})", **place)
            axes.set_ylim(0, 1.02)
            axes.set_ylabel(ylabel, fontsize=9, color=INK)
        place = {"transform": axes.get_xaxis_transform(), "rotation": 90, "va": "bottom", "ha": "right", "fontsize": 8}
        axes.text(0, 0.02, "knows no pose ", color=QUIET, **place)
        _plain(axes)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel(xlabel, fontsize=9, color=INK)
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False, markerscale=0.75)
    return _save(figure, out)


def probes(panels: Mapping[str, Sequence[Point]], out: Path | str) -> Path:
    """The plane once for each probe (title to points), the class axis shared: no row may hide behind a weak probe.

    Raises:
        ValueError: There is no panel.
    """
    if not panels:
        raise ValueError("there is no probe of the pose; nothing to draw")
    names = list(dict.fromkeys(point.name for points in panels.values() for point in points))
    style, figure, first, handles = styles(names), _figure(2.75 * len(panels) + 2.2, 3.4), None, {}
    for number, (title, points) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), number + 1, sharey=first)
        first = first or axes
        handles |= dict(zip([p.name for p in near(points)], _cloud(axes, near(points), style), strict=True))
        axes.axvline(0, color=QUIET, linewidth=1, linestyle="--", zorder=1)
        axes.margins(0.12)
        _plain(axes)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("pose left: R2 above the floor", fontsize=8, color=INK)
    first.set_ylabel("class: Top-1 of a linear probe", fontsize=8, color=INK)
    figure.legend(handles=handles.values(), loc="outside right upper", fontsize=8, frameon=False, markerscale=0.75)
    return _save(figure, out)


def differences(panels: Mapping[str, Mapping[str, Mapping[str, Estimate]]], out: Path | str, *, reference: str) -> Path:
    """How much better rows are than a reference, with intervals: to the right of the dashed line is better.

    Args:
        panels: Unit to measure to row to the improvement (positive is better, whatever the measure's direction).
        out: Where to.
        reference: Name of the row that is compared with.

    Raises:
        ValueError: There is nothing to compare.
    """
    panels = {unit: measures for unit, measures in panels.items() if measures}
    rows = list(dict.fromkeys(row for measures in panels.values() for found in measures.values() for row in found))
    if not rows:
        raise ValueError("no row was judged on the clips of the reference; nothing to draw")
    from matplotlib.lines import Line2D

    style = styles(rows)
    tallest = max(len(measures) for measures in panels.values())
    figure = _figure(6.2 * len(panels), 0.34 * tallest + 0.12 * tallest * len(rows) + 1.2)
    handles = {}
    for column, (unit, measures) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), column + 1)
        for line, (_, found) in enumerate(measures.items()):
            for number, (row, value) in enumerate(found.items()):
                place = line + 0.7 * ((number + 0.5) / len(found) - 0.5)
                colour, marker = style[row]
                shown = value.low > 0 or value.high < 0
                handles.setdefault(row, Line2D([], [], marker=marker, color=colour, markersize=6, linewidth=1.2, label=row))
                axes.errorbar(
                    [value.value], [place], xerr=_bars(value), fmt=marker, color=colour, ecolor=colour, markersize=6,
                    markerfacecolor=colour if shown else "white", elinewidth=1.2, capsize=2,
                )  # fmt: skip
        axes.axvline(0, color=QUIET, linewidth=1.2, linestyle="--", zorder=1)
        axes.set_yticks(range(len(measures)), [textwrap.fill(words, 34) for words in measures], fontsize=8)
        axes.set_ylim(len(measures) - 0.4, -0.6)
        _plain(axes)
        axes.set_xlabel(f"better than {reference} by, {unit}", fontsize=9, color=INK)
    figure.legend(
        handles=list(handles.values()), loc="outside upper center", ncols=len(rows), fontsize=9, frameon=False,
        title="filled: the interval leaves zero out", title_fontsize=8,
    )  # fmt: skip
    return _save(figure, out)


def against_frames(panels: Mapping[str, tuple[Mapping[int, Sequence[float]], float]], out: Path | str) -> Path:
    """Measures against the frames of a window at equal images; a small mark is a seed, the line goes through the medians.

    Args:
        panels: Title to (frames per window to the values of its seeds, floor or NaN). The floor is drawn where it is near.
        out: Where to.

    Raises:
        ValueError: There is no panel.
    """
    if not panels:
        raise ValueError("no measure was taken at several window lengths; nothing to draw")
    wide = min(4, len(panels))
    tall = -(-len(panels) // wide)
    figure = _figure(3.0 * wide, 2.7 * tall)
    for number, (title, (values, floor)) in enumerate(panels.items()):
        axes = figure.add_subplot(tall, wide, number + 1)
        frames = sorted(values)
        for place, count in enumerate(frames):
            axes.plot([place] * len(values[count]), values[count], "o", color=COLOURS[0], markersize=4, alpha=0.5, linewidth=0)
        axes.plot(range(len(frames)), [np.median(values[count]) for count in frames], "o-", color=COLOURS[0], markersize=7)
        axes.margins(0.15)
        low, high = axes.get_ylim()
        if np.isfinite(floor):
            if low - 0.6 * (high - low) <= floor <= high + 0.6 * (high - low):
                axes.axhline(floor, color=QUIET, linewidth=1, linestyle="--", zorder=1)
        axes.set_xticks(range(len(frames)), [str(count) for count in frames])
        _plain(axes)
        axes.set_title(textwrap.fill(title, 36), fontsize=9, color=INK, loc="left")
        words = f"; floor {floor:.3g}" if np.isfinite(floor) else ""
        axes.set_xlabel(f"frames per window (1: stills){words}", fontsize=8, color=INK)
    return _save(figure, out)
