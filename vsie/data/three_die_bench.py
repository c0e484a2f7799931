"""3DIEBench as it is released (Garrido, Najman, LeCun, ICML 2023), 3DIEBench-T, and whatever else lies in that layout.

    DIR/<synset>/<object>/image_{0..49}.jpg, latent_{0..49}.npy     7 or, for 3DIEBench-T, 10 float64
    DIR/{train,val}_{images,labels}.npy                             "/<synset>/<object>", int64

What it gives is what videos give: an object is one clip, whose frames are its views in the order of a short geodesic path
(`geodesic_path`), one second apart; so windows along it turn little from frame to frame, and still pairs are windows of one
frame, which are any of its views. Nothing downstream knows the difference but by `Manifest.unordered`.

Rotations are extrinsic xyz Euler angles, ``R = Rz(c) Ry(b) Rx(a)``; the camera stands still. 3DIEBench-T moves objects in their
own frame, ``x_world = R (x_object + t)``. In the release red and blue are probably swapped: the script that made it gave RGB
arrays to OpenCV's BGR writer. Published results and SIE's normalisation are for the files as they are; `swap_rb` undoes it.
What we render is not swapped.

Without index files the folder is read like an ImageFolder, all its objects and every fifth one of a class in the split val: a
part of a download is enough for a quick look.
"""

from __future__ import annotations

import csv
import dataclasses
import logging
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from vsie import pose
from vsie.data import geodesic_path
from vsie.data.decode import VideoError
from vsie.data.manifest import LATENTS, SPLITS, Manifest, Strings
from vsie.data.sources import Clip, resize
from vsie.data.still import decode_image

log = logging.getLogger(__name__)

VIEWS = 50
LENGTHS = (7, 10)
RANGES = {
    "released": ((0.0, 0.0, 0.0), (np.pi / 2, np.pi / 2, np.pi / 2)),
    "ood": ((np.pi / 2, 0.0, np.pi / 2), (np.pi, np.pi, np.pi)),
    "any": ((0.0, 0.0, 0.0), (np.pi, np.pi, np.pi)),
}
"""Least and largest sizes of the Euler angles: of the data set, of held-out rotations, of any. With the second angle beyond pi/2
too, as seq-JEPA released them, held-out rotations are the data set's own, written otherwise: see `vsie.render.trajectories`."""
TOLERANCE = 1e-6
FILE = re.compile(r"(image|latent)_(\d+)\.(?:jpg|npy)")
INDEX = Path(__file__).resolve().parents[2] / "data_manifests"
_CAMERA_DISTANCE = 2.5


