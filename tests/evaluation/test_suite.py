from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, all_deltas, features, random_rotations, three_die_bench
from vsie import pose
from vsie.data import geodesic_path
from vsie.evaluation import suite

PARTS = ("inv", "equi", "all")


def pair(**options):
    options = {"objects": 24, "clips": 2, "frames": 10, "noise": 0.3} | options
    return features(seed=1, **options), features(seed=2, first_object=1000, **options)


def shuffled(data):
    """Features without meaning: what a random encoder could be at worst."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=data.image.shape).astype(np.float32)
    return dataclasses.replace(data, image=noise, clip=noise)


@pytest.fixture(scope="module")
def result():
    train, test = pair()
    return suite.evaluate(
        train, test, steering=BlockSteering(), training_deltas=all_deltas(train), random_init=(shuffled(train), shuffled(test)),
        probe_steps=60, progress=False,
    )  # fmt: skip


def test_every_key_of_the_issue_is_there_with_its_floor(result):
    keys = [f"classification/{m}/{p}" for m in ("top1", "top5", "knn", "clip_top1") for p in PARTS]
    pose_measures = ("geodesic_median_deg", "geodesic_mean_deg", "acc@15", "acc@30", "r2", "r2_sie")
    keys += [f"pose/{m}/{p}" for m in pose_measures for p in PARTS]
    keys += [f"steering/{m}" for m in ("mrr", "hit@1", "hit@5", "pre")]
    track_measures = ("rpe_deg@1", "rpe_deg@2", "rpe_deg@4", "rpe_deg@8", "drift_deg", "closed_loop_deg")
    keys += [f"tracking/{t}/{m}" for t in ("probe", "inversion") for m in track_measures]
    for key in keys:
        assert math.isfinite(result.metrics[key]), key
        assert math.isfinite(result.metrics[f"{key}/floor"]), key
        low, high = result.intervals[f"{key}/low"], result.intervals[f"{key}/high"]
        assert low <= high and low - 1e-6 <= result.metrics[key] * (1 + 1e-6) + 1e-6, key
    for key in ("classification/top1/inv", "pose/r2/equi", "tracking/probe/rpe_deg@1"):
        assert math.isfinite(result.metrics[f"{key}/random_init"])
    for key in ("pose/geodesic_median_deg/equi", "steering/mrr", "tracking/inversion/drift_deg"):
        assert math.isfinite(result.metrics[f"{key}/identity"])
    assert all(isinstance(value, float) for value in result.metrics.values())


def test_a_random_encoder_that_is_remembered_is_not_measured_again(result, monkeypatch):
    train, test = pair()
    random, known = (shuffled(train), shuffled(test)), {}

    def remembered(key, measure):
        if key not in known:
            known[key] = measure()
        return known[key]

    options = dict(
        steering=BlockSteering(), training_deltas=all_deltas(train), random_init=random, remembered=remembered, progress=False,
        protocols=["classification", "pose", "tracking", "rotation", "ladder"], probe_steps=60,
    )  # fmt: skip
    before = suite.evaluate(train, test, **options)
    assert {key.split("/")[0].split("@")[0] for key in known} == {"classification", "pose", "tracking", "rotation", "ladder"}
    assert all(f"seed 0, 60 steps, body frame, measures {suite.VERSION}" in key for key in known)
    for key in (k for k in result.metrics if k.endswith("/random_init")):
        assert before.metrics[key] == result.metrics[key], key
    after = suite.evaluate(train, test, **options | {"random_init": (train, test)})  # whoever asks these hears of the truth
    assert after.metrics.keys() == before.metrics.keys()
    for key, value in before.metrics.items():
        assert after.metrics[key] == value or math.isnan(value), key


def test_it_says_what_is_known_to_be_true(result):
    metrics = result.metrics
    assert metrics["classification/top1/inv"] > 0.9 > 0.6 > metrics["classification/top1/equi"]
    assert metrics["classification/top1/inv/random_init"] < 0.5
    floor = metrics["pose/geodesic_median_deg/equi/floor"]
    assert metrics["pose/geodesic_median_deg/equi"] < 0.35 * floor
    assert metrics["pose/geodesic_median_deg/inv"] > 0.7 * floor
    assert metrics["pose/geodesic_median_deg/inversion"] < 0.3 * floor
    assert metrics["steering/hit@1"] > 4 * metrics["steering/hit@1/floor"]
    assert metrics["tracking/inversion/drift_deg"] < 0.3 * metrics["tracking/inversion/drift_deg/floor"]
    assert result.arrays["tracking/true"].shape == result.arrays["tracking/inversion"].shape


def test_a_leak_into_the_invariant_part_is_seen():
    train, test = pair(leak=True, frames=6)
    metrics = suite.evaluate(train, test, protocols=["pose"], probe_steps=90, progress=False).metrics
    assert metrics["pose/geodesic_median_deg/inv"] < 0.6 * metrics["pose/geodesic_median_deg/inv/floor"]


def test_without_labels_and_without_predictor_it_says_what_is_left_out():
    train, test = (dataclasses.replace(f, labels=np.full_like(f.labels, -1)) for f in pair(objects=8, frames=4))
    found = suite.evaluate(train, test, probe_steps=5, progress=False)
    assert any("classification skipped" in note for note in found.notes)
    assert any("identity predictor" in note for note in found.notes)
    assert not any(key.startswith(("classification", "tracking/inversion")) for key in found.metrics)
    assert found.metrics["steering/mrr"] == pytest.approx(found.metrics["steering/mrr/floor"], abs=1e-6)
    assert "tracking/probe/rpe_deg@1" in found.metrics


def test_single_frames_and_missing_parts_are_no_crash():
    train, test = pair(objects=8, clips=4, frames=1)
    found = suite.evaluate(train, test, steering=BlockSteering(), probe_steps=5, progress=False)
    assert any("tracking skipped" in note for note in found.notes) and "steering/mrr" in found.metrics
    whole = [dataclasses.replace(f, invariant_dim=f.image.shape[-1]) for f in pair(objects=8, frames=4)]
    found = suite.evaluate(*whole, steering=BlockSteering(), probe_steps=5, protocols=["classification", "pose"], progress=False)
    assert any("no equivariant part" in note for note in found.notes) and "steering/mrr" not in found.metrics
    assert "pose/r2/inv" in found.metrics and "pose/r2/equi" not in found.metrics
    found = suite.evaluate(*whole, probe_steps=5, progress=False)
    assert any("nothing is steered" in note for note in found.notes) and "steering/mrr" not in found.metrics
    assert "pose/r2/inv" in found.metrics and "pose/r2/equi" not in found.metrics


def test_a_frame_of_the_wrong_kind_and_unknown_protocols_are_refused():
    train, test = pair(objects=4, frames=3)
    with pytest.raises(ValueError, match="camera frame"):
        suite.evaluate(train, test, steering=BlockSteering(frame="camera"))
    with pytest.raises(ValueError, match="unknown protocol poses; there are classification, rotation, colour, pre, mrr, pose"):
        suite.evaluate(train, test, protocols=["poses"])


def test_shared_objects_collapse_and_nan_are_named():
    train, test = pair(objects=4, frames=3)
    with pytest.raises(ValueError, match="4 objects are in train and in test"):
        suite.evaluate(train, dataclasses.replace(test, objects=train.objects))
    flat = test.clip.copy()
    flat[..., test.invariant_dim :] = 0.3
    with pytest.raises(ValueError, match=r"test features, part equi \(clip\) have collapsed.*rank 0"):
        suite.evaluate(train, dataclasses.replace(test, clip=flat))
    bad = train.image.copy()
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"train features, part inv \(image\): 1 of 24 rows are not finite"):
        suite.evaluate(dataclasses.replace(train, image=bad), test)
    bent = test.poses.copy()
    bent[3, 1, 0, 0] += 0.5
    with pytest.raises(ValueError, match="clip_3.mp4, frame 1: the pose's rotation"):
        suite.evaluate(train, dataclasses.replace(test, poses=bent))
    lost = test.poses.copy()
    lost[2, 2, 1, 3] = np.nan
    with pytest.raises(ValueError, match="clip_2.mp4, frame 2: the pose's .*, or its translation not finite"):
        suite.evaluate(train, dataclasses.replace(test, poses=lost))
    with pytest.raises(ValueError, match="random_init's test features"):
        suite.evaluate(train, test, random_init=(train, train))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("poses", np.zeros((3, 3, 3, 3)), r"features.poses has shape \(3, 3, 3, 3\), expected \(8, 3, 4, 4\)"),
        ("labels", np.zeros(5, int), r"features.labels has shape \(5,\), expected \(8,\)"),
        ("image", np.zeros((8, 3)), r"expected \(clips, frames, dims\)"),
        ("paths", ["a"], "features.paths has 1 entries, expected 8"),
        ("invariant_dim", 99, "invariant_dim is 99"),
    ],
)
def test_shapes_are_checked(field, value, message):
    train, _ = pair(objects=4, frames=3)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(train, **{field: value})


def test_parts_and_views():
    data, _ = pair(objects=4, clips=3, frames=5)
    assert data.part("inv").shape[-1] + data.part("equi", "clip").shape[-1] == data.part("all").shape[-1]
    with pytest.raises(ValueError, match="expected one of inv, equi, all"):
        data.part("pose")
    with pytest.raises(ValueError, match="expected one of image, clip"):
        data.part("inv", "video")
    views = data.views(8)
    assert [len(view) for view in views] == [8] * 4
    assert all(len(np.unique(view)) == 8 for view in views)
    assert all(len(np.unique(view // 5)) == 3 for view in views)  # all clips are in it
    np.testing.assert_array_equal(np.sort(np.concatenate(data.views())), np.arange(60))


def test_a_method_that_is_not_linear_has_every_key_of_one_that_is():
    """The whole latent, steered by forward passes alone: all of steering and inversion is there, and right."""

    class Direct(BlockSteering):
        linear, part = False, "all"

        def embed(self, latents):
            return latents[..., 8:]

        def steer(self, embedded, delta):
            return (embedded.unflatten(-1, (-1, 3)) @ delta[..., :3, :3]).flatten(-2)

        def expand(self, embedded):
            raise AssertionError("it has none")

    train, test = pair(objects=6, frames=4)
    protocols = dict(protocols=["pose", "tracking"], probe_steps=3, progress=False)
    expected = suite.evaluate(train, test, steering=BlockSteering(), **protocols).metrics
    found = suite.evaluate(train, test, steering=Direct(), **protocols).metrics
    assert found.keys() == expected.keys()
    for key in ("steering/mrr", "steering/hit@1", "steering/pre"):
        assert found[key] == pytest.approx(expected[key], abs=1e-6)
    for key in ("pose/geodesic_median_deg/inversion", "tracking/inversion/rpe_deg@1", "tracking/inversion/drift_deg"):
        assert found[key] == pytest.approx(expected[key], abs=0.3)


ALL = ["classification", "pose", "tracking", "leakage", "cleaned", "single", "ladder", "erasure", "seis", "dci", "aggregate"]


def test_where_nothing_moves_the_class_is_judged_all_the_same():
    train, test = pair(objects=12, frames=4)
    still = [dataclasses.replace(data, poses=np.tile(np.eye(4), (*data.poses.shape[:2], 1, 1))) for data in (train, test)]
    result = suite.evaluate(*still, steering=BlockSteering(), protocols=ALL, probe_steps=3, progress=False)
    assert "classification/top1/inv" in result.metrics and "leakage/class_linear/inv" in result.metrics
    assert not any("inversion" in key for key in result.metrics)
    said = " ".join(result.notes)
    assert said.count("the predictor is not inverted: all training deltas are the identity") == 1 and "erasure cut short" in said


def test_a_part_of_one_direction_is_named_and_the_others_are_judged():
    found = []
    for data in pair(objects=12, frames=6):
        values, edge = data.clip.copy(), data.invariant_dim
        values[..., edge:] = values[..., edge : edge + 1] * np.linspace(1, 2, values.shape[-1] - edge, dtype=np.float32)
        found.append(dataclasses.replace(data, clip=values, image=values))
    result = suite.evaluate(*found, protocols=ALL, probe_steps=3, progress=False)
    said = " ".join(result.notes)
    assert "ladder skipped: part equi" in said and "the row equi has collapsed" in said and "seis@" in said
    asked = ("ladder/identity", "seis/equiv@", "leakage/pose_linear", "single/pair")
    keys = [key for key in result.metrics if key.startswith(asked)]
    assert any(key.endswith("/inv") for key in keys) and not any(key.endswith("/equi") for key in keys)


def seen(data, monkeypatch, frames):
    """The frames per object that probes see of train features, where they see about so many in all."""
    monkeypatch.setattr(suite, "PROBE_FRAMES", frames)
    return suite._Task(data, data, None, None, None, "body", 0, 1, None, suite.Result()).groups()


def test_probes_see_evenly_many_views_of_all_objects_or_enough_of_some(monkeypatch):
    data = features(objects=10, clips=2, frames=20)
    for group, whole in zip(seen(data, monkeypatch, 200), data.views(20), strict=True):
        np.testing.assert_array_equal(group, whole)
    some = seen(data, monkeypatch, 100)
    assert [len(np.unique(group)) for group in some] == [16] * 6
    assert not all(group[0] % 40 == 0 and group[-1] % 40 == 39 for group in some)  # not always the ends
    few = features(objects=10, clips=1, frames=8)
    for group, whole in zip(seen(few, monkeypatch, 100), few.views(), strict=True):
        np.testing.assert_array_equal(group, whole)


def test_floors_of_very_many_objects_are_those_of_all_their_views(monkeypatch):
    """3DIEBench's views along their path, two for each object: its ends are farther apart than its views are."""
    sets = [three_die_bench(objects=n, dim=2, first_object=first, seed=first) for n, first in ((120, 0), (40, 1000))]
    for i, data in enumerate(sets):
        order = geodesic_path.shortest(data.poses[..., :3, :3])
        sets[i] = dataclasses.replace(data, invariant_dim=0, poses=np.take_along_axis(data.poses, order[..., None, None], 1))
    monkeypatch.setattr(suite, "PROBE_FRAMES", 240)
    found = suite.evaluate(*sets, protocols=["pose"], probe_steps=1, progress=False).metrics
    assert found["pose/r2_sie/all/floor"] == pytest.approx(0.229, abs=0.04)
    assert found["pose/geodesic_median_deg/all/floor"] == pytest.approx(109.8, abs=5)


