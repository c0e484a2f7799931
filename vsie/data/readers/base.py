"""What a reader of a data set is: the clips that it finds in a folder, and what is known of each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vsie import pose
from vsie.data.manifest import VIDEO_SUFFIXES

FAR = 1e5  # a camera this many units away was not found: CO3D marks failures so
SPLIT_NAMES = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


@dataclass
class ClipEntry:
    """One clip of a data set.

    Attributes:
        name: Its own name, words with slashes between them.
        video: Its video; None where `images` are its frames.
        images: Its frames as image files, in order.
        times: Seconds of its frames (T,), increasing; where there is a video, those of its frames that make the clip (None for
            all).
        poses: World or object in camera (T, 4, 4), float64, one per time; None where there are none.
        intrinsics: Pixels (3, 3) of the frames as they are on disk; None where unknown.
        label: Name of its class, or its number; None where there is none.
        object: What it shows; None for something of its own.
        source: What it was cut from: clips of one source are held out together; None where that is its object.
        split: ``train``, ``val`` or ``test``.
    """

    name: str
    video: Path | None = None
    images: Sequence[Path] = ()
    times: np.ndarray | None = None
    poses: np.ndarray | None = None
    intrinsics: np.ndarray | None = None
    label: str | int | None = None
    object: str | None = None
    source: str | None = None
    split: str = "train"


@dataclass
class LeftOut:
    """A clip that the data set names and that cannot be used, and why."""

    name: str
    reason: str


class Reader:
    """Lists the clips of a data set.

    Attributes:
        anchored: Whether the objects' own frames, in which their poses are, can be told from a picture. Those of structure from
            motion lie as they happened to.

    Args:
        val_fraction: Share of the objects (or sources) that are held out as split val where the data set has none; 0 for none.
        min_frames: Clips known to have fewer frames are left out.
    """

    anchored = False

    def __init__(self, *, val_fraction: float = 0.1, min_frames: int = 8) -> None:
        if not 0 <= val_fraction < 1:
            raise ValueError(f"reader.val_fraction is {val_fraction}, expected 0 or more and less than 1")
        if min_frames < 1:
            raise ValueError(f"reader.min_frames is {min_frames}, expected at least 1")
        self.val_fraction, self.min_frames = val_fraction, min_frames

    def sources(self, root: Path) -> list[Path]:
        """The files and folders that the list is made from: when one of them changes, it is made anew."""
        raise TypeError(f"{type(self).__name__} must define sources")

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """The clips below `root`, in order.

        Raises:
            FileNotFoundError: `root` is not laid out as this reader wants it; what is missing is named.
            ValueError: Something in a list or an annotation is wrong; file, row and field are named.
        """
        raise TypeError(f"{type(self).__name__} must define clips")


def walk(root: Path, *, images: bool = False) -> dict[Path, list[Path]]:
    """The folders below `root` (itself included) with the videos, or else the images, directly in them, all sorted."""
    from vsie.data.image_sequence import images_in, natural

    found, entered = {}, set()
    for base, folders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(base)) in entered:  # a link to a folder above
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        if images:
            found[Path(base)] = images_in(base)
        else:
            videos = [name for name in names if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and name[0] != "."]
            found[Path(base)] = [Path(base, name) for name in sorted(videos, key=natural)]
    return found


def split_named(name: str, *, lists: bool = False) -> str | None:
    """The split that a folder is named after (``val``, ``kinetics_400_val``), or a list (``tiny_val``); None for none."""
    match = re.fullmatch(rf"(?:{'.*' if lists else 'kinetics.*'}_)?({'|'.join(SPLIT_NAMES)})", name.lower())
    return SPLIT_NAMES[match[1]] if match else None


def rigid_poses(rotation, translation, where: str) -> np.ndarray | LeftOut:
    """Poses (T, 4, 4) float64 from matrices (T, 3, 3) and vectors (T, 3) as written, rounded, by others; a LeftOut where they
    are none.

    Rotations may be off by the rounding of a text or of float32 (1e-3); the nearest exact ones are taken.
    """
    rotation, translation = (torch.as_tensor(np.asarray(part, dtype=np.float64)) for part in (rotation, translation))
    good = pose.is_rotation(rotation, 1e-3)
    if not good.all():
        return LeftOut(where, f"the pose of its frame {int(good.int().argmin())} is no rotation")
    if not (translation.abs() < FAR).all():  # not a number is not less, either
        worst = translation.abs().amax(-1).nan_to_num(torch.inf).argmax()
        return LeftOut(where, f"the pose of its frame {int(worst)} is not finite or more than {FAR:g} away")
    return pose.rigid(pose.project(rotation), translation).numpy()


def viewpoint_poses(rotation, translation, name: str) -> np.ndarray | LeftOut:
    """Poses (T, 4, 4) of PyTorch3D's R (T, 3, 3) and T (T, 3), checked by `rigid_poses`."""
    parts = (torch.as_tensor(np.asarray(part, dtype=np.float64)) for part in (rotation, translation))
    poses = pose.from_pytorch3d(*parts)
    return rigid_poses(poses[:, :3, :3], poses[:, :3, 3], name)


def image_size(file: Path) -> tuple[int, int] | None:
    """Rows and columns of an image upright, as it comes out, from its header alone; None where it cannot be read."""
    from PIL import ExifTags, Image

    try:
        with Image.open(file) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except OSError:
        return None


def pixel_intrinsics(focal, centre) -> np.ndarray:
    """Camera matrix (3, 3) of focal lengths and principal points (T, 2) in pixels: the median over a clip's frames."""
    focal, centre = (np.median(np.asarray(part, dtype=np.float64), axis=0) for part in (focal, centre))
    return np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])


def ndc_intrinsics(focal, principal, sizes, kind: str) -> np.ndarray:
    """Camera matrix (3, 3) in pixels of PyTorch3D's focal lengths and principal points (T, 2), images of `sizes` (T, 2) H, W.

    In ``ndc_isotropic`` half the shorter side is 1 along both axes, in ``ndc_norm_image_bounds`` half of each side; x points
    left and y up, so that the principal point is subtracted.
    """
    half = np.asarray(sizes, dtype=np.float64)[:, ::-1] / 2  # x, y
    if kind == "ndc_isotropic":
        scale = half.min(1, keepdims=True)
    elif kind == "ndc_norm_image_bounds":
        scale = half
    else:
        raise ValueError(f"intrinsics_format is {kind!r}, expected ndc_isotropic or ndc_norm_image_bounds")
    return pixel_intrinsics(np.asarray(focal) * scale, half - np.asarray(principal) * scale)


def increasing(times: np.ndarray) -> bool:
    """Whether times are known and each is later than the one before."""
    return bool(np.isfinite(times).all() and (np.diff(times) > 0).all())
