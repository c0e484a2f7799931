"""vsie's whole loss against its formulas in loops, term by term and weighted."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, info_nce, mean, random_poses

BATCH, VIEWS, TEMPERATURE = 4, 3, 0.1


@pytest.mark.parametrize("ready", [1.0, 0.0], ids=["motion is learned", "nothing is learned yet"])
def test_vsie_is_its_formulas(ready):
    method = build("vsie")
    method.requires_grad_(False)
    latents, poses = torch.randn(BATCH, VIEWS, 32), random_poses(BATCH, VIEWS)
    if ready:  # views that are where the predictor expects them
        method.equivariant_projector = torch.nn.Identity()
        method.predictor = Composes()
        latents[..., 16:] = poses[..., :3, :3].flatten(-2).repeat(1, 1, 2)[..., :16]
    representation = latents[..., :16]
    x, z = method.invariant_projector(representation), method.equivariant_projector(latents[..., 16:])
    told = method.conditioning(poses[:, :, None], poses[:, None])
    moved = method.predictor(z, told)

    identity, contrast, inversion, error = [], [], [], []
    for b, (i, j) in itertools.product(range(BATCH), itertools.permutations(range(VIEWS), 2)):
        others = [x[o, k] for o in range(BATCH) if o != b for k in range(VIEWS)]
        identity.append(info_nce(x[b, i], x[b, j], others, TEMPERATURE))
        candidates = [z[b, k] for k in range(VIEWS) if k not in (i, j)]
        contrast.append(info_nce(moved[b, i, j], z[b, j], candidates, TEMPERATURE))
        inversion.append(info_nce(z[b, j], moved[b, i, j], [moved[b, i, k] for k in range(VIEWS) if k != j], TEMPERATURE))
        error.append((moved[b, i, j] - z[b, j]).square().mean())
    learned = max(0.0, 1 - mean(contrast) / float(torch.tensor(VIEWS - 1.0).log()))
    assert (learned > 0.5) == bool(ready)
    rows = torch.cat([x, z], -1).flatten(0, 1)
    matrix = torch.cov(rows.T)
    centred, within = representation - representation.mean((0, 1)), representation - representation.mean(1, keepdim=True)
    total, inner = (torch.einsum("bni,bnj->ij", a, a) / (BATCH * VIEWS) for a in (centred, within))
    inverse = torch.linalg.inv(total + 0.1 * total.diagonal().mean() * torch.eye(16))
    share = float((inverse @ inner).trace() / (inverse @ total).trace())
    distances = [(x[b, i] - x[b, j]).square().mean()
                 for b, (i, j) in itertools.product(range(BATCH), itertools.combinations(range(VIEWS), 2))]  # fmt: skip
    expected = {
        "identity": mean(identity), "invariance": mean(distances), "equivariance": mean(contrast),
        "inversion": learned * mean(inversion), "equivariance_error": mean(error),
        "variance": mean([torch.relu(1 - (column.var() + 1e-4).sqrt()) for column in rows.T]) / 2,
        "covariance": float(matrix.square().sum() - matrix.diagonal().square().sum()) / rows.shape[1],
        "leak": learned * float(torch.log1p(torch.tensor(share / 0.01))),
    }  # fmt: skip
    terms = method.terms(latents, poses)
    assert {name: float(terms[name]) for name in expected} == pytest.approx(expected, rel=2e-4, abs=1e-6)
    loss = method.outputs(latents, terms).loss.item()
    weights = {"identity": 2, "equivariance": 10, "inversion": 10, "variance": 20, "covariance": 1, "leak": 2}
    assert loss == pytest.approx(sum(weight * expected[name] for name, weight in weights.items()), rel=2e-4)


class Composes(torch.nn.Module):
    """The predictor of latents that hold vec R, row by row, and are told the body-frame turn, its vec first."""

    linear = False

    def forward(self, latents, told):
        rotation, turn = latents[..., None, :9].unflatten(-1, (3, 3)), told[..., :9].unflatten(-1, (3, 3))
        moved = (rotation @ turn).flatten(-2)
        return torch.cat([moved, moved[..., : latents.shape[-1] - 9]], -1)
