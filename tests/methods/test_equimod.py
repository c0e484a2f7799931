"""EquiMod, both forms, against their formulas in loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, info_nce, mean, random_poses
from vsie import pose


def pairs(latents):
    return itertools.product(range(len(latents)), itertools.permutations(range(latents.shape[1]), 2))


def told(method, poses, b, i, j):
    motion = pose.rigid(poses[b, i, :3, :3].T @ poses[b, j, :3, :3])
    return method.conditioning.of_motion(motion)


def test_simclr_form():
    method = build("equimod", "method.temperature=0.2")
    latents, poses = torch.randn(3, 3, 32), random_poses(3, 3)
    invariant, equivariant = method.projector(latents), method.equivariant_projector(latents)
    identity, steered = [], []
    for b, (i, j) in pairs(latents):
        others = [invariant[o, k] for o in range(3) if o != b for k in range(3)]
        identity.append(info_nce(invariant[b, i], invariant[b, j], others, 0.2))
        predicted = method.predictor(equivariant[b, i], told(method, poses, b, i, j))
        others = [equivariant[o, k] for o in range(3) for k in range(3) if (o, k) not in ((b, i), (b, j))]
        steered.append(info_nce(predicted, equivariant[b, j], others, 0.2))
    terms = method.terms(latents, poses)
    assert set(terms) == {"identity", "equivariance"} and method.similarity == "cosine"
    assert terms["identity"].item() == pytest.approx(mean(identity), rel=1e-4)
    assert terms["equivariance"].item() == pytest.approx(mean(steered), rel=1e-4)


def test_vicreg_form():
    method = build("equimod", "method.form=vicreg")
    latents, poses = torch.randn(3, 3, 32), random_poses(3, 3)
    invariant, equivariant = method.projector(latents), method.equivariant_projector(latents)
    near, steered = [], []
    for b, (i, j) in pairs(latents):
        near.append((invariant[b, i] - invariant[b, j]).square().mean())
        predicted = method.predictor(equivariant[b, i], told(method, poses, b, i, j))
        steered.append((predicted - equivariant[b, j]).square().mean())
    hinge, off = 0.0, 0.0
    for rows in (invariant.flatten(0, 1), equivariant.flatten(0, 1)):  # VICReg's own, of each space by itself
        matrix = torch.cov(rows.T)
        hinge += torch.relu(1 - (rows.var(0) + 1e-4).sqrt()).mean() / 2
        off += (matrix.square().sum() - matrix.diagonal().square().sum()) / rows.shape[1]
    terms = method.terms(latents, poses)
    assert set(terms) == {"invariance", "equivariance_error", "variance", "covariance"} and method.similarity == "euclidean"
    assert terms["invariance"].item() == pytest.approx(mean(near), rel=1e-4)
    assert terms["equivariance_error"].item() == pytest.approx(mean(steered), rel=1e-4)
    assert terms["variance"].item() == pytest.approx(hinge.item(), rel=1e-4)
    assert terms["covariance"].item() == pytest.approx(off.item(), rel=1e-3)


def test_the_predictor_is_the_papers_unless_another_is_chosen():
    assert type(build("equimod").predictor).__name__ == "MLP"
    assert type(build("equimod", "predictor=film").predictor).__name__ == "FiLM"
    with pytest.raises(ValueError, match="method.form is 'byol'"):
        build("equimod", "method.form=byol")


def test_it_is_steered_in_the_space_of_its_module():
    method = build("equimod").eval()
    latents, poses = torch.randn(2, 5, 32), random_poses(2, 5)
    assert method.part == "all" and method.steers and not method.linear
    embedded = method.embed(latents)
    predicted = method.predict(embedded, poses)
    motion = pose.delta(poses[:, :, None], poses[:, None])
    assert (method.steer(embedded, motion) - predicted).abs().max() < 1e-5
    pairwise = method.pair_steer(embedded[:, :, None], poses[:, :, None], poses[:, None])
    assert (pairwise - predicted).abs().max() < 1e-5
