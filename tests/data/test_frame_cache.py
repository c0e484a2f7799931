from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.data.conftest import moving_picture, write_dataset, write_video
from vsie.data import FrameCache, VideoError, WindowsDataset, decode, frame_cache, load
from vsie.data.decode import Video
from vsie.data.sources import resize
from vsie.files import locked


@pytest.fixture(scope="module")
def cache(manifest, tmp_path_factory):
    return FrameCache.build(manifest, tmp_path_factory.mktemp("cache") / "frames", workers=0)


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.bin"))}


@pytest.mark.parametrize("settings", [
    {"windows": 2, "frames": 4, "spacing": (1, 5)},
    {"windows": 5, "frames": 2, "spacing": (2, 3)},
    {"windows": 2, "frames": 4, "spacing": (1, 5), "step_times": lambda times: times.mean(-1, keepdim=True)},
])  # fmt: skip
def test_items_are_those_of_the_videos_to_the_bit(manifest, cache, settings):
    videos, cached = (WindowsDataset(manifest, "train", seed=3, cache=source, **settings) for source in (None, cache))
    for epoch in range(2):
        for dataset in (videos, cached):
            dataset.set_epoch(epoch)
        first, second = videos.__getitems__(range(6)), cached.__getitems__(range(6))
        assert first.keys() == second.keys()
        for name in first:
            assert torch.equal(first[name], second[name]), name


def test_a_batch_does_not_share_memory_with_the_cache(manifest, cache):
    before = cache.frames[:16].copy()
    batch = WindowsDataset(manifest, "train", windows=1, frames=2, cache=cache)[0]
    batch["clips"].zero_()
    np.testing.assert_array_equal(cache.frames[:16], before)


def test_frames_are_in_a_map_and_not_in_memory(cache):
    base = cache.frames
    while not isinstance(base, np.memmap):
        base = base.base
    assert str(base.filename) == str(cache.folder / "frames.bin") and not cache.frames.flags.writeable
    assert len(pickle.dumps(cache)) < 1000
    assert pickle.loads(pickle.dumps(cache)).start.tolist() == cache.start.tolist()


def test_a_finished_cache_is_opened_and_not_built(manifest, cache, monkeypatch):
    monkeypatch.setattr(frame_cache, "_prepare", None)
    assert FrameCache.build(manifest, cache.folder).start[-1] == 24 * 16
    assert FrameCache.open(manifest, cache.folder).start[-1] == 24 * 16


def test_workers_write_the_same_bytes(manifest, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "CHUNK", 3)
    built = FrameCache.build(manifest, tmp_path / "frames", workers=2)
    assert content(built.folder) == content(cache.folder)


def test_building_goes_on_after_an_interruption(manifest, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "CHUNK", 4)
    write, chunks = frame_cache._write, []

    def interrupted(manifest, rows, **settings):
        if len(chunks) == 2:
            raise KeyboardInterrupt
        chunks.append(rows)
        write(manifest, rows, **settings)

    monkeypatch.setattr(frame_cache, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FrameCache.build(manifest, tmp_path / "frames", workers=0)
    assert not (tmp_path / "frames").exists(), "what is not whole does not have the name"
    chunks.clear()

    def noted(manifest, rows, **settings):
        chunks.extend(rows)
        write(manifest, rows, **settings)

    monkeypatch.setattr(frame_cache, "_write", noted)
    built = FrameCache.build(manifest, tmp_path / "frames", workers=0)
    assert chunks == list(range(8, 24)), "only what was missing is decoded"
    assert content(built.folder) == content(cache.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".frames.lock", "frames"]


BUILD = """
import sys
from vsie.data import FrameCache, frame_cache, load
if __name__ == "__main__":
    frame_cache.CHUNK = 1
    FrameCache.build(load(sys.argv[1]), sys.argv[2], workers=0)
"""


def test_a_killed_build_leaves_nothing_that_passes_for_a_cache(manifest, cache, tmp_path):
    folder = tmp_path / "frames"
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(manifest.root), str(folder)], stderr=subprocess.DEVNULL)
    done, end = tmp_path / "frames.partial" / "done.bin", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if done.is_file() and sum(done.read_bytes()) >= 3:
            process.kill()
            break
        time.sleep(0.002)
    process.wait()
    if process.returncode == 0:
        pytest.skip("the build was faster than the kill")
    with pytest.raises(FileNotFoundError, match="no finished cache"):
        FrameCache(folder)
    assert content(FrameCache.build(manifest, folder, workers=0).folder) == content(cache.folder)


