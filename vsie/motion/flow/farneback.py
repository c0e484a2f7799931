"""Polynomial expansion (Farneback, SCIA 2003; OpenCV): slower than DIS, and less drawn to the still ground."""

from __future__ import annotations

import numpy as np

from vsie.motion.flow.base import Flow, threaded


class Farneback(Flow):
    """OpenCV's Farneback flow with Gaussian windows.

    Args:
        resolution: Frames with a shorter side below this are enlarged to it.
        window: Side of the averaging window in pixels.
        levels: Pyramid levels.
        iterations: Per level.
        neighbourhood: Side of the polynomial's neighbourhood, 5 or 7.
        workers: Threads; None for all cores.
    """

    def __init__(
        self, *, resolution: int = 256, window: int = 9, levels: int = 4, iterations: int = 4, neighbourhood: int = 5,
        workers: int | None = None,
    ) -> None:  # fmt: skip
        if neighbourhood not in (5, 7):
            raise ValueError(f"flow.neighbourhood is {neighbourhood}, expected 5 or 7")
        self.resolution, self.window, self.levels, self.iterations = resolution, window, levels, iterations
        self.neighbourhood, self.workers = neighbourhood, workers

    def _make(self):
        import cv2

        sigma = 1.1 if self.neighbourhood == 5 else 1.5
        numbers = (0.5, self.levels, self.window, self.iterations, self.neighbourhood, sigma, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)
        return lambda first, second: cv2.calcOpticalFlowFarneback(first, second, None, *numbers)

    def _pairs(self, first: np.ndarray, second: np.ndarray, progress: bool) -> np.ndarray:
        return threaded(self._make, first, second, workers=self.workers, resolution=self.resolution, progress=progress)
