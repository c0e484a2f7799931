"""The ceiling against its formula in loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, mean, random_poses


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_supervised_against_loops(frame):
    method = build("supervised", f"conditioning.frame={frame}", "method.classes=7")
    latents, poses, labels = torch.randn(3, 4, 32), random_poses(3, 4), torch.tensor([2, -1, 5])
    classified, posed = [], []
    for b, i in itertools.product(range(3), range(4)):
        share = method.class_head(latents[b, i, :16]).softmax(0)
        classified += [-share[labels[b]].log()] if labels[b] >= 0 else []
    for b, (i, j) in itertools.product(range(3), itertools.permutations(range(4), 2)):
        found = method.pose_head(torch.cat([latents[b, i, 16:], latents[b, j, 16:]]))
        source, target = poses[b, i, :3, :3], poses[b, j, :3, :3]
        rotation = source.T @ target if frame == "body" else target @ source.T
        posed.append((found - torch.cat([rotation[:, 0], rotation[:, 1]])).square().sum())
    terms = method.terms(latents, poses, labels)
    assert terms["classification"].item() == pytest.approx(mean(classified), rel=1e-4)
    assert terms["pose"].item() == pytest.approx(mean(posed), rel=1e-4)


def test_a_batch_without_labels_is_no_error_and_costs_nothing():
    method = build("supervised")
    terms = method.terms(torch.randn(3, 4, 32), random_poses(3, 4), torch.full((3,), -1))
    assert terms["classification"].item() == 0


def test_the_class_alone_needs_no_motion():
    method, latents, labels = build("supervised", "method.weights.pose=0"), torch.randn(3, 4, 32), torch.tensor([0, 1, 2])
    terms = method.terms(latents, None, labels)
    assert terms.keys() == {"classification"}
    full = build("supervised").terms(latents, random_poses(3, 4), labels)
    assert terms["classification"].item() == pytest.approx(full["classification"].item(), rel=1e-6)


def test_what_the_data_lacks_is_told_before_training():
    method = build("supervised", "method.classes=3")
    with pytest.raises(ValueError, match="no labels"):
        method.check_data(posed=True, classes=0)
    with pytest.raises(ValueError, match="method.classes=9"):
        method.check_data(posed=True, classes=9)
    with pytest.raises(ValueError, match="supervised by known motion"):
        method.terms(torch.randn(3, 4, 32), None, torch.zeros(3, dtype=torch.long))
    assert method.direct_supervision
