"""What the tests of methods share: the real configs at a size of milliseconds."""

from __future__ import annotations

import torch

from vsie import pose
from vsie.config import compose, to_plain
from vsie.methods.base import Method
from vsie.model import build_method

TINY = ["encoder.widths=[8,16]", "encoder.depths=[1]", "encoder.dim=32", "encoder.mixing=0", "method.projector_width=24",
        "method.projector_norm=layer"]  # fmt: skip


def build(name: str, *overrides: str, seed: int = 0) -> Method:
    """The method as `tools/train.py method=name` would build it, tiny; the norm is free of the batch."""
    config = to_plain(compose("train", [f"method={name}", *TINY, *overrides]))
    torch.manual_seed(seed)
    return build_method(config)


def random_poses(*shape: int, seed: int = 1) -> torch.Tensor:
    """Poses (..., 4, 4) with any rotation."""
    generator = torch.Generator().manual_seed(seed)
    return pose.rigid(pose.from_quaternion(torch.randn(*shape, 4, generator=generator)))


def info_nce(anchor: torch.Tensor, positive: torch.Tensor, others: list[torch.Tensor], temperature: float) -> torch.Tensor:
    """-log of the positive's share among it and the others, of exp(cosine / temperature), one number at a time."""

    def weight(candidate):
        return torch.exp(torch.cosine_similarity(anchor, candidate, dim=0) / temperature)

    return -torch.log(weight(positive) / (weight(positive) + sum(weight(other) for other in others)))


def mean(values: list[torch.Tensor]) -> float:
    """Mean of scalars."""
    return torch.stack(values).mean().item()
