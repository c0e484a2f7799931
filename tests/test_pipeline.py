"""The whole job at toy size, as a user would start it; and what is told when it cannot be done."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import vsie
from tests.data.conftest import moving_picture, write_video, yaw_poses
from tests.test_config import run
from vsie.config import compose, to_plain
from vsie.encoders.base import Encoder
from vsie.encoders.frame import Frame
from vsie.features import Backbone, Whole, covering, encode_clip, evaluation_features, features_of_backbone, untrained
from vsie.model import build_method


@pytest.fixture(scope="module")
def debug(tools, tmp_path_factory):
    """`python tools/train.py experiment=debug`, in an empty folder with an empty cache: its folder, processor time and output."""
    folder = tmp_path_factory.mktemp("debug")
    environment = os.environ | {"VSIE_DATA": str(folder / "cache")}
    begun = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    result = run(tools, "train", "experiment=debug", "out=run", cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - begun, result.stdout, environment


def test_the_whole_job_at_toy_size_leaves_everything(debug):
    folder, seconds, output, _ = debug
    found = {path.name for path in (folder / "run").iterdir()}
    expected = {"config.yaml", "checkpoint", "log.csv", "metrics.json", "table.txt", "training.png", "components.png",
                "steering.png", "trajectories.png", "features"}  # fmt: skip
    assert expected <= found
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "run"]  # nothing else was left behind
    for word in ("floor", "Top-1, single frame", "rotation of a pair", "tracking, predictor inverted"):
        assert word in output
    assert seconds < 120  # a minute on an idle machine, where a core is not shared


def test_every_metric_of_the_issue_has_its_floor(debug):
    metrics = json.loads((debug[0] / "run" / "metrics.json").read_text())
    parts = ("inv", "equi", "all")
    keys = [f"classification/{name}/{part}" for name in ("top1", "top5", "knn", "clip_top1") for part in parts]
    pose = ("geodesic_median_deg", "geodesic_mean_deg", "acc@15", "acc@30", "r2", "r2_sie")
    keys += [f"pose/{name}/{part}" for name in pose for part in parts]
    keys += [f"steering/{name}" for name in ("mrr", "hit@1", "hit@5")]
    tracking = ("rpe_deg@1", "rpe_deg@2", "rpe_deg@4", "drift_deg", "closed_loop_deg")
    keys += [f"tracking/{how}/{name}" for how in ("probe", "inversion") for name in tracking]
    missing = [key for key in keys for name in (key, f"{key}/floor") if not isinstance(metrics.get(name), float)]
    assert missing == []
    assert isinstance(metrics["pose/geodesic_median_deg/equi/random_init"], float)


def test_a_finished_run_started_again_only_evaluates(debug, tools):
    folder, _, _, environment = debug
    before = (folder / "run" / "checkpoint" / "model.safetensors").read_bytes()
    result = run(tools, "train", "experiment=debug", "out=run", "protocol=[classification]", cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (folder / "run" / "checkpoint" / "model.safetensors").read_bytes() == before


def test_evaluate_judges_a_run_again_with_the_same_numbers(debug, tools):
    folder, _, _, environment = debug
    arguments = ("evaluate", "checkpoint=run", "protocol=[classification]", "out=judged")
    result = run(tools, *arguments, cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    first = json.loads((folder / "run" / "metrics.json").read_text())
    again = json.loads((folder / "judged" / "metrics.json").read_text())
    assert again["classification/top1/all"] == first["classification/top1/all"]
    for other in (arguments, arguments[:-1]):  # nor is what was found of the run itself replaced without a word
        result = run(tools, *other, cwd=folder, env=environment)
        assert result.returncode == 2 and "overwrite=true" in result.stderr


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_extract_gives_invariant_per_clip_and_equivariant_per_step(debug, tools, suffix):
    folder, _, _, environment = debug
    (clips,) = (folder / "cache" / "rendered").iterdir()
    arguments = ("extract", "checkpoint=run", f"manifest={clips}", f"out=features{suffix}", "spacing=1", "stride=2")
    result = run(tools, *arguments, cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    if suffix == ".npz":
        with np.load(folder / "features.npz") as file:
            found = {name: file[name] for name in file.files}
    else:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(folder / "features.parquet")
        found = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    windows = len(found["label"])
    frames = found["times"].shape[1]
    assert found["invariant"].shape == (windows, 32) and found["equivariant"].shape == (windows, frames, 32)
    assert windows == 64 * len(range(0, 8 - frames + 1, 2))
    assert set(found["label"].tolist()) == set(range(12)) and len(set(found["path"].tolist())) == 64
    result = run(tools, *arguments, cwd=folder, env=environment)
    assert result.returncode == 2 and "overwrite=true" in result.stderr


def test_extracted_features_are_those_of_the_loaded_model(debug):
    from vsie.data import decode, load, probe
    from vsie.extraction import extract

    folder = debug[0]
    (clips,) = (folder / "cache" / "rendered").iterdir()
    video = load(clips).video(0)
    count, skipped = extract(folder / "run", video, folder / "one.npz", frames=4, spacing=2)
    assert (count, skipped) == (2, 0)  # 0-6, and the last one moved back to end with the video
    model = vsie.load(folder / "run")
    times = probe(video).times[[0, 2, 4, 6]]
    clip = torch.from_numpy(decode(video, times)).permute(3, 0, 1, 2)[None].float() / 255
    invariant, equivariant = model(clip)
    with np.load(folder / "one.npz") as found:
        assert np.abs(found["invariant"][0] - invariant[0].numpy()).max() < 1e-4
        assert np.abs(found["equivariant"][0] - equivariant[0].numpy()).max() < 1e-4
        assert found["times"][0] == pytest.approx(times)


def test_a_latent_that_is_not_split_is_extracted_whole_and_can_be_judged(debug, tmp_path):
    from vsie import checkpoint, features_file
    from vsie.config import compose, to_plain
    from vsie.data import decode, load, probe
    from vsie.extraction import extract
    from vsie.model import build_method

    config = to_plain(compose("train", ["experiment=debug", "method=vicreg"]))
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "run", build_method(config), config, {})
    (clips,) = (debug[0] / "cache" / "rendered").iterdir()
    count, _ = extract(tmp_path / "run", clips, tmp_path / "all.npz", frames=4, spacing=1)
    model = vsie.load(tmp_path / "run")
    whole, steps = model(torch.rand(2, 3, 4, 32, 32))
    assert whole.shape == (2, model.encoder.dim) and torch.equal(whole, steps.mean(1))
    with np.load(tmp_path / "all.npz") as found:
        assert not {"invariant", "equivariant"} & set(found.files)
        assert found["features"].shape == (count, 4, model.encoder.dim)
        video = load(clips).video(0)
        clip = torch.from_numpy(decode(video, probe(video).times[:4])).permute(3, 0, 1, 2)[None].float() / 255
        np.testing.assert_allclose(found["features"][0], model(clip)[1][0].numpy(), atol=1e-4)
    judged = features_file.read(tmp_path / "all.npz", seed=0)
    assert judged.train.invariant_dim == 0 and judged.train.clip.shape[1:] == (4, model.encoder.dim)


def test_an_interrupted_extraction_goes_on(debug, tools, monkeypatch):
    from vsie import extraction

    folder = debug[0]
    (clips,) = (folder / "cache" / "rendered").iterdir()
    whole, calls = extraction.windows_of, []

    def interrupted(row, *arguments):
        calls.append(row)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return whole(row, *arguments)

    monkeypatch.setattr(extraction, "windows_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extraction.extract(folder / "run", clips, folder / "resumed.npz", spacing=1)
    assert not (folder / "resumed.npz").exists()
    count, _ = extraction.extract(folder / "run", clips, folder / "resumed.npz", spacing=1)
    assert len(calls) < 40 + 64  # the finished parts were not done again
    extraction.extract(folder / "run", clips, folder / "straight.npz", spacing=1)
    with np.load(folder / "resumed.npz") as first, np.load(folder / "straight.npz") as second:
        assert count == len(first["label"])
        assert all(np.array_equal(first[name], second[name]) for name in second.files)


def test_unreadable_videos_of_an_interrupted_extraction_are_counted_again(debug, tmp_path, monkeypatch):
    from vsie import extraction
    from vsie.data.windows import SkippedError

    folder = debug[0]
    (clips,) = (folder / "cache" / "rendered").iterdir()
    shutil.copytree(clips, tmp_path / "clips")
    videos = sorted((tmp_path / "clips").rglob("*.mp4"))
    table = (tmp_path / "clips" / "manifest.csv").read_text().splitlines()
    names = [line.split(",")[0] for line in table[1:]]
    for number in (0, 1):
        (tmp_path / "clips" / names[number]).write_bytes(b"no video")
    monkeypatch.setattr(extraction, "VIDEOS", 1)
    share = 1.5 / len(videos)
    for _ in range(3):  # it does not pass by being tried again
        with pytest.raises(SkippedError, match=f"2 of {len(videos)} videos cannot be used"):
            extraction.extract(folder / "run", tmp_path / "clips", tmp_path / "out.npz", allowed_share=share)
    count = extraction.extract(folder / "run", tmp_path / "clips", tmp_path / "out.npz", allowed_share=2 / len(videos))[1]
    assert count == 2 and len((tmp_path / "out.npz.skipped.csv").read_text().splitlines()) == 3
    shutil.copy(clips / names[0], tmp_path / "clips" / names[0])
    options = dict(allowed_share=2 / len(videos), overwrite=True)
    assert extraction.extract(folder / "run", tmp_path / "clips", tmp_path / "out.npz", **options)[1] == 1
    assert len((tmp_path / "out.npz.skipped.csv").read_text().splitlines()) == 2  # the first one is not on the list any more


def test_nothing_of_a_video_that_is_damaged_late_is_extracted(debug, tmp_path, monkeypatch):
    from vsie import extraction

    for number in range(2):
        write_video(tmp_path / "videos" / f"{number}.mp4", moving_picture(96, seed=number))
    damaged = tmp_path / "videos" / "1.mp4"
    data = bytearray(damaged.read_bytes())
    media, index = data.index(b"mdat") + 4, data.index(b"moov")
    place = media + (index - media) * 3 // 4
    data[place : place + 400] = bytes(400)
    damaged.write_bytes(data)
    options = dict(frames=2, spacing=1, stride=2, batch=16, size=32, allowed_share=0.5)
    finish = extraction.write_npz
    monkeypatch.setattr(extraction, "write_npz", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extraction.extract(debug[0] / "run", tmp_path / "videos", tmp_path / "out.npz", **options)
    for _ in range(2):  # after the interruption, and at once
        monkeypatch.setattr(extraction, "write_npz", finish)
        found = extraction.extract(debug[0] / "run", tmp_path / "videos", tmp_path / "out.npz", **options, overwrite=True)
        assert found == (48, 1)
        with np.load(tmp_path / "out.npz") as out:
            assert set(out["path"].tolist()) == {"0.mp4"}


def test_extraction_goes_to_the_gpu_where_there_is_one_and_decodes_once(debug, tmp_path, monkeypatch):
    decord = pytest.importorskip("decord")
    from vsie import extraction

    video = write_video(tmp_path / "video.mp4", moving_picture(40))
    devices, load = [], extraction.load
    monkeypatch.setattr(extraction, "load", lambda run, *, device: devices.append(device) or load(run))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(decord, "VideoReader", lambda *_, **__: pytest.fail("decord was called"))
    for name in ("auto", "cpu"):
        extraction.extract(debug[0] / "run", video, tmp_path / f"{name}.npz", frames=2, spacing=1, size=32, device=name)
    assert devices == ["cuda", "cpu"]


def test_features_are_computed_again_where_poses_or_pictures_have_changed(debug, tmp_path, monkeypatch):
    from vsie import feature_cache
    from vsie.data import ClipsDataset, load

    (clips,) = (debug[0] / "cache" / "rendered").iterdir()
    shutil.copytree(clips, tmp_path / "clips")
    model = vsie.load(debug[0] / "run")
    computed = []
    whole = feature_cache.features.evaluation_features
    monkeypatch.setattr(feature_cache.features, "evaluation_features", lambda *a, **o: computed.append(1) or whole(*a, **o))

    def poses(size=None):
        dataset = ClipsDataset(load(tmp_path / "clips"), "val", size=size)
        (found,) = feature_cache.feature_set(tmp_path / "run", model.method, {"test": dataset}, (1, 1), "32-true", "features")
        return found.poses.copy()

    before = poses()
    assert np.array_equal(poses(), before) and len(computed) == 1
    poses(size=24)
    assert len(computed) == 2
    (tmp_path / "clips" / "prepared.json").write_text('{"anchored": false}')
    poses()
    assert len(computed) == 3, "features of poses without a common frame say so"
    (tmp_path / "clips" / "prepared.json").unlink()
    (tmp_path / "run" / "features" / ".features-test-0.99999999.partial").mkdir()  # of one that was killed
    for file in (tmp_path / "clips").rglob("*.npz"):
        with np.load(file) as archive:
            fields = dict(archive)
        fields["object_in_camera"][:, 2, 3] += 1
        np.savez(file, **fields)
    assert np.allclose(poses(), before + np.eye(4)[2][:, None] * np.eye(4)[3], atol=1e-6) and len(computed) == 4
    (folder,) = (tmp_path / "run" / "features").iterdir()
    for file in list(folder.iterdir()):  # a run that a study took, whose features are not there any more
        file.unlink()
        file.symlink_to(tmp_path / "gone" / file.name)
    assert len(poses()) == len(before) and len(computed) == 5


def test_clips_of_different_lengths_are_trained_on_judged_and_compared(tmp_path, tools, monkeypatch):
    """Sequences as CO3D has them: known poses, and no two of one length; and one that cannot be read, as many as may be."""
    from vsie import pipeline
    from vsie.study import comparison

    rows = ["path,label,object,clip,split,poses"]
    for number, frames in enumerate((10, 12, 14, 9, 10, 13, 5, 9, 9, 10)):
        name = f"clip_{number}"
        write_video(tmp_path / f"{name}.mp4", moving_picture(frames, 32, 32, number))
        np.savez(tmp_path / f"{name}.npz", times=np.arange(frames) / 12, object_in_camera=yaw_poses(frames, number, 0.2))
        rows.append(f"{name}.mp4,{number % 2},{number},0,{'val' if 3 < number < 9 else 'train'},{name}.npz")
    truncated = tmp_path / "clip_9.mp4"
    truncated.write_bytes(truncated.read_bytes()[:1000])
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = ["experiment=debug", f"data.root={tmp_path}", "data.windows=2", "data.size=32", "trainer.batch=4",
               "trainer.images=64", "data.allowed_skips=0.2", "out=run"]  # fmt: skip
    result = run(tools, "train", *options, cwd=tmp_path, env=os.environ | {"VSIE_DATA": str(tmp_path / "cache")})
    assert result.returncode == 0, result.stderr[-2000:]
    assert "clips are of 5 to 14 frames: 9 of each are judged" in result.stdout
    assert "test: 1 of 5 clips are shorter" in result.stdout
    assert f"train: 1 of 5 clips cannot be read and are left out: {truncated}" in result.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert isinstance(metrics["pose/geodesic_median_deg/equi"], float) and "tracking/probe/rpe_deg@1" in metrics
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline.features, "evaluation_features", None)  # nothing is computed again
    written = comparison.compare_runs([str(tmp_path / "run")], tmp_path / "report")
    assert {"comparison.md", "tradeoff.png"} <= {file.name for file in written}
    monkeypatch.setattr(comparison, "draw_strips", None)  # what fails there takes no table away
    with pytest.raises(TypeError):
        comparison.compare_runs([str(tmp_path / "run")], tmp_path / "without")
    assert (tmp_path / "without" / "comparison.md").read_text() == (tmp_path / "report" / "comparison.md").read_text()


@pytest.mark.parametrize("kept, data, wanted", [
    ("co3d", "manifest.csv", ("clips", False)), ("co3d", "folder", ("clips", False)), ("co3d", "other", ("clips", True)),
    ("3diebench", "manifest.csv", ("clips", False)), ("3diebench", "other", ("3diebench", False)),
    ("turntable", "bench", ("3diebench", False)),
])  # fmt: skip
def test_a_run_is_judged_on_data_of_another_kind(kept, data, wanted, tmp_path):
    from vsie import pipeline
    from vsie.config import compose

    for file in ("manifest.csv", "folder/manifest.csv", "bench/train_images.npy", "other/category/file"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    found = pipeline.judged_on(compose("train", [f"data={kept}", "data.root=a"]), str(tmp_path / data)).data
    assert (found.layout, bool(found.reader)) == wanted and found.root == str(tmp_path / data)
    rendered = compose("train", [f"data={kept}", "data.render.size=48"])
    assert pipeline.judged_on(rendered, str(tmp_path / data)).data.size == (rendered.data.size or 48)  # as it was trained


def test_steering_in_python_is_the_predictor(debug):
    from vsie import pose

    model = vsie.load(debug[0] / "run")
    equivariant = torch.randn(5, model.split.equivariant)
    motion = pose.rigid(pose.exp(torch.rand(5, 1) * torch.tensor([0.0, 0.0, 1.0])))
    expected = model.method.predictor(model.method.embed(equivariant), model.method.conditioning.of_motion(motion))
    assert (model.steer(equivariant, motion) - expected).abs().max() < 1e-4
    assert torch.equal(model.steer(equivariant, motion.double()), model.steer(equivariant, motion))  # as on disk


def test_a_checkpoint_of_another_model_is_refused_by_tensor(debug, tmp_path):
    import yaml

    shutil.copytree(debug[0] / "run" / "checkpoint", tmp_path / "run" / "checkpoint")
    file = tmp_path / "run" / "checkpoint" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["encoder"]["dim"] = 48
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="checkpoint of another model: .*shape"):
        vsie.load(tmp_path / "run")
    (tmp_path / "run" / "checkpoint" / "model.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        vsie.load(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        vsie.load(tmp_path / "nowhere")


@pytest.mark.parametrize("arguments, told", [
    (["data=videos", "data.root=missing"], "missing"),
    (["data=videos", "data.root=empty"], "empty"),
    (["data=videos", "data.root=bad.csv"], "bad.csv"),
    (["data.frames=3", "encoder=torchvision"], "multiple of"),
    (["data.frames=8", "data.context=12", "encoder=torchvision"], "data.context is 12"),
    (["data.frames=40", "experiment=debug"], "too few"),
    (["protocol=[pose,steerings]"], "unknown protocol steerings"),
    (["trainer.batch=1000", "experiment=debug"], "trainer.batch"),
])  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_run(debug, tools, tmp_path, arguments, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("path,label,object,clip\na.mp4,0,a,0\n")
    result = run(tools, "train", "out=run", *arguments, cwd=tmp_path, env=debug[3])
    assert result.returncode == 2, result.stderr[-2000:]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and told in errors[0], result.stderr[-2000:]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_folder_of_videos_without_labels_goes_from_nothing_to_features(debug, tools, tmp_path):
    videos = sorted((debug[0] / "cache" / "rendered").rglob("*.mp4"))
    (tmp_path / "videos").mkdir()
    for number, video in enumerate(videos):
        shutil.copy(video, tmp_path / "videos" / f"{number:03}.mp4")
    options = ("experiment=debug", "method=vicreg", "data=videos", "data.root=videos", "data.size=32", "data.windows=2",
               "trainer.images=256", "trainer.batch=8", "out=run")  # fmt: skip
    result = run(tools, "train", *options, cwd=tmp_path, env=debug[3])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "no evaluation" in result.stdout and "no held-out clips" in result.stdout
    result = run(tools, "extract", "checkpoint=run", "manifest=videos", "out=features.npz", cwd=tmp_path, env=debug[3])
    assert result.returncode == 0, result.stderr[-3000:]
    with np.load(tmp_path / "features.npz") as stored:
        assert len(np.unique(stored["path"])) == len(videos)


def test_a_full_disk_is_one_clear_error(tools, tmp_path):
    """In a file system of 3 MB: only where one can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        environment = os.environ | {"VSIE_DATA": str(disk)}
        result = subprocess.run([sys.executable, str(tools / "train.py"), "experiment=debug", f"out={tmp_path / 'run'}",
                                 "data.render.size=128"], env=environment, capture_output=True, text=True)  # fmt: skip
        assert result.returncode == 2
        assert "no space left" in result.stderr.lower()
        assert "Traceback" not in result.stderr
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_random_encoder_of_a_pretrained_run_is_random_and_needs_no_file():
    config = to_plain(compose("train", ["encoder.backbone=resnet18", "encoder.weights=gone.pth", "encoder.dim=32"]))
    torch.manual_seed(0)
    first = untrained(config)
    torch.manual_seed(0)
    plain = build_method({**config, "encoder": {**config["encoder"], "weights": None}})
    assert torch.equal(first.encoder.backbone.conv1.weight, plain.encoder.backbone.conv1.weight)
    assert config["encoder"]["weights"] == "gone.pth"


