"""The factorised hypernetwork is the explicit one, exactly."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save

from vsie import checkpoint
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


def test_the_deep_one_of_sie_has_no_constant_direction():
    """ReLU and no bias: h(s q) = s h(q) for s > 0, and nothing is left where nothing is told."""
    torch.manual_seed(0)
    predictor = Hypernetwork(12, 4, hidden=(4, 4), activation="relu", bias=False).double()
    delta = torch.randn(9, 4, dtype=torch.float64)
    assert [type(layer).__name__ for layer in predictor.trunk] == ["Linear", "ReLU"] * 2
    assert (predictor.coefficients(3 * delta) - 3 * predictor.coefficients(delta)).abs().max() < 1e-12
    assert predictor.coefficients(torch.zeros_like(delta)).abs().max() == 0
    with pytest.raises(ValueError, match="activation is 'tanh', expected one of gelu, relu"):
        Hypernetwork(12, 4, hidden=(4,), activation="tanh")


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


def told(count: int) -> torch.Tensor:
    """Deltas (count, 9) along three directions."""
    basis = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.randn(count, 3, dtype=torch.float64) @ basis


def test_on_deltas_of_few_directions_function_and_gradients_stay():
    torch.manual_seed(0)
    predictor = Hypernetwork(12, 9).double()
    latent, deltas = torch.randn(40, 12, dtype=torch.float64), told(40)

    def outcome() -> list[torch.Tensor]:
        one, many = predictor(latent, deltas), predictor(latent[:4], deltas[None, :7].expand(4, 7, 9))
        gradients = torch.autograd.grad(one.square().sum() + many.pow(3).sum(), predictor.parameters())
        return [one.detach(), many.detach(), predictor.matrix(deltas).detach(), *gradients]

    whole = outcome()
    predictor.fit(told(500))
    assert predictor.basis_size == 3
    assert predictor.coefficients(deltas).shape == (40, 3) and predictor.expand(latent).shape == (40, 3, 12)
    assert all((a - b).abs().max() < 1e-10 for a, b in zip(outcome(), whole, strict=True))


def test_what_training_never_tells_is_not_acted_on():
    torch.manual_seed(0)
    predictor = Hypernetwork(12, 9).double()
    latent, deltas, noise = torch.randn(40, 12, dtype=torch.float64), told(40), torch.randn(40, 9, dtype=torch.float64)
    basis = torch.linalg.qr(told(500).mT[:, :3])[0]
    off = noise - noise @ basis @ basis.mT
    assert (predictor(latent, deltas + off) - predictor(latent, deltas)).abs().max() > 0.1
    predictor.fit(told(500))
    assert (predictor(latent, deltas + off) - predictor(latent, deltas)).abs().max() < 1e-10


@pytest.mark.parametrize(("hidden", "deltas"), [((), torch.randn(100, 9)), ((), torch.zeros(100, 9)), ((5,), told(100).float())])
def test_where_all_directions_are_told_or_a_layer_is_before_nothing_changes(hidden, deltas):
    predictor, latent = Hypernetwork(12, 9, hidden=hidden), torch.randn(100, 12)
    before = predictor(latent, deltas)
    predictor.fit(deltas)
    assert torch.equal(predictor(latent, deltas), before)


def test_directions_are_kept_with_the_weights():
    predictor, other = Hypernetwork(12, 9), Hypernetwork(12, 9)
    predictor.fit(told(100).float())
    other.load_state_dict(predictor.state_dict())
    deltas = told(20).float()
    assert other.basis_size == 3
    assert torch.equal(other(torch.ones(20, 12), deltas), predictor(torch.ones(20, 12), deltas))


def test_a_checkpoint_from_before_directions_were_kept_is_read_as_one_of_all(tmp_path):
    predictor, other = Hypernetwork(12, 9), Hypernetwork(12, 9)
    run = torch.nn.ModuleDict({"predictor": predictor})
    config = {"encoder": {}, "method": {}, "conditioning": {}, "predictor": {}}
    file = checkpoint.save(tmp_path, run, config, {}) / checkpoint.FILES[0]
    file.write_bytes(save({name: tensor for name, tensor in load_file(file).items() if "directions" not in name}))
    other.fit(told(100).float())
    checkpoint.load_weights(tmp_path, torch.nn.ModuleDict({"predictor": other}))
    deltas = told(20).float()
    assert other.basis_size == 9 and torch.equal(other(torch.ones(20, 12), deltas), predictor(torch.ones(20, 12), deltas))
