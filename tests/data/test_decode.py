from __future__ import annotations

import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from tests.data.conftest import moving_picture, write_video
from vsie.data import VideoError, decode, probe
from vsie.data.decode import Video

decord = pytest.importorskip("decord", reason="no wheel of decord here: PyAV takes its place")

KINDS = {
    "h264.mp4": {},
    "h264_long_gop.mp4": {"gop": 250, "options": {"bf": "3", "refs": "4"}},
    "h264_open_gop.mp4": {"gop": 5, "options": {"bf": "3", "x264-params": "open-gop=1"}},
    "h264_no_b_frames.mkv": {"options": {"bf": "0"}},
    "odd_size.mp4": {"pix_fmt": "yuv444p", "height": 33, "width": 47},
    "even_size_not_of_16.mp4": {"height": 34, "width": 54},
    "chroma_422.mp4": {"pix_fmt": "yuv422p"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "grey.mp4": {"pix_fmt": "gray"},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp8_hidden.webm": {"codec": "libvpx", "gop": 128, "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "lossless.mkv": {"codec": "ffv1", "pix_fmt": "bgr0"},
}


def make(folder, name: str, frames: int = 24):
    settings = dict(KINDS[name])
    pictures = moving_picture(frames, settings.pop("height", 32), settings.pop("width", 32))
    try:
        return write_video(folder / name, pictures, **settings), pictures
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this build of PyAV cannot write {name}: {error}")


def reference(path) -> list[np.ndarray]:
    """All frames by the plainest use of PyAV, in the order of presentation."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", KINDS)
def test_both_backends_give_the_reference_to_the_byte(tmp_path, name):
    path, pictures = make(tmp_path, name)
    expected = np.stack(reference(path))
    assert len(expected) == len(pictures)
    times = probe(path).times
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(times)), 2))[:30]
    for backend in ("decord", "pyav"):
        np.testing.assert_array_equal(decode(path, times, backend), expected, err_msg=backend)
        np.testing.assert_array_equal(decode(path, times[order], backend), expected[order], err_msg=backend)
        np.testing.assert_array_equal(decode(path, times[[13]], backend), expected[[13]], err_msg=backend)
    written = pictures @ [[0.299] * 3, [0.587] * 3, [0.114] * 3] if "grey" in name else pictures
    assert np.abs(expected - written.astype(float)).mean() < 20, "and they look like what was written"


def test_decord_itself_is_what_decodes_8_bit_h264(tmp_path, monkeypatch):
    path, _ = make(tmp_path, "h264.mp4")
    calls = []
    reader = decord.VideoReader
    monkeypatch.setattr(decord, "VideoReader", lambda *args, **kwargs: calls.append(kwargs) or reader(*args, **kwargs))
    decode(path, [0.0], "pyav")
    assert not calls
    decode(path, [0.0])
    assert calls == [{"num_threads": 1}]


def test_pyav_takes_over_where_decord_cannot_be_imported(tmp_path, monkeypatch):
    path, _ = make(tmp_path, "h264.mp4")
    expected = decode(path, [0.5])
    monkeypatch.setitem(sys.modules, "decord", None)
    np.testing.assert_array_equal(decode(path, [0.5]), expected)


def test_images_are_read_after_decord_has_read_a_video(tmp_path):
    path, _ = make(tmp_path, "h264.mp4")
    image = tmp_path / "image.png"
    image.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    code = "import sys; from vsie.data.decode import decode; decode(sys.argv[1], [0.0]); " \
           "from vsie.data.still import decode_image; decode_image(open(sys.argv[2], 'rb').read(), sys.argv[2])"  # fmt: skip
    subprocess.run([sys.executable, "-c", code, path, image], check=True, timeout=60)


def test_the_nearest_frame_in_time_is_taken_with_a_variable_frame_rate(tmp_path):
    stamps = [0, 40, 50, 300, 310, 1000, 1040, 1500]
    pictures = moving_picture(len(stamps))
    path = write_video(tmp_path / "variable.mp4", pictures, stamps=stamps)
    info = probe(path)
    np.testing.assert_allclose(info.times, np.array(stamps) / 1000, atol=1e-3)
    expected = np.stack(reference(path))
    asked = np.array([0.0, 0.019, 0.021, 0.044, 0.046, 0.174, 0.176, 0.64, 0.67, 1.02, 1.03, 1.5])
    nearest = np.abs(asked[:, None] - info.times).argmin(1)
    for backend in ("decord", "pyav"):
        np.testing.assert_array_equal(decode(path, asked, backend), expected[nearest])


def test_probe_says_what_the_file_has(tmp_path):
    info = probe(make(tmp_path, "even_size_not_of_16.mp4")[0])
    assert (info.frames, info.height, info.width) == (24, 34, 54)
    assert info.fps == pytest.approx(12) and info.duration == pytest.approx(2)
    np.testing.assert_allclose(info.times, np.arange(24) / 12, atol=1e-4)


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_a_time_outside_of_the_video_is_an_error(tmp_path, backend):
    path, _ = make(tmp_path, "h264.mp4")
    assert decode(path, [-0.04, 2.04], backend).shape == (2, 32, 32, 3)  # within half a frame
    assert decode(path, [], backend).shape == (0, 32, 32, 3)
    for time in (-0.05, 2.05, np.nan, np.inf):
        with pytest.raises(ValueError, match="h264.mp4: no frame at"):
            decode(path, [0.1, time], backend)
    with pytest.raises(ValueError, match="backend is 'opencv', expected one of decord, pyav"):
        decode(path, [0.0], "opencv")


def cut_off(source, path, frames: int):
    """What ``ffmpeg -ss`` leaves with ``-c copy``: an edit list behind which the first `frames` frames are not shown."""
    with av.open(str(source)) as whole, av.open(str(path), "w", options={"movflags": "faststart"}) as rest:
        stream = whole.streams.video[0]
        copy = rest.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts -= round(frames / 12 / stream.time_base)
                packet.dts -= round(frames / 12 / stream.time_base)
                packet.stream = copy
                rest.mux(packet)
    return path


@pytest.mark.parametrize("b_frames", ["0", "3"])
@pytest.mark.parametrize("frames", [4, 10, 20, 40])
def test_a_video_that_was_cut_without_encoding_it_anew_begins_at_the_cut(tmp_path, frames, b_frames):
    whole = write_video(tmp_path / "whole.mp4", moving_picture(48), gop=16, options={"bf": b_frames})
    path = cut_off(whole, tmp_path / "cut.mp4", frames)
    expected = np.stack(reference(path))
    assert len(expected) == 48 - frames
    info = probe(path)
    np.testing.assert_allclose(info.times, np.arange(48 - frames) / 12, atol=1e-3)
    for backend in ("decord", "pyav"):
        np.testing.assert_array_equal(decode(path, info.times, backend), expected)
        np.testing.assert_array_equal(decode(path, info.times[[-1, 0, 3]], backend), expected[[-1, 0, 3]])


def test_a_cut_video_of_which_the_end_is_missing_is_truncated(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", moving_picture(240), gop=16, options={"bf": "0"})
    path = cut_off(whole, tmp_path / "cut.mp4", 100)  # six groups are left out: the count of frames says nothing
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(VideoError, match=r"cut.mp4: (truncated|damaged)"):
        probe(path)


@pytest.mark.parametrize("name", ["h264_long_gop.mp4", "h264_open_gop.mp4", "vp8_hidden.webm"])
def test_what_is_read_in_pieces_is_decoded_once(tmp_path, monkeypatch, name):
    path, _ = make(tmp_path, name)
    expected = np.stack(reference(path))
    with Video(path, backend="pyav") as video:
        run, decoded = Video._run, []
        monkeypatch.setattr(Video, "_run", lambda *args: (decoded.append(1) or frame for frame in run(*args)))
        pieces = [video.read(np.arange(first, first + 4)) for first in range(0, 24, 4)]
        np.testing.assert_array_equal(np.concatenate(pieces), expected)
        assert len(decoded) <= 30, "a few are seen twice where a group of pictures begins"
        np.testing.assert_array_equal(video.read([2, 7, 3]), expected[[2, 7, 3]])


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_metadata_is_followed(tmp_path, turn):
    path = write_video(tmp_path / "turned.mp4", moving_picture(8, 32, 48), rotation=turn)
    upright = [np.rot90(picture, turn // 90) for picture in reference(path)]
    info = probe(path)
    assert (info.height, info.width) == upright[0].shape[:2]
    for backend in ("decord", "pyav"):
        np.testing.assert_array_equal(decode(path, info.times, backend), np.stack(upright))


def bad_files(folder) -> list[str]:
    """Files that look like videos and are none, or are damaged; the names say how."""
    good = write_video(folder / "good.mp4", moving_picture(48)).read_bytes()
    matroska = write_video(folder / "good.mkv", moving_picture(48)).read_bytes()
    avi = write_video(folder / "good.avi", moving_picture(48), codec="mpeg4").read_bytes()
    media, index = good.index(b"mdat") + 4, good.index(b"moov")
    middle, rng = (media + index) // 2, np.random.default_rng(0)

    def overwrite(data: bytes, at: int, new: bytes) -> bytes:
        return data[:at] + new + data[at + len(new) :]

    def flip(data: bytes, begin: int, end: int, count: int) -> bytes:
        data = bytearray(data)
        for place in rng.integers(begin, end, count):
            data[place] ^= int(rng.integers(1, 256))
        return bytes(data)

    files = {
        "empty.mp4": b"",
        "text.mp4": b"this is not a video\n" * 200,
        "text.txt": b"nor is this one\n" * 200,
        "noise.mp4": rng.bytes(20000),
        "header_only.mp4": good[:200],
        "truncated.mp4": good[: len(good) // 2],
        "truncated.mkv": matroska[: len(matroska) * 2 // 3],
        "truncated.avi": avi[: len(avi) * 2 // 3],
        "middle_overwritten.mp4": overwrite(good, middle, rng.bytes(600)),
        "middle_zeros.mp4": overwrite(good, middle, bytes(600)),
        "middle_overwritten.mkv": overwrite(matroska, len(matroska) // 2, rng.bytes(len(matroska) // 5)),
        "middle_overwritten.avi": overwrite(avi, (avi.index(b"movi") + avi.index(b"idx1")) // 2, rng.bytes(600)),
        "index_overwritten.mp4": overwrite(good, index + 8, rng.bytes(len(good) - index - 8)),
    } | {f"bytes_flipped_{number}.mp4": flip(good, media, index, 40) for number in range(4)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with av.open(str(folder / "no_frames.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    with av.open(str(folder / "audio_only.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (folder / "folder.mp4").mkdir()
    return [*files, "no_frames.mp4", "audio_only.mp4", "folder.mp4", "missing.mp4"]


READ_ALL = """
import sys
import numpy as np
from vsie.data.decode import Video, VideoError
for path in sys.argv[2:]:
    try:
        with Video(path, backend=sys.argv[1]) as video:
            video.read(np.arange(len(video.times)))
    except VideoError as error:
        print("refused", path, str(error), sep="|", flush=True)
    else:
        print("read", path, "", sep="|", flush=True)
"""


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_bad_files_are_refused_by_name_without_a_hang_or_a_crash(tmp_path, backend):
    names = [str(tmp_path / name) for name in bad_files(tmp_path)]
    done = subprocess.run([sys.executable, "-c", READ_ALL, backend, *names], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == names, "every file was answered"
    for verdict, path, message in lines:
        assert verdict == "refused" and message.startswith(path), (verdict, path, message)


def test_a_damaged_file_can_be_read_where_it_is_whole(tmp_path):
    pictures = moving_picture(48)
    good = write_video(tmp_path / "good.mp4", pictures)
    expected = np.stack(reference(good))
    data = bytearray(good.read_bytes())
    media, index = data.index(b"mdat") + 4, data.index(b"moov")
    place = media + (index - media) * 3 // 4
    data[place : place + 400] = bytes(400)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    for backend in ("decord", "pyav"):
        np.testing.assert_array_equal(decode(path, np.arange(8) / 12, backend), expected[:8])
        with pytest.raises(VideoError, match="damaged.mp4: damaged"):
            decode(path, np.arange(48) / 12, backend)


def test_flipped_bytes_never_crash_or_hang(tmp_path):
    """A small fuzz: whatever 30 flipped bytes do to the container or the pictures, frames or a VideoError come out."""
    good = write_video(tmp_path / "good.mp4", moving_picture(12)).read_bytes()
    names = []
    for number in range(60):
        rng = np.random.default_rng(number)
        data = np.frombuffer(good, np.uint8).copy()
        places = rng.integers(0, len(data), 30)
        data[places] = rng.integers(0, 256, 30)
        names.append(str(tmp_path / f"{number}.mp4"))
        data.tofile(names[-1])
    done = subprocess.run([sys.executable, "-c", READ_ALL, "decord", *names], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names)


def test_frames_by_number_are_checked(tmp_path):
    path, _ = make(tmp_path, "h264.mp4")
    with Video(path) as video:
        for frames in ([-1], [24], [[0, 1]]):
            with pytest.raises(ValueError, match="h264.mp4: frames are"):
                video.read(frames)
