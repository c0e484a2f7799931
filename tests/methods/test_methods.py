"""Each method against a slow reference, and what conditioning promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from scipy.spatial.transform import Rotation
from torch import nn

from tests.methods.common import build, mean
from vsie import checkpoint, components, pose
from vsie.config import compose, to_plain
from vsie.data.three_die_bench import object_in_camera
from vsie.methods.base import Split
from vsie.methods.conditioning import Conditioning
from vsie.model import build_method

WEIGHTS = {
    "vsie": dict(invariance=1, identity=1, equivariance=1, inversion=1, equivariance_error=1, variance=1, covariance=1, leak=1),
    "sie": dict(invariance=10, equivariance=4.5, variance=10, predicted_variance=10, covariance=1),
    "vicreg": dict(invariance=1, variance=1, covariance=1),
}


def config(method: str, **options) -> dict:
    conditioning = dict(encoding="quaternion_raw", centred=False) if method == "sie" else {}
    return {
        "encoder": dict(name="frame", widths=[8, 16], depths=[1], dim=32),
        "conditioning": conditioning,
        "predictor": dict(name="hypernetwork"),
        "method": dict(name=method, weights=WEIGHTS[method], projector_width=24, projector_layers=2, projector_norm="layer",
                       invariant_share=0.5) | options,
    }  # fmt: skip


def random_poses(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return pose.rigid(pose.exp(torch.rand(*shape, 1, generator=generator) * 6 * torch.tensor([0.0, 0.0, 1.0])))


@pytest.mark.parametrize("name", ["vsie", "sie", "vicreg"])
def test_a_step_gives_finite_terms_and_gradients_everywhere(name):
    torch.manual_seed(0)
    method = build_method(config(name))
    outputs = method(torch.rand(4, 2, 3, 3, 16, 16), random_poses(4, 2, 3))
    assert set(outputs.terms) == set(method.TERMS)
    expected = sum(method.weights[key] * value.item() for key, value in outputs.terms.items())
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-4)
    outputs.loss.backward()
    for key, parameter in method.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    assert outputs.latents.shape == (4, 6, 32) and not outputs.latents.requires_grad


def test_contrast_between_objects_waits_for_motion_to_be_learned(monkeypatch):
    """Where there is one clip: in proportion up to `after`; but not for ever; and not where nothing of motion is asked."""
    torch.manual_seed(0)
    latents, poses = torch.randn(5, 4, 32), random_poses(5, 4)
    waiting = build_method(config("vsie", after=0.2))

    def ready(learned, progress, method=waiting):
        monkeypatch.setattr(method.contrast, "learned", lambda *_: torch.tensor(learned))
        method.progress, method.one_clip = progress, True
        whole, terms = method.identity(method.invariant_projector(method.split(latents)[0])), method.terms(latents, poses)
        outputs = method.outputs(latents, terms)
        assert "ready" not in outputs.terms
        torch.testing.assert_close(terms["identity"], outputs.ready * whole)
        method.one_clip = False  # another clip has another light: nothing is won by it
        torch.testing.assert_close(method.terms(latents, poses)["identity"], whole)
        return float(outputs.ready)

    assert [ready(learned, 0.0) for learned in (0.0, 0.05, 0.1, 0.2, 0.9)] == pytest.approx([0, 0.25, 0.5, 1, 1])
    assert [ready(0.0, progress) for progress in (0.2, 1 / 3, 0.5, 2 / 3, 0.9)] == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)
    assert ready(0.1, 0.4) == pytest.approx(0.5)
    assert ready(0.0, 0.0, build_method(config("vsie"))) == 1
    unasked = config("vsie", after=0.2)
    unasked["method"]["weights"] = WEIGHTS["vsie"] | {"equivariance": 0.0}
    assert ready(0.0, 0.0, build_method(unasked)) == 1
    with pytest.raises(ValueError, match="method.after is 1.5"):
        build_method(config("vsie", after=1.5))


@pytest.mark.parametrize("name", ["sie", "vicreg"])
def test_other_methods_are_ready_from_the_start(name):
    outputs = build_method(config(name))(torch.rand(4, 2, 3, 3, 16, 16), random_poses(4, 2, 3))
    assert outputs.ready == 1


def test_sie_is_the_papers_loss():
    torch.manual_seed(0)
    method = build_method(config("sie"))
    latents, poses = torch.randn(6, 2, 32), random_poses(6, 2)
    torch.manual_seed(3)
    terms = method.terms(latents, poses)
    torch.manual_seed(3)
    source, target = (index[:, 0] for index in method.draw_pairs(latents))
    rows = torch.arange(6)
    x_inv, y_inv = (method.invariant_projector(latents[rows, i][:, :16]) for i in (source, target))
    x_equi, y_equi = (method.equivariant_projector(latents[rows, i][:, 16:]) for i in (source, target))
    motion = pose.encode_pair(poses[rows, source], poses[rows, target], frame="body", encoding="quaternion_raw")
    moved = torch.einsum("bij,bj->bi", method.predictor.matrix(motion), x_equi)

    def hinge(z):
        return torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2

    def covariance(z):
        matrix = torch.cov(z.T)
        return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]

    x, y = torch.cat([x_inv, x_equi], 1), torch.cat([y_inv, y_equi], 1)
    slow = dict(
        invariance=(x_inv - y_inv).square().mean(), equivariance=(moved - y_equi).square().mean(),
        variance=hinge(x) + hinge(y), predicted_variance=hinge(moved), covariance=covariance(x) + covariance(y),
    )  # fmt: skip
    for key, value in slow.items():
        assert terms[key].item() == pytest.approx(value.item(), rel=1e-4), key


def test_sie_of_all_pairs_is_its_terms_over_all_of_them():
    torch.manual_seed(0)
    method = build("sie", "method.pairs=all")
    latents, poses = torch.randn(5, 4, 32), random_poses(5, 4)
    terms = method.terms(latents, poses)
    inv, equi = method.invariant_projector(latents[..., :16]), method.equivariant_projector(latents[..., 16:])
    pairs = [(b, i, j) for b in range(5) for i in range(4) for j in range(4) if i != j]
    moved = torch.stack([
        method.predictor.matrix(pose.encode_pair(poses[b, i], poses[b, j], frame="body", encoding="quaternion_raw")[None])[0]
        @ equi[b, i] for b, i, j in pairs
    ])  # fmt: skip
    wanted = torch.stack([equi[b, j] for b, _, j in pairs])
    views = torch.cat([inv, equi], -1).flatten(0, 1)
    covariance = torch.cov(views.T)
    slow = dict(
        invariance=mean([(inv[b, i] - inv[b, j]).square().mean() for b, i, j in pairs]),
        equivariance=(moved - wanted).square().mean().item(),
        variance=torch.relu(1 - (views.var(0) + 1e-4).sqrt()).mean().item(),
        predicted_variance=torch.relu(1 - (moved.var(0) + 1e-4).sqrt()).mean().item() / 2,
        covariance=2 * (covariance.square().sum() - covariance.diagonal().square().sum()).item() / views.shape[1],
    )  # fmt: skip
    for key, value in slow.items():
        assert terms[key].item() == pytest.approx(value, rel=1e-4), key


def test_sie_puts_every_view_of_an_object_into_one_pair():
    torch.manual_seed(0)
    method, latents = build_method(config("sie")), torch.randn(50, 8, 32)
    source, target = method.draw_pairs(latents)
    assert source.shape == target.shape == (50, 4)
    assert torch.equal(torch.cat([source, target], 1).sort(1).values, torch.arange(8).expand(50, -1))
    assert (source < target).float().mean() == pytest.approx(0.5, abs=0.15)  # either direction
    latents.requires_grad_()
    sum(method.terms(latents, random_poses(50, 8)).values()).backward()
    assert (latents.grad.abs().sum(-1) > 0).all()


@pytest.fixture
def charging(monkeypatch):
    """vsie where the contrast among views is learned."""
    torch.manual_seed(0)
    method = build_method(config("vsie"))
    monkeypatch.setattr(method.contrast, "learned", lambda *_: torch.tensor(1.0))
    return method


def test_vsie_charges_the_representation_with_its_leak_and_not_the_embedding(charging):
    method = charging
    objects = torch.randn(20, 1, 32).expand(-1, 4, -1).clone()
    objects[..., 16:] = torch.randn(20, 4, 16)  # only the equivariant part moves
    assert method.terms(objects, random_poses(20, 4))["leak"].item() < 1e-3
    objects[..., 0] = torch.randn(20, 4)  # one of 16 invariant dimensions knows only the view
    share = math.expm1(method.terms(objects, random_poses(20, 4))["leak"].item()) / 100
    assert 0.01 < share < 0.2


def test_vsie_charges_half_of_a_leak_about_as_much_whatever_is_left_of_it(charging):
    """Half of the motion is a quarter of its share: the charge falls by about as much each time, not by four times less."""
    method = charging
    objects = torch.randn(20, 1, 32).expand(-1, 4, -1).clone()
    moved = torch.randn(20, 4, 16)
    first, second, third = (
        method.terms(torch.cat([objects[..., :16] + scale * moved, objects[..., 16:]], -1), random_poses(20, 4))["leak"].item()
        for scale in (0.8, 0.4, 0.2)
    )
    assert 0.5 < (first - second) / (second - third) < 1.5


def test_vsie_charges_a_leak_as_far_as_the_contrast_among_views_is_learned(charging, monkeypatch):
    """And by that the charge reaches nothing but the invariant part: the share of what is learned has no gradient."""
    latents, poses = torch.randn(20, 4, 32, requires_grad=True), random_poses(20, 4)
    full = charging.terms(latents, poses)["leak"]
    monkeypatch.undo()
    monkeypatch.setattr(charging.contrast, "forward", lambda *_: torch.tensor(0.3))
    assert charging.terms(latents, poses)["leak"].item() == pytest.approx((1 - 0.3 / math.log(3)) * full.item(), rel=1e-5)
    monkeypatch.setattr(charging.contrast, "learned", lambda *_: torch.tensor(0.25))
    leak = charging.terms(latents, poses)["leak"]
    leak.backward()
    assert leak.item() == pytest.approx(full.item() / 4, rel=1e-5) and latents.grad[..., 16:].abs().max() == 0


def test_centred_conditioning_has_no_constant_direction_and_unit_length():
    poses = random_poses(2, 2000)
    conditioning = Conditioning(encoding="matrix")
    conditioning.fit(poses[0], poses[1])
    numbers = conditioning(poses[0], poses[1])
    assert numbers.mean(0).abs().max() < 1e-5
    assert numbers.square().sum(-1).mean().item() == pytest.approx(1, rel=1e-4)
    assert numbers[:, 8].abs().max() < 1e-5  # zz of a yaw is always 1: nothing is left of it
    assert (conditioning.of_motion(pose.delta(poses[0], poses[1])) - numbers).abs().max() < 1e-5
    raw = Conditioning(encoding="quaternion_raw", centred=False)
    raw.fit(poses[0], poses[1])
    assert (raw(poses[0], poses[1]).norm(dim=-1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_rotation_and_translation_are_told_alike_whatever_the_unit_of_length_is(unit):
    poses = random_poses(2, 500).double()
    poses[..., :3, 3] = unit * torch.randn(2, 500, 3, dtype=torch.float64)
    conditioning = Conditioning(encoding="matrix", translation=True).double()
    conditioning.fit(poses[0], poses[1])
    numbers = conditioning(poses[0], poses[1])
    assert numbers[:, :9].square().sum(-1).mean().item() == pytest.approx(0.5, rel=1e-5)
    assert numbers[:, 9:].square().sum(-1).mean().item() == pytest.approx(0.5, rel=1e-5)
    poses[..., :3, 3] = 0.3  # beside a turn nothing is told of what never changes in the camera's frame
    kept = Conditioning(encoding="matrix", frame="camera", translation=True).double()
    turned = torch.cat([poses[..., :3, :3], torch.zeros(2, 500, 3, 1, dtype=torch.float64)], -1)
    still = torch.cat([turned, poses[..., 3:, :]], -2)
    kept.fit(still[0], still[1])
    assert kept(still[0], still[1])[:, 9:].abs().max() == 0 and (kept.scale[:9] > 0).all()


def test_a_checkpoint_from_before_each_kind_of_number_had_its_scale_is_read(tmp_path):
    method = build_method(config("vsie"))
    method.fit(*random_poses(2, 50))
    checkpoint.save(tmp_path / "run", method, config("vsie"), {})
    file = checkpoint.locate(tmp_path / "run") / checkpoint.FILES[0]
    tensors = load_file(file)
    tensors["conditioning.scale"] = tensors["conditioning.scale"][0].clone()
    file.write_bytes(save(tensors))
    again = build_method(config("vsie"))
    checkpoint.load_weights(tmp_path / "run", again)
    assert torch.equal(again.conditioning.scale, method.conditioning.scale)


def test_both_signs_of_a_quaternion_are_tried_only_where_the_predictor_is_odd():
    def method(*changes: str):
        return build_method(to_plain(compose("train", ["method=sie", *changes])))

    plain, q = method(), torch.nn.functional.normalize(torch.randn(20, 4), dim=-1)
    assert plain.sign_free and (plain.predictor.coefficients(q) + plain.predictor.coefficients(-q)).abs().max() < 1e-6
    for changes in (["predictor.hidden=[4,4]"], ["conditioning.centred=true"], ["conditioning.colour=circle"]):
        assert not method(*changes).sign_free
    assert method("conditioning.colour=difference").sign_free and not method("conditioning=centred").sign_free


def test_weights_that_are_all_zero_are_refused():
    weights = ["method.weights.identity=0", "method.weights.delta=0"]
    with pytest.raises(ValueError, match="the weights of augself are all 0"):
        build_method(to_plain(compose("train", ["method=augself", *weights])))


def test_what_cannot_be_trained_on_unposed_videos_says_what_can():
    for name in ("vsie", "sie", "supervised", "augself"):
        method = build_method(to_plain(compose("train", [f"method={name}"])))
        with pytest.raises(ValueError, match="known motion, but the data has no poses .* motion=estimated takes it"):
            method.check_data(posed=False, classes=3)
    for options in (["method=vicreg"], ["method=supervised", "method.weights.pose=0"]):
        build_method(to_plain(compose("train", options))).check_data(posed=False, classes=3)


def test_conditioning_refuses_data_without_motion():
    still = pose.rigid(torch.eye(3)).expand(10, 4, 4)
    with pytest.raises(ValueError, match="nothing for a predictor to be steered by"):
        Conditioning().fit(still, still)


def test_raw_quaternions_have_scipys_sign_whichever_way_the_camera_stands():
    """3DIEBench's camera is half a turn away from its objects: with w >= 0 of object in camera every other sign is wrong."""
    angles = np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (3000, 3))
    scipy = Rotation.from_euler("xyz", angles)
    expected = torch.from_numpy((scipy[:1000].inv() * scipy[1000:2000]).as_quat()).float()
    seen = torch.from_numpy(object_in_camera(np.concatenate([angles, np.zeros((3000, 4))], 1))).float()
    conditioning = Conditioning(encoding="quaternion_raw", centred=False)

    def right() -> float:
        return float(((conditioning(seen[:1000], seen[1000:2000]) * expected).sum(-1) > 0.999).float().mean())

    assert right() < 0.6
    conditioning.fit(seen[1500:], seen[:1500])
    assert right() > 0.99
    kept = Conditioning(encoding="quaternion_raw", centred=False)
    kept.load_state_dict(conditioning.state_dict())
    assert torch.equal(kept(seen[:9], seen[9:18]), conditioning(seen[:9], seen[9:18]))


