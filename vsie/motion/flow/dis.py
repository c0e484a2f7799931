"""Dense inverse search (Kroeger et al., ECCV 2016; OpenCV): the default, and quick on a CPU.

OpenCV's presets smooth too much for small objects on plain ground: flow is drawn towards the still floor. Measured on
rendered 128 px turntables with known depth, the rotation error of a fit to the flow is .33 of the motion at smoothness 60,
.26 at the preset's 20, .22 at 5, and .18 at 5 with the finest scale 0 at 3.5 times the price.
"""

from __future__ import annotations

import numpy as np

from vsie.motion.flow.base import Flow, threaded


class Dis(Flow):
    """OpenCV's DIS.

    Args:
        resolution: Frames with a shorter side below this are enlarged to it.
        finest_scale: 0 computes at the full (enlarged) resolution, 1 at half of it.
        patch: Side of a patch in pixels.
        stride: From patch to patch in pixels, below `patch`.
        iterations: Gradient steps a patch.
        smoothness: Weight of the variational refinement's smoothness.
        refinements: Fixed-point iterations of that refinement; 0 leaves it out.
        workers: Threads; None for all cores.
    """

    def __init__(
        self, *, resolution: int = 256, finest_scale: int = 1, patch: int = 8, stride: int = 6, iterations: int = 16,
        smoothness: float = 5.0, refinements: int = 0, workers: int | None = None,
    ) -> None:  # fmt: skip
        if finest_scale < 0:
            raise ValueError(f"flow.finest_scale is {finest_scale}, expected at least 0")
        if not 0 < stride < patch:
            raise ValueError(f"flow.stride is {stride} and flow.patch is {patch}, expected 0 < stride < patch")
        self.resolution, self.finest_scale, self.patch, self.stride = resolution, finest_scale, patch, stride
        self.iterations, self.smoothness, self.refinements, self.workers = iterations, smoothness, refinements, workers

    def _make(self):
        import cv2

        engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        engine.setFinestScale(self.finest_scale)
        engine.setPatchSize(self.patch)
        engine.setPatchStride(self.stride)
        engine.setGradientDescentIterations(self.iterations)
        engine.setVariationalRefinementAlpha(self.smoothness)
        engine.setVariationalRefinementIterations(self.refinements)
        return lambda first, second: engine.calc(first, second, None)

    def _pairs(self, first: np.ndarray, second: np.ndarray, progress: bool) -> np.ndarray:
        return threaded(
            self._make, first, second, workers=self.workers, resolution=max(self.resolution, 4 * self.patch), progress=progress
        )
