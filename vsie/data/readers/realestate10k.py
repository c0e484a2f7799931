"""RealEstate10K (Zhou et al., SIGGRAPH 2018, arXiv 1805.09817): camera paths through houses, found in YouTube videos.

    DIR/{train,test}/<clip>.txt              the video's URL, then a line per frame: timestamp in microseconds, focal lengths and
                                             principal point as shares of the picture's width and height, two zeros, and
                                             the 3 x 4 matrix [R | t], world to camera, row by row
    DIR/{train,test}/<clip>/<timestamp>.jpg  the frames, as the usual download scripts leave them; or FRAMES/...
    VIDEOS/<YouTube id>.mp4                  or else the videos, from which the frames are taken by their time

No pictures are released: who has the frames or the videos of some clips gets a data set of these. The scene does not move, so
that "the object" is the room; the unit of translations is each clip's own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vsie.data.decode import VideoError, probe
from vsie.data.image_sequence import IMAGE_SUFFIXES
from vsie.data.manifest import VIDEO_SUFFIXES
from vsie.data.readers.base import SPLIT_NAMES, ClipEntry, LeftOut, Reader, image_size, increasing, pixel_intrinsics, rigid_poses

COLUMNS = 19


class RealEstate10k(Reader):
    """A text file is a clip.

    Args:
        frames: Folder with ``{train,test}/<clip>/<timestamp>.jpg`` or ``<clip>/<timestamp>.jpg``; None for the data set's own.
        videos: Folder with ``<YouTube id>.mp4``, for clips without a folder of frames; None for none.
        val_fraction: Of `Reader`; held out of train, as the data set has train and test, by video: clips of one show one house.
        min_frames: Of `Reader`.
    """

    def __init__(
        self, *, frames: str | None = None, videos: str | None = None, val_fraction: float = 0.1, min_frames: int = 8
    ) -> None:
        super().__init__(val_fraction=val_fraction, min_frames=min_frames)
        self.frames, self.videos = (None if folder is None else Path(folder).absolute() for folder in (frames, videos))

    def sources(self, root: Path) -> list[Path]:
        """The folders of text files, frames and videos."""
        folders = [root / split for split in SPLIT_NAMES if (root / split).is_dir()]
        if not folders:
            raise FileNotFoundError(f"{root}: neither a folder train nor test in it, expected DIR/train/<clip>.txt")
        frames = self.frames or root
        more = [folder for folder in (frames, *(frames / split for split in SPLIT_NAMES)) if folder.is_dir()]
        return list(dict.fromkeys([*folders, *more, *([self.videos] if self.videos else [])]))

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """The text files of all splits."""
        self.sources(root)  # refuses a folder that is laid out otherwise
        videos = {}
        if self.videos is not None:
            videos = {file.stem: file for file in sorted(self.videos.iterdir()) if file.suffix.lower() in VIDEO_SUFFIXES}
        for folder, split in SPLIT_NAMES.items():
            for file in sorted((root / folder).glob("*.txt")):
                yield self._clip(root, file, folder, split, videos)

    def _clip(self, root: Path, file: Path, folder: str, split: str, videos: dict[str, Path]) -> ClipEntry | LeftOut:
        name = f"{folder}/{file.stem}"
        url, table = read_trajectory(file)
        stamps, times = table[:, 0].astype(np.int64), table[:, 0] / 1e6
        if not increasing(times):
            return LeftOut(name, f"{file}: timestamps do not increase")
        images = self._images(root, folder, file.stem)
        kept = np.array([number for number, stamp in enumerate(stamps) if int(stamp) in images], dtype=np.int64)
        video = videos.get(youtube_id(url))
        if not len(kept) and video is None:
            return LeftOut(name, f"neither its frames nor the video {youtube_id(url)} are there")
        if len(kept):
            table, times = table[kept], times[kept]
            video, files = None, [images[int(stamp)] for stamp in stamps[kept]]
            size = image_size(files[0])
        else:
            files, size = [], _video_size(video)
        if size is None:
            return LeftOut(name, f"{files[0] if files else video} cannot be read")
        matrix = table[:, 7:].reshape(-1, 3, 4)
        poses = rigid_poses(matrix[:, :, :3], matrix[:, :, 3], name)
        if isinstance(poses, LeftOut):
            return poses
        intrinsics = pixel_intrinsics(table[:, 1:3] * size[::-1], table[:, 3:5] * size[::-1])
        return ClipEntry(name, video=video, images=files, times=times, poses=poses, intrinsics=intrinsics, split=split,
                         source=youtube_id(url))  # fmt: skip

    def _images(self, root: Path, folder: str, clip: str) -> dict[int, Path]:
        """The frames of a clip by timestamp."""
        base = self.frames or root
        for place in (base / folder / clip, base / clip):
            if place.is_dir():
                files = [file for file in place.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.stem.isdecimal()]
                return {int(file.stem): file for file in files}
        return {}


@functools.lru_cache(maxsize=64)  # several clips come from one video
def _video_size(video: Path) -> tuple[int, int] | None:
    try:
        info = probe(video)
    except VideoError:
        return None
    return info.height, info.width


def youtube_id(url: str) -> str:
    """The name of a video from its address."""
    match = re.search(r"(?:v=|youtu\.be/|/embed/|/shorts/)([\w-]{11})", url)
    return match[1] if match else url.rstrip("/").rsplit("/", 1)[-1]


def read_trajectory(file: Path) -> tuple[str, np.ndarray]:
    """Address of the video and the numbers (T, 19) of its frames; a ValueError names the file and the row."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        try:
            rows.append([float(word) for word in line.split()])
        except ValueError:
            raise ValueError(f"{file}: row {number} holds something that is no number") from None
        if len(rows[-1]) != COLUMNS:
            raise ValueError(f"{file}: row {number} has {len(rows[-1])} numbers, expected {COLUMNS}")
    if not rows:
        raise ValueError(f"{file}: no frames, expected an address and a line per frame")
    return lines[0], np.array(rows)