def test_all_pairs_are_source_then_target():
    poses = random_poses(2, 3)
    conditioning = Conditioning()
    all_pairs = conditioning.all_pairs(poses)
    expected = conditioning(poses[1, 0], poses[1, 2])
    assert (all_pairs[1, 0, 2] - expected).abs().max() < 1e-6


def test_steering_form_is_the_predictor():
    torch.manual_seed(0)
    method = build_method(config("vsie")).eval()
    poses = random_poses(2, 50)
    method.fit(poses[0], poses[1])
    embedded = method.embed(torch.randn(50, 16))
    motion = pose.delta(poses[0], poses[1], method.frame)
    steered = (method.coefficients(motion)[..., None] * method.expand(embedded)).sum(-2)
    assert (steered - method.predictor(embedded, method.conditioning(poses[0], poses[1]))).abs().max() < 1e-4


def test_methods_that_need_poses_say_so():
    for name in ("vsie", "sie"):
        with pytest.raises(ValueError, match="no poses"):
            build_method(config(name))(torch.rand(4, 2, 3, 2, 16, 16), None)
    build_method(config("vicreg"))(torch.rand(4, 2, 3, 2, 16, 16), None)


def test_wrong_weights_and_splits_are_named():
    with pytest.raises(ValueError, match="weights name"):
        build_method(config("vsie") | {"method": config("vsie")["method"] | {"weights": {"leak": 1}}})
    with pytest.raises(ValueError, match="0 | 32"):
        Split(0, 32)
    with pytest.raises(ValueError, match="did you mean 'temperature'"):
        build_method(config("vsie", temprature=0.2))


