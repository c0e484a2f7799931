"""Whole clips in order, for evaluation, and how items become a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vsie.data.frame_cache import FrameCache
from vsie.data.manifest import Manifest
from vsie.data.sources import VideoSource


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
                known = self.manifest.latents(row) if clip.latents is None else clip.latents
                item["latents"] = torch.from_numpy(np.array(known))
            if clip.numbers is not None:
                item["numbers"] = torch.from_numpy(np.array(clip.numbers, dtype=np.int64))
        return item


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
