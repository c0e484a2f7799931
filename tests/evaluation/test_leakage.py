from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import features
from vsie.evaluation import audit as audits
from vsie.evaluation import leakage
from vsie.evaluation.audit import Audit, Rows
from vsie.evaluation.classification import thin
from vsie.evaluation.leakage import matrix


def pair(**options):
    options = {"objects": 40, "clips": 2, "frames": 6, "motion": "tumble", "noise": 0.2} | options
    return features(seed=1, **options), features(seed=2, first_object=1000, **options)


def noise(data, seed):
    values = np.random.default_rng(seed).normal(size=data.image.shape).astype(np.float32)
    return dataclasses.replace(data, image=values, clip=values)


@pytest.fixture(scope="module")
def clean():
    train, test = pair()
    audit = Audit(train, test, pair_steps=60, mlp_steps=100)
    return matrix(audit, train, test, random_init=(noise(train, 1), noise(test, 2)))


def test_a_clean_split_has_no_leak(clean):
    leaks = {key: value for key, (value, _) in clean.leaks().items()}
    for probe in ("pose_linear", "pose_kernel", "pose_mlp", "pair"):
        assert leaks[f"leak_pose/{probe}"] < 0.15, probe
    assert leaks["leak_class/class_linear"] < 0.3
    assert leaks["utility/inv"] > 0.95 and leaks["utility/all"] == 1
    # Reduced to 8 dimensions, mostly pose, both parts together lose class; at full width they do not.
    assert clean.cells["whole"]["class_linear"].value > max(0.95, clean.cells["all"]["class_linear"].value)
    assert leaks["utility/random_init"] < 0.2
    assert leaks["pose_left/pose_linear/leace"] < 0.1 < 0.8 < leaks["pose_left/pose_linear/equi"]


def test_every_cell_has_floor_control_and_interval(clean):
    values, intervals = clean.metrics()
    for row in ("inv", "equi", "all", "random_init", "leace"):
        for column in ("class_linear", "class_knn", "pose_linear", "pose_kernel", "pose_mlp", "pair"):
            key = f"leakage/{column}/{row}"
            assert math.isfinite(values[key]) and math.isfinite(values[f"{key}/floor"])
            assert intervals[f"{key}/low"] <= values[key] <= intervals[f"{key}/high"]
            if column in ("pose_linear", "pose_kernel"):
                assert values[f"{key}/shuffled"] < values[f"{key}/floor"] + 0.1, key
            elif column.startswith("class"):
                assert values[f"{key}/shuffled"] < 0.75
        assert values[f"leakage/pair_median_deg/{row}"] > 0 and values[f"leakage/pair_median_deg/{row}/floor"] > 60
        assert values[f"leakage/rank/{row}"] > 1
    assert values["leakage/width"] == 8  # the narrower part


def test_leaks_are_ratios_above_the_floor(clean):
    cell, whole = clean.cells["inv"]["pose_linear"], clean.cells["all"]["pose_linear"]
    value, (low, high) = clean.relative("inv", "pose_linear")
    assert value == pytest.approx((cell.value - cell.floor) / (whole.value - whole.floor)) and low <= value <= high
    flat = dataclasses.replace(clean, cells={"all": {"x": dataclasses.replace(whole, floor=whole.value)}})
    assert math.isnan(flat.relative("all", "x")[0])


def test_a_leak_is_seen_by_every_probe():
    train, test = pair(leak=True)
    audit = Audit(train, test, pair_steps=60, mlp_steps=100)
    leaks = matrix(audit, train, test, shuffled=False).leaks()
    for probe in ("pose_linear", "pose_kernel", "pose_mlp", "pair"):
        value, (low, high) = leaks[f"leak_pose/{probe}"]
        assert value > 0.5 and low <= value <= high, probe


