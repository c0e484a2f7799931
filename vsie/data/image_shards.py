"""The views of a 3DIEBench folder in a few large files with an index: built once, then any view is one read.

5.2 million small files are slow on every disk, and decoded they would be 516 GB (256 px). So images stay encoded, in tar files
of 256 objects each (`tar` and webdataset read them too), and flat index files, read through memory maps, say where each view
lies and what is known of it. Nothing that grows with the views is ever in the memory of the process.

    shard-00000.tar ..     SYNSET/OBJECT/image_V.jpg, each object's views side by side in the order of its geodesic path
    offset.bin, size.bin   int64, int32 (F,): where in its shard a view lies
    check.bin              uint32 (F,): CRC-32 of its bytes
    number.bin             int32 (F,): V
    latents.bin, poses.bin float64 (F, L), (F, 4, 4)
    index.npz, about.json  first view of each object; what this is

Images of the wanted size are taken over byte by byte, others are resized and encoded again. Building goes shard by shard, in
processes, beside the final place, and goes on after an interruption with the shards that are missing. Every image is decoded
once on the way in; `verify` compares all bytes with their check sums later.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import multiprocessing
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from vsie.data import geodesic_path, three_die_bench
from vsie.data.frame_cache import MARGIN
from vsie.data.manifest import Manifest
from vsie.data.sources import Clip, resize
from vsie.data.still import decode_image
from vsie.data.three_die_bench import ViewSource
from vsie.files import atomic_path, locked, write_text

VERSION = 1
OBJECTS = 256  # of a shard
QUALITY = 95  # of images that are encoded again
SAMPLE = 16  # objects from which the size of the whole is estimated
COLUMNS = {
    "offset": np.int64, "size": np.int32, "check": np.uint32, "number": np.int32, "latents": np.float64, "poses": np.float64
}  # fmt: skip
log = logging.getLogger(__name__)


class ImageShards:
    """Open shards; made by `build`. Sending them to another process sends the folder's name.

    Args:
        folder: Where they are.
        swap_rb: Change red and blue.

    Attributes:
        start: First view of each object and the end, int64 (rows + 1,).
        side: Height and width of the images.
    """

    def __init__(self, folder: str | os.PathLike, *, swap_rb: bool = False) -> None:
        self.folder, self.swap_rb = Path(folder), swap_rb
        about = _about(self.folder)
        if about is None:
            raise FileNotFoundError(f"{self.folder}: no finished shards of images, expected index.npz and about.json in it")
        if about["version"] != VERSION:
            raise ValueError(f"{self.folder}: shards of version {about['version']}, expected {VERSION}; build them again")
        self.key, self.side, self._paths, self._sizes = about["key"], about["side"], about["paths"], about["shards"]
        self._per_shard, self._names = about["objects_per_shard"], tuple(about["latent_names"])
        with np.load(self.folder / "index.npz") as index:
            self.start = index["start"]
        for number, expected in enumerate(self._sizes):
            self._check_size(self._shard(number), expected)
        for name, kind in COLUMNS.items():
            shape = (int(self.start[-1]), *{"latents": (len(self._names),), "poses": (4, 4)}.get(name, ()))
            file = self.folder / f"{name}.bin"
            self._check_size(file, int(np.prod(shape)) * np.dtype(kind).itemsize)
            setattr(self, name, np.asarray(np.memmap(file, dtype=kind, mode="r", shape=shape)))
        self._open: dict[tuple[int, int], int] = {}

    def _check_size(self, file: Path, expected: int) -> None:
        found = file.stat().st_size if file.is_file() else 0
        if found != expected:
            raise ValueError(f"{file}: {found} bytes, expected {expected}; delete {self.folder} to build it again")

    def __reduce__(self):
        return _reopen, (self.folder, self.swap_rb)

    def _shard(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.tar"

    def _file(self, number: int) -> int:
        """The descriptor of a shard: opened when first needed, by each process for itself."""
        key = (os.getpid(), number)
        if key not in self._open:
            self._open[key] = os.open(self._shard(number), os.O_RDONLY)
        return self._open[key]

    def __del__(self) -> None:
        for (process, _), file in getattr(self, "_open", {}).items():
            if process == os.getpid():
                os.close(file)

    def encoded(self, row: int, frame: int) -> bytes:
        """The file of a view, `frame` counted along the object's path; a ValueError where it is not what was written."""
        place = int(self.start[row]) + frame
        found = os.pread(self._file(row // self._per_shard), int(self.size[place]), int(self.offset[place]))
        if zlib.crc32(found) != self.check[place]:
            where = f"{self._shard(row // self._per_shard)}: view {self.number[place]} of object {row}"
            raise ValueError(f"{where} has changed since it was written; delete {self.folder} to build it again")
        return found

    def length(self, row: int) -> int:
        """Views of a row."""
        return int(self.start[row + 1] - self.start[row])

    def clip(self, row: int) -> Clip:
        """The virtual clip of a row, as `ViewSource.clip`."""
        begin, end = int(self.start[row]), int(self.start[row + 1])

        def read(frames: np.ndarray) -> np.ndarray:
            pictures = np.empty((len(frames), self.side, self.side, 3), dtype=np.uint8)
            for place, frame in enumerate(frames):
                pictures[place] = decode_image(self.encoded(row, int(frame)), "a view", swap_rb=self.swap_rb)
            return pictures

        return Clip(
            np.arange(end - begin, dtype=np.float64), self.poses[begin:end], read, latents=self.latents[begin:end],
            numbers=self.number[begin:end],
        )  # fmt: skip

    def belong(self, manifest: Manifest, size: int | None = None) -> ImageShards:
        """Itself, where its rows are those of `manifest` and its images of `size` (None for any); else a ValueError."""
        _check_belongs(self._paths, self.side, self.folder, manifest, size)
        return self

    def verify(self) -> int:
        """Compare the bytes of every view with its check sum; the number of views. Raises a ValueError that names the first."""
        from tqdm import tqdm

        for row in tqdm(range(len(self.start) - 1), desc="verify shards", unit="object"):
            for frame in range(int(self.start[row + 1] - self.start[row])):
                self.encoded(row, frame)
        return int(self.start[-1])

    @classmethod
    def build(
        cls, source: ViewSource, folder: str | os.PathLike, *, workers: int | None = None, objects_per_shard: int = OBJECTS
    ) -> ImageShards:
        """Open the shards in `folder`, and build them first where they are missing, unfinished or of another data set.

        Args:
            source: The views, and the size that images shall have.
            folder: Where the shards are to be. Other processes that build the same wait, and take them from there.
            workers: Processes; 0 for none but this one; None for one per CPU that this process may use.
            objects_per_shard: So many.

        Raises:
            FileNotFoundError, ValueError: As `three_die_bench.read_views`; images that are not square or not of one size; a
                folder in the way that holds something else.
            VideoError: An image cannot be read.
            OSError: The disk is too small, before anything is written.
        """
        folder, manifest = Path(folder), source.manifest
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        key = state(source, objects_per_shard)
        with locked(folder):
            about = _about(folder)
            if about is not None and about["key"] == key:
                return cls(folder, swap_rb=source.swap_rb)
            if about is None and folder.exists() and any(folder.iterdir()):
                raise ValueError(f"{folder}: holds something that is no shards of images, expected an empty or no folder")
            if about is not None:
                log.warning("%s is stale (the index, the size or the views have changed): it is built again", folder)
            partial = folder.with_name(folder.name + ".partial")
            note = partial / "key"
            if not note.is_file() or note.read_text(encoding="utf-8") != key:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                _check_space(source, partial)
                write_text(note, key)
            rows = np.arange(len(manifest))
            chunks = [rows[begin : begin + objects_per_shard] for begin in range(0, len(rows), objects_per_shard)]
            for _ in _run(source, partial, dict(enumerate(chunks)), workers, len(rows)):
                pass
            _finish(source, partial, key, len(chunks), objects_per_shard)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(partial, folder)
        return cls(folder, swap_rb=source.swap_rb)


class JoinedShards:
    """The views of a data set with held-out rotations: these lie in shards of their own, the others in those of the data set.

    Args:
        manifest: From `three_die_bench.with_held_out_rotations`.
        own: The data set's own manifest, of which that was made.
        inside: Shards of `own`.
        outside: Shards of the rows of `manifest` that are `three_die_bench.held_out`.

    Raises:
        ValueError: The two have images of different sizes.
    """

    def __init__(self, manifest: Manifest, own: Manifest, inside: ImageShards, outside: ImageShards) -> None:
        if inside.side != outside.side:
            raise ValueError(f"{outside.folder}: images of {outside.side} px, expected {inside.side} px as in {inside.folder}; "
                             "give a size to have all resized")  # fmt: skip
        self.parts, self.side, self.swap_rb, self._paths = (inside, outside), inside.side, inside.swap_rb, _paths(manifest)
        self._part = three_die_bench.held_out(manifest).astype(np.int8)
        known = {place: row for row, place in enumerate(own.path.tolist())}
        self._row = np.where(self._part, np.cumsum(self._part) - 1, [known.get(place, -1) for place in manifest.path.tolist()])

    def key_of(self, rows: np.ndarray) -> str:
        """What the views of some rows are a function of, as `ImageShards.key`."""
        return " ".join(self.parts[part].key for part in np.unique(self._part[rows]))

    def length(self, row: int) -> int:
        """Views of a row."""
        return self.parts[self._part[row]].length(int(self._row[row]))

    def clip(self, row: int) -> Clip:
        """The virtual clip of a row."""
        return self.parts[self._part[row]].clip(int(self._row[row]))

    def belong(self, manifest: Manifest, size: int | None = None) -> JoinedShards:
        """As `ImageShards.belong`."""
        _check_belongs(self._paths, self.side, self.parts[1].folder, manifest, size)
        return self


def _reopen(folder: Path, swap_rb: bool) -> ImageShards:
    return ImageShards(folder, swap_rb=swap_rb)


def _about(folder: Path) -> dict | None:
    """What about.json of finished shards says; None where there is none."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return about if isinstance(about, dict) and {"version", "key", "side", "shards"} <= about.keys() else None


def _paths(manifest: Manifest) -> str:
    """A hash of the objects and their order."""
    return hashlib.sha256("\0".join(manifest.path).encode()).hexdigest()


def _check_belongs(paths: str, side: int, folder: Path, manifest: Manifest, size: int | None) -> None:
    """Refuse shards of other objects than those of `manifest`, or of images of another size than `size` (None for any)."""
    if paths != _paths(manifest):
        raise ValueError(f"{folder}: shards of other objects than {manifest.file}")
    if size not in (None, side):
        raise ValueError(f"{folder}: images of {side} px, expected {size} px")


def state(source: ViewSource, objects_per_shard: int = 0) -> str:
    """A hash of what the shards are a function of; of the images themselves only the index files' time of change, and of
    objects of another folder (held-out rotations) that of their own."""
    manifest = source.manifest
    outside = sorted(set(manifest.path[three_die_bench.held_out(manifest)].tolist()))
    parts = [VERSION, source.size, source.views, source.rotations, objects_per_shard, QUALITY, manifest.latent_names]
    parts += [_paths(manifest), os.stat(manifest.file).st_mtime_ns, str(Path(manifest.root).resolve())]
    parts += [[path, os.stat(path).st_mtime_ns] for path in outside]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _check_space(source: ViewSource, partial: Path) -> None:
    """Refuse a disk that cannot hold the shards, by the size of a few objects spread over all."""
    count = len(source.manifest)
    rows = np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int))
    each = [sum(len(data) + 1024 for data in _encode(source, source.describe(int(row))[2])[0]) for row in rows]
    need, free = int(1.2 * count * np.mean(each)) + MARGIN, shutil.disk_usage(partial).free
    if need > free:
        shutil.rmtree(partial)
        sizes = f"{need / 1e9:.2f} GB, found {free / 1e9:.2f} GB free"
        raise OSError(errno.ENOSPC, f"{partial.parent}: no space left on the disk, the shards of images take about {sizes}")


def _encode(source: ViewSource, images: list[Path]) -> tuple[list[bytes], int]:
    """The files of an object's images at the wanted size, and their side; each is decoded once, as a check."""
    import cv2

    found, side = [], source.size
    for image in images:
        data = image.read_bytes()
        picture = decode_image(data, image)
        if side is None:
            side = picture.shape[0]
        if source.size is None and picture.shape != (side, side, 3):
            raise ValueError(f"{image}: found {picture.shape[0]} x {picture.shape[1]} px, expected {side} x {side} as in "
                             f"{images[0].name}; give a size to have all resized")  # fmt: skip
        if picture.shape != (side, side, 3):
            small = cv2.cvtColor(resize(picture[None], side)[0], cv2.COLOR_RGB2BGR)
            data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        found.append(data)
    return found, side


def write_shard(source: ViewSource, file: Path, rows: np.ndarray) -> None:
    """Write the tar file of some objects, then `file`.npz with the index of its views; each whole or not at all."""
    described = [source.describe(int(row)) for row in rows]
    poses = [three_die_bench.object_in_camera(latents) for _, latents, _ in described]
    lengths = np.array([len(one) for one in poses])
    orders: list[np.ndarray] = [np.empty(0)] * len(rows)
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        together = np.stack([poses[one][:, :3, :3] for one in same])
        for one, order in zip(same, geodesic_path.shortest(together), strict=True):
            orders[one] = order
    index: dict[str, list] = {name: [] for name in COLUMNS}
    sides = set()
    with atomic_path(file.with_suffix(".tar")) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for (numbers, latents, images), pose, order in zip(described, poses, orders, strict=True):
            data, side = _encode(source, [images[view] for view in order])
            sides.add(side)
            if len(sides) > 1:
                raise ValueError(f"{images[0].parent}: images of {side} px, expected {min(sides - {side})} px as in the objects "
                                 "before; give a size to have all resized")  # fmt: skip
            for view, content in zip(order, data, strict=True):
                member = tarfile.TarInfo("/".join(images[view].parts[-3:]))
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                index["offset"].append(tar.offset - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
                index["size"].append(len(content))
                index["check"].append(zlib.crc32(content))
            index["number"] += numbers[order].tolist()
            index["latents"].append(latents[order])
            index["poses"].append(pose[order])
    columns = {name: np.concatenate(values) if name in ("latents", "poses") else values for name, values in index.items()}
    with atomic_path(file.with_suffix(".npz")) as temporary:
        np.savez(temporary, lengths=lengths, side=side, **{k: np.asarray(v, dtype=COLUMNS[k]) for k, v in columns.items()})


_source: ViewSource  # of a worker process, sent once


def _start_worker(source: ViewSource) -> None:
    global _source
    _source = source
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _write_in_worker(file: Path, rows: np.ndarray) -> int:
    write_shard(_source, file, rows)
    return len(rows)


def _run(source: ViewSource, partial: Path, chunks: dict[int, np.ndarray], workers: int, total: int) -> Iterator[None]:
    """Write the shards that are not there yet, with a progress bar over objects."""
    from tqdm import tqdm

    todo = {number: rows for number, rows in chunks.items() if not (partial / f"shard-{number:05d}.npz").is_file()}
    done = total - sum(len(rows) for rows in todo.values())
    with tqdm(total=total, initial=done, desc="image shards", unit="object") as bar:
        if workers < 2 or len(todo) < 2:
            for number, rows in todo.items():
                write_shard(source, partial / f"shard-{number:05d}", rows)
                bar.update(len(rows))
                yield
            return
        spawn = multiprocessing.get_context("spawn")  # never fork: the caller may hold threads
        with ProcessPoolExecutor(min(workers, len(todo)), spawn, _start_worker, (source,)) as pool:
            try:
                futures = [pool.submit(_write_in_worker, partial / f"shard-{number:05d}", rows) for number, rows in todo.items()]
                for future in as_completed(futures):
                    bar.update(future.result())
                    yield
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _finish(source: ViewSource, partial: Path, key: str, shards: int, objects_per_shard: int) -> None:
    """Join the shards' index files, write index.npz and about.json, and remove what only building needs."""
    files = [partial / f"shard-{number:05d}.npz" for number in range(shards)]
    lengths, sides = [], {}
    streams = {name: open(partial / f"{name}.bin", "wb") for name in COLUMNS}
    try:
        for file in files:
            with np.load(file) as part:
                lengths.append(part["lengths"])
                sides.setdefault(int(part["side"]), file)
                for name, stream in streams.items():
                    stream.write(np.ascontiguousarray(part[name]).tobytes())
    finally:
        for stream in streams.values():
            stream.close()
    if len(sides) > 1:
        (one, first), (other, second) = list(sides.items())[:2]
        shutil.rmtree(partial)
        where = f"{first.stem} and {second.stem} of {source.manifest.root}"
        raise ValueError(f"{where}: images of {one} px and of {other} px, expected one size; give a size to have all resized")
    with atomic_path(partial / "index.npz") as temporary:
        np.savez(temporary, start=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
    about = {
        "version": VERSION, "key": key, "paths": _paths(source.manifest), "root": str(source.manifest.root),
        "side": next(iter(sides)), "objects": len(source.manifest), "objects_per_shard": objects_per_shard,
        "latent_names": list(source.manifest.latent_names),
        "shards": [file.with_suffix(".tar").stat().st_size for file in files],
    }  # fmt: skip
    write_text(partial / "about.json", json.dumps(about, indent=1))
    for file in [*files, partial / "key"]:
        file.unlink()
