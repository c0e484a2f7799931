"""Decoded frames of small videos on disk, read through memory maps.

A batch of 64 objects x 2 windows x 4 frames of 64 px takes 290 to 570 ms of one core from videos and 6 ms from the cache, a
folder of four flat files in the order of the manifest's rows: `frames.bin` uint8 (F, H, W, 3), `times.bin` float64 (F,),
`poses.bin` float64 (F, 4, 4), and `index.npz`. Nothing that grows with the frames is ever in the memory of the process.

It is built beside its place, in `<folder>.partial`, by processes that write their own stretches and mark each video as done;
started again after an interruption, building goes on from there. Only the whole cache gets the final name. It knows the
manifest's videos and pose files by name, size and time of change, and is built anew when one of them differs.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vsie.data.decode import VideoError, open_clip
from vsie.data.manifest import Manifest
from vsie.data.sources import Clip, VideoSource
from vsie.files import atomic_path, locked, write_text

VERSION = 2  # 2: videos that were cut without encoding them anew have all of their frames
CHUNK = 32  # videos that a worker takes at a time
PIECE = 64  # frames that are decoded at a time: a minute of a large video would be 11 GB
MARGIN = 64 << 20  # bytes of the disk left free
log = logging.getLogger(__name__)


class FrameCache:
    """An open cache; made by `build` or `open`. Sending it to another process sends the folder's name.

    Attributes:
        folder: Where it is.
        height: Rows of a frame.
        width: Columns of a frame.
        start: First frame of each row of the manifest and the end, int64 (rows + 1,).
        posed: Whether each row has poses, bool (rows,).
        reasons: Why a video could not be read, by row; such a row has no frames.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        about = _about(self.folder)
        if about is None:
            raise FileNotFoundError(f"{self.folder}: no finished cache of frames, expected index.npz and about.json in it")
        if about["version"] != VERSION:
            raise ValueError(f"{self.folder}: a cache of version {about['version']}, expected {VERSION}; build it again")
        self.key, self.height, self.width = about["key"], about["height"], about["width"]
        self._paths = about["paths"]
        self.reasons = {int(row): reason for row, reason in about["unreadable"].items()}
        with np.load(self.folder / "index.npz") as index:
            self.start, self.posed = index["start"], index["posed"]
        total = int(self.start[-1])
        for name, shape, kind in (
            ("frames", (total, self.height, self.width, 3), np.uint8),
            ("times", (total,), np.float64),
            ("poses", (total, 4, 4), np.float64),
        ):
            expected = int(np.prod(shape)) * np.dtype(kind).itemsize
            file = self.folder / f"{name}.bin"
            found = file.stat().st_size if file.is_file() else 0
            if found != expected:
                raise ValueError(f"{file}: {found} bytes, expected {expected}; delete {self.folder} to build it again")
            # A plain array over the map: slicing np.memmap itself is several times slower.
            setattr(self, name, np.asarray(np.memmap(file, dtype=kind, mode="r", shape=shape)))

    def __reduce__(self):
        return FrameCache, (self.folder,)

    def length(self, row: int) -> int:
        """Frames of a row. Raises a VideoError, with the reason found when building, where it could not be read."""
        if row in self.reasons:
            raise VideoError(self.reasons[row])
        return int(self.start[row + 1] - self.start[row])

    def clip(self, row: int) -> Clip:
        """The clip of a row. Raises a VideoError as `length`."""
        begin, end = self.start[row], self.start[row] + self.length(row)
        return Clip(
            self.times[begin:end], self.poses[begin:end] if self.posed[row] else None, self.frames[begin:end].__getitem__
        )

    def belong(self, manifest: Manifest, size: int | None = None) -> FrameCache:
        """Itself, where its rows are those of `manifest` and its frames of `size` (None for any); else a ValueError."""
        if self._paths != _paths(manifest):
            raise ValueError(f"{self.folder}: a cache of other videos than {manifest.file}")
        if size not in (None, self.height) or size not in (None, self.width):
            raise ValueError(f"{self.folder}: frames of {self.height} x {self.width}, expected {size} x {size}")
        return self

    @classmethod
    def open(cls, manifest: Manifest, folder: str | os.PathLike, *, size: int | None = None) -> FrameCache:
        """Open a cache that was built, and refuse with a ValueError one of other videos or of another size."""
        cache = cls(folder)
        if cache.key != state(manifest, size):
            raise ValueError(f"{folder}: this cache is stale: {manifest.file}, its files or the size ({size}) have changed")
        return cache

    @classmethod
    def build(
        cls, manifest: Manifest, folder: str | os.PathLike, *, workers: int | None = None, size: int | None = None
    ) -> FrameCache:
        """Open the cache in `folder`, and build it first where it is missing, unfinished or stale.

        Args:
            manifest: The videos, all splits.
            folder: Where the cache is to be. Other processes that build the same wait, and take it from there.
            workers: Processes; 0 for none but this one; None for one per CPU that this process may use.
            size: Side of square frames, see `sources.resize`; None to leave them, and then all must have the same.

        Raises:
            ValueError: Videos of different sizes, a pose file that is wrong, no video that can be read, or a folder in the
                way that is no cache.
            OSError: The disk is too small, before anything is written.
        """
        folder = Path(folder)
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        key = state(manifest, size)
        with locked(folder):
            about = _about(folder)
            if about is not None and about["key"] == key:
                return cls(folder)
            if about is None and folder.exists() and any(folder.iterdir()):
                raise ValueError(f"{folder}: holds something that is no cache of frames, expected an empty or no folder")
            if about is not None:
                log.warning("%s is stale (the videos, their pose files or the size have changed): it is built again", folder)
            partial = folder.with_name(folder.name + ".partial")
            with _pool(manifest, workers) as pool:
                _prepare(manifest, partial, key, size, pool)
                _fill(manifest, partial, size, pool)
            _finish(manifest, partial, key, size)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(partial, folder)
        cache = cls(folder)
        if cache.reasons:
            log.warning("%d of %d videos cannot be read: %s", len(cache.reasons), len(manifest), folder / "about.json")
        return cache


