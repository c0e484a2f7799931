"""Trajectory regularisation against its formula in loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.methods.common import build, mean
from vsie.config import compose


def test_the_path_through_three_neighbouring_frames_should_be_straight():
    method = build("trajectory")
    latents = torch.randn(3, 8, 32)  # two windows of four frames
    bends = []
    for b, window, t in itertools.product(range(3), range(2), (1, 2)):
        left, centre, right = (latents[b, 4 * window + t + k] for k in (-1, 0, 1))
        bends.append(1 - torch.cosine_similarity(centre - left, right - centre, dim=0))
    terms = method.terms(latents, 2)
    assert terms["trajectory"].item() == pytest.approx(mean(bends), rel=1e-5)
    vicreg = build("vicreg")
    vicreg.projector = method.projector
    for name, value in vicreg.terms(latents, None).items():
        assert torch.equal(terms[name], value)


def test_a_straight_path_costs_nothing_and_a_corner_one():
    method = build("trajectory")
    line = torch.arange(8.0)[None, :, None] * torch.randn(2, 1, 32)
    assert method.terms(line, 2)["trajectory"].item() == pytest.approx(0, abs=1e-5)
    corner = torch.zeros(1, 3, 32)
    corner[0, 1, 0] = corner[0, 2, 0] = corner[0, 2, 1] = 1
    assert method.terms(corner.expand(2, -1, -1), 1)["trajectory"].item() == pytest.approx(1, abs=1e-5)
    circle = torch.zeros(2, 8, 32)  # a tenth of a turn at each step bends by a tenth of a turn
    angle = torch.arange(8) * math.tau / 10
    circle[..., 0], circle[..., 1] = angle.cos(), angle.sin()
    assert method.terms(circle, 1)["trajectory"].item() == pytest.approx(1 - math.cos(math.tau / 10), rel=1e-4)


def test_it_brings_windows_that_are_long_enough_and_no_more_images():
    data = compose("train", ["method=trajectory"]).data
    default = compose("train", []).data
    assert data.frames >= 3 and data.windows * data.frames == default.windows * default.frames
    assert compose("train", ["method=trajectory", "data=tumble"]).data.frames == data.frames
    assert compose("train", ["method=trajectory", "data.frames=6"]).data.frames == 6
    with pytest.raises(ValueError, match="data.frames=4 or more"):
        build("trajectory").check_data(posed=True, classes=3, windows=4, steps=2)
