"""Two processes that share a batch give the loss and the gradient of one that has all of it."""

from __future__ import annotations

import copy
import datetime

import pytest
import torch
from torch import distributed, multiprocessing

from tests.methods.common import build, random_poses
from vsie import components

METHODS = components.names("methods")


def step(method, objects: slice):
    clips = torch.rand(4, 2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))[objects]
    labels = [torch.tensor([0, 1, 2, -1])[objects]] if method.needs_labels else []
    torch.manual_seed(7)
    outputs = method(clips, random_poses(4, 2, 4)[objects], *labels)
    outputs.loss.backward()
    gradients = {name: p.grad for name, p in method.named_parameters() if p.requires_grad}
    return outputs.loss.detach(), gradients


def work(rank: int, folder, methods) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    found = {name: step(method, slice(2 * rank, 2 * rank + 2)) for name, method in methods.items()}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What the two processes found, and the methods they started from."""
    folder = tmp_path_factory.mktemp("processes")
    methods = {name: build(name, "encoder.norm=group") for name in METHODS}
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank, folder, copy.deepcopy(methods))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return methods, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_are_one(shared, name):
    methods, found = shared
    loss, gradients = step(methods[name], slice(0, 4))
    (first, one), (second, two) = (each[name] for each in found)
    assert ((first + second) / 2).item() == pytest.approx(loss.item(), rel=1e-4)
    for key, gradient in gradients.items():
        mean = (one[key] + two[key]) / 2  # what data-parallel training makes of them
        assert (mean - gradient).abs().max() <= 1e-5 + 1e-3 * gradient.abs().max(), key
