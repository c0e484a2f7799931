"""The protocols of the 3DIEBench line through the suite: keys, floors, and that what is known to be true is said."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import LATENTS, BlockSteering, features, in_a_file
from vsie.evaluation import released, steering, suite

PARTS = ("inv", "equi", "all")
LINE = ("rotation", "colour", "pre", "mrr")


def coloured(seed: int, first_object: int):
    """Features of stills whose hues are in the equivariant part as points on two circles, beside the pose."""
    data = features(objects=40, clips=1, frames=12, motion="tumble", noise=0.1, seed=seed, first_object=first_object)
    rng = np.random.default_rng(seed)
    latents = rng.random((40, 12, 7))
    angle = 2 * math.pi * latents[..., [3, 6]]
    image = np.concatenate([data.image, np.cos(angle), np.sin(angle)], -1).astype(np.float32)
    return dataclasses.replace(data, image=image, clip=image, latents=latents, latent_names=LATENTS)


class Steering(BlockSteering):
    """`BlockSteering` on the rotated part, without the colours."""

    def embed(self, equivariant):
        return equivariant[..., :-4]


@pytest.fixture(scope="module")
def sets():
    return coloured(1, 0), coloured(2, 1000)


@pytest.fixture(scope="module")
def ours(sets):
    return suite.evaluate(*sets, steering=Steering(), protocols=LINE, probe_steps=80, progress=False)


@pytest.fixture(scope="module")
def theirs(sets):
    """With narrow heads: one step an epoch is taken here, and all 300 epochs are needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(released, "HIDDEN", 128)
        protocols = ["classification", "colour", "pose", "tracking"]
        return suite.evaluate(*sets, steering=Steering(), protocols=protocols, compat="sie", progress=False)


def test_pre_says_where_not_every_frame_is_a_source(sets, ours, monkeypatch):
    assert not any(note.startswith("pre: ") for note in ours.notes)
    monkeypatch.setattr(steering, "QUERIES", 100)
    found = suite.evaluate(*sets, steering=Steering(), protocols=["pre"], progress=False)
    assert "pre: 100 of 480 frames are sources, evenly over the objects" in found.notes
    assert found.metrics["pre/pre"] == pytest.approx(ours.metrics["pre/pre"], abs=0.05)


def test_every_measure_has_its_floor_and_its_interval(ours, theirs):
    keys = [f"rotation/{m}/{p}" for m in ("geodesic_median_deg", "acc@15", "acc@30", "r2", "r2_quaternion") for p in PARTS]
    keys += [f"colour/{m}/{p}" for m in ("r2", "floor_hue_r2", "spot_hue_r2", "floor_hue_median_deg") for p in PARTS]
    keys += ["mrr/mrr", "mrr/hit@1", "mrr/hit@5", "mrr/hit@10", "pre/pre"]
    line = [f"compat_sie/classification/{m}/{p}" for m in ("top1", "top5") for p in PARTS]
    line += [f"compat_sie/{q}/r2/{p}" for q in ("rotation", "colour") for p in PARTS]
    line += ["compat_sie/mrr/mrr", "compat_sie/mrr/hit@10", "compat_sie/pre/pre"]
    for result, wanted in ((ours, keys), (theirs, line)):
        for key in wanted:
            assert math.isfinite(result.metrics[key]) and math.isfinite(result.metrics[f"{key}/floor"]), key
            assert result.intervals[f"{key}/low"] <= result.intervals[f"{key}/high"], key
    assert all(key.startswith("compat_sie/") for key in [*theirs.metrics, *theirs.intervals])
    assert not any(key.startswith("compat_sie/") for key in ours.metrics)
    assert any("tracking skipped: SIE has no released" in note for note in theirs.notes)


