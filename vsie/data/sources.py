"""An open clip, whatever its frames come from: its video here, or a `FrameCache`, which has `clip` and `length`, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from vsie.data.decode import open_clip
from vsie.data.manifest import Manifest


@dataclass
class Clip:
    """One open clip, a context manager.

    Attributes:
        times: Seconds of each frame, float64 (N,): those of the pose file where there is one, else the video's.
        poses: Object in camera, float64 (N, 4, 4); None where there are none.
        read: Frames by number, int (M,), to uint8 (M, H, W, 3).
        close: What ends it; None where nothing has to.
        latents: What else is known of each frame, float64 (N, L), named by `Manifest.latent_names`; None where nothing is.
        numbers: The frames' numbers on disk, int64 (N,), where their order is another; None where it is not.
    """

    times: np.ndarray
    poses: np.ndarray | None
    read: Callable[[np.ndarray], np.ndarray]
    close: Callable[[], None] | None = None
    latents: np.ndarray | None = None
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_) -> None:
        if self.close is not None:
            self.close()


def resize(frames: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 (N, H, W, 3) so that the shorter side is `size` (bilinear, antialiased) and cut out the middle square."""
    height, width = frames.shape[1:3]
    if (height, width) == (size, size):
        return frames
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    channels_first = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    scaled = torch.nn.functional.interpolate(channels_first, target, mode="bilinear", antialias=True)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return np.ascontiguousarray(scaled[:, :, top : top + size, left : left + size].permute(0, 2, 3, 1).numpy())


class VideoSource:
    """Clips decoded from their videos.

    Args:
        manifest: The videos.
        size: Side of the square frames, see `resize`; None to leave them as they are.
        backend: Of `open_clip`.
        check: Of `open_clip`.
    """

    def __init__(self, manifest: Manifest, *, size: int | None = None, backend: str = "decord", check: bool = True) -> None:
        self.manifest, self.size, self.backend, self.check = manifest, size, backend, check

    def length(self, row: int) -> int:
        """Frames of a row; raises as `clip`."""
        with self.clip(row) as clip:
            return len(clip)

    def clip(self, row: int) -> Clip:
        """The clip of a row of the manifest. Raises a VideoError for the video, a ValueError for the pose file."""
        video = open_clip(self.manifest.video(row), backend=self.backend, check=self.check)
        times, poses = video.times, None
        if self.manifest.posed[row]:
            times, poses = self.manifest.poses(row)
            if len(times) != len(video.times):
                raise ValueError(f"{self.manifest.pose_file(row)}: poses of {len(times)} frames, expected {len(video.times)}, "
                                 f"as {video.path} has")  # fmt: skip

        def read(numbers: np.ndarray) -> np.ndarray:
            frames = video.read(numbers)
            return frames if self.size is None else resize(frames, self.size)

        return Clip(times, poses, read, video.close)