def test_covering_windows_hold_every_frame_once_where_they_can():
    for length, frames in ((16, 4), (8, 4), (8, 8), (12, 3)):
        windows = covering(length, frames)
        assert sorted(windows.flatten().tolist()) == list(range(length))
    for length, frames in ((17, 4), (9, 2), (5, 4)):
        assert set(covering(length, frames).flatten().tolist()) == set(range(length))
    assert covering(3, 4).tolist() == [[0, 1, 2, 2]]
    assert set(np.diff(covering(60, 4, widest=5)).flatten().tolist()) == {5}
    assert sorted(covering(60, 4, widest=5).flatten().tolist()) == list(range(60))


@pytest.mark.parametrize("length, frame", [(1, 0), (5, 2), (7, 3)])
def test_a_clip_shorter_than_a_step_is_its_middle_frame(length, frame):
    class OfEight(Encoder):
        stride, dim = 8, 3

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, clip):
            self.check(clip)
            return self.weight * clip.mean((3, 4)).unflatten(2, (self.steps(clip.shape[2]), -1)).mean(3).mT

    encoder = OfEight()
    video = torch.randint(0, 256, (2, length, 4, 4, 3), dtype=torch.uint8)
    alone, context = encode_clip(encoder, video, 8)
    expected = video[:, frame].float().mean((1, 2))[:, None] / 255
    assert torch.allclose(alone, expected) and torch.equal(alone, context)
    poses = torch.from_numpy(yaw_poses(length, 0.0, 0.2)).float()
    clips = [{"frames": one, "times": torch.arange(length) / 12, "poses": poses, "label": 0, "object": 0, "clip": 0, "path": "a"}
             for one in video]  # fmt: skip
    found = evaluation_features(Whole(encoder), clips, frames=8)
    assert np.allclose(found.image, expected) and np.allclose(found.poses, poses[frame].numpy(), atol=1e-6)
    assert found.times == pytest.approx(np.full((2, 1), frame / 12))


