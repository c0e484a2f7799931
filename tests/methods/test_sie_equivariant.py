"""SIE without an invariant part, against its formula."""

from __future__ import annotations

import pytest
import torch

from tests.methods.common import build, random_poses
from vsie import pose
from vsie.config import compose


@pytest.mark.parametrize("pairs", ["disjoint", "all"])
def test_its_loss_is_that_of_the_equivariant_terms_on_all_of_the_latent(pairs):
    method = build("sie_equivariant", f"method.pairs={pairs}")
    latents, poses = torch.randn(6, 2, 32), random_poses(6, 2)
    torch.manual_seed(3)
    outputs = method.outputs(latents, method.terms(latents, poses))
    torch.manual_seed(3)
    embedded = method.projector(latents)
    assert embedded.shape == (6, 2, 24)
    if pairs == "disjoint":
        order = [index[:, 0] for index in method.draw_pairs(latents)]
        steps = [order]
        views = [embedded[torch.arange(6), i] for i in order]  # X and Y are apart
    else:
        steps = [(torch.full((6,), i), torch.full((6,), j)) for i, j in ((0, 1), (1, 0))]
        views = [embedded.flatten(0, 1)] * 2
    moved, wanted = [], []
    for source, target in steps:
        rows = torch.arange(6)
        motion = pose.encode_pair(poses[rows, source], poses[rows, target], frame="body", encoding="quaternion_raw")
        moved.append(torch.einsum("bij,bj->bi", method.predictor.matrix(motion), embedded[rows, source]))
        wanted.append(embedded[rows, target])
    moved, wanted = torch.cat(moved), torch.cat(wanted)

    def hinge(z):
        return torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2

    def covariance(z):
        matrix = torch.cov(z.T)
        return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]

    loss = 10 * (moved - wanted).square().mean() + 10 * hinge(moved)
    loss = loss + sum(10 * hinge(x) + covariance(x) for x in views)
    assert outputs.loss.item() == pytest.approx(loss.item(), rel=1e-4)
    assert set(outputs.terms) == {"equivariance", "variance", "predicted_variance", "covariance"}


def test_it_is_told_of_motion_as_sie_is_and_steered_in_its_own_space():
    assert compose("train", ["method=sie_equivariant"]).conditioning == compose("train", ["method=sie"]).conditioning
    assert compose("train", ["method=sie_equivariant", "conditioning=centred"]).conditioning.centred
    method = build("sie_equivariant").eval()
    latents, poses = torch.randn(2, 5, 32), random_poses(2, 5)
    assert not method.splits and method.steers and method.linear
    predicted = method.predict(method.embed(latents), poses)
    pairwise = method.pair_steer(method.embed(latents)[:, :, None], poses[:, :, None], poses[:, None])
    assert (pairwise - predicted).abs().max() < 1e-5
