from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from vsie.evaluation import bootstrap


def test_intervals_equal_a_resample_by_hand():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), rng.integers(1, 9, 12))
    values = rng.normal(size=len(groups)) + groups
    means, medians = [], []
    for counts in bootstrap.draw(12, seed=3):
        resampled = np.concatenate([np.tile(values[groups == g], n) for g, n in enumerate(counts) if n])
        means.append(resampled.mean())
        medians.append(np.sort(resampled)[(len(resampled) - 1) // 2])
    expected = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(bootstrap.mean_interval(values, groups, seed=3), expected, rtol=1e-12)
    expected = np.percentile(medians, [2.5, 97.5])
    np.testing.assert_allclose(bootstrap.median_interval(values, groups, seed=3), expected, rtol=1e-12)


def test_objects_are_resampled_and_not_items():
    """Items of one object that all say the same are one opinion: the interval is as wide as with one item each."""
    values = np.random.default_rng(0).normal(size=50)
    once = bootstrap.mean_interval(values, np.arange(50))
    copied = bootstrap.mean_interval(np.repeat(values, 20), np.repeat(np.arange(50), 20))
    np.testing.assert_allclose(once, copied, rtol=1e-9)


def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(200):
        low, high = bootstrap.mean_interval(rng.normal(size=60), np.arange(60), seed=seed)
        inside += low <= 0 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_sums_interval_takes_ratios():
    sums = np.stack([np.arange(1.0, 9), np.arange(1.0, 9) * 3], 1)
    np.testing.assert_allclose(bootstrap.sums_interval(sums, lambda s: s[:, 0] / s[:, 1]), (1 / 3, 1 / 3))


def test_no_objects_is_an_error():
    with pytest.raises(ValueError, match="0 objects"):
        bootstrap.draw(0)


def test_the_median_of_very_many_items_takes_little_memory():
    """200 resamples of 200,000 items are 320 MB of counts as one table."""
    values = np.random.default_rng(0).normal(size=200_000)
    tracemalloc.start()
    low, high = bootstrap.median_interval(values, np.arange(200_000) // 100)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < np.median(values) < high and most < 160e6