def _about(folder: Path) -> dict | None:
    """What about.json of a finished cache says; None where there is none."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return about if isinstance(about, dict) and {"version", "key"} <= about.keys() else None


def state(manifest: Manifest, size: int | None) -> str:
    """A hash that changes with any file of the manifest."""
    digest = hashlib.sha256(f"{VERSION} {size}".encode())
    for path, poses in zip(manifest.path, manifest.pose_path, strict=True):
        for name in (path, poses):
            if name:
                status = os.stat(manifest.root / name)
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
            else:
                digest.update(b"-\n")
    return digest.hexdigest()


def _paths(manifest: Manifest) -> str:
    """A hash of the column of paths."""
    return hashlib.sha256("\0".join(manifest.path).encode()).hexdigest()


_manifest: Manifest  # of a worker process, sent once


def _start_worker(manifest: Manifest) -> None:
    global _manifest
    _manifest = manifest
    import torch

    torch.set_num_threads(1)


def _call(task, rows):
    return task(_manifest, rows)


@contextmanager
def _pool(manifest: Manifest, workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that know the manifest; None where starting them would take longer than the work."""
    if workers < 1 or len(manifest) < 8 * CHUNK:
        yield None
        return
    # Never fork: the caller may hold threads (torch, CUDA) that a fork would freeze.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(manifest,)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _parallel(manifest: Manifest, task, rows: np.ndarray, pool: ProcessPoolExecutor | None, title: str) -> Iterator:
    """`task(manifest, chunk)` of all chunks of rows, in any order, with a progress bar over rows."""
    from tqdm import tqdm

    chunks = [rows[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK)]
    with tqdm(total=len(rows), desc=title, unit="video") as bar:
        if pool is None:
            for chunk in chunks:
                yield task(manifest, chunk)
                bar.update(len(chunk))
        else:
            futures = {pool.submit(_call, task, chunk): len(chunk) for chunk in chunks}
            for future in as_completed(futures):
                yield future.result()
                bar.update(futures[future])


def _probe(manifest: Manifest, rows: np.ndarray) -> list[tuple[int, int, int, int, str]]:
    """(row, frames, height, width, reason) of each row; no frames and a reason where the video cannot be read."""
    found = []
    for row in rows:
        try:
            with open_clip(manifest.video(row), backend="pyav") as video:
                info = video.info
            found.append((int(row), info.frames, info.height, info.width, ""))
        except VideoError as error:
            found.append((int(row), 0, 0, 0, str(error)))
    return found


