"""Small made-up clips whose motion is known."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import torch

from vsie.motion.egomotion.base import Observation
from vsie.motion.fields import neighbours
from vsie.motion.flow.dis import Dis

SIZE = 96


def texture(size: int = SIZE, seed: int = 0) -> np.ndarray:
    """(size, size, 3) uint8 blurred noise."""
    noise = np.random.default_rng(seed).uniform(0, 255, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((smooth - 127) * 4 + 127, 0, 255).astype(np.uint8)


def disc(radius: float = 22) -> np.ndarray:
    """(SIZE, SIZE) float32 mask of a disc in the middle."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    return (np.hypot(x, y) < radius).astype(np.float32)


def moved(matrices: list[np.ndarray], *, background: np.ndarray | None = None, still: bool = False) -> np.ndarray:
    """A textured disc moved by affine maps (2, 3) about the middle of the picture before a background; or, `still`, the
    background moved behind a still disc."""
    plain = np.full((SIZE, SIZE, 3), 120, np.uint8)
    thing, mask, ground = texture(seed=1), disc(), plain if background is None else background
    frames = []
    for matrix in matrices:
        about = matrix.copy()
        centre = np.array([SIZE / 2 - 0.5] * 2)
        about[:, 2] += centre - matrix[:, :2] @ centre
        if still:
            inside, picture = mask, thing
            behind = cv2.warpAffine(ground, about, (SIZE, SIZE), borderMode=cv2.BORDER_WRAP)
        else:
            inside = cv2.warpAffine(mask, about, (SIZE, SIZE))
            picture, behind = cv2.warpAffine(thing, about, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT), ground
        frames.append(np.where(inside[..., None] > 0.5, picture, behind))
    return np.stack(frames).astype(np.uint8)


def similarity(angle: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """An affine map (2, 3)."""
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def observe(frames: np.ndarray, **known) -> Observation:
    """With flow by DIS."""
    return Observation(frames, neighbours(Dis(workers=1), frames), **known)


@functools.cache
def rendered(kind: str, family: str, frames: int = 8, size: int = 128, degrees: float = 10.0, clip: int = 0):
    """Frames and arrays (depth, mask, object_in_camera, intrinsics) of one rendered clip with steps of about `degrees`."""
    from vsie.render import Renderer, families
    from vsie.render.clips import ClipSettings, generator, render_clip

    settings = ClipSettings(frames, size, kind, 0, 2, 8.0, ("depth", "mask", "flow", "occlusion"))
    step = math.radians(degrees)
    renderer = Renderer(families.build(family, generator(0, 0)), size=size, supersample=2)
    return render_clip(renderer, settings, generator(0, 0, clip), speed=(step, step))


def true_poses(arrays: dict) -> torch.Tensor:
    """(T, 4, 4) deltas from frame 0."""
    poses = torch.from_numpy(arrays["object_in_camera"])
    return poses @ torch.linalg.inv(poses[:1])
