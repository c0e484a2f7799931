"""uCO3D (Liu et al., CVPR 2025, arXiv 2501.07574) as released: turn-table videos of objects, some frames with cameras.

    DIR/metadata.sqlite                                       tables frame_annots and sequence_annots
    DIR/set_lists/set_lists_<subset>.sqlite                   table set_lists: sequence_name, frame_number, subset
    DIR/<super category>/<category>/<sequence>/rgb_video.mp4

A clip is the frames of a video that have a camera (200 of them as a rule). Viewpoints are PyTorch3D's; the alignment that
comes with a sequence, ``x_aligned = scale (x R + T)``, puts the object upright into the middle, as the authors' own loader
does. The unit of translations is each sequence's own. Lens distortion is left as it is in the pictures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from vsie.data.readers.base import ClipEntry, LeftOut, Reader, increasing, ndc_intrinsics, viewpoint_poses

FRAME = ("frame_timestamp", "_image_size", "_viewpoint_R", "_viewpoint_T", "_viewpoint_focal_length",
         "_viewpoint_principal_point", "_viewpoint_intrinsics_format")  # fmt: skip
ALIGNMENTS = (("_alignment_R", "_alignment_T", "_alignment_scale"),
              ("alignment_rotation", "alignment_translation", "alignment_scale"))  # fmt: skip
LABELS = ("category", "super_category")


class Uco3d(Reader):
    """A sequence is a clip and an object of its own.

    Args:
        subset: Name of a set list, such as ``all-categories`` or ``static-categories``; None for all sequences.
        labels: ``category`` (about 1000) or ``super_category`` (50).
        aligned: Whether poses are those of the aligned object.
        val_fraction: Of `Reader`.
        min_frames: Of `Reader`.
    """

    def __init__(
        self,
        *,
        subset: str | None = None,
        labels: str = "category",
        aligned: bool = True,
        val_fraction: float = 0.1,
        min_frames: int = 8,
    ) -> None:
        super().__init__(val_fraction=val_fraction, min_frames=min_frames)
        if labels not in LABELS:
            raise ValueError(f"reader.labels is {labels!r}, expected one of {', '.join(LABELS)}")
        self.subset, self.labels, self.aligned, self.anchored = subset, labels, aligned, aligned

    def sources(self, root: Path) -> list[Path]:
        """The data bases, and the folders two deep, to which downloads add."""
        folders = [root, *sorted(folder for folder in root.glob("*/*") if folder.is_dir())]
        return [root / "metadata.sqlite", *([self._list(root)] if self.subset else []), *folders]

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """The sequences, by name."""
        splits = self._splits(root)
        with closing(_connect(root / "metadata.sqlite")) as metadata:
            known = {row["name"] for row in metadata.execute("PRAGMA table_info(sequence_annots)")}
            alignment = next((names for names in ALIGNMENTS if known.issuperset(names)), None) if self.aligned else None
            for row in metadata.execute("SELECT * FROM sequence_annots ORDER BY sequence_name"):
                if splits is None or row["sequence_name"] in splits:
                    entry = self._sequence(root, metadata, row, alignment)
                    if isinstance(entry, ClipEntry) and splits is not None:
                        entry.split = splits[row["sequence_name"]]
                    yield entry

    def _list(self, root: Path) -> Path:
        return root / "set_lists" / f"set_lists_{self.subset}.sqlite"

    def _splits(self, root: Path) -> dict[str, str] | None:
        if self.subset is None:
            return None
        with closing(_connect(self._list(root))) as lists:
            rows = lists.execute("SELECT DISTINCT sequence_name, subset FROM set_lists").fetchall()
        order = ("test", "val", "train")
        for row in rows:
            if row["subset"] not in order:
                raise ValueError(f"{self._list(root)}: subset is {row['subset']!r}, expected one of {', '.join(order)}")
        return {row["sequence_name"]: row["subset"] for row in sorted(rows, key=lambda row: order.index(row["subset"]))}

    def _sequence(self, root: Path, metadata: sqlite3.Connection, row: sqlite3.Row, alignment) -> ClipEntry | LeftOut:
        name = "/".join(str(row[column]) for column in ("super_category", "category", "sequence_name"))
        video = root / row["_video_path"] if row["_video_path"] else None
        if video is None or not video.is_file():
            return LeftOut(name, f"{video} is not there")
        query = f"SELECT {', '.join(FRAME)} FROM frame_annots WHERE sequence_name = ? AND _viewpoint_R IS NOT NULL"
        frames = metadata.execute(f"{query} ORDER BY frame_number", (row["sequence_name"],)).fetchall()
        if not frames:
            return LeftOut(name, "it has no viewpoints")
        where = f"{root / 'metadata.sqlite'}: {row['sequence_name']}"
        rotation = np.stack([_numbers(frame["_viewpoint_R"], (3, 3), where) for frame in frames])
        translation = np.stack([_numbers(frame["_viewpoint_T"], (3,), where) for frame in frames])
        if self.aligned:
            if alignment is None or any(row[column] is None for column in alignment):
                return LeftOut(name, "it has no alignment; reader.aligned=false takes it as it lies")
            turn, shift = _numbers(row[alignment[0]], (3, 3), where), _numbers(row[alignment[1]], (3,), where)
            rotation = turn.T @ rotation  # x_camera = (x_aligned / scale - shift) turn^T R + T, in units of the aligned object
            translation = float(row[alignment[2]]) * (translation - shift @ rotation)
        poses = viewpoint_poses(rotation, translation, name)
        if isinstance(poses, LeftOut):
            return poses
        times = np.array([frame["frame_timestamp"] for frame in frames], dtype=np.float64)
        if not increasing(times):
            return LeftOut(name, "the timestamps of its frames do not increase")
        focal, principal = (np.stack([_numbers(frame[column], (2,), where) for frame in frames]) for column in FRAME[4:6])
        sizes = [_numbers(frame["_image_size"], (2,), where, "<i4") for frame in frames]
        kind = frames[0]["_viewpoint_intrinsics_format"] or "ndc_isotropic"
        intrinsics = ndc_intrinsics(focal, principal, sizes, kind)
        return ClipEntry(name, video=video, times=times, poses=poses, intrinsics=intrinsics, label=row[self.labels])


def _connect(file: Path) -> sqlite3.Connection:
    """A data base opened for reading, its rows by name."""
    if not file.is_file():
        known = ", ".join(sorted(other.name for other in file.parent.glob("*.sqlite"))) or "none"
        raise FileNotFoundError(f"{file}: no such data base of uCO3D, found {known}")
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def _numbers(blob: bytes, shape: tuple[int, ...], where: str, kind: str = "<f4") -> np.ndarray:
    """The numbers of a field, packed one after the other, as float64."""
    values = np.frombuffer(blob, dtype=kind) if len(blob) % 4 == 0 else np.zeros(0)
    if values.size != np.prod(shape):
        raise ValueError(f"{where}: found {len(blob)} bytes in a field, expected {4 * int(np.prod(shape))} for {shape} numbers")
    return values.astype(np.float64).reshape(shape)