def load(root: str | os.PathLike, *, objects: int | None = None) -> Manifest:
    """The objects of a folder in 3DIEBench's layout, one row each.

    Args:
        root: The folder.
        objects: For a quick look only about so many, the splits in their proportion and classes in turn; None for all.

    Raises:
        FileNotFoundError: `root`, an index file or an object that an index names is not there.
        ValueError: An index file cannot be used, a class has no object in val, or the first latent is of a wrong length. The
            file is named.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of 3DIEBench")
    if objects is not None and objects < 2:
        raise ValueError(f"objects is {objects}, expected at least 2 (one to train on and one to hold out), or null for all")
    has_index = any((root / f"{split}_images.npy").exists() for split in ("train", "val"))
    places, labels, splits = _indexed(root) if has_index else _folder(root)
    _check_index(root, places, labels, splits, has_index)
    if not has_index:
        count = int((splits == SPLITS.index("val")).sum())
        log.warning("%s: no train_images.npy and val_images.npy: every fifth object of a class is held out, %d of %d, which is "
                    "not the released split", root, count, len(places))  # fmt: skip
    if objects is not None and objects < len(places):
        chosen = _some(labels, splits, objects)
        places, labels, splits = places[chosen], labels[chosen], splits[chosen]
    _check_present(root, places, splits, has_index)
    synsets = dict(zip(labels.tolist(), (place.split("/")[0] for place in places.tolist()), strict=True))
    first = root / places[0]
    length = _latent(_numbered(first)["latent"].get(0, first / "latent_0.npy")).shape[0]
    return Manifest(
        file=root / "train_images.npy" if has_index else root,
        root=root,
        path=places.astype(Strings),
        label=labels,
        object=np.arange(len(places)),
        clip=np.zeros(len(places), dtype=np.int64),
        split=splits,
        pose_path=np.char.add(places, "/latent_0.npy").astype(Strings),
        objects=places.astype(Strings),
        classes=tuple(class_names().get(synsets.get(label), synsets.get(label, str(label))) for label in range(max(synsets) + 1)),
        latent_names=LATENTS[:length],
        unordered=True,
    )


def with_held_out_rotations(manifest: Manifest, ood: str | os.PathLike) -> Manifest:
    """The manifest where other views of the objects of the split val take the place of its own.

    Args:
        manifest: From `load`.
        ood: A folder ``<synset>/<object>`` with those views. Objects that are not in it are left out.

    Returns:
        The manifest, those objects at absolute paths behind all others.

    Raises:
        FileNotFoundError: There is no such folder, or none of the objects in it.
    """
    ood = Path(ood)
    if not ood.is_dir():
        raise FileNotFoundError(f"{ood}: no such folder of held-out rotations")
    val = manifest.split == SPLITS.index("val")
    found = np.array([(ood / place).is_dir() for place in manifest.path[val].tolist()])
    if not found.any():
        such = ood / manifest.path[val][0]
        raise FileNotFoundError(f"{ood}: holds none of the {val.sum()} objects of the split val, such as {such}")
    if not found.all():
        classes, all_classes = (len(np.unique(some)) for some in (manifest.label[val][found], manifest.label[val]))
        log.warning("%s: holds %d of the %d objects of the split val, of %d of its %d classes; the others are left out, such as "
                    "%s", ood, found.sum(), len(found), classes, all_classes, manifest.path[val][~found][0])  # fmt: skip
    kept = manifest.take(np.concatenate([np.flatnonzero(~val), np.flatnonzero(val)[found]]))
    folder = np.where(kept.split == SPLITS.index("val"), f"{ood.resolve()}/", "").astype(Strings)
    return dataclasses.replace(
        kept, path=folder + kept.path, pose_path=folder + kept.pose_path, object=np.arange(len(kept)), objects=kept.path
    )


def held_out(manifest: Manifest) -> np.ndarray:
    """Whether each row, bool (N,), is one of `with_held_out_rotations`: its views lie in another folder than the data set's."""
    return np.array([os.path.isabs(place) for place in manifest.path.tolist()], dtype=bool)


def indexed(root: str | os.PathLike) -> bool:
    """Whether a folder has the index files of the released layout, which say what is held out."""
    return (Path(root) / "train_images.npy").is_file()


def class_names() -> dict[str, str]:
    """Names of ShapeNetCore's 55 classes by synset; a synset that is none is its own name."""
    with open(INDEX / "3diebench_classes.csv", newline="", encoding="utf-8") as file:
        return {row["synset"]: row["name"] for row in csv.DictReader(file)}


def read_index(file: Path, kinds: str, what: str) -> np.ndarray:
    """A one-dimensional .npy of an index whose dtype is one of `kinds`; never unpickled."""
    try:
        values = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: the index file is missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file}: cannot be read as {what} without unpickling ({error})") from None
    if values.ndim != 1 or values.dtype.kind not in kinds:
        raise ValueError(f"{file}: found {values.dtype} of shape {values.shape}, expected {what} of shape (N,)")
    return values