class Translated(BlockSteering):
    """A predictor that is told of translations too."""

    def coefficients(self, delta):
        return torch.cat([super().coefficients(delta), delta[..., :3, 3]], -1)

    def expand(self, embedded):
        products = super().expand(embedded)
        return torch.cat([products, torch.zeros_like(products[..., :3, :])], -2)


@pytest.mark.parametrize("given", [True, False])
def test_a_predictor_that_is_told_of_translations_is_judged_but_not_inverted(given):
    rng, sets = np.random.default_rng(0), []
    for data in pair(objects=6, frames=4):
        poses = data.poses.copy()
        poses[..., :3, 3] = rng.normal(size=poses[..., :3, 3].shape)
        sets.append(dataclasses.replace(data, poses=poses))
    deltas = all_deltas(sets[0]) if given else None
    found = suite.evaluate(*sets, steering=Translated(), training_deltas=deltas, probe_steps=3, progress=False)
    assert {"classification/top1/inv", "pose/r2/equi", "steering/mrr", "tracking/probe/drift_deg"} <= found.metrics.keys()
    assert not any("inversion" in key for key in found.metrics)
    assert sum("the predictor is not inverted: the steering depends on the deltas' translation" in n for n in found.notes) == 1


def test_single_frames_of_objects_are_judged_by_their_class():
    train, test = pair(objects=40, clips=1, frames=1)
    found = suite.evaluate(train, test, steering=BlockSteering(), probe_steps=3, progress=False)
    assert found.metrics["classification/top1/inv"] > 0.9 and not any(key.startswith("pose/") for key in found.metrics)
    assert any("pose cut short: pose is measured on pairs of frames of one object" in note for note in found.notes)
    found = suite.evaluate(train, test, protocols=["classification", "rotation"], compat="sie", epochs=1, progress=False)
    assert "compat_sie/classification/top1/inv" in found.metrics and any("rotation skipped" in note for note in found.notes)


