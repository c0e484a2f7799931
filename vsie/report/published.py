"""Published figures on 3DIEBench beside a run's own.

They are kept as data, in `data_manifests/3diebench_published.csv`, each with a mark for where it comes from. Two scales of R2
are in use: SIE's, about one scalar mean (a constant predictor scores 0.229), and one mean per dimension. A figure with ~ was
converted. Methods that condition on the delta and methods that regress it are supervised differently: the column says which.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from vsie.files import write_text

MANIFESTS = Path(__file__).resolve().parents[2] / "data_manifests"
COLUMNS = {
    "system": "system", "setting": "setting", "top1": "Top-1", "r2_printed": "R2 as printed", "r2_sie": "R2, SIE's scale",
    "mrr": "MRR", "hit1": "H@1", "hit5": "H@5", "colour_r2": "colour R2", "supervision": "supervision", "mark": "source",
}  # fmt: skip
MEASURES = {"top1": ("classification/top1/all", 100), "r2_sie": ("pose/r2_sie/all", 1), "mrr": ("steering/mrr", 1),
            "hit1": ("steering/hit@1", 1), "hit5": ("steering/hit@5", 1)}  # fmt: skip
NOTE = ("Sources: fig: read off an authors' figure or README; run: measured here, by this project's own protocols (parts: all), "
        "which differ from the papers' in heads and candidates.")  # fmt: skip


def rows(translated: bool = False) -> list[dict[str, str]]:
    """The published rows on 3DIEBench, or on 3DIEBench-T."""
    with open(MANIFESTS / "3diebench_published.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["data"] == ("3DIEBench-T" if translated else "3DIEBench")]


def own_row(metrics: Mapping[str, float], name: str, setting: str) -> dict[str, str]:
    """A run's measures as a row; what was not measured is empty."""
    found = {column: f"{metrics[key] * factor:.4g}" for column, (key, factor) in MEASURES.items() if key in metrics}
    return {"system": name, "setting": setting, "mark": "run"} | found


def whose(manifest) -> str:
    """What the data of a run are: 3DIEBench by its numbers of objects, else something in its layout."""
    facts = json.loads((MANIFESTS / "3diebench.json").read_text(encoding="utf-8"))
    if len(manifest) and Path(str(manifest.path[-1])).is_absolute():
        return "NOT COMPARABLE: held-out rotations"
    counts = {split: int((manifest.split == index).sum()) for index, split in enumerate(("train", "val"))}
    if all(counts[split] == facts[split] for split in counts) and len(manifest.classes) == facts["classes"]:
        return facts["name"]
    return f"NOT COMPARABLE: other data, {counts['train']} + {counts['val']} objects of {len(manifest.classes)} classes"


def table(metrics: Mapping[str, float], *, name: str, manifest) -> str:
    """The run's row above the published ones, as text."""
    first = own_row(metrics, name, whose(manifest))
    body = [first, *rows(translated=len(manifest.latent_names) > 7)]
    cells = [list(COLUMNS.values()), *([row.get(column) or "-" for column in COLUMNS] for row in body)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    rule = "-" * max(map(len, lines))
    return "\n".join(["Published on 3DIEBench, beside this run:", lines[0], rule, lines[1], rule, *lines[2:], NOTE])


def write(out: Path, metrics: Mapping[str, float], *, name: str, manifest) -> Path:
    """Print the table and write it to `out`/published.txt."""
    text = table(metrics, name=name, manifest=manifest)
    print(f"\n{text}\n")
    write_text(Path(out) / "published.txt", text + "\n")
    return Path(out) / "published.txt"