def test_a_stale_cache_is_refused_by_open_and_rebuilt_with_a_message_by_build(tmp_path, caplog):
    manifest = load(write_dataset(tmp_path / "data", objects=2, clips=1, val=0))
    folder = tmp_path / "frames"
    first = FrameCache.build(manifest, folder, workers=0)
    old = first.frames[:].copy()
    write_video(manifest.video(1), moving_picture(16, seed=99))
    with pytest.raises(ValueError, match="this cache is stale"):
        FrameCache.open(manifest, folder)
    built = FrameCache.build(manifest, folder, workers=0)
    assert "is stale" in caplog.text
    np.testing.assert_array_equal(built.frames[:16], old[:16])
    np.testing.assert_array_equal(built.clip(1).read(np.arange(16)), decode(manifest.video(1), np.arange(16) / 12))
    assert FrameCache.build(manifest, folder, workers=0, size=16).height == 16


def test_a_cache_of_other_videos_or_size_is_refused_by_the_data_set(manifest, cache, tmp_path):
    other = load(write_dataset(tmp_path, objects=2, clips=1, val=0))
    with pytest.raises(ValueError, match="a cache of other videos than"):
        WindowsDataset(other, "train", cache=cache)
    with pytest.raises(ValueError, match="frames of 32 x 32, expected 48 x 48"):
        WindowsDataset(manifest, "train", cache=cache, size=48)


