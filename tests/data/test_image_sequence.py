"""Folders of images and ``.clip`` files are clips like any other: decoding, cache, windows, extraction's source, motion."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest

from tests.data.conftest import moving_picture, write_video, yaw_poses
from vsie.data import ClipsDataset, FrameCache, VideoError, WindowsDataset, decode, load, probe
from vsie.data.image_sequence import digest, images_in


def write_images(folder, pictures: np.ndarray, name: str = "frame{}.png"):
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / name.format(number)), picture[..., ::-1])
    return folder


def test_a_folder_is_a_clip_in_the_natural_order_of_its_names(tmp_path):
    pictures = moving_picture(12)
    folder = write_images(tmp_path / "frames", pictures)  # frame10 sorts before frame2 as text
    (folder / "notes.txt").write_text("no image")
    assert [file.name for file in images_in(folder)] == [f"frame{number}.png" for number in range(12)]
    info = probe(folder)
    assert (info.frames, info.height, info.width, info.fps) == (12, 32, 32, 25)
    np.testing.assert_allclose(info.times, np.arange(12) / 25)
    np.testing.assert_array_equal(decode(folder, info.times), pictures)
    np.testing.assert_array_equal(decode(folder, [0.41, 0.0, 0.41]), pictures[[10, 0, 10]])
    with pytest.raises(ValueError, match="frames: no frame at 0.51 s"):
        decode(folder, [0.51])


def test_a_clip_file_names_images_and_their_times(tmp_path):
    pictures = moving_picture(8)
    write_images(tmp_path / "frames", pictures)
    images = [f"frames/frame{number}.png" for number in (6, 0, 3)]
    (tmp_path / "some.clip").write_text(json.dumps({"times": [5.0, 5.1, 6.0], "images": images}))
    np.testing.assert_allclose(probe(tmp_path / "some.clip").times, [0, 0.1, 1.0])
    np.testing.assert_array_equal(decode(tmp_path / "some.clip", [0, 0.04, 0.06, 1.0]), pictures[[6, 6, 0, 3]])


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_a_clip_file_cuts_frames_out_of_a_video(tmp_path, backend):
    video = write_video(tmp_path / "long.mp4", moving_picture(36))
    every = decode(video, probe(video).times)
    (tmp_path / "part.clip").write_text(json.dumps({"times": [1.0, 1.26, 1.5, 2.9], "video": "long.mp4"}))
    found = decode(tmp_path / "part.clip", [0.0, 0.26, 0.5, 1.9], backend)
    np.testing.assert_array_equal(found, every[[12, 15, 18, 35]])
    (tmp_path / "late.clip").write_text(json.dumps({"times": [1.0, 3.2], "video": "long.mp4"}))
    with pytest.raises(VideoError, match="late.clip: .*long.mp4: no frame at 3.2 s"):
        decode(tmp_path / "late.clip", [0.0])


def test_pictures_come_out_as_video_does(tmp_path):
    """Grey, 16-bit, turned by EXIF and odd-sized images: three channels, 8 bits, upright."""
    from PIL import Image

    picture = moving_picture(1, 33, 47)[0]
    (tmp_path / "odd").mkdir()
    Image.fromarray(picture[..., 0]).save(tmp_path / "odd" / "0_grey.png")
    cv2.imwrite(str(tmp_path / "odd" / "1_deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown a quarter turn clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(picture))).save(tmp_path / "odd" / "2_turned.jpg", exif=turned, quality=98)
    found = decode(tmp_path / "odd", [0.0, 0.04, 0.08])
    assert found.shape == (3, 33, 47, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[0], np.repeat(picture[..., :1], 3, -1))
    np.testing.assert_array_equal(found[1], picture)
    assert np.abs(found[2].astype(int) - picture).mean() < 4


def test_a_digest_tells_clips_apart(tmp_path):
    video = write_video(tmp_path / "v.mp4", moving_picture(4))
    folder = write_images(tmp_path / "frames", moving_picture(3))
    clip = tmp_path / "c.clip"
    clip.write_text(json.dumps({"times": [0.0, 0.1], "images": ["frames/frame0.png", "frames/frame1.png"]}))
    assert digest(video) == hashlib.sha256(video.read_bytes()).hexdigest()
    before = digest(folder), digest(clip)
    assert before == (digest(folder), digest(clip)) and len({*before, digest(video)}) == 3
    cv2.imwrite(str(folder / "frame1.png"), np.zeros((32, 32, 3), np.uint8))
    assert digest(folder) != before[0] and digest(clip) != before[1]


def test_what_is_wrong_is_named(tmp_path):
    folder = write_images(tmp_path / "frames", moving_picture(3))
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty: no images in this folder"):
        probe(tmp_path / "empty")
    (folder / "frame2.png").write_bytes((folder / "frame2.png").read_bytes()[:100])
    with pytest.raises(VideoError, match="frame2.png: not an image that can be read whole"):
        decode(folder, [0.08])
    np.testing.assert_array_equal(decode(folder, [0.04]), moving_picture(3)[[1]])
    cv2.imwrite(str(folder / "frame2.png"), np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(VideoError, match="frame 2, .*frame2.png, is of 8 x 9 pixels, expected 32 x 32"):
        decode(folder, [0.0, 0.08])
    for told, expected in (
        ("[1", "not JSON"),
        ([1], "expected the field 'times', and 'images' or 'video'"),
        ({"times": [0], "images": ["a"], "video": "b"}, "expected the field 'times'"),
        ({"times": [0, 0], "images": ["a", "b"]}, "'times' does not increase at frame 1"),
        ({"times": ["x"], "images": ["a"]}, "'times' holds something that is no number"),
        ({"times": [0, 1], "images": ["a"]}, "'images' has 1 paths, expected 2"),
        ({"times": [0], "images": [3]}, "'images' is not a list of paths"),
        ({"times": [0], "images": ["a.png"]}, "frame 0, .*a.png, cannot be opened"),
        ({"times": [0], "video": "none.mp4"}, "none.mp4: cannot be opened"),
        ({"times": [0], "video": 3}, "'video' is 3"),
    ):
        (tmp_path / "bad.clip").write_text(told if isinstance(told, str) else json.dumps(told))
        with pytest.raises(VideoError, match=expected):
            decode(tmp_path / "bad.clip", [0.0])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A manifest of a video, a folder of images and a ``.clip``, with poses."""
    folder = tmp_path_factory.mktemp("mixed")
    pictures = moving_picture(10)
    write_video(folder / "a.mp4", pictures)
    write_images(folder / "b", pictures)
    images = [f"b/frame{number}.png" for number in range(1, 9)]
    (folder / "c.clip").write_text(json.dumps({"times": [0.3 * number for number in range(8)], "images": images}))
    rows = ["path,label,object,clip,split,poses"]
    for name, count in (("a.mp4", 10), ("b", 10), ("c.clip", 8)):
        np.savez(folder / f"{name}.npz", times=np.arange(count) / 10, object_in_camera=yaw_poses(count, 0, 0.1))
        rows.append(f"{name},,,,train,{name}.npz")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_cache_windows_and_clips_read_them_like_videos(mixed, tmp_path):
    manifest = load(mixed)
    cache = FrameCache.build(manifest, tmp_path / "cache", workers=0)
    assert not cache.reasons
    options = dict(windows=2, frames=2, spacing=(1, 3), seed=3)
    plain = WindowsDataset(manifest, "train", **options)
    cached = WindowsDataset(manifest, "train", cache=cache, **options)
    for index in range(3):
        for name, value in plain[index].items():
            np.testing.assert_array_equal(value, cached[index][name], err_msg=name)
    whole = ClipsDataset(manifest, None)
    np.testing.assert_array_equal(whole[1]["frames"], moving_picture(10))
    np.testing.assert_array_equal(whole[2]["frames"], moving_picture(10)[1:9])
    assert whole[2]["poses"].shape == (8, 4, 4)


def test_a_folder_of_images_is_a_manifest_and_clip_files_are_found_among_videos(mixed, tmp_path):
    assert load(mixed / "b").path.tolist() == ["b"] and load(mixed / "b").video(0) == mixed / "b"
    assert load(mixed / "c.clip").path.tolist() == ["c.clip"]
    write_video(tmp_path / "v.mp4", moving_picture(2))
    (tmp_path / "w.clip").write_text(json.dumps({"times": [0.0], "video": "v.mp4"}))
    assert load(tmp_path).path.tolist() == ["v.mp4", "w.clip"]
