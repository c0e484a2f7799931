"""The array measures through the suite: every key with what belongs beside it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, features
from vsie import pose
from vsie.evaluation import audit, bootstrap, erasure, suite
from vsie.evaluation.inputs import Live
from vsie.report.measures import terminal

PARTS = ("inv", "equi", "all")
NAMES = ("seis", "ladder", "leakage", "cleaned", "single", "dci", "erasure", "lie", "correlation", "layers", "position")


def pair(**options):
    options = {"objects": 30, "clips": 2, "frames": 6, "blocks": 12, "noise": 0.2} | options
    return features(seed=1, **options), features(seed=2, first_object=1000, **options)


def shuffled(data):
    values = np.random.default_rng(0).normal(size=data.image.shape).astype(np.float32)
    return dataclasses.replace(data, image=values, clip=values)


def backbone(data):
    """The latent mixed up, half as wide, without a split: it knows the pose."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(data.image.shape[-1],) * 2))[0][:, ::2].astype(np.float32)
    return dataclasses.replace(data, image=data.image @ turn, clip=data.clip @ turn, invariant_dim=0)


@pytest.fixture(scope="module")
def result():
    train, test = pair()
    return suite.evaluate(
        train, test, steering=BlockSteering(), random_init=(shuffled(train), shuffled(test)),
        raw=(backbone(train), backbone(test)), protocols=NAMES, probe_steps=120, progress=False,
    )  # fmt: skip


def test_measures_are_found_by_their_files():
    assert set(suite.measures()) == {*NAMES, "aggregate"}  # that one has tests of its own


def test_every_key_has_what_belongs_beside_it(result):
    metrics, intervals = result.metrics, result.intervals
    motions = {key.split("@")[1].split("/")[0] for key in metrics if key.startswith("ladder/identity@")}
    assert 1 <= len(motions) <= 3
    keys = {
        f"ladder/{rung}@{m}/{p}": ("null", "random_init")
        for rung in ("identity", "isometry", "linear")
        for m in motions
        for p in PARTS
    }
    keys |= {f"ladder/conditional/{p}": ("shuffled",) for p in PARTS} | {
        f"ladder/orbit_share/{p}": ("null", "rank") for p in PARTS
    }
    for kind in ("", "_in_sample"):
        keys |= {f"seis/equiv{kind}@{m}/{p}": ("null",) for m in motions for p in PARTS}
        keys |= {f"seis/inv{kind}@{m}/{p}": ("null", "floor") for m in motions for p in PARTS}
    rows = (*PARTS, "raw", "random_init", "leace")
    keys |= {
        f"leakage/{c}/{r}": ("floor", "shuffled")
        for c in ("class_linear", "class_knn", "pose_linear", "pose_kernel")
        for r in rows
    }
    keys |= {f"leakage/{c}/{r}": ("floor",) for c in ("pose_mlp", "pair") for r in rows}
    keys |= {f"leakage/leak_pose/{c}": () for c in ("pose_linear", "pose_kernel", "pose_mlp", "pair")}
    keys |= {"leakage/leak_class/class_linear": (), "leakage/utility/inv": ()}
    erasers = ("leace-rotation", "leace-basis", "linear", "inlp", "rasa", "orbit")
    columns = ("class_linear", "class_knn", "pose_linear", "pose_kernel")
    keys |= {
        f"erasure/{c}/{e}": ("floor", "before", "random") for c in columns for e in erasers if metrics[f"erasure/kept/{e}"] > 0
    }
    judged = [e for e in erasers if f"cleaned/rank/{e}" in metrics]
    keys |= {f"cleaned/{c}/{e}": ("floor",) for c in (*columns, "pose_mlp", "pair") for e in judged}
    keys |= {f"single/{c}/{row}": ("floor",) for c in (*columns, "pose_mlp", "pair") for row in (*rows, *judged)}
    keys |= {"dci/disentanglement": (), "dci/completeness": ()}
    keys |= {f"ladder/{name}": ("null",) if name in ("group_law", "inverse") else () for name in
             ("group_law", "inverse", "neutral", "motion")}  # fmt: skip
    for key, beside in keys.items():
        for name in (key, *(f"{key}/{other}" for other in beside)):
            assert math.isfinite(metrics[name]), name
        assert intervals[f"{key}/low"] <= intervals[f"{key}/high"], key
    for e in erasers:
        assert 0 < metrics[f"erasure/change/{e}"] <= 1.01 and metrics[f"erasure/rank/{e}"] >= 0
    assert all(isinstance(value, float) for value in metrics.values())
    assert set(result.erasers) == set(erasers)


def test_they_say_what_is_known_to_be_true(result):
    metrics = result.metrics
    largest = max({key.split("@")[1].split("/")[0] for key in metrics if key.startswith("ladder/identity@")}, key=int)
    assert metrics[f"ladder/identity@{largest}/inv"] > 0.8
    assert metrics[f"ladder/linear@{largest}/equi"] > 0.7 > metrics[f"ladder/identity@{largest}/equi"]
    assert metrics["ladder/group_law"] < 1e-5 < 0.3 < metrics["ladder/motion"]  # the predictor is exact
    assert metrics["ladder/conditional/equi"] > metrics["ladder/conditional/equi/shuffled"] + 0.3
    assert metrics["ladder/orbit_share/equi"] > metrics["ladder/orbit_share/inv"] + 0.3
    assert metrics["leakage/leak_pose/pose_linear"] < 0.15
    assert metrics["leakage/pose_left/pose_linear/leace"] < 0.1
    assert metrics["leakage/pose_linear/raw"] > 0.5 > metrics["leakage/pose_linear/random_init"]
    assert metrics["erasure/pose_linear/leace-rotation"] < 0.1 < 0.8 < metrics["erasure/pose_linear/leace-rotation/before"]
    assert metrics["dci/disentanglement"] > 0.7
    assert metrics["cleaned/pose_linear/leace-rotation"] < 0.1 < 0.5 < metrics["leakage/pose_linear/all"]
    assert metrics["cleaned/class_linear/inlp"] > 0.5  # what is left is the class
    assert metrics["lie/ratio"] < 1  # noise is not steered


