"""BYOL against its formula in loops, and its moving average."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.methods.common import build, mean
from vsie.methods import ema


def test_byol_predicts_the_moving_averages_projection():
    method = build("byol")
    torch.nn.init.normal_(method.target_projector.layers[0].weight)
    clips = torch.rand(3, 2, 3, 2, 16, 16)
    outputs, targets = method(clips, None), method.encode(clips, method.target_encoder)
    slow = []
    for b, (i, j) in itertools.product(range(3), itertools.permutations(range(4), 2)):
        found = method.head(method.projector(outputs.latents[b, i][None]))[0]
        target = method.target_projector(targets[b, j][None])[0]
        slow.append(2 - 2 * torch.cosine_similarity(found, target, dim=0))
    assert outputs.terms["invariance"].item() == pytest.approx(mean(slow), rel=1e-4)
    outputs.loss.backward()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is None) == name.startswith("target"), name


def test_the_target_is_a_moving_average_of_the_weights_alone():
    method = build("byol", "method.momentum=0.9")
    expected = {name: value.clone() for name, value in method.target_encoder.named_parameters()}
    steps = 5
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter in (*method.encoder.parameters(), *method.projector.parameters()):
                parameter.add_(torch.randn_like(parameter))
        method.after_step(step, steps)
        momentum = 1 - 0.1 * (math.cos(math.pi * step / steps) + 1) / 2
        for name, value in method.encoder.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * value.detach()
    for name, value in method.target_encoder.named_parameters():
        assert torch.allclose(value, expected[name], atol=1e-5), name
    assert ema.schedule(0.9, 0, 5) == pytest.approx(0.9) and ema.schedule(0.9, 5, 5) == 1


def test_the_target_is_in_the_checkpoint_and_not_trained():
    method = build("byol")
    names = {name for name in method.state_dict() if name.startswith("target")}
    assert names and {n.removeprefix("target_") for n in names} <= set(method.state_dict())
    assert not any(p.requires_grad for n, p in method.named_parameters() if n.startswith("target"))


def test_a_constant_costs_nothing_so_the_average_has_to_keep_it_apart():
    """The known weakness: without negatives a collapsed prediction is the least of the term."""
    method = build("byol")
    method.head = torch.nn.Identity()
    constant = torch.ones(3, 4, 32)
    targets = method.projector(constant)
    assert method.terms(constant, targets)["invariance"].item() == pytest.approx(0, abs=1e-5)
