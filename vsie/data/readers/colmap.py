"""Sparse models of COLMAP (https://colmap.github.io/format.html), each with its images: a model is a clip.

    DIR/.../<clip>/images/<name>.jpg ...
    DIR/.../<clip>/sparse/0/{cameras,images}.{txt,bin}        or sparse/, or beside images/

Where a model is there as text and as binary the binary counts, as in COLMAP. Its quaternions are wxyz, world to camera, and its
camera axes are ours. **The scale of a model is arbitrary**, so translations of different clips have no common unit. Images
that COLMAP did not place leave a gap in time. Lens distortion is left as it is in the pictures.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from vsie import pose
from vsie.data.image_sequence import natural
from vsie.data.readers.base import ClipEntry, LeftOut, image_size, pixel_intrinsics, rigid_poses, walk
from vsie.data.readers.images import Images

MODELS = {  # number in binary files: name, parameters, of which the first are the focal lengths (one or two) and the centre
    0: ("SIMPLE_PINHOLE", 3, 1), 1: ("PINHOLE", 4, 2), 2: ("SIMPLE_RADIAL", 4, 1), 3: ("RADIAL", 5, 1), 4: ("OPENCV", 8, 2),
    5: ("OPENCV_FISHEYE", 8, 2), 6: ("FULL_OPENCV", 12, 2), 7: ("FOV", 5, 2), 8: ("SIMPLE_RADIAL_FISHEYE", 4, 1),
    9: ("RADIAL_FISHEYE", 5, 1), 10: ("THIN_PRISM_FISHEYE", 12, 2),
}  # fmt: skip
Camera = tuple[int, int, np.ndarray, np.ndarray]  # width, height, focal lengths (2,), centre (2,)
Placed = tuple[str, int, tuple[float, ...], tuple[float, ...]]  # name, camera, quaternion wxyz, translation


class Colmap(Images):
    """Models below a folder; the place of an image among all images of its folder is its time.

    Args:
        fps: Of `Images`.
        labels: Of `Images`.
        val_fraction: Of `Reader`.
        min_frames: Of `Reader`.
    """

    def sources(self, root: Path) -> list[Path]:
        """The models' files, and the folders of images."""
        found = []
        for model, clip in models(root):
            found += [model, clip, *(file for file in sorted(model.iterdir()) if file.stem in ("cameras", "images"))]
            found += [clip / "images"] if (clip / "images").is_dir() else []
        return list(dict.fromkeys(found)) or [root]

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """A clip per folder with a model."""
        found = models(root)
        if not found:
            raise FileNotFoundError(f"{root}: no model of COLMAP in or below it, expected <clip>/sparse/0/images.txt or .bin")
        taken: set[Path] = set()
        for model, clip in found:
            name = "/".join(clip.relative_to(root).parts) or root.resolve().name
            if clip in taken:
                yield LeftOut(f"{name}/{model.relative_to(clip)}", "a further model of the same images: the first is taken")
                continue
            taken.add(clip)
            label = clip.relative_to(root).parts[0] if self.labels and len(clip.relative_to(root).parts) > 1 else None
            yield self._clip(model, clip, name, label)

    def _clip(self, model: Path, clip: Path, name: str, label: str | None) -> ClipEntry | LeftOut:
        cameras, placed = read_model(model)
        base = clip / "images"
        files = [file for folder in walk(base, images=True).values() for file in folder] if base.is_dir() else []
        number = {file.relative_to(base).as_posix(): place for place, file in enumerate(files)}
        placed = sorted((image for image in placed if image[0] in number), key=lambda image: number[image[0]])
        if not placed:
            return LeftOut(name, f"{base} holds none of the model's images")
        for image in placed:
            if image[1] not in cameras:
                raise ValueError(f"{model}: image {image[0]!r} is of camera {image[1]}, found cameras {sorted(cameras)}")
        numbers = [number[image[0]] for image in placed]
        width, height = cameras[placed[0][1]][:2]
        size = image_size(files[numbers[0]])
        if size is None:
            return LeftOut(name, f"{files[numbers[0]]} cannot be read")
        ratio = np.array([size[1] / width, size[0] / height])  # the images may have been reduced since
        if abs(ratio[0] / ratio[1] - 1) > 0.02:
            return LeftOut(name, f"its images have {size[1]} x {size[0]} pixels, its camera {width} x {height}: another shape")
        poses = pose.from_colmap(*(torch.tensor([image[part] for image in placed], dtype=torch.float64) for part in (2, 3)))
        poses = rigid_poses(poses[:, :3, :3], poses[:, :3, 3], name)
        if isinstance(poses, LeftOut):
            return poses
        shown = [cameras[image[1]] for image in placed]
        return ClipEntry(
            name, images=[files[place] for place in numbers], times=np.array(numbers) / self.fps, poses=poses, label=label,
            intrinsics=pixel_intrinsics([camera[2] * ratio for camera in shown], [camera[3] * ratio for camera in shown]),
        )  # fmt: skip


