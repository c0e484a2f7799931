"""From deltas over one and over several frames to the poses of a clip, with drift bounded: a small pose graph.

Rotations by synchronisation of all pairs (`vsie.synchronisation`), then translations by weighted least squares, which are
linear once rotations are known: ``t_j = R_ij t_i + t_ij``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vsie import pose
from vsie.synchronisation import synchronise

LEAST = math.radians(0.25)  # standard deviation below which no pair is believed


def pairs(frames: int, gaps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Source and target frame numbers (M,) of all pairs that are one of `gaps` apart, the neighbours first."""
    gaps = sorted({1, *(gap for gap in gaps if 0 < gap < frames)})
    source = torch.cat([torch.arange(frames - gap) for gap in gaps])
    target = torch.cat([torch.arange(gap, frames) for gap in gaps])
    return source, target


def steady_turns(
    source: Tensor, target: Tensor, turns: Tensor, covariance: Tensor, trust: Tensor, frames: int, *, steadiness: float
) -> Tensor:
    """Turns (T - 1, 3) between neighbours by all pairs together: least squares with Cauchy weights and a steady turn.

    What a single pair shows of a plain or round thing leaves directions open, and now and then is a wrong minimum: both can be
    seen from the pairs around. Turns are taken to add up, which holds for small steps about nearly one axis.

    Args:
        source: (M,) frame numbers.
        target: (M,) frame numbers.
        turns: (M, 3) rotation vectors in radians.
        covariance: (M, 3, 3) of each.
        trust: (M,) weights, at least 0.
        frames: T.
        steadiness: Inverse variance, per squared radian, of the change of the turn from step to step.
    """
    steps, eye = frames - 1, torch.eye(3, dtype=torch.float64)
    index = torch.arange(steps)
    within = ((index >= source[:, None]) & (index < target[:, None])).double()  # [M, T - 1]
    information = torch.linalg.inv(covariance.double() + LEAST**2 * eye)
    change = torch.diff(torch.eye(steps, dtype=torch.float64), dim=0)
    prior = torch.kron(steadiness * change.mT @ change + 1e-6 * torch.eye(steps, dtype=torch.float64), eye)
    turns, trust = turns.double(), trust.double().clamp_min(1e-6)
    robust = trust
    for _ in range(10):
        weighted = robust[:, None, None] * information
        normal = torch.einsum("ma,mij,mb->aibj", within, weighted, within).reshape(3 * steps, 3 * steps)
        right = torch.einsum("ma,mij,mj->ai", within, weighted, turns).flatten()
        solution = torch.linalg.solve(normal + prior, right).unflatten(0, (steps, 3))
        off = turns - within @ solution
        square = torch.einsum("mi,mij,mj->m", off, information, off)
        robust = trust / (1 + square / 9)
    return solution


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
