"""What every method promises: real config, finite terms, gradients everywhere, steering that is what was trained."""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.methods.common import build, random_poses
from vsie import components, pose
from vsie.features import Model
from vsie.methods.base import Method

METHODS = components.names("methods")


def step(method, objects: int = 4):
    """One step on windows of 4 frames, random poses, three classes."""
    clips, poses = torch.rand(objects, 2, 3, 4, 16, 16), random_poses(objects, 2, 4)
    return method(clips, poses, *([torch.arange(objects) % 3] if method.needs_labels else []))


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_training_run_and_every_weight_has_a_gradient(name):
    method = build(name)
    method.check_views(2, 4)
    method.check_data(posed=True, classes=3)
    optimiser = torch.optim.AdamW((p for p in method.parameters() if p.requires_grad), lr=1e-3)
    before = {key: value.clone() for key, value in method.encoder.named_parameters()}
    for number in (1, 2):
        optimiser.zero_grad()
        outputs = step(method)
        assert set(outputs.terms) <= set(method.TERMS) and outputs.latents.shape == (4, 8, 32)
        assert all(term.isfinite() and term.dim() == 0 and not term.requires_grad for term in outputs.terms.values())
        expected = sum(method.weights[key] * value.item() for key, value in outputs.terms.items())
        assert outputs.loss.item() == pytest.approx(expected, rel=1e-4)
        outputs.loss.backward()
        for key, parameter in method.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        optimiser.step()
        method.after_step(number, 2)
    assert all(not torch.equal(before[key], value) for key, value in method.encoder.named_parameters() if value.dim() > 1)


@pytest.mark.parametrize("name", METHODS)
def test_still_pairs_are_windows_of_one_frame(name):
    if name == "trajectory":
        with pytest.raises(ValueError, match="data.frames"):
            build(name).check_views(8, 1)
        return
    method = build(name)
    method.check_views(8, 1)
    clips = torch.rand(4, 8, 3, 1, 16, 16)
    outputs = method(clips, random_poses(4, 8, 1), *([torch.arange(4) % 3] if method.needs_labels else []))
    assert outputs.loss.isfinite()


@pytest.mark.parametrize("name", METHODS)
def test_too_few_views_of_an_object_are_refused_before_training(name):
    method = build(name)
    with pytest.raises(ValueError, match="data.frames"):
        method.check_views(1, 1)
    if method.VIEWS > 2:
        with pytest.raises(ValueError, match="at least 3 views of an object, found 2 windows of 1"):
            method.check_views(2, 1)


@pytest.mark.parametrize("name", METHODS)
def test_the_checkpoint_holds_all_that_a_step_reads(name):
    method, other = build(name), build(name, seed=1)
    method.fit(random_poses(50), random_poses(50, seed=2))
    other.load_state_dict(method.state_dict())
    terms = []
    for each in (method, other):
        torch.manual_seed(5)
        terms.append(step(each).terms)
    assert all(torch.equal(terms[0][key], terms[1][key]) for key in terms[0])


@pytest.mark.parametrize("name", METHODS)
def test_steering_has_the_form_that_it_declares(name):
    method = build(name).eval()
    if not method.steers:
        assert not method.linear
        with pytest.raises(ValueError, match="has learned no steering"):
            Model(method, {}).steer(torch.randn(6, 16), random_poses(6))
        return
    method.fit(random_poses(50), random_poses(50, seed=2))
    poses = random_poses(6), random_poses(6, seed=3)
    width = 32 if method.part == "all" else method.split.equivariant
    embedded = method.embed(torch.randn(6, width))
    motion = pose.delta(*poses, method.frame)
    moved = method.steer(embedded, motion)
    assert moved.shape == embedded.shape and method.similarity in ("cosine", "euclidean")
    assert (method.steer(embedded[:, None], motion)[2, 3] - method.steer(embedded[2], motion[3])).abs().max() < 1e-4
    if not method.sign_free:
        assert (method.pair_steer(embedded, *poses) - moved).abs().max() < 1e-4
    if method.linear:
        factorised = torch.einsum("nk,nke->ne", method.coefficients(motion), method.expand(embedded))
        assert (factorised - moved).abs().max() < 1e-4
        factorised = torch.einsum("nk,nke->ne", method.pair_coefficients(*poses), method.expand(embedded))
        assert (factorised - method.pair_steer(embedded, *poses)).abs().max() < 1e-4


PREDICTED = [name for name in METHODS if components.find("methods", name).NEEDS_PREDICTOR]


@pytest.mark.parametrize("predictor", components.names("predictors"))
@pytest.mark.parametrize("name", PREDICTED)
def test_any_predictor_goes_with_any_method_that_has_one(name, predictor):
    method = build(name, f"predictor={predictor}")
    outputs = step(method)
    assert outputs.loss.isfinite()
    outputs.loss.backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", METHODS)
def test_the_shared_options_are_said_once_and_are_options_of_every_method(name):
    method = components.find("methods", name)
    known, shared = components.options(method), components.options(Method)
    assert known.keys() >= shared.keys() and known["projector_norm"] == (str, "batch")
    own = inspect.signature(method.__init__).parameters
    changed = {"byol": {"projector_layers": 2}}.get(name, {})
    assert {key: known[key][1] for key in shared if known[key] != shared[key]} == changed
    assert set(own) & set(shared) == set(changed)