def test_frames_in_context_come_back_in_order():
    class Plain(Encoder):
        stride, dim = 1, 1

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, clip):
            return clip.mean((1, 3, 4))[..., None] * 255

    video = torch.arange(17, dtype=torch.uint8)[None, :, None, None, None].expand(2, 17, 4, 4, 3).contiguous()
    alone, context = encode_clip(Plain(), video, 4)
    assert alone[0, :, 0].round().tolist() == context[0, :, 0].round().tolist() == list(range(17))


def small_frame_encoder(**options):
    torch.manual_seed(0)
    encoder = Frame(**{"widths": (4, 8), "depths": (1,), "dim": 8, "mixing": 1, "heads": 2} | options).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


@pytest.mark.parametrize("length, frames, widest", [(7, 3, 2), (6, 1, None), (2, 4, 1), (8, 2, 3)])
def test_frames_that_are_seen_apart_are_seen_once_and_mixed_in_windows(length, frames, widest):
    """Against `forward` of every frame and of every window; from the kept features of the backbone, the same."""
    encoder = small_frame_encoder()
    video = torch.randint(0, 256, (3, length, 8, 8, 3), dtype=torch.uint8)
    with torch.inference_mode():
        single = torch.stack([encoder(clip.permute(0, 3, 1, 2)[:, :, None] / 255)[:, 0] for clip in video])
        expected = torch.empty(3, length, 8)
        for window in covering(length, min(frames, length), widest)[::-1]:  # where two hold a frame the first counts
            expected[:, window] = encoder(video[:, window].permute(0, 4, 1, 2, 3) / 255)
    count = []
    encoder.backbone.register_forward_hook(lambda _, images, __: count.append(len(images[0])))
    poses = torch.from_numpy(yaw_poses(length, 0.0, 0.2)).float()
    clips = [{"frames": one, "times": torch.arange(length) / 12, "poses": poses, "label": 0, "object": 0, "clip": 0, "path": "a"}
             for one in video]  # fmt: skip
    found = evaluation_features(Whole(encoder), clips, frames=frames, widest=widest)
    assert sum(count) == 3 * length
    seen = evaluation_features(Whole(Backbone(encoder)), clips, frames=frames, widest=widest)
    assert sum(count) == 6 * length and seen.image.shape == (3, length, 8)
    again = features_of_backbone(Whole(encoder), seen, frames=frames, widest=widest)
    assert sum(count) == 6 * length
    for one in (found, again):
        np.testing.assert_allclose(one.image, single, atol=1e-5)
        np.testing.assert_allclose(one.clip, expected, atol=1e-5)
        assert (one.clip is one.image) == (frames == 1) and np.array_equal(one.poses, found.poses)


