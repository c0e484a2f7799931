from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.synthetic import BlockSteering, all_deltas, features
from vsie import pose
from vsie.evaluation import suite
from vsie.report import figures, write, write_report
from vsie.report.write import angle_about, motion_axis


def drawn(path, *, least: int = 300) -> np.ndarray:
    """The picture as an array; it must have some size and some ink."""
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert min(picture.shape[:2]) >= least
    assert 0.005 < (picture.min(-1) < 200).mean() < 0.9
    return picture


def test_training_curves(tmp_path):
    names = ["step", "loss", "term/variance", "online/top1/inv", "online/top1/equi", "collapse/rankme/all", "learning_rate"]
    rows = [[s, 10 / (s + 1), 1 / (s + 1), 0.5, "", 30 + s, 1e-3] for s in range(120)]
    file = tmp_path / "log.csv"
    file.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]))
    columns = figures.read_curves(file)
    assert columns["loss"][1] == 5 and np.isnan(columns["online/top1/equi"]).all()
    drawn(figures.training_curves(file, tmp_path / "curves.png"))


@pytest.mark.parametrize("least, scale", [(0.0, "log"), (-1.0, "linear")])
def test_a_term_that_is_nothing_at_first_leaves_the_others_to_be_seen(tmp_path, monkeypatch, least, scale):
    file, kept = tmp_path / "log.csv", []
    rows = [f"{s},{100 / (s + 1)},{least if s < 60 else 0.5}" for s in range(120)]
    file.write_text("\n".join(["step,loss,term/leak", *rows]))
    monkeypatch.setattr(figures, "_save", lambda figure, out: kept.append(figure))
    figures.training_curves(file, tmp_path / "curves.png")
    assert kept[0].axes[0].get_yscale() == scale
    if scale == "log":
        assert kept[0].axes[0].get_ylim()[0] >= 1e-3


def test_bad_logs_are_named(tmp_path):
    file = tmp_path / "log.csv"
    with pytest.raises(FileNotFoundError, match="log.csv"):
        figures.read_curves(file)
    file.write_text("step,loss\n1,2\n2,x\n")
    with pytest.raises(ValueError, match="row 3, column loss: found 'x'"):
        figures.read_curves(file)
    file.write_text("epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="column `step`"):
        figures.read_curves(file)
    file.write_text("step,learning_rate\n1,2\n")
    with pytest.raises(ValueError, match="no column to draw"):
        figures.training_curves(file, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_smoothing_keeps_constants_and_skips_gaps():
    curve = np.full(400, 3.0)
    curve[::7] = np.nan
    np.testing.assert_allclose(figures._smooth(curve), 3.0)


def test_steering_strip(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)
    found, truth = np.arange(6).reshape(2, 3), np.arange(6, 12).reshape(2, 3)
    found[0, 0] = -1
    drawn(figures.steering_strip(images, [0, 1], found, truth, [-90, 0, 90], tmp_path / "s.png", wrong=np.full((2, 3), 40.0)))
    with pytest.raises(ValueError, match="steering strip"):
        figures.steering_strip(images, [0], found, truth, [0, 1, 2], tmp_path / "s.png")


def test_tracked_angles_are_drawn_on_the_turn_of_the_truth():
    np.testing.assert_allclose(figures._unwrapped(np.array([-170.0, 350.0]), np.array([190.0, -5.0])), [190, -10])


def test_principal_components_are_those_of_an_svd():
    x = np.random.default_rng(0).normal(size=(60, 5)) * [5, 3, 1, 1, 1]
    points, shares = figures.principal_components(x)
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:2])
    assert figures.principal_components(x[:, :1])[0].shape == (60, 2)


def test_components_with_many_classes_and_without_any(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"inv": rng.normal(size=(300, 4)), "equi": rng.normal(size=(300, 1))}
    drawn(figures.components(parts, np.arange(300) % 25 - 1, rng.uniform(-180, 180, 300), tmp_path / "c.png", limit=200))


def test_the_axis_and_the_angle_about_it():
    axis = torch.nn.functional.normalize(torch.tensor([0.2, -1.0, 0.1], dtype=torch.float64), dim=0)
    angles = torch.linspace(-170, 170, 50, dtype=torch.float64)
    turned = pose.rigid(pose.exp(torch.deg2rad(angles)[:, None] * axis))
    found = motion_axis(turned)
    torch.testing.assert_close(found, -axis)  # its largest component is positive
    start = torch.eye(4, dtype=torch.float64).expand(50, 4, 4)
    np.testing.assert_allclose(angle_about(found, start, turned), -angles.numpy(), atol=1e-6)


