"""Damage to Matroska is found wherever it is, and nothing else is taken for it."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tests.data.conftest import moving_picture, write_video
from vsie.data import VideoError, probe
from vsie.data.decode import Video
from vsie.data.matroska import broken_at

CLUSTER = bytes.fromhex("1f43b675")


def clusters(path, frames: int = 48) -> bytes:
    """A file with a cluster per 8 frames or so: FFmpeg starts one at every key frame after a second."""
    options = {"fflags": "+bitexact", "cluster_time_limit": "600"}
    with av.open(str(path), "w", container_options=options) as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height = stream.width = 32
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 4
        for picture in moving_picture(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert data.count(CLUSTER) >= 4, "FFmpeg can find its way behind damage only where there are several"
    return data


def places(data: bytes, what: bytes) -> list[int]:
    return [place for place in range(len(data)) if data.startswith(what, place)]


@pytest.mark.parametrize("length", [80, 600, 2400])
def test_an_overwritten_stretch_is_never_read_over(tmp_path, length):
    """Either the file is refused, or all of its frames are there (only bytes that no decoder needs were hit)."""
    data = clusters(tmp_path / "good.mkv")
    path = tmp_path / "bad.mkv"
    refused = 0
    for share in (0.25, 0.4, 0.5, 0.6, 0.75):
        for seed in range(6):
            begin = int(share * (len(data) - length))
            noise = np.random.default_rng(seed).bytes(length) if seed else bytes(length)
            path.write_bytes(data[:begin] + noise + data[begin + length :])
            try:
                with Video(path, backend="pyav") as video:
                    assert len(video.times) == 48, "a hole was read over"
                    video.read(np.arange(48))
            except VideoError as error:
                assert str(error).startswith(str(path))
                refused += 1
    assert refused >= (25 if length == 80 else 30)


def test_a_hole_that_ends_at_a_cluster_is_found_though_every_frame_that_is_left_is_good(tmp_path):
    """What FFmpeg made of damage in 6 of 30 runs: a good video with a hole of seconds in its middle."""
    data = clusters(tmp_path / "good.mkv")
    starts = places(data, CLUSTER)
    path = tmp_path / "hole.mkv"
    path.write_bytes(data[: starts[1]] + bytes([7]) * (starts[3] - starts[1]) + data[starts[3] :])
    with av.open(str(path)) as container:
        left = sum(1 for _ in container.decode(video=0))
    assert 0 < left < 48, "FFmpeg reads on behind the hole"
    with pytest.raises(VideoError, match=f"hole.mkv: damaged at byte {starts[1]}"):
        probe(path)


def test_whole_files_of_any_kind_are_whole(tmp_path):
    clusters(tmp_path / "good.mkv")
    write_video(tmp_path / "good.webm", moving_picture(24), codec="libvpx-vp9")
    stamps = [0, 40, 50, 300, 310, 1000, 3040, 3500]
    write_video(tmp_path / "variable.mkv", moving_picture(len(stamps)), stamps=stamps)
    write_video(tmp_path / "good.mp4", moving_picture(8))
    for name in ("good.mkv", "good.webm", "variable.mkv", "good.mp4"):
        assert broken_at(tmp_path / name) is None, name
    np.testing.assert_allclose(probe(tmp_path / "variable.mkv").times, np.array(stamps) / 1000, atol=2e-3)


def test_a_live_recording_has_elements_of_unknown_length(tmp_path):
    """Such as a browser records: the lengths of segment and clusters are not known when they are begun."""
    path = tmp_path / "live.webm"
    with av.open(str(path), "w", format="webm", container_options={"live": "1", "cluster_time_limit": "400"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=12)
        stream.height = stream.width = 32
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 4
        for picture in moving_picture(24):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert data[places(data, bytes.fromhex("18538067"))[0] + 4 :].startswith(b"\x01" + b"\xff" * 7)
    assert broken_at(path) is None and probe(path).frames == 24
    unknown = bytearray(data)  # and clusters, too
    for start in places(data, CLUSTER):
        width = 9 - unknown[start + 4].bit_length()
        unknown[start + 4 : start + 4 + width] = bytes([(1 << (8 - width)) | ((1 << (8 - width)) - 1)]) + b"\xff" * (width - 1)
    path.write_bytes(unknown)
    assert broken_at(path) is None and probe(path).frames == 24
    path.write_bytes(unknown[: len(unknown) * 2 // 3])  # the recording was cut off: that is not damage in the middle
    assert broken_at(path) is None


def test_a_file_that_is_cut_off_is_told_by_its_duration_and_not_by_its_chain(tmp_path):
    data = clusters(tmp_path / "good.mkv")
    path = tmp_path / "cut.mkv"
    for length in range(len(data) // 2, len(data), len(data) // 40):
        path.write_bytes(data[:length])
        assert broken_at(path) is None
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(VideoError, match="cut.mkv: (truncated|damaged)"):
        probe(path)
