"""AugSelf against its formula in loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, mean, random_poses
from vsie import pose


def test_augself_regresses_the_delta_from_the_pair_of_representations():
    method = build("augself")
    latents, poses = torch.randn(3, 4, 32), random_poses(3, 4)
    method.fit(random_poses(100), random_poses(100, seed=2))
    slow = []
    for b, (i, j) in itertools.product(range(3), itertools.permutations(range(4), 2)):
        found = method.head(torch.cat([latents[b, i], latents[b, j]])[None])[0]
        entries = pose.encode(pose.rigid(poses[b, i, :3, :3].T @ poses[b, j, :3, :3]), "harmonics")
        wanted = (entries - method.conditioning.mean) * method.conditioning.scale
        slow.append((found - wanted).square().sum())
    assert method.terms(latents, poses)["delta"].item() == pytest.approx(mean(slow), rel=1e-4)
    simclr = build("simclr")
    simclr.projector = method.projector
    assert torch.equal(simclr.terms(latents, None)["identity"], method.terms(latents, poses)["identity"])


def test_it_says_that_it_is_supervised():
    method = build("augself")
    assert method.direct_supervision and not method.steers
    with pytest.raises(ValueError, match="supervised by known motion, but the data has no poses"):
        method.terms(torch.randn(3, 4, 32), None)