@pytest.mark.parametrize("motion", ["turntable", "tumble"])
def test_the_whole_report(tmp_path, capsys, motion):
    train, test = (features(objects=8, frames=5, motion=motion, seed=s, first_object=100 * s) for s in (1, 2))

    class Method(BlockSteering):
        predictor = object()

    method, deltas = Method(), all_deltas(train)
    clips = [{"frames": torch.full((5, 16, 16, 3), 10 * i, dtype=torch.uint8)} for i in range(len(test.paths))]
    result = suite.evaluate(train, test, steering=method, training_deltas=deltas, probe_steps=5, progress=False)
    result.metrics["odd"] = math.nan
    files = write_report(tmp_path, tmp_path, result, test, clips, ["a", "b", "c", "d"], method, deltas)
    names = {file.name for file in files}
    assert names == {"metrics.json", "table.txt", "table.md", "components.png", "trajectories.png", "steering.png"}
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["odd"] is None and metrics["steering/mrr"] == result.metrics["steering/mrr"]
    assert "steering/mrr/low" in metrics
    told = "direct supervision: poses or labels were targets"
    assert all(told not in (tmp_path / name).read_text() for name in ("table.txt", "table.md"))
    (tmp_path / write.STAMP).write_text("{}")  # of a study, that judged what is judged anew now
    method.direct_supervision = True
    write_report(tmp_path, tmp_path, result, test, clips, ["a", "b", "c", "d"], method, deltas)
    assert all(told in (tmp_path / name).read_text() for name in ("table.txt", "table.md"))
    for file in files:
        if file.suffix == ".png":
            drawn(file)
    assert "MRR among the object's views" in capsys.readouterr().out and not (tmp_path / write.STAMP).exists()


def test_where_no_pose_is_known_nothing_is_shown_to_be_steered(tmp_path):
    """Features of clips without poses hold the identity: a strip of them would be all right, with 0 degrees everywhere."""
    train, test = (features(objects=8, frames=5, seed=s, first_object=100 * s) for s in (1, 2))
    train, test = (dataclasses.replace(f, poses=np.broadcast_to(np.eye(4), f.poses.shape).copy()) for f in (train, test))

    class Method(BlockSteering):
        predictor = object()

    result = suite.evaluate(train, test, protocols=["classification"], progress=False)
    clips = [{"frames": torch.zeros(5, 16, 16, 3, dtype=torch.uint8)} for _ in test.paths]
    deltas = torch.eye(4).expand(3, 4, 4)
    files = write_report(tmp_path, tmp_path, result, test, clips, ["a", "b", "c", "d"], Method(), deltas)
    assert {file.suffix for file in files} >= {".png"} and "steering.png" not in {file.name for file in files}


def test_where_clips_have_no_common_frame_turns_are_drawn_from_each_ones_first():
    data = features(objects=6, frames=5, seed=1)
    true = torch.from_numpy(data.poses)
    own = pose.rigid(pose.exp(torch.randn(len(true), 1, 3, dtype=torch.float64)))  # each clip's object lies as it happened to
    loose = dataclasses.replace(data, poses=(true @ own).numpy(), orbits=np.arange(len(true)))
    expected = torch.rad2deg(pose.geodesic(true[:, :1], true)).flatten()
    np.testing.assert_allclose(write.frame_angles(loose), expected, atol=1e-5)
    about = write.angle_about(write.body_axis(data), true[:1, 0], true.flatten(0, 1))
    np.testing.assert_allclose(write.frame_angles(data), about)


def test_turns_are_drawn_about_the_objects_own_axis_whatever_the_frame_of_the_deltas(monkeypatch, tmp_path):
    """A turntable seen by a camera that looks down: in the camera's frame the axis is another one."""
    camera = pose.rigid(pose.exp(torch.tensor([0.8, 0.0, 0.0], dtype=torch.float64)))
    train, test = (features(objects=8, frames=5, seed=s, first_object=100 * s) for s in (1, 2))
    train, test = (dataclasses.replace(data, poses=(camera @ torch.from_numpy(data.poses)).numpy()) for data in (train, test))
    assert write.body_axis(test).tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    given = []
    for name in ("components", "steering_strip", "trajectories"):
        monkeypatch.setattr(figures, name, lambda *a, name=name, **o: given.append((name, a)) or tmp_path / f"{name}.png")
    deltas = pose.delta(torch.from_numpy(train.poses[:, 0]), torch.from_numpy(train.poses[:, 2]), "camera")
    clips = [{"frames": torch.zeros(5, 16, 16, 3, dtype=torch.uint8)}] * len(test.paths)
    steered = BlockSteering(frame="camera")
    result = suite.evaluate(train, test, steering=steered, protocols=["classification"], frame="camera", progress=False)
    write_report(tmp_path, tmp_path, result, test, clips, ["a", "b", "c", "d"], steered, deltas)
    (found,) = [arguments[2] for name, arguments in given if name == "components"]
    rotation = test.poses.reshape(-1, 4, 4)[:, :3, :3]
    relative = rotation[:1].transpose(0, 2, 1) @ rotation
    np.testing.assert_allclose(found, np.degrees(np.arctan2(relative[:, 1, 0], relative[:, 0, 0])), atol=1e-4)


def test_what_others_asked_stays_where_it_is_kept_and_goes_where_it_is_not(tmp_path):
    train, test = (features(objects=8, frames=5, seed=s, first_object=100 * s) for s in (1, 2))
    clips = [{"frames": torch.zeros(5, 16, 16, 3, dtype=torch.uint8)}] * len(test.paths)

    def report(*protocols, keep=False):
        result = suite.evaluate(train, test, protocols=protocols, probe_steps=5, progress=False)
        write_report(tmp_path, tmp_path, result, test, clips, list("abcd"), BlockSteering(), all_deltas(train), keep=keep)

    report("leakage", "tracking")
    before = (tmp_path / "measures.md").read_text()
    assert "leak" in before and (tmp_path / "trajectories.png").is_file()
    report("classification", keep=True)
    assert sorted((tmp_path / "measures.md").read_text().splitlines()) == sorted(before.splitlines())
    assert (tmp_path / "trajectories.png").is_file()
    report("classification")
    assert not (tmp_path / "measures.md").exists() and not (tmp_path / "trajectories.png").exists()
