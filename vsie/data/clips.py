"""Whole clips in order, for evaluation, and how items become a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from vsie.data.frame_cache import FrameCache
from vsie.data.manifest import Manifest
from vsie.data.sources import VideoSource

LONGEST = 32  # frames of a clip that are judged where clips differ in length


class ClipsDataset(Dataset):
    """The clips of a split, whole and in the order of the manifest.

    Item i is a dict of frames uint8 (T, H, W, 3); times float64 (T,); label int64, -1 without; object int64, index into
    `manifest.objects`; clip int64; path, str, as in the manifest; where the clip has poses, poses float32 (T, 4, 4).
    A video that cannot be read is a VideoError: an evaluation on fewer clips would be another one.

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
        row = int(self.rows[index])
        with self.source.clip(row) as clip:
            item = {
                "frames": torch.from_numpy(clip.read(np.arange(len(clip)))),
                "times": torch.from_numpy(np.array(clip.times)),
                "label": torch.tensor(self.manifest.label[row]),
                "object": torch.tensor(self.manifest.object[row]),
                "clip": torch.tensor(self.manifest.clip[row]),
                "path": str(self.manifest.path[row]),
            }
            if clip.poses is not None:
                item["poses"] = torch.from_numpy(clip.poses.astype(np.float32))
            if self.manifest.latent_names:
                known = self.manifest.latents(row, len(clip)) if clip.latents is None else clip.latents
                item["latents"] = torch.from_numpy(np.array(known))
            if clip.numbers is not None:
                item["numbers"] = torch.from_numpy(np.array(clip.numbers, dtype=np.int64))
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
        place, numbers = self.places[index]
        item = self.whole(place)
        of_frames = [name for name in ("frames", "times", "poses", "latents", "numbers") if name in item]
        return item | {name: item[name][numbers] for name in of_frames}

    def whole(self, place: int) -> dict[str, Tensor | str]:
        """The item of a clip before it is cut."""
        return self.clips[place]


def of_one_length(splits: Mapping[str, ClipsDataset], widest: int) -> tuple[Mapping[str, Dataset], list[str]]:
    """Clips that all have the same number of frames, which evaluation needs, and lines that say what was done for it.

    Where the clips of a split differ in length, as many frames of each as three quarters of them have, 32 at most: evenly from
    the first on, and no more than `widest` frames from one to the next. Shorter clips are left out.

    Args:
        splits: By name.
        widest: See above.
    """
    if any(clips.manifest.unordered for clips in splits.values()):
        return splits, []  # views, of which every object has as many
    found = {name: lengths(clips) for name, clips in splits.items()}
    if all(len(np.unique(own)) < 2 for own in found.values()):
        return splits, []
    together = np.concatenate(list(found.values()))
    frames = min(LONGEST, int(np.quantile(together, 0.25, method="lower")))
    cut = {}
    for name, clips in splits.items():
        places = [(place, min(widest, length // frames) * np.arange(frames))
                  for place, length in enumerate(found[name].tolist()) if length >= frames]  # fmt: skip
        cut[name] = CutClips(clips, places, f"cut {frames} {widest}")
    lines = [f"clips are of {together.min()} to {together.max()} frames: {frames} of each are judged, evenly apart"]
    lines += [
        f"{name}: {own.left_out} of {len(own.clips)} clips are shorter and left out" for name, own in cut.items() if own.left_out
    ]
    return cut, lines


def lengths(clips: ClipsDataset) -> np.ndarray:
    """How many frames each clip has, int64 (N,). Raises a VideoError for a video that cannot be read."""
    source = clips.source
    if isinstance(source, FrameCache):
        found = np.diff(source.start)[clips.rows]
        for row in clips.rows[found == 0].tolist():
            source.clip(row)  # says why
        return found
    found = np.empty(len(clips), np.int64)
    for place, row in enumerate(tqdm(clips.rows.tolist(), desc="lengths of clips", unit="clip", mininterval=1)):
        if clips.manifest.posed[row]:  # a small file says it: no video is opened
            found[place] = len(clips.manifest.poses(row)[0])
            continue
        with source.clip(row) as clip:
            found[place] = len(clip)
    return found


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
