"""The tool: archives beside the clips, resumed, sharded, refused when stale."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.motion.scenes import moved, similarity
from tests.test_config import run
from vsie import components
from vsie.config import CONFIGS, compose
from vsie.data import manifest as manifests
from vsie.motion import estimate, solver
from vsie.motion.estimate import estimate_manifest
from vsie.render.clips import encode_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of 4 and 5 frames and one of one frame."""
    folder = tmp_path_factory.mktemp("videos")
    for name, frames in (("a", 4), ("b", 5), ("c", 1)):
        pictures = moved([similarity(shift=(2.0 * t, 0)) for t in range(frames)])
        (folder / f"{name}.mp4").write_bytes(encode_video(pictures, 8.0))
    return folder


AFFINE = dict(flow={"name": "dis"}, egomotion={"name": "affine"}, progress=False)


def test_every_component_has_a_yaml_that_says_its_defaults():
    for group, room in (("flow", "motion.flow"), ("egomotion", "motion.egomotion")):
        assert sorted(file.stem for file in (CONFIGS / group).glob("*.yaml")) == components.names(room)
        for name in components.names(room):
            chosen = getattr(compose("estimate_motion", ["manifest=a", "out=b", f"{group}={name}"]), group)
            options = components.options(components.find(room, name))
            assert chosen == {"name": name} | {k: list(v) if isinstance(v, tuple) else v for k, (_, v) in options.items()}
            components.build_from(room, chosen)
    with pytest.raises(ValueError, match="smoothness"):
        compose("estimate_motion", ["manifest=a", "out=b", "flow.smothness=3"])


def test_the_tool_writes_a_manifest_that_trains_and_continues(tools, videos, tmp_path):
    arguments = (f"manifest={videos}", "out=motion", "egomotion=affine", "flow.workers=1")
    result = run(tools, "estimate_motion", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    table = manifests.load(tmp_path / "motion" / "manifest.csv")
    assert len(table) == 3 and table.posed.all() and table.video(0) == videos / "a.mp4"
    times, poses = table.poses(1)
    assert poses.shape == (5, 4, 4) and len(times) == 5
    assert json.loads((tmp_path / "motion" / "motion.json").read_text())["egomotion"]["name"] == "affine"
    files = sorted((tmp_path / "motion" / "motion").glob("*.npz"))
    before = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()
    again = dict(AFFINE, flow=compose("estimate_motion", ["manifest=a", "out=b"]).flow)
    again["egomotion"] = compose("estimate_motion", ["manifest=a", "out=b", "egomotion=affine"]).egomotion
    estimate_manifest(manifest=videos, out=tmp_path / "motion", **again)
    after = [file.stat().st_mtime_ns for file in files]
    assert (before[0], before[2]) == (after[0], after[2]) and before[1] != after[1]
    other = dict(again, egomotion=again["egomotion"] | {"points": 100})
    with pytest.raises(ValueError, match=r"a\.mp4\.npz: motion estimated with other settings \(egomotion"):
        estimate_manifest(manifest=videos, out=tmp_path / "motion", **other)
    estimate_manifest(manifest=videos, out=tmp_path / "motion", overwrite=True, **other)


def test_an_archive_of_another_video_is_refused_by_name_and_a_copy_is_not(videos, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.mp4").write_bytes((videos / f"{name}.mp4").read_bytes())
    estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "out", **AFFINE)
    before = (tmp_path / "out" / "motion" / "b.mp4.npz").stat().st_mtime_ns
    (tmp_path / "in" / "b.mp4").write_bytes((videos / "b.mp4").read_bytes())  # another time, the same content
    estimate_manifest(manifest=manifests.load(tmp_path / "in"), out=tmp_path / "out", **AFFINE)
    assert (tmp_path / "out" / "motion" / "b.mp4.npz").stat().st_mtime_ns == before
    (tmp_path / "in" / "b.mp4").write_bytes((videos / "a.mp4").read_bytes())
    with pytest.raises(ValueError, match=r"b\.mp4\.npz: motion estimated from another video than .*b\.mp4 is now"):
        estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "out", **AFFINE)


def test_videos_of_one_name_in_two_formats_have_archives_of_their_own(videos, tmp_path):
    for suffix in (".mp4", ".m4v"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"a{suffix}").write_bytes((videos / "a.mp4").read_bytes())
    estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "out", **AFFINE)
    assert sorted(file.name for file in (tmp_path / "out" / "motion").iterdir()) == ["a.m4v.npz", "a.mp4.npz"]


