"""What a run is told of motion, from options to metrics: checks, hold-out, marks, and the whole job on bare videos."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vsie import pipeline, pose, told
from vsie.config import compose, to_plain
from vsie.data import ClipsDataset, load
from vsie.evaluation import inversion, suite
from vsie.evaluation.suite import Result
from vsie.feature_set import load_features
from vsie.model import build_method
from vsie.report import tables

TINY = [
    "encoder.widths=[8,16]", "encoder.depths=[1]", "encoder.dim=32", "encoder.mixing=0", "method.projector_width=32",
    "data.windows=2", "data.spacing=[1,2]", "trainer.batch=4", "trainer.precision=32-true", "trainer.log_steps=1", "threads=1",
]  # fmt: skip


def config(*overrides: str):
    return compose("train", [*TINY, *overrides])


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten turntable clips of 10 frames at 64 px, with poses; and the same videos without anything in a folder."""
    from vsie.render.dataset import render_dataset

    folder = tmp_path_factory.mktemp("told")
    manifest = render_dataset(
        out=folder / "posed", objects=10, clips_per_object=1, frames=10, size=64, trajectory="turntable", seed=0, workers=1,
        families=["car", "chair"], val_fraction=0.3, supersample=1, progress=False,
    )  # fmt: skip
    (folder / "plain").mkdir()
    for number, video in enumerate(sorted((folder / "posed").rglob("*.mp4"))):
        shutil.copy(video, folder / "plain" / f"{number}.mp4")
    return manifest.parent, folder / "plain"


@pytest.mark.parametrize("overrides, says", [
    (["conditioning.frame=body"], "found conditioning.frame=body, expected conditioning.frame=camera"),
    (["data=3diebench"], "found data.layout=3diebench, whose views are in no order"),
    (["motion.source=guessed"], "motion.source is 'guessed', expected one of known, estimated"),
    (["motion.noise_deg=100"], "motion.noise_deg is 100"),
    (["data.held_out=1.5"], "data.held_out is 1.5"),
])  # fmt: skip
def test_motion_that_does_not_fit_is_refused_before_anything_is_read(overrides, says):
    made = config("motion=estimated", *overrides)
    with pytest.raises(ValueError, match=says):
        told.check(made, build_method(to_plain(made)))


def test_estimators_have_to_be_chosen_and_methods_to_weigh():
    made = config("motion.source=estimated", "conditioning.frame=camera")
    method = build_method(to_plain(made))
    with pytest.raises(ValueError, match="choose motion=estimated"):
        told.check(made, method)
    method.weighs = False
    with pytest.raises(ValueError, match="vsie cannot weigh what it is told"):
        told.check(config("motion=estimated"), method)
    told.check(config(), method)


def test_the_default_job_is_told_the_poses_and_its_folder_has_its_old_name():
    made = config()
    assert made.motion == type(made.motion)() and made.flow is None and made.egomotion is None
    assert made.data.clips_per_item is None and made.data.held_out == 0 and made.conditioning.frame == "body"
    assert pipeline.run_folder(made).name == "vsie-turntable64-T2-seed0"
    other = config("motion=estimated", "motion.noise_deg=10", "motion.shuffled=true")
    assert pipeline.run_folder(other).name == "vsie-turntable64-T2-estimated-noise10-shuffled-seed0"
    assert config("motion=shuffled").motion.shuffled and config("motion=shuffled").motion.source == "known"


