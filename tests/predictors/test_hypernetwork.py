"""The factorised hypernetwork is the explicit one, exactly."""

from __future__ import annotations

import pytest
import torch

from vsie.predictors import Hypernetwork


@pytest.mark.parametrize("hidden", [(), (16,), (16, 5)])
def test_forward_is_the_explicit_matrix(hidden):
    torch.manual_seed(0)
    predictor = Hypernetwork(12, 4, hidden=hidden).double()
    latent, delta = torch.randn(3, 5, 12, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)
    explicit = (predictor.matrix(delta) @ latent[..., None]).squeeze(-1)
    assert predictor.matrix(delta).shape == (3, 5, 12, 12)
    assert (predictor(latent, delta) - explicit).abs().max() < 1e-12
    expanded = (predictor.coefficients(delta)[..., None] * predictor.expand(latent)).sum(-2)
    assert (expanded - explicit).abs().max() < 1e-12


def test_gradients_are_those_of_the_explicit_matrix():
    torch.manual_seed(0)
    predictor = Hypernetwork(12, 4, hidden=(6,)).double()
    latent, delta = torch.randn(8, 12, dtype=torch.float64), torch.randn(8, 4, dtype=torch.float64)

    def gradients(output: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(output.square().sum(), predictor.parameters()))

    ours = gradients(predictor(latent, delta))
    slow = gradients((predictor.matrix(delta) @ latent[..., None]).squeeze(-1))
    assert all((a - b).abs().max() < 1e-10 for a, b in zip(ours, slow, strict=True))


def test_many_deltas_of_one_source_share_its_expansion():
    torch.manual_seed(0)
    predictor = Hypernetwork(12, 9).double()
    latent, delta = torch.randn(2, 6, 12, dtype=torch.float64), torch.randn(2, 6, 7, 9, dtype=torch.float64)
    single = torch.stack([predictor(latent, delta[:, :, i]) for i in range(7)], 2)
    assert predictor(latent, delta).shape == (2, 6, 7, 12)
    assert (predictor(latent, delta) - single).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3)])
def test_any_leading_shape(shape):
    predictor = Hypernetwork(8, 4)
    assert predictor(torch.randn(*shape, 8), torch.randn(*shape, 4)).shape == (*shape, 8)


@pytest.mark.parametrize("hidden", [(), (32,), (32, 64)])
def test_unit_input_gives_unit_variance_at_the_start(hidden):
    torch.manual_seed(0)
    predictor = Hypernetwork(256, 9, hidden=hidden)
    delta = torch.nn.functional.normalize(torch.randn(4096, 9), dim=-1)
    with torch.no_grad():
        assert predictor(torch.randn(4096, 256), delta).var().item() == pytest.approx(1, abs=0.1)


def test_wrong_widths_are_named():
    predictor = Hypernetwork(8, 4)
    with pytest.raises(ValueError, match="width 4, found 3"):
        predictor(torch.randn(8), torch.randn(3))
    with pytest.raises(ValueError, match="width 8, found 9"):
        predictor(torch.randn(2, 9), torch.randn(2, 5, 4))
