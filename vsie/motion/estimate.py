"""Motion of whole data sets: one archive per clip with poses, confidence and where it came from, and a manifest of them.

Notable: an archive has the fields of a pose file (`times`, `object_in_camera`, and `intrinsics` where they were used), so the
manifest that is written reads like one with known poses. What more there is says how far to trust them: poses of *different*
clips have no common frame, and across a cut nothing is known (`known_pairs`). Every archive holds the settings that made it:
others are refused.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vsie import components, pose
from vsie.data import image_sequence
from vsie.data.decode import VideoError, open_clip
from vsie.data.manifest import COLUMNS, SPLITS, Manifest, load
from vsie.data.windows import Skipped
from vsie.files import atomic_path, write_text
from vsie.motion.egomotion.base import Egomotion, Motion, Observation, believe, motionless
from vsie.motion.fields import neighbours
from vsie.motion.flow.base import Flow
from vsie.motion.pace import Frames, at_its_pace, facts_of
from vsie.motion.stretches import Stretch, stretches

FRAMES = 512  # that are solved at a time: 4 MB each at 256 x 340 pixels
LONGEST = 96  # that are solved together: a frame takes the longer the more there are, and things are to move at one pace
PIECE = 128  # frames that are decoded at a time at most,
BYTES = 256 * 2**20  # and as many as take no more than this as they are decoded
VERSION = 6  # of the archives; a change of the estimators' results raises it
USES = ("intrinsics", "depth", "mask")
FLOOR = 0.035  # radians: added to the size of a turn, below it nothing can be told


def build(flow: Mapping[str, Any], egomotion: Mapping[str, Any]) -> tuple[Flow, Egomotion]:
    """The two estimators from their options, the component's name under ``name``."""
    return components.build_from("motion.flow", flow), components.build_from("motion.egomotion", egomotion)


def clip_motion(
    flow: Flow,
    egomotion: Egomotion,
    clips: Sequence[np.ndarray],
    known: Sequence[Mapping[str, np.ndarray]] | None = None,
) -> list[dict[str, np.ndarray]]:
    """The motion of clips, cut where they are cut.

    Args:
        flow: Estimator of flow.
        egomotion: Estimator of motion.
        clips: Each (T, H, W, 3) uint8 with T >= 1.
        known: For each what else is known, of `USES`: see `Observation`.

    Returns:
        For each clip what `ClipMotion.joined` says.
    """
    solver, motions = Solver(flow, egomotion), [ClipMotion() for _ in clips]
    for motion, frames, facts in zip(motions, clips, known or [{}] * len(clips), strict=True):
        for stretch in stretches([frames], len(frames), LONGEST):
            solver.add(motion, stretch, facts_of(facts, stretch.span))
    solver.solve()
    return [motion.joined() for motion in motions]