def test_holding_out_takes_whole_objects_and_leaves_a_split_that_is_there(videos):
    bare = load(videos[1])
    parts = told.hold_out(bare, 0.2)
    assert len(parts.rows("val")) == 2 and len(parts.rows("train")) == 8
    np.testing.assert_array_equal(parts.split, told.hold_out(bare, 0.2).split)
    assert told.hold_out(bare, 0.0) is bare
    posed = load(videos[0])
    assert told.hold_out(posed, 0.2) is posed
    together = dataclasses.replace(bare, object=bare.object // 2, objects=bare.objects[:5])
    held = told.hold_out(together, 0.3)
    assert {int(o) for o in held.object[held.rows("val")]}.isdisjoint(held.object[held.rows("train")].tolist())
    assert len(held.rows("val")) == 4


def test_measures_against_estimated_motion_are_marked_in_keys_and_table():
    result = Result()
    result.add("classification/top1/all", 0.5, (0.4, 0.6), floor=0.1)
    result.add("steering/mrr", 0.5, (0.4, 0.6), floor=0.13)
    result.add("collapse/rankme/all", 9.0)
    told.marked(result, ["a line"])
    assert set(result.metrics) == {"classification/top1/all", "classification/top1/all/floor", "collapse/rankme/all",
                                   "estimated/steering/mrr", "estimated/steering/mrr/floor"}  # fmt: skip
    assert {"classification/top1/all/low", "estimated/steering/mrr/high"} <= set(result.intervals)
    assert result.truth == "estimated motion" and result.notes[-1] == "a line" and "keys estimated/" in result.notes[0]
    lines = tables.terminal(result.metrics).splitlines()
    assert "steering, against estimated motion" in lines and "steering" not in lines
    both = tables.compare({"one": [result.metrics], "other": [{"steering/mrr": 0.7}]})
    assert "| MRR among the object's views | - | 0.700 |" in both
    assert "| MRR among the object's views, against estimated motion | 0.500 | - | 0.130 |" in both


@pytest.mark.parametrize(("errors_deg", "axis_deg", "kept"), [(5, 0, False), (0, 0, False), (40, 0, True), (2, 45, True)])
def test_motion_is_looked_for_about_one_axis_where_only_errors_are_off_it(errors_deg, axis_deg, kept):
    generator = torch.Generator().manual_seed(0)
    turn = 4 * torch.rand(500, 1, generator=generator, dtype=torch.float64) - 2
    tilt = math.radians(axis_deg) * torch.randn(500, generator=generator, dtype=torch.float64)
    axes = torch.stack([tilt.sin(), torch.zeros(500), tilt.cos()], 1)
    error = pose.exp(math.radians(errors_deg) * torch.randn(500, 3, generator=generator, dtype=torch.float64))
    deltas = pose.rigid(pose.exp(turn * axes) @ error)
    still = torch.eye(4).expand(3, 4, 4)
    assert torch.equal(told.without_errors(still), still)
    found = told.without_errors(deltas)
    if kept:
        assert torch.equal(found, deltas)
        return
    vectors = pose.log(found[:, :3, :3])
    axis = inversion.main_axis(vectors)
    assert axis is not None and abs(float(axis[2])) > 0.999
    assert (vectors[:, 2] - turn[:, 0]).abs().median() < math.radians(errors_deg) + 1e-6
    assert torch.equal(found[:, :3, 3], deltas[:, :3, 3])


def test_trust_decides_which_training_deltas_there_are(videos):
    from vsie.data import WindowsDataset

    class Half:
        """Half of the clips are known; in the others nothing is."""

        def poses(self, row, frames):
            turns = torch.arange(frames)[:, None] * torch.tensor([0.0, 0.1 if row % 2 else 1.0, 0.0], dtype=torch.float64)
            from vsie import pose

            return pose.rigid(pose.exp(turns)).numpy()

        def trust(self, rows, first, last, rotations):
            known = torch.from_numpy(rows % 2 == 1).float()
            return known[:, :, None] * known[:, None]

    from vsie import pose

    dataset = WindowsDataset(load(videos[1]), "train", windows=2, frames=2, spacing=(1, 2), motion=Half())
    source, target = pipeline.training_deltas(dataset, 64)
    angle = pose.geodesic(source, target)
    assert len(source) == 64 and float(angle.max()) < 1.0 and float((angle / 0.1 - (angle / 0.1).round()).abs().max()) < 1e-3
    turned = pipeline.training_deltas(dataset, 64, mirrored=1.0)
    assert all(torch.equal(own, pose.mirrored(other)) for own, other in zip(turned, (source, target), strict=True))
    some = pipeline.training_deltas(dataset, 64, mirrored=0.5)[0]
    assert 16 < sum(torch.equal(own, other) for own, other in zip(some, source, strict=True)) < 48
    whole = dataset.motion.trust
    blocks = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
    dataset.motion.trust = lambda rows, *given: blocks * whole(rows, *given)  # as of windows from different clips
    source, target = pipeline.training_deltas(dataset, 64)
    angle = pose.geodesic(source, target)
    assert len(source) == 64 and float(angle.max()) < 0.2 + 1e-3  # between the frames of a window
    stills = WindowsDataset(load(videos[1]), "train", windows=2, frames=1, motion=Half())
    stills.motion.trust = lambda rows, *given: torch.eye(2).expand(len(rows), 2, 2)  # of one frame there is no motion within
    with pytest.raises(ValueError, match="the motion between no two steps of a clip is known"):
        pipeline.training_deltas(stills, 8)
    dataset.motion.trust = lambda rows, *_: torch.zeros(*rows.shape, rows.shape[1])
    with pytest.raises(ValueError, match="the motion between no two steps of a clip is known"):
        pipeline.training_deltas(dataset, 8)


@pytest.mark.parametrize("lengths, stride, frames, kept", [
    ([5] * 10, 1, 5, (8, 2)), ([5] * 10, 8, None, None), ([5] * 3 + [17] * 7, 8, 16, (5, 2)), ([2] * 10, 1, None, None),
])  # fmt: skip
def test_clips_are_judged_that_have_two_steps_of_reliable_motion(videos, lengths, stride, frames, kept):
    manifest = load(videos[0])
    splits = {split: ClipsDataset(manifest, split) for split in ("train", "val")}
    order = np.concatenate([splits["train"].rows, splits["val"].rows])
    known = dict(zip(order.tolist(), lengths, strict=True))
    motion = SimpleNamespace(
        reliable=lambda row: (0, known[row]), folder="motion", poses=lambda row: np.full((known[row], 4, 4), scale)
    )
    scale = 1.0
    found, lines = told.judged(splits, motion, 1, stride)
    if frames is None:
        assert not found and all("no stretch of" in line for line in lines) and len(lines) == 2
    else:
        assert {len(numbers) for clips in found.values() for _, numbers in clips.places} == {frames}
        assert tuple(map(len, found.values())) == kept
        before, scale = found["train"].told, 2.0  # the same clips, estimated anew: what was kept of them is of no use
        again = told.judged(splits, motion, 1, stride)[0]["train"]
        assert again.told != before and [n.tolist() for _, n in again.places] == [n.tolist() for _, n in found["train"].places]


def test_estimated_poses_do_not_pass_for_known_ones(videos, tmp_path):
    from vsie.motion.estimate import estimate_manifest

    estimate_manifest(
        manifest=videos[1], out=tmp_path / "motion", flow={"name": "dis"}, egomotion={"name": "affine"}, size=32, progress=False
    )
    with pytest.raises(ValueError, match=r"holds estimated motion.* data.root=.*plain motion=estimated motion.cache=.*motion"):
        pipeline.open_data(config("data=videos", f"data.root={tmp_path / 'motion'}"))


@pytest.fixture()
def quick(monkeypatch, tmp_path):
    """An empty cache, few deltas, and probes of a few steps."""
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "training_deltas", functools.partial(pipeline.training_deltas, count=64))
    monkeypatch.setattr(suite, "evaluate", functools.partial(suite.evaluate, probe_steps=12))


