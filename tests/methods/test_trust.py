"""Trust in pairs: all ones change nothing, unknown motion is not heard, and processes that share a batch agree."""

from __future__ import annotations

import copy
import datetime
import itertools
import math

import pytest
import torch
from torch import distributed, multiprocessing

from tests.methods.common import build, random_poses
from vsie import components, objectives

TOLD = [name for name in components.names("methods") if components.find("methods", name).weighs]


def step(method, trust: torch.Tensor | None, poses: torch.Tensor, objects: slice = slice(0, 4)):
    clips = torch.rand(4, 2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))[objects]
    labels = torch.arange(4)[objects] % 3 if method.needs_labels else None
    torch.manual_seed(7)
    return method(clips, poses[objects], labels, trust=None if trust is None else trust[objects])


def uneven() -> torch.Tensor:
    """(4, 8, 8): objects are trusted unevenly; the two windows of each have nothing to do with each other."""
    trust = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.1, 0.3, 1.0, 0.9])[:, None, None]
    trust[:, :4, 4:], trust[:, 4:, :4] = 0, 0
    return trust


def test_every_method_that_is_told_of_motion_weighs_it():
    assert {"vsie", "sie", "equimod", "sen", "class_pose", "equicaps", "augself", "supervised", "seq_jepa"} <= set(TOLD)
    needing = {name for name in components.names("methods") if components.find("methods", name).NEEDS_PREDICTOR}
    assert needing <= set(TOLD)


@pytest.mark.parametrize("name", TOLD)
def test_with_trust_of_one_everywhere_the_loss_is_what_it_was(name):
    method, poses = build(name, "encoder.norm=group"), random_poses(4, 2, 4)
    plain, weighted = step(method, None, poses), step(method, torch.ones(4, 8, 8), poses)
    assert weighted.loss.item() == pytest.approx(plain.loss.item(), abs=1e-6, rel=1e-6)
    for term, value in plain.terms.items():
        assert weighted.terms[term].item() == pytest.approx(value.item(), abs=1e-6, rel=1e-6), term


@pytest.mark.parametrize("name", sorted(set(TOLD) - {"sie", "sie_equivariant", "seq_jepa"}))
def test_motion_between_windows_that_is_not_trusted_is_not_heard(name):
    """Another frame for the poses of the second window changes all deltas between windows and none within."""
    method, poses = build(name, "encoder.norm=group", "conditioning.frame=body"), random_poses(4, 2, 4)
    moved = poses.clone()
    moved[:, 1] = random_poses(1, seed=9) @ poses[:, 1]
    trust = uneven()
    heard, same = step(method, None, moved).loss.item(), step(method, None, poses).loss.item()
    assert abs(heard - same) > 1e-4
    assert step(method, trust, moved).loss.item() == pytest.approx(step(method, trust, poses).loss.item(), rel=2e-5)


def test_sie_and_seq_jepa_leave_out_what_is_not_trusted():
    for name, term in (("sie", "equivariance"), ("sie_equivariant", "equivariance"), ("seq_jepa", "prediction")):
        method = build(name, "encoder.norm=group")
        nothing = step(method, torch.zeros(4, 8, 8), random_poses(4, 2, 4))
        assert nothing.terms[term].item() == 0 and nothing.loss.isfinite()
        only = torch.zeros(4, 8, 8)
        only[2] = 1
        found, poses = step(method, only, random_poses(4, 2, 4)).terms[term], random_poses(4, 2, 4)
        other = poses.clone()
        other[:2] = random_poses(2, 2, 4, seed=5)
        assert step(method, only, other).terms[term].item() == pytest.approx(found.item(), rel=1e-5)


def test_the_contrast_is_a_weighted_mean_with_every_other_view_a_candidate():
    views = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    predicted = torch.randn(3, 4, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    trust = torch.rand(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    trust[1], trust[0, :, 3] = 0, 0  # view 3 of object 0: nobody knows how to get there, yet it is where no delta leads
    cosine = torch.nn.functional.cosine_similarity
    top, below = 0.0, 0.0
    for b in range(3):
        for source, target in itertools.permutations(range(4), 2):
            moved = predicted[b, source, target]
            logits = {c: (cosine(moved, views[b, c], dim=0) / 0.1).item() for c in range(4) if c != source}
            error = math.log(sum(math.exp(v) for v in logits.values())) - logits[target]
            top, below = top + trust[b, source, target].item() * error, below + trust[b, source, target].item()
    assert objectives.EquivarianceContrast()(predicted, views, trust).item() == pytest.approx(top / below, rel=1e-5)
    top = 0.0
    for b in range(3):
        for source, target in itertools.permutations(range(4), 2):
            logits = [(cosine(predicted[b, source, e], views[b, target], dim=0) / 0.1).item() for e in range(4)]
            top += trust[b, source, target].item() * (math.log(sum(math.exp(v) for v in logits)) - logits[target])
    assert objectives.DeltaContrast()(predicted, views, trust).item() == pytest.approx(top / below, rel=1e-5)
    slow = sum(
        (trust[b, i, j] * (predicted[b, i, j] - views[b, j]).square().mean()).item()
        for b in range(3) for i, j in itertools.permutations(range(4), 2)
    )  # fmt: skip
    assert objectives.EquivarianceError()(predicted, views, trust).item() == pytest.approx(slow / below, rel=1e-6)


def test_a_batch_in_which_nothing_is_trusted_asks_nothing_and_has_finite_gradients():
    views = torch.randn(3, 4, 6, requires_grad=True)
    loss = objectives.EquivarianceContrast()(views[:, None].expand(-1, 4, -1, -1), views, torch.zeros(3, 4, 4))
    loss.backward()
    assert loss.item() == 0 and views.grad.abs().max() == 0


def work(rank: int, folder, methods) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    found = {}
    for name, method in methods.items():
        loss = step(method, uneven(), random_poses(4, 2, 4), slice(2 * rank, 2 * rank + 2)).loss
        loss.backward()
        found[name] = loss.detach(), {key: p.grad for key, p in method.named_parameters() if p.requires_grad}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_processes_with_unequal_trust_are_one(tmp_path):
    methods = {name: build(name, "encoder.norm=group") for name in ("vsie", "sie", "equimod")}
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(rank, tmp_path, copy.deepcopy(methods))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, method in methods.items():
        loss = step(method, uneven(), random_poses(4, 2, 4)).loss
        loss.backward()
        (first, one), (second, two) = (half[name] for half in halves)
        assert ((first + second) / 2).item() == pytest.approx(loss.item(), rel=1e-4)
        for key, parameter in method.named_parameters():
            if parameter.requires_grad:
                mean = (one[key] + two[key]) / 2  # what data-parallel training makes of them
                assert (mean - parameter.grad).abs().max() <= 1e-5 + 1e-3 * parameter.grad.abs().max(), (name, key)
