"""Clips that are no video file of their own: a folder of images, or a ``.clip`` file that says which frames make one.

A folder of images is a clip in the natural order of their names (frame2 before frame10), 25 frames a second as FFmpeg has
it. What else there is to say stands in a ``.clip`` file, JSON with paths that are absolute or relative to its folder:

    {"times": [0.0, 0.1, 0.2], "images": ["a/1.jpg", "a/2.jpg", "a/4.jpg"]}     images at their times, seconds
    {"times": [12.5, 12.6, 12.7], "video": "long.mp4"}                           the frames of a video nearest to times

Both are read through `decode.open_clip`, and so by everything that reads videos. Time 0 is the first frame. The frame cache
tells a changed folder or ``.clip`` file by its own time of change: an image that is overwritten in place goes unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vsie.data.decode import FrameReader, Video, VideoError

SUFFIX = ".clip"
IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .webp .tif .tiff .ppm .pgm".split())
FPS = 25.0  # of images that nobody gave times


def natural(name: str) -> list[tuple[int, int | str]]:
    """A sort key by which numbers in names count as numbers."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def images_in(folder: str | os.PathLike) -> list[Path]:
    """The images directly in a folder, in the natural order of their names."""
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    names = [name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]
    return [Path(folder, name) for name in sorted(names, key=natural)]


def digest(path: str | os.PathLike) -> str:
    """What tells a clip from another one: the SHA-256 of a file, or of the names and sizes of a folder's images.

    Of a ``.clip`` file it is that of its text with the sizes of the files that it names.
    """
    path = Path(path)
    if path.is_dir():
        files, start = images_in(path), b""
    elif path.suffix == SUFFIX:
        start = path.read_bytes()
        told = json.loads(start)
        files = [path.parent / name for name in told.get("images", [told.get("video")])]
    else:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256(start)
    for file in files:
        found.update(f"{file.name}\0{file.stat().st_size if file.is_file() else -1}\n".encode())
    return found.hexdigest()


class ImageSequence(FrameReader):
    """Images as the frames of a clip.

    Args:
        path: What is named in errors: the folder, or the ``.clip`` file.
        images: The frames in order, at least one.
        times: Seconds (T,), increasing; None for `fps`.
        fps: Frames a second where there are no times.
    """

    def __init__(
        self, path: str | os.PathLike, images: Sequence[Path], times: np.ndarray | None = None, *, fps: float = FPS
    ) -> None:
        self.path, self.images = Path(path), list(images)
        if not self.images:
            raise VideoError(f"{path}: no images in this folder, expected files that end in {' '.join(sorted(IMAGE_SUFFIXES))}")
        self.times, self.duration = _clock(np.arange(len(self.images)) / fps if times is None else times, 1 / fps)

    def read(self, frames) -> np.ndarray:
        """Frames by number: uint8 (N, H, W, 3). Raises a VideoError for an image that is missing, cut, or of another size."""
        from vsie.data.still import decode_image

        frames = self.numbers(frames)
        if not len(frames):
            return np.zeros((0, self.info.height, self.info.width, 3), dtype=np.uint8)
        wanted, inverse = np.unique(frames, return_inverse=True)
        pictures = []
        for number in wanted:
            file = self.images[number]
            try:
                pictures.append(decode_image(file.read_bytes(), file))
            except OSError as error:
                raise VideoError(f"{self.path}: frame {number}, {file}, cannot be opened ({error.strerror})") from None
            if pictures[-1].shape != pictures[0].shape:
                found, expected = (" x ".join(map(str, picture.shape[:2])) for picture in (pictures[-1], pictures[0]))
                raise VideoError(f"{self.path}: frame {number}, {file}, is of {found} pixels, expected {expected}")
        return np.stack(pictures)[inverse]


class Excerpt(FrameReader):
    """Frames of a video at given times.

    Args:
        path: What is named in errors beside the video: the ``.clip`` file.
        video: The video.
        times: Seconds after the video's first frame (T,), increasing.
        backend: Of `Video`.
        check: Of `Video`.
    """

    def __init__(
        self, path: str | os.PathLike, video: Path, times: np.ndarray, *, backend: str = "decord", check: bool = True
    ) -> None:
        self.path, self.video = Path(path), Video(video, backend=backend, check=check)
        try:
            self._frames = self.video.nearest(times)
        except ValueError as error:
            self.video.close()
            raise VideoError(f"{path}: {error}") from None
        self.times, self.duration = _clock(times, 1 / FPS)

    def close(self) -> None:
        """Close the video."""
        self.video.close()

    def read(self, frames) -> np.ndarray:
        """Frames by number: uint8 (N, H, W, 3). Raises a VideoError where the video is damaged."""
        return self.video.read(self._frames[self.numbers(frames)])


def _clock(times: np.ndarray, step: float) -> tuple[np.ndarray, float]:
    """Times from the first frame on, and the duration with the last frame as long as the median one."""
    times = np.asarray(times, dtype=np.float64)
    times = times - times[0]
    return times, float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else step)


def open_sequence(path: str | os.PathLike, *, backend: str = "decord", check: bool = True) -> FrameReader:
    """Open a folder of images or a ``.clip`` file.

    Raises:
        VideoError: There are no images, or the file is not as it should be; file and field are named.
    """
    path = Path(path)
    if path.is_dir():
        return ImageSequence(path, images_in(path))
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VideoError(f"{path}: cannot be opened ({error.strerror})") from None
    except ValueError as error:  # JSON's and Unicode's errors
        raise VideoError(f"{path}: not JSON ({error})") from None
    if not isinstance(told, dict) or "times" not in told or ("images" in told) == ("video" in told):
        raise VideoError(f"{path}: expected the field 'times', and 'images' or 'video'")
    times = _times(path, told["times"])
    if "video" in told:
        if not isinstance(told["video"], str):
            raise VideoError(f"{path}: field 'video' is {told['video']!r}, expected a path")
        return Excerpt(path, path.parent / told["video"], times, backend=backend, check=check)
    images = told["images"]
    if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
        raise VideoError(f"{path}: field 'images' is not a list of paths")
    if len(images) != len(times):
        raise VideoError(f"{path}: field 'images' has {len(images)} paths, expected {len(times)}, as there are times")
    return ImageSequence(path, [path.parent / name for name in images], times)


def _times(path: Path, values) -> np.ndarray:
    try:
        times = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise VideoError(f"{path}: field 'times' holds something that is no number") from None
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all():
        raise VideoError(f"{path}: field 'times' has shape {times.shape}, expected (T,) finite seconds with T >= 1")
    if (np.diff(times) <= 0).any():
        raise VideoError(f"{path}: field 'times' does not increase at frame {int(np.argmax(np.diff(times) <= 0)) + 1}")
    return times