def test_equivariant_collapse_to_constant_is_seen_by_the_contrast():
    method = build_method(config("vsie"))
    constant = torch.zeros(4, 6, 24) + 1
    predicted = method.predict(constant, random_poses(4, 6))
    assert method.contrast(predicted, constant).item() == pytest.approx(math.log(5), rel=1e-3)


def test_projector_keeps_leading_shape():
    projector = components.importlib.import_module("vsie.methods.projector").Projector(8, width=6, layers=3)
    assert projector(torch.randn(4, 5, 8)).shape == (4, 5, 6)
    assert sum(isinstance(m, nn.BatchNorm1d) for m in projector.modules()) == 2


@pytest.mark.parametrize("term", ["predicted_variance", "invariance"])
def test_sie_without_one_of_its_terms(term):
    """The paper's ablations are weights of 0: the term is still shown, and charged nothing."""
    from tests.methods.common import build

    latents, poses = torch.randn(6, 2, 32), random_poses(6, 2)
    losses = {}
    for name, overrides in (("whole", []), ("without", [f"method.weights.{term}=0"])):
        method = build("sie", *overrides)
        torch.manual_seed(3)
        terms = method.terms(latents, poses)
        losses[name] = method.outputs(latents, terms)
    assert losses["without"].terms[term] == losses["whole"].terms[term] > 0
    assert (losses["whole"].loss - losses["without"].loss).item() == pytest.approx(10 * terms[term].item(), rel=1e-3)