def _indexed(root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``<synset>/<object>`` str (N,), labels int64 (N,) and splits int8 (N,) of the index files, train first."""
    places, labels, splits = [], [], []
    for split in ("train", "val"):
        found = np.char.strip(read_index(root / f"{split}_images.npy", "US", "strings").astype(str), "/")
        classes = read_index(root / f"{split}_labels.npy", "iu", "integers").astype(np.int64)
        if len(found) != len(classes):
            file = root / f"{split}_labels.npy"
            raise ValueError(f"{file}: {len(classes)} labels, expected {len(found)}, as {split}_images.npy has names")
        if len(found) and classes.min() < 0:
            raise ValueError(f"{root / f'{split}_labels.npy'}: row {classes.argmin()} is {classes.min()}, expected 0 or more")
        places.append(found)
        labels.append(classes)
        splits.append(np.full(len(found), SPLITS.index(split), dtype=np.int8))
    return np.concatenate(places), np.concatenate(labels), np.concatenate(splits)


def _folder(root: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of a folder without index files: classes in sorted order, of each every fifth object, from the first, in val."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    places, labels, splits = [], [], []
    kept = 0
    for name in classes:
        objects = sorted(entry.name for entry in os.scandir(root / name) if entry.is_dir() and not entry.name.startswith("."))
        objects = [one for one in objects if _numbered(root / name / one)["image"]]
        places += [f"{name}/{one}" for one in objects]
        labels += [kept] * len(objects)
        splits += [SPLITS.index("train" if number % 5 else "val") for number in range(len(objects))]
        kept += bool(objects)
    if not places:
        raise FileNotFoundError(f"{root}: neither train_images.npy nor <class>/<object>/image_0.jpg in it")
    return np.array(places), np.array(labels, dtype=np.int64), np.array(splits, dtype=np.int8)


def _where(root: Path, splits: np.ndarray, row: int, indexed: bool) -> str:
    """File and row at which row `row` of the joined index stands, for messages."""
    if not indexed:
        return str(root)
    return f"{root / f'{SPLITS[splits[row]]}_images.npy'}: row {row - int(np.argmax(splits == splits[row]))}"


def _check_index(root: Path, places: np.ndarray, labels: np.ndarray, splits: np.ndarray, indexed: bool) -> None:
    """Names have two parts and are there once, labels and synsets are one-to-one, and every class is in val."""
    synsets: dict[int, str] = {}
    owner: dict[str, int] = {}
    rows: dict[str, int] = {}
    for row, (place, label) in enumerate(zip(places.tolist(), labels.tolist(), strict=True)):
        synset, _, name = place.partition("/")
        if not synset or not name or "/" in name or ".." in (synset, name):
            raise ValueError(f"{_where(root, splits, row, indexed)} is {place!r}, expected /<synset>/<object>")
        if rows.setdefault(place, row) != row:
            first = _where(root, splits, rows[place], indexed)
            raise ValueError(f"{_where(root, splits, row, indexed)}: {place!r} is there already, in {first}")
        if synsets.setdefault(label, synset) != synset or owner.setdefault(synset, label) != label:
            known = f"label {label} is {synsets[label]}" if synsets[label] != synset else f"{synset} is label {owner[synset]}"
            raise ValueError(f"{_where(root, splits, row, indexed)}: found {place!r} with label {label}, expected what the rows "
                             f"before it say: {known}")  # fmt: skip
    held_out = set(labels[splits == SPLITS.index("val")].tolist())
    trained = Counter(labels[splits == SPLITS.index("train")].tolist())
    for label in sorted(trained.keys() - held_out):
        file = root / "val_images.npy" if indexed else root
        raise ValueError(
            f"{file}: class {synsets[label]} (label {label}) has no object in val, expected at least one as it has "
            f"{trained[label]} in train"
        )


def _check_present(root: Path, places: np.ndarray, splits: np.ndarray, indexed: bool) -> None:
    """Every object that the index names has a folder; one listing per synset, not one look per object."""
    there: dict[str, set[str]] = {}
    for row, place in enumerate(places.tolist()):
        synset, _, name = place.partition("/")
        if synset not in there:
            there[synset] = set(os.listdir(root / synset)) if (root / synset).is_dir() else set()
        if name not in there[synset]:
            raise FileNotFoundError(f"{_where(root, splits, row, indexed)} names {place!r}, but {root / place} is not there")


def _some(labels: np.ndarray, splits: np.ndarray, count: int) -> np.ndarray:
    """Rows of about `count` objects, the splits in their proportion (one of each at least), classes in turn."""
    kept = []
    for split in np.unique(splits):
        rows = np.flatnonzero(splits == split)
        rows = rows[np.argsort(labels[rows], kind="stable")]
        _, first, sizes = np.unique(labels[rows], return_index=True, return_counts=True)
        turn = np.arange(len(rows)) - np.repeat(first, sizes)  # place of each within its class
        share = max(1, round(count * len(rows) / len(labels)))
        kept.append(rows[np.argsort(turn, kind="stable")[:share]])
    return np.sort(np.concatenate(kept))


def _numbered(folder: Path) -> dict[str, dict[int, Path]]:
    """The files ``image_V.jpg`` and ``latent_V.npy`` of an object, by kind and V."""
    found: dict[str, dict[int, Path]] = {"image": {}, "latent": {}}
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder}: no such folder of an object") from None
    for name in names:
        match = FILE.fullmatch(name)
        if match:
            found[match[1]][int(match[2])] = folder / name
    return found


def _latent(file: Path, length: int | None = None) -> np.ndarray:
    """The latents (L,) float64 of a view, checked: finite, and of `length` numbers (None for any of `LENGTHS`)."""
    try:
        values = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: the latents of this view are missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file}: cannot be read as latents without unpickling ({error})") from None
    lengths = LENGTHS if length is None else (length,)
    if values.dtype.kind not in "fiu" or values.shape not in [(n,) for n in lengths]:
        expected = " or ".join(f"({n},)" for n in lengths)
        raise ValueError(f"{file}: found {values.dtype} latents of shape {values.shape}, expected float64 of shape {expected}")
    if not np.isfinite(values).all():
        raise ValueError(f"{file}: latent {LATENTS[int(np.argmin(np.isfinite(values)))]} is not finite")
    return values.astype(np.float64)


def read_views(folder: Path, *, views: int | None, length: int, rotations: str) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """What an object's folder holds.

    Args:
        folder: ``DIR/<synset>/<object>``.
        views: How many there have to be, numbered from 0; more are left alone. None for all that there are, two at least.
        length: Latents of a view.
        rotations: Of `RANGES`, where Euler angles have to be.

    Returns:
        Numbers (V,) int64 of the views, latents (V, L) float64, images (V).

    Raises:
        FileNotFoundError: An image or a latent is missing.
        ValueError: Too few views, or latents that are of another length, not finite or out of their range; the file is named.
    """
    files = _numbered(folder)
    numbers = sorted(files["image"].keys() | files["latent"].keys()) if views is None else list(range(views))
    found = len(files["image"].keys() & files["latent"].keys())
    if found < (views or 2):
        missing = [number for number in numbers if number not in files["image"] or number not in files["latent"]]
        example = f", without image_{missing[0]}.jpg and latent_{missing[0]}.npy" if missing else ""
        raise ValueError(f"{folder}: found {found} views{example}, expected {views or 'at least 2'}")
    for kind, end in (("image", "jpg"), ("latent", "npy")):
        for number in numbers:
            if number not in files[kind]:
                raise FileNotFoundError(f"{folder / f'{kind}_{number}.{end}'}: this file of a view is missing")
    latents = np.stack([_latent(files["latent"][number], length) for number in numbers])
    low, high = np.array(RANGES[rotations])
    size = np.abs(latents[:, :3])
    wrong = (size < low - TOLERANCE) | (size > high + TOLERANCE)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{files['latent'][numbers[row]]}: {LATENTS[column]} is {latents[row, column]:.4f}, expected a size of "
            f"{low[column]:.4f} to {high[column]:.4f} radians (rotations={rotations}; there are {', '.join(RANGES)})"
        )
    return np.array(numbers), latents, [files["image"][number] for number in numbers]


def object_in_camera(latents: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) float64 of latents (..., 7 or 10): ``x_camera = C R (x_object + t)``, camera axes as in `vsie.pose`.

    The camera C stands 2.5 from the origin, 45 degrees above the horizon at the azimuth 90 degrees, and looks at the origin.
    """
    latents = torch.from_numpy(np.asarray(latents, dtype=np.float64))
    rotation = pose.from_euler_xyz(latents[..., :3])
    moved = (rotation @ latents[..., 7:10, None]).squeeze(-1) if latents.shape[-1] == 10 else None
    half = 0.5**0.5
    camera = torch.tensor([[-1, 0, 0], [0, half, -half], [0, -half, -half]], dtype=torch.float64)
    away = torch.tensor([0, 0, _CAMERA_DISTANCE], dtype=torch.float64)
    return (pose.rigid(camera, away) @ pose.rigid(rotation, moved)).numpy()


class ViewSource:
    """Clips read from the small files of the released layout; `ImageShards` is the fast form of the same.

    Args:
        manifest: From `load`.
        views: Views that an object has to have (held-out rotations: whatever there is).
        rotations: Of `RANGES`; held-out rotations are always ``ood``.
        size: Side of the square images, see `sources.resize`; None to leave them as they are.
        swap_rb: Change red and blue.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        views: int = VIEWS,
        rotations: str = "released",
        size: int | None = None,
        swap_rb: bool = False,
    ) -> None:
        if rotations not in RANGES:
            raise ValueError(f"rotations is {rotations!r}, expected one of {', '.join(RANGES)}")
        if views < 2:
            raise ValueError(f"views is {views}, expected at least 2")
        self.manifest, self.views, self.rotations, self.size, self.swap_rb = manifest, views, rotations, size, swap_rb

    def _held_out(self, row: int) -> bool:
        return os.path.isabs(str(self.manifest.path[row]))

    def describe(self, row: int) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        """Numbers, latents and images of a row's views, as they are numbered; see `read_views`."""
        held_out = self._held_out(row)
        return read_views(
            self.manifest.video(row), views=None if held_out else self.views, length=len(self.manifest.latent_names),
            rotations="ood" if held_out else self.rotations,
        )  # fmt: skip

    def length(self, row: int) -> int:
        """Views of a row."""
        return len(self.describe(row)[0]) if self._held_out(row) else self.views

    def clip(self, row: int) -> Clip:
        """The virtual clip of a row."""
        numbers, latents, images = self.describe(row)
        poses = object_in_camera(latents)
        order = geodesic_path.shortest(poses[None, :, :3, :3])[0]

        def read(frames: np.ndarray) -> np.ndarray:
            files = [images[order[frame]] for frame in frames]
            pictures = [decode_image(file.read_bytes(), file, swap_rb=self.swap_rb) for file in files]
            if len({picture.shape for picture in pictures}) > 1:
                raise VideoError(f"{images[0].parent}: images of different sizes")
            return np.stack(pictures) if self.size is None else resize(np.stack(pictures), self.size)

        return Clip(
            np.arange(len(order), dtype=np.float64), poses[order], read, latents=latents[order], numbers=numbers[order]
        )

    def belong(self, manifest: Manifest, size: int | None = None) -> ViewSource:
        """Itself, where it reads the rows of `manifest` at `size`; else a ValueError. See `FrameCache.belong`."""
        if manifest is not self.manifest or size not in (None, self.size):
            raise ValueError(f"{manifest.file}: these views are read from {self.manifest.file} at size {self.size}, not {size}")
        return self
