"""Published figures on 3DIEBench beside a run's own.

They are kept as data, in `data_manifests/3diebench_published.csv`, each with a mark for where it comes from. Two scales of R2
are in use: SIE's, about one scalar mean (a constant predictor scores 0.229), and one mean per dimension. A figure with ~ was
converted. Methods that condition on the delta and methods that regress it are supervised differently: the column says which.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path

from vsie.files import write_text

MANIFESTS = Path(__file__).resolve().parents[2] / "data_manifests"
COLUMNS = {
    "system": "system", "setting": "setting", "top1": "Top-1", "r2_printed": "R2 as printed", "r2_sie": "R2, SIE's scale",
    "mrr": "MRR", "hit1": "H@1", "hit5": "H@5", "colour_r2": "colour R2", "supervision": "supervision", "mark": "source",
}  # fmt: skip
RELEASED = {
    "top1": ("compat_sie/classification/top1/all",), "r2_sie": ("compat_sie/rotation/r2/all",), "mrr": ("compat_sie/mrr/mrr",),
    "hit1": ("compat_sie/mrr/hit@1",), "hit5": ("compat_sie/mrr/hit@5",), "colour_r2": ("compat_sie/colour/r2/all",),
}  # fmt: skip
OWN = {  # the first that was measured is taken
    "top1": ("classification/top1/all",), "r2_sie": ("pose/r2_sie/all",), "mrr": ("mrr/mrr", "steering/mrr"),
    "hit1": ("mrr/hit@1", "steering/hit@1"), "hit5": ("mrr/hit@5", "steering/hit@5"), "colour_r2": ("colour/r2/all",),
}  # fmt: skip
ASK = "python tools/evaluate.py checkpoint=RUN compat=sie protocol=[classification,rotation,colour,pre,mrr]"
AGGREGATE = re.compile(r"aggregate/top1@(\d+)")  # class from several views, as seq-JEPA's rows are of
FACTORS = {"top1": 100}
NOTE = ("Sources: fig: read off an authors' figure or README; run: measured here (parts: all) by the protocols that are named. "
        "Those called compat_sie are SIE's as released and compare with the published figures. The others are this project's "
        "own, which differ in heads, candidates and the scale of R2, and do not.")  # fmt: skip


def rows(translated: bool = False) -> list[dict[str, str]]:
    """The published rows on 3DIEBench, or on 3DIEBench-T."""
    with open(MANIFESTS / "3diebench_published.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["data"] == ("3DIEBench-T" if translated else "3DIEBench")]


def supervision(method) -> str:
    """What a method (`vsie.methods.base.Method`) is told in training, in the words of the published rows."""
    if method.direct_supervision:
        return "supervised" if method.needs_labels else "regresses the pose"
    return "conditions on the delta" if method.steers else "none"


def own_rows(metrics: Mapping[str, float | None], *, name: str, setting: str, supervision: str) -> list[dict[str, str]]:
    """A run's measures as rows, their marks naming the protocols: as SIE released them, this project's own, and the class from
    several views; each followed by its floors, the score of an answer that looks at nothing. What was not measured is empty.
    """
    made = []
    views = sorted(int(found[1]) for key in metrics if (found := AGGREGATE.fullmatch(key)))
    several = [(f"class from {count} views", {"top1": (f"aggregate/top1@{count}",)}) for count in views]
    for what, measures in (("", RELEASED), ("", OWN), *several):
        keys = {column: next((key for key in own if metrics.get(key) is not None), None) for column, own in measures.items()}
        keys = {column: key for column, key in keys.items() if key}
        if keys:
            asked = dict.fromkeys(key.rsplit("/", 2 if key.endswith("/all") else 1)[0] for key in keys.values())
            who = {"system": name, "setting": f"{what}, {setting}" if what else setting, "supervision": supervision,
                   "mark": f"run: {', '.join(asked)}"}  # fmt: skip
            floors = {column: f"{key}/floor" for column, key in keys.items() if metrics.get(f"{key}/floor") is not None}
            made += [who | _figures(metrics, keys), {"system": "", "setting": "its floor"} | _figures(metrics, floors)]
    return made


def _figures(metrics: Mapping[str, float | None], keys: Mapping[str, str]) -> dict[str, str]:
    return {column: f"{metrics[key] * FACTORS.get(column, 1):.4g}" for column, key in keys.items()}


def whose(manifest) -> str:
    """What the data of a run are: 3DIEBench by its numbers of objects, else something in its layout."""
    facts = json.loads((MANIFESTS / "3diebench.json").read_text(encoding="utf-8"))
    if len(manifest) and Path(str(manifest.path[-1])).is_absolute():
        return f"NOT COMPARABLE: held-out rotations of {len(manifest.rows('val'))} objects"
    counts = {split: int((manifest.split == index).sum()) for index, split in enumerate(("train", "val"))}
    if all(counts[split] == facts[split] for split in counts) and len(manifest.classes) == facts["classes"]:
        return f"{facts['name']}-T" if translated(manifest) else facts["name"]
    return f"NOT COMPARABLE: other data, {counts['train']} + {counts['val']} objects of {len(manifest.classes)} classes"


def translated(manifest) -> bool:
    """Whether objects are moved as well as turned, as 3DIEBench-T's are."""
    return len(manifest.latent_names) > 7


def table(
    metrics: Mapping[str, float | None], *, name: str, manifest, supervision: str, size: int | None = None, swap_rb: bool = False,
) -> str:  # fmt: skip
    """The run's rows above the published ones, as text.

    Args:
        metrics: The run's.
        name: Of its method.
        manifest: Of the data that it was judged on.
        supervision: See `supervision`.
        size: Side to which images were resized; None for their own.
        swap_rb: Whether red and blue were changed, which no published figure does.
    """
    setting = ", ".join([whose(manifest), *([f"{size} px"] if size else []), *(["red and blue changed"] if swap_rb else [])])
    own = own_rows(metrics, name=name, setting=setting, supervision=supervision)
    body = [*own, *rows(translated(manifest))]
    cells = [list(COLUMNS.values()), *([row.get(column) or "-" for column in COLUMNS] for row in body)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    rule = "-" * max(map(len, lines))
    last = 1 + len(own)
    data = "3DIEBench-T" if translated(manifest) else "3DIEBench"
    lines = [f"Published on {data}, beside this run:", lines[0], rule, *lines[1:last], rule, *lines[last:], NOTE]
    if not any(key.startswith("compat_sie/") for key in metrics):
        lines.append(f"This run has not been asked them: {ASK}")
    return "\n".join(lines)


def write(out: Path, **options) -> Path:
    """Print the `table` of all that `out`/metrics.json holds and write it to `out`/published.txt."""
    metrics = json.loads((Path(out) / "metrics.json").read_text(encoding="utf-8"))
    text = table(metrics, **options)
    print(f"\n{text}\n")
    write_text(Path(out) / "published.txt", text + "\n")
    return Path(out) / "published.txt"