def test_sie_is_deep_or_linear_by_the_predictors_option():
    from tests.methods.common import build

    assert build("sie").predictor.basis_size == 4 and not list(build("sie").predictor.trunk.parameters())
    deep = build("sie", "predictor.hidden=[4,6]")
    assert deep.predictor.basis_size == 6 and len(list(deep.predictor.trunk.parameters())) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [([], 4), (["conditioning.encoding=matrix"], 2), (["conditioning=sie"], 2), (["predictor.hidden=[16]"], 16)],
)
def test_of_a_turntable_few_directions_are_told(options, told):
    torch.manual_seed(0)
    method = build_method(to_plain(compose("train", options)))
    turns = pose.rigid(pose.exp(torch.rand(500, 1) * 6 * torch.tensor([0.0, 0.0, 1.0])))
    camera = pose.rigid(pose.exp(torch.tensor([0.4, 0.2, 0.3])), torch.tensor([0.1, 0.2, 3.0]))
    method.fit(camera @ turns[:250], camera @ turns[250:])
    assert method.predictor.basis_size == told
    everywhere = pose.rigid(pose.exp(torch.randn(500, 3)))
    method.fit(everywhere[:250], everywhere[250:])
    assert method.predictor.basis_size == (16 if told == 16 else method.conditioning.width)


def test_a_method_that_is_told_nothing_takes_clips_that_do_not_move():
    still = torch.eye(4).expand(10, 4, 4)
    build_method(config("vicreg")).fit(still, still)
    with pytest.raises(ValueError, match="all the same motion"):
        build_method(config("vsie")).fit(still, still)
