"""Whole clips in order, for evaluation, and how items become a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from vsie.data.decode import VideoError
from vsie.data.frame_cache import FrameCache
from vsie.data.manifest import Manifest
from vsie.data.sources import VideoSource
from vsie.data.windows import Skipped

LONGEST = 32  # frames of a clip that are judged where clips differ in length


class ClipsDataset(Dataset):
    """The clips of a split, whole and in the order of the manifest.

    Item i is a dict of frames uint8 (T, H, W, 3); times float64 (T,); label int64, -1 without; object int64, index into
    `manifest.objects`; clip int64; path, str, as in the manifest; where the clip has poses, poses float32 (T, 4, 4); where
    these are not `Manifest.anchored`, orbit int64, equal for clips with poses in one frame.
    A video that cannot be read is a VideoError: an evaluation on fewer clips would be another one, and `of_one_length` leaves out
    what cannot be opened, and says so. Where only pictures are damaged, nothing but decoding them tells: with a cache that is
    known from the start, without one it is a VideoError here.

    Args:
        manifest: The videos.
        split: Which of its splits; None for all of them.
        cache: Decoded frames to read in place of the videos.
        size: As in `WindowsDataset`.
        backend: Of `decode`.
        check: Of `decode`.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str | None,
        cache: FrameCache | None = None,
        *,
        size: int | None = None,
        backend: str = "decord",
        check: bool = True,
    ) -> None:
        self.manifest = manifest
        self.rows = np.arange(len(manifest)) if split is None else manifest.rows(split)
        self.source = (
            VideoSource(manifest, size=size, backend=backend, check=check) if cache is None else cache.belong(manifest, size)
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        return self.item(index)

    def item(self, index: int, numbers: np.ndarray | None = None) -> dict[str, Tensor | str]:
        """Item `index` with the frames `numbers` (F,) alone, no others being decoded; None for all."""
        row = int(self.rows[index])
        with self.source.clip(row) as clip:
            numbers = np.arange(len(clip)) if numbers is None else numbers
            item = {
                "frames": torch.from_numpy(clip.read(numbers)),
                "times": torch.from_numpy(np.asarray(clip.times)[numbers]),
                "label": torch.tensor(self.manifest.label[row]),
                "object": torch.tensor(self.manifest.object[row]),
                "clip": torch.tensor(self.manifest.clip[row]),
                "path": str(self.manifest.path[row]),
            }
            if clip.poses is not None:
                item["poses"] = torch.from_numpy(clip.poses[numbers].astype(np.float32))
            if not self.manifest.anchored:
                item["orbit"] = item["object"]
            if self.manifest.latent_names:
                known = self.manifest.latents(row, len(clip)) if clip.latents is None else clip.latents
                item["latents"] = torch.from_numpy(np.asarray(known)[numbers])
            if clip.numbers is not None:
                item["numbers"] = torch.from_numpy(np.asarray(clip.numbers, dtype=np.int64)[numbers])
        return item


class CutClips(Dataset):
    """Clips of which a choice of frames is taken; one without a choice is left out.

    Args:
        clips: The clips.
        places: (place among `clips`, numbers (F,) of the frames), in order.
        told: What else than the videos the items depend on, as text.

    Attributes:
        left_out: How many clips are not here.
    """

    def __init__(self, clips: ClipsDataset, places: Sequence[tuple[int, np.ndarray]], told: str) -> None:
        self.clips, self.places, self.told = clips, list(places), told
        self.manifest, self.source = clips.manifest, clips.source
        self.rows = clips.rows[[place for place, _ in self.places]]
        self.left_out = len(clips) - len(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        return self.clips.item(*self.places[index])


def of_one_length(
    splits: Mapping[str, ClipsDataset], widest: int, allowed_share: float = 0.01
) -> tuple[Mapping[str, Dataset], list[str]]:
    """Clips that all have the same number of frames, which evaluation needs, and lines that say what was done for it.

    Where the clips of a split differ in length, as many frames of each as three quarters of them have (of every split), 32 at
    most: evenly from the first on, and no more than `widest` frames from one to the next. Shorter clips are left out, and so are
    videos that cannot be read. Of objects with different numbers of views as many of each as the one with the fewest has.

    Args:
        splits: By name.
        widest: See above.
        allowed_share: Share of a split's videos that may be unreadable.

    Raises:
        SkippedError: More of them cannot be read.
    """
    found, lines, cut = {}, [], {}
    for name, clips in splits.items():
        found[name], reasons = lengths(clips, allowed_share)
        if reasons:
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            lines.append(f"{name}: {len(reasons)} of {len(clips)} clips cannot be read and are left out: {reasons[0]}{more}")
    known = {name: own[own > 0] for name, own in found.items()}
    frames = {name: int(own.min()) for name, own in known.items()}
    unordered = any(clips.manifest.unordered for clips in splits.values())
    low, high = min(frames.values()), max(int(own.max()) for own in known.values())
    if unordered:
        lines += [f"{name}: objects have {own.min()} to {own.max()} views: {own.min()} of each are judged"
                  for name, own in known.items() if own.min() < own.max()]  # fmt: skip
    elif any(own.min() < own.max() for own in known.values()):
        together = min(LONGEST, *(int(np.quantile(own, 0.25, method="lower")) for own in known.values()))
        frames = dict.fromkeys(frames, together)
        lines.append(f"clips are of {low} to {high} frames: {together} of each are judged, evenly apart")
    for name, clips in splits.items():
        own, count = found[name], frames[name]
        short = int((known[name] < count).sum())
        lines += [f"{name}: {short} of {len(clips)} clips are shorter and left out"] if short else []
        spacing = own // count if unordered else np.minimum(widest, own // count)
        places = [(place, int(spacing[place]) * np.arange(count)) for place in np.flatnonzero(own >= count).tolist()]
        cut[name] = clips if (own == count).all() else CutClips(clips, places, f"cut {count} {widest}")
    return cut, lines


def lengths(clips: ClipsDataset, allowed_share: float) -> tuple[np.ndarray, list[str]]:
    """How many frames each clip has, int64 (N,), 0 where its video cannot be read; and why not, of each of these.

    Raises:
        SkippedError: More than `allowed_share` of them cannot be read.
        VideoError: None of them can.
    """
    found, reasons = np.zeros(len(clips), np.int64), []
    skipped = Skipped(rows=len(clips.manifest), population=len(clips), share=allowed_share)
    hidden = not isinstance(clips.source, VideoSource)  # what is not decoded anew is there at once
    for place, row in enumerate(tqdm(clips.rows.tolist(), desc="lengths of clips", unit="clip", mininterval=1, disable=hidden)):
        try:
            found[place] = clips.source.length(row)
        except VideoError as error:
            reasons.append(str(error))
            skipped.add(row, clips.manifest.video(row), str(error))
    if not found.any():
        raise VideoError(f"{clips.manifest.file}: none of {len(clips)} clips can be read; the first: {reasons[0]}")
    return found, reasons


def collate(items: Mapping | Sequence[Mapping]) -> Mapping:
    """A batch from items: tensors of equal shape are stacked, all else becomes a list. A finished batch stays as it is.

    Use it as the `collate_fn` of a DataLoader over either data set: `WindowsDataset` collates in `__getitems__`.
    """
    if isinstance(items, Mapping):
        return items
    batch = {}
    for name in items[0]:
        values = [item[name] for item in items]
        alike = all(isinstance(value, Tensor) for value in values) and len({value.shape for value in values}) == 1
        batch[name] = torch.stack(values) if alike else values
    return batch
