"""Poses with errors of a known size: what deltas would be worth that somebody had to estimate.

Notable: every frame's orientation is wrong by a turn of its own, drawn once for all epochs, as an estimator's would be: the
deltas of a clip contradict neither each other nor those of the next epoch, and nothing averages the error out.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

MEDIAN = math.sqrt(2.3659738843753377)  # of the length of a vector of three standard normal numbers
LARGEST = 60.0  # degrees; above, sums of turns wrap around and the median of the error stays behind


class PoseNoise:
    """Random rotations of the object, the same whenever a clip is read: a function of (seed, clip, frame) alone.

    A frame's turn is about a random axis through the object's origin (the place stays), its vector normally distributed with
    equal variances, such that the *delta between two frames* is wrong by `degrees` in the median, in either frame.

    Args:
        degrees: Median angle between a noisy and the true delta, 0 to 60.
        seed: Of the draws.

    Raises:
        ValueError: `degrees` is out of range.
    """

    def __init__(self, degrees: float, *, seed: int = 0) -> None:
        if not 0 <= degrees <= LARGEST:
            raise ValueError(f"motion.noise_deg is {degrees}, expected 0 to {LARGEST:g} degrees")
        self.degrees, self.seed = float(degrees), seed
        self.deviation = math.radians(degrees) / (MEDIAN * math.sqrt(2))  # of one frame's turn, per axis: a delta has two frames

    def __call__(self, row: int, poses: np.ndarray) -> np.ndarray:
        """Poses (N, 4, 4) of the clip in a row of the manifest, with errors."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, row), spawn_key=(3,))))
        turns = Rotation.from_rotvec(self.deviation * rng.standard_normal((len(poses), 3))).as_matrix()
        noisy = poses.copy()
        noisy[:, :3, :3] = turns @ poses[:, :3, :3]
        return noisy
