"""A representation that is known in full: the class in the invariant part, the rotated object in the equivariant part."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsie import pose
from vsie.feature_set import Features


class BlockSteering:
    """The exact predictor of `features`: a latent is B rows of 3, and a body delta multiplies them from the right.

    ``(Z delta)[:, b] = sum_a Z[:, a] delta[a, b]``, so K = 9, h = vec delta and A_ab moves column a to column b.
    """

    def __init__(self, *, similarity: str = "cosine", frame: str = "body"):
        self.similarity, self.frame = similarity, frame

    def embed(self, equivariant: Tensor) -> Tensor:
        return equivariant

    def expand(self, embedded: Tensor) -> Tensor:
        rows = embedded.unflatten(-1, (-1, 3))
        result = embedded.new_zeros(*embedded.shape[:-1], 3, 3, *rows.shape[-2:])
        for a in range(3):
            for b in range(3):
                result[..., a, b, :, b] = rows[..., a]
        return result.flatten(-2).flatten(-3, -2)

    def coefficients(self, delta: Tensor) -> Tensor:
        return delta[..., :3, :3].flatten(-2)


def random_rotations(number: int, generator: torch.Generator) -> Tensor:
    """Uniform rotations (number, 3, 3)."""
    return pose.from_quaternion(torch.randn(number, 4, generator=generator, dtype=torch.float64))


def features(
    *, objects: int = 20, clips: int = 2, frames: int = 6, blocks: int = 10, classes: int = 4, noise: float = 0.1,
    motion: str = "turntable", first_object: int = 0, seed: int = 0, world: int = 0, leak: bool = False,
) -> Features:  # fmt: skip
    """Features whose equivariant part is ``M_object R`` plus noise, and whose invariant part is the class plus noise.

    `turntable`: all rotations about z at a constant speed per clip; `tumble`: about any axis from any start. `world` fixes
    what train and test share (class vectors, the common part of M); `leak` adds the pose to the invariant part.
    """
    shared = torch.Generator().manual_seed(1000 + world)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 8, generator=shared, dtype=torch.float64)
    common = torch.randn(blocks, 3, generator=shared, dtype=torch.float64)
    labels = torch.arange(objects) % classes
    own = common + 0.3 * torch.randn(objects, blocks, 3, generator=generator, dtype=torch.float64)
    rotation = torch.empty(objects, clips, frames, 3, 3, dtype=torch.float64)
    for i in range(objects):
        for j in range(clips):
            if motion == "turntable":
                start, speed = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
                angle = 2 * math.pi * start + (0.8 * speed - 0.4) * torch.arange(frames)
                rotation[i, j] = pose.exp(angle[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
            else:
                axis = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
                speed = 0.2 + 0.5 * torch.rand(1, generator=generator, dtype=torch.float64)
                turn = pose.exp(torch.arange(frames)[:, None] * speed * axis)
                rotation[i, j] = random_rotations(1, generator) @ turn
    equi = (own[:, None, None] @ rotation).flatten(-2)
    inv = (centres[labels] + 0.3 * torch.randn(objects, 8, generator=generator))[:, None, None].expand(-1, clips, frames, -1)
    if leak:
        inv = torch.cat([inv, rotation.flatten(-2)], -1)
    latents = torch.cat([inv, equi], -1)
    latents = latents + noise * torch.randn(latents.shape, generator=generator, dtype=torch.float64)
    number = objects * clips
    latents = latents.flatten(0, 1).float().numpy()
    return Features(
        image=latents, clip=latents.copy(), poses=pose.rigid(rotation).flatten(0, 1).numpy(),
        times=np.tile(np.arange(frames) / 10, (number, 1)), labels=labels.repeat_interleave(clips).numpy(),
        objects=first_object + np.repeat(np.arange(objects), clips), clips=np.tile(np.arange(clips), objects),
        paths=[f"clip_{i}.mp4" for i in range(number)], invariant_dim=inv.shape[-1],
    )  # fmt: skip


def all_deltas(data: Features, *, frame: str = "body", limit: int = 4000, seed: int = 0) -> Tensor:
    """Deltas (M, 4, 4) between random frames of one object."""
    generator = torch.Generator().manual_seed(seed)
    poses = torch.from_numpy(data.poses.reshape(-1, 4, 4))
    pairs = []
    for group in data.views():
        index = torch.from_numpy(group)
        draw = torch.randint(len(group), (2, max(2, limit // len(data.views()))), generator=generator)
        pairs.append(pose.delta(poses[index[draw[0]]], poses[index[draw[1]]], frame))
    return torch.cat(pairs)


LATENTS = ("rotation_x", "rotation_y", "rotation_z", "floor_hue", "spot_theta", "spot_phi", "spot_hue")


def three_die_bench(*, objects: int, views: int = 50, dim: int = 1, first_object: int = 0, seed: int = 0) -> Features:
    """Latents drawn as 3DIEBench draws them (each angle of the rotation within +-pi/2, hues uniform); features are noise."""
    rng = np.random.default_rng(seed)
    low = np.array([-math.pi / 2] * 3 + [0, 0, 0, 0])
    high = np.array([math.pi / 2] * 3 + [1, math.pi / 4, 2 * math.pi, 1])
    latents = rng.uniform(low, high, (objects, views, 7))
    rotation = pose.from_euler_xyz(torch.from_numpy(latents[..., :3]))
    noise = rng.normal(size=(objects, views, dim)).astype(np.float32)
    return Features(
        image=noise, clip=noise, poses=pose.rigid(rotation).numpy(), times=np.tile(np.arange(views) / 10, (objects, 1)),
        labels=np.arange(objects) % 5, objects=first_object + np.arange(objects), clips=np.zeros(objects, np.int64),
        paths=[f"object_{i}" for i in range(objects)], invariant_dim=dim // 2, latents=latents, latent_names=LATENTS,
    )  # fmt: skip


def in_a_file(tensor: Tensor) -> bool:
    """Whether a tensor's numbers are those of a mapped file (Linux)."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= tensor.data_ptr() < last:
            return int(line.split()[4]) != 0
    raise AssertionError("not in memory at all")