class Camera(BlockSteering):
    """Rows ``m R^T``, which a camera delta multiplies from the left."""

    def coefficients(self, delta):
        return super().coefficients(delta.mT)


def test_where_clips_have_no_common_frame_no_measure_depends_on_theirs():
    """Motion that is estimated clip by clip: whatever pose each clip is given to start from."""
    shared, metrics = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).double(), []
    protocols = ["pose", "tracking", "rotation", "mrr", "pre"]
    for gauge in (0, 1):
        sets = []
        for data in pair(objects=6, clips=2, frames=4, motion="tumble"):
            rotation = torch.from_numpy(data.poses[..., :3, :3])
            latents = np.concatenate([data.image[..., :8], (shared @ rotation.mT).flatten(-2).float().numpy()], -1)
            latents = latents + 0.3 * np.random.default_rng(int(data.objects[0])).normal(size=latents.shape).astype(np.float32)
            start = pose.rigid(random_rotations(len(data.objects), torch.Generator().manual_seed(gauge))).numpy()
            poses, orbits = data.poses @ start[:, None], data.objects * 2 + data.clips
            sets.append(dataclasses.replace(data, image=latents, clip=latents, poses=poses, orbits=orbits))
        found = suite.evaluate(
            *sets, steering=Camera(frame="camera"), frame="camera", protocols=protocols, probe_steps=3, progress=False
        )
        metrics.append(found.metrics)
        assert sum("no common frame" in note for note in found.notes) == 3
    same = [key for key in metrics[0] if not key.startswith(("pose/", "rotation/", "tracking/probe")) or "inversion" in key]
    assert {"steering/mrr", "mrr/mrr", "pose/acc@15/inversion", "tracking/inversion/drift_deg"} <= set(same)
    for key in same:
        assert metrics[0][key] == pytest.approx(metrics[1][key], abs=1e-4), key
    assert not any(name in key for key in metrics[0] for name in ("r2_sie", "r2_quaternion", "/pre"))
    assert "pose/r2/equi" in metrics[0] and "rotation/r2/equi" in metrics[0]


def test_as_sie_released_it_clips_of_their_own_frame_are_judged_by_their_class():
    sets = [dataclasses.replace(data, orbits=np.arange(len(data.objects))) for data in pair(objects=8, frames=3)]
    latents = np.random.default_rng(0).random((16, 3, 2))
    sets = [dataclasses.replace(data, latents=latents, latent_names=("floor_hue", "spot_hue")) for data in sets]
    asked = ["classification", "rotation", "colour", "mrr", "pre"]
    found = suite.evaluate(*sets, steering=BlockSteering(), protocols=asked, compat="sie", epochs=2, progress=False)
    assert {key.split("/")[1] for key in found.metrics} == {"classification", "colour", "mrr"}
    low, high = (found.intervals[f"compat_sie/colour/r2/all/{end}"] for end in ("low", "high"))
    assert low <= found.metrics["compat_sie/colour/r2/all"] <= high
    assert [note.split(" ")[0] for note in found.notes if "skipped" in note] == ["rotation", "pre"]
