"""Trajectory regularisation against its formula in loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.methods.common import build, mean
from vsie.config import compose
from vsie.methods.trajectory import Trajectory


def test_the_path_through_three_neighbouring_frames_should_be_straight():
    method = build("trajectory")
    latents = torch.randn(3, 8, 32)  # two windows of four frames
    bends = []
    for b, window, t in itertools.product(range(3), range(2), (1, 2)):
        left, centre, right = (latents[b, 4 * window + t + k] / latents[b, 4 * window + t + k].norm() for k in (-1, 0, 1))
        first, second = centre - left, right - centre
        first, second = (x - (x @ centre) * centre for x in (first, second))
        bends.append(1 - first @ second / (first.norm() * second.norm()))
    terms = method.terms(latents, 2)
    assert terms["trajectory"].item() == pytest.approx(mean(bends), rel=1e-5)
    vicreg = build("vicreg")
    vicreg.projector = method.projector
    for name, value in vicreg.terms(latents, None).items():
        assert torch.equal(terms[name], value)


def test_a_great_circle_costs_nothing_whatever_the_lengths_and_a_corner_one():
    line = torch.randn(2, 1, 32) + torch.arange(8.0)[None, :, None] * torch.randn(2, 1, 32)
    assert Trajectory.bend(line).item() == pytest.approx(0, abs=1e-5)  # seen from the origin a straight line is a great circle
    angle = torch.arange(8) * math.tau / 10
    circle = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)
    assert Trajectory.bend(circle * torch.rand(8, 1).add(0.5)).item() == pytest.approx(0, abs=1e-5)
    assert Trajectory.bend(torch.eye(3)).item() == pytest.approx(1, abs=1e-6)  # from pole to pole to pole: a right angle
    small = torch.stack([angle.cos() / 2, angle.sin() / 2, torch.full_like(angle, 0.75**0.5)], -1)  # a circle of latitude 60
    turn = math.tau / 10  # heading changes by 2 atan(sin(latitude) tan(turn / 2)) from chord to chord
    assert Trajectory.bend(small).item() == pytest.approx(1 - math.cos(2 * math.atan(0.75**0.5 * math.tan(turn / 2))), rel=1e-4)


def test_each_frame_is_encoded_alone():
    method = build("trajectory").eval()
    clips = torch.rand(2, 2, 3, 4, 16, 16)
    found = method(clips, None).latents
    for window, step in itertools.product(range(2), range(4)):
        alone = method.encode(clips[:, window : window + 1, :, step : step + 1])[:, 0]
        torch.testing.assert_close(found[:, 4 * window + step], alone, atol=1e-5, rtol=1e-4)
    assert compose("train", ["method=trajectory"]).data.context == 1  # and judged so


def test_it_brings_windows_that_are_long_enough_and_no_more_images():
    data = compose("train", ["method=trajectory"]).data
    default = compose("train", []).data
    assert data.frames >= 3 and data.windows * data.frames == default.windows * default.frames
    assert compose("train", ["method=trajectory", "data=tumble"]).data.frames == data.frames
    assert compose("train", ["method=trajectory", "data.frames=6"]).data.frames == 6
    with pytest.raises(ValueError, match="data.frames=4 or more"):
        build("trajectory").check_views(4, 2)
