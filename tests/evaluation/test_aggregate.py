"""The class of several views at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import features
from vsie.evaluation import aggregate, suite
from vsie.report import measures


@pytest.fixture(scope="module")
def sets():
    return [features(objects=40, clips=2, frames=3, noise=1.5, seed=s, first_object=100 * s) for s in (1, 2)]


def test_sets_are_different_views_of_one_object(sets):
    drawn = aggregate.draw(sets[0], 5, 120)
    assert drawn.shape == (40 * 3, 5)
    owners = sets[0].objects[drawn // sets[0].frames]
    assert (owners == owners[:, :1]).all() and all(len(set(row)) == 5 for row in drawn.tolist())
    again, other = (aggregate.draw(sets[0], 5, 120, seed=seed) for seed in (0, 1))
    assert np.array_equal(drawn, again) and not np.array_equal(drawn, other)
    assert aggregate.draw(sets[0], 7, 120).shape == (0, 7)


def test_more_views_tell_more_and_each_measure_has_its_floor(sets):
    result = suite.evaluate(*sets, protocols=["aggregate"], progress=False)
    top1 = [result.metrics[f"aggregate/top1@{views}"] for views in (1, 3, 5)]
    assert top1[0] < top1[1] < top1[2] and top1[2] > top1[0] + 0.1
    for views in (1, 3, 5):
        assert result.metrics[f"aggregate/top1@{views}/floor"] < 0.6
        assert f"aggregate/top1@{views}/low" in result.intervals and f"aggregate/top1@{views}/mean" in result.metrics
    title, header, lines = measures.tables(result.metrics)[-1]
    assert "several views" in title and [line[0] for line in lines] == ["1", "3", "5"] and len(header) == len(lines[0])


def test_the_method_says_what_it_makes_of_views_and_is_told_their_poses(sets):
    given = []

    def summary(latents, poses):
        given.append((latents.shape, poses.shape))
        classes = torch.nn.functional.one_hot(poses[:, 0, 0, 3].long(), 8).float()  # a cheat: the class, hidden in the poses
        return torch.cat([classes, poses[:, -1, :3, 0]], 1)

    cheats = []
    for data in sets:
        poses = data.poses.copy()
        poses[..., 0, 3] = data.labels[:, None]
        cheats.append(dataclasses.replace(data, poses=poses))
    result = suite.evaluate(*cheats, protocols=["aggregate"], summary=summary, progress=False)
    assert result.metrics["aggregate/top1@3"] == 1 > result.metrics["aggregate/top1@3/mean"]
    dims = sets[0].image.shape[-1]
    assert ((40 * 6, 3, dims), (40 * 6, 3, 4, 4)) in given


def test_too_few_views_are_said(sets):
    names = ("image", "clip", "poses", "times")
    few = [dataclasses.replace(data, **{name: getattr(data, name)[:, :2] for name in names}) for data in sets]
    result = suite.evaluate(*few, protocols=["aggregate"], progress=False)
    assert "aggregate/top1@5" not in result.metrics and "aggregate/top1@3" in result.metrics
    assert any("aggregate of 5 views skipped" in note for note in result.notes)


def test_of_a_latent_without_a_split_all_is_asked(sets):
    whole = [dataclasses.replace(data, invariant_dim=0) for data in sets]
    result = suite.evaluate(*whole, protocols=["aggregate"], progress=False)
    for views in (1, 3, 5):
        assert result.metrics[f"aggregate/top1@{views}"] == result.metrics[f"aggregate/top1@{views}/mean"]
    assert any("no split" in note for note in result.notes)