@pytest.mark.parametrize("name, options", [("pytorchvideo", {"backbone": "x3d_xs", "dim": 5}), ("torchvision", {"dim": 5})])
def test_latents_of_clip_networks_are_their_mix_of_raw_features(name, options):
    from vsie import components

    encoder = components.build("encoders", name, **options).eval()
    clip = torch.rand(1, 3, 8, 32, 32)
    with torch.inference_mode():
        raw = encoder.raw(clip)
        assert not encoder.apart and raw.shape[-1] != 5
        torch.testing.assert_close(encoder(clip), raw @ encoder.head.weight.T + encoder.head.bias)


def test_features_of_a_run_beside_are_linked_with_an_own_split(debug, tmp_path, monkeypatch):
    from vsie import feature_cache
    from vsie.data import ClipsDataset, load

    (clips,) = (debug[0] / "cache" / "rendered").iterdir()
    splits = {"train": ClipsDataset(load(clips), "train")}
    model = vsie.load(debug[0] / "run")
    options = ((1, 1), "32-true", "random-init")
    (split,) = feature_cache.feature_set(tmp_path / "one", model.method, splits, *options)
    monkeypatch.setattr(feature_cache.features, "evaluation_features", lambda *_, **__: pytest.fail("encoded again"))
    (whole,) = feature_cache.feature_set(tmp_path / "two", Whole(model.encoder), splits, *options)
    assert split.invariant_dim > 0 == whole.invariant_dim and np.array_equal(whole.image, split.image)
    files = [sorted((tmp_path / run).rglob("*.npy")) for run in ("one", "two")]
    assert files[0] and all(os.path.samefile(*pair) for pair in zip(*files, strict=True))
    shutil.rmtree(tmp_path / "one")
    (kept,) = feature_cache.feature_set(tmp_path / "two", Whole(model.encoder), splits, *options)
    assert np.array_equal(kept.image, whole.image) and list(kept.paths) == list(whole.paths)
    monkeypatch.undo()
    (removed,) = (tmp_path / "two").rglob("image.npy")
    removed.unlink()  # a folder that another process is removing: nothing is taken from it
    (again,) = feature_cache.feature_set(tmp_path / "three", Whole(model.encoder), splits, *options)
    assert np.array_equal(again.image, whole.image)