def test_shards_together_give_what_one_gives(videos, tmp_path):
    whole = estimate_manifest(manifest=videos, out=tmp_path / "whole", **AFFINE)
    first = estimate_manifest(manifest=videos, out=tmp_path / "parts", shard=(1, 2), **AFFINE)
    assert first == tmp_path / "parts" and not (first / "manifest.csv").exists()
    second = estimate_manifest(manifest=videos, out=tmp_path / "parts", shard=(0, 2), **AFFINE)
    assert second.read_text() == whole.read_text()
    for file in (tmp_path / "whole" / "motion").glob("*.npz"):
        with np.load(file) as one, np.load(tmp_path / "parts" / "motion" / file.name) as other:
            for name in one.files:
                np.testing.assert_array_equal(one[name], other[name])


def test_frames_have_their_times_when_a_pace_is_chosen(videos, tmp_path, monkeypatch):
    (tmp_path / "a.clip").write_text(json.dumps({"times": [0.0, 0.125, 0.375], "video": str(videos / "b.mp4")}))
    asked, original = [], solver.at_its_pace
    monkeypatch.setattr(solver, "at_its_pace", lambda how, clips: asked.extend(clips) or original(how, clips))
    estimate_manifest(manifest=tmp_path, out=tmp_path / "out", **AFFINE)
    assert [clip.times.tolist() for clip in asked] == [[0.0, 0.125, 0.375]]


def test_a_video_that_cannot_be_read_is_counted_and_named(videos, tmp_path):
    for file in videos.glob("*.mp4"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    path = estimate_manifest(manifest=tmp_path, out=tmp_path / "out", allowed_skips=0.5, **AFFINE)
    assert len(manifests.load(path)) == 3 and "broken.mp4" in (tmp_path / "out" / "skipped.csv").read_text()
    with pytest.raises(RuntimeError, match="1 of 4 videos cannot be used"):
        estimate_manifest(manifest=tmp_path, out=tmp_path / "strict", **AFFINE)
    (tmp_path / "d.mp4").write_bytes(b"no video")  # of 5 videos one may be lost, and no shard has more than one
    with pytest.raises(RuntimeError, match=r"2 of 5 videos cannot be read \(see .*skipped.csv\), expected at most 20.00%"):
        for shard in range(5):
            estimate_manifest(manifest=tmp_path, out=tmp_path / "shards", allowed_skips=0.2, shard=(shard, 5), **AFFINE)
    assert not (tmp_path / "shards" / "manifest.csv").exists()


def posed(folder, videos, focal: float = 100.0) -> None:
    """The folder with a video of 4 frames, its poses and intrinsics, and a manifest of them."""
    folder.mkdir(exist_ok=True)
    (folder / "a.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (folder / "manifest.csv").write_text("path,label,object,clip,split,poses\na.mp4,,a,0,train,a.npz\n")
    intrinsics = np.array([[focal, 0, 48], [0, focal, 48], [0, 0, 1]])
    np.savez(folder / "a.npz", times=np.arange(4) / 8, object_in_camera=np.tile(np.eye(4), (4, 1, 1)), intrinsics=intrinsics)


def test_a_manifest_that_is_not_ours_is_not_replaced(videos, tmp_path):
    posed(tmp_path / "in", videos)
    before = (tmp_path / "in" / "manifest.csv").read_bytes()
    for manifest in (tmp_path / "in", tmp_path / "in" / ".." / "in" / "manifest.csv"):
        with pytest.raises(ValueError, match=r"in is the folder of the data .*manifest\.csv.* out=.*in-motion"):
            estimate_manifest(manifest=manifest, out=tmp_path / "in", **AFFINE)
    with pytest.raises(ValueError, match="is the folder of the data"):  # of bare videos: it would pass for the data's own
        estimate_manifest(manifest=videos, out=videos, **AFFINE)
    with pytest.raises(ValueError, match=r"in/manifest\.csv would be replaced, and is not of estimated motion"):
        estimate_manifest(manifest=videos, out=tmp_path / "in", **AFFINE)
    assert (tmp_path / "in" / "manifest.csv").read_bytes() == before and not (videos / "manifest.csv").exists()
    assert not list(tmp_path.rglob("motion")) and not (videos / "motion").exists()


def test_a_video_that_was_mended_is_in_the_manifest(videos, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (tmp_path / "in" / "b.mp4").write_bytes(b"half copied")
    run = dict(out=tmp_path / "out", allowed_skips=0.5, **AFFINE)
    assert len(manifests.load(estimate_manifest(manifest=tmp_path / "in", **run))) == 1
    monkeypatch.chdir(tmp_path)
    part = estimate_manifest(manifest="in", shard=(0, 2), **run)  # known by another name of the folder, too
    assert part.name == "manifest.csv" and len(manifests.load(part)) == 1
    (tmp_path / "in" / "b.mp4").write_bytes((videos / "b.mp4").read_bytes())
    assert len(manifests.load(estimate_manifest(manifest=tmp_path / "in", **run))) == 2


def test_motion_from_other_intrinsics_is_refused_by_name(videos, tmp_path):
    def shift() -> float:
        path = estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "out", **AFFINE)
        return float(manifests.load(path).poses(0)[1][3, 0, 3])

    posed(tmp_path / "in", videos)
    first = shift()
    posed(tmp_path / "in", videos)  # written again, the same
    assert shift() == first
    posed(tmp_path / "in", videos, focal=200.0)
    with pytest.raises(ValueError, match=r"a\.mp4\.npz: motion estimated with other intrinsics than .* now \(.*in/a\.npz\)"):
        shift()
    estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "out", overwrite=True, **AFFINE)
    assert shift() == pytest.approx(first / 2, rel=0.05)
    (tmp_path / "in" / "manifest.csv").unlink()
    with pytest.raises(ValueError, match=r"other intrinsics than are known of .*a\.mp4 now \(no pose file\)"):
        shift()


def test_a_manifest_of_estimated_motion_estimates_the_same_again(videos, tmp_path):
    posed(tmp_path / "in", videos)
    first = estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "first", **AFFINE)
    second = estimate_manifest(manifest=first.parent, out=tmp_path / "second", **AFFINE)
    found = [manifests.load(path).poses(0)[1] for path in (first, second)]
    assert np.abs(found[0][3, :3, 3]).max() > 0.01
    np.testing.assert_array_equal(*found)
    unused = estimate_manifest(manifest=tmp_path / "in", out=tmp_path / "unused", uses=[], **AFFINE)
    with np.load(manifests.load(unused).pose_file(0)) as archive:
        assert "intrinsics" not in archive.files


