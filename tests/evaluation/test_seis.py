from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

from tests.evaluation.table import TABLE, World
from vsie import collapse
from vsie.evaluation import seis
from vsie.evaluation.moments import Moments, effective_rank


@pytest.mark.parametrize("row", TABLE)
def test_every_row_of_the_validation_table(row):
    x, y, _ = World().pairs(row, 4000)
    found = seis.in_sample(x, y, np.arange(4000) // 10)
    assert (found.equiv, found.inv) == pytest.approx(TABLE[row][:2], abs=0.03)
    for value, (low, high) in ((found.equiv, found.equiv_interval), (found.inv, found.inv_interval)):
        assert low <= high and high - low < 0.2
        if row != "independent":  # correlations fitted to noise are above their mean over resamples
            assert low - 0.02 <= value <= high + 0.02
    assert found.equiv_null == pytest.approx(0.10, abs=0.03)
    assert 50 < found.ranks[0] <= 64 and 50 <= found.dims <= 64


def test_held_out_the_bias_is_gone():
    """In sample the mean correlation of unrelated data is 0.65 / 0.39 / 0.27 at n / d = 2 / 5 / 10; held out it is 0."""
    rng = np.random.default_rng(0)
    for ratio, expected in ((2, 0.65), (5, 0.39), (10, 0.27)):
        x, y, u, v = (torch.from_numpy(rng.normal(size=(64 * ratio, 64))) for _ in range(4))
        biased = seis.in_sample(x, y, np.arange(len(x)), variance=1.0)
        assert biased.equiv == pytest.approx(expected, abs=0.02)
        honest = seis.held_out((x, y), (u, v), np.arange(len(u)), variance=1.0)
        assert honest.equiv == pytest.approx(0, abs=0.03) and honest.equiv_null == pytest.approx(0, abs=0.03)


def test_held_out_keeps_what_is_there():
    world = World()
    x, y, _ = world.pairs("random orthogonal", 1000)
    u, v, _ = world.pairs("random orthogonal", 1000)
    found = seis.held_out((x, y), (u, v), np.arange(1000) // 5)
    assert found.equiv == pytest.approx(1, abs=1e-6)
    assert found.inv == pytest.approx(found.inv_floor, abs=0.03)
    assert found.inv_floor == pytest.approx(math.sqrt(2 / (math.pi * found.dims)), abs=1e-6)


def test_correlations_equal_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 5))
    y = x @ rng.normal(size=(5, 5)) + 2 * rng.normal(size=(400, 5)) + 100
    variates = seis.fit(Moments.of(torch.from_numpy(x), torch.from_numpy(y)), variance=1.0)
    u, v = CCA(n_components=5, max_iter=5000, tol=1e-12).fit_transform(x, y)
    expected = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(5)]
    np.testing.assert_allclose(variates.correlations.numpy(), expected, atol=1e-6)
    sums = seis.object_sums(variates, torch.from_numpy(x), torch.from_numpy(y), np.arange(400) // 4)
    np.testing.assert_allclose(seis.correlations(sums.sum(0)), expected, atol=1e-6)


def test_matricised_maps_are_observations_by_positions():
    maps = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    matrix = seis.matricise(maps)
    assert matrix.shape == (6, 20)
    assert torch.equal(matrix[4], maps[1, 1].flatten())


def test_a_spatial_shift_keeps_information_and_changes_its_place():
    """Maps of white noise with a periodic shift: all of it is still there, none of it where it was."""
    maps = torch.randn(200, 8, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = seis.matricise(maps), seis.matricise(maps.roll(1, -1))
    found = seis.in_sample(x, y, np.repeat(np.arange(200), 8), variance=1.0)
    assert found.equiv == pytest.approx(1, abs=1e-6)
    assert found.inv < 0.35  # a permutation without fixed points: cosines are those of random directions or less


def test_collapsed_sides_are_refused_by_name():
    x, y, _ = World().pairs("identity", 200)
    line = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None] * torch.ones(64, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"layer 3 \(target\) has collapsed: effective rank 1.00 of 64"):
        seis.in_sample(x, line, np.arange(200), name="layer 3")
    with pytest.raises(ValueError, match=r"\(source\) has collapsed: effective rank 0.00"):
        seis.held_out((torch.full_like(x, 0.3), y), (x, y), np.arange(200))
    with pytest.raises(ValueError, match="equal widths, found 64 and 10"):
        seis.in_sample(x, y[:, :10], np.arange(200))
    x[3, 3] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        seis.in_sample(x, y, np.arange(200))


def test_streamed_moments_equal_numpy_with_a_large_offset():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 4)) + 1e6, rng.normal(size=(1000, 3)) - 1e6
    moments = Moments()
    for first in range(0, 1000, 300):
        moments.add(torch.from_numpy(x[first : first + 300]), torch.from_numpy(y[first : first + 300]))
    expected = np.cov(np.concatenate([x, y], 1).T, bias=True)
    np.testing.assert_allclose(moments.xx.numpy(), expected[:4, :4], atol=1e-9)
    np.testing.assert_allclose(moments.xy.numpy(), expected[:4, 4:], atol=1e-9)
    np.testing.assert_allclose(moments.yy.numpy(), expected[4:, 4:], atol=1e-9)
    features = torch.from_numpy(x - 1e6)
    assert effective_rank(Moments.of(features).xx) == pytest.approx(collapse.rankme(features), rel=1e-9)