def test_bare_videos_go_from_nothing_to_features_and_measures_that_say_what_they_are(videos, quick, tmp_path, capsys):
    overrides = [
        "data=videos", f"data.root={videos[1]}", "motion=estimated", "data.size=32", "data.workers=0", "data.held_out=0.3",
        "trainer.images=64", "egomotion=orbit", f"out={tmp_path / 'run'}",
    ]  # fmt: skip
    run = pipeline.train(config(*overrides))
    said = capsys.readouterr().out
    assert "no classification: " in said and "clips without a label" in said
    assert "against estimated motion" in said and "judged against estimated motion" in said
    metrics = json.loads((run / "metrics.json").read_text())
    for key in (
        "pose/geodesic_median_deg/equi",
        "pose/geodesic_median_deg/inversion",
        "steering/mrr",
        "tracking/probe/rpe_deg@1",
    ):
        assert isinstance(metrics[f"estimated/{key}"], float) and f"estimated/{key}/floor" in metrics and key not in metrics
    assert all(key.startswith(("estimated/", "collapse/")) for key in metrics)
    features = load_features(next((run / "features").glob("features-test-*")))
    assert features.image.ndim == 3 and len(features.paths) >= 2 and (features.labels == -1).all()
    log = (run / "log.csv").read_text()
    assert "online/told_pose_deg/equi" in log and "online/pose_deg" not in log
    archives = sorted((tmp_path / "cache" / "motion").rglob("*.npz"))
    assert len(archives) == 10
    times = [file.stat().st_mtime_ns for file in archives]
    pipeline.evaluate(run, protocols=["pose", "layers", "erasure"], out=tmp_path / "again")
    lines = (tmp_path / "again" / "layers.csv").read_text().splitlines()
    assert lines[0].endswith(",poses") and all(line.endswith(",estimated") for line in lines[1:])
    assert (tmp_path / "again" / "layers.png").is_file() and [file.stem for file in (run / "erasers").iterdir()] == ["orbit"]
    assert [file.stat().st_mtime_ns for file in archives] == times  # nothing was estimated twice


def test_true_poses_judge_a_run_that_was_trained_on_estimated_motion(videos, quick, tmp_path, capsys):
    overrides = [f"data.root={videos[0]}", "motion=estimated", "data.size=32", "trainer.images=64", "egomotion=affine"]
    made = config(*overrides, f"motion.cache={tmp_path / 'motion'}", f"out={tmp_path / 'run'}", "protocol=[pose]")
    run = pipeline.train(made)
    metrics = json.loads((run / "metrics.json").read_text())
    assert "steering/mrr" in metrics and not any(key.startswith("estimated/") for key in metrics)
    assert "trained on estimated motion, judged against true poses" in capsys.readouterr().out
    archives = list((tmp_path / "motion").rglob("*.npz"))
    assert len(archives) == len(load(videos[0]).rows("train")) < 10  # of the clips to train on alone
    other = config(*overrides, f"motion.cache={tmp_path / 'motion'}", f"out={tmp_path / 'other'}", "egomotion.points=99")
    with pytest.raises(ValueError, match=r"\.mp4\.npz: motion estimated with other settings \(egomotion"):
        pipeline.train(other)
    assert not (tmp_path / "other").exists()
