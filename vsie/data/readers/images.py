"""Image sequences: every folder with images directly in it is a clip, in the natural order of their names.

    DIR/<clip>/frame_0001.jpg ...        or, with labels, DIR/<class>/<clip>/frame_0001.jpg ...

Each is an object of its own, without cameras.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vsie.data.readers.base import ClipEntry, LeftOut, Reader, split_named, walk


class Images(Reader):
    """Folders of frames. A first folder named train, val or test is the split.

    Args:
        fps: Frames a second.
        labels: Whether the first folder (below that of the split) is the class.
        val_fraction: Of `Reader`.
        min_frames: Of `Reader`.
    """

    def __init__(self, *, fps: float = 25.0, labels: bool = False, val_fraction: float = 0.1, min_frames: int = 8) -> None:
        super().__init__(val_fraction=val_fraction, min_frames=min_frames)
        if not fps > 0:
            raise ValueError(f"reader.fps is {fps}, expected more than 0")
        self.fps, self.labels = fps, labels

    def sources(self, root: Path) -> list[Path]:
        """All folders."""
        return list(walk(root, images=True))

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """A clip per folder with images."""
        for folder, images in walk(root, images=True).items():
            if not images:
                continue
            parts = folder.relative_to(root).parts
            split = split_named(parts[0]) if parts else None
            inner = parts[1:] if split else parts
            label = inner[0] if self.labels and len(inner) > 1 else None
            name = "/".join(parts) or root.resolve().name
            yield ClipEntry(name, images=images, times=np.arange(len(images)) / self.fps, label=label, split=split or "train")
