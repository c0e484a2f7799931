"""The contract of every encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A clip (B, 3, T, H, W), float in [0, 1], to per-step latents (B, S, dim) with S = T / stride (1 for a still).

    Attributes:
        dim: Width of a latent.
        stride: Frames per step. A clip of more than one frame must have a multiple of it.
        apart: Whether `raw` sees every frame by itself: latents of any window are then `mix` of what it gave, seen once.
    """

    dim: int
    stride: int = 1
    apart: bool = False

    def raw(self, clip: Tensor) -> Tensor | None:
        """What the backbone gives (B, S, features) before any head of ours; None where there is no such thing."""
        return None

    def mix(self, features: Tensor) -> Tensor:
        """What comes after `raw`: its features (B, S, features) -> latents (B, S, dim)."""
        return features

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> latents (B, S, dim); a still is held for one stride."""
        return self.mix(self.raw(clip))

    def check(self, clip: Tensor) -> None:
        """Raise a ValueError unless `clip` is (B, 3, T, H, W) with T = 1 or T divisible by the stride."""
        if clip.dim() != 5 or clip.shape[1] != 3:
            raise ValueError(f"an encoder takes clips (B, 3, T, H, W), found {tuple(clip.shape)}")
        frames = clip.shape[2]
        if frames != 1 and frames % self.stride:
            raise ValueError(f"clips of {frames} frames cannot be cut into steps of {self.stride} frames (encoder.stride)")

    def steps(self, frames: int) -> int:
        """S, how many steps a clip of `frames` frames gives."""
        return max(1, frames // self.stride)

    def step_times(self, times: Tensor) -> Tensor:
        """See `step_times`."""
        return step_times(times, self.stride)


def step_times(times: Tensor, stride: int) -> Tensor:
    """The instant (..., S) of each step, in the unit of `times` (..., T): the mean over the `stride` frames it stands for."""
    frames = times.shape[-1]
    if frames == 1 or stride == 1:
        return times
    if frames % stride:
        raise ValueError(f"clips of {frames} frames cannot be cut into steps of {stride} frames (encoder.stride)")
    return times.unflatten(-1, (-1, stride)).mean(-1)


def standardise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``(images - mean) / std`` in one pass over memory; mean and std broadcast against the images."""
    return torch.addcmul(-mean / std, images, 1 / std)
