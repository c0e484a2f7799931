"""A data set as released to a manifest: whatever reads manifests (training, extraction, motion) then reads it.

Videos and images stay where they are. What is written is small: ``manifest.csv``, ``classes.txt``, a ``.clip`` file for each clip
that is images or a part of a video, an ``.npz`` with times, poses and intrinsics for each that has cameras, ``left_out.csv``
with every clip that the data set names and that cannot be used, and ``prepared.json``, which tells when it is out of date.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vsie import components
from vsie.data.image_sequence import SUFFIX, natural
from vsie.data.manifest import ABOUT, ANCHORED, COLUMNS
from vsie.data.readers.base import ClipEntry, LeftOut, Reader, increasing
from vsie.files import locked, write_text

VERSION = 2
ROOM = "data.readers"
OWN = {"manifest.csv", "classes.txt", "clips", "left_out.csv", ABOUT}  # what is written into a prepared folder
log = logging.getLogger(__name__)


def prepare(
    reader: Mapping[str, Any], root: str | os.PathLike, out: str | os.PathLike, *, overwrite: bool = False, progress: bool = True
) -> Path:
    """Write the manifest of a data set, or take it from `out` where nothing has changed since.

    Args:
        reader: Options of a component of `vsie/data/readers/`, its name under ``name``.
        root: The data set's folder.
        out: The folder for what is written; it holds nothing else.
        overwrite: Make it anew in any case.
        progress: Show a bar.

    Returns:
        The path of manifest.csv.

    Raises:
        FileNotFoundError: `root` is not there, or not laid out as the reader wants it.
        ValueError: A list or annotation is wrong, no clip can be used, an unknown option, or `out` holds something else.
    """
    root, out = Path(root).absolute(), Path(out)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of data (reader {reader.get('name')})")
    component: Reader = components.build_from(ROOM, reader)
    about = {"version": VERSION, "reader": dict(reader), "root": str(root), "sources": _state(component.sources(root)),
             ANCHORED: component.anchored}  # fmt: skip
    with locked(out):  # another that prepares the same waits, and takes it from there
        before = _about(out)
        if before is None and out.exists() and any(out.iterdir()):
            raise ValueError(f"{out}: holds something that was not prepared here, expected an empty or no folder")
        if before == json.loads(json.dumps(about)) and not overwrite:
            return out / "manifest.csv"
        if out.exists() and (foreign := sorted({entry.name for entry in out.iterdir()} - OWN)):
            raise ValueError(f"{out}: is to be made anew, and holds {foreign[0]}, which was not made here ({len(foreign)} in "
                             "all); move it elsewhere, or give another out=")  # fmt: skip
        partial, older = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "older"))
        for leftover in (partial, older):  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            (partial / "clips").mkdir(parents=True)
            kept, left = _write(component, root, partial, progress)
            write_text(partial / ABOUT, json.dumps(about, indent=1) + "\n")
            if out.exists():
                out.rename(older)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if older.exists() and not out.exists():
                older.rename(out)
            shutil.rmtree(older, ignore_errors=True)
    if left:
        log.warning("%d of %d clips cannot be used: %s", left, kept + left, out / "left_out.csv")
    return out / "manifest.csv"


def prepared(reader: Mapping[str, Any], root: str | os.PathLike, cache: Path) -> Path:
    """`prepare` in a folder below `cache` that is named after the reader, its options and `root`."""
    what = json.dumps([dict(reader), str(Path(root).resolve())], sort_keys=True, default=list)
    return prepare(reader, root, cache / f"{reader['name']}-{hashlib.sha256(what.encode()).hexdigest()[:12]}")


def _about(out: Path) -> dict | None:
    """What a folder that was prepared here was made from; None of another, which may say of its own frames in that file."""
    try:
        found = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"version", "reader", "root"} <= found.keys() else None


def _state(sources: list[Path]) -> str:
    """A hash that changes with any of the files and folders that a list is made from."""
    digest = hashlib.sha256()
    for source in sources:
        try:
            status = os.stat(source)
        except FileNotFoundError:
            raise FileNotFoundError(f"{source}: not there, but the reader needs it") from None
        size = 0 if source.is_dir() else status.st_size
        digest.update(f"{source}\0{size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _write(reader: Reader, root: Path, folder: Path, progress: bool) -> tuple[int, int]:
    """All files but the last; returns the numbers of clips kept and left out."""
    rows: list[tuple[str, str | int | None, str, str, bool, str]] = []  # path, label, object, split, posed, held out with
    left: list[LeftOut] = []
    names: set[str] = set()
    for entry in tqdm(reader.clips(root), desc="prepare", unit="clip", disable=not progress, mininterval=1):
        reason = entry.reason if isinstance(entry, LeftOut) else _unusable(entry, reader.min_frames, names)
        if reason is not None:
            left.append(LeftOut(entry.name, reason))
            continue
        names.add(entry.name)
        place = f"clips/{entry.name}"
        path = str(entry.video)
        if entry.times is not None:
            path = place + SUFFIX
            what = {"video": str(entry.video)} if entry.video else {"images": [str(image) for image in entry.images]}
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps({"times": entry.times.tolist(), **what}), encoding="utf-8")
        if entry.poses is not None:
            known = {} if entry.intrinsics is None else {"intrinsics": entry.intrinsics}
            times = entry.times - entry.times[0]
            np.savez(folder / f"{place}.npz", times=times, object_in_camera=entry.poses, **known)
        shown = entry.object or entry.name
        rows.append((path, entry.label, shown, entry.split, entry.poses is not None, entry.source or shown))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([("name", "reason"), *((item.name, item.reason) for item in left)])
    if not rows:
        first = f"; the first: {left[0].name}: {left[0].reason}" if left else ""
        raise ValueError(f"{root}: none of {len(left)} clips can be used{first}")
    write_text(folder / "left_out.csv", lines.getvalue())
    _manifest(rows, reader, root, folder)
    return len(rows), len(left)


def _unusable(entry: ClipEntry, least: int, names: set[str]) -> str | None:
    """Why a clip cannot be used; None where it can."""
    if Path(entry.name).is_absolute() or ".." in Path(entry.name).parts or entry.name in names:
        return "its name is there already, or no name below the data set"
    if entry.times is None:
        return None
    if not increasing(entry.times):
        return "the times of its frames do not increase"
    if len(entry.times) < least:
        return f"{len(entry.times)} frames, expected at least {least} (reader.min_frames)"
    return None


def _manifest(rows: list[tuple], reader: Reader, root: Path, folder: Path) -> None:
    """manifest.csv and classes.txt."""
    labels = {label for _, label, *_ in rows if label is not None}
    numbered = {label for label in labels if isinstance(label, int)}
    if numbered and numbered != labels:
        example = next(label for label in labels if label not in numbered)
        raise ValueError(f"{root}: classes by number in one list and by name ({example!r}) in another, expected one way")
    if numbered and (root / "classes.txt").is_file():
        write_text(folder / "classes.txt", (root / "classes.txt").read_text(encoding="utf-8"))
    classes = {label: label for label in labels} if numbered else {
        label: number for number, label in enumerate(sorted(labels, key=natural))
    }  # fmt: skip
    if classes and not numbered:
        write_text(folder / "classes.txt", "".join(f"{label}\n" for label in classes))
    held = _held_out(rows, reader.val_fraction)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, label, name, split, posed, source in rows:
        poses = f"{path.removesuffix(SUFFIX)}.npz" if posed else ""
        split = "val" if split == "train" and source in held else split
        writer.writerow((path, "" if label is None else classes[label], name, "", split, poses))
    write_text(folder / "manifest.csv", lines.getvalue())


def _held_out(rows: list[tuple], share: float) -> set[str]:
    """Sources of the split train that become the split val of a data set without one: those with the smallest hashes."""
    sources = sorted({source for *_, split, _, source in rows if split == "train"})
    if not share or len(sources) < 2 or any(split == "val" for *_, split, _, _ in rows):
        return set()
    order = sorted(sources, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(order[: min(math.ceil(share * len(sources)), len(sources) - 1)])
