"""Frames of a video at given times, by decord or by PyAV, equal to the byte.

What was measured, and why this file is as it is (decord 0.6 with its own FFmpeg 4.1, PyAV 18 with FFmpeg 8):

* Both convert with swscale's defaults, and 8-bit video of any chroma layout, matrix and range comes out equal. More than
  8 bits does not (another scaler path, 10 levels on average), nor HEVC after a seek (decord gives other frames), so such
  video is read by PyAV whichever backend is asked.
* decord takes a file whose middle is damaged for a good one: of 6 clips with 20 changed bytes it gave grey smears for 5.
  So PyAV, told to treat every decoding error as one, decodes the same stretch first, and no damaged file reaches
  decord. `check=False` leaves that out, for files that are known to be good. Whole groups of pictures that are missing are
  found by the container's own count of frames, its marks (MPEG-TS), or its chain of elements (Matroska: `matroska`).
* A reader never lives longer than a call, since decord hangs when one crosses a fork.
* The frame index (one pass over the packets, no decoding) is PyAV's in both, so both agree on what "nearest" means.
* A video that was cut without encoding it anew keeps the frames from the key frame before the cut on, marked as not to be
  shown: they are decoded through and have no number. decord would show them, so PyAV reads such video.

Video with rotation metadata comes out upright, as players show it (done here; decord does it by itself for some containers).
Grey video comes out with three equal channels. Time 0 is the first frame.
"""

from __future__ import annotations

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import cv2  # noqa: F401  decord has to be imported after cv2, whose libpng would else meet its zlib and refuse every PNG
import numpy as np
import torch  # noqa: F401  and after torch

from vsie.data import matroska

BACKENDS = ("decord", "pyav")
DECORD_CODECS = frozenset({"h264", "mpeg4", "mpeg2video", "vp9", "mjpeg"})  # HEVC: wrong frames after a seek
TEXT_ART = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg renders text files as video
COMPLETE = 0.9  # a file with less than this share of the frames (or seconds) that its header announces is truncated
NO_FRAMES = "the video stream has no frames that can be decoded"
NEAR = 16  # packets between two stretches that are rather decoded through than sought over


class VideoError(ValueError):
    """A video that cannot be read; the message names the file and the reason."""


@dataclass(frozen=True)
class VideoInfo:
    """What the index of a video says.

    Attributes:
        frames: Number of frames.
        duration: Seconds from the first frame to the end of the last.
        fps: Average frame rate.
        height: Rows of a frame as it comes out, after rotation.
        width: Columns of a frame as it comes out.
        times: Presentation time of each frame in seconds, float64 (frames,); 0 is the first frame.
    """

    frames: int
    duration: float
    fps: float
    height: int
    width: int
    times: np.ndarray


class FrameReader:
    """What every open clip has, whatever it is made of: times, and frames by number. A context manager.

    Attributes:
        path: What was opened.
        times: Seconds of each frame after the first, float64 (T,), increasing.
        duration: Seconds from the first frame to the end of the last.
    """

    path: Path
    times: np.ndarray
    duration: float

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""

    def read(self, frames) -> np.ndarray:
        """Frames by number, in any order and with repetitions: uint8 (N, H, W, 3); a VideoError for what is damaged."""
        raise TypeError(f"{type(self).__name__} must define read")

    def nearest(self, times) -> np.ndarray:
        """The frames, int64, nearest in presentation time to `times` in seconds; of two equally near the earlier.

        Raises:
            ValueError: For a time that is more than half a frame before the first frame or after the end of the last.
        """
        times = np.asarray(times, dtype=np.float64)
        half = 0.5 * self.duration / len(self.times)
        outside = ~((times >= -half) & (times <= self.duration + half))  # true for NaN, too
        if outside.any():
            raise ValueError(f"{self.path}: no frame at {times[outside].flat[0]} s, expected 0 to {self.duration:.4f} s")
        return np.searchsorted((self.times[1:] + self.times[:-1]) / 2, times, side="left")

    def numbers(self, frames) -> np.ndarray:
        """Frame numbers as int64 (N,); a ValueError where they are no list of numbers that there are."""
        frames = np.asarray(frames, dtype=np.int64)
        if frames.ndim != 1 or ((frames < 0) | (frames >= len(self.times))).any():
            raise ValueError(f"{self.path}: frames are {frames.tolist()}, expected a list of numbers below {len(self.times)}")
        return frames

    @functools.cached_property
    def info(self) -> VideoInfo:
        """The index in words; decodes the first frame, which alone knows its size as it comes out."""
        height, width = self.read([0]).shape[1:3]
        frames = len(self.times)
        return VideoInfo(frames, self.duration, frames / self.duration, height, width, self.times)


