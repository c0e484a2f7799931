"""Motion that is slow: what cannot be told from every frame is looked for in every third, every ninth, ...

Notable: flow is off by a tenth of a pixel and more, whatever the motion, and what a turn shows of depth grows with it. At 25
frames a second most things move by less than a pixel a frame, and what is estimated from neighbours is noise, however many
there are. How far things move in the picture does not tell how far they turn (a thin thing that turns fast has less flow than
the noise on a wide one that turns slowly); the estimator's own confidence does, as long as steps are like those that it was
measured on. So what turns by `QUICK` and more is left as it is, however little is believed of it: every third frame is then too
far from the next, and what comes out wrong is believed (of 80 clips at 5 to 15 degrees a frame 11 would be replaced, 5 of them
by what is wrong by .69 of the motion and more, with a confidence of .31 to .76). These 80 keep every frame. What slow clips gain,
median error as a share of the motion from every frame and at the pace that is chosen: 24 of 61 frames, 0.7 to 1.3 degrees a
frame, over 12 frames 1.5 and .13; 24 of 16 frames, 1 to 4 degrees, over 4 frames .48 and .15.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vsie import pose
from vsie.motion.egomotion.base import Motion, chain, turns

FACTOR = 3  # from one pace to the next
STEPS = 5  # that are left at least
ENOUGH = 0.5  # the mean confidence from which nothing slower is looked for
QUICK = math.radians(5)  # a median turn from which nothing slower is: confidence was measured on steps of 5 to 15 degrees


@dataclass(frozen=True)
class Frames:
    """Frames (T, H, W, 3) uint8 without a cut, T >= 2, what else is known of them (see `Observation`), and their times (T,); None
    where they are evenly apart."""

    frames: np.ndarray
    facts: Mapping[str, np.ndarray]
    times: np.ndarray | None = None

    def some(self, numbers: np.ndarray) -> Frames:
        """Those of the numbers (K,)."""
        return Frames(self.frames[numbers], facts_of(self.facts, numbers), None if self.times is None else self.times[numbers])


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
    last, apart = dict(enumerate(best)), FACTOR
    while True:
        slow = [
            index for index, motion in last.items()
            if _told(best[index]) < ENOUGH and _turn(motion) < QUICK and (len(clips[index].frames) - 1) // apart >= STEPS
        ]  # fmt: skip
        if not slow:
            return best
        keys = [key_frames(len(clips[index].frames), apart) for index in slow]
        found = estimate([clips[index].some(numbers) for index, numbers in zip(slow, keys, strict=True)])
        last = dict(zip(slow, found, strict=True))
        for (index, motion), numbers in zip(last.items(), keys, strict=True):
            shared = between(motion, numbers, clips[index].times)
            if _better(shared, best[index]):
                best[index] = shared
        apart *= FACTOR


def _told(motion: Motion) -> float:
    """How much a motion tells: the mean confidence, so that parts that are known count where others are not."""
    return float(motion.confidence.mean())


def _turn(motion: Motion) -> float:
    """The median turn from step to step, radians."""
    return float(turns(motion.poses[:, :3, :3]).norm(dim=-1).median())


def _better(found: Motion, best: Motion) -> bool:
    """Whether a slower look tells more. What only shifts in it (`affine`) says nothing of a turn that a quicker one saw."""
    return _told(found) > _told(best) and not (found.scale == "image" and best.scale not in ("image", ""))


def key_frames(count: int, apart: int) -> np.ndarray:
    """Numbers (K,) of frames about `apart` from each other, the first and the last of `count` among them."""
    steps = max(1, round((count - 1) / apart))
    return np.linspace(0, count - 1, steps + 1).round().astype(np.int64)


def between(motion: Motion, numbers: np.ndarray, times: np.ndarray | None = None) -> Motion:
    """The motion of all frames, where that of key frames (K,), the first of them 0, is known.

    Between them things move evenly in time; the variance of a step is shared by those that it is made of. Where a translation
    is known but for its length, which is 1 in every step, it is so again.

    Args:
        motion: Of the key frames.
        numbers: Of the key frames.
        times: (T,) of all frames; None where they are evenly apart.
    """
    apart = torch.from_numpy(np.diff(numbers))
    every = torch.arange(int(numbers[-1]) + 1).double() if times is None else torch.from_numpy(times).double()
    poses = pose.interpolate(every[numbers], motion.poses, every)
    if motion.scale == "unit":
        steps = pose.delta(poses[:-1], poses[1:], "camera")
        steps[:, :3, 3] = torch.nn.functional.normalize(steps[:, :3, 3], dim=-1)
        poses = chain(steps)
    share = every.diff() / every[numbers].diff().repeat_interleave(apart)
    return replace(
        motion,
        poses=poses,
        covariance=motion.covariance.repeat_interleave(apart, 0) * share[:, None, None],
        confidence=motion.confidence.repeat_interleave(apart),
    )
