from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import entropy

from tests.evaluation.synthetic import features
from vsie.evaluation import dci
from vsie.evaluation.audit import Audit


def pair(**options):
    options = {"objects": 60, "clips": 2, "frames": 6, "motion": "tumble", "noise": 0.2} | options
    return features(seed=1, **options), features(seed=2, first_object=1000, **options)


def measure(train, test):
    return dci.block_dci(Audit(train, test), train, test)


def mixed(data):
    """The same latent turned as a whole: nothing is lost, nothing stays in its block."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(data.image.shape[-1],) * 2))[0].astype(np.float32)
    return dataclasses.replace(data, image=data.image @ turn, clip=data.clip @ turn, invariant_dim=data.image.shape[-1] // 2)


def test_scores_are_those_of_the_entropies():
    importance = np.random.default_rng(0).random((2, 3))
    disentanglement, completeness = dci.scores(importance)
    blocks = [1 - entropy(row / row.sum(), base=3) for row in importance]
    factors = [1 - entropy(column / column.sum(), base=2) for column in importance.T]
    assert disentanglement == pytest.approx(np.average(blocks, weights=importance.sum(1)))
    assert completeness == pytest.approx(np.average(factors, weights=importance.sum(0)))
    assert dci.scores(np.eye(2)) == (1, 1)
    assert dci.scores(np.ones((2, 2))) == pytest.approx((0, 0))
    assert np.isnan(dci.scores(np.ones((2, 1)))[0]) and dci.scores(np.ones((2, 1)))[1] == pytest.approx(0)
    many = np.random.default_rng(0).random((5, 2, 3))
    np.testing.assert_allclose(dci.scores(many)[0], [dci.scores(one)[0] for one in many])


def test_a_clean_split_is_disentangled_and_a_mixed_latent_is_not():
    clean = measure(*pair())
    assert clean.blocks == ("inv", "equi") and set(clean.factors) == {"class", "rotation"}
    assert clean.disentanglement > 0.8 and clean.completeness > 0.8
    table = dict(zip(clean.factors, clean.importance.T, strict=True))
    assert table["class"][0] > 0.8 > 0.2 > table["class"][1]
    assert table["rotation"][1] > 0.8 > 0.1 > table["rotation"][0]
    both = measure(*(mixed(data) for data in pair()))
    assert both.disentanglement < 0.4 and both.completeness < 0.4
    assert both.scores["rotation"] == pytest.approx(clean.scores["rotation"], abs=0.03)  # nothing was lost
    for found in (clean, both):
        assert found.disentanglement_interval[0] - 0.05 <= found.disentanglement <= found.disentanglement_interval[1] + 0.05


def test_what_has_no_dci_is_named():
    train, test = pair(objects=12)
    with pytest.raises(ValueError, match="the latent has inv"):
        measure(*(dataclasses.replace(data, invariant_dim=data.image.shape[-1]) for data in (train, test)))
    rng = np.random.default_rng(0)
    silent = [dataclasses.replace(data, clip=rng.normal(size=data.clip.shape).astype(np.float32)) for data in pair()]
    with pytest.raises(ValueError, match="none of the factors rotation, class can be told"):
        measure(*silent)
