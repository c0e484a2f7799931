"""Which videos there are, and what is known about each: the manifest, validated when it is loaded.

Three forms are read: a CSV with the header ``path,label,object,clip,split,poses``; the headerless two columns
``path label`` of Kinetics, pytorchvideo and V-JEPA; and a folder of videos. `data_manifests/README.md` describes them.
Every column is one array, and text is kept in NumPy's variable-width strings: a million rows are a few hundred MB, not a
million Python objects that every forked worker would copy by touching them.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vsie import pose
from vsie.data import image_sequence
from vsie.files import visible_files

LATENTS = ("rotation_x", "rotation_y", "rotation_z", "floor_hue", "spot_theta", "spot_phi", "spot_hue",
           "translation_x", "translation_y", "translation_z")  # fmt: skip
COLUMNS = ("path", "label", "object", "clip", "split", "poses")
SPLITS = ("train", "val", "test")
ABOUT, ANCHORED = "prepared.json", "anchored"  # what `vsie.data.prepare` says beside a manifest, see `Manifest.anchored`
VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .wmv .flv .3gp .ogv .gif".split())
SUFFIXES = VIDEO_SUFFIXES | {image_sequence.SUFFIX}
Strings = np.dtypes.StringDType()


@dataclass(frozen=True)
class Manifest:
    """One row per clip, one array of N per column.

    Attributes:
        file: The file or folder that was loaded.
        root: What relative paths are relative to.
        path: Paths of videos (or of folders of images, or ``.clip`` files) as they were written, str (N,).
        label: Index into `classes`, int64 (N,); -1 where there is none.
        object: Index into `objects`, int64 (N,): rows of one object show the same thing.
        clip: Number of the clip within its object, int64 (N,).
        split: Index into `SPLITS`, int8 (N,).
        pose_path: Pose files as they were written, str (N,); empty where there is none.
        objects: Names of the objects in the order of their first row, str (O,).
        classes: Names of the classes; the numbers themselves where there is no classes.txt.
        latent_names: Names of what else is known of each frame, such as the hue of its light; empty where nothing is.
        unordered: Whether the frames of a clip are views in no order of their own, as in `three_die_bench`.
        anchored: Whether the objects' own frames, in which their poses are, can be told from a picture. Those of structure from
            motion lie as they happened to (`vsie.data.prepare` says so beside its manifests): then only poses of one object
            can be compared, and motion can be told in the camera's frame alone.
    """

    file: Path
    root: Path
    path: np.ndarray
    label: np.ndarray
    object: np.ndarray
    clip: np.ndarray
    split: np.ndarray
    pose_path: np.ndarray
    objects: np.ndarray
    classes: tuple[str, ...]
    latent_names: tuple[str, ...] = ()
    unordered: bool = False
    anchored: bool = True

    def __len__(self) -> int:
        return len(self.path)

    def video(self, row: int) -> Path:
        """The video file of a row."""
        return self.root / str(self.path[row])

    def pose_file(self, row: int) -> Path | None:
        """The pose file of a row; None where there is none."""
        name = str(self.pose_path[row])
        return self.root / name if name else None

    @functools.cached_property
    def posed(self) -> np.ndarray:
        """Whether each row has poses, bool (N,)."""
        return self.pose_path != ""

    def holds(self, split: str) -> bool:
        """Whether any row is of a split."""
        return split in SPLITS and bool((self.split == SPLITS.index(split)).any())

    def rows(self, split: str) -> np.ndarray:
        """The rows, int64, of a split, in order. A split without rows is a ValueError that says which there are."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
        rows = np.flatnonzero(self.split == SPLITS.index(split))
        if not len(rows):
            found = ", ".join(SPLITS[index] for index in np.unique(self.split))
            raise ValueError(f"{self.file}: no row of split {split!r}, found {found}")
        return rows

    def take(self, rows: np.ndarray) -> Manifest:
        """The manifest of some of its rows."""
        columns = ("path", "label", "object", "clip", "split", "pose_path")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def latents(self, row: int, frames: int) -> np.ndarray:
        """What else is known of the `frames` frames of a row's clip, (T, L) float64, from the field `latents` of its pose file.

        Raises:
            ValueError: The field is missing, of another length, or not finite; the file is named.
        """
        file, length = self.pose_file(row), len(self.latent_names)
        with np.load(file) as archive:
            values = archive["latents"] if "latents" in archive.files else np.empty(0)
        if values.shape != (frames, length) or not np.isfinite(values).all():
            raise ValueError(f"{file}: field 'latents' has shape {values.shape}, expected ({frames}, {length}) finite numbers")
        return values.astype(np.float64)

    def poses(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Times (T,) in seconds and object-in-camera poses (T, 4, 4), float64, of a row; see `load_poses`."""
        file = self.pose_file(row)
        if file is None:
            raise ValueError(f"{self.file}: row {row} ({self.path[row]}) has no poses")
        return load_poses(file)


def load_poses(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the fields `times` (T,) and `object_in_camera` (T, 4, 4) of an .npz, float64, and check them.

    Raises:
        ValueError: When the file cannot be read, a field is missing, of another shape, not finite, when times do not
            increase, or a pose is not a rotation with a last row of 0 0 0 1. File and field are named.
    """
    try:
        with np.load(file) as archive:
            fields = {name: np.asarray(archive[name]) for name in ("times", "object_in_camera") if name in archive.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # zip, header and CRC errors come as half a dozen types
        raise ValueError(f"{file}: cannot be read as .npz ({error})") from None
    for name in ("times", "object_in_camera"):
        if name not in fields:
            raise ValueError(f"{file}: field {name!r} is missing")
        if fields[name].dtype.kind not in "fiu":
            raise ValueError(f"{file}: field {name!r} is of type {fields[name].dtype}, expected float64")
        if not np.isfinite(fields[name]).all():
            raise ValueError(f"{file}: field {name!r} holds values that are not finite")
    times, poses = fields["times"].astype(np.float64), fields["object_in_camera"].astype(np.float64)
    if times.ndim != 1 or not len(times):
        raise ValueError(f"{file}: field 'times' has shape {times.shape}, expected (T,) with T >= 1")
    if poses.shape != (len(times), 4, 4):
        raise ValueError(f"{file}: field 'object_in_camera' has shape {poses.shape}, expected {(len(times), 4, 4)}")
    if (np.diff(times) <= 0).any():
        raise ValueError(f"{file}: field 'times' does not increase at frame {int(np.argmax(np.diff(times) <= 0)) + 1}")
    rigid = pose.is_rotation(torch.from_numpy(poses[:, :3, :3])).numpy()
    rigid &= np.abs(poses[:, 3] - (0, 0, 0, 1)).max(-1) <= 1e-6
    if not rigid.all():
        raise ValueError(
            f"{file}: field 'object_in_camera' is not a rigid motion at frame {int(np.argmin(rigid))}, expected a rotation "
            f"(orthonormal, right-handed) and a last row 0 0 0 1, found {poses[np.argmin(rigid)].round(4).tolist()}"
        )
    return times, poses


def load(path: str | os.PathLike, *, split: str = "train") -> Manifest:
    """Load and validate a manifest.

    Args:
        path: A CSV with a header, a headerless ``path label`` file, a folder with a `manifest.csv`, a folder of videos
            (read recursively in sorted order; each file is one object), one video, or a folder of images, which is one.
        split: The split of all rows where the form has no such column.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: Something is wrong in it; names file, row (1-based line), column, what was found and expected.
    """
    path = Path(path)
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if path.is_dir():
        if (path / "manifest.csv").is_file():
            return load(path / "manifest.csv", split=split)
        if image_sequence.images_in(path):
            return _build(path, path.parent, iter([(0, _bare(Path(path.name), split))]))
        return _build(path, path, ((0, _bare(name.relative_to(path), split)) for name in _videos(path)))
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such manifest or folder of videos")
    if path.suffix.lower() in SUFFIXES:
        return _build(path, path.parent, iter([(0, _bare(Path(path.name), split))]))
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = next((line.strip() for line in file if line.strip()), "")
            file.seek(0)
            if not first:
                raise ValueError(f"{path}: the manifest is empty")
            two_columns = "," not in first or first.split()[-1].lstrip("-").isdigit()
            found = _build(path, path.parent, _pairs(path, file, split) if two_columns else _table(path, file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from None
    return dataclasses.replace(found, anchored=_anchored(path.parent / ABOUT))


def _anchored(file: Path) -> bool:
    """What is said beside a manifest about its objects' frames: those of structure from motion where it is not."""
    if not file.is_file():
        return True
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read as JSON ({error})") from None
    found = about.get(ANCHORED, False) if isinstance(about, dict) else None
    if not isinstance(found, bool):
        raise ValueError(f"{file}: field {ANCHORED!r} is {found!r}, expected true or false")
    return found


def _bare(name: Path, split: str) -> dict[str, str]:
    return {"path": str(name), "label": "", "object": "", "clip": "", "split": split, "poses": ""}


def _videos(folder: Path) -> list[Path]:
    found = visible_files(folder, SUFFIXES)
    if not found:
        raise ValueError(f"{folder}: no video in this folder, expected files that end in {' '.join(sorted(VIDEO_SUFFIXES))}")
    return found


def _table(path: Path, file) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of the CSV form with the line on which each ends."""
    reader = csv.reader(file)
    header: list[str] = []
    while not header:
        header = [name.strip() for name in next(reader)]
    for column in COLUMNS:
        if header.count(column) != 1:
            what = "missing" if column not in header else "there more than once"
            raise ValueError(f"{path}: column {column!r} is {what}, found {','.join(header)}, expected {','.join(COLUMNS)}")
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise ValueError(f"{path}: row {reader.line_num} has {len(cells)} cells, expected {len(header)} as in the header")
        yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _pairs(path: Path, file, split: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of the `path label` form: the label is what follows the last white space."""
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        parts = text.strip().rsplit(maxsplit=1)
        if len(parts) != 2:
            raise ValueError(f"{path}: row {line} is {text.strip()!r}, expected a path and a label, or a CSV with the header "
                             f"{','.join(COLUMNS)}")  # fmt: skip
        yield line, {**_bare(Path(parts[0]), split), "label": parts[1]}


def _integer(path: Path, line: int, column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{path}: row {line}, column {column!r}: found {text!r}, expected an integer >= 0")
    return int(text)


def _file(manifest: Path, root: Path, line: int, column: str, name: str) -> None:
    """Check that a file named in a row is there and, when its path is relative, inside of the manifest's folder."""
    place = f"{manifest}: row {line}, column {column!r}"
    if not name:
        raise ValueError(f"{place}: found nothing, expected the path of a file")
    if not os.path.isabs(name) and os.path.normpath(name).split(os.sep)[0] == os.pardir:
        raise ValueError(f"{place}: {name!r} leaves the manifest's folder, expected a path inside of it or an absolute one")
    if not os.path.isfile(root / name) and not (column == "path" and os.path.isdir(root / name)):  # a folder of images
        raise ValueError(f"{place}: {root / name} is not a file that exists")


def _classes(root: Path) -> tuple[str, ...]:
    file = root / "classes.txt"
    if not file.is_file():
        return ()
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    if not names:
        raise ValueError(f"{file}: empty, expected one class name a line")
    return names


def _build(manifest: Path, root: Path, rows: Iterator[tuple[int, dict[str, str]]]) -> Manifest:
    """Validate rows and put them into columns."""
    classes = _classes(root)
    seen: dict[str, int] = {}
    index: dict[str, int] = {}
    about: list[tuple[int, int]] = []  # (label, split) of each object
    columns: dict[str, list] = {column: [] for column in COLUMNS}
    taken: set[tuple[int, int]] = set()
    counts: list[int] = []
    for line, row in rows:
        name = row["path"]
        _file(manifest, root, line, "path", name)
        if name in seen:
            raise ValueError(f"{manifest}: row {line}, column 'path': {name!r} is there already in row {seen[name]}")
        seen[name] = line
        if row["split"] not in SPLITS:
            expected = ", ".join(SPLITS)
            raise ValueError(f"{manifest}: row {line}, column 'split': found {row['split']!r}, expected one of {expected}")
        split = SPLITS.index(row["split"])
        label = _integer(manifest, line, "label", row["label"]) if row["label"] else -1
        if classes and label >= len(classes):
            raise ValueError(f"{manifest}: row {line}, column 'label': found {label}, expected 0 to {len(classes) - 1}, as "
                             f"{root / 'classes.txt'} has {len(classes)} names")  # fmt: skip
        if row["poses"]:
            _file(manifest, root, line, "poses", row["poses"])
        owner = index.setdefault(row["object"] or name, len(index))
        if owner == len(about):
            about.append((label, split))
            counts.append(0)
        for column, found, expected in zip(("label", "split"), (label, split), about[owner], strict=True):
            if found != expected:
                names = (SPLITS[found], SPLITS[expected]) if column == "split" else (found, expected)
                raise ValueError(f"{manifest}: row {line}, column {column!r}: found {names[0]} where an earlier row of object "
                                 f"{row['object']!r} has {names[1]}, expected the same")  # fmt: skip
        clip = _integer(manifest, line, "clip", row["clip"]) if row["clip"] else counts[owner]
        counts[owner] = max(counts[owner], clip + 1)
        if (owner, clip) in taken:
            raise ValueError(f"{manifest}: row {line}, column 'clip': clip {clip} of object {row['object']!r} is there already")
        taken.add((owner, clip))
        for column, value in zip(COLUMNS, (name, label, owner, clip, split, row["poses"]), strict=True):
            columns[column].append(value)
    if not seen:
        raise ValueError(f"{manifest}: no rows, expected at least one video")
    labels = np.array(columns["label"], dtype=np.int64)
    return Manifest(
        file=manifest,
        root=root,
        path=np.array(columns["path"], dtype=Strings),
        label=labels,
        object=np.array(columns["object"], dtype=np.int64),
        clip=np.array(columns["clip"], dtype=np.int64),
        split=np.array(columns["split"], dtype=np.int8),
        pose_path=np.array(columns["poses"], dtype=Strings),
        objects=np.array(list(index), dtype=Strings),
        classes=classes or tuple(str(label) for label in range(int(labels.max()) + 1)),
        latent_names=_latent_names(root, columns["poses"]),
    )


def _latent_names(root: Path, poses: list[str]) -> tuple[str, ...]:
    """The names of what all pose files keep beside poses, as rendered ones do: told by the first."""
    if not poses or not all(poses):
        return ()
    try:
        with np.load(root / poses[0]) as archive:
            shape = archive["latents"].shape if "latents" in archive.files else ()
    except Exception:  # what is wrong with the file is said when its poses are read
        return ()
    return LATENTS[: shape[1]] if len(shape) == 2 and shape[1] in (7, 10) else ()
