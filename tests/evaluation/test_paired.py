"""Samples give the scores they are made of; a paired interval is that of a slow resample, and narrower than two intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import features
from vsie.evaluation import bootstrap, paired, rotations
from vsie.evaluation.paired import Minus, Relative, Sample, Worst, estimate, of_items


def drawn(seed: int, shift: float = 0.0, objects: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Values whose objects differ far more than what is asked: the objects are the same for every seed."""
    hard = np.random.default_rng(99).normal(size=objects) * 5
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(objects) + 7, 6)
    return hard[names - 7] + shift + 0.3 * rng.normal(size=len(names)), names


def less(first, second) -> Minus:
    return Minus(of_items("mean", *first), of_items("mean", *second))


@pytest.mark.parametrize("kind, interval", [("mean", bootstrap.mean_interval), ("median", bootstrap.median_interval)])
def test_resamples_are_those_of_the_intervals_already_in_use(kind, interval):
    values, names = drawn(0)
    sample = of_items(kind, values, names)
    draws = sample.replicates(bootstrap.draw(30, seed=4))
    np.testing.assert_allclose(np.percentile(draws, [2.5, 97.5]), interval(values, names, seed=4), rtol=1e-5)
    assert sample.value == pytest.approx(getattr(np, kind)(values), rel=1e-6)


def test_statistics_of_sums_are_their_definitions():
    rng = np.random.default_rng(0)
    truth, guess, names = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), np.repeat(np.arange(8), 5)
    terms = rotations.r2_sums(torch.from_numpy(guess), torch.from_numpy(truth))
    expected = np.mean(1 - ((guess - truth) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0))
    assert Sample("r2", terms, names).value == pytest.approx(expected)
    summed = Sample("r2", bootstrap.group_sums(terms, names), np.arange(8))
    counts = bootstrap.draw(8, replicates=5)
    np.testing.assert_allclose(summed.replicates(counts), Sample("r2", terms, names).replicates(counts))
    assert Sample("explained", np.array([[1.0, 4], [2, 8]]), np.arange(2)).value == pytest.approx(0.75)
    with pytest.raises(ValueError, match="kind is 'mode'"):
        Sample("mode", terms, names)
    with pytest.raises(ValueError, match="expected \\(n, S\\), \\(n,\\)"):
        Sample("mean", terms, names[:3])