def test_an_overwrite_that_was_interrupted_goes_on(videos, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.mp4").write_bytes((videos / f"{name}.mp4").read_bytes())
    run = dict(manifest=tmp_path / "in", out=tmp_path / "out", **AFFINE | {"egomotion": {"name": "affine", "points": 99}})
    estimate_manifest(**run | AFFINE)
    files = [tmp_path / "out" / "motion" / f"{name}.mp4.npz" for name in "ab"]
    times = [[file.stat().st_mtime_ns for file in files]]
    for shard in ((0, 2), (0, 1), (0, 1)):
        estimate_manifest(**run, shard=shard, overwrite=True)
        times.append([file.stat().st_mtime_ns for file in files])
    old, half, whole, again = times
    assert old[0] != half[0] == whole[0] and old[1] == half[1] != whole[1] and again == whole
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")
    path = estimate_manifest(**run, overwrite=True, allowed_skips=0.5)
    assert len(manifests.load(path)) == 1 and not files[1].exists()


def test_large_frames_are_read_a_few_at_a_time(monkeypatch):
    class Video:
        times, asked = np.arange(5) / 25, []

        def read(self, numbers):
            self.asked.append(numbers.tolist())
            return np.full((len(numbers), 300, 200, 3), 9, np.uint8)

    class Table:
        pose_file = staticmethod(lambda row: None)

    monkeypatch.setattr(estimate, "BYTES", 2 * 300 * 200 * 3 + 5)
    found = list(estimate._read(Table, 0, Video(), 100, (), False))
    assert Video.asked == [[0], [1, 2], [3, 4]]
    assert [(stretch.frames.shape, facts) for stretch, facts in found] == [((5, 150, 100, 3), {})]
    monkeypatch.setattr(estimate, "BYTES", 1)
    Video.asked.clear()
    list(estimate._read(Table, 0, Video(), 100, (), False))
    assert Video.asked == [[0], [1], [2], [3], [4]]


def test_facts_that_do_not_fit_the_video_are_named(videos, tmp_path):
    (tmp_path / "a.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (tmp_path / "manifest.csv").write_text("path,label,object,clip,split,poses\na.mp4,,a,0,train,a.npz\n")
    poses = np.tile(np.eye(4), (4, 1, 1)) + np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3.0, 0, 0, 0, 0]).reshape(4, 4)
    np.savez(tmp_path / "a.npz", times=np.arange(4) / 8, object_in_camera=poses, depth=np.ones((3, 96, 96)))
    with pytest.raises(ValueError, match=r"a\.npz: depth has shape \(3, 96, 96\), expected \(4, 96, 96\) as .*a\.mp4"):
        estimate_manifest(manifest=tmp_path / "manifest.csv", out=tmp_path / "out", uses=("depth",), **AFFINE)
    with pytest.raises(ValueError, match=r"a\.npz: no field 'depth' that may be used \(uses=\[intrinsics\]\), and egomotion=pnp"):
        estimate_manifest(manifest=tmp_path, out=tmp_path / "other", **AFFINE | {"egomotion": {"name": "pnp"}})
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"a\.npz: cannot be read as \.npz"):
        estimate_manifest(manifest=tmp_path / "manifest.csv", out=tmp_path / "third", **AFFINE)


