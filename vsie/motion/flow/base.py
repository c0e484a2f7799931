"""What every flow estimator is: pairs of frames in, displacements in pixels out."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm


class Flow:
    """Dense flow between pairs of frames."""

    def pairs(self, first: np.ndarray, second: np.ndarray, *, progress: bool = False) -> np.ndarray:
        """Flow of many pairs.

        Args:
            first: (N, H, W, 3) uint8.
            second: (N, H, W, 3) uint8.
            progress: Show a bar.

        Returns:
            (N, H, W, 2) float32, displacement in pixels (x right, y down) of what each pixel of `first` shows.

        Raises:
            ValueError: The frames are not of this shape and type, or of two different shapes.
        """
        for name, frames in (("first", first), ("second", second)):
            if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
                raise ValueError(f"{name}: expected (N, H, W, 3) uint8, found {frames.shape} {frames.dtype}")
        if first.shape != second.shape:
            raise ValueError(f"second: expected the shape of first, {first.shape}, found {second.shape}")
        if not len(first):
            return np.zeros((*first.shape[:3], 2), np.float32)
        return self._pairs(first, second, progress)

    def _pairs(self, first: np.ndarray, second: np.ndarray, progress: bool) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} must define _pairs")


def enlarge(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image (H, W) or (H, W, C) at another (height, width)."""
    import cv2

    if image.shape[:2] == shape:
        return image
    smaller = shape[0] < image.shape[0]
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def working_shape(height: int, width: int, resolution: int) -> tuple[int, int]:
    """(height, width) with a shorter side of at least `resolution`: small frames are enlarged, large ones left alone.

    Flow from enlarged frames is finer: patches and smoothness then reach over fewer of the original's pixels.
    """
    scale = max(1.0, resolution / min(height, width))
    return round(height * scale), round(width * scale)


def threaded(
    make: Callable[[], Callable[[np.ndarray, np.ndarray], np.ndarray]],
    first: np.ndarray,
    second: np.ndarray,
    *,
    workers: int | None,
    resolution: int,
    progress: bool,
) -> np.ndarray:
    """Run an OpenCV estimator over pairs in threads: OpenCV releases the interpreter lock, its objects are not shared.

    Args:
        make: Gives an estimator of its own to each thread: grey uint8 (h, w) twice -> flow (h, w, 2).
        first: (N, H, W, 3) uint8.
        second: (N, H, W, 3) uint8.
        workers: Threads; None for the cores that this process may use.
        resolution: See `working_shape`.
        progress: Show a bar.
    """
    import threading

    import cv2

    height, width = first.shape[1:3]
    shape = working_shape(height, width, resolution)
    ratio = np.array([width / shape[1], height / shape[0]], np.float32)
    own = threading.local()

    def one(index: int) -> np.ndarray:
        if not hasattr(own, "estimate"):
            own.estimate = make()
        grey = [enlarge(cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY), shape) for frames in (first, second)]
        found = own.estimate(*grey)
        if shape == (height, width):
            return found
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) * ratio

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pairs are what is parallel
    try:
        with ThreadPoolExecutor(min(workers or cores(), len(first))) as pool:
            rows = pool.map(one, range(len(first)))
            return np.stack(list(tqdm(rows, total=len(first), desc="flow", unit="pair", disable=not progress)))
    finally:
        cv2.setNumThreads(before)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
