"""What a study has shown: tables, pictures and verdicts of judged runs, on one page. Nothing on it is written by hand.

Three questions, each asked where the grid says of which rows:

    (a) does video make the split cleaner?    rows on clips against the reference, at equal images
    (b) does the learned invariant part beat erasing the pose from all of the latent afterwards?   one plane, leak against utility
    (c) what does it cost that motion is estimated?    two rows, known and estimated

All numbers, intervals and verdicts come from `vsie.study.verdicts`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsie.evaluation.leakage import POSE_COLUMNS
from vsie.evaluation.paired import Estimate
from vsie.files import write_text
from vsie.report import planes
from vsie.report.measures import COLUMNS
from vsie.report.page import Block, Heading, Lines, Picture, Table, html, markdown
from vsie.schemas import AugmentConfig, GridConfig
from vsie.study import comparison
from vsie.study.verdicts import (
    CLASS,
    GROUPS,
    Judged,
    Measure,
    Rows,
    alike,
    compared,
    counted,
    duels,
    erasing,
    front,
    kept,
    measures,
    points,
    read,
    shared,
    signed,
)

BOTH = ("leakage", "all")
GAINED = ("pose", "steering", "tracking")  # of what a gain over the floor has a meaning
Found = Mapping[Measure, Mapping[str, Estimate]]  # how much better rows are than the reference, by measure
Duels = Mapping[str, tuple[Estimate, Estimate, str]]


def titled(rows: Rows) -> dict[str, str]:
    """Names of rows as they stand in a table: marked where the method has direct supervision."""
    return {name: name + (comparison.MARK if runs and runs[0].run.direct else "") for name, runs in rows.items()}


def table(rows: Rows, chosen: Sequence[Measure], *, found: Found | None = None, reference: str | None = None) -> Table:
    """Median and range over seeds; with what was found against a reference, a mark where a row is shown to differ from it."""
    found = found or {}
    marks = {"better": " ▲", "worse": " ▼", "not shown": ""}
    lines = []
    for measure in chosen:
        cells, floors = [], []
        for name, runs in rows.items():
            values = [value for run in runs if not math.isnan(value := measure.value(run))]
            floors += [floor for run in runs if not math.isnan(floor := measure.floor(run))]
            if not values:
                cells.append("-")
                continue
            text = measure.text(float(np.median(values)))
            if len(values) > 1:
                text += f" ({measure.text(min(values))} to {measure.text(max(values))})"
            better = found.get(measure, {}).get(name)
            cells.append(text + (marks[better.verdict()] if better else ""))
        if set(cells) != {"-"}:
            direction = "" if measure.higher else " ↓"
            lines.append([measure.words + direction, *cells, measure.text(float(np.median(floors or [math.nan])))])
    caption = "Median (range over seeds). ↓: less is better."
    if found:
        caption += f" ▲ ▼: shown to be better, worse than {reference}, paired by seed and held-out object."
    return Table(["", *titled(rows).values(), "floor, null"], lines, caption)


def summaries(found: Found, names: Sequence[str], reference: str) -> list[str]:
    """A line per row and group: what is better, worse, not shown."""
    lines = []
    for name in names:
        for group, words in GROUPS.items():
            said = {m: e[name] for m, e in found.items() if m.group == group and m.main and name in e}
            if not said:
                continue
            verdicts = {measure: value.verdict() for measure, value in said.items()}
            parts = []
            for verdict in ("better", "worse"):
                listed = [f"{m.words} {signed(m, said[m])}" for m, v in verdicts.items() if v == verdict]
                parts += [f"{verdict}: {'; '.join(listed)}"] if listed else []
            missing = [m.words for m, v in verdicts.items() if v == "not shown"]
            parts += [f"not shown: {'; '.join(missing)}"] if missing else []
            question = "a cleaner split" if group == "split" else f"better at {words}"
            lines.append(f"`{name}` against `{reference}`, {question}: **{counted(verdicts.values())}**. {'. '.join(parts)}.")
    return lines


def difference_table(found: Found, names: Sequence[str], reference: str, titles: Mapping[str, str]) -> Table:
    """All improvements with intervals and verdicts; `titles` are those of the rows."""
    lines = []
    for measure, own in found.items():
        cells = [f"{signed(measure, own[name])} {own[name].verdict()}" if name in own else "-" for name in names]
        lines.append([measure.words, *cells])
    words = f"How much better than {reference} (95 % interval over objects and seeds; positive is better): degrees, or shares."
    return Table(["", *(titles[name] for name in names)], lines, words)


def _differences(found: Found, out: Path, reference: str) -> Picture:
    panels: dict[str, dict[str, Mapping[str, Estimate]]] = {"share": {}, "deg": {}}
    for measure, own in found.items():
        if measure.main:
            panels[measure.unit][measure.words] = own
    words = {"share": "share of 1", "deg": "degrees"}
    drawn = planes.differences({words[unit]: kept for unit, kept in panels.items()}, out, reference=reference)
    return Picture(drawn, f"How much better than {reference}; right of the dashed line is better.")


def on_video(rows: Rows, grid: GridConfig, out: Path, everything: Found) -> tuple[list[Block], list[str]]:
    """Question (a), from all that was found against the reference: blocks of the page, and lines for its summary."""
    names = [name for name in grid.video if name in rows]
    head = Heading("(a) Does video make the split cleaner?")
    if grid.reference not in rows or not names:
        return [head, f"Not asked: it needs the row `{grid.reference}` and one of {', '.join(grid.video)}."], []
    found = {m: kept for m, own in everything.items() if (kept := {name: own[name] for name in names if name in own})}
    if not found:
        return [head, f"Not known: no seed of {', '.join(names)} was judged on the clips of {grid.reference}."], []
    said = summaries(found, names, grid.reference)
    blocks: list[Block] = [head, Lines(said), _differences(found, out / "video.png", grid.reference)]
    blocks.append(difference_table(found, names, grid.reference, titled(rows)))
    lengths = {name: int(rows[name][0].run.options.get("data.frames", 0)) for name in (grid.reference, *names)}
    if len(set(lengths.values())) > 2:
        words = "Measures against the frames of a window, at equal images; dashed: the floor, where it is near."
        blocks.append(Picture(planes.against_frames(_by_frames(rows, lengths), out / "frames.png"), words))
    short = [line for line in said if "a cleaner split" in line or "tracking" in line]
    return blocks, [f"(a) {line}" for line in short]


def _by_frames(rows: Rows, lengths: Mapping[str, int]) -> dict[str, tuple[dict[int, list[float]], float]]:
    keys = ("classification/top1/inv", "classification/top1/all", "pose/geodesic_median_deg/inversion", "steering/mrr",
            "tracking/inversion/drift_deg", "leak/inv", "leak_class/linear", "ladder/linear/equi")  # fmt: skip
    panels = {}
    for measure in (m for key in keys for m in measures() if m.key == key):
        values: dict[int, list[float]] = {}
        for name, length in lengths.items():
            values.setdefault(length, []).extend(v for run in rows[name] if not math.isnan(v := measure.value(run)))
        values = {length: own for length, own in values.items() if own}
        if len(values) > 1:
            floors = [measure.floor(run) for name in lengths for run in rows[name]]
            floors = [floor for floor in floors if not math.isnan(floor)]
            words = measure.words + ("" if measure.higher else "\u00a0↓") + (", deg" if measure.unit == "deg" else "")
            panels[words] = values, float(np.median(floors)) if floors else math.nan
    return panels


def on_erasing(rows: Rows, grid: GridConfig, out: Path, judged: Mapping[str, Duels]) -> tuple[list[Block], list[str]]:
    """Question (b), from the duels of rows that have any: blocks of the page, and lines for its summary."""
    blocks: list[Block] = [Heading("(b) Does the learned invariant part beat all, with the pose removed?")]
    if not judged:
        return [*blocks, "Not asked: no row was judged by `protocol=[leakage,cleaned]`, with all seeds on the same clips."], []
    subject = grid.subject if grid.subject in judged else next(iter(judged))
    said = [erasing(name, found) for name, found in judged.items()]
    runs, drawn = rows[subject], points(rows[subject])
    floor = float(np.median([run.metric(f"leakage/{CLASS}/all/floor") for run in runs]))
    blocks += [
        Lines(said),
        f"Of `{subject}`, on the front (none other has at most its pose and at least its class): **{', '.join(front(drawn))}**.",
        Picture(planes.plane(drawn, out / "plane.png", floor=floor),
                f"{subject}: class kept against pose left, by the best of all probes. Rows at equal width; large: mean over "
                "seeds with 95 % intervals over objects and seeds; small: a seed; dashed: the floors."),
        Picture(planes.probes({COLUMNS[c]: points(runs, [c]) for c in POSE_COLUMNS}, out / "probes.png"),
                f"{subject}: the same for each probe."),
        _plane_table(runs, shared(runs), drawn, judged[subject]),
    ]  # fmt: skip
    alone = {name: found for name in judged if (found := duels(rows[name], single=True))}
    if alone:
        lines = [erasing(name, found) for name, found in alone.items()]
        blocks += [Heading("The same of frames that were encoded alone", 3), ALONE, Lines(lines)]
        said = said + [f"of frames encoded alone, {line}" for line in lines]
    if subject in alone:
        drawn = points(runs, single=True)
        words = f"{subject}: class kept against pose left, every frame encoded alone."
        blocks.append(Picture(planes.plane(drawn, out / "plane_alone.png", floor=floor), words))
        blocks.append(_plane_table(runs, shared(runs, single=True), drawn, alone[subject]))
    if len(judged) > 1:
        best = [_learned(name, rows[name]) for name in judged]
        blocks.append(Picture(planes.plane(best, out / "learned.png", floor=floor), "The learned invariant part of every row."))
    return blocks, [f"(b) {line}" for line in said]


def _learned(name: str, runs: Sequence[Judged]) -> planes.Point:
    (own,) = [point for point in points(runs) if point.learned]
    return planes.Point(name, own.leak, own.utility)


def _plane_table(
    runs: Sequence[Judged], places: Mapping[str, tuple[str, str]], drawn: Sequence[planes.Point], found: Duels
) -> Table:
    """Every representation: leak by probe, class, and the learned part against it."""
    lines = []

    def median(key: str) -> str:
        values = [value for run in runs if not math.isnan(value := run.metric(key))]
        return f"{np.median(values):.3f}" if values else "-"

    for point in drawn:
        family, row = places[point.name]
        whole = {"cleaned": f"erasure/{CLASS}/{row}"}.get(family, f"erasure/{CLASS}/none" if (family, row) == BOTH else "")
        cells = [f"{point.leak.value:.3f} ({point.leak.low:.3f} to {point.leak.high:.3f})"]
        cells += [median(f"{family}/{column}/{row}") for column in POSE_COLUMNS]
        cells += [f"{point.utility.value:.3f} ({point.utility.low:.3f} to {point.utility.high:.3f})"]
        change = f"erasure/change/{row}" if family == "cleaned" else ""
        cells += [median(f"{family}/class_knn/{row}"), median(whole), median(change)]
        lines.append([point.name, *cells, found[point.name][2] if point.name in found else "-"])
    floors = [median(f"leakage/{column}/all/floor") for column in (*POSE_COLUMNS, CLASS, "class_knn")]
    lines.append(["floor", "0", *floors[:4], floors[4], floors[5], floors[4], "-", "-"])
    header = ["", "pose left, best probe", *(COLUMNS[c] for c in POSE_COLUMNS), "class, linear", "class, kNN",
              "class, full width", "change made", "inv against it"]  # fmt: skip
    return Table(header, lines, "Pose left and class: mean over seeds (95 % interval); the others: medians over seeds.")


def kept_table(rows: Rows, reference: str) -> Table | None:
    """Of every row that was judged as the reference was: the share it keeps of what that gains over the floor."""
    names = [name for name in rows if name != reference]
    chosen = [measure for measure in measures() if measure.group in GAINED and measure.main]
    found = {measure: {name: kept(measure, rows[name], rows[reference]) for name in names} for measure in chosen}
    names = [name for name in names if any(own[name] for own in found.values())]
    lines = [
        [measure.words, *(f"{e.value:.0%} ({e.low:.0%} to {e.high:.0%})" if (e := own[name]) else "-" for name in names)]
        for measure, own in found.items()
        if any(own.values())
    ]
    words = f"Share of the gain of {reference} over the floor that a row keeps (95 % interval over objects and seeds)."
    titles = titled(rows)
    return Table(["", *(titles[name] for name in names)], lines, words) if lines else None


def on_motion(rows: Rows, grid: GridConfig, out: Path) -> tuple[list[Block], list[str]]:
    """Question (c): blocks of the page, and lines for its summary."""
    head = Heading("(c) What does it cost that motion is estimated?")
    if len(grid.motion) != 2 or any(name not in rows for name in grid.motion):
        missing = [name for name in grid.motion if name not in rows]
        return [head, f"Not asked: there is no run of {', '.join(missing) or 'known and estimated motion'}."], []
    known, estimated = grid.motion
    found = compared(rows, [estimated], known)
    if not found:
        return [head, f"Not known: no seed of {estimated} was judged on the clips and poses of {known}."], []
    said = summaries(found, [estimated], known)
    shares, keeps = kept_table(rows, known), []
    place = shares.header.index(titled(rows)[estimated]) if shares and titled(rows)[estimated] in shares.header else 0
    if place:
        said_of = [f"{words} {cells[place - 1]}" for words, *cells in shares.rows]
        keeps = [f"`{estimated}` keeps of what `{known}` gains over the floor: {'; '.join(said_of)}."]
    picture = _differences(found, out / "motion.png", known)
    differences = difference_table(found, [estimated], known, titled(rows))
    blocks = [head, Lines(keeps + said), picture, *([shares] if shares else []), differences]
    return blocks, [f"(c) {line}" for line in keeps or said if "pose" in line or "tracking" in line]


def on_methods(rows: Rows, out: Path) -> list[Block]:
    """All rows in two pictures: Top-1 against pose error, and how they came there where the runs have kept their logs."""
    columns = {name: [judged.run for judged in runs] for name, runs in rows.items()}
    drawn = {
        "Top-1 against the pose error of a probe (equi, or all where the latent is not split). Small: a seed.":
            comparison.draw_trade_off(columns, out / "tradeoff.png"),
        "Online probes on training objects against images seen.": comparison.draw_learning(columns, out / "learning.png"),
    }  # fmt: skip
    return [Picture(file, words) for words, file in drawn.items() if file]


def runs_table(rows: Rows) -> Table:
    """What was run."""
    lines = []
    for name, runs in rows.items():
        options = runs[0].run.options
        arrangement = f"{options.get('data.windows', '?')} x {options.get('data.frames', '?')}"
        images = sorted({int(run.run.options.get("trainer.images", 0)) for run in runs})
        marked = runs[0].run.method + (comparison.MARK if runs[0].run.direct else "")
        lines.append([name, marked, arrangement, str(options.get("trainer.batch", "?")), changed(options),
                      ", ".join(f"{i:,}" for i in images), ", ".join(str(run.run.seed) for run in runs)])  # fmt: skip
    return Table(["row", "method", "windows x frames", "objects a step", "pictures are changed in", "images", "seeds"], lines)


def changed(options: Mapping[str, Any]) -> str:
    """What augmentation changes of the pictures, in words; a dash where it leaves them."""
    own = {key.rpartition(".")[2]: value for key, value in options.items() if key.startswith("data.augment.")}
    usual = dataclasses.asdict(AugmentConfig())
    return ", ".join(f"{key} {value:g}" for key, value in own.items() if value and value != usual.get(key)) or "-"


def cautions(rows: Rows) -> list[str]:
    """What the reader has to know before believing a number."""
    everything = [run for runs in rows.values() for run in runs]
    lines = [comparison.LEGEND] if any(run.run.direct for run in everything) else []
    few = [name for name, runs in rows.items() if len(runs) < 3]
    if few:
        counts = ", ".join(f"{name} ({len(rows[name])})" for name in few)
        lines.append(
            f"Fewer than three seeds: {counts}. Their intervals hardly know how much a seed matters; with one seed they know "
            "nothing of it."
        )
    budgets = sorted({int(run.run.options.get("trainer.images", 0)) for run in everything})
    if len(budgets) > 1:
        lines.append(f"Not at equal terms: the number of images is {', '.join(f'{images:,}' for images in budgets)}.")
    if not alike(everything):
        lines.append("Not all runs were judged on the same clips and poses; differences are only of those that were.")
    for name, runs in rows.items():
        if not alike(runs):
            sets: dict[str, list[str]] = {}
            for run in runs:
                sets.setdefault(run.clips, []).append(run.run.folder.name)
            said = "; ".join(", ".join(names) for names in sets.values())
            lines.append(f"`{name}` is left out of what is pooled over seeds: its runs were judged on different clips ({said}).")
    return lines


ALONE = (
    "Where frames of a clip are mixed, what `equi`, `all` and the erasers know of the class comes from the whole clip, and what "
    "an invariant part of each frame's own knows comes from one frame. Here every latent is of one frame."
)
HOW = (
    "Differences are paired: the same held-out objects, the same frames and pairs, the same seeds. Each of 1,000 resamples draws "
    "objects and seeds with replacement; **not shown** means that the 95 % interval holds zero. No correction is made for many "
    "measures: of twenty that do not differ one is called different by chance. Pose left is R2 of the rotation above the probe's "
    "floor, by the best of a linear, a kernel and an MLP probe on a frame and an MLP on pairs of frames; rows of the plane have "
    "the width of the narrowest part (PCA of standardised train frames) and are asked on the same frames."
)


def write(done: Sequence[tuple[str, int, Path]], grid: GridConfig, out: Path, *, notes: Sequence[str] = ()) -> Path:
    """Write ``page.html``, ``page.md``, the pictures and ``study.json`` into `out`; returns the page.

    Args:
        done: (row, seed, folder) of judged runs.
        grid: Of which rows what is asked.
        out: Folder of the study.
        notes: Lines about what is missing.

    Raises:
        FileNotFoundError, ValueError: A folder does not hold what an evaluation leaves.
    """
    order = [*grid.rows, *dict.fromkeys(row for row, *_ in done if row not in grid.rows)]
    rows: dict[str, list[Judged]] = {}
    for row in order:
        runs = [read(row, folder) for name, _, folder in sorted(done, key=lambda item: item[1]) if name == row]
        if runs:
            rows[row] = runs
    blocks: list[Block] = []
    said: list[str] = []
    reference = grid.reference if grid.reference in rows else None
    found = compared(rows, [name for name in rows if name != reference], reference) if reference else {}
    fought = {name: against for name, runs in rows.items() if (against := duels(runs))}
    asked = [on_video(rows, grid, out, found)] if grid.video else []
    asked += [on_erasing(rows, grid, out, fought)] if grid.subject is not None else []
    asked += [on_motion(rows, grid, out)] if grid.motion else []
    for more, lines in asked:
        blocks, said = blocks + more, said + lines
    blocks += [Heading("All rows"), *on_methods(rows, out)]
    if reference and not grid.video and found:
        blocks.append(difference_table(found, [name for name in rows if name != reference], reference, titled(rows)))
    for group, words in GROUPS.items():
        chosen = [measure for measure in measures() if measure.group == group]
        shown = table(rows, chosen, found=found, reference=reference)
        blocks += [Heading(words[0].upper() + words[1:], 3), shown] if shown.rows else []
    careful = [*notes, *cautions(rows)]
    top: list[Block] = [Heading("In short"), Lines(said)] if said else []
    top += [Heading("What was run"), runs_table(rows), *([Lines(careful)] if careful else [])]
    page = [*top, *blocks, Heading("How to read it"), HOW]
    title = grid.title or "A study"
    write_text(out / "study.json", json.dumps(_plain(rows, found, fought, reference), indent=1) + "\n")
    write_text(out / "page.md", markdown(title, page, root=out))
    write_text(out / "page.html", html(title, page))
    return out / "page.html"


def _plain(rows: Rows, found: Found, fought: Mapping[str, Duels], reference: str | None) -> dict[str, Any]:
    """All numbers of the page, for another program."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    def plain(value: Estimate) -> dict[str, Any]:
        ends = {"value": value.value, "low": value.low, "high": value.high}
        return {key: number(end) for key, end in ends.items()} | {"seeds": [number(one) for one in value.each]}

    everything: dict[str, Any] = {}
    for name, runs in rows.items():
        better = {measure.key: own[name] for measure, own in found.items() if name in own}
        everything[name] = {
            "method": runs[0].run.method,
            "direct_supervision": runs[0].run.direct,
            "seeds": [run.run.seed for run in runs],
            "measures": {measure.key: [number(measure.value(run)) for run in runs] for measure in measures()},
            "better_by": {key: plain(value) | {"than": reference, "verdict": value.verdict()} for key, value in better.items()},
            "plane": {point.name: {"leak": plain(point.leak), "class": plain(point.utility)} for point in points(runs)},
            "against_erasers": {
                words: {"leak": plain(leak), "class": plain(utility), "verdict": verdict}
                for words, (leak, utility, verdict) in fought.get(name, {}).items()
            },
        }
    return everything
