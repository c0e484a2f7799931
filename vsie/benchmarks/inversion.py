"""Tracking without a probe: frame pairs per second, for a turntable (one axis) and for any rotation, default widths."""

from __future__ import annotations

import torch
from torch import Tensor

from vsie import pose
from vsie.benchmarks.base import Rows, median_time
from vsie.config import compose, to_plain
from vsie.evaluation import inversion
from vsie.evaluation.inputs import Steering
from vsie.model import build_method

PAIRS = 8192


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""
    torch.manual_seed(0)
    method = build_method(to_plain(compose("train", []))).eval()
    found: Rows = []
    with torch.no_grad():
        embedded = method.embed(torch.randn(2048, method.split.equivariant))
        for name, axis in (("one axis", torch.tensor([0.0, 0.0, 1.0])), ("any rotation", torch.ones(3))):
            source, target = pose.rigid(pose.exp((torch.rand(2, 4096, 3) - 0.5) * 5 * axis)).double()
            method.fit(source, target)
            speed = pairs_per_second(method, embedded, pose.delta(source, target), seconds=seconds)
            found.append({"figure": f"frame pairs, {name}", "value": speed, "unit": "pairs/s", "bar": 2000})
    return found


def pairs_per_second(
    steering: Steering, embedded: Tensor, training_deltas: Tensor, *, seconds: float, pairs: int = PAIRS
) -> float:
    """Speed of the inversion of unrelated pairs (nothing is shared between them) of embedded latents (N, d), the grid built."""
    grid = inversion.candidates(steering, training_deltas)
    source, target = torch.randint(len(embedded), (2, pairs), generator=torch.Generator().manual_seed(0))
    return pairs / median_time(lambda: inversion.invert_pairs(steering, embedded, source, target, grid), seconds)