def test_frames_of_pixels_that_are_not_square_are_stretched(videos, tmp_path, monkeypatch):
    """Estimators know one focal length."""
    (tmp_path / "a.mp4").write_bytes((videos / "a.mp4").read_bytes())
    (tmp_path / "manifest.csv").write_text("path,label,object,clip,split,poses\na.mp4,,a,0,train,a.npz\n")
    lens = np.array([[90.0, 0, 50], [0, 60, 40], [0, 0, 1]])
    np.savez(tmp_path / "a.npz", times=np.arange(4) / 8, object_in_camera=np.tile(np.eye(4), (4, 1, 1)), intrinsics=lens)
    seen, add = [], solver.Solver.add
    monkeypatch.setattr(solver.Solver, "add", lambda *given: seen.append(given[2:4]) or add(*given))
    estimate_manifest(manifest=tmp_path, out=tmp_path / "out", uses=("intrinsics",), **AFFINE | {"size": 48})
    ((stretch, facts),) = seen
    assert stretch.frames.shape[1:3] == (72, 48)  # of 96 x 96: half, and half as high again
    np.testing.assert_allclose(facts["intrinsics"], [[45, 0, 25], [0, 45, 30], [0, 0, 1]])
    (archive,) = (tmp_path / "out").rglob("*.npz")
    with np.load(archive) as kept:
        np.testing.assert_array_equal(kept["intrinsics"], lens)  # of the video as it is


def test_few_frames_are_in_memory_and_give_the_same(videos, tmp_path, monkeypatch):
    whole = estimate_manifest(manifest=videos, out=tmp_path / "whole", **AFFINE)
    monkeypatch.setattr(solver, "FRAMES", 6)
    monkeypatch.setattr(estimate, "PIECE", 2)
    solved = []
    original = solver.Solver.solve
    monkeypatch.setattr(
        solver.Solver, "solve", lambda self: solved.append(sum(len(item[2].frames) for item in self.waiting)) or original(self)
    )
    pieces = estimate_manifest(manifest=videos, out=tmp_path / "pieces", **AFFINE)
    assert solved == [4, 5] and pieces.read_text() == whole.read_text()
    for file in (tmp_path / "whole" / "motion").glob("*.npz"):
        with np.load(file) as one, np.load(tmp_path / "pieces" / "motion" / file.name) as other:
            for name in one.files:
                np.testing.assert_array_equal(one[name], other[name])


def test_the_manifest_is_of_one_setting_and_without_what_could_not_be_read(videos, tmp_path, monkeypatch):
    for file in videos.glob("*.mp4"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    looked = []
    original = estimate._lost
    monkeypatch.setattr(estimate, "_lost", lambda *a: looked.append(1) or original(*a))
    estimate_manifest(manifest=tmp_path, out=tmp_path / "out", **AFFINE)
    (tmp_path / "out" / "manifest.csv").unlink()
    other = AFFINE | {"egomotion": {"name": "affine", "points": 99}}
    half = estimate_manifest(manifest=tmp_path, out=tmp_path / "out", shard=(0, 2), overwrite=True, **other)
    assert half == tmp_path / "out"  # the other half is of the settings before
    (tmp_path / "b.mp4").write_bytes(b"no video")
    path = estimate_manifest(manifest=tmp_path, out=tmp_path / "out", overwrite=True, allowed_skips=0.5, **other)
    assert len(manifests.load(path)) == 2 and len(looked) == 3
