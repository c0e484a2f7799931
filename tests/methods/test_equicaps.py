"""EquiCaps against its formula in loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.methods.common import build, mean, random_poses
from vsie import pose
from vsie.evaluation import inversion


@pytest.mark.parametrize("frame, translation", [("body", True), ("camera", True), ("body", False)])
def test_equicaps_against_loops(frame, translation):
    options = [f"conditioning.frame={frame}", f"conditioning.translation={str(translation).lower()}"]
    method = build("equicaps", "method.capsules=5", "method.temperature=0.7", *options)
    latents, poses = torch.randn(3, 4, 32), random_poses(3, 4)
    poses[..., :3, 3] = torch.randn(3, 4, 3)
    activation = method.activation(latents[..., :16])
    share = (activation / 0.7).softmax(-1)
    capsules = method.matrix(latents[..., 16:]).unflatten(-1, (5, 4, 4))
    agree, moved = [], []
    for b, (i, j) in itertools.product(range(3), itertools.permutations(range(4), 2)):
        agree.append(-(share[b, i] * share[b, j].log()).sum())
        motion = poses[b, i].inverse() @ poses[b, j] if frame == "body" else poses[b, j] @ poses[b, i].inverse()
        if not translation:
            motion = pose.rigid(motion[:3, :3])
        for c in range(5):
            there = capsules[b, i, c] @ motion if frame == "body" else motion @ capsules[b, i, c]
            moved.append((there - capsules[b, j, c]).square().mean())
    average = share.flatten(0, 1).mean(0)
    rows = torch.cat([activation, capsules.flatten(-3)], -1).flatten(0, 1)
    matrix = torch.cov(rows.T)
    slow = {
        "invariance": mean(agree), "equivariance": mean(moved), "usage": math.log(5) + (average * average.log()).sum().item(),
        "variance": torch.relu(1 - (rows.var(0) + 1e-4).sqrt()).mean().item() / 2,
        "covariance": ((matrix.square().sum() - matrix.diagonal().square().sum()) / rows.shape[1]).item(),
    }  # fmt: skip
    terms = method.terms(latents, poses)
    assert terms.keys() == slow.keys()
    for name, value in slow.items():
        assert terms[name].item() == pytest.approx(value, rel=2e-3, abs=1e-6), name


def test_a_capsule_that_nothing_uses_has_a_finite_gradient():
    method = build("equicaps", "method.temperature=0.001")
    with torch.no_grad():
        method.activation.bias[0] = -100
    loss = sum(method.terms(torch.randn(4, 3, 32), random_poses(4, 3)).values())
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_usage_is_zero_when_all_capsules_are_used_and_log_c_when_one_is():
    method = build("equicaps", "method.capsules=16", "method.temperature=0.001", "method.invariant_share=0.5")
    method.activation = torch.nn.Identity()
    one_each = torch.cat([torch.eye(16), torch.randn(16, 16)], -1)[:, None].expand(-1, 2, -1)
    terms = method.terms(one_each, random_poses(16, 2))
    assert terms["usage"].item() == pytest.approx(0, abs=1e-5) and terms["invariance"].item() == pytest.approx(0, abs=1e-5)
    same = one_each[:1].expand(16, -1, -1)
    assert method.terms(same, random_poses(16, 2))["usage"].item() == pytest.approx(math.log(16), rel=1e-5)


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_capsules_that_move_as_they_should_are_inverted_exactly(frame):
    method = build("equicaps", f"conditioning.frame={frame}")
    poses, capsules = random_poses(2, 40), torch.randn(8, 4, 4)
    moved = capsules @ poses[:, :, None] if frame == "body" else poses[:, :, None] @ capsules
    embedded = moved.flatten(-3)
    assert method.error(embedded, poses).max() < 1e-6
    found, _ = inversion.invert(method, embedded[0], embedded[1], pose.delta(*random_poses(2, 3000, seed=4), frame))
    assert pose.geodesic(found, pose.delta(poses[0], poses[1], frame)[:, :3, :3].double()).rad2deg().max() < 0.5


def test_with_a_translation_the_inversion_says_that_it_cannot():
    method = build("equicaps", "conditioning.translation=true")
    poses = random_poses(2, 50)
    poses[..., :3, 3] = torch.randn(2, 50, 3)
    with pytest.raises(ValueError, match="translation"):
        inversion.candidates(method, pose.delta(*poses))