def test_the_interval_of_a_difference_is_that_of_a_slow_resample():
    first, second = [[drawn(seed + 10 * row, shift=row) for seed in range(3)] for row in range(2)]
    found = estimate(
        [Minus(of_items("median", *b), of_items("median", *a)) for a, b in zip(first, second, strict=True)],
        replicates=200, seed=5,
    )  # fmt: skip
    slow, counts = [], bootstrap.draw(30, replicates=200, seed=5)
    chosen = np.random.default_rng(6).integers(3, size=(200, 3))

    def median(pair, count):
        values, names = pair
        resampled = np.sort(np.concatenate([np.tile(values[names == i + 7], n) for i, n in enumerate(count) if n]))
        return resampled[(len(resampled) - 1) // 2]

    for count, seeds in zip(counts, chosen, strict=True):
        slow.append(np.mean([median(second[s], count) - median(first[s], count) for s in seeds]))
    np.testing.assert_allclose((found.low, found.high), np.percentile(slow, [2.5, 97.5]), rtol=1e-4, atol=1e-5)


def test_pairing_shows_a_difference_that_two_intervals_hide():
    a, b = of_items("mean", *drawn(0)), of_items("mean", *drawn(1, shift=0.5))
    apart = bootstrap.mean_interval(*drawn(0)), bootstrap.mean_interval(*drawn(1, shift=0.5))
    assert apart[0][1] > apart[1][0]  # they overlap by far
    found = estimate([Minus(b, a)])
    assert found.verdict() == "better" and found.verdict(higher=False) == "worse" and 0.3 < found.low < 0.5 < found.high < 0.7


def test_nothing_is_shown_where_nothing_is_there_and_one_seed_disagrees():
    same = estimate([less(drawn(1), drawn(2))])
    assert same.verdict() == "not shown" and same.within(0.2) and not same.within(0.0)
    found = estimate([less(drawn(s, shift=shift), drawn(s + 50)) for s, shift in ((0, 1), (1, 1), (2, -1))])
    assert found.verdict() == "not shown" and found.value == pytest.approx(1 / 3, abs=0.15) and len(found.each) == 3


def test_false_alarms_are_about_as_rare_as_they_should_be():
    alarms = 0
    for trial in range(60):
        pairs = [less(drawn(1000 + 10 * trial + s), drawn(5000 + 10 * trial + s)) for s in range(3)]
        alarms += estimate(pairs, replicates=200, seed=trial).verdict() != "not shown"
    assert alarms <= 7


def test_the_worst_of_several_probes_changes_hands_in_a_resample():
    low, high = of_items("mean", np.array([1.0, 0]), np.array([0, 1])), of_items("mean", np.array([0.0, 1.5]), np.array([0, 1]))
    worst = Worst([(low, 0.1), (high, 0.2)])
    assert worst.value == pytest.approx(0.75 - 0.2)
    np.testing.assert_allclose(worst.replicates(np.array([[2, 0], [0, 2], [1, 1]])), [0.9, 1.3, 0.55])
    assert Worst([(low, 0.9)]).value == 0 and Worst([(low, 0.9)]).replicates(np.array([[0, 2]])) == [0]  # nothing is found


def test_a_share_of_what_all_knows_is_not_known_where_all_knows_nothing():
    own, whole = of_items("mean", np.array([0.3, 0.5]), np.arange(2)), of_items("mean", np.array([0.5, 0.9]), np.arange(2))
    share = Relative(own, whole, floor=0.1)
    assert share.value == pytest.approx(0.3 / 0.6)
    np.testing.assert_allclose(share.replicates(np.array([[2, 0], [0, 2]])), [0.2 / 0.4, 0.4 / 0.8])
    nothing = Relative(own, whole, floor=0.7)
    assert np.isnan(nothing.value) and estimate([Minus(nothing, share)]).verdict() == "not shown"


def test_clips_are_told_apart_by_what_is_known_of_them():
    first, other = (features(objects=4, seed=seed) for seed in (0, 1))
    assert paired.fingerprint(first) == paired.fingerprint(dataclasses.replace(first, paths=["elsewhere"] * len(first.paths)))
    assert paired.fingerprint(first) != paired.fingerprint(other)


def test_other_objects_are_refused():
    a, b = of_items("mean", np.ones(3), np.arange(3)), of_items("mean", np.ones(3), np.arange(1, 4))
    with pytest.raises(ValueError, match="different held-out objects"):
        estimate([Minus(a, b)])
    with pytest.raises(ValueError, match="at least one seed"):
        estimate([])


def test_samples_survive_their_file(tmp_path):
    samples = {"a/b": of_items("median", *drawn(0)), "c": of_items("mean", *drawn(1))}
    paired.save(tmp_path / "samples.npz", samples, clips="abc")
    again, clips = paired.load(tmp_path / "samples.npz")
    assert clips == "abc" and list(again) == ["a/b", "c"] and [s.kind for s in again.values()] == ["median", "mean"]
    for key, sample in samples.items():
        assert again[key].value == pytest.approx(sample.value, rel=1e-6)
        np.testing.assert_array_equal(again[key].objects, sample.objects)
    np.savez(tmp_path / "other.npz", x=np.ones(2))
    with pytest.raises(ValueError, match="other.npz holds no samples"):
        paired.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="evaluate the run"):
        paired.load(tmp_path / "missing.npz")


def test_what_samples_share_is_stored_once(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(500, 9))
    truth = np.hstack([truth, truth**2])
    ones = np.ones((500, 1))
    objects = np.arange(500)
    samples = {f"r2/{number}": Sample("r2", np.hstack([ones, rng.normal(size=(500, 9)), truth]), objects) for number in range(30)}
    paired.save(tmp_path / "samples.npz", samples)
    own, shared = 30 * 9 * 500 * 4, 19 * 500 * 4
    assert (tmp_path / "samples.npz").stat().st_size < own + shared + 16_000
    for key, sample in paired.load(tmp_path / "samples.npz")[0].items():
        np.testing.assert_allclose(sample.values, rotations.recentred(samples[key].values), rtol=1e-6, atol=1e-6)


def test_what_does_not_vary_is_not_there_in_a_file_either(tmp_path):
    """Sums of squares of a constant are large numbers whose difference is 0: single precision would make a variance of it."""
    rng = np.random.default_rng(0)
    truth = np.concatenate([rng.normal(size=(200, 2)), np.full((200, 1), 0.8660254)], 1)
    guess, names = truth + 0.3 * rng.normal(size=truth.shape), np.repeat(np.arange(20), 10)
    sums = bootstrap.group_sums(rotations.r2_sums(*map(torch.from_numpy, (guess, truth))), names)
    sample = Sample("r2", sums, np.arange(20))
    paired.save(tmp_path / "samples.npz", {"r2": sample})
    again = paired.load(tmp_path / "samples.npz")[0]["r2"]
    counts = bootstrap.draw(20, replicates=50)
    assert again.value == pytest.approx(sample.value, abs=1e-5)
    np.testing.assert_allclose(again.replicates(counts), sample.replicates(counts), atol=1e-5)


def test_the_worst_of_scores_that_are_not_all_known_is_not_known():
    known, unknown = Sample("mean", np.array([[3.0, 4]]), np.arange(1)), Sample("mean", np.array([[np.nan, 4]]), np.arange(1))
    assert Worst([(known, 0.25)]).value == 0.5 and Worst([(known, 0.9)]).value == 0
    assert np.isnan(Worst([(known, 0.25), (unknown, 0.25)]).value)