def test_frames_alone_are_judged_by_what_they_alone_show(result):
    """For stills it is what the clip says, to the bit; where the clip is around a frame it is asked anew, of the frame."""
    for key in ("class_linear/inv", "pair/equi", "pose_kernel/inlp", "pose_mlp/leace"):
        family = "cleaned" if key.endswith("inlp") else "leakage"
        assert result.metrics[f"single/{key}"] == result.metrics[f"{family}/{key}"]
    mixed = [dataclasses.replace(f, image=shuffled(f).image) for f in pair(objects=16, frames=4)]  # alone, nothing is known
    found = suite.evaluate(*mixed, protocols=["leakage", "single"], probe_steps=120, progress=False).metrics
    assert found["leakage/pose_linear/equi"] > 0.5 > 0.1 > found["single/pose_linear/equi"]
    assert found["leakage/class_linear/inv"] > 0.8 > 0.6 > found["single/class_linear/inv"]
    assert (
        "single/pose_linear/inlp" in found and found["single/class_linear/all/floor"] == found["leakage/class_linear/all/floor"]
    )


def test_samples_give_the_scores_that_were_printed(result):
    """What is kept per object is what the measures were made of."""
    families = {key.split("/")[0] for key in result.samples}
    assert {"ladder", "leakage", "cleaned"} <= families
    for key, sample in result.samples.items():
        assert sample.value == pytest.approx(result.metrics[key], abs=1e-5), key
        low, high = (result.intervals[f"{key}/{end}"] for end in ("low", "high"))
        draws = sample.replicates(bootstrap.draw(len(sample.names), seed=0))
        np.testing.assert_allclose(np.percentile(draws, [2.5, 97.5]), (low, high), atol=1e-5, err_msg=key)


def test_without_a_predictor_and_with_one_part_it_says_what_is_left_out():
    train, test = pair(objects=16, frames=4)
    found = suite.evaluate(train, test, protocols=["ladder", "lie"], progress=False)
    assert "ladder/group_law" not in found.metrics and found.metrics["lie/ratio"] == 1
    whole = [dataclasses.replace(f, invariant_dim=f.image.shape[-1]) for f in (train, test)]
    found = suite.evaluate(*whole, protocols=["dci", "lie"], progress=False)
    assert any("dci skipped" in note for note in found.notes) and any("lie skipped" in note for note in found.notes)


def test_where_every_clip_has_a_pose_frame_of_its_own_no_pose_of_a_frame_is_asked_or_erased():
    """As estimated motion is: the pose at the first frame is no rotation, whatever the object's is."""

    def own(data):
        poses = torch.from_numpy(data.poses)
        poses = (poses @ pose.inverse(poses[:, :1])).numpy()
        return dataclasses.replace(data, poses=poses, orbits=np.arange(len(data.objects)))

    train, test = (own(data) for data in pair(motion="tumble", frames=4))
    assert set(erasure.standard_set(train, rounds=1)) == {"orbit"}
    names = ("leakage", "cleaned", "single", "erasure", "dci")
    result = suite.evaluate(train, test, protocols=names, probe_steps=20, progress=False)
    words = {word for key in result.metrics for word in key.split("/")[1:3]}
    assert words >= {"pair", "orbit", "class_linear"} and set(result.erasers) == {"orbit"}
    assert not {word for word in words if word.startswith(("pose_linear", "pose_kernel", "pose_mlp", "leace", "inlp", "rasa"))}
    assert [note for note in result.notes if "pose frame of its own" in note] == [
        audit.LOOSE, "dci skipped: every clip has a pose frame of its own, in which rotation is no factor of the object's views"
    ]  # fmt: skip
    assert "pair R2" in terminal(result.metrics)


@pytest.mark.parametrize("name", ["seis", "ladder", "layers"])
def test_one_posed_frame_an_object_has_no_motion_and_is_a_line(name):
    train, test = pair(clips=1, frames=1, motion="tumble")
    encoder = torch.nn.Module()
    encoder.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Tanh())
    live = Live(encoder=encoder, train=[], test=[], window=(1, 1))
    result = suite.evaluate(train, test, protocols=["classification", name], live=live, probe_steps=5, progress=False)
    assert f"{name} cut short: no object has two frames" in result.notes and "classification/top1/all" in result.metrics


def test_without_an_orbit_the_other_erasers_are_judged():
    train, test = pair(clips=1, frames=1, motion="tumble")
    result = suite.evaluate(train, test, protocols=["erasure", "single"], probe_steps=5, progress=False)
    assert {"leace-rotation", "leace-basis", "linear", "inlp", "rasa"} == set(result.erasers)
    for key in ("erasure", "single"):
        assert f"{key}/class_linear/leace-rotation" in result.metrics, key
    assert result.notes.count("no orbit removal: the latents do not vary within objects") == 1
