"""Targets that follow the weights slowly (an exponential moving average), as BYOL and seq-JEPA need."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def follower(module: nn.Module) -> nn.Module:
    """A copy of `module` that is not trained."""
    return copy.deepcopy(module).requires_grad_(False)


def schedule(base: float, step: int, steps: int) -> float:
    """BYOL's momentum after `step` of `steps` steps: from `base` to 1 along a cosine, a function of the step alone."""
    return 1 - (1 - base) * (math.cos(math.pi * step / steps) + 1) / 2


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move the target's parameters towards the online ones, in place. Statistics of norm layers are each module's own."""
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
