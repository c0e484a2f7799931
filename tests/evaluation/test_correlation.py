from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from tests.evaluation.test_lie import circular, pictures
from vsie.evaluation import correlation
from vsie.evaluation.correlation import correlation as correlate


def test_pearson_is_that_of_scipy():
    a, b = pictures(4), pictures(4, seed=1)
    expected = [pearsonr(x.flatten().numpy(), y.flatten().numpy()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation.pearson(a, b).numpy(), expected, atol=1e-12)
    assert correlation.pearson(torch.ones(2, 3), torch.randn(2, 3)).tolist() == [0, 0]


def test_an_equivariant_map_scores_one_and_is_not_invariant():
    found = correlate(circular(), pictures(20), "translation_x", 4.0, periodic=True)
    assert found.equivariance == pytest.approx(1) and found.raw == pytest.approx(1)
    assert abs(found.invariance) < 0.3
    assert found.equivariance_interval == pytest.approx((1, 1)) and found.margin == 0


def test_an_invariant_map_is_told_from_an_equivariant_one():
    def blind(x):  # the same everywhere, in every image another
        return x.mean((2, 3), keepdim=True) * torch.linspace(1, 2, 64, dtype=x.dtype).view(1, 1, 8, 8)

    found = correlate(blind, pictures(20), "translation_x", 5.0, periodic=True)
    assert found.invariance == pytest.approx(1)


def test_a_stride_costs_some_of_it():
    whole = correlate(circular(), pictures(20), "translation_x", 1.0, periodic=True)
    strided = correlate(circular(stride=2), pictures(20), "translation_x", 1.0, periodic=True)
    assert strided.equivariance < whole.equivariance - 0.005
    assert strided.equivariance_interval[0] <= strided.equivariance <= strided.equivariance_interval[1]


def test_what_all_images_share_is_no_merit():
    """A map that is mostly the same for every image correlates with itself, but no more than with another image's."""
    fixed = 50 * pictures(1, seed=9)[:, :1]
    generator = torch.Generator().manual_seed(0)

    def function(x):  # never the same twice
        return fixed + 0.1 * torch.randn(x[:, :1].shape, generator=generator, dtype=x.dtype)

    found = correlate(function, pictures(20), "rotation", 0.0, periodic=True)
    assert found.raw > 0.99 and abs(found.equivariance) < 0.1


def test_the_null_pairs_are_of_other_objects():
    objects = np.repeat(np.arange(5), 8)
    other = correlation._strangers(objects, 0)
    assert (objects[other] != objects).all()
    with pytest.raises(ValueError, match="all images are of one object"):
        correlate(circular(), pictures(4), "scale", 0.1, np.zeros(4))


def test_what_cannot_be_scored_is_named():
    with pytest.raises(ValueError, match=r"gives \(4, 2\), expected \(B, c, h, w\)"):
        correlate(lambda x: x.mean((2, 3)), pictures(4), "scale", 0.1)
    with pytest.raises(ValueError, match="the feature maps have collapsed"):
        correlate(torch.zeros_like, pictures(4), "scale", 0.1)