def _prepare(
    manifest: Manifest, partial: Path, key: str, size: int | None, pool: ProcessPoolExecutor | None
) -> None:
    """Lay the cache out: plan.npz with the place of each video, and empty files of full length."""
    plan_file = partial / "plan.npz"
    if plan_file.is_file():
        with np.load(plan_file) as plan:
            if str(plan["key"]) == key:
                log.info("%s: building goes on", partial)
                return
    shutil.rmtree(partial, ignore_errors=True)
    rows = np.arange(len(manifest))
    found = sorted(sum(_parallel(manifest, _probe, rows, pool, "frame cache: index"), []))
    lengths = np.array([frames for _, frames, *_ in found], dtype=np.int64)
    readable = np.flatnonzero(lengths)
    if not len(readable):
        raise ValueError(f"{manifest.file}: none of {len(manifest)} videos can be read; the first: {found[0][4]}")
    height, width = found[readable[0]][2:4] if size is None else (size, size)
    if size is None:
        for row, _, *shape, _ in (found[row] for row in readable):
            if shape != [height, width]:
                raise ValueError(f"{manifest.video(row)}: frames of {shape[0]} x {shape[1]}, expected {height} x {width} as in "
                                 f"{manifest.video(readable[0])}; give a size to have all resized")  # fmt: skip
    start = np.concatenate([[0], np.cumsum(lengths)])
    total = int(start[-1])
    lengths_in_bytes = {"frames": total * height * width * 3, "times": total * 8, "poses": total * 128}
    partial.mkdir(parents=True)
    need, free = sum(lengths_in_bytes.values()) + MARGIN, shutil.disk_usage(partial).free
    if need > free:
        partial.rmdir()
        sizes = f"{need / 1e9:.2f} GB, found {free / 1e9:.2f} GB free"
        raise OSError(errno.ENOSPC, f"{partial.parent}: no space left on the disk, the cache of frames takes {sizes}")
    for name, length in lengths_in_bytes.items():
        with open(partial / f"{name}.bin", "wb") as file:
            file.truncate(length)
    (partial / "done.bin").write_bytes((lengths == 0).astype(np.uint8).tobytes())
    reasons = {row: reason for row, _, _, _, reason in found if reason}
    (partial / "unreadable.jsonl").write_text("".join(json.dumps(item) + "\n" for item in reasons.items()), encoding="utf-8")
    with atomic_path(plan_file) as temporary:
        np.savez(temporary, key=key, start=start, height=height, width=width)


def _write(manifest: Manifest, rows: np.ndarray, *, partial: Path, size: int | None) -> None:
    """Decode videos into their places, and mark each as done."""
    with np.load(partial / "plan.npz") as plan:
        start, pixels = plan["start"], int(plan["height"]) * int(plan["width"]) * 3
    source = VideoSource(manifest, backend="pyav", size=size)
    files = {name: os.open(partial / f"{name}.bin", os.O_WRONLY) for name in ("frames", "times", "poses", "done")}
    try:
        for row in rows:
            begin, end = int(start[row]), int(start[row + 1])
            try:
                with source.clip(row) as clip:
                    for first in range(begin, end, PIECE):
                        numbers = np.arange(first, min(first + PIECE, end)) - begin
                        _put(files["frames"], clip.read(numbers), first * pixels)
                    _put(files["times"], clip.times, begin * 8)
                    if clip.poses is not None:
                        _put(files["poses"], clip.poses, begin * 128)
            except VideoError as error:
                with open(partial / "unreadable.jsonl", "a", encoding="utf-8") as journal:
                    journal.write(json.dumps([int(row), str(error)]) + "\n")
            os.pwrite(files["done"], b"\1", int(row))
    finally:
        for file in files.values():
            os.close(file)


def _put(file: int, array: np.ndarray, offset: int) -> None:
    """Write all of an array; unlike a write through a map, a full disk is an OSError and not a SIGBUS."""
    data = memoryview(np.ascontiguousarray(array)).cast("B")
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _fill(manifest: Manifest, partial: Path, size: int | None, pool: ProcessPoolExecutor | None) -> None:
    """Decode what is not done yet."""
    todo = np.flatnonzero(np.fromfile(partial / "done.bin", dtype=np.uint8) == 0)
    task = functools.partial(_write, partial=partial, size=size)
    for _ in _parallel(manifest, task, todo, pool, "frame cache: decode"):
        pass


def _finish(manifest: Manifest, partial: Path, key: str, size: int | None) -> None:
    """Write index.npz and about.json, and remove what only building needs."""
    with np.load(partial / "plan.npz") as plan:
        start, height, width = plan["start"], int(plan["height"]), int(plan["width"])
    lines = (partial / "unreadable.jsonl").read_text(encoding="utf-8").splitlines()
    about = {
        "version": VERSION,
        "key": key,
        "paths": _paths(manifest),
        "manifest": str(manifest.file),
        "size": size,
        "height": height,
        "width": width,
        "videos": len(manifest),
        "frames": int(start[-1]),
        "unreadable": dict(sorted(map(json.loads, lines))),
    }
    with atomic_path(partial / "index.npz") as temporary:
        np.savez(temporary, start=start, posed=manifest.posed)
    write_text(partial / "about.json", json.dumps(about, indent=1))
    for name in ("plan.npz", "done.bin", "unreadable.jsonl"):
        (partial / name).unlink()
