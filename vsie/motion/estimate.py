"""Motion of whole data sets: one archive per clip (`archives`), and a manifest of them that reads like one with known poses."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vsie.data.decode import VideoError, open_clip
from vsie.data.manifest import COLUMNS, SPLITS, Manifest, load
from vsie.data.windows import Skipped, SkippedError
from vsie.files import atomic_path, write_text
from vsie.motion.archives import USES, archive, holds, read_facts, settings, source_of, stale
from vsie.motion.pace import facts_of
from vsie.motion.solver import FRAMES, LONGEST, ClipMotion, Solver, build
from vsie.motion.stretches import Stretch, stretches

PIECE = 128  # frames that are decoded at a time at most,
BYTES = 256 * 2**20  # and as many as take no more than this as they are decoded


def estimate_manifest(
    *,
    manifest: str | os.PathLike | Manifest,
    out: str | os.PathLike,
    flow: Mapping[str, Any],
    egomotion: Mapping[str, Any],
    size: int = 256,
    uses: Sequence[str] = ("intrinsics",),
    batch: int = 16,
    shard: tuple[int, int] = (0, 1),
    allowed_skips: float = 0.01,
    overwrite: bool = False,
    listed: bool = True,
    progress: bool = True,
) -> Path:
    """Estimate the motion of all clips of a manifest, or what is still missing of it.

    Args:
        manifest: See `vsie.data.manifest.load`; or what it gave.
        out: The folder for archives and manifest; the videos stay where they are.
        flow: Options of the flow estimator, its name under ``name``.
        egomotion: Options of the motion's estimator.
        size: Frames with a longer shorter side are reduced to it.
        uses: What may be taken of the clips' own archives, of `USES`.
        batch: Stretches at a time (a short clip without a cut is one), and no more frames than `FRAMES`.
        shard: (i, n): only the i-th of n parts, i from 0.
        allowed_skips: Share of unreadable videos above which the run stops.
        overwrite: Replace what was made by other settings, from another video or from other facts; the rest is kept.
        listed: Write the manifest; False where `manifest` is only a part of what is in `out`.
        progress: Show a bar.

    Returns:
        Path of manifest.csv, or of `out` while other shards are still missing.

    Raises:
        ValueError: Something is wrong in the manifest, an archive is of other settings, an argument is out of range, or the
            manifest in `out` would replace one that is not ours.
        SkippedError: Too many videos cannot be read.
    """
    for name in uses:
        if name not in USES:
            raise ValueError(f"uses names {name!r}, expected any of {', '.join(USES)}")
    if size < 32:
        raise ValueError(f"size is {size}, expected at least 32 pixels")
    table, out = manifest if isinstance(manifest, Manifest) else load(manifest), Path(out)
    if listed:
        _check_out(out, table)
    estimators, text = build(flow, egomotion), settings(flow, egomotion, size, uses)
    part, parts = shard
    rows = list(range(part * len(table) // parts, (part + 1) * len(table) // parts))
    needing_depth = estimators[1].NEEDS_DEPTH and str(egomotion["name"])
    todo = [row for row in rows if _due(table, row, out, text, overwrite)]
    skipped = Skipped(rows=len(table), population=len(table), share=allowed_skips, file=out / "skipped.csv")
    bar = tqdm(total=len(rows), initial=len(rows) - len(todo), desc="motion", unit="clip", disable=not progress)
    solver, unwritten = Solver(*estimators, batch), []

    def write() -> None:
        for clip, row, times in [item for item in unwritten if item[0].solved]:
            with atomic_path(archive(out, table, row)) as temporary:
                source = np.array(source_of(table.video(row), table.pose_file(row), uses))
                lens = read_facts(table.pose_file(row), {"intrinsics"} & set(uses))  # for readers of the manifest
                np.savez(temporary, times=times, settings=np.array(text), source=source, **lens, **clip.joined())
            bar.update()
        unwritten[:] = [item for item in unwritten if not item[0].solved]

    with bar:
        for row in todo:
            clip = ClipMotion()
            try:
                with open_clip(table.video(row), backend="pyav") as video:  # decord would index all of it anew for each piece
                    times = np.asarray(video.times, np.float64)
                    for stretch, facts in _read(table, row, video, size, uses, needing_depth):
                        solver.add(clip, stretch, facts, times[stretch.span])
                        if len(times) > FRAMES:  # one clip may take minutes
                            bar.set_postfix_str(f"frame {clip.spans[-1][1]} of {len(times)}")
            except VideoError as error:
                solver.forget(clip)
                archive(out, table, row).unlink(missing_ok=True)  # of what it was before
                skipped.add(row, Path(os.path.abspath(table.video(row))), str(error))
                bar.update()
                continue
            bar.set_postfix_str("")
            unwritten.append((clip, row, times))
            write()
        solver.solve()
        write()
    lost = _lost(skipped, table, out)
    if len(lost) > allowed_skips * len(table):  # each shard had fewer
        raise SkippedError(f"{len(lost)} of {len(table)} videos cannot be read (see {skipped.file}), expected at most "
                           f"{allowed_skips:.2%}")  # fmt: skip
    if listed and all(holds(archive(out, table, row), text) for row in range(len(table)) if row not in lost):
        _write_manifest(out, table, text, lost)
        return out / "manifest.csv"
    return out


def _check_out(out: Path, table: Manifest) -> None:
    """Refuse a folder whose manifest is the data's own, or would pass for it."""
    if out.resolve() == Path(table.root).resolve():
        raise ValueError(f"out={out} is the folder of the data ({table.file}), whose manifest.csv would be that of the estimated "
                         f"motion; give a folder of its own, such as out={out.with_name(out.name + '-motion')}")  # fmt: skip
    if (out / "manifest.csv").is_file() and not (out / "motion.json").is_file():
        raise ValueError(f"{out / 'manifest.csv'} would be replaced, and is not of estimated motion, as no motion.json is beside "
                         "it; choose another out")  # fmt: skip