def test_what_a_random_encoder_knows_is_measured_once_for_all_runs_in_a_folder(debug, tmp_path):
    from vsie import feature_cache
    from vsie.data import ClipsDataset, load

    (clips,) = (debug[0] / "cache" / "rendered").iterdir()
    splits = {name: ClipsDataset(load(clips), split) for name, split in (("train", "train"), ("test", "val"))}
    model, options = vsie.load(debug[0] / "run"), ((1, 1), "32-true", "random-init")
    train, test = feature_cache.feature_set(tmp_path / "one", model.method, splits, *options)
    asked = []

    def measure():
        asked.append(len(asked))
        return {"top1": 0.1 + len(asked), "none": float("nan")}

    first = feature_cache.Measured(tmp_path / "one", train, test)
    assert first("class/all", measure)["top1"] == 1.1 == first("class/all", measure)["top1"] and asked == [0]
    same = feature_cache.feature_set(tmp_path / "two", Whole(model.encoder), splits, *options)
    beside = feature_cache.Measured(tmp_path / "two", *same)
    assert beside("class/all", measure)["top1"] == 1.1 and math.isnan(beside("class/all", measure)["none"]) and asked == [0]
    assert beside("class/inv", measure)["top1"] == 2.1  # another question
    shutil.rmtree(tmp_path / "one")
    assert feature_cache.Measured(tmp_path / "two", *same)("class/all", measure)["top1"] == 1.1  # kept with each run
    (file,) = (tmp_path / "two").rglob("measured.json")
    file.write_text('{"class', encoding="utf-8")
    assert feature_cache.Measured(tmp_path / "two", *same)("class/all", lambda: {"top1": 0.5}) == {"top1": 0.5}  # a damaged file
    few = {"train": splits["test"], "test": splits["test"]}
    other = feature_cache.feature_set(tmp_path / "three", model.method, few, *options)
    assert feature_cache.Measured(tmp_path / "three", *other)("class/all", measure)["top1"] == 3.1  # other clips to fit on


