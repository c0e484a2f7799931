"""Feature extraction for downstream tasks: any videos in, one table of windows out.

What is extracted is written in parts beside the output, a part per few videos, so that an interrupted extraction goes on
where it stopped and no more than the windows of these is held in memory; the parts become one file at the end.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vsie import eraser as erasers
from vsie.data import manifest as manifests
from vsie.data.decode import VideoError
from vsie.data.manifest import SPLITS, Manifest
from vsie.data.sources import VideoSource
from vsie.data.windows import Skipped
from vsie.features import Model, device_of, encode, load
from vsie.files import atomic_path, write_text

VERSION = 2  # of parts; 2: nothing of a video that is damaged somewhere
VIDEOS = 16  # per part
PARTS = ("invariant", "equivariant", "features")  # what a window may have
SUFFIXES = (".npz", ".parquet")


def extract(
    run: Path, manifest: Path, out: Path, *, split: str | None = None, frames: int | None = None, spacing: int | None = None,
    stride: int | None = None, size: int | None = None, batch: int = 16, overwrite: bool = False, allowed_share: float = 0.01,
    eraser: str | None = None, device: str = "auto",
) -> tuple[int, int]:  # fmt: skip
    """Extract features of all windows of all videos.

    The output has, per window: ``invariant`` (I,), ``equivariant`` (S, E), or of a method that does not split its latent
    ``features`` (S, D); ``times`` (S,) seconds of the steps, ``label`` (-1 = none), ``object``, ``clip``, ``path``.

    Args:
        run: A run's folder.
        manifest: A manifest, a folder of videos, or one video.
        out: ``.npz`` or ``.parquet`` (needs pyarrow).
        split: Only this split; None for all.
        frames: Frames per window; None for training's.
        spacing: Frames from one frame of a window to the next; None for the middle of training's range.
        stride: Frames from the start of one window to the next; None for windows side by side. The last window of a video
            is moved back so that it ends with the video.
        size: Side to which frames are resized; None for training's.
        batch: Windows per forward pass.
        overwrite: Replace an existing `out`.
        allowed_share: Share of videos that may be unreadable or shorter than a window; they are listed in
            ``<out>.skipped.csv``.
        eraser: One of the run's erasers by its name, or a file: a concept is taken out of the latents before they are split.
        device: Where videos are encoded; ``auto``: on the GPU where there is one.

    Returns:
        The number of windows and of skipped videos.

    Raises:
        FileExistsError: `out` exists and `overwrite` is off.
        FileNotFoundError: The run has no such eraser.
        ValueError: `out` has another suffix, options or an eraser that do not fit the encoder.
        SkippedError: More videos than allowed cannot be used.
    """
    if out.suffix not in SUFFIXES:
        raise ValueError(f"out is {out}, expected a file that ends in {' or '.join(SUFFIXES)}")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; overwrite=true replaces it")
    if out.suffix == ".parquet":
        require_pyarrow()
    model = load(run, device=device_of(device))
    digest, erase = weights_digest(model), None
    if eraser is not None:
        erase = erasers.load(erasers.find(run, eraser), encoder=digest, dim=model.encoder.dim)
    data = model.config["data"]
    frames = data["frames"] if frames is None else frames
    spacing = max(1, sum(data["spacing"]) // 2) if spacing is None else spacing
    size = (data["size"] or (None if data["root"] else data["render"]["size"])) if size is None else size
    span = (frames - 1) * spacing + 1
    stride = span if stride is None else stride
    for name, value in (("frames", frames), ("spacing", spacing), ("stride", stride), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    if frames > 1 and frames % model.encoder.stride:
        raise ValueError(f"frames is {frames}, expected 1 or a multiple of the encoder's stride {model.encoder.stride}")
    table = manifests.load(manifest)
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    rows = np.arange(len(table)) if split is None else table.rows(split)
    if not len(rows):
        raise ValueError(f"{manifest} has no videos of the split {split}")

    parts = out.with_name(f".{out.name}.parts")
    content = hashlib.sha256("\0".join(str(name) for name in (*table.path, *table.objects[table.object])).encode())
    content.update(table.label.tobytes() + table.clip.tobytes() + rows.tobytes())
    identity = dict(version=VERSION, run=digest, manifest=str(table.file.resolve()), rows=content.hexdigest()[:16], split=split,
                    frames=frames, spacing=spacing, stride=stride, size=size)  # fmt: skip
    if erase is not None:
        identity["eraser"] = hashlib.sha256(erasers.find(run, eraser).read_bytes()).hexdigest()[:16]
    listed = Path(f"{out}.skipped.csv")
    if claim_parts(parts, identity):
        listed.unlink(missing_ok=True)  # of another extraction
    skipped = Skipped(rows=len(table), population=len(rows), share=allowed_share, file=listed)
    source = VideoSource(table, size=size, backend="pyav")  # decord would index the whole video anew for each batch of windows
    files = []
    progress = tqdm(total=len(rows), desc="extract", unit="video", mininterval=1)
    for first in range(0, len(rows), VIDEOS):
        chosen = rows[first : first + VIDEOS]
        file = parts / f"{first:09d}.npz"
        if not file.exists():
            options = (source, skipped, model, frames, spacing, stride, batch, erase)
            found = [window for row in chosen for window in windows_of(int(row), *options)]
            with atomic_path(file) as temporary:
                np.savez(temporary, **columns(found, table))
        else:
            with np.load(file) as part:
                there = set(part["path"].tolist())
            for row in chosen.tolist():
                if str(table.path[row]) not in there:
                    skipped.add(row, table.video(row), "found earlier")  # it is listed already
        files.append(file)
        progress.update(len(chosen))
    progress.close()
    count = (write_npz if out.suffix == ".npz" else write_parquet)(files, out)
    shutil.rmtree(parts)
    return count, skipped.count


def windows_of(
    row: int, source: VideoSource, skipped: Skipped, model: Model, frames: int, spacing: int, stride: int, batch: int,
    eraser: erasers.Eraser | None = None,
) -> list[dict[str, object]]:  # fmt: skip
    """The windows of one video with their features; none when it cannot be read as a whole or is too short, which is noted."""
    span = (frames - 1) * spacing + 1
    video, windows = source.manifest.video(row), []
    try:
        with source.clip(row) as clip:
            if len(clip) < span:
                raise VideoError(f"{video}: {len(clip)} frames are too few, expected at least {span} for a window of {frames} "
                                 f"frames with spacing {spacing}")  # fmt: skip
            starts = list(range(0, len(clip) - span + 1, stride))
            if starts[-1] + span < len(clip):
                starts.append(len(clip) - span)
            for place in range(0, len(starts), batch):
                numbers = np.array(starts[place : place + batch])[:, None] + spacing * np.arange(frames)
                pictures = clip.read(numbers.reshape(-1))
                pictures = torch.from_numpy(pictures.reshape(*numbers.shape, *pictures.shape[1:]))
                latents = encode(model.encoder, pictures)
                latents = latents if eraser is None else eraser(latents)
                times = model.encoder.step_times(torch.from_numpy(np.asarray(clip.times)[numbers]))
                found = {"features": latents}
                if model.method.splits:
                    invariant, equivariant = model.split(latents)
                    found = {"invariant": invariant.mean(1), "equivariant": equivariant}
                found = {name: part.cpu().numpy() for name, part in found.items()}
                for number in range(len(numbers)):
                    windows.append({"row": row, "times": times[number].numpy(),
                                    **{name: part[number] for name, part in found.items()}})  # fmt: skip
    except VideoError as error:
        skipped.add(row, video, str(error))
        return []
    return windows


def columns(windows: list[dict[str, object]], table: Manifest) -> Mapping[str, np.ndarray]:
    """The columns of a part; one without windows has no features."""
    rows = np.array([window["row"] for window in windows], dtype=np.int64)
    names = [name for name in (*PARTS, "times") if windows and name in windows[0]]
    found = {name: np.array([window[name] for window in windows]) for name in names}
    found["label"], found["clip"] = table.label[rows], table.clip[rows]
    found["object"] = np.array([str(table.objects[table.object[row]]) for row in rows], dtype=np.str_)
    found["path"] = np.array([str(table.path[row]) for row in rows], dtype=np.str_)
    return found


def weights_digest(model: Model) -> str:
    """What tells one trained encoder from another."""
    digest = hashlib.sha256()
    for tensor in model.encoder.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def claim_parts(parts: Path, identity: Mapping[str, object]) -> bool:
    """Go on with the parts of the very same extraction; those of another are thrown away. Whether it starts from nothing."""
    file = parts / "identity.json"
    text = json.dumps(identity, sort_keys=True)
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return False
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    write_text(file, text)
    return True


def read_parts(files: list[Path]) -> Iterator[dict[str, np.ndarray]]:
    """The columns of each part that has windows."""
    for file in files:
        with np.load(file) as part:
            if len(part["label"]):
                yield {name: part[name] for name in part.files}


def write_npz(files: list[Path], out: Path) -> int:
    """One .npz from the parts, a column at a time, through a file on disk; returns the number of windows."""
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    total = 0
    for part in read_parts(files):
        total += len(part["label"])
        for name, values in part.items():
            kind = shapes[name][1] if name in shapes else values.dtype
            shapes[name] = (values.shape[1:], np.promote_types(kind, values.dtype))
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, (shape, kind) in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (total, *shape)}
                np.lib.format.write_array_header_1_0(stream, header)
                for part in read_parts(files):
                    stream.write(np.ascontiguousarray(part[name], dtype=kind).tobytes())
    return total


def write_parquet(files: list[Path], out: Path) -> int:
    """One .parquet from the parts, a row group per part; matrices are lists of lists. Returns the number of windows."""
    pyarrow, parquet = require_pyarrow()
    total, writer = 0, None
    with atomic_path(out) as temporary:
        try:
            for part in read_parts(files):
                total += len(part["label"])
                table = pyarrow.table({name: nested(values, pyarrow) for name, values in part.items()})
                writer = writer or parquet.ParquetWriter(temporary, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return total


def nested(values: np.ndarray, pyarrow):
    """A NumPy array (N, ...) as an Arrow column of fixed-size lists."""
    column = pyarrow.array(values.reshape(-1))
    for width in reversed(values.shape[1:]):
        column = pyarrow.FixedSizeListArray.from_arrays(column, width)
    return column


def require_pyarrow():
    """pyarrow, or a ValueError that says how to get it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError("a .parquet file needs pyarrow: pip install -e '.[parquet]', or write an .npz") from None
    return pyarrow, pyarrow.parquet
