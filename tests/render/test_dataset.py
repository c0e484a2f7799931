"""A rendered folder is a function of its arguments: whatever the workers, shards and interruptions."""

from __future__ import annotations

import concurrent.futures
import csv
import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType

import vsie
from vsie.benchmarks import render as benchmark
from vsie.render import clips, dataset, families, pool, trajectories
from vsie.render.dataset import parse_shard, render_dataset

NAMES = ("chair", "sofa")
SMALL = {
    "objects": 4,
    "clips_per_object": 2,
    "frames": 3,
    "size": 24,
    "trajectory": "turntable",
    "seed": 7,
    "workers": 1,
    "families": NAMES,
    "supersample": 1,
    "val_fraction": 0.5,
    "progress": False,
}


def render(out: Path, **changes) -> Path:
    return render_dataset(out=out, **{**SMALL, **changes})


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a data set but the shards' own manifests, by relative path."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and ".shard-" not in path.name]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def rows(manifest: Path) -> list[dict[str, str]]:
    with open(manifest, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def start(folder: Path, **changes) -> subprocess.Popen:
    """A process of its own that renders into `folder`/set, returned when the first clips are there."""
    script = folder / "program.py"
    script.write_text(f"""
from vsie.render.dataset import render_dataset
if __name__ == "__main__":
    render_dataset(out={str(folder / "set")!r}, **{ {**SMALL, **changes}!r})
""")
    environment = {**os.environ, "PYTHONPATH": str(Path(vsie.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    while len(list((folder / "set").glob("clips/*/[0-9].mp4"))) < 3 and process.poll() is None:
        time.sleep(0.005)
    return process


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "set"
    render(out)
    return out


def test_folder_holds_what_the_contract_says(reference):
    table = rows(reference / "manifest.csv")
    assert list(table[0]) == ["path", "label", "object", "clip", "split", "poses"]
    assert len(table) == 8
    assert (reference / "classes.txt").read_text().splitlines() == list(NAMES)
    for row in table:
        assert row["object"].startswith(NAMES[int(row["label"])])
        assert row["path"] == f"clips/{row['object']}/{row['clip']}.mp4"
        assert decode(reference / row["path"]).shape == (3, 24, 24, 3)
        with np.load(reference / row["poses"]) as archive:
            assert {name: (archive[name].shape, archive[name].dtype.name) for name in archive} == {
                "times": ((3,), "float64"),
                "object_in_camera": ((3, 4, 4), "float64"),
                "intrinsics": ((3, 3), "float64"),
                "latents": ((3, 7), "float64"),
            }
            np.testing.assert_array_equal(archive["times"], np.arange(3) / 8)
    summary = json.loads((reference / "dataset.json").read_text())
    assert summary["seed"] == 7 and summary["licence"].startswith("Apache-2.0") and summary["arguments"]["size"] == 24
    assert summary["counts"] == {
        "objects": 4,
        "clips": 8,
        "frames": 24,
        "splits": {"train": 2, "val": 2},
        "classes": {"chair": 2, "sofa": 2},
    }


def test_clips_of_an_object_differ_in_light_and_motion_but_not_within_a_clip(reference):
    latents = [np.load(reference / row["poses"])["latents"] for row in rows(reference / "manifest.csv")]
    for clip in latents:
        assert (clip[:, 3:] == clip[0, 3:]).all()
        assert len(np.unique(clip[:, 2])) == 3
    assert len({tuple(clip[0]) for clip in latents}) == len(latents)


def test_same_bytes_from_two_workers(reference, tmp_path):
    render(tmp_path / "set", workers=2)
    assert contents(tmp_path / "set") == contents(reference)


def test_same_bytes_from_shards_in_any_order_and_no_manifest_before_the_last(reference, tmp_path):
    out = tmp_path / "set"
    assert render(out, shard=(2, 3)).name == "manifest.shard-2-of-3.csv"
    assert render(out, shard=(0, 3)).name == "manifest.shard-0-of-3.csv"
    assert not (out / "manifest.csv").exists() and not (out / "dataset.json").exists()
    assert render(out, shard=(1, 3)) == out / "manifest.csv"
    assert contents(out) == contents(reference)


def test_another_seed_gives_other_pictures_and_other_lights(reference, tmp_path):
    render(tmp_path / "set", seed=8, objects=1, clips_per_object=1)
    ours, theirs = contents(tmp_path / "set"), contents(reference)
    for name in ("clips/chair_000000/0.mp4", "clips/chair_000000/0.npz"):
        assert ours[name] != theirs[name]


def test_killed_and_started_again_gives_the_same_bytes(tmp_path):
    """SIGKILL in the middle, two workers: no orphan goes on; the second run ends with an untouched run's bytes."""
    changes = {"objects": 12, "clips_per_object": 3, "frames": 6, "size": 32, "workers": 2}
    process = start(tmp_path, **changes)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # the workers hold the pipe too: it ends when the last of them has gone
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").glob("clips/*/[0-9].mp4")}
    assert 3 <= len(before) < 36 and not (tmp_path / "set" / "manifest.csv").exists()
    (next(iter(before)).parent / ".9.99999999.partial.mp4").write_bytes(b"half")
    next(iter(before)).with_suffix(".npz").unlink()
    render(tmp_path / "set", **changes)
    render(tmp_path / "whole", **{**changes, "workers": 1})
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    kept = [path for path, stamp in before.items() if path.stat().st_mtime_ns == stamp]
    assert len(kept) == len(before) - 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_cleanly_and_say_how_to_go_on(tmp_path, number, workers):
    process = start(tmp_path, objects=4000, workers=workers)
    os.killpg(process.pid, number)  # as a terminal and as SLURM do it: to the workers too
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}" in errors and "start again to continue" in errors and "Traceback" not in errors
    assert not list((tmp_path / "set").rglob("*.partial*")) and not (tmp_path / "set" / "manifest.csv").exists()
    for base in {path.with_suffix("") for path in (tmp_path / "set").glob("clips/*/[0-9].mp4")}:
        assert np.load(base.with_suffix(".npz"))["times"].shape == (3,) and len(decode(base.with_suffix(".mp4"))) == 3


def test_a_killed_worker_is_an_error_and_not_a_hang(tmp_path):
    process = start(tmp_path, objects=4000, workers=2)
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    workers = [int(child) for path in children for child in path.read_text().split()]
    rendering = [child for child in workers if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(rendering[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "RuntimeError: a render process died" in errors and "start again to continue" in errors
    assert not list((tmp_path / "set").rglob("*.partial*"))


@pytest.mark.parametrize("start", [
    lambda context: (pool._start_worker, (None, context.Event())), lambda context: (benchmark._share, (None,)),
], ids=["rendering", "benchmark"])  # fmt: skip
def test_a_process_that_renders_has_one_thread(start):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, *start(context)) as executor:
        assert executor.submit(cv2.getNumThreads).result(timeout=60) == 1


def test_one_thread_is_for_a_while():
    before = cv2.getNumThreads()
    with pool.one_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def test_done_is_done(reference):
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*.mp4")}
    assert render(reference) == reference / "manifest.csv"
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*.mp4")} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, r"\(seed: found 7, expected 8\)"),
        ({"families": ["sofa", "chair"]}, r"families: found \['chair', 'sofa'\], expected \['sofa', 'chair'\]"),
        ({"objects": 5, "size": 32}, r"size: found 24, expected 32; objects: found 4, expected 5"),
        ({"auxiliary": ["mask"]}, r"auxiliary: found \[\], expected \['mask'\]"),
    ],
)
def test_other_arguments_are_refused_by_name(reference, changes, message):
    before = contents(reference)
    with pytest.raises(ValueError, match=message):
        render(reference, **changes)
    assert contents(reference) == before


def test_pictures_that_have_changed_are_not_mixed_with_those_of_before(reference, tmp_path, monkeypatch):
    assert "changed" not in json.loads((reference / "render.json").read_text())
    monkeypatch.setitem(clips.CHANGED, "turntable", 1)
    with pytest.raises(ValueError, match=r"begun with other arguments \(changed: found None, expected {'turntable': 1}\)"):
        render(reference)
    render(tmp_path / "set", objects=1, clips_per_object=1)
    render(tmp_path / "set", objects=1, clips_per_object=1)
    monkeypatch.delitem(clips.CHANGED, "turntable")
    with pytest.raises(ValueError, match=r"changed: found {'turntable': 1}, expected None"):
        render(tmp_path / "set", objects=1, clips_per_object=1)


def test_overwrite_replaces_our_own_folder_and_never_another(tmp_path):
    small = {"objects": 1, "clips_per_object": 1}
    render(tmp_path / "set", **small)
    render(tmp_path / "set", **small, seed=9, overwrite=True)
    render(tmp_path / "fresh", **small, seed=9)
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"dear")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"photos holds 'holiday.jpg'"):
            render(tmp_path / "photos", **small, overwrite=overwrite)
    assert list((tmp_path / "photos").iterdir()) == [tmp_path / "photos" / "holiday.jpg"]
    with pytest.raises(FileExistsError, match="is a file"):
        render(tmp_path / "photos" / "holiday.jpg", **small)


def test_of_shards_that_overwrite_together_the_first_alone_removes_what_was_there(tmp_path, monkeypatch):
    render(tmp_path / "set", objects=1, clips_per_object=1)
    remove, removed = shutil.rmtree, []

    def slow(path, **options):
        removed.append(path)
        time.sleep(0.3)
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", slow)

    def shard(number: int) -> None:
        dataset._claim(tmp_path / "set", {"seed": 9}, overwrite=True)
        (tmp_path / "set/clips").mkdir(exist_ok=True)
        (tmp_path / f"set/clips/{number}.mp4").write_bytes(b"rendered")

    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        for future in [executor.submit(shard, number) for number in range(2)]:
            future.result()
    assert removed == [tmp_path / "set/clips"]
    assert sorted(path.name for path in (tmp_path / "set/clips").iterdir()) == ["0.mp4", "1.mp4"]


def test_shards_that_start_together_do_not_take_each_other_for_something_else(tmp_path, monkeypatch):
    """One lists the folder before the other's record is there, and looks for the record after."""
    listing = os.listdir

    def late(path="."):
        render(tmp_path / "set", objects=1, clips_per_object=1)
        return listing(path)

    (tmp_path / "set").mkdir()
    monkeypatch.setattr(os, "listdir", lambda path=".": (monkeypatch.setattr(os, "listdir", listing), late(path))[1])
    assert render(tmp_path / "set", objects=1, clips_per_object=1) == tmp_path / "set/manifest.csv"


def test_an_interrupted_overwrite_does_not_look_finished(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    render(tmp_path / "set", objects=1, clips_per_object=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", interrupted)
        render(tmp_path / "set", objects=1, clips_per_object=1, seed=9, overwrite=True)
    assert not list((tmp_path / "set").glob("manifest*")) and not (tmp_path / "set/dataset.json").exists()
    render(tmp_path / "set", objects=1, clips_per_object=1, seed=9, overwrite=True)
    render(tmp_path / "fresh", objects=1, clips_per_object=1, seed=9)
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


def test_splits_are_by_object_and_balanced_over_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "run", lambda *unused, **also: None)  # the plan alone: no picture is needed
    names = families.names()
    table = rows(render(tmp_path / "many", objects=10 * len(names), families=None, val_fraction=0.2))
    splits = {row["object"]: (row["split"], row["label"]) for row in table}
    assert all(splits[row["object"]][0] == row["split"] for row in table)
    held_out = Counter(label for split, label in splits.values() if split == "val")
    assert held_out == {str(label): 2 for label in range(len(names))}
    few, more = (
        {row["object"]: row["split"] for row in rows(render(tmp_path / str(count), objects=count, val_fraction=0.2))}
        for count in (10, 20)
    )
    assert list(few.values()).count("val") == 2 and few.items() <= more.items()
    none = rows(render(tmp_path / "none", val_fraction=0.0))
    assert {row["split"] for row in none} == {"train"}


@pytest.mark.parametrize("trajectory", trajectories.KINDS)
def test_poses_agree_with_what_the_pictures_show(tmp_path, trajectory):
    """The mesh's vertices, projected with the written pose and intrinsics, fill the mask's box; depth is theirs too."""
    auxiliary = ["mask", "depth", "normals"] + (["flow", "occlusion"] if trajectory not in ("views", "ood") else [])
    changes = {"objects": 1, "clips_per_object": 1, "size": 64, "trajectory": trajectory, "auxiliary": auxiliary}
    out = render(tmp_path / "set", **changes).parent
    mesh = families.build("chair", clips.generator(7, 0))
    points = np.c_[mesh.vertices[mesh.faces.ravel()], np.ones(mesh.faces.size)]
    with np.load(out / "clips/chair_000000/0.npz") as archive:
        arrays = dict(archive)
    assert arrays["normals"].dtype == np.float16 and arrays["mask"].shape == (3, 64, 64)
    if trajectory not in ("views", "ood"):
        assert arrays["flow"].shape == (2, 64, 64, 2) and arrays["occlusion"].dtype == bool
    video = decode(out / "clips/chair_000000/0.mp4").astype(float)
    frames = zip(arrays["object_in_camera"], arrays["mask"], arrays["depth"], video, strict=True)
    for pose, mask, depth, picture in frames:
        seen = points @ pose.T
        pixels = (seen[:, :3] / seen[:, 2:3]) @ arrays["intrinsics"].T
        row, column = np.nonzero(mask)
        box = np.array([column.min(), row.min(), column.max() + 1, row.max() + 1])
        expected = np.concatenate([pixels[:, :2].min(0), pixels[:, :2].max(0)])
        assert np.abs(box - expected).max() <= 1.5
        near, far = depth[mask].min(), depth[mask].max()
        assert seen[:, 2].min() - 1e-4 <= near and far <= seen[:, 2].max() + 1e-4
        assert np.isinf(depth[~mask]).all()
        assert np.linalg.norm(picture[mask].mean(0) - picture[~mask].mean(0)) > 10
    if trajectory in ("views", "ood"):
        assert len(np.unique(arrays["latents"][:, 3])) == 3  # 3DIEBench: each view has its own light and floor


def test_views_picture_has_the_light_of_its_own_latents(tmp_path):
    from vsie.render import Light, Renderer

    out = render(tmp_path / "set", objects=1, clips_per_object=1, size=64, trajectory="views").parent
    latents = np.load(out / "clips/chair_000000/0.npz")["latents"]
    renderer = Renderer(families.build("chair", clips.generator(7, 0)), size=64, supersample=1)
    rotations = trajectories.Rotation.from_euler("xyz", latents[:, :3]).as_matrix()
    for latent, rotation, seen in zip(latents, rotations, decode(out / "clips/chair_000000/0.mp4"), strict=True):
        true = renderer.render(rotation, Light(*latent[3:])).rgb
        assert np.abs(true.astype(float) - seen).mean() < 4


def test_video_keeps_the_colours_and_has_short_groups():
    ramp = np.linspace(0, 255, 64)
    still = np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 128.0)], -1)
    frames = np.stack([np.roll(still, 2 * shift, axis=1) for shift in range(9)]).astype(np.uint8)
    encoded = clips.encode_video(frames, 8.0)
    assert encoded == clips.encode_video(frames, 8.0)
    with av.open(io.BytesIO(encoded)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 8)
        decoded = list(container.decode(video=0))
    assert [bool(frame.key_frame) for frame in decoded] == [index % 4 == 0 for index in range(9)]
    assert PictureType.B not in {frame.pict_type for frame in decoded}
    np.testing.assert_allclose([frame.time for frame in decoded], np.arange(9) / 8)
    error = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded]).astype(float) - frames
    assert np.abs(error).mean() < 3