def _due(table: Manifest, row: int, out: Path, text: str, overwrite: bool) -> bool:
    """Whether the motion of a row is to be estimated; see `stale`."""
    try:
        return stale(archive(out, table, row), text, table.video(row), table.pose_file(row))
    except ValueError:
        if overwrite:
            return True
        raise


def _lost(skipped: Skipped, table: Manifest, out: Path) -> set[int]:
    """Rows that could not be read, here or by another shard, and still cannot: once mended a video has an archive."""
    if skipped.file is None or not skipped.file.is_file():
        return set()
    with open(skipped.file, newline="", encoding="utf-8") as file:
        names = {os.path.realpath(row["path"]) for row in csv.DictReader(file)}
    missing = (row for row in range(len(table)) if not archive(out, table, row).is_file())
    return {row for row in missing if os.path.realpath(table.video(row)) in names}


def _read(
    table: Manifest, row: int, video, size: int, uses: Sequence[str], needing_depth: str | bool
) -> Iterator[tuple[Stretch, dict[str, np.ndarray]]]:
    """Stretches of an open video at the working size, each with what else may be used of its frames."""
    import cv2

    frames, facts, shape = len(video.times), None, None

    def pieces() -> Iterator[np.ndarray]:
        nonlocal facts, shape
        start, most = 0, 1  # the first frame tells how large all are
        while start < frames:
            piece = video.read(np.arange(start, min(start + most, frames)))
            if facts is None:
                height, width = piece.shape[1:3]
                scale = min(1.0, size / min(height, width))
                tall = height * _squaring(table, row, uses)
                shape = (round(width * scale), round(tall * scale)) if scale < 1 or tall != height else None
                facts = _facts(table, row, (frames, height, width), shape, uses, needing_depth)
                most = min(PIECE, max(1, BYTES // piece.nbytes))
            yield piece if shape is None else np.stack([cv2.resize(f, shape, interpolation=cv2.INTER_AREA) for f in piece])
            start += len(piece)

    for stretch in stretches(pieces(), frames, LONGEST):
        part = facts_of(facts, stretch.span)
        for name in part.keys() & {"depth", "mask"}:
            if shape is not None:
                values = part[name].astype(np.float32)
                part[name] = np.stack([cv2.resize(image, shape, interpolation=cv2.INTER_NEAREST) for image in values])
            part[name] = part[name].astype(bool) if name == "mask" else part[name]
        yield stretch, part


def _squaring(table: Manifest, row: int, uses: Sequence[str]) -> float:
    """By how much a clip's pixels are wider than high: estimators know one focal length, so frames are stretched by it."""
    lens = read_facts(table.pose_file(row), {"intrinsics"} & set(uses)).get("intrinsics", np.eye(3))
    ratio = float(lens[0, 0] / lens[1, 1]) if lens.shape == (3, 3) and lens[1, 1] > 0 else 1.0
    return ratio if abs(ratio - 1) > 0.01 and 0.25 < ratio < 4 else 1.0


def _facts(
    table: Manifest, row: int, whole: tuple[int, int, int], shape: tuple[int, int] | None, uses: Sequence[str],
    needing_depth: str | bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """What else is known of a clip of (T, H, W) frames, as its archive has it; intrinsics are those of the working size."""
    file = table.pose_file(row)
    facts = read_facts(file, uses)
    for name, found in facts.items():
        expected = (3, 3) if name == "intrinsics" else whole
        if found.shape != expected:
            raise ValueError(f"{file}: {name} has shape {found.shape}, expected {expected} as {table.video(row)}")
    if needing_depth and "depth" not in facts:
        where = file or f"{table.file}: row {row} ({table.path[row]}), which has no pose file"
        raise ValueError(f"{where}: no field 'depth' that may be used (uses=[{','.join(uses)}]), and egomotion={needing_depth} "
                         "needs it")  # fmt: skip
    if "intrinsics" in facts:
        _, height, width = whole
        shape = shape or (width, height)
        facts["intrinsics"] = np.diag([shape[0] / width, shape[1] / height, 1.0]) @ facts["intrinsics"]
    return facts


def _write_manifest(out: Path, table: Manifest, text: str, lost: set[int]) -> None:
    """A manifest of the same videos with the estimated poses; classes.txt and what made them beside it."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in range(len(table)):
        file = archive(out, table, row)
        if row not in lost:
            label = int(table.label[row])
            writer.writerow([
                os.path.abspath(table.video(row)), label if label >= 0 else "", table.objects[table.object[row]],
                int(table.clip[row]), SPLITS[table.split[row]], file.relative_to(out),
            ])  # fmt: skip
    if (table.root / "classes.txt").is_file():
        write_text(out / "classes.txt", (table.root / "classes.txt").read_text(encoding="utf-8"))
    write_text(out / "motion.json", json.dumps(json.loads(text) | {"manifest": os.path.abspath(table.file)}, indent=1) + "\n")
    write_text(out / "manifest.csv", lines.getvalue())
