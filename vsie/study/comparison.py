"""Runs beside each other: one table (median and range over seeds, floors, marks), a CSV, one plot, steering strips.

Runs of one method that differ in nothing but the seed are one column; what else they differ in is in the column's name.
A dagger marks methods with direct supervision: they regress the pose delta that others are only conditioned on.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vsie import components, feature_cache, pipeline
from vsie import features as feature_room
from vsie.config import from_plain, to_plain
from vsie.data.clips import of_one_length
from vsie.evaluation import steering
from vsie.files import write_text
from vsie.report import beside, noise, tables
from vsie.report.figures import read_curves
from vsie.report.write import body_axis, pictures, sweep
from vsie.training.loop import resolve_precision

log = logging.getLogger(__name__)

MARK = " †"
LEGEND = (
    "† direct supervision: the pose delta is regressed, not only told to a predictor; `supervised` learns the class from labels "
    "too."
)
IGNORED = {"seed", "protocol", "metric", *pipeline.FREE}
BUDGET = ("trainer.images", "trainer.optimiser", "trainer.learning_rate", "trainer.schedule", "trainer.warmup",
          "trainer.weight_decay", "data.root", "data.render", "data.augment", "data.size", "encoder")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: Where it is.
        method: Name of the method.
        seed: Its seed.
        direct: Whether the method has direct supervision.
        options: Its config, flat, without what does not change the outcome.
        metrics: Its metrics.json, null as NaN.
    """

    folder: Path
    method: str
    seed: int
    direct: bool
    options: Mapping[str, Any]
    metrics: Mapping[str, float]