def test_archive_has_no_dates(monkeypatch):
    arrays = {"times": np.arange(3.0), "mask": np.ones((3, 8, 8), bool)}
    first = clips.archive_bytes(arrays, compress=True)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert clips.archive_bytes(arrays, compress=True) == first
    with np.load(io.BytesIO(first)) as archive:
        np.testing.assert_array_equal(archive["mask"], arrays["mask"])


def write_meshes(root: Path) -> None:
    import trimesh

    shapes = {"box/red.obj": trimesh.creation.box(), "ball/a/model.ply": trimesh.creation.icosphere(1)}
    for name, shape in shapes.items():
        (root / name).parent.mkdir(parents=True)
        shape.export(root / name)


def test_meshes_from_files_take_the_same_way(tmp_path):
    write_meshes(tmp_path / "meshes")
    changes = {"objects": None, "families": None, "meshes": tmp_path / "meshes"}
    out = render(tmp_path / "set", **changes).parent
    assert (out / "classes.txt").read_text().split() == ["ball", "box"]
    assert {row["object"] for row in rows(out / "manifest.csv")} == {"ball_a_model", "box_red"}
    assert "their licence" in json.loads((out / "dataset.json").read_text())["licence"]
    assert len(rows(render(tmp_path / "first", **{**changes, "objects": 1}))) == 2
    (tmp_path / "meshes/box/red.obj").write_text("v 0 0 nonsense\n")
    with pytest.raises((ValueError, RuntimeError), match=r"object box_red .*red\.obj"):
        render(tmp_path / "broken", **changes)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        render(tmp_path / "broken", **{**changes, "meshes": tmp_path / "nowhere"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no .obj"):
        render(tmp_path / "broken", **{**changes, "meshes": tmp_path / "empty"})


def test_a_mesh_folder_that_has_changed_is_another_data_set(tmp_path, monkeypatch):
    """A class in front moves all others' labels, and objects between train and val, though there are as many of them."""
    monkeypatch.setattr(pool, "run", lambda *unused, **also: None)
    for name in ("chair/a", "chair/b", "sofa/c", "sofa/d"):
        (tmp_path / "meshes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "meshes" / name).with_suffix(".obj").write_text("v 0 0 0\n")
    changes = {"objects": 3, "families": None, "meshes": tmp_path / "meshes"}
    render(tmp_path / "set", **changes)
    before = contents(tmp_path / "set")
    render(tmp_path / "set", **changes)
    assert contents(tmp_path / "set") == before
    (tmp_path / "meshes/bed").mkdir()
    (tmp_path / "meshes/bed/z.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"begun with other arguments \(meshes_listed: found '\w{16}', expected '\w{16}'\)"):
        render(tmp_path / "set", **changes)
    assert contents(tmp_path / "set") == before
    (tmp_path / "meshes/bed/z.obj").unlink()
    record = tmp_path / "set/render.json"  # as 0.1.0 wrote it: it goes on, and is noted from now on
    record.write_text(json.dumps({key: value for key, value in json.loads(record.read_text()).items() if key != "meshes_listed"}))
    render(tmp_path / "set", **changes)
    assert contents(tmp_path / "set") == before


def test_shapenet_is_rendered_by_its_listing(tmp_path):
    import trimesh

    listing = np.array([["04", "b"], ["02", "a"], ["04", "a"]])
    for synset, name in listing:
        (tmp_path / "shapes" / synset / name / "models").mkdir(parents=True)
        trimesh.creation.box().export(tmp_path / "shapes" / synset / name / "models/model_normalized.obj")
    np.save(tmp_path / "shapes/all_objects.npy", listing)
    changes = {"objects": None, "families": None, "meshes": tmp_path / "shapes", "trajectory": "views"}
    out = render(tmp_path / "set", **changes).parent
    assert (out / "classes.txt").read_text().split() == ["02", "04"]
    labels = {row["object"]: row["label"] for row in rows(out / "manifest.csv")}
    assert labels == {"02_a": "0", "04_b": "1", "04_a": "1"}


def test_linked_folders_of_meshes_are_read_and_hidden_files_are_not(tmp_path):
    write_meshes(tmp_path / "meshes")
    (tmp_path / "meshes" / "box").rename(tmp_path / "elsewhere")
    (tmp_path / "meshes" / "box").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "._red.obj").write_text("of a Mac")
    classes, sources = dataset._file_sources(tmp_path / "meshes")
    assert classes == ["ball", "box"] and [name for name, _ in sources[1]] == ["box_red"]


@pytest.mark.parametrize("how", ["alone", "workers", "shards"])
def test_a_broken_mesh_is_left_out_and_named_until_it_is_mended(tmp_path, how):
    write_meshes(tmp_path / "meshes")
    whole = (tmp_path / "meshes/box/red.obj").read_bytes()
    (tmp_path / "meshes/box/blue.obj").write_text("nothing\n")
    changes = {"objects": None, "families": None, "meshes": tmp_path / "meshes", "workers": 2 if how == "workers" else 1,
               "allowed_skips": 0.5}  # of all, not of a shard

    def start() -> Path:
        out = tmp_path / "set"
        for shard in ((1, 2), (0, 2)) if how == "shards" else ((0, 1),):
            render(out, shard=shard, **changes)
        return out

    out = start()
    assert [row["object"] for row in rows(out / "manifest.csv")] == ["ball_a_model"] * 2 + ["box_red"] * 2
    (row,) = rows(out / "skipped.csv")
    assert row["object"] == "box_blue" and row["file"].endswith("box/blue.obj") and "blue.obj: " in row["reason"]
    assert json.loads((out / "dataset.json").read_text())["counts"]["objects"] == 2
    splits = {row["object"]: row["split"] for row in rows(out / "manifest.csv")}
    (tmp_path / "meshes/box/blue.obj").write_bytes(whole)
    assert start() == out and not (out / "skipped.csv").exists()
    assert {row["object"] for row in rows(out / "manifest.csv")} == {"ball_a_model", "box_red", "box_blue"}
    assert splits.items() <= {row["object"]: row["split"] for row in rows(out / "manifest.csv")}.items()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_object_is_named(tmp_path, workers):
    write_meshes(tmp_path / "meshes")
    (tmp_path / "meshes/box/red.obj").write_text("nothing\n")
    told = r"1 of 2 objects cannot be used \(see .*skipped.csv\), expected at most 1.00%.*object box_red \(number 1, .*red.obj\)"
    with pytest.raises(ValueError, match=told):
        render(tmp_path / "set", objects=None, families=None, meshes=tmp_path / "meshes", workers=workers)
    assert not (tmp_path / "set" / "manifest.csv").exists()
    assert [row["object"] for row in rows(tmp_path / "set" / "skipped.csv")] == ["box_red"]


def test_full_disk_is_one_clear_error_with_nothing_half_written(tmp_path, monkeypatch):
    write, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 4:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"no space left.*object chair_000000.*start again") as caught:
        render(tmp_path / "set")
    assert caught.value.errno == errno.ENOSPC
    files = sorted(path.name for path in (tmp_path / "set/clips").rglob("*") if path.is_file())
    assert files == ["0.mp4", "0.npz", "1.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 33}, "size is 33, expected an even"),
        ({"frames": 0}, "frames is 0"),
        ({"objects": 0}, "objects is 0"),
        ({"objects": None}, "objects is null"),
        ({"workers": 0}, "workers is 0"),
        ({"fps": 0.0}, "fps is 0"),
        ({"trajectory": "spin"}, "trajectory is 'spin'.*tumble"),
        ({"families": ["chair", "unicorn"]}, "families names 'unicorn'"),
        ({"families": ["chair", "chair"]}, "none twice"),
        ({"auxiliary": ["albedo"]}, "auxiliary names 'albedo'"),
        ({"auxiliary": ["flow"], "trajectory": "views"}, "trajectory=views"),
        ({"shard": (3, 3)}, "shard is 3/3"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        render(tmp_path / "set", **changes)
    assert not (tmp_path / "set").exists()


def test_shards_are_read_from_text():
    assert parse_shard("2/8") == (2, 8)
    for text in ("8/8", "1", "a/b", "-1/4"):
        with pytest.raises(ValueError, match="expected i/n"):
            parse_shard(text)


def test_command_renders_and_refuses_with_one_line(tmp_path):
    root = Path(vsie.__file__).parents[1]

    def command(*overrides: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        line = [sys.executable, str(root / "tools/render.py"), *overrides]
        return subprocess.run(line, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)

    small = ["out=set", "objects=2", "frames=2", "size=32", "clips_per_object=1", "families=[chair,sofa]"]
    done = command(*small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set/manifest.csv" and len(rows(tmp_path / "set/manifest.csv")) == 2
    refused = command(*small, "seed=1")
    assert refused.returncode != 0 and "seed: found 0, expected 1" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "out is missing" in command("objects=2").stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]  # no folders of Hydra's
