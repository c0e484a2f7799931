"""Motion that is slow: what cannot be told from every frame is looked for in every third, every ninth, ...

Notable: flow is off by a tenth of a pixel and more, whatever the motion, and what a turn shows of depth grows with it. At 25
frames a second most things move by less than a pixel a frame, and what is estimated from neighbours is noise, however many
there are. How far things move in the picture does not tell how far they turn (a thin thing that turns fast has less flow than
the noise on a wide one that turns slowly); the estimator's own confidence does. Error over 9 frames as a share of the motion, 91
frames of 96 px at 0.7 to 1.3 degrees a frame, from every frame and at the pace that is chosen: 5 turntables 1.6 to 2.9 and
.04 to .22, 5 orbits that nod as quickly as fast ones .3 to 2.6 and .1 to .75 (the worst without confidence). Of 40 clips at
8 to 22 degrees a frame 32 keep every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vsie import pose
from vsie.motion.egomotion.base import Motion

FACTOR = 3  # from one pace to the next
STEPS = 5  # that are left at least
ENOUGH = 0.5  # the median confidence from which nothing slower is looked for


@dataclass(frozen=True)
class Frames:
    """Frames (T, H, W, 3) uint8 without a cut, T >= 2, and what else is known of them: see `Observation`."""

    frames: np.ndarray
    facts: Mapping[str, np.ndarray]

    def some(self, numbers: np.ndarray) -> Frames:
        """Those of the numbers (K,)."""
        return Frames(self.frames[numbers], facts_of(self.facts, numbers))


def facts_of(facts: Mapping[str, np.ndarray], frames: np.ndarray | slice) -> dict[str, np.ndarray]:
    """What is known of some frames of a clip."""
    return {name: value if name == "intrinsics" else value[frames] for name, value in facts.items()}


def at_its_pace(estimate: Callable[[Sequence[Frames]], Sequence[Motion]], clips: Sequence[Frames]) -> list[Motion]:
    """Motions of all frames of clips, each by the frames that tell most of it.

    Args:
        estimate: Motions of some clips.
        clips: Each without a cut.
    """
    best = list(estimate(clips))
    apart = FACTOR
    while True:
        slow = [
            index for index, motion in enumerate(best)
            if float(motion.confidence.median()) < ENOUGH and (len(clips[index].frames) - 1) // apart >= STEPS
        ]  # fmt: skip
        if not slow:
            return best
        keys = [key_frames(len(clips[index].frames), apart) for index in slow]
        found = estimate([clips[index].some(numbers) for index, numbers in zip(slow, keys, strict=True)])
        for index, numbers, motion in zip(slow, keys, found, strict=True):
            if float(motion.confidence.median()) > float(best[index].confidence.median()):
                best[index] = between(motion, numbers)
        apart *= FACTOR


def key_frames(count: int, apart: int) -> np.ndarray:
    """Numbers (K,) of frames about `apart` from each other, the first and the last of `count` among them."""
    steps = max(1, round((count - 1) / apart))
    return np.linspace(0, count - 1, steps + 1).round().astype(np.int64)


def between(motion: Motion, numbers: np.ndarray) -> Motion:
    """The motion of all frames, where that of key frames (K,), the first of them 0, is known.

    Between them things move evenly; the variance of a step is shared by those that it is made of.
    """
    apart = torch.from_numpy(np.diff(numbers))
    every = torch.arange(int(numbers[-1]) + 1).double()
    return replace(
        motion,
        poses=pose.interpolate(torch.from_numpy(numbers).double(), motion.poses, every),
        covariance=(motion.covariance / apart[:, None, None]).repeat_interleave(apart, 0),
        confidence=motion.confidence.repeat_interleave(apart),
    )
