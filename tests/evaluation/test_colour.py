from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from tests.evaluation.synthetic import three_die_bench
from vsie.evaluation import colour, released


def targets_of(data):
    return colour.Targets(released.hues_of(data))


def test_a_hue_is_an_angle():
    targets = colour.Targets(torch.tensor([[0.99, 0.5], [0.01, 0.25]], dtype=torch.float64))
    numbers = targets.numbers(torch.tensor([0]), torch.tensor([1]))
    np.testing.assert_allclose(colour.angles_deg(numbers), [[7.2, -90]], atol=1e-9)
    assert colour.circular_errors(np.array([179.0]), np.array([-179.0])) == pytest.approx(2)


def test_scores_equal_sklearn():
    data = three_die_bench(objects=50, views=6)
    targets, rng = targets_of(data), np.random.default_rng(0)
    source, target = torch.from_numpy(rng.integers(0, 300, 400)), torch.from_numpy(rng.integers(0, 300, 400))
    wanted = targets.numbers(source, target)
    output = wanted + 0.4 * torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = colour.score(output, targets, source, target, np.arange(400)).metrics()
    assert found["r2"] == pytest.approx(r2_score(wanted, output))
    assert found["floor_hue_r2"] == pytest.approx(r2_score(wanted[:, :2], output[:, :2]))
    assert found["spot_hue_r2"] == pytest.approx(r2_score(wanted[:, 2:], output[:, 2:]))
    hues = released.hues_of(data).numpy()
    true = 2 * math.pi * (hues[target] - hues[source])[:, 1]
    guess = np.arctan2(output[:, 3].numpy(), output[:, 2].numpy())
    slow = np.degrees(np.abs(np.angle(np.exp(1j * (guess - true)))))
    assert found["spot_hue_median_deg"] == pytest.approx(np.median(slow))


def test_a_constant_scores_nothing():
    """R2 0 and a median of 90 degrees, whatever the constant, where hues are uniform."""
    data = three_die_bench(objects=400, views=8)
    targets, rng = targets_of(data), np.random.default_rng(0)
    first = rng.integers(0, 400, 20_000) * 8 + rng.integers(0, 8, 20_000)
    second = first // 8 * 8 + (first % 8 + rng.integers(1, 8, 20_000)) % 8
    pairs = torch.from_numpy(first), torch.from_numpy(second)
    floors = colour.floors(targets.numbers(*pairs), targets, *pairs)
    assert floors["r2"] == pytest.approx(0, abs=2e-3)
    assert floors["floor_hue_median_deg"] == pytest.approx(90, abs=2) == floors["spot_hue_median_deg"]