def read(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        FileNotFoundError: It lacks config.yaml or metrics.json.
        ValueError: One of them is not what a run leaves.
    """
    for name, hint in (("config.yaml", "not the folder of a run"), ("metrics.json", "evaluate it: tools/evaluate.py")):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is not there: {hint}")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get("method"), dict) or "name" not in config["method"]:
        raise ValueError(f"{folder / 'config.yaml'} is not the config of a run: method.name is missing")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / 'metrics.json'} is not JSON ({error})") from None
    method = config["method"]["name"]
    config = to_plain(from_plain(config))  # an option that came after the run has the default with which it was made
    options = {key: value for key, value in pipeline.flatten(config).items() if key not in IGNORED}
    return Run(
        folder=folder, method=method, seed=int(config.get("seed", 0)), options=options,
        direct=bool(getattr(components.find("methods", method), "direct_supervision", False)),
        metrics={key: math.nan if value is None else float(value) for key, value in metrics.items()},
    )  # fmt: skip


def find(patterns: Sequence[str]) -> list[Path]:
    """Run folders that the patterns name, in order and once each; a pattern may also match files, which are passed over.

    Raises:
        ValueError: No pattern is given.
        FileNotFoundError: A pattern matches no folder.
    """
    if not patterns:
        raise ValueError("no run is given: tools/report.py runs/A runs/B out=report/")
    found: dict[Path, None] = {}
    for pattern in patterns:
        folders = [Path(name) for name in sorted(glob.glob(str(Path(pattern).expanduser()))) if Path(name).is_dir()]
        if not folders:
            raise FileNotFoundError(f"{pattern} matches no folder")
        if len(folders) > 1:  # of those that a pattern finds some may not be judged yet
            unjudged = [folder for folder in folders if not (folder / "metrics.json").is_file()]
            for folder in unjudged if len(unjudged) < len(folders) else []:
                log.warning("%s is left out: it has no metrics.json, evaluate it: tools/evaluate.py", folder)
                folders.remove(folder)
        found |= dict.fromkeys(folders)
    return list(found)


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by column: same method and same options, whatever the seed; seeds in order.

    The name of a column is the method, and in brackets the options (their last words) in which its columns differ; where these
    are too many, or do not tell it from another, as much of its first folder's path as does.
    """
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kinds.setdefault((run.method, json.dumps(run.options, sort_keys=True, default=str)), []).append(run)
    columns: dict[str, list[Run]] = {}
    folders = [others[0].folder.absolute() for others in kinds.values()]
    for (method, _), members in kinds.items():
        siblings = [others[0].options for (other, _), others in kinds.items() if other == method]
        keys = sorted({key for options in siblings for key in options})
        different = [key for key in keys if len({json.dumps(o.get(key), default=str) for o in siblings}) > 1]
        own = members[0].options
        words = ", ".join(f"{key.rpartition('.')[2]}={_short(own.get(key))}" for key in different)
        title = f"{method} ({words})" if different else method
        if title in columns or len(title) > 60:
            title = f"{method} ({_end(members[0].folder.absolute(), folders)})"
        columns[title] = sorted(members, key=lambda run: run.seed)
    return columns


def _end(folder: Path, folders: Sequence[Path]) -> Path:
    """The shortest end of a folder's path that no other of the folders has."""
    ends = [Path(*folder.parts[-length:]) for length in range(1, len(folder.parts) + 1)]
    return next(end for end in ends if sum(other.parts[-len(end.parts):] == end.parts for other in folders) < 2)


def _short(value: Any) -> str:
    return json.dumps(value, default=str).replace('"', "").replace(" ", "")


def wide_csv(columns: Mapping[str, Sequence[Run]]) -> str:
    """All measures as CSV: a row per run, a column per key of metrics.json."""
    keys = sorted({key for runs in columns.values() for run in runs for key in run.metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["column", "method", "seed", "direct_supervision", "run", *keys])
    for title, runs in columns.items():
        for run in runs:
            values = ["" if math.isnan(run.metrics.get(key, math.nan)) else repr(run.metrics[key]) for key in keys]
            writer.writerow([title, run.method, run.seed, int(run.direct), str(run.folder), *values])
    return text.getvalue()


def notes(columns: Mapping[str, Sequence[Run]]) -> list[str]:
    """What the reader of the table should know: marks, and budgets or data that differ."""
    everything = [run for runs in columns.values() for run in runs]
    lines = [LEGEND] if any(run.direct for run in everything) else []
    keys = {key for run in everything for key in run.options if key.startswith(BUDGET)}
    for key in sorted(keys):
        values = sorted({_short(run.options.get(key)) for run in everything})
        if len(values) > 1:
            lines.append(f"Not at equal terms: {key} is {', '.join(values)}.")
    seeds = {title: len(runs) for title, runs in columns.items()}
    if len(set(seeds.values())) > 1 or max(seeds.values()) < 3:
        lines.append("Seeds: " + ", ".join(f"{title} {count}" for title, count in seeds.items()) + ".")
    return lines


def first_of(metrics: Mapping[str, float], *keys: str) -> float:
    """The first of the measures that is there, or NaN."""
    return next((metrics[key] for key in keys if not math.isnan(metrics.get(key, math.nan))), math.nan)


POSE = ("pose/geodesic_median_deg/equi", "pose/geodesic_median_deg/all")
TOP1 = ("classification/top1/all",)


def draw_trade_off(columns: Mapping[str, Sequence[Run]], out: Path) -> Path | None:
    """The plot of Top-1 against pose error, or None where no run has both."""
    points = {}
    for title, runs in columns.items():
        pairs = [(first_of(run.metrics, *POSE), first_of(run.metrics, *TOP1)) for run in runs]
        points[title] = [pair for pair in pairs if not any(map(math.isnan, pair))]
    if not any(points.values()):
        return None
    all_metrics = [run.metrics for runs in columns.values() for run in runs]
    floors = [[first_of(m, *(f"{key}/floor" for key in keys)) for m in all_metrics] for keys in (POSE, TOP1)]
    medians = [float(np.nanmedian(values)) if not np.isnan(values).all() else math.nan for values in floors]
    direct = [title for title, runs in columns.items() if runs[0].direct]
    return beside.trade_off(points, out, floor=None if any(map(math.isnan, medians)) else tuple(medians), direct=direct)


FLOOR = "online/pose_deg/floor"
LEARNED = {"online probe: pose of a pair, degrees": (POSE, "pose_deg"), "online probe: Top-1": (TOP1, "top1")}


def draw_learning(columns: Mapping[str, Sequence[Run]], out: Path) -> Path | None:
    """Pose and Top-1 of the online probes against images seen, or None where no run has kept its log."""
    logs = {
        title: [read_curves(run.folder / "log.csv") for run in runs if (run.folder / "log.csv").is_file()]
        for title, runs in columns.items()
    }
    panels, floors = {}, {}
    for panel, (keys, measure) in LEARNED.items():
        names = [f"online/{measure}/{key.rsplit('/', 1)[1]}" for key in keys]
        panels[panel] = {
            title + (MARK if columns[title][0].direct else ""): [curve for log in own if (curve := _learned(log, names))]
            for title, own in logs.items()
        }
        if measure == "pose_deg":  # of the very pairs that the probe is asked about: it depends on the windows
            chance = [float(log[FLOOR][-1]) for own in logs.values() for log in own if FLOOR in log]
        else:
            chance = [first_of(run.metrics, *(f"{key}/floor" for key in keys)) for runs in columns.values() for run in runs]
        floors[panel] = sorted({round(value, 0 if measure == "pose_deg" else 3) for value in chance if not math.isnan(value)})
    if not any(curves for methods in panels.values() for curves in methods.values()):
        return None
    return beside.learning(panels, out, floors=floors)


def _learned(log: Mapping[str, np.ndarray], names: Sequence[str]) -> beside.Curve | None:
    """Images seen and the first of the columns that a log has, where both are numbers."""
    values = next((log[name] for name in names if name in log and np.isfinite(log[name]).any()), None)
    if values is None or "images" not in log:
        return None
    there = np.isfinite(values) & np.isfinite(log["images"])
    return (log["images"][there], values[there]) if there.any() else None


def opened(run: Run):
    """A run's method, the features of its held-out clips (from its cache where they are there), and these clips."""
    device = feature_room.device_of("auto")  # as evaluation has it: what it computed is found
    model = feature_room.load(run.folder, device=device)
    config = from_plain(model.config)
    window = pipeline.context(config, model.encoder.stride)
    splits = pipeline.judged_splits(*pipeline.open_data(config), config.data.size)
    splits, _ = of_one_length(splits, window[1], config.data.allowed_skips)
    test, precision = {"test": splits["test"]}, resolve_precision(config.trainer.precision, device)[0]
    (found,) = feature_cache.feature_set(run.folder, model.method, test, window, precision, "features")
    return model.method.cpu(), found, splits["test"]


def draw_strips(columns: Mapping[str, Sequence[Run]], out: Path, rows: int = 2) -> tuple[Path | None, list[str]]:
    """A strip per column (its first seed): the same source frames, the same deltas. Also lines about who is left out.

    Methods without a predictor are steered with the identity, all of the latent where it is not split. Columns whose held-out
    clips are not the first one's are left out.
    """
    found, wrong, skipped = {}, {}, []
    shown = None
    for title, runs in columns.items():
        if any(key.startswith(tables.ESTIMATED) for key in runs[0].metrics):
            skipped.append(f"No strip for {title}: no true poses are known of its clips.")
            continue
        method, test, dataset = opened(runs[0])
        part = "equi" if "equi" in test.parts() else "all"
        steered = method if method.steers else steering.Identity(frame=method.frame, part=part)
        if shown is None:
            axis, paths = body_axis(test), list(test.paths)
        elif list(test.paths) != paths or test.frames != shown[1]:
            skipped.append(f"No strip for {title}: it was judged on other clips.")
            continue
        swept = sweep(test, steered, axis, rows)
        if swept is None:
            return None, ["No steering strips: no held-out object has enough views."]
        sources, near, truth, wrong[title], angles = swept
        found[title] = pictures(test, dataset, near)
        if shown is None:
            shown = (pictures(test, dataset, sources), test.frames, pictures(test, dataset, truth), angles)
    if shown is None:
        return None, skipped
    marked = {title: title + (MARK if columns[title][0].direct else "") for title in found}
    picture = beside.strips(
        shown[0], shown[2], {marked[t]: found[t] for t in found}, {marked[t]: wrong[t] for t in found}, shown[3], out
    )
    return picture, skipped


def compare_runs(patterns: Sequence[str], out: Path | str, *, strips: bool = True) -> list[Path]:
    """Compare runs and write `comparison.md`, `comparison.txt`, `metrics.csv`, `tradeoff.png`, `learning.png` and `steering.png`
    into `out`.

    Where runs of a method differ in what they were told of motion, also `noise-<method>.md` and `.png`.

    Args:
        patterns: Run folders, or glob patterns of them.
        out: Folder of the report.
        strips: Draw the steering strips, which needs the runs' checkpoints and data.

    Returns:
        The files written; the table is printed.

    Raises:
        ValueError, FileNotFoundError: See `find` and `read`.
    """
    out = Path(out)
    columns = grouped([read(folder) for folder in find(patterns)])
    measured = {
        title + (MARK if runs[0].direct else ""): [{k: v for k, v in run.metrics.items() if not math.isnan(v)} for run in runs]
        for title, runs in columns.items()
    }
    said = notes(columns)
    written = [out / "comparison.md", out / "comparison.txt", out / "metrics.csv"]
    write_text(written[2], wide_csv(columns))
    picture = draw_trade_off(columns, out / "tradeoff.png")
    if picture is None:
        said.append("No plot: no run has both a Top-1 and a pose error.")
    curves = draw_learning(columns, out / "learning.png")
    written += [file for file in (picture, curves) if file]
    for method in dict.fromkeys(run.method for runs in columns.values() for run in runs):
        own = [(run.options, run.metrics) for runs in columns.values() for run in runs if run.method == method]
        written += noise.write(own, out, f"noise-{method}")
    table = tables.compare(measured, form="terminal")

    def tell() -> None:
        write_text(written[0], "\n".join([tables.compare(measured), "", "Median (range) over seeds.", *said]) + "\n")
        write_text(written[1], "\n".join([table, "", "Median (range) over seeds.", *said]) + "\n")

    tell()
    if strips:  # the last, since they need what may not be there any more: the runs' weights and data
        picture, more = draw_strips(columns, out / "steering.png")
        written, said = written + ([picture] if picture else []), said + more
        tell()
    print("\n".join([table, "", *said, "written: " + ", ".join(map(str, written))]))
    return written