def test_steps_of_several_frames_are_seen_in_blocks():
    class Pairs(Encoder):
        stride, dim = 2, 1

        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.ones(1)), []

        def forward(self, clip):
            self.seen.append(clip.shape[2])
            return clip.mean((1, 3, 4)).unflatten(-1, (-1, min(2, clip.shape[2]))).mean(-1, keepdim=True) * 255

    video = torch.arange(11, dtype=torch.uint8)[None, :, None, None, None].expand(2, 11, 4, 4, 3).contiguous()
    encoder = Pairs()
    alone, context = encode_clip(encoder, video, 4)
    assert encoder.seen == [1, 4]
    torch.testing.assert_close(alone[1, :, 0], torch.tensor([1.0, 3, 5, 7, 9]))
    torch.testing.assert_close(context[1, :, 0], torch.tensor([0.5, 2.5, 4.5, 6.5, 8.5]))
    torch.testing.assert_close(encode_clip(encoder, video, 16)[1], context)
    assert encoder.seen[2:] == [1, 10]
    alone, context = encode_clip(encoder, video, 1)
    assert context is alone and encoder.seen[4:] == [1]


def test_protocols_as_sie_released_them_are_added_to_the_metrics(debug, tools):
    folder, _, _, environment = debug
    run_folder = shutil.copytree(folder / "run", folder / "compat", ignore=shutil.ignore_patterns("*.png"))
    before = json.loads((run_folder / "metrics.json").read_text())
    arguments = ("evaluate", "checkpoint=compat", "compat=sie", "protocol=[classification,mrr,pre]", "metric=compat_sie/mrr/mrr")
    result = run(tools, *arguments, cwd=folder, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    after = json.loads((run_folder / "metrics.json").read_text())
    assert {key: after[key] for key in before} == before
    for key in ("classification/top1/all", "classification/top5/inv", "mrr/mrr", "mrr/hit@10", "pre/pre"):
        assert isinstance(after[f"compat_sie/{key}"], float) and isinstance(after[f"compat_sie/{key}/floor"], float)
    assert after["compat_sie/mrr/hit@1/floor"] == pytest.approx(1 / 16)  # 2 clips of 8 frames, the source among them
    assert "as SIE released it" in result.stdout and "Top-1, single frame" in result.stdout  # the table has both
    result = run(tools, "evaluate", "checkpoint=compat", "protocol=rotations", "overwrite=true", cwd=folder, env=environment)
    assert result.returncode == 2 and "unknown protocol rotations" in result.stderr


def test_protocols_of_single_frames_through_the_pipeline(debug, monkeypatch):
    from vsie import pipeline
    from vsie.evaluation import pose

    monkeypatch.setenv("VSIE_DATA", str(debug[0] / "cache"))
    monkeypatch.setattr(pose, "STEPS", 30)
    found = pipeline.evaluate(debug[0] / "run", protocols=["mrr"], out=debug[0] / "line")
    stored = {file.name: file.stat().st_mtime_ns for file in (debug[0] / "run" / "features").iterdir()}
    found = pipeline.evaluate(debug[0] / "run", protocols=["mrr", "pre"], out=debug[0] / "line")
    again = {file.name: file.stat().st_mtime_ns for file in (debug[0] / "run" / "features").iterdir()}
    assert stored == again  # features are computed once
    assert found["mrr/mrr/floor"] == pytest.approx(np.mean([1 / (k + 1) for k in range(15)]))
    assert 0 < found["pre/pre"] < 1 and pipeline.measured(debug[0] / "line", "mrr/mrr") == found["mrr/mrr"]
    assert pipeline.measured(debug[0] / "line", "mrr/mr") is None is pipeline.measured(debug[0], "mrr/mrr")


def test_batchnorm_in_train_mode_depends_on_the_batch_and_leaves_no_trace():
    """One frame of each clip is a batch; statistics are that batch's; the network is as before."""
    from vsie.features import encode_among_others, has_batch_norm

    class Normed(torch.nn.Module):
        stride, dim = 1, 4

        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))

        def forward(self, clip):
            return self.layers(clip.mean((2, 3, 4)))[:, None]

    torch.manual_seed(0)
    encoder = Normed().eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    video = torch.randint(0, 255, (6, 5, 8, 8, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = encode_among_others(encoder, video, seed=1)
        linear = encoder.layers[0](video.float().mean((2, 3)) / 255)
    assert found.shape == (6, 5, 4) and has_batch_norm(encoder) and not has_batch_norm(torch.nn.Linear(2, 2))
    order = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)).argsort(1)
    for frames in order.unbind(1):
        batch = linear[torch.arange(6), frames]
        expected = (batch - batch.mean(0)) / (batch.var(0, unbiased=False) + 1e-5).sqrt()
        assert torch.allclose(found[torch.arange(6), frames], expected, atol=1e-4)
    assert not any(module.training for module in encoder.modules())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.layers[1].track_running_stats


