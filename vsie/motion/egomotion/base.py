"""What every estimator of motion is: what is known of clips in, camera-frame deltas with a confidence out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.motion.fields import Fields
from vsie.motion.foreground import foreground, full, grey, information, structure

SCALES = ("metric", "centre", "unit", "image")
"""The unit of a translation: the depth's own; the distance to the centre of rotation; its own length; the (equal) depth."""


@dataclass
class Observation:
    """What is known of a clip of T frames without a cut.

    Attributes:
        frames: (T, H, W, 3) uint8.
        fields: Flow between neighbours.
        intrinsics: (3, 3) in pixels; None where unknown, and then the focal length is taken to be 1.2 times the longer side.
        depth: (T, H, W) camera z, not finite or not above 0 where unknown (kept as NaN); None without.
        mask: (T, H, W) bool, the object; None where depth that is not known everywhere, or the motion itself, has to tell it.
    """

    frames: np.ndarray
    fields: Fields
    intrinsics: np.ndarray | None = None
    depth: np.ndarray | None = None
    mask: np.ndarray | None = None
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = self.frames.shape[:3]
        for name in ("depth", "mask"):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"observation.{name}: expected shape {shape} as the frames, found {value.shape}")
        if self.depth is not None:
            self.depth = np.where(np.isfinite(self.depth) & (self.depth > 0), self.depth, np.nan)
        if self.intrinsics is not None and np.shape(self.intrinsics) != (3, 3):
            raise ValueError(f"observation.intrinsics: expected shape (3, 3), found {np.shape(self.intrinsics)}")
        if len(self.fields.forward) != shape[0] - 1:
            raise ValueError(f"observation.fields: {len(self.fields.forward)} steps, expected {shape[0] - 1}")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def camera(self) -> tuple[float, Tensor]:
        """Focal length and principal point (2,) in pixels."""
        if self.intrinsics is not None:
            return float(self.intrinsics[0, 0]), torch.tensor(self.intrinsics[:2, 2], dtype=torch.float32)
        height, width = self.frames.shape[1:3]
        return 1.2 * max(height, width), torch.tensor([width / 2, height / 2])

    @property
    def depth_known(self) -> bool:
        """Whether depth is known anywhere in the clip."""
        return self.depth is not None and bool(np.isfinite(self.depth).any())

    def _once(self, name: str, make) -> Tensor:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def grey(self) -> Tensor:
        """(T, H, W) grey levels."""
        return self._once("grey", lambda: torch.from_numpy(grey(self.frames)))

    @property
    def factor(self) -> Tensor:
        """(3, T, H, W): see `foreground.information`."""

        def make() -> Tensor:  # a frame at a time stays in the processor's cache
            return torch.stack([information(tensor) for tensor in structure(self.grey.numpy()).unbind(1)], 1)

        return self._once("factor", make)

    @property
    def texture(self) -> Tensor:
        """(T, H, W) in [0, 1]: how much of the motion the place tells, half the sum of the squares of `factor`."""

        def make() -> Tensor:
            xx, xy, yy = self.factor
            return (xx * xx + yy * yy) / 2 + xy * xy

        return self._once("texture", make)

    @property
    def still(self) -> bool:
        """Whether nothing in the clip moves that has texture: a static video, a black one."""
        return bool(self._once("still", lambda: _still(self)))

    @property
    def region(self) -> Tensor:
        """(T, H, W) bool: the mask; else where depth ends, if it does; else what moves against the background."""
        if self.mask is not None:
            return torch.from_numpy(np.asarray(self.mask, bool))
        if self.depth_known and np.isfinite(self.depth).mean() < 0.9:
            return torch.from_numpy(np.isfinite(self.depth))
        return self._once("region", lambda: foreground(self.fields, self.factor))


@dataclass
class Motion:
    """The motion of one clip of T frames.

    Attributes:
        poses: (T, 4, 4) float64, the delta from frame 0 to each frame in the camera frame: the object in the camera, with the
            camera's axes in frame 0 for the object's. ``poses[j] @ inverse(poses[i])`` is the delta from i to j.
        covariance: (T - 1, 3, 3) float64, squared radians, of the turn between neighbours.
        confidence: (T - 1,) float64 in [0, 1] of the delta between neighbours: how much of it can be believed.
        scale: One of `SCALES`; empty where nothing moves, whose translations of 0 have any.
        estimator: Who found it.
        note: What the user should know, in words.
    """

    poses: Tensor
    covariance: Tensor
    confidence: Tensor
    scale: str
    estimator: str
    note: str = ""