class Video(FrameReader):
    """An open video: its index, and its frames by number. A context manager; never to be kept across a fork.

    Args:
        path: A local video file.
        backend: ``decord`` or ``pyav``. Where decord cannot be imported, PyAV takes its place: the bytes are the same.
        check: Have decord's stretch decoded strictly by PyAV first (see above). PyAV itself is always strict.

    Raises:
        VideoError: When the file is missing, not a regular file, empty, without video, truncated or damaged.
    """

    def __init__(self, path: str | os.PathLike, *, backend: str = "decord", check: bool = True) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
        self.path, self.backend, self.check = Path(path), backend, check
        self._container = self._open()
        try:
            self._index()
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self):
        import av

        try:
            status = os.stat(self.path)
        except OSError as error:
            raise VideoError(f"{self.path}: cannot be opened ({error.strerror})") from None
        if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever
            raise VideoError(f"{self.path}: not a regular file, expected a video")
        if not status.st_size:
            raise VideoError(f"{self.path}: the file is empty, expected a video")
        try:
            container = av.open(str(self.path), options={"protocol_whitelist": "file"}, metadata_errors="ignore")
        except (av.FFmpegError, ValueError, OverflowError) as error:
            raise VideoError(f"{self.path}: not a video that can be read ({_reason(error)})") from None
        stream = container.streams.best("video") if container.format.name not in TEXT_ART else None
        if stream is None:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            container.close()
            raise VideoError(f"{self.path}: no video stream, found {kinds}")
        self._stream = stream
        return container

    def _index(self) -> None:
        """One pass over the packets: presentation order, times, and from where each frame can be decoded."""
        import av

        stream, codec = self._stream, self._stream.codec_context
        packets, truncated = [], False
        try:
            for packet in self._container.demux(stream):
                if packet.size:
                    truncated |= packet.is_corrupt
                    packets.append((packet.pts, packet.dts, packet.is_keyframe, packet.duration or 0, not packet.is_discard))
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"{self.path}: damaged after {len(packets)} frames ({_reason(error)})") from None
        if not packets or codec is None or codec.width <= 0 or codec.height <= 0 or codec.pix_fmt is None:
            raise VideoError(f"{self.path}: {NO_FRAMES}")
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        listed = float((stream.duration or 0) * stream.time_base)
        partly = 0 < listed * rate < COMPLETE * stream.frames  # an edit list leaves out whole groups, which `frames` counts
        if truncated or not partly and len(packets) < COMPLETE * stream.frames:
            raise VideoError(f"{self.path}: truncated, found {len(packets)} frames, expected {stream.frames or 'more'}")
        broken = matroska.broken_at(self.path)  # no count of frames there, and FFmpeg reads on behind damage in silence
        if broken is not None:
            raise VideoError(f"{self.path}: damaged at byte {broken}, expected an element of Matroska")
        first = next((number for number, packet in enumerate(packets) if packet[2]), 0)
        packets = packets[first:]  # what precedes the first key frame is never shown
        if codec.name == "vp8":  # it has packets that are never shown, and nothing but decoding tells which
            seen = {frame.pts for frame in self._run(packets[0][1])}
            packets = [packet for packet in packets if packet[0] in seen]
        shown = np.flatnonzero([packet[4] for packet in packets])  # the others are decoded and not shown: before a cut
        if not len(shown):
            raise VideoError(f"{self.path}: {NO_FRAMES}")
        count = len(shown)
        raw = [packet[0] for packet in packets]
        start = np.zeros(count, dtype=np.int64)
        self._ordered = None not in raw and len(set(raw)) == len(raw)
        if self._ordered:
            stamps = np.array(raw, dtype=np.int64)
            keys = np.array([number for number, packet in enumerate(packets) if packet[2]] or [0])
            key = np.searchsorted(keys, shown, side="right") - 1
            key -= stamps[keys[key]] > stamps[shown]  # shown before its key frame: it needs the one before, too
            order = np.argsort(stamps[shown])
            self._stamps, start = stamps[shown][order], keys[np.maximum(key, 0)][order]
            unit = float(stream.time_base)
            times = (self._stamps - self._stamps[0]) * unit
            last = packets[shown[order[-1]]][3] * unit or (float(np.median(np.diff(times))) if count > 1 else 1 / rate)
        else:  # no usable stamps: frames in the order of decoding at the average rate, and no seeking
            self._stamps, times, last = np.arange(count), np.arange(count) / rate, 1 / rate
        self._start, self._last = start, None
        self._seek = [dts if dts is not None else pts for pts, dts, *_ in packets]
        duration = float(times[-1]) + last
        announced = (self._container.duration or 0) / av.time_base if len(self._container.streams) == 1 else partly * listed
        if duration < COMPLETE * announced - 0.5:
            raise VideoError(f"{self.path}: truncated, found {duration:.2f} s of video, expected {announced:.2f} s")
        self.times, self.duration = times, duration

    @functools.cached_property
    def info(self) -> VideoInfo:
        """The index in words; decodes the first frame, which alone knows whether it is turned."""
        height, width = self._decode(np.array([0]), picture=_pictures())[0].shape[:2]
        frames = len(self.times)
        return VideoInfo(frames, self.duration, frames / self.duration, height, width, self.times)

    def read(self, frames) -> np.ndarray:
        """Frames by number, in any order and with repetitions: uint8 (N, H, W, 3).

        Raises:
            VideoError: When the stretch that they are in is damaged.
        """
        frames = self.numbers(frames)
        if not len(frames):
            return np.zeros((0, self.info.height, self.info.width, 3), dtype=np.uint8)
        wanted, inverse = np.unique(frames, return_inverse=True)
        pictures = None
        codec = self._stream.codec_context
        depth = max(component.bits for component in codec.format.components)
        if self.backend == "decord" and depth <= 8 and codec.name in DECORD_CODECS:
            turned = self.check and any(self._decode(wanted, picture=lambda frame: frame.rotation))
            pictures = None if turned else self._by_decord(wanted)
        if pictures is None:
            pictures = self._decode(wanted, picture=_pictures())
            if len({picture.shape for picture in pictures}) > 1:
                raise VideoError(f"{self.path}: the size of its frames changes on the way")
            pictures = np.stack(pictures)
        return pictures[inverse]

    def _by_decord(self, wanted: np.ndarray) -> np.ndarray | None:
        """Frames by decord; None where it cannot be imported, cannot read this file, or counts its frames otherwise."""
        try:
            import decord

            reader = decord.VideoReader(str(self.path), num_threads=1)
            return reader.get_batch(wanted.tolist()).asnumpy() if len(reader) == len(self.times) else None
        except Exception:  # decord's own error is a bare Exception; a missing wheel or library, ImportError or OSError
            return None

    def _decode(self, wanted: np.ndarray, *, picture) -> list:
        """`picture` of each of the frames `wanted`, sorted numbers, decoded strictly by PyAV in as few stretches as wise."""
        jumps = np.flatnonzero(np.diff(self._start[wanted]) > NEAR) + 1
        found = []
        for stretch in np.split(wanted, jumps):
            try:
                found += self._stretch(stretch, int(self._start[stretch[0]]), picture)
            except VideoError:
                if not self._start[stretch[0]]:
                    raise
                found += self._stretch(stretch, 0, picture)  # some files can be decoded from their beginning only
        return found

    def _stretch(self, wanted: np.ndarray, start: int, picture) -> list:
        """`picture` of the frames `wanted`, decoded from packet `start` on, or from where the last stretch of its group ended."""
        missing = {int(self._stamps[number]): int(number) for number in wanted}
        found = []
        if self._last is None or not self._last < wanted[0] or self._start[self._last] < start:
            self._coming = enumerate(self._run(self._seek[start] if self._ordered else None))
        self._last = None
        for count, frame in self._coming:
            if missing.pop(frame.pts if self._ordered else count, None) is not None:
                found.append(picture(frame))
            if not missing:
                self._last = int(wanted[-1])
                return found
        number = min(missing.values())
        raise VideoError(f"{self.path}: damaged, frame {number} at {self.times[number]:.3f} s cannot be decoded")

    def _run(self, stamp: int | None):
        """Decode from the key frame at or before `stamp` (or from the start of the file), every error being one."""
        import av

        try:
            if stamp is not None:
                self._container.seek(stamp, stream=self._stream, backward=True)
            else:
                self._container.close()
                self._container = self._open()
            codec = self._stream.codec_context
            if not codec.is_open:
                codec.thread_count, codec.thread_type, codec.options = 1, "NONE", {"err_detect": "explode"}
            for frame in self._container.decode(self._stream):
                if frame.is_corrupt:
                    raise VideoError(f"{self.path}: damaged at {frame.time} s")
                yield frame
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"{self.path}: damaged ({_reason(error)})") from None


