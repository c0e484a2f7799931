"""From deltas over one and over several frames to the poses of a clip, with drift bounded: a small pose graph.

Rotations by synchronisation of all pairs (`vsie.synchronisation`), then translations by weighted least squares, which are
linear once rotations are known: ``t_j = R_ij t_i + t_ij``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vsie import pose
from vsie.synchronisation import synchronise


def pairs(frames: int, gaps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Source and target frame numbers (M,) of all pairs that are one of `gaps` apart, the neighbours first."""
    gaps = sorted({1, *(gap for gap in gaps if 0 < gap < frames)})
    source = torch.cat([torch.arange(frames - gap) for gap in gaps])
    target = torch.cat([torch.arange(gap, frames) for gap in gaps])
    return source, target


def graph(source: Tensor, target: Tensor, deltas: Tensor, trust: Tensor, frames: int) -> Tensor:
    """Poses (T, 4, 4) float64 with the identity first, from camera-frame deltas between frames.

    Args:
        source: (M,) frame numbers.
        target: (M,) frame numbers; together with `source` every frame is reached.
        deltas: (M, 4, 4).
        trust: (M,) weights, at least 0.
        frames: T.
    """
    deltas, trust = deltas.double(), trust.double().clamp_min(1e-6)
    relative = torch.eye(3, dtype=torch.float64).repeat(1, frames, frames, 1, 1)
    weight = torch.zeros(1, frames, frames, dtype=torch.float64)
    relative[0, source, target], weight[0, source, target] = deltas[:, :3, :3], trust
    relative[0, target, source], weight[0, target, source] = deltas[:, :3, :3].mT, trust
    rotation = synchronise(relative, weight, frame="camera")[0]
    rows = torch.zeros(len(source), 3, frames, 3, dtype=torch.float64)
    number = torch.arange(len(source))
    step = rotation[target] @ rotation[source].mT
    rows[number, :, target] += torch.eye(3, dtype=torch.float64)
    rows[number, :, source] -= step
    root = trust.sqrt()
    left = (rows * root[:, None, None, None])[:, :, 1:].flatten(2).flatten(0, 1)  # frame 0 stays where it is
    right = (deltas[:, :3, 3] * root[:, None]).flatten()
    place = torch.linalg.lstsq(left, right[:, None]).solution.reshape(frames - 1, 3)
    return pose.rigid(rotation, torch.cat([torch.zeros(1, 3, dtype=torch.float64), place]))