def test_only_the_frames_that_are_drawn_are_encoded():
    from types import SimpleNamespace

    from tests.evaluation.synthetic import three_die_bench
    from vsie.features import drawn_features

    class Normed(torch.nn.Module):
        stride, dim = 1, 2

        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(3)

        def forward(self, clip):
            return self.norm(clip.mean((2, 3, 4)))[:, None, :2]

    method, known = SimpleNamespace(encoder=Normed().eval()), three_die_bench(objects=5, views=6, dim=2)
    video = torch.randint(0, 255, (5, 6, 4, 4, 3), dtype=torch.uint8)
    dataset = [{"frames": frames} for frames in video]
    drawn = np.stack([6 * np.arange(5) + k for k in (0, 3, 5)], 1)
    found = drawn_features(method, dataset, known, drawn)
    assert found.clip is found.image and np.array_equal(found.poses, known.poses[:, [0, 3, 5]])
    expected = video.float().mean((2, 3))[..., :2] / 255 / (1 + 1e-5) ** 0.5  # statistics are still those of the start
    np.testing.assert_allclose(found.image, expected[:, [0, 3, 5]], atol=1e-5)
    assert not np.allclose(found.image, known.image[:, [0, 3, 5]])


def test_features_with_latents_survive_their_file(tmp_path):
    from tests.evaluation.synthetic import three_die_bench
    from vsie.feature_set import load_features, save_features

    data = three_die_bench(objects=3, views=4, dim=2)
    assert load_features(tmp_path / "features") is None
    save_features(tmp_path / "features", data)
    again = load_features(tmp_path / "features")
    assert isinstance(again.image, np.memmap) and again.clip is again.image and np.array_equal(again.image, data.image)
    assert np.array_equal(again.latents, data.latents) and tuple(again.latent_names) == data.latent_names