def test_rows_are_matched_in_width():
    generator = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(300, 20, generator=generator) * 100, torch.randn(50, 20, generator=generator))
    for match, width in (("pca", 5), ("random", 5), ("none", 20)):
        assert leakage.reduced(rows, 5, match).train.shape == (300, width)
    low = torch.randn(300, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    kept = leakage.reduced(Rows(low, low), 3)
    whole = audits.standardised(Rows(low, low)).train
    torch.testing.assert_close(kept.train @ kept.train.mT, whole @ whole.mT, atol=1e-3, rtol=1e-3)  # nothing was lost
    with pytest.raises(ValueError, match="match is 'best', expected one of pca, random, none"):
        leakage.reduced(rows, 5, "best")


def test_a_collapsed_row_is_left_out_by_name_and_a_collapsed_latent_refused():
    train, test = pair(objects=12)
    values = train.clip.copy()
    values[..., : train.invariant_dim] = 0.5
    audit = Audit(train, test, pair_steps=5, mlp_steps=5)
    found = matrix(audit, dataclasses.replace(train, clip=values), test, shuffled=False)
    assert "inv" not in found.cells and "the row inv has collapsed" in found.left_out["inv"]
    assert found.width == train.image.shape[-1] - train.invariant_dim and "pose_left/pair/equi" in found.leaks()
    with pytest.raises(ValueError, match="the row all has collapsed"):
        matrix(audit, dataclasses.replace(train, clip=np.full_like(values, 0.5)), test)


def test_of_many_objects_some_are_asked_about_several_frames_each():
    """Pairs are there however many objects there are, and no more frames are looked at."""
    train, test = pair(objects=90, frames=4)
    few = Audit(train, test, train_frames=100, test_frames=60)
    assert few.paired and [len(chosen) for chosen in few.chosen] == [100, 60]
    for objects in few.objects:
        assert set(np.unique(objects, return_counts=True)[1]) == {audits.VIEWS}
    assert few.objects[0][0] == train.objects[0] and few.objects[0][-1] == train.objects[-1]
    enough = Audit(train, test, train_frames=720, test_frames=400)
    assert [len(chosen) for chosen in enough.chosen] == [720, 360]  # 8 and 4 of each: all objects are there
    single = thin(train, 45)
    assert len(single) == 45 and len(np.unique(single % 8)) > 3  # not the first frame of all


def test_pairs_lie_within_orbits_and_intervals_are_over_objects():
    train, test = pair(objects=12)
    audit = Audit(*(dataclasses.replace(f, orbits=np.arange(len(f.objects))) for f in (train, test)))
    source, target = (audit.chosen[1][audit._pairs[key].numpy()] // test.frames for key in ("source", "target"))
    assert (source == target).all()  # within clips
    assert len(audit.names) == 12 and len(audit._pairs["groups"]) == 24
    across = Audit(train, test)
    source, target = (across.chosen[1][across._pairs[key].numpy()] // test.frames for key in ("source", "target"))
    assert (source != target).any()


def test_light_and_floor_are_columns_where_they_are_known():
    train, test = pair(objects=30)
    found = []
    for data in (train, test):
        rng = np.random.default_rng(len(found))
        turn = np.broadcast_to(rng.random((len(data.labels), 1)), data.image.shape[:2])
        latents = np.stack([turn, 0 * turn + 0.5, 6 * turn], -1)
        values = np.concatenate(
            [np.cos(2 * np.pi * turn)[..., None], np.sin(2 * np.pi * turn)[..., None], data.clip[..., 2:]], -1
        )
        names = ("floor_hue", "spot_theta", "spot_phi")
        found.append(dataclasses.replace(data, clip=values.astype(np.float32), latents=latents, latent_names=names))
    audit = Audit(*found)
    assert set(audit.scenes) == {"floor_hue", "spot_direction"}
    columns = audit.columns(audit.rows(*found, "inv"), pair=False, mlp=False)
    assert columns["floor_hue"].value > 0.9
    assert audit.columns(audit.rows(*found, "equi"), pair=False, mlp=False)["floor_hue"].value < 0.2
    assert audits.scene_targets(train, np.arange(3)) == {}


def test_probes_equal_known_answers():
    """A ridge without noise, and a target that only a nonlinear probe can tell."""
    generator = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(1500, 4, generator=generator), torch.randn(400, 4, generator=generator))
    objects = np.arange(1500) // 10

    def targets(function):
        return function(rows.train).double(), function(rows.test).double()

    def r2(predicted, wanted):
        return 1 - float((predicted - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())

    wanted, true = targets(lambda x: x[:, :2] @ torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + 5)
    assert r2(audits.linear_prediction(rows, wanted), true) > 0.999
    assert r2(audits.kernel_prediction(rows, wanted, objects), true) > 0.97
    assert r2(audits.mlp_prediction(rows, wanted, objects), true) > 0.97
    wanted, true = targets(lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 2].square()], 1))
    assert r2(audits.linear_prediction(rows, wanted), true) < 0.05
    assert r2(audits.kernel_prediction(rows, wanted, objects), true) > 0.8
    assert r2(audits.mlp_prediction(rows, wanted, objects), true) > 0.8
    for few in (1, 4, 10):
        assert audits.mlp_prediction(rows, wanted, objects, steps=few).isfinite().all()
