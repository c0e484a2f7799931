"""Is a copy of 3DIEBench whole and unchanged? Nobody publishes check sums, so the first copy that passes writes them.

*Whole*: the index files are as `three_die_bench.load` wants them, every object has all of its views, every latent is in its
range and every image can be decoded. *Unchanged*: every object's files and every index file have the size and the SHA-256 that
a list names, one line an object, where the digest is over names and contents of its files, sorted by name, and one an index
file, over its content. A list is written by the first run over a copy that is whole; what it says is about that copy, not about
the one that the authors hold.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from vsie.data import three_die_bench
from vsie.data.still import decode_image
from vsie.data.three_die_bench import FILE, INDEX, SPLITS, ViewSource
from vsie.files import atomic_path

COLUMNS = ("object", "files", "bytes", "sha256")
INDEX_FILES = (*(f"{split}_{what}.npy" for split in ("train", "val") for what in ("images", "labels")), "all_objects.npy")
CHUNK = 32  # objects that a worker takes at a time
Entry = tuple[str, int, int, str]


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        objects: Number of objects.
        views: Number of views.
        bytes: Size of their files, and of the index.
        known: Whether the numbers of objects are those of 3DIEBench as published.
        written: The list, where this run wrote it; None where it was compared.
    """

    objects: int
    views: int
    bytes: int
    known: bool
    written: Path | None


def digest(source: ViewSource, row: int) -> Entry:
    """Name, number of files, bytes and SHA-256 of an object whose views were all read and decoded once."""
    _, _, images = source.describe(row)
    for image in images:
        decode_image(image.read_bytes(), image)
    folder = source.manifest.video(row)
    total, sha = 0, hashlib.sha256()
    names = sorted(name for name in os.listdir(folder) if FILE.fullmatch(name))
    for name in names:
        data = (folder / name).read_bytes()
        sha.update(f"{name}\0{len(data)}\0".encode())
        sha.update(data)
        total += len(data)
    return str(source.manifest.objects[row]), len(names), total, sha.hexdigest()


def digest_index(root: Path) -> list[Entry]:
    """The same of the index files; none where a folder is without."""
    found = [(name, (root / name).read_bytes()) for name in INDEX_FILES if (root / name).is_file()]
    return [(name, 1, len(data), hashlib.sha256(data).hexdigest()) for name, data in found]


def verify(root: str | os.PathLike, file: str | os.PathLike, *, views: int = three_die_bench.VIEWS, rotations: str = "released",
           workers: int | None = None) -> Verdict:  # fmt: skip
    """Check that a folder is whole, and compare it with the list in `file`, or write that list where it is not there.

    Args:
        root: The folder in 3DIEBench's layout.
        file: A CSV with the columns object, files, bytes, sha256.
        views: Of `ViewSource`.
        rotations: Of `ViewSource`.
        workers: Processes; 1 for none but this one; None for one per CPU that this process may use.

    Raises:
        FileNotFoundError, ValueError, VideoError: The first defect: what is missing, damaged, or other than in the list.
    """
    manifest, file = three_die_bench.load(root), Path(file)
    expected = read(file) if file.exists() else None
    index = digest_index(Path(root))
    if expected is not None:
        _same_objects({*manifest.objects.tolist(), *(entry[0] for entry in index)}, set(expected), file, Path(root))
    source = ViewSource(manifest, views=views, rotations=rotations)
    entries: dict[str, Entry] = {}
    objects = tqdm(_entries(source, workers), total=len(manifest), desc="verify", unit="object")
    for entry in itertools.chain(index, objects):
        entries[entry[0]] = entry
        for name, found, wanted in zip(COLUMNS[1:], entry[1:], expected[entry[0]][1:] if expected else (), strict=False):
            if found != wanted:
                raise ValueError(f"{Path(root) / entry[0]}: {name} {found}, expected {wanted} as in {file}")
    if expected is None:
        with atomic_path(file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(entries[name] for name in sorted(entries))
    facts = json.loads((INDEX / "3diebench.json").read_text(encoding="utf-8"))
    known = all(int((manifest.split == SPLITS.index(split)).sum()) == facts[split] for split in ("train", "val"))
    total = sum(entry[2] for entry in entries.values())
    pictures = (sum(entry[1] for entry in entries.values()) - len(index)) // 2
    return Verdict(len(manifest), pictures, total, known, None if expected else file)


def read(file: Path) -> dict[str, Entry]:
    """A list by object. Raises a ValueError that names file and row."""
    with open(file, newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        if tuple(next(reader, ())) != COLUMNS:
            raise ValueError(f"{file}: not a list of check sums, expected the header {','.join(COLUMNS)}")
        found = {}
        for row in reader:
            if len(row) != len(COLUMNS) or not (row[1].isdigit() and row[2].isdigit()) or len(row[3]) != 64:
                raise ValueError(f"{file}: row {reader.line_num} is {','.join(row)!r}, expected {','.join(COLUMNS)}")
            found[row[0]] = (row[0], int(row[1]), int(row[2]), row[3])
    return found


def _same_objects(here: set[str], listed: set[str], file: Path, root: Path) -> None:
    for what, names in (("is in the list and not in the index of", listed - here), ("is not in the list but in", here - listed)):
        if names:
            raise ValueError(f"{file}: {sorted(names)[0]} ({len(names)} in all) {what} {root}")


def _entries(source: ViewSource, workers: int | None) -> Iterator[Entry]:
    """The entries of all objects, in any order."""
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    rows = range(len(source.manifest))
    if workers < 2 or len(rows) < 2 * CHUNK:
        for row in rows:
            yield digest(source, row)
        return
    chunks = [range(begin, min(begin + CHUNK, len(rows))) for begin in range(0, len(rows), CHUNK)]
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (source,)) as pool:
        try:
            for entries in pool.map(_digest_rows, chunks):
                yield from entries
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_source: ViewSource  # of a worker process, sent once


def _start_worker(source: ViewSource) -> None:
    global _source
    _source = source
    import cv2

    cv2.setNumThreads(1)


def _digest_rows(rows: range) -> list[Entry]:
    return [digest(_source, row) for row in rows]