class Egomotion:
    """From observations to motions."""

    NEEDS_DEPTH = False

    def __call__(self, observations: Sequence[Observation]) -> list[Motion]:
        """The motion of each clip; clips of one length and size may be solved together.

        Raises:
            ValueError: A clip has fewer than two frames, or no depth where the estimator needs it.
        """
        for clip in observations:
            if len(clip) < 2:
                raise ValueError(f"a clip of {len(clip)} frame has no motion, expected at least 2 frames")
            if self.NEEDS_DEPTH and clip.depth is None:
                raise ValueError(f"egomotion={type(self).__name__.lower()} needs depth, but the clip has none; "
                                 "give depth, or use egomotion=auto")  # fmt: skip
        return self._estimate(list(observations))

    def _estimate(self, observations: list[Observation]) -> list[Motion]:
        raise TypeError(f"{type(self).__name__} must define _estimate")


@dataclass(frozen=True)
class Points:
    """P pixels of N frames: place (N, P, 2), which are real (N, P), factor (N, P, 2, 2), flat index (N, P)."""

    place: Tensor
    real: Tensor
    factor: Tensor
    index: Tensor


def choose(clip: Observation, frames: Tensor, count: int, *, region: Tensor | None = None) -> Points:
    """Pixels of the frames (A,) that tell of motion: drawn from the region, where there is texture first; reproducible."""
    height, width = clip.frames.shape[1:3]
    region = (clip.region if region is None else region)[frames]
    told = clip.texture[frames].flatten(1)
    noise = torch.rand(1, height * width, generator=torch.Generator().manual_seed(0))
    score = region.flatten(1) * (told + 1e-3) * (noise + 0.1)
    best = score.topk(min(count, height * width), 1)
    index, order = best.indices.sort(1)  # neighbours in the picture are neighbours in memory
    real = best.values.gather(1, order) > 0
    short = (0, count - index.shape[1])
    index, real = torch.nn.functional.pad(index, short), torch.nn.functional.pad(real, short)
    place = torch.stack([index % width, index // width], -1) + 0.5
    return Points(place, real, full(clip.factor[:, frames[:, None], index // width, index % width]), index)


def _still(clip: Observation) -> Tensor:
    x, y = clip.fields.forward.unbind(-1)
    square = x * x + y * y
    moving = (square > 0.15**2) & (clip.texture[:-1] > 0.05) & (clip.fields.forward_confidence > 0.2)
    return moving.float().mean() < 5e-4


def motionless(clip: Observation, name: str) -> Motion:
    """Identity deltas of no confidence: nothing was seen to move, so nothing was learned of motion."""
    steps = len(clip) - 1
    return Motion(
        torch.eye(4, dtype=torch.float64).repeat(len(clip), 1, 1),
        math.radians(30) ** 2 * torch.eye(3, dtype=torch.float64).repeat(steps, 1, 1),
        torch.zeros(steps, dtype=torch.float64), "", name, "nothing moves",
    )  # fmt: skip


def believe(covariance: Tensor, turn: Tensor, *, floor: float) -> Tensor:
    """Confidence (...) in [0, 1] from covariances (..., 3, 3) of turns (..., 3): 1 / (1 + variance / size^2).

    An error as large as the motion gives a half. `floor` (radians) is added to the size: below it nothing can be told.
    """
    variance = torch.diagonal(covariance, dim1=-2, dim2=-1).sum(-1)
    return 1 / (1 + variance / (turn.square().sum(-1) + floor**2))


def chain(steps: Tensor) -> Tensor:
    """Poses (T, 4, 4) from camera-frame deltas (T - 1, 4, 4) between neighbours."""
    poses = [torch.eye(4, dtype=torch.float64)]
    for step in steps.double():
        poses.append(step @ poses[-1])
    return torch.stack(poses)


def turns(rotation: Tensor) -> Tensor:
    """Rotation vectors (..., T - 1, 3) between neighbours of rotations (..., T, 3, 3), in the camera frame."""
    return pose.log(rotation[..., 1:, :, :] @ rotation[..., :-1, :, :].mT)
