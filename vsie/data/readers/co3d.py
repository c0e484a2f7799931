"""CO3D, version 2 (Reizenstein et al., ICCV 2021, arXiv 2109.00512) as released: photographs of objects walked round.

    DIR/<category>/frame_annotations.jgz                  gzipped JSON: image, timestamp and viewpoint of every frame
    DIR/<category>/set_lists/set_lists_<subset>.json      "train", "val", "test": [sequence, frame number, image path]
    DIR/<category>/<sequence>/images/frame000001.jpg ...

Viewpoints are PyTorch3D's (`vsie.pose.from_pytorch3d`), found by COLMAP: the unit of translations is each sequence's own. The
annotations of a category are read as a whole (JSON cannot be read otherwise): gigabytes of memory for the largest.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vsie.data.readers.base import ClipEntry, LeftOut, Reader, increasing, ndc_intrinsics, viewpoint_poses

ANNOTATIONS = "frame_annotations.jgz"
FIELDS = {"image": ("path", "size"), "viewpoint": ("R", "T", "focal_length", "principal_point")}  # of a frame that is used
FPS = 10.0  # of frames whose timestamps say nothing


class Co3d(Reader):
    """A sequence is a clip and an object of its own, labelled with its category.

    Args:
        categories: Only these; None for all that are there.
        subset: Name of a set list, such as ``fewview_dev``: its sequences alone, each in the split that its frames are in (train
            before val before test); None for all sequences.
        val_fraction: Of `Reader`.
        min_frames: Of `Reader`.
    """

    def __init__(
        self,
        *,
        categories: tuple[str, ...] | None = None,
        subset: str | None = None,
        val_fraction: float = 0.1,
        min_frames: int = 8,
    ) -> None:
        super().__init__(val_fraction=val_fraction, min_frames=min_frames)
        self.categories, self.subset = categories, subset

    def sources(self, root: Path) -> list[Path]:
        """The annotations, the lists, and the folders of categories."""
        folders = self._folders(root)
        return [*folders, *(folder / ANNOTATIONS for folder in folders), *(file for f in folders if (file := self._list(f)))]

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """The sequences of all categories."""
        for folder in self._folders(root):
            splits = None if self.subset is None else _splits(self._list(folder))
            frames = _frames(folder / ANNOTATIONS)
            for sequence in sorted(frames):
                if splits is None or sequence in splits:
                    entry = _sequence(root, folder, sequence, frames[sequence])
                    if isinstance(entry, ClipEntry) and splits is not None:
                        entry.split = splits[sequence]
                    yield entry

    def _folders(self, root: Path) -> list[Path]:
        found = sorted(file.parent for file in root.glob(f"*/{ANNOTATIONS}"))
        if self.categories is not None:
            for name in self.categories:
                if root / name not in found:
                    raise FileNotFoundError(f"{root / name / ANNOTATIONS}: this category is not there, found "
                                            f"{', '.join(folder.name for folder in found) or 'none'}")  # fmt: skip
            found = [folder for folder in found if folder.name in self.categories]
        if not found:
            raise FileNotFoundError(f"{root}: no category with a {ANNOTATIONS}, expected DIR/<category>/{ANNOTATIONS}")
        return found

    def _list(self, folder: Path) -> Path | None:
        if self.subset is None:
            return None
        file = folder / "set_lists" / f"set_lists_{self.subset}.json"
        if not file.is_file():
            known = sorted(other.stem.removeprefix("set_lists_") for other in (folder / "set_lists").glob("set_lists_*.json"))
            raise FileNotFoundError(f"{file}: no such set list, found {', '.join(known) or 'none'}")
        return file


def _splits(file: Path) -> dict[str, str]:
    """The split of each sequence of a set list."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {str(row[0]): split for split in ("test", "val", "train") for row in told.get(split, [])}
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{file}: not a set list ({error}), expected train, val, test: [[sequence, frame, path], ...]") from None


def _frames(file: Path) -> dict[str, list[Mapping]]:
    """The annotations of a category by sequence, in the order of frames."""
    try:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            rows = json.load(stream)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read as gzipped JSON ({error})") from None
    found: dict[str, list[Mapping]] = defaultdict(list)
    for number, row in enumerate(rows):
        for field in ("sequence_name", "frame_number", "image"):
            if field not in row:
                raise ValueError(f"{file}: entry {number} has no field {field!r}")
        found[row["sequence_name"]].append(row)
    for sequence in found.values():
        sequence.sort(key=lambda row: row["frame_number"])
    return found


def _sequence(root: Path, folder: Path, sequence: str, rows: Sequence[Mapping]) -> ClipEntry | LeftOut:
    """One clip of the frames that have a viewpoint and an image.

    Raises:
        ValueError: A field is missing; the file, the sequence, the frame and the field are named.
    """
    name = f"{folder.name}/{sequence}"
    there = {file.name for file in (folder / sequence / "images").glob("*")}
    posed = [row for row in rows if row.get("viewpoint") is not None]
    for row, (field, keys) in itertools.product(posed, FIELDS.items()):
        lacks = [key for key in keys if not isinstance(row[field], Mapping) or key not in row[field]]
        if lacks:
            raise ValueError(f"{folder / ANNOTATIONS}: sequence {sequence}, frame {row['frame_number']}: {field} has no field "
                             f"{lacks[0]!r}")  # fmt: skip
    rows = [row for row in posed if Path(row["image"]["path"]).name in there]
    if not rows:
        return LeftOut(name, f"none of its {len(posed)} images is there" if posed else "it has no viewpoints")
    views = [row["viewpoint"] for row in rows]
    poses = viewpoint_poses([view["R"] for view in views], [view["T"] for view in views], name)
    if isinstance(poses, LeftOut):
        return poses
    times = np.array([row.get("frame_timestamp", np.nan) for row in rows], dtype=np.float64)
    if not increasing(times):  # some releases have -1 everywhere
        times = np.array([row["frame_number"] for row in rows], dtype=np.float64) / FPS
    kind = views[0].get("intrinsics_format", "ndc_norm_image_bounds")
    intrinsics = ndc_intrinsics([view["focal_length"] for view in views], [view["principal_point"] for view in views],
                                [row["image"]["size"] for row in rows], kind)  # fmt: skip
    images = [root / row["image"]["path"] for row in rows]
    return ClipEntry(name, images=images, times=times, poses=poses, intrinsics=intrinsics, label=folder.name)
