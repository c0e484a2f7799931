"""The latent holds the group element: against loops, and exact where the element is known."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, info_nce, mean, random_poses
from vsie import pose
from vsie.evaluation import inversion


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_class_pose_against_loops(frame):
    method = build("class_pose", f"conditioning.frame={frame}", "method.temperature=0.2")
    latents, poses = torch.randn(3, 4, 32), random_poses(3, 4)
    z = method.invariant_projector(latents[..., :16])
    moved, identity = [], []
    for b, (i, j) in itertools.product(range(3), itertools.permutations(range(4), 2)):
        first, second = (method.embed(latents[b, k, 16:]).reshape(3, 3) for k in (i, j))
        assert pose.is_rotation(first)
        source, target = poses[b, i, :3, :3], poses[b, j, :3, :3]
        there = first @ source.T @ target if frame == "body" else target @ source.T @ first
        moved.append((there - second).square().sum())
        identity.append(info_nce(z[b, i], z[b, j], [z[o, k] for o in range(3) if o != b for k in range(4)], 0.2))
    terms = method.terms(latents, poses)
    assert terms["equivariance"].item() == pytest.approx(mean(moved), rel=1e-4)
    assert terms["identity"].item() == pytest.approx(mean(identity), rel=1e-4)


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_the_motion_is_read_from_two_elements_and_the_inversion_finds_it(frame):
    """Embedded latents that are the poses up to one unknown rotation: the term is 0 and the inversion exact."""
    method = build("class_pose", f"conditioning.frame={frame}")
    poses, unknown = random_poses(2, 40), random_poses(1)[0]
    elements = unknown @ poses if frame == "body" else poses @ unknown
    embedded = elements[..., :3, :3].flatten(-2)
    assert method.error(embedded, poses).max() < 1e-9
    deltas = pose.delta(*random_poses(2, 3000, seed=4), frame)
    found, _ = inversion.invert(method, embedded[0], embedded[1], deltas)
    true = pose.delta(poses[0], poses[1], frame)[:, :3, :3].double()
    assert pose.geodesic(found, true).rad2deg().max() < 0.5


def test_translation_is_no_matter():
    method = build("class_pose")
    embedded, poses = method.embed(torch.randn(2, 4, 16)), random_poses(2, 4)
    moved = poses.clone()
    moved[..., :3, 3] = torch.randn(2, 4, 3)
    assert torch.allclose(method.error(embedded, poses), method.error(embedded, moved), atol=1e-6)
    assert not method.uses_translation
