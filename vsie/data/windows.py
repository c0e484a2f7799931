"""The training data set: one item is one object, seen through V windows of T frames each.

Window 0 is the context, the others are targets. Where an object has several clips the windows come from different ones:
frames of one clip share light and floor, which an invariance loss would happily encode. Where there are fewer clips than
windows, windows of one clip never overlap. Time always runs forward.

What index i gives is a function of (seed, epoch, i) alone: not of the number of workers, not of what was read before, and
not of whether frames come from videos or from a `FrameCache`.
"""

from __future__ import annotations

import csv
import fcntl
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vsie import pose
from vsie.data.decode import VideoError
from vsie.data.frame_cache import FrameCache
from vsie.data.manifest import Manifest
from vsie.data.pose_noise import PoseNoise
from vsie.data.sources import VideoSource


class ToldMotion(Protocol):
    """What is told of the motion in clips in place of the manifest's poses, as `vsie.motion.estimated` does."""

    def poses(self, row: int, frames: int) -> np.ndarray:
        """Poses (`frames`, 4, 4) of the clip in a row of the manifest; a VideoError where nothing is known of it."""

    def trust(self, rows: np.ndarray, first: np.ndarray, last: np.ndarray, rotations: Tensor) -> Tensor:
        """Trust (B, N, N) in the deltas between steps with rotations (B, N, 3, 3) in clips (B, N), between two frames each."""


class _Window(NamedTuple):
    row: int
    numbers: np.ndarray  # (T,) frames of the clip
    pictures: np.ndarray | None  # (T, H, W, 3); None where they are not asked for
    times: np.ndarray  # (N,) of the whole clip
    poses: np.ndarray | None  # (N, 4, 4) of the whole clip
    latents: np.ndarray | None  # (T, L)