def _pictures():
    """A function from PyAV frames to upright uint8 (H, W, 3); one scaler serves all frames of a call."""
    from av.video.reformatter import VideoReformatter

    scaler = VideoReformatter()

    def picture(frame) -> np.ndarray:
        array = scaler.reformat(frame, format="rgb24").to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(array, turns)) if turns else array

    return picture


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def open_clip(path: str | os.PathLike, *, backend: str = "decord", check: bool = True) -> FrameReader:
    """Open a video file, a folder of images, or a ``.clip`` file (see `image_sequence`); raises a VideoError as `Video`."""
    from vsie.data import image_sequence  # it stands on this file

    path = Path(path)
    if path.suffix == image_sequence.SUFFIX or path.is_dir():
        return image_sequence.open_sequence(path, backend=backend, check=check)
    return Video(path, backend=backend, check=check)


def decode(path: str | os.PathLike, times, backend: str = "decord", *, check: bool = True) -> np.ndarray:
    """The frames nearest to `times`.

    Args:
        path: A local video file, a folder of images, or a ``.clip`` file.
        times: Seconds after the first frame (N,), in any order.
        backend: ``decord`` or ``pyav``; the bytes are the same.
        check: See `Video`.

    Returns:
        uint8 (N, H, W, 3), RGB, upright.

    Raises:
        VideoError: The file cannot be read, or is damaged where the frames are.
        ValueError: A time outside of the video by more than half a frame.
    """
    with open_clip(path, backend=backend, check=check) as video:
        return video.read(video.nearest(times))


def probe(path: str | os.PathLike) -> VideoInfo:
    """Number, times and size of the frames of what `open_clip` opens; raises a VideoError as `Video` does."""
    with open_clip(path, backend="pyav") as video:
        return video.info
