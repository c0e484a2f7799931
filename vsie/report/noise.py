"""What deltas are worth: steering and pose error against noise in known deltas, with estimated and shuffled ones beside them.

Notable: the estimated run is a horizontal line. Where it meets the curve is the noise that known deltas would need to be worth as
much, and the share of the gain over the floor that it keeps is printed with the extremes of both runs' 95 % intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsie.files import write_text
from vsie.report.figures import COLOURS, INK, QUIET, _figure, _plain, _save
from vsie.report.tables import lower_is_better, number

MEASURES = (
    ("steering/mrr", "steering: MRR among the object's views"),
    ("pose/geodesic_median_deg/equi", "rotation of a pair, median error in degrees"),
)
TOP1 = "classification/top1/all"
FREE = ("motion.", "flow", "egomotion", "data.held_out")  # in what runs of one study may differ, besides the seed
Series = Mapping[tuple[str, float], Sequence[Mapping[str, float]]]


def kind(options: Mapping[str, Any]) -> tuple[str, float]:
    """What a run with these flat options was told: ``known``, ``estimated`` or ``shuffled`` deltas, and the noise in degrees."""
    degrees = float(options.get("motion.noise_deg") or 0)
    if options.get("motion.shuffled"):
        return "shuffled", degrees
    return str(options.get("motion.source") or "known"), degrees


def unequal(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of flat options, none of `FREE`, in which the runs of a study differ although they should not."""
    keys = sorted({key for one in options for key in one if not key.startswith(FREE)})
    return [key for key in keys if len({str(one.get(key)) for one in options}) > 1]


def gain(key: str, value: float, floor: float) -> float:
    """How much better a value is than the floor, in the measure's own unit."""
    return floor - value if lower_is_better(key) else value - floor


def kept(key: str, run: Mapping[str, float], known: Mapping[str, float]) -> tuple[float, float, float]:
    """Share of the gain over the floor that a run keeps of what known deltas give, and its least and largest plausible value.

    The bounds take the worse end of one 95 % interval and the better end of the other: wider than 95 %. NaN where known deltas
    give no gain.
    """
    floor = known.get(f"{key}/floor", math.nan)
    whole = gain(key, known[key], floor)
    if not whole > 0:
        return math.nan, math.nan, math.nan
    own, other = (sorted(gain(key, m.get(f"{key}/{end}", m[key]), floor) for end in ("low", "high")) for m in (run, known))
    bounds = [first / second for first in own for second in other] if other[0] > 0 else [-math.inf, math.inf]
    return gain(key, run[key], floor) / whole, min(bounds), max(bounds)


def worth(key: str, value: float, curve: Sequence[tuple[float, float]]) -> str:
    """The noise at which known deltas are worth a value, read off a curve of (degrees, value), as text."""
    degrees, values = (np.array(part, dtype=float) for part in zip(*sorted(curve), strict=True))
    better = values if not lower_is_better(key) else -values
    worst_first = np.minimum.accumulate(better)[::-1]  # more noise is never better but by chance
    own = value if not lower_is_better(key) else -value
    if own >= worst_first[-1]:
        return f"at most {degrees[0]:g}"
    if own < worst_first[0]:
        return f"more than {degrees[-1]:g}"
    return f"{np.interp(own, worst_first, degrees[::-1]):.0f}"


def middle(runs: Sequence[Mapping[str, float]], key: str) -> float:
    """Median over seeds; NaN where none has it."""
    values = [run[key] for run in runs if not math.isnan(run.get(key, math.nan))]
    return float(np.median(values)) if values else math.nan


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """All measures, the median over seeds; of their intervals the outermost ends, as each is over the objects of one run."""
    found = {key: middle(runs, key) for key in {key for run in runs for key in run}}
    for end, extreme in (("/low", min), ("/high", max)):
        of_all = {key: [run[key] for run in runs if not math.isnan(run.get(key, math.nan))] for key in found if key.endswith(end)}
        found |= {key: extreme(values) for key, values in of_all.items() if values}
    return {key: value for key, value in found.items() if not math.isnan(value)}


def name(what: tuple[str, float]) -> str:
    """Words for a kind of deltas."""
    words, degrees = what
    return words if not degrees else f"{words} + {degrees:g} deg"