def test_damage_to_the_cache_is_named(manifest, cache, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no finished cache"):
        FrameCache(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    shutil.copytree(cache.folder, copy)
    os.truncate(copy / "frames.bin", 1000)
    with pytest.raises(ValueError, match="frames.bin: 1000 bytes, expected 1179648; delete"):
        FrameCache(copy)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="mine: holds something that is no cache"):
        FrameCache.build(manifest, tmp_path / "mine", workers=0)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_unreadable_videos_are_recorded_and_skipped(tmp_path, caplog):
    manifest = load(write_dataset(tmp_path / "data", objects=3, clips=2, val=0))
    (tmp_path / "data/clips/object_0/0.mp4").write_bytes(b"no video")
    damaged = manifest.video(3)  # its index is whole, its pictures are not
    data = bytearray(damaged.read_bytes())
    media, index = data.index(b"mdat") + 4, data.index(b"moov")
    data[(media + index) // 2 : (media + index) // 2 + 300] = bytes(300)
    damaged.write_bytes(data)
    cache = FrameCache.build(manifest, tmp_path / "frames", workers=0)
    assert sorted(cache.reasons) == [0, 3] and "2 of 6 videos cannot be read" in caplog.text
    for row in (0, 3):
        with pytest.raises(VideoError, match=str(manifest.video(row))):
            cache.clip(row)
    dataset = WindowsDataset(manifest, "train", windows=2, frames=2, cache=cache, allowed_share=0.5)
    assert dataset[0]["clip"].tolist() == [1, 1] and dataset[1]["clip"].tolist() == [0, 0]
    assert dataset.skipped.count <= 2
    assert json.loads((cache.folder / "about.json").read_text())["unreadable"].keys() == {"0", "3"}


def test_long_videos_are_decoded_in_pieces(tmp_path, monkeypatch):
    write_video(tmp_path / "long.mp4", moving_picture(150))
    late = write_video(tmp_path / "late.mp4", moving_picture(150, seed=1))
    data = bytearray(late.read_bytes())
    media, index = data.index(b"mdat") + 4, data.index(b"moov")
    place = (media + index * 7) // 8
    data[place : place + 300] = bytes(300)
    late.write_bytes(data)
    manifest = load(tmp_path)
    expected = decode(tmp_path / "long.mp4", np.arange(150) / 12)
    asked = []
    read = Video.read
    monkeypatch.setattr(Video, "read", lambda video, numbers: asked.append(len(numbers)) or read(video, numbers))
    cache = FrameCache.build(manifest, tmp_path / "frames", workers=0, size=32)
    assert max(asked) <= 64
    (row,) = cache.reasons
    assert manifest.video(row) == late, "damage in its last piece leaves none of a video"
    np.testing.assert_array_equal(cache.clip(1 - row).read(np.arange(150)), expected)


def test_videos_of_several_sizes_need_a_size(tmp_path):
    for number, (height, width) in enumerate([(32, 48), (64, 40), (32, 32)]):
        write_video(tmp_path / f"{number}.mp4", moving_picture(5, height, width))
    manifest = load(tmp_path)
    folder = tmp_path / "frames"
    with pytest.raises(ValueError, match="1.mp4: frames of 64 x 40, expected 32 x 48 as in .*0.mp4; give a size"):
        FrameCache.build(manifest, folder, workers=0)
    cache = FrameCache.build(manifest, folder, workers=0, size=24)
    assert cache.frames.shape == (15, 24, 24, 3)
    videos, cached = (WindowsDataset(manifest, "train", frames=2, size=24, cache=source) for source in (None, cache))
    assert torch.equal(videos.__getitems__([0, 1, 2])["clips"], cached.__getitems__([0, 1, 2])["clips"])


def test_resizing_keeps_the_middle_and_the_proportions():
    picture = np.zeros((1, 40, 80, 3), np.uint8)
    picture[:, :, 20:60] = 200
    np.testing.assert_array_equal(resize(picture, 20)[:, :, 1:-1], 200)
    same = moving_picture(2)
    assert resize(same, 32) is same


def test_a_wrong_pose_file_and_no_readable_video_stop_the_build(tmp_path):
    manifest = load(write_dataset(tmp_path / "data", objects=1, clips=1, val=0))
    np.savez(manifest.pose_file(0), times=np.arange(16) / 12, object_in_camera=np.zeros((16, 4, 4)))
    with pytest.raises(ValueError, match="0.npz: field 'object_in_camera' is not a rigid motion at frame 0"):
        FrameCache.build(manifest, tmp_path / "frames", workers=0)
    manifest.video(0).write_bytes(b"no video")
    with pytest.raises(ValueError, match="none of 1 videos can be read"):
        FrameCache.build(manifest, tmp_path / "frames", workers=0)
    assert not (tmp_path / "frames").exists()


def test_a_full_disk_is_said_before_anything_is_written(manifest, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OSError, match="no space left on the disk") as error:
        FrameCache.build(manifest, tmp_path / "frames", workers=0)
    assert error.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == [".frames.lock"]


def test_a_second_builder_waits_for_the_first_and_takes_its_work(manifest, cache, tmp_path, monkeypatch):
    folder = tmp_path / "frames"
    monkeypatch.setattr(frame_cache, "_prepare", None)
    with ThreadPoolExecutor(1) as thread:
        with locked(folder):
            second = thread.submit(FrameCache.build, manifest, folder, workers=0)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.2)
            shutil.copytree(cache.folder, folder)
        assert content(second.result(timeout=30).folder) == content(cache.folder)


def test_a_script_without_a_main_guard_is_told_and_does_not_hang(manifest, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom vsie.data import FrameCache, frame_cache, load\nframe_cache.CHUNK = 3\n"
        "FrameCache.build(load(sys.argv[1]), sys.argv[2], workers=1)\n"
    )
    command = [sys.executable, str(script), str(manifest.root), str(tmp_path / "frames")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode and 'if __name__ == "__main__":' in done.stderr
