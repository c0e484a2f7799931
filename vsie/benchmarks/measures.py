"""The full suite on 20,000 frames of 512 dims (16,000 of 500 train objects, 4,000 of 125 others), with the rows of an
untrained encoder and of a raw backbone: CPU seconds of each protocol, wall time, and the memory that it took at most.

The peak is this process's: run it alone (`what=measures`). What needs pictures and not features (layers, correlation, the
plane) depends on the encoder and is not in it. `seconds` is not used.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import torch

from vsie import pose
from vsie.benchmarks.base import Rows
from vsie.config import compose, to_plain
from vsie.evaluation import suite
from vsie.feature_set import Features
from vsie.model import build_method


def rows(seconds: float) -> Rows:
    """All of them; `seconds` is not used."""
    torch.manual_seed(0)
    method = build_method(to_plain(compose("train", ["encoder.dim=512"]))).eval()
    own, initial, raw = (
        (known_features(500, 0, **options), known_features(125, 10_000, **options))
        for options in ({}, {"noise": 3.0}, {"split": False})
    )
    protocols = [*suite.DEFAULT, *(name for name in suite.measures() if name not in ("layers", "correlation"))]
    begun = time.perf_counter()
    result = suite.evaluate(*own, steering=method, random_init=initial, raw=raw, protocols=protocols)
    wall, spent = time.perf_counter() - begun, result.seconds
    rows: Rows = [{"figure": f"{name}, CPU", "value": value, "unit": "s"} for name, value in spent.items()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        *rows,
        {"figure": "all of them, CPU", "value": sum(spent.values()), "unit": "s"},
        {"figure": "all of them, wall", "value": wall, "unit": "s", "most": 180},
        {"figure": "memory at most", "value": peak, "unit": "GiB", "most": 4},
    ]


def known_features(objects: int, first: int, *, half: int = 256, noise: float = 0.3, split: bool = True):
    """Features of turntables, two clips of 16 frames of each object: the class in the invariant half, the turned object, mixed,
    in the equivariant half, and noise."""
    clips, frames = 2, 16
    shared, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1 + first)
    mixing = torch.linalg.qr(torch.randn(half, half, generator=shared)).Q
    centres, common = torch.randn(12, half, generator=shared), torch.randn(half // 3, 3, generator=shared)
    angle = 6.3 * torch.rand(objects, clips, 1, generator=own) + 0.3 * torch.arange(frames)
    turn = pose.exp(angle[..., None].double() * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    body = common + 0.3 * torch.randn(objects, half // 3, 3, generator=own)
    moved = torch.nn.functional.pad((body[:, None, None] @ turn.float()).flatten(-2), (0, half % 3)) @ mixing
    labels = torch.arange(objects) % len(centres)
    still = (centres[labels] + torch.randn(objects, half, generator=own))[:, None, None].expand(-1, clips, frames, -1)
    latents = torch.cat([still, moved], -1)
    latents = (latents + noise * torch.randn(latents.shape, generator=own)).flatten(0, 1).numpy()
    number = objects * clips
    return Features(
        image=latents, clip=latents.copy(), poses=pose.rigid(turn).flatten(0, 1).numpy(),
        times=np.tile(np.arange(frames) / 8.0, (number, 1)), labels=labels.repeat_interleave(clips).numpy(),
        objects=np.repeat(np.arange(first, first + objects), clips), clips=np.tile(np.arange(clips), objects),
        paths=[""] * number, invariant_dim=half if split else 0,
    )  # fmt: skip
