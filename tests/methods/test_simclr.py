"""SimCLR against its formula in loops."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.methods.common import build, info_nce, mean


@pytest.mark.parametrize("views", [2, 3])
def test_simclr_is_nt_xent(views):
    method = build("simclr", "method.temperature=0.3")
    latents = torch.randn(4, views, 32)
    z = method.projector(latents)
    slow = []
    for b, (i, j) in itertools.product(range(4), itertools.permutations(range(views), 2)):
        others = [z[o, k] for o in range(4) if o != b for k in range(views)]
        slow.append(info_nce(z[b, i], z[b, j], others, 0.3))
    assert method.terms(latents, None)["identity"].item() == pytest.approx(mean(slow), rel=1e-4)


def test_it_is_not_steered():
    method = build("simclr")
    assert not method.steers and not method.direct_supervision
