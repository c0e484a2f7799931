"""SEN against its formula in loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, info_nce, mean, random_poses
from vsie import pose


@pytest.mark.parametrize("predictor", ["hypernetwork", "lie"])
def test_sen_is_contrast_over_steered_latents(predictor):
    method = build("sen", f"predictor={predictor}", "method.temperature=0.2")
    latents, poses = torch.randn(3, 3, 32), random_poses(3, 3)
    z = method.projector(latents)
    slow = []
    for b, (i, j) in itertools.product(range(3), itertools.permutations(range(3), 2)):
        motion = pose.rigid(poses[b, i, :3, :3].T @ poses[b, j, :3, :3])
        predicted = method.predictor(z[b, i], method.conditioning.of_motion(motion))
        others = [z[o, k] for o in range(3) for k in range(3) if (o, k) not in ((b, i), (b, j))]
        slow.append(info_nce(predicted, z[b, j], others, 0.2))
    terms = method.terms(latents, poses)
    assert set(terms) == {"equivariance"}
    assert terms["equivariance"].item() == pytest.approx(mean(slow), rel=1e-4)
    assert method.linear and method.part == "all"
