"""RealEstate10K: text files of cameras, frames by timestamp, or cut out of videos."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.data.conftest import moving_picture, write_video
from tests.data.readers.test_co3d import turned
from tests.data.test_image_sequence import write_images
from tests.data.test_prepare import left_out
from vsie import pose
from vsie.data import ClipsDataset, decode, load, probe
from vsie.data.prepare import prepare
from vsie.data.readers.realestate10k import youtube_id

REALESTATE = {"name": "realestate10k", "val_fraction": 0.0, "min_frames": 2}
STAMPS = [52553000, 52886000, 53219000, 53553000, 53886000]


def write_clip(root, split: str, clip: str, video: str, stamps=STAMPS, count: int = 5) -> np.ndarray:
    lines = [f"https://www.youtube.com/watch?v={video}"]
    cameras = turned(count)
    for stamp, camera in zip(stamps, cameras, strict=False):
        numbers = [0.5, 0.8, 0.5, 0.55, 0, 0, *camera[:3].reshape(-1)]
        lines.append(" ".join([str(stamp), *(f"{number:.9f}" for number in numbers)]))
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / split / f"{clip}.txt").write_text("\n".join(lines) + "\n")
    return cameras


def test_frames_are_found_by_timestamp_and_intrinsics_are_shares_of_the_picture(tmp_path):
    root = tmp_path / "re10k"
    cameras = write_clip(root, "train", "000c3ab189999a83", "aaaaaaaaaaa")
    write_clip(root, "test", "ffff", "bbbbbbbbbbb")
    write_clip(root, "test", "eeee", "ccccccccccc")
    pictures = moving_picture(5, 24, 32)
    write_images(tmp_path / "frames" / "train" / "000c3ab189999a83", pictures)
    for number, stamp in enumerate(STAMPS):
        (tmp_path / "frames" / "train" / "000c3ab189999a83" / f"frame{number}.png").rename(
            tmp_path / "frames" / "train" / "000c3ab189999a83" / f"{stamp}.png"
        )
    (tmp_path / "frames" / "train" / "000c3ab189999a83" / f"{STAMPS[1]}.png").unlink()
    write_images(root / "test" / "ffff", pictures, "{}.png")
    for number, stamp in enumerate(STAMPS):
        (root / "test" / "ffff" / f"{number}.png").rename(root / "test" / "ffff" / f"{stamp}.png")
    options = REALESTATE | {"frames": str(tmp_path / "frames")}
    table = load(prepare(options, root, tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["train/000c3ab189999a83"]
    assert set(left_out(tmp_path / "out")) == {"test/ffff", "test/eeee"}
    times, poses = table.poses(0)
    np.testing.assert_allclose(times, [0, 0.666, 1.0, 1.333], atol=1e-9)
    np.testing.assert_allclose(poses, cameras[[0, 2, 3, 4]], atol=1e-8)
    assert pose.is_rotation(torch.from_numpy(poses[:, :3, :3]), 1e-12).all()
    with np.load(table.pose_file(0)) as archive:  # K p of the page: width and height times the numbers
        np.testing.assert_allclose(archive["intrinsics"], [[0.5 * 32, 0, 0.5 * 32], [0, 0.8 * 24, 0.55 * 24], [0, 0, 1]])
    np.testing.assert_array_equal(ClipsDataset(table, None)[0]["frames"], pictures[[0, 2, 3, 4]])
    beside = load(prepare(REALESTATE, root, tmp_path / "beside", progress=False))
    assert beside.objects.tolist() == ["test/ffff"] and beside.split.tolist() == [2]


def test_frames_are_cut_out_of_videos(tmp_path):
    root = tmp_path / "re10k"
    stamps = [500_000, 750_000, 1_000_000, 1_500_000, 1_750_000]
    cameras = write_clip(root, "train", "one", "aaaaaaaaaaa", stamps)
    write_clip(root, "train", "two", "aaaaaaaaaaa", [0, 9_000_000], 2)
    video = write_video(tmp_path / "videos" / "aaaaaaaaaaa.mp4", moving_picture(24, 24, 32))
    options = REALESTATE | {"videos": str(tmp_path / "videos")}
    table = load(prepare(options, root, tmp_path / "out", progress=False))
    clips = ClipsDataset(table, None)
    every = decode(video, probe(video).times)
    np.testing.assert_array_equal(clips[0]["frames"], every[[6, 9, 12, 18, 21]])
    np.testing.assert_allclose(table.poses(0)[1], cameras, atol=1e-8)
    with pytest.raises(ValueError, match="no frame at 9.0 s"):  # found when it is read, as any bad video
        clips[1]


def test_clips_of_one_video_are_held_out_together(tmp_path):
    root = tmp_path / "re10k"
    for number in range(24):
        write_clip(root, "train", f"clip{number}", f"video{number % 6}-----"[:11])
        write_images(root / "train" / f"clip{number}", moving_picture(5, 24, 32), "{}.png")
        for frame, stamp in enumerate(STAMPS):
            (root / "train" / f"clip{number}" / f"{frame}.png").rename(root / "train" / f"clip{number}" / f"{stamp}.png")
    table = load(prepare(REALESTATE | {"val_fraction": 0.3}, root, tmp_path / "out", progress=False))
    videos = {split: {int(name.rpartition("clip")[2]) % 6 for name in table.objects[table.object[table.rows(split)]]}
              for split in ("train", "val")}  # fmt: skip
    assert len(videos["val"]) == 2 and not videos["train"] & videos["val"] and len(table.rows("val")) == 8
    assert not table.anchored  # each path's world is its first camera's


def test_addresses_of_videos():
    for address in ("https://www.youtube.com/watch?v=0k1-A_b2c3D", "https://youtu.be/0k1-A_b2c3D",
                    "http://www.youtube.com/watch?list=x&v=0k1-A_b2c3D&t=3", "https://x/0k1-A_b2c3D"):  # fmt: skip
        assert youtube_id(address) == "0k1-A_b2c3D"


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a folder train nor test"):
        prepare(REALESTATE, tmp_path, tmp_path / "out", progress=False)
    root = tmp_path / "re10k"
    write_clip(root, "train", "clip", "aaaaaaaaaaa")
    file = root / "train" / "clip.txt"
    good = file.read_text()
    for text, expected in ((good + "1 2 3\n", "clip.txt: row 7 has 3 numbers, expected 19"),
                           (good + "1 x\n", "clip.txt: row 7 holds something that is no number"),
                           ("https://x\n", "clip.txt: no frames")):  # fmt: skip
        file.write_text(text)
        with pytest.raises(ValueError, match=expected):
            prepare(REALESTATE, root, tmp_path / "out", progress=False)