class ClipMotion:
    """The motion of a clip, stretch by stretch."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int, bool]] = []  # first frame, the one after the last, whether it goes on
        self.motions: dict[int, Motion] = {}  # by the number of the span; of a single frame there is none

    @property
    def solved(self) -> bool:
        """Whether nothing is waited for."""
        return len(self.motions) == sum(stop - start > 1 for start, stop, _ in self.spans)

    def joined(self) -> dict[str, np.ndarray]:
        """All of it.

        Returns:
            object_in_camera (T, 4, 4), the delta from the first frame of the segment; segment (T,) int64, a number for each
            part between cuts; confidence (T - 1,), 0 across a cut; covariance (T - 1, 3, 3); and as text scale, estimator, note.
        """
        frames = self.spans[-1][1]
        poses = np.tile(np.eye(4), (frames, 1, 1))
        confidence = np.zeros(frames - 1)
        covariance = np.tile(np.eye(3) * np.pi**2, (frames - 1, 1, 1))
        segment = np.zeros(frames, np.int64)
        number = -1
        for place, (start, stop, goes_on) in enumerate(self.spans):
            number += not goes_on
            segment[start:stop] = number
            if place in self.motions:
                motion = self.motions[place]
                poses[start:stop] = motion.poses.numpy() @ poses[start]  # the identity after a cut
                confidence[start : stop - 1] = motion.confidence.numpy()
                covariance[start : stop - 1] = motion.covariance.numpy()
        told = [self.motions[place] for place in sorted(self.motions)]
        text = {name: "; ".join(dict.fromkeys(str(getattr(m, name)) for m in told if getattr(m, name)))
                for name in ("scale", "estimator", "note")}  # fmt: skip
        return {"object_in_camera": poses, "segment": segment, "confidence": confidence, "covariance": covariance} | {
            name: np.array(value) for name, value in text.items()
        }


class Solver:
    """Motion of stretches of any clips, no more than `FRAMES` frames at a time.

    Args:
        flow: Estimator of flow.
        egomotion: Estimator of motion.
        batch: Stretches at a time.
    """

    def __init__(self, flow: Flow, egomotion: Egomotion, batch: int = 16) -> None:
        self.flow, self.egomotion, self.batch = flow, egomotion, batch
        self.waiting: list[tuple[ClipMotion, int, Frames]] = []

    def add(self, clip: ClipMotion, stretch: Stretch, facts: Mapping[str, np.ndarray], times: np.ndarray | None = None) -> None:
        """The next stretch of a clip, with what else is known of its frames and their times; it is solved sooner or later."""
        clip.spans.append((stretch.span.start, stretch.span.stop, stretch.goes_on))
        if len(stretch.frames) < 2:
            return
        if self.waiting and sum(len(other.frames) for *_, other in self.waiting) + len(stretch.frames) > FRAMES:
            self.solve()
        self.waiting.append((clip, len(clip.spans) - 1, Frames(stretch.frames, facts, times)))
        if len(self.waiting) == self.batch:
            self.solve()

    def forget(self, clip: ClipMotion) -> None:
        """Leave out what is waiting of a clip."""
        self.waiting = [item for item in self.waiting if item[0] is not clip]

    def solve(self) -> None:
        """All that is waiting."""
        motions = at_its_pace(self.estimate, [frames for *_, frames in self.waiting])
        for (clip, place, _), motion in zip(self.waiting, motions, strict=True):
            clip.motions[place] = motion
        self.waiting = []

    def estimate(self, clips: Sequence[Frames]) -> list[Motion]:
        """The motion of clips as they are, by all of their frames."""
        seen = [Observation(clip.frames, neighbours(self.flow, clip.frames), **clip.facts) for clip in clips]
        moving = [lasts(clip) for clip in seen]
        found = iter(self.egomotion([clip for clip, moves in zip(seen, moving, strict=True) if moves]))
        return [next(found) if moves else motionless(clip, "none") for clip, moves in zip(seen, moving, strict=True)]


def lasts(clip: Observation, *, least: float = 0.3, area: float = 2e-3) -> bool:
    """Whether anything moves for longer than a step; a clip of two frames is given the benefit of the doubt.

    A static video is not static once it was recorded and encoded: at every key frame up to 90 % of its textured pixels "move" by
    0.2 pixels and more, grain moves them in every step. But that never goes on in one direction: where the flows of two steps
    in a row have the inner product m^2, motion lasts by m (measured on static clips with noise of 0 to 4 grey levels, H.264 at
    crf 10 to 35: at most 0.1 % of the pixels have m > 0.3; a shift of 0.4 pixels a frame: 12 %).

    Args:
        clip: What is seen.
        least: Pixels a frame by which motion has to last.
        area: Share of the pixels where it has to.
    """
    flow = clip.fields.forward
    if len(flow) < 2:
        return True
    seen = (clip.texture[:-1] > 0.05) & (clip.fields.forward_confidence > 0.2)
    lasting = (flow[1:] * flow[:-1]).sum(-1) > least**2
    return bool((lasting & seen[1:] & seen[:-1]).float().mean() > area)


def known_pairs(confidence: Tensor, segment: Tensor, covariance: Tensor, poses: Tensor) -> Tensor:
    """Trust (..., T, T) in the deltas between all frames of a clip: 0 across a cut, 1 from a frame to itself.

    Variances of the steps between add up, and the confidence is that of `believe` for the whole turn, times the least
    confidence on the way: errors of neighbouring steps of one solution go together.

    Args:
        confidence: (..., T - 1).
        segment: (..., T).
        covariance: (..., T - 1, 3, 3).
        poses: (..., T, 4, 4).
    """
    frames = segment.shape[-1]
    passed = torch.nn.functional.pad(covariance.flatten(-2).cumsum(-2), (0, 0, 1, 0)).unflatten(-1, (3, 3))
    between = (passed[..., None, :, :, :] - passed[..., :, None, :, :]).abs()
    relative = poses[..., None, :, :3, :3] @ poses[..., :, None, :3, :3].mT
    told = believe(between, pose.log(relative), floor=FLOOR)
    least = confidence.new_ones(*confidence.shape[:-1], frames, frames)
    for gap in range(1, frames):
        windows = confidence.unfold(-1, gap, 1).amin(-1)
        index = torch.arange(frames - gap)
        least[..., index, index + gap] = windows
        least[..., index + gap, index] = windows
    same = segment[..., :, None] == segment[..., None, :]
    trust = told * least * same
    return torch.where(torch.eye(frames, dtype=torch.bool), torch.ones_like(trust), trust)


def settings(flow: Mapping[str, Any], egomotion: Mapping[str, Any], size: int, uses: Sequence[str]) -> str:
    """All that a result depends on beside the video and what is told of it (`source_of`), as text: equal text, equal result."""
    drop = {"workers", "batch", "device"}
    plain = {name: {key: value for key, value in part.items() if key not in drop}
             for name, part in (("flow", flow), ("egomotion", egomotion))}  # fmt: skip
    return json.dumps({"version": VERSION, "size": size, "uses": sorted(uses), **plain}, sort_keys=True)


def source_of(video: Path, told: Path | None = None, uses: Sequence[str] = ()) -> str:
    """What tells a video, and what is used of its pose file, from others, as text.

    Of both size and time of change, and what decides where these differ: their content.
    """
    status = video.stat()
    source = {"bytes": status.st_size, "changed": status.st_mtime_ns, "sha256": image_sequence.digest(video)}
    return json.dumps(source | {"facts": {"changed": _changed(told), "sha256": _digest(told, uses)}})


def _changed(file: Path | None) -> list[int]:
    """Size and time of change of a file; nothing where there is none."""
    return [] if file is None else [file.stat().st_size, file.stat().st_mtime_ns]


def _digest(file: Path | None, uses: Sequence[str]) -> str:
    """The SHA-256 of what may be used of a pose file."""
    found = hashlib.sha256()
    for name, value in sorted(_told(file, uses).items()):
        found.update(f"{name} {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def _told(file: Path | None, uses: Collection[str]) -> dict[str, np.ndarray]:
    """What a pose file has of `uses`; nothing where there is none."""
    if file is None or not uses:
        return {}
    try:
        with np.load(file) as archive_file:
            return {name: np.asarray(archive_file[name]) for name in uses if name in archive_file.files}
    except Exception as error:  # zip, header and CRC errors come as half a dozen types
        raise ValueError(f"{file}: cannot be read as .npz ({error})") from None


def _same(video: Path, source: Mapping[str, Any]) -> bool:
    """Whether a video is the one of `source_of`; copying it changes its time, so the content decides."""
    status = video.stat()
    if video.is_dir() or video.suffix == image_sequence.SUFFIX:  # what it is made of changes without it
        return image_sequence.digest(video) == source["sha256"]
    if status.st_size != source["bytes"]:
        return False
    return status.st_mtime_ns == source["changed"] or image_sequence.digest(video) == source["sha256"]


def stale(file: Path, wanted: str, video: Path, told: Path | None = None) -> bool:
    """Whether an archive is missing (True), or made from this video by the wanted settings (False).

    Args:
        file: The archive.
        wanted: See `settings`.
        video: What it is to be the motion of.
        told: The pose file with what else is known of it.

    Raises:
        ValueError: It was made by other settings, from another video or from other facts, or is no archive of ours; the file
            and the difference are named.
    """
    if not file.is_file():
        return True
    try:
        with np.load(file) as archive:
            found, source = json.loads(str(archive["settings"])), json.loads(str(archive["source"]))
    except Exception as error:  # zip, header, key and JSON errors
        raise ValueError(f"{file}: not an archive of estimated motion ({error}); remove it or choose another out") from None
    expected = json.loads(wanted)
    different = [f"{name}: found {found.get(name)!r}, expected {value!r}" for name, value in expected.items()
                 if found.get(name) != value]  # fmt: skip
    if different:
        raise ValueError(f"{file}: motion estimated with other settings ({'; '.join(different)}); give the same ones, "
                         "overwrite=true, or another out")  # fmt: skip
    if not _same(video, source):
        raise ValueError(f"{file}: motion estimated from another video than {video} is now ({source['bytes']} bytes then, "
                         f"{video.stat().st_size} now); remove it, give overwrite=true, or another out")  # fmt: skip
    facts, uses = source["facts"], expected["uses"]
    if _changed(told) != facts["changed"] and _digest(told, uses) != facts["sha256"]:
        raise ValueError(f"{file}: motion estimated with other {', '.join(uses)} than are known of {video} now "
                         f"({told or 'no pose file'}); remove it, give overwrite=true, or another out")  # fmt: skip
    return False


def archive(out: Path, manifest: Manifest, row: int) -> Path:
    """Where the motion of a row is kept."""
    name = Path(str(manifest.path[row]))
    parts = name.parts[1:] if name.is_absolute() else name.parts
    return out / "motion" / Path(*parts[:-1], f"{parts[-1]}.npz")


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
    skipped = Skipped(rows=len(table), population=len(rows), share=allowed_skips, file=out / "skipped.csv")
    bar = tqdm(total=len(rows), initial=len(rows) - len(todo), desc="motion", unit="clip", disable=not progress)
    solver, unwritten = Solver(*estimators, batch), []

    def write() -> None:
        for clip, row, times in [item for item in unwritten if item[0].solved]:
            with atomic_path(archive(out, table, row)) as temporary:
                source = np.array(source_of(table.video(row), table.pose_file(row), uses))
                lens = _told(table.pose_file(row), {"intrinsics"} & set(uses))  # kept for whoever reads the manifest of these
                np.savez(temporary, times=times, settings=np.array(text), source=source, **lens, **clip.joined())
            bar.update()
        unwritten[:] = [item for item in unwritten if not item[0].solved]

    with bar:
        for row in todo:
            clip = ClipMotion()
            try:
                with open_clip(table.video(row)) as video:
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
    if listed and all(_holds(archive(out, table, row), text) for row in range(len(table)) if row not in lost):
        _write_manifest(out, table, text, lost)
        return out / "manifest.csv"
    return out


def _check_out(out: Path, table: Manifest) -> None:
    """Refuse a folder whose manifest is the data's own, or would pass for it."""
    if out.resolve() == Path(table.root).resolve():
        raise ValueError(f"out={out} is the folder of the data ({table.file}), whose manifest.csv would be that of the estimated "
                         f"motion; give a folder of its own, such as out={out / 'motion'}")  # fmt: skip
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


def _holds(file: Path, text: str) -> bool:
    """Whether an archive is there and of these settings."""
    if not file.is_file():
        return False
    with np.load(file) as found:
        return json.loads(str(found["settings"])) == json.loads(text)


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
                shape = (round(width * scale), round(height * scale)) if scale < 1 else None
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


def _facts(
    table: Manifest, row: int, whole: tuple[int, int, int], shape: tuple[int, int] | None, uses: Sequence[str],
    needing_depth: str | bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """What else is known of a clip of (T, H, W) frames, as its archive has it; intrinsics are those of the working size."""
    file = table.pose_file(row)
    facts = _told(file, uses)
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
    write_text(out / "motion.json", json.dumps(json.loads(text) | {"manifest": str(table.file)}, indent=1) + "\n")
    write_text(out / "manifest.csv", lines.getvalue())