def test_they_say_what_is_known_to_be_true(ours, theirs):
    found = ours.metrics
    assert found["rotation/geodesic_median_deg/equi"] < 0.6 * found["rotation/geodesic_median_deg/equi/floor"]
    assert found["rotation/geodesic_median_deg/inv"] > 0.8 * found["rotation/geodesic_median_deg/inv/floor"]
    assert found["rotation/r2_quaternion/inv/floor"] == pytest.approx(0, abs=0.05)
    assert found["colour/r2/equi"] > 0.5 > 0.1 > found["colour/r2/inv"]
    assert found["colour/floor_hue_median_deg/equi"] < 30
    assert found["mrr/mrr"] > 0.9 and found["mrr/hit@10"] > 0.99
    assert found["mrr/mrr/identity"] == pytest.approx(found["mrr/mrr/floor"], abs=1e-6)
    assert found["pre/pre"] < 0.1 * found["pre/pre/floor"] and found["pre/pre/random"] >= found["pre/pre/floor"] - 1e-9
    found = theirs.metrics
    assert found["compat_sie/classification/top1/inv"] > 0.8 > found["compat_sie/classification/top1/inv/floor"]
    assert found["compat_sie/rotation/r2/equi"] > found["compat_sie/rotation/r2/inv"] + 0.1
    assert found["compat_sie/colour/r2/equi"] > 0.2  # plain differences jump where a hue wraps
    assert found["compat_sie/mrr/mrr"] > 0.9
    assert found["compat_sie/mrr/hit@1/floor"] == pytest.approx(1 / 12)  # the source is a candidate


def test_a_small_limit_keeps_the_embedded_latents_in_a_file_and_the_figures(sets, ours, monkeypatch):
    monkeypatch.setattr(steering, "LARGE", 100)
    kinds = []
    original = steering._table
    monkeypatch.setattr(steering, "_table", lambda *a: kinds.append(original(*a)) or kinds[-1])
    found = suite.evaluate(*sets, steering=Steering(), protocols=["mrr", "pre"], progress=False)
    assert len(kinds) == 2 and all(in_a_file(kind) for kind in kinds)
    for key in ("mrr/mrr", "pre/pre"):
        assert found.metrics[key] == pytest.approx(ours.metrics[key], abs=1e-9)


def test_probed_features_are_those_the_probes_are_judged_on(sets):
    train, test = sets
    noise = np.random.default_rng(0).normal(size=test.image.shape).astype(np.float32)
    probed = dataclasses.replace(test, image=noise, clip=noise).frames_of(released.validation(test))
    assert probed.image.shape[:2] == (len(np.unique(test.objects)), 3)
    options = dict(steering=Steering(), protocols=["classification", "mrr"], compat="sie", progress=False)
    metrics = suite.evaluate(train, test, probed=probed, **options).metrics
    assert metrics["compat_sie/classification/top1/inv"] < 0.6 and metrics["compat_sie/mrr/mrr"] > 0.9


def test_a_predictor_is_put_back_on_the_cpu(sets):
    class Module(Steering, torch.nn.Module):
        def __init__(self):
            torch.nn.Module.__init__(self)
            Steering.__init__(self)
            self.places = []

        def to(self, device):
            self.places.append(device)

    module = Module()
    suite.evaluate(*sets, steering=module, protocols=["mrr"], device="cpu", progress=False)
    assert module.places == ["cpu", "cpu"]


def test_what_cannot_be_asked_is_noted(sets):
    plain = [dataclasses.replace(data, latents=None, latent_names=(), labels=data.labels * 0 - 1) for data in sets]
    for compat in (None, "sie"):
        found = suite.evaluate(*plain, protocols=["classification", "colour"], compat=compat, epochs=1, progress=False)
        assert any("floor_hue and spot_hue" in note for note in found.notes)
        assert any("classification skipped" in note for note in found.notes)
    constant = [dataclasses.replace(data, latents=np.full_like(data.latents, 0.3)) for data in sets]
    found = suite.evaluate(*constant, protocols=["colour"], progress=False)
    assert any("two colours" in note for note in found.notes)
    found = suite.evaluate(*sets, protocols=["mrr"], progress=False)
    assert found.metrics["mrr/mrr"] == pytest.approx(found.metrics["mrr/mrr/floor"], abs=1e-6)
    assert any("identity predictor" in note for note in found.notes)
    with pytest.raises(ValueError, match="compat is 'equicaps', expected null or one of sie"):
        suite.evaluate(*sets, compat="equicaps")
    with pytest.raises(ValueError, match=r"features.latents has shape \(40, 12, 7\), expected \(40, 12, 1\)"):
        dataclasses.replace(sets[0], latent_names=("floor_hue",))
