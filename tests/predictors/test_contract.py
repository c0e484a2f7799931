"""What every predictor promises: any leading shape, shared sources, and the factorised form where it says so."""

from __future__ import annotations

import pytest
import torch

from vsie import components, pose
from vsie.predictors.base import Predictor
from vsie.predictors.film import FiLM
from vsie.predictors.mlp import MLP

DIM = 33  # two copies of the blocks 1, 2 and 3, and three numbers over


def build(name: str, **options) -> Predictor:
    torch.manual_seed(0)
    predictor = components.build("predictors", name, DIM, 9, **options).double()
    for parameter in predictor.parameters():  # what starts at zero or as the identity is moved too
        torch.nn.init.normal_(parameter, std=0.1)
    return predictor


def rotations(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return pose.exp(torch.randn(*shape, 3, generator=generator, dtype=torch.float64)).flatten(-2)


ALL = [(name, {}) for name in components.names("predictors")]
ALL += [("hypernetwork", {"hidden": (7, 5)}), ("lie", {"orthogonal": False, "degrees": (1, 2, 3), "frame": "camera"})]
ALL += [("mlp", {"residual": True, "hidden": (16, 8)}), ("mlp", {"norm": "layer"}), ("film", {"residual": True})]


@pytest.mark.parametrize("name, options", ALL)
def test_leading_shapes_broadcast_and_equal_a_loop(name, options):
    predictor = build(name, **options)
    latent, delta = torch.randn(2, 3, DIM, dtype=torch.float64), rotations(2, 3, 5)
    slow = torch.stack([torch.stack([torch.stack([predictor(latent[b, s], delta[b, s, m]) for m in range(5)])
                                     for s in range(3)]) for b in range(2)])  # fmt: skip
    assert slow.shape == (2, 3, 5, DIM)
    wide = latent[:, :, None]
    every = [predictor(latent, delta), predictor(wide, delta), predictor(latent[0, :1], delta[0, 0])[None, None]]
    for found in [*every, predictor(wide, delta[:1, :1])[:1, :1]]:
        assert (found - slow[: found.shape[0], : found.shape[1]]).abs().max() < 1e-10


@pytest.mark.parametrize("name, options", ALL)
def test_the_factorised_form_is_the_predictor_where_it_is_promised(name, options):
    predictor = build(name, **options)
    latent, delta = torch.randn(4, DIM, dtype=torch.float64), rotations(4)
    if not predictor.linear:
        for wrong in (lambda: predictor.expand(latent), lambda: predictor.coefficients(delta)):
            with pytest.raises(TypeError, match="not linear"):
                wrong()
        doubled = predictor(2 * latent, delta) - 2 * predictor(latent, delta)
        assert doubled.abs().max() > 1e-3
        return
    found = torch.einsum("nk,nkd->nd", predictor.coefficients(delta), predictor.expand(latent))
    assert (found - predictor(latent, delta)).abs().max() < 1e-10


@pytest.mark.parametrize("name, options", ALL)
def test_gradients_are_those_of_finite_differences(name, options):
    predictor = build(name, **options)
    latent = torch.randn(2, DIM, dtype=torch.float64, requires_grad=True)
    delta = rotations(2).requires_grad_()
    assert torch.autograd.gradcheck(predictor, (latent, delta), eps=1e-6, atol=1e-5)


def test_the_norm_of_an_mlp_is_over_all_pairs_of_latent_and_motion():
    predictor = build("mlp", hidden=(16,), norm="batch")
    latent = torch.randn(3, 5, predictor.dim, dtype=torch.float64)
    delta = torch.randn(3, 5, 4, predictor.delta_dim, dtype=torch.float64)
    seen = []
    predictor.norm.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    assert predictor.train()(latent, delta).shape == (3, 5, 4, predictor.dim)
    ((given, out),) = seen
    assert given.shape == (60, 16) and (out - predictor.norm.bias).mean(0).abs().max() < 1e-5
    with pytest.raises(ValueError, match="norm is 'spectral', expected batch or layer"):
        build("mlp", norm="spectral")


def test_mlp_is_an_mlp_on_latent_and_embedding_side_by_side():
    predictor = build("mlp", hidden=(16, 8), embedding=6)
    assert isinstance(predictor, MLP)
    latent, delta = torch.randn(4, DIM, dtype=torch.float64), rotations(4)
    both = torch.cat([latent, predictor.embed(delta)], -1)
    weight = torch.cat([predictor.from_latent.weight, predictor.from_delta.weight], 1)
    hidden = torch.nn.functional.gelu(both @ weight.T + predictor.from_latent.bias)
    assert (predictor.out(predictor.trunk(hidden)) - predictor(latent, delta)).abs().max() < 1e-10


def test_film_scales_and_shifts_each_hidden_layer():
    predictor = build("film", hidden=(16, 8))
    assert isinstance(predictor, FiLM)
    latent, delta = torch.randn(DIM, dtype=torch.float64), rotations(1)[0]
    hidden = latent
    for layer, modulation in zip(predictor.layers, predictor.modulations, strict=True):
        hidden = layer(hidden)
        hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5).sqrt()
        width = len(hidden)
        both = modulation(predictor.embed(delta))
        hidden = torch.nn.functional.gelu(hidden * (1 + both[:width]) + both[width:])
    assert (predictor.out(hidden) - predictor(latent, delta)).abs().max() < 1e-10


def test_identity_predicts_no_change_in_the_shape_of_both():
    latent = torch.randn(2, 3, DIM, dtype=torch.float64)
    found = build("identity")(latent, rotations(2, 3, 4))
    assert found.shape == (2, 3, 4, DIM) and torch.equal(found, latent[:, :, None].expand_as(found))


@pytest.mark.parametrize("name", components.names("predictors"))
def test_wrong_widths_are_named(name):
    predictor = build(name)
    with pytest.raises(ValueError, match=f"width {DIM}, found 3"):
        predictor(torch.zeros(3), rotations(1)[0])
    with pytest.raises(ValueError, match="width 9, found 4"):
        predictor(torch.zeros(DIM, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("name", ["mlp", "film"])
def test_no_hidden_layer_is_refused(name):
    with pytest.raises(ValueError, match="hidden is empty"):
        components.build("predictors", name, DIM, 9, hidden=())
