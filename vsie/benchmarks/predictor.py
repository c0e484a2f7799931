"""The factorised hypernetwork against one that builds a matrix per sample: B = d = 1024, K = 4, forward + backward.

And that of the default, told of a turntable: along the directions that are told against all, all pairs of 8 views of 64 objects.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from vsie import pose
from vsie.benchmarks.base import Rows, paired
from vsie.config import compose, to_plain
from vsie.model import build_method
from vsie.predictors import Hypernetwork


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""
    torch.manual_seed(0)
    batch = dim = 1024
    network = Hypernetwork(dim, 4)
    latent = torch.randn(batch, dim, requires_grad=True)
    delta = torch.nn.functional.normalize(torch.randn(batch, 4), dim=-1)
    target = torch.randn(batch, dim)

    def factorised() -> Tensor:
        return network(latent, delta)

    def materialised() -> Tensor:
        return torch.bmm(network.matrix(delta), latent[..., None]).squeeze(-1)

    def step(forward: Callable[[], Tensor]) -> None:
        network.zero_grad(set_to_none=True)
        latent.grad = None
        (forward() - target).square().mean().backward()

    def gradients(forward: Callable[[], Tensor]) -> list[Tensor]:
        step(forward)
        return [forward().detach(), latent.grad, network.matrices.grad]

    pairs = zip(gradients(factorised), gradients(materialised), strict=True)
    difference = max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
    fast, slow = paired(lambda: step(factorised), lambda: step(materialised), max(seconds, 4.0))
    memory = {name: extra_memory(forward) for name, forward in (("factorised", factorised), ("materialised", materialised))}
    slim, fat = memory["factorised"] / 2**20, memory["materialised"] / 2**20
    return [
        {"figure": "forward + backward, factorised", "value": 1e3 * fast, "unit": "ms"},
        {"figure": "forward + backward, a matrix per sample", "value": 1e3 * slow, "unit": "ms"},
        {"figure": "speed ratio", "value": slow / fast, "unit": "x", "bar": 25},
        {"figure": "extra memory, factorised", "value": slim, "unit": "MiB"},
        {"figure": "extra memory, a matrix per sample", "value": fat, "unit": "MiB"},
        {"figure": "memory ratio", "value": fat / slim, "unit": "x", "bar": 50},
        {"figure": "largest relative difference", "value": difference, "unit": "", "most": 1e-5},
        *of_a_turntable(seconds),
    ]


def of_a_turntable(seconds: float) -> Rows:
    """The default's equivariance term, forward + backward, with all directions of what is told and with those of a turntable."""
    method = build_method(to_plain(compose("train", [])))
    poses = pose.rigid(pose.exp(torch.rand(64, 8, 1) * 6 * torch.tensor([0.0, 0.0, 1.0])))
    embedded = torch.randn(64, 8, method.predictor.dim, requires_grad=True)
    method.conditioning.fit(poses[:, 0], poses[:, 1])
    whole, told = method.predictor, copy.deepcopy(method.predictor)
    deltas = method.conditioning.all_pairs(poses)
    told.fit(deltas.flatten(0, -2))

    def step(predictor: Hypernetwork) -> Tensor:
        predictor.zero_grad(set_to_none=True)
        moved = predictor(embedded, deltas)
        moved.square().mean().backward()
        return moved.detach()

    difference = (step(whole) - step(told)).abs().max() / step(whole).abs().max()
    slow, fast = paired(lambda: step(whole), lambda: step(told), seconds)
    return [
        {"figure": f"a turntable's {told.basis_size} of {whole.basis_size} directions, forward + backward", "value": 1e3 * fast,
         "unit": "ms"},
        {"figure": "speed ratio to all directions", "value": slow / fast, "unit": "x", "bar": 2},
        {"figure": "largest relative difference from all directions", "value": difference.item(), "unit": "", "most": 1e-5},
    ]  # fmt: skip


def extra_memory(forward: Callable[[], Tensor]) -> int:
    """Bytes that the forward pass keeps for the backward pass beyond inputs and parameters, and its result."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    kept[result.untyped_storage().data_ptr()] = result.untyped_storage().nbytes()
    inputs = set()
    stack = [result.grad_fn]
    while stack:
        node = stack.pop()
        if hasattr(node, "variable"):
            inputs.add(node.variable.untyped_storage().data_ptr())
        stack += [child for child, _ in node.next_functions if child is not None]
    return sum(size for place, size in kept.items() if place not in inputs)