def page(series: Series, said: Sequence[str] = ()) -> str:
    """The table in Markdown: a row per kind of deltas, the ends of their 95 % intervals and the share of the gain that is kept.

    Args:
        series: Kind of deltas to the metrics of its seeds; ``("known", 0)`` is among them.
        said: Lines below it.
    """
    known = medians(series["known", 0.0])
    header = ["deltas", "seeds"]
    header += [cell for key, title in MEASURES for cell in (f"{title.split(',')[0]} (bounds)", "gain kept (bounds)")]
    lines = ["| " + " | ".join([*header, "Top-1", "points from known"]) + " |", "|---|" + "---:|" * (len(header) + 1)]
    for what in order(series):
        run = medians(series[what])
        cells = [name(what), str(len(series[what]))]
        for key, _ in MEASURES:
            if key not in run or key not in known:
                cells += ["-", "-"]
                continue
            interval = "-".join(number(key, run.get(f"{key}/{end}")) for end in ("low", "high"))
            share, low, high = kept(key, run, known)
            bounds = f"{low:.0%}-{high:.0%}" if math.isfinite(high) else "known deltas may give no gain"
            cells.append(f"{number(key, run[key])} ({interval})")
            cells.append("-" if math.isnan(share) else f"{share:.0%} ({bounds})")
        apart = 100 * (run.get(TOP1, math.nan) - known.get(TOP1, math.nan))
        cells += [number(TOP1, run.get(TOP1)), "-" if math.isnan(apart) else f"{apart:+.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    floors = [number(key, known.get(f"{key}/floor")) for key, _ in MEASURES]
    lines.append(f"| floor |  | {floors[0]} | 0% | {floors[1]} | 0% | {number(TOP1, known.get(f'{TOP1}/floor'))} |  |")
    notes = ["", "Medians over seeds. Bounds: the outermost ends of the seeds' 95 % intervals, of a share both kinds'.", *said]
    for what in order(series):
        if what[0] == "estimated":
            for key, title in MEASURES:
                curve = curves(series, key)
                if len(curve) > 1 and key in medians(series[what]):
                    degrees = worth(key, medians(series[what])[key], curve)
                    notes.append(f"{title}: {name(what)} deltas are worth known ones with {degrees} degrees of noise.")
    return "\n".join(lines + notes) + "\n"


def order(series: Series) -> list[tuple[str, float]]:
    """Known deltas by their noise, then estimated, then shuffled ones."""
    return sorted(series, key=lambda what: (("known", "estimated", "shuffled").index(what[0]), what[1]))


def curves(series: Series, key: str) -> list[tuple[float, float]]:
    """(Degrees, median over seeds) of a measure with known deltas, by noise."""
    points = [(degrees, middle(series[words, degrees], key)) for words, degrees in order(series) if words == "known"]
    return [point for point in points if not math.isnan(point[1])]


def draw(series: Series, out: Path | str) -> Path:
    """The plot: a panel per measure; noise to the right, known deltas as a curve, estimated and shuffled as horizontal lines."""
    figure = _figure(9.6, 3.9)
    handles: dict[str, Any] = {}
    for number_, (key, title) in enumerate(MEASURES):
        axes = figure.add_subplot(1, 2, number_ + 1)
        points = curves(series, key)
        right = max([degrees for degrees, _ in points] + [10.0])
        for degrees, _ in points:
            runs = series["known", degrees]
            ends = [middle(runs, f"{key}/{end}") for end in ("low", "high")]
            if not any(map(math.isnan, ends)):
                axes.plot([degrees, degrees], ends, color=COLOURS[0], linewidth=1.4, alpha=0.6)
            axes.plot(
                [degrees] * len(runs), [run.get(key, math.nan) for run in runs], "o", color=COLOURS[0], markersize=3, alpha=0.5
            )
        handles["known deltas + noise"] = axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[0], markersize=6)[0]
        for words, colour, marker, line in (("estimated", COLOURS[1], "D", "-"), ("shuffled", COLOURS[3], "X", ":")):
            runs = [run for what, seeds in series.items() if what[0] == words for run in seeds]
            value = middle(runs, key)
            if math.isnan(value):
                continue
            ends = [middle(runs, f"{key}/{end}") for end in ("low", "high")]
            if not any(map(math.isnan, ends)):
                axes.axhspan(*ends, color=colour, alpha=0.12, linewidth=0)
            handles[f"{words} deltas"] = axes.plot(
                [0, right * 1.08], [value, value], line, color=colour, marker=marker, markersize=8, markevery=[1], linewidth=1.8
            )[0]
        floor = middle([run for seeds in series.values() for run in seeds], f"{key}/floor")
        if not math.isnan(floor):
            handles["floor"] = axes.axhline(floor, color=QUIET, linewidth=1, linestyle="--")
        axes.set_ylim(bottom=0)
        axes.set_xticks([degrees for degrees, _ in points])
        _plain(axes)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("median noise of the training deltas, degrees", fontsize=9, color=INK)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), fontsize=9, frameon=False)
    return _save(figure, out)


def write(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, float]]], out: Path | str, title: str) -> list[Path]:
    """Write ``<title>.md`` and ``<title>.png`` into a folder, where runs differ in what they were told of motion.

    Args:
        runs: Flat options and metrics of finished runs of one method.
        out: The folder.
        title: Of the files.

    Returns:
        The files written: none where there is no run with known deltas and another one beside it.
    """
    series: dict[tuple[str, float], list[Mapping[str, float]]] = {}
    for options, metrics in runs:
        series.setdefault(kind(options), []).append(metrics)
    if len(series) < 2 or ("known", 0.0) not in series or not curves(series, MEASURES[0][0]):
        return []
    differing = unequal([options for options, _ in runs])
    said = [f"Not at equal terms: the runs also differ in {', '.join(differing)}."] if differing else []
    out = Path(out)
    write_text(out / f"{title}.md", page(series, said))
    return [out / f"{title}.md", draw(series, out / f"{title}.png")]
