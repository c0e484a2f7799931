"""The global batch: gathering with gradient, so that a loss term does not see how many processes share the work."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """How many processes train together; 1 where none were started."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this process is; 0 where there is one."""
    return distributed.get_rank() if world_size() > 1 else 0


def gather(tensor: Tensor) -> Tensor:
    """Concatenate `tensor` (N, ...) of all processes, in rank order, to (world * N, ...); gradients flow back.

    Every process then computes the same global term. The gradient of the gather adds what all processes send back, and
    data-parallel training averages over them: together that is the gradient of the global term exactly.
    """
    if world_size() == 1:
        return tensor
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(tensor.contiguous()), 0)


def mean(tensor: Tensor) -> Tensor:
    """Mean of a tensor over all processes, without gradient: for what is printed."""
    tensor = tensor.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(tensor)
        tensor /= world_size()
    return tensor
