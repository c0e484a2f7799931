"""A video of any length as stretches: between its cuts, and of no more frames than are solved together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

SIDE = 32  # pixels of the small pictures that tell cuts
AROUND = 4  # steps before and after a step that it is compared with


@dataclass(frozen=True)
class Stretch:
    """Some frames of a video without a cut.

    Attributes:
        first: Number of its first frame.
        frames: (T, H, W, 3) uint8.
        goes_on: Whether it goes on where the one before ends, with which it shares its first frame; else there is a cut.
    """

    first: int
    frames: np.ndarray
    goes_on: bool

    @property
    def span(self) -> slice:
        """The numbers of its frames."""
        return slice(self.first, self.first + len(self.frames))


def stretches(pieces: Iterable[np.ndarray], total: int, longest: int) -> Iterator[Stretch]:
    """The stretches of a video; every frame and every step that is no cut is in one of them.

    What is longer than `longest` is divided where it stands: evenly where the end is in sight, so that none is very short. No
    more than two of that length and a piece are held at a time.

    Args:
        pieces: Its frames in order, (N, H, W, 3) uint8 each.
        total: Frames of the video.
        longest: Most frames of a stretch, at least 2.
    """
    sight = 2 * longest + AROUND + 1
    held, first, goes_on = None, 0, False
    change, last = np.zeros(0, np.float32), None
    for piece in pieces:
        small = thumbnails(piece)
        change = np.append(change, changes(small if last is None else np.concatenate([last, small])))
        held, last = piece if held is None else np.concatenate([held, piece]), small[-1:]
        ended = first + len(held) == total
        while len(held) and (ended or len(held) >= sight):
            start = max(0, first - AROUND)
            cut = np.flatnonzero(cut_steps(change[start:])[first - start :])
            seen = int(cut[0]) + 1 if len(cut) else len(held)
            if seen <= longest:
                take, step = seen, seen
            else:
                take = longest if seen >= 2 * longest else seen // 2 + 1
                step = take - 1
            yield Stretch(first, held[:take], goes_on)
            goes_on, held, first = step < take, held[step:], first + step


def cuts(frames: np.ndarray) -> np.ndarray:
    """Between which frames (T, H, W, 3) uint8 the picture changes as a whole, bool (T - 1,): over a cut no motion goes."""
    return cut_steps(changes(thumbnails(frames)))


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """Small pictures (T, 32, 32, 3) float32 of frames (T, H, W, 3) uint8."""
    import cv2

    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames]).astype(np.float32)


def changes(small: np.ndarray) -> np.ndarray:
    """Mean absolute difference (T - 1,), grey levels, from each picture (T, h, w, 3) to the next."""
    return np.abs(np.diff(small, axis=0)).mean((1, 2, 3))


def cut_steps(change: np.ndarray, *, threshold: float = 4.0, least: float = 12.0) -> np.ndarray:
    """Which steps are cuts, bool (N,), by what changes in each: `changes`.

    A cut is `threshold` times the median of the eight steps around it and at least `least` grey levels; and a difference of 5
    `least` is one by itself.
    """
    if len(change) < 2:
        return change > 5 * least
    padded = np.pad(change.astype(np.float64), AROUND, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    typical = np.nanmedian(np.delete(windows, AROUND, axis=1), axis=1)
    return (change > 5 * least) | ((change > least) & (change > threshold * np.maximum(typical, 1e-6)))