def test_a_new_version_goes_on_with_what_is_rendered_and_pictures_that_have_changed_are_others(tmp_path, monkeypatch):
    from vsie import pipeline
    from vsie.render import clips, turns
    from vsie.schemas import RenderedData

    monkeypatch.setenv("VSIE_DATA", str(tmp_path))
    options = RenderedData(objects=2, clips_per_object=1, frames=2, size=24, families=["mug"], supersample=1, workers=1)
    small = dict(trajectory="turntable", families=["mug"], size=24, objects=1, views=1, supersample=1, progress=False)
    first, turned = pipeline.rendered(options), turns.cached(tmp_path, **small)
    before = {path: path.stat().st_mtime_ns for path in first.parent.rglob("*.mp4")}
    monkeypatch.setattr(vsie, "__version__", "99.0")
    assert pipeline.rendered(options) == first
    assert before and {path: path.stat().st_mtime_ns for path in first.parent.rglob("*.mp4")} == before
    monkeypatch.setitem(clips.CHANGED, "orbit", 1)
    assert pipeline.rendered(options) == first  # that is none of its pictures
    monkeypatch.setitem(clips.CHANGED, "all", 1)
    assert pipeline.rendered(options).parent != first.parent
    turns.cached(tmp_path, **small)
    assert len(list(tmp_path.glob("turns-*.npz"))) == 2 and len(turned.images) == 1


def test_the_default_data_set_keeps_its_folder(tmp_path, monkeypatch):
    """Rendered by 0.1.0: a machine that has it does not render it again."""
    from vsie import pipeline
    from vsie.render import dataset
    from vsie.schemas import RenderedData

    monkeypatch.setenv("VSIE_DATA", str(tmp_path))
    monkeypatch.setattr(dataset, "render_dataset", lambda out, **_: out)
    assert pipeline.rendered(RenderedData()).name == "turntable-64px-1200x4x16-7dab4ef5"