def models(root: Path) -> list[tuple[Path, Path]]:
    """The folders that hold a model, each with the folder of its clip: the nearest above that has a folder images, or is not
    called sparse or by a number."""
    found = []
    for base, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted((name for name in folders if not name.startswith(".") and name != "images"), key=natural)
        if {"images.txt", "cameras.txt"} <= set(names) or {"images.bin", "cameras.bin"} <= set(names):
            clip = Path(base)
            while clip != root and not (clip / "images").is_dir() and (clip.name == "sparse" or clip.name.isdecimal()):
                clip = clip.parent
            found.append((Path(base), clip))
    return found


def read_model(folder: Path) -> tuple[dict[int, Camera], list[Placed]]:
    """Cameras by number, and the placed images, of a model; a ValueError names the file and the row."""
    binary = (folder / "images.bin").is_file() and (folder / "cameras.bin").is_file()
    if not binary:
        return _text_cameras(folder / "cameras.txt"), _text_images(folder / "images.txt")
    try:
        return _binary_cameras(folder / "cameras.bin"), _binary_images(folder / "images.bin")
    except (struct.error, IndexError) as error:
        raise ValueError(f"{folder}: cameras.bin or images.bin is cut off ({error})") from None


def _camera(where: str, model: str, width: int, height: int, values: list[float]) -> Camera:
    known = {name: (count, focals) for name, count, focals in MODELS.values()}
    if model not in known:
        raise ValueError(f"{where}: camera model {model!r}, expected one of {', '.join(known)}")
    count, focals = known[model]
    if len(values) != count:
        raise ValueError(f"{where}: {len(values)} parameters, expected {count} of {model}")
    return width, height, np.array((values[:focals] * 2)[:2]), np.array(values[focals : focals + 2])


def _text_cameras(file: Path) -> dict[int, Camera]:
    cameras = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            key, model, width, height, values = int(words[0]), words[1], int(words[2]), int(words[3]), [*map(float, words[4:])]
        except (ValueError, IndexError):
            raise ValueError(f"{file}: row {number} is {line!r}, expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS") from None
        cameras[key] = _camera(f"{file}: row {number}", model, width, height, values)
    return cameras


def _text_images(file: Path) -> list[Placed]:
    """Two lines an image; the second, its points, may be empty."""
    placed, points = [], False
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("#"):
            continue
        if points or not line.strip():
            points = False
            continue
        words = line.split(maxsplit=9)
        try:
            values = [float(word) for word in words[1:8]]
            placed.append((words[9].strip(), int(words[8]), tuple(values[:4]), tuple(values[4:])))
        except (ValueError, IndexError):
            expected = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
            raise ValueError(f"{file}: row {number} is {line[:80]!r}, expected {expected}") from None
        points = True
    return placed


def _binary_cameras(file: Path) -> dict[int, Camera]:
    data, cameras = file.read_bytes(), {}
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        key, model, width, height = struct.unpack_from("<iiQQ", data, place)
        if model not in MODELS:
            raise ValueError(f"{file}: camera {key} is of model {model}, expected 0 to {max(MODELS)}")
        values = struct.unpack_from(f"<{MODELS[model][1]}d", data, place + 24)
        place += 24 + 8 * len(values)
        cameras[key] = _camera(f"{file}: camera {key}", MODELS[model][0], width, height, list(values))
    return cameras


def _binary_images(file: Path) -> list[Placed]:
    data, placed = file.read_bytes(), []
    (count,), place = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        values = struct.unpack_from("<7d", data, place + 4)
        (camera,) = struct.unpack_from("<i", data, place + 60)
        end = data.find(b"\0", place + 64)
        if end < 0:
            raise IndexError("a name without an end")
        (points,) = struct.unpack_from("<Q", data, end + 1)
        placed.append((data[place + 64 : end].decode(), camera, values[:4], values[4:]))
        place = end + 9 + 24 * points
    return placed