class _Lost(Exception):
    """A clip that cannot be read."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


KEPT = 4096  # clips whose latents are kept in memory


class SkippedError(RuntimeError):
    """More videos could not be read than allowed."""


class Skipped:
    """Counts videos that could not be read, over all workers, and lists them in a CSV.

    Args:
        rows: Rows of the manifest.
        population: Of how many videos the share is taken.
        share: The share above which `add` raises.
        file: A CSV with the columns path and reason that is appended to; None for no file.
    """

    def __init__(self, *, rows: int, population: int, share: float = 0.01, file: str | os.PathLike | None = None) -> None:
        self.population, self.share = population, share
        self.file = None if file is None else Path(file)
        self._flags = torch.zeros(rows, dtype=torch.uint8).share_memory_()

    @property
    def count(self) -> int:
        """Distinct videos that could not be read so far, in this process and its workers."""
        return int(self._flags.sum())

    def add(self, row: int, path: Path, reason: str) -> None:
        """Note a video. Raises a SkippedError when there are now too many of them."""
        if not self._flags[row]:
            self._flags[row] = 1
            self._write(path, reason)
        count = self.count
        if count > self.share * self.population:
            listed = f" (see {self.file})" if self.file else ""
            found = f"{count} of {self.population} videos cannot be used{listed}"
            raise SkippedError(f"{found}, expected at most {self.share:.2%} (allowed_skips); the last: {reason}")

    def _write(self, path: Path, reason: str) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "a+", newline="", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # workers and ranks share the file; closing it unlocks
            file.seek(0)
            known = {row[0] for row in csv.reader(file) if row}
            writer = csv.writer(file)
            if not known:
                writer.writerow(("path", "reason"))
            if str(path) not in known:
                writer.writerow((path, reason))


class WindowsDataset(Dataset):
    """Map-style data set of objects; see the head of this file.

    Item i is a dict of
        clips uint8 (V, T, H, W, 3); times float64 (V, S), seconds in the clip; clip int64 (V,), number of the clip within
        the object; label int64, -1 without; object int64, index into `manifest.objects`; where the manifest has poses,
        poses float32 (V, S, 4, 4), object in camera; where more is known of its frames, latents float32 (V, T, L); with `motion`,
        trust float32 (V S, V S) in the deltas from step to step, [source, target].
    S = T, or what `step_times` gives. `__getitems__` gives a whole batch, collated, which is how to be fast.

    Args:
        manifest: The videos.
        split: Which of its splits.
        windows: V, at least 1.
        frames: T, at least 1.
        spacing: Least and largest distance in frames between neighbours in a window; 1 is consecutive. Where a clip has
            too few frames for the largest, as large as fits is the largest.
        spacing_per: ``window`` or ``object``: how often the spacing is drawn.
        seed: Of all draws.
        step_times: Times (..., T) of frames to the times (..., S) at which poses are wanted, as `Encoder.step_times`;
            poses in between are interpolated within the clip. None for the frames' own.
        cache: Decoded frames to read in place of the videos.
        size: Side of square frames to which videos are resized and cropped, see `sources.resize`; None to leave them. With a
            cache, whatever it was built with.
        backend: Of `decode`.
        check: Of `decode`.
        poses: False to leave poses out; None for: where there are some.
        clips_per_item: From how many clips of its object the windows of an item come at most; None for as many as there are
            windows. With 1 all deltas of an item are motion within one clip.
        motion: What is told of motion in place of the manifest's poses, with the trust in it.
        noise: Errors that the poses are given.
        shuffled: Deltas are given to the wrong pairs: the poses of an item's steps (and the trust in them) change places at
            random, anew in each epoch. What is told of a pair then does not depend on which pair it is: a control.
        hues: Give poses a fifth column with the hues of floor and light, see `pose.with_hues`: (V, S, 4, 5).
        skipped: CSV of the videos that could not be read. They are replaced by another clip of the object, or by the
            next object.
        allowed_share: Share of the split's videos that may be skipped.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        *,
        windows: int = 2,
        frames: int = 4,
        spacing: tuple[int, int] = (1, 1),
        spacing_per: str = "window",
        seed: int = 0,
        step_times: Callable[[Tensor], Tensor] | None = None,
        cache: FrameCache | None = None,
        size: int | None = None,
        backend: str = "decord",
        check: bool = True,
        poses: bool | None = None,
        clips_per_item: int | None = None,
        motion: ToldMotion | None = None,
        noise: PoseNoise | None = None,
        shuffled: bool = False,
        hues: bool = False,
        skipped: str | os.PathLike | None = None,
        allowed_share: float = 0.01,
    ) -> None:
        if windows < 1 or frames < 1:
            raise ValueError(f"windows is {windows} and frames is {frames}, expected at least 1 of each")
        if clips_per_item is not None and clips_per_item < 1:
            raise ValueError(f"clips_per_item is {clips_per_item}, expected at least 1")
        if not 1 <= spacing[0] <= spacing[1]:
            raise ValueError(f"spacing is {tuple(spacing)}, expected (least, largest) with 1 <= least <= largest")
        if spacing_per not in ("window", "object"):
            raise ValueError(f"spacing_per is {spacing_per!r}, expected window or object")
        self.manifest, self.split = manifest, split
        self.windows, self.frames, self.spacing, self.spacing_per = windows, frames, tuple(spacing), spacing_per
        self.seed, self.step_times = seed, step_times
        self.clips_per_item = windows if clips_per_item is None else min(windows, clips_per_item)
        self.motion, self.noise, self.shuffled = motion, noise, shuffled
        rows = manifest.rows(split)
        self.posed = (motion is not None or bool(manifest.posed[rows].any())) if poses is None else poses
        if self.posed and motion is None and not manifest.posed[rows].all():
            row = rows[~manifest.posed[rows]][0]
            raise ValueError(f"{manifest.file}: {manifest.path[row]} has no poses where others have (column poses), expected all "
                             "of a split or none")  # fmt: skip
        missing = [name for name in pose.HUES if name not in manifest.latent_names]
        if hues and (missing or not self.posed):
            raise ValueError(f"{manifest.file}: the frames' {', '.join(missing) or 'poses'} are not known, and "
                             "conditioning.colour needs them; rendered data and 3DIEBench have them")  # fmt: skip
        self.hues = [manifest.latent_names.index(name) for name in pose.HUES] if hues else None
        self._latents: dict[int, np.ndarray] = {}  # of clips that were read last, where hues are asked for and files keep them
        # Rows of one object side by side; objects in the order of their first row.
        self._rows = rows[np.argsort(manifest.object[rows], kind="stable")]
        self._objects, first = np.unique(manifest.object[self._rows], return_index=True)
        self._first = np.append(first, len(rows))
        self.source = (
            VideoSource(manifest, size=size, backend=backend, check=check) if cache is None else cache.belong(manifest, size)
        )
        self.skipped = Skipped(rows=len(manifest), population=len(rows), share=allowed_share, file=skipped)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # shared: workers may outlive an epoch

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def told(self) -> bool:
        """Whether the poses of items are anything else than the manifest's."""
        return self.posed and (self.motion is not None or self.noise is not None or self.shuffled)

    @property
    def one_clip(self) -> bool:
        """Whether all windows of an item come from one clip, in which light and floor stay as they are."""
        return not self.manifest.unordered and (self.clips_per_item == 1 or int(np.diff(self._first).max()) == 1)

    @property
    def epoch(self) -> int:
        """The epoch that items are drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows from now on, in this process and in persistent workers; call it between two passes."""
        self._epoch[0] = epoch

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Tensor]:
        """Item `index` of the data set's epoch, or item (epoch, index)."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int | tuple[int, int]]) -> dict[str, Tensor]:
        """The items `indices` as one batch, every value with the batch in front."""
        return self._batch(indices, pictures=True)

    def motions(self, indices: Sequence[int | tuple[int, int]]) -> dict[str, Tensor]:
        """As `__getitems__`, but without the clips: no frame is decoded."""
        return self._batch(indices, pictures=False)

    def _batch(self, indices: Sequence[int | tuple[int, int]], *, pictures: bool) -> dict[str, Tensor]:
        keys = [index if isinstance(index, tuple) else (self.epoch, int(index)) for index in indices]
        items = [self._item(*key, pictures) for key in keys]
        windows = [window for item in items for window in item]  # B * V
        shape = (len(items), self.windows)
        times = np.stack([window.times[window.numbers] for window in windows])
        batch = {"clips": self._stack(windows).unflatten(0, shape)} if pictures else {}
        batch |= {
            "times": torch.from_numpy(times).unflatten(0, shape),
            "clip": torch.from_numpy(self.manifest.clip[[window.row for window in windows]]).unflatten(0, shape),
            "label": torch.from_numpy(self.manifest.label[[item[0].row for item in items]]),
            "object": torch.from_numpy(self.manifest.object[[item[0].row for item in items]]),
        }
        asked = batch["times"] if self.step_times is None else self.step_times(batch["times"]).to(torch.float64)
        if self.posed:
            if asked.shape == batch["times"].shape and torch.equal(asked, batch["times"]):
                poses = torch.from_numpy(np.stack([window.poses[window.numbers] for window in windows]))
            else:
                query = asked.flatten(0, 1).numpy()
                poses = poses_at(windows, query)
            if self.hues:
                hues = torch.from_numpy(np.stack([window.latents[:, self.hues] for window in windows]))  # [B * V, T, 2]
                stride = self.frames // poses.shape[1]  # a step of several frames has the hues of the one in its middle
                poses = pose.with_hues(poses, hues[:, stride // 2 :: stride][:, : poses.shape[1]])
            batch["poses"] = poses.to(torch.float32).unflatten(0, shape)
            if self.motion is not None:
                batch["trust"] = self._trust(windows, asked.flatten(0, 1).numpy(), poses, shape)
            if self.shuffled:
                for number, key in enumerate(keys):
                    self._shuffle(batch, number, *key)
        if windows[0].latents is not None:
            batch["latents"] = torch.from_numpy(np.stack([window.latents for window in windows])).float().unflatten(0, shape)
        batch["times"] = asked
        return batch

    def _trust(self, windows: list[_Window], query: np.ndarray, poses: Tensor, shape: tuple[int, int]) -> Tensor:
        """Trust (B, N, N), N = V * S, between steps at `query` (W, S) seconds with poses (W, S, 4, 4) of W = B * V windows."""
        frames = np.stack([bracket(window.times, wanted) for window, wanted in zip(windows, query, strict=True)])  # [W, S, 2]
        rows = np.repeat([window.row for window in windows], query.shape[1]).reshape(shape[0], -1)
        first, last = (frames[..., side].reshape(rows.shape) for side in (0, 1))
        return self.motion.trust(rows, first, last, poses[..., :3, :3].reshape(*rows.shape, 3, 3))

    def _shuffle(self, batch: dict[str, Tensor], number: int, epoch: int, index: int) -> None:
        """Let the steps of item `number` of a batch, in place, change their poses (and the trust in them) among each other."""
        sequence = np.random.SeedSequence((self.seed, epoch, index % len(self)), spawn_key=(2,))
        poses = batch["poses"][number]
        order = torch.from_numpy(np.random.Generator(np.random.PCG64(sequence)).permutation(poses.shape[:2].numel()))
        batch["poses"][number] = poses.flatten(0, 1)[order].view_as(poses)
        if "trust" in batch:
            batch["trust"][number] = batch["trust"][number][order][:, order]

    def _stack(self, windows: list[_Window]) -> Tensor:
        """Frames (B * V, T, H, W, 3) of windows, in one copy."""
        shapes = {window.pictures.shape[1:] for window in windows}
        if len(shapes) > 1:
            raise ValueError(f"{self.manifest.file}: frames of different sizes in one batch, {sorted(shapes)}; give a size")
        return torch.from_numpy(np.stack([window.pictures for window in windows]))

    def _item(self, epoch: int, index: int, pictures: bool) -> list[_Window]:
        """The windows of item `index` in `epoch`; what cannot be read is left out, and the draw repeated without it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range, expected below {len(self)} objects")
        place = index = index % len(self)
        lost: set[int] = set()
        for attempt in itertools.count():
            rows = self._rows[self._first[place] : self._first[place + 1]]
            if lost:
                rows = np.array([row for row in rows if row not in lost], dtype=np.int64)
            if len(rows):
                rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, epoch, index, attempt))))
                try:
                    return self._draw(rng, rows, pictures)
                except _Lost as error:
                    lost.add(error.row)
                    self.skipped.add(error.row, self.manifest.video(error.row), error.reason)
            else:
                place = (place + 1) % len(self)
                if place == index:
                    raise VideoError(f"{self.manifest.file}: no video of split {self.split!r} can be read")

    def _draw(self, rng: np.random.Generator, rows: np.ndarray, seen: bool) -> list[_Window]:
        """V windows, window v from the v-th of the clips in random order, round and round.

        Raises:
            _Lost: For a clip that cannot be read.
            ValueError: For a clip that is too short.
        """
        rows = rows[rng.permutation(len(rows))[: self.clips_per_item]]
        low, high = self.spacing
        common = int(rng.integers(low, high + 1)) if self.spacing_per == "object" else None
        windows: dict[int, _Window] = {}
        for turn, row in enumerate(rows.tolist()):
            places = range(turn, self.windows, len(rows))
            try:
                with self.source.clip(row) as clip:
                    numbers = self._place(rng, row, len(clip), len(places), common)
                    pictures = clip.read(numbers.reshape(-1)) if seen else None
                    poses = clip.poses if self.motion is None else self.motion.poses(row, len(clip))
                    if self.noise is not None and poses is not None:
                        poses = self.noise(row, poses)
            except VideoError as error:
                raise _Lost(row, str(error)) from error
            known = clip.latents
            if known is None and self.hues:
                known = self._kept_latents(row, len(clip))
            pictures = pictures.reshape(*numbers.shape, *pictures.shape[1:]) if seen else [None] * len(numbers)
            for place, mine, frames in zip(places, numbers, pictures, strict=True):
                latents = None if known is None else known[mine]
                windows[place] = _Window(row, mine, frames, clip.times, poses, latents)
        return [windows[place] for place in range(self.windows)]

    def _kept_latents(self, row: int, frames: int) -> np.ndarray:
        if row not in self._latents:
            if len(self._latents) >= KEPT:
                self._latents.clear()
            self._latents[row] = self.manifest.latents(row, frames)
        return self._latents[row]

    def _place(self, rng: np.random.Generator, row: int, length: int, count: int, common: int | None) -> np.ndarray:
        """Frame numbers (count, T) of `count` windows that do not overlap, in a clip of `length` frames."""
        low, high = self.spacing
        gaps = self.frames - 1
        if not gaps and self.manifest.unordered and length >= count:  # any of the views, not windows of a line
            return rng.permutation(length)[:count, None]
        need = count * (gaps * low + 1)
        if length < need:
            raise ValueError(
                f"{self.manifest.video(row)}: {length} frames are too few, expected at least {need} for {count} window(s) of "
                f"{self.frames} frames with spacing {low}"
            )
        if gaps:
            high = min(high, (length // count - 1) // gaps)
        spacing = rng.integers(low, high + 1, size=count) if common is None else np.full(count, min(common, high))
        spans = gaps * spacing + 1
        taken = np.cumsum(spans) - spans  # by the windows before
        start = taken + np.sort(rng.integers(0, length - spans.sum() + 1, size=count))
        numbers = start[:, None] + spacing[:, None] * np.arange(self.frames)
        return numbers[rng.permutation(count)] if count > 1 else numbers


def poses_at(windows: Sequence[_Window], query: np.ndarray) -> Tensor:
    """Poses (W, S, 4, 4), float64, of the clips of W windows at `query` (W, S) seconds, between the two nearest frames."""
    pairs, times = [], []
    for window, wanted in zip(windows, query, strict=True):
        last = len(window.times) - 1
        right = np.clip(np.searchsorted(window.times, wanted), min(1, last), last)
        pair = np.stack([np.maximum(right - 1, 0), right], -1)  # (S, 2)
        pairs.append(window.poses[pair])
        times.append(window.times[pair])
    if min(len(window.times) for window in windows) == 1:  # a still has one pose, at any time
        pairs = [pair[:, -1:] for pair in pairs]
        times = [pair[:, -1:] for pair in times]
    between = pose.interpolate(*(torch.from_numpy(np.stack(part)) for part in (times, pairs)), torch.from_numpy(query)[..., None])
    return between.squeeze(-3)


def bracket(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Numbers (S, 2) of the frames at `times` (N,) before and after each of `wanted` (S,) seconds; twice the same one on it."""
    last = len(times) - 1
    before = np.searchsorted(times, wanted, side="right") - 1
    after = np.searchsorted(times, wanted, side="left")
    return np.stack([before, after], -1).clip(0, last)
