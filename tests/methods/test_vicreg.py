"""VICReg against its formulas in loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, mean


@pytest.mark.parametrize("views", [2, 3])
def test_vicreg_is_variance_invariance_and_covariance_of_all_views(views):
    method = build("vicreg")
    latents = torch.randn(5, views, 32)
    z = method.projector(latents).detach()
    pairs = itertools.product(range(5), itertools.combinations(range(views), 2))
    invariance = mean([(z[b, i] - z[b, j]).square().mean() for b, (i, j) in pairs])
    rows = z.flatten(0, 1)
    hinge = mean([torch.relu(1 - (column.var() + 1e-4).sqrt()) for column in rows.T]) / 2
    matrix = torch.cov(rows.T)
    covariance = sum(float(matrix[i, j]) ** 2 for i, j in itertools.permutations(range(24), 2)) / 24
    terms = {name: value.item() for name, value in method.terms(latents, None).items()}
    assert terms == pytest.approx({"invariance": invariance, "variance": hinge, "covariance": covariance}, rel=1e-4)


def test_its_weights_are_the_published_ones_up_to_a_factor():
    """Published: 25, 25, 1, each with the variances and covariances of two sets of views added up; ours are of all at once.

    Half of the hinge is taken (SIE's convention), and 25 becomes 10.
    """
    weights = build("vicreg").weights
    assert weights["invariance"] == 10 and weights["variance"] == 20
    assert weights["variance"] / 2 / weights["invariance"] == 1 and weights["covariance"] == 2


def test_it_knows_no_motion():
    method = build("vicreg")
    assert not method.steers and not method.direct_supervision and not method.splits
