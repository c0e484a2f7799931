"""Kinetics (Kay et al., arXiv 1705.06950), and whatever else is laid out like it.

With lists, in DIR or DIR/annotations, one per split, named ``train.csv``, ``kinetics_400_val.csv``, ``val.txt``, ...:

    label,youtube_id,time_start,time_end,split     the authors' form (lists of test have no label); the videos are anywhere
                                                   in DIR, trimmed: <youtube_id>_000010_000020.mp4, or <youtube_id>.mp4
    path label                                     the form of pytorchvideo, SlowFast and V-JEPA; paths absolute or below DIR

Without lists, the folders are the classes:

    DIR/<class>/*.mp4       or       DIR/{train,val,test}/<class>/*.mp4
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from vsie.data.readers.base import SPLIT_NAMES, ClipEntry, LeftOut, Reader, split_named, walk

COLUMNS = ("youtube_id", "time_start", "time_end")


class Kinetics(Reader):
    """Labelled videos in lists or in folders of classes.

    Args:
        val_fraction: Of `Reader`.
        min_frames: Of `Reader`; videos are not opened here, so that it leaves nothing out.
    """

    def sources(self, root: Path) -> list[Path]:
        """The lists, and all folders of videos."""
        return [*lists(root), *walk(root)]

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """The rows of the lists, or the videos in folders."""
        folders = walk(root)
        found = lists(root)
        if not found:
            if not any(folders.values()):
                raise FileNotFoundError(f"{root}: neither lists (train.csv, val.csv) nor videos in it or in its folders")
            yield from _by_folder(root, folders)
            return
        videos = {video.stem: video for folder in folders.values() for video in folder}
        seen: dict[Path, str] = {}
        for file in found:
            for line, entry in _listed(root, file, videos):
                if isinstance(entry, ClipEntry) and entry.video in seen:
                    entry = LeftOut(entry.name, f"{file}: row {line}: the video is there already, in {seen[entry.video]}")
                elif isinstance(entry, ClipEntry):
                    seen[entry.video] = f"{file}: row {line}"
                yield entry


def lists(root: Path) -> list[Path]:
    """The lists of a folder, train first."""
    order = list(dict.fromkeys(SPLIT_NAMES.values()))
    found = [file for folder in (root, root / "annotations") if folder.is_dir() for file in sorted(folder.iterdir())
             if file.suffix in (".csv", ".txt") and split_named(file.stem, lists=True)]  # fmt: skip
    return sorted(found, key=lambda file: (order.index(split_named(file.stem, lists=True)), file))


def _by_folder(root: Path, folders: dict[Path, list[Path]]) -> Iterator[ClipEntry]:
    for folder, videos in folders.items():
        parts = folder.relative_to(root).parts
        split = split_named(parts[0]) if parts else None
        inner = parts[1:] if split else parts
        for video in videos:
            name = "/".join((*parts, video.name))
            yield ClipEntry(name, video=video, label=inner[0] if inner else None, split=split or "train")


def _listed(root: Path, file: Path, videos: dict[str, Path]) -> Iterator[tuple[int, ClipEntry | LeftOut]]:
    """Lines and entries of one list of either form."""
    split = split_named(file.stem, lists=True)
    with open(file, newline="", encoding="utf-8-sig") as stream:
        first = stream.readline()
        stream.seek(0)
        if "youtube_id" in first:
            yield from _published(file, stream, videos, split)
            return
        for line, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            parts = text.strip().rsplit(maxsplit=1)
            if len(parts) != 2 or not parts[1].isdecimal():
                raise ValueError(f"{file}: row {line} is {text.strip()!r}, expected a path and the number of a class, or a "
                                 f"header with label,{','.join(COLUMNS)}")  # fmt: skip
            video = root / parts[0]
            if video.is_file() or video.is_dir():
                yield line, ClipEntry(parts[0].lstrip("/"), video=video, label=int(parts[1]), split=split)
            else:
                yield line, LeftOut(parts[0], f"{file}: row {line}: {video} is not a file that exists")


def _published(file: Path, stream, videos: dict[str, Path], split: str) -> Iterator[tuple[int, ClipEntry | LeftOut]]:
    reader = csv.DictReader(stream)
    for column in COLUMNS:
        if column not in (reader.fieldnames or ()):
            raise ValueError(f"{file}: column {column!r} is missing, found {','.join(reader.fieldnames or ())}")
    for row in reader:
        place = f"{file}: row {reader.line_num}"
        try:
            start, end = (round(float(row[name])) for name in COLUMNS[1:])
        except (TypeError, ValueError):
            found = f"{row['time_start']!r} and {row['time_end']!r}"
            raise ValueError(f"{place}, columns 'time_start' and 'time_end': found {found}, expected seconds") from None
        told = SPLIT_NAMES.get((row.get("split") or split).strip().lower())
        if told is None:
            raise ValueError(f"{place}, column 'split': found {row['split']!r}, expected one of {', '.join(SPLIT_NAMES)}")
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        video = videos.get(name, videos.get(row["youtube_id"]))
        if video is None:
            yield reader.line_num, LeftOut(name, f"{place}: no video of this name in the folder")
        else:
            yield reader.line_num, ClipEntry(name, video=video, label=(row.get("label") or "").strip() or None, split=told)
