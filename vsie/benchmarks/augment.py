"""Jitter of colour of a batch of clips: one matrix per clip, against kornia's way through HSV."""

from __future__ import annotations

import torch
from kornia import augmentation as kornia

from vsie.benchmarks.base import Rows, paired
from vsie.data.augment import Augment


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""
    sizes = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.4, "hue": 0.5}
    ours = Augment(**sizes)
    hsv = kornia.VideoSequential(kornia.ColorJitter(*sizes.values(), p=1.0), data_format="BCTHW", same_on_frame=True)
    clips = torch.rand(128, 3, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    fast, slow = paired(lambda: ours(clips, 0), lambda: hsv(clips), seconds)
    images = clips.shape[0] * clips.shape[2]
    return [
        {"figure": "colour, one matrix per clip", "value": images / fast, "unit": "images/s"},
        {"figure": "colour, through HSV", "value": images / slow, "unit": "images/s"},
        {"figure": "speed ratio", "value": slow / fast, "unit": "x"},
    ]
