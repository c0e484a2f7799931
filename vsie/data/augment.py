"""Augmentation on the device, with the same parameters for all frames of a clip: colour here, the rest by kornia.

Colour is what contrast between objects can cheat with, so it is on the path of every training step: the four changes of
torchvision's ColorJitter are linear in RGB once the hue is turned about the grey axis, so they are one 3 x 3 matrix and one
offset per clip (`benchmark.py what=augment` compares with kornia's, which goes through HSV).

All of it is off unless a method (configs/data/augment/) or the data choose it: a crop moves the camera's principal point
without the poses knowing. Real video, whose windows share one clip, needs colour at least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie import pose

THREE_DIE_BENCH = ((0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969))  # mean and standard deviation, RGB in [0, 1]
LUMA = (0.299, 0.587, 0.114)  # how much of each channel a grey has (ITU-R BT.601)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def to_float(frames: Tensor) -> Tensor:
    """Frames as loaded, uint8 (..., T, H, W, 3), as an encoder takes them: float32 (..., 3, T, H, W) in [0, 1]."""
    return rearrange(frames, "... t h w c -> ... c t h w").to(torch.float32, memory_format=torch.contiguous_format) / 255


def normalise(clips: Tensor, mean: Sequence[float] = IMAGENET[0], std: Sequence[float] = IMAGENET[1]) -> Tensor:
    """``(clips - mean) / std`` per channel of clips (..., 3, T, H, W)."""
    mean, std = (torch.as_tensor(values, dtype=clips.dtype, device=clips.device)[:, None, None, None] for values in (mean, std))
    return (clips - mean) / std


def _draws(rows: int, count: int, seed: int, share: tuple[int, int]) -> Tensor:
    """Numbers in [0, 1), (rows, count): this process's columns of those that one process alone would draw."""
    rank, world = share
    return torch.rand(rows, world * count, generator=torch.Generator().manual_seed(seed))[:, rank * count : (rank + 1) * count]


def _like(flags: Tensor, tensor: Tensor) -> Tensor:
    return flags.view(-1, *[1] * (tensor.dim() - 1))


class Augment(nn.Module):
    """Random changes of clips (B, 3, T, H, W), float in [0, 1], one draw per clip for all of its frames.

    Args:
        brightness: Largest relative change, 0 to 1.
        contrast: Largest relative change, 0 to 1.
        saturation: Largest relative change, 0 to 1.
        hue: Largest turn of the hue, 0 to 0.5 of a full turn.
            Colours are turned about the grey axis of RGB, where HSV would turn them along the edges of the cube.
        jitter_probability: Of changing the colours (the four above) of a clip.
        gray_probability: Of taking the colours away.
        crop: Least share of the area that a random resized crop keeps, in (0, 1]; 1 for no crop. The size stays. Poses
            do not follow.
        crop_ratio: Least and largest width / height of the crop.
        blur: Largest standard deviation of a Gaussian blur in pixels (the least is 0.1); 0 for none.
        blur_probability: Of blurring a clip.
        noise: Standard deviation of added Gaussian noise (of values in [0, 1]), the same field on all frames; 0 for none.
        noise_probability: Of adding noise to a clip.
        mirror_probability: Of showing an object in a mirror, all of its clips; poses follow. By `mirrored` alone.

    Raises:
        ValueError: For a number outside of its range.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        jitter_probability: float = 1.0,
        gray_probability: float = 0.0,
        crop: float = 1.0,
        crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        blur: float = 0.0,
        blur_probability: float = 0.5,
        noise: float = 0.0,
        noise_probability: float = 1.0,
        mirror_probability: float = 0.0,
    ) -> None:
        super().__init__()
        limits = {"hue": (hue, 0.5), "blur": (blur, float("inf")), "noise": (noise, float("inf"))}
        shares = {
            "brightness": brightness, "contrast": contrast, "saturation": saturation, "crop": crop,
            "jitter_probability": jitter_probability, "gray_probability": gray_probability,
            "blur_probability": blur_probability, "noise_probability": noise_probability,
            "mirror_probability": mirror_probability,
        }  # fmt: skip
        for name, (value, most) in (limits | {name: (value, 1.0) for name, value in shares.items()}).items():
            if not 0 <= value <= most or (name == "crop" and value == 0):
                raise ValueError(f"{name} is {value}, expected 0 to {most}" + (", and not 0" if name == "crop" else ""))
        if not 0 < crop_ratio[0] <= crop_ratio[1]:
            raise ValueError(f"crop_ratio is {tuple(crop_ratio)}, expected (least, largest) with 0 < least <= largest")
        self.jitter = (brightness, contrast, saturation, hue)
        self.jitter_probability, self.gray_probability = jitter_probability, gray_probability
        self.crop, self.crop_ratio = crop, tuple(crop_ratio)
        self.blur, self.blur_probability = blur, blur_probability
        self.noise, self.noise_probability = noise, noise_probability
        self.mirror_probability = mirror_probability
        self._changes: dict[tuple[int, int], nn.Module] = {}

    def mirrored(
        self, clips: Tensor, poses: Tensor | None, seed: int, share: tuple[int, int] = (0, 1)
    ) -> tuple[Tensor, Tensor | None]:
        """Some objects in a mirror: a mirrored thing is another thing of its class, so this is twice as many objects.

        Args:
            clips: (B, V, ..., W), the last dimension is the pictures' width.
            poses: Object in camera, (B, V, S, 4, 4 or 5), or None; the principal point is taken to be the picture's centre.
            seed: What the draws are a function of.
            share: As in `forward`.
        """
        if self.mirror_probability == 0:
            return clips, poses
        # Another seed than the colours': what is mirrored must not tell the colour.
        turned = _draws(1, len(clips), -1 - seed, share)[0].to(clips.device) < self.mirror_probability
        clips = torch.where(_like(turned, clips), clips.flip(-1), clips)
        return clips, None if poses is None else torch.where(_like(turned, poses), pose.mirrored(poses), poses)

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return any(self.jitter) or self.gray_probability > 0 or self.crop < 1 or self.blur > 0 or self.noise > 0

    def forward(
        self, clips: Tensor, seed: int | torch.Generator, share: tuple[int, int] = (0, 1), *, strength: float = 1.0
    ) -> Tensor:
        """Augmented clips, of the shape and dtype of `clips` and in [0, 1].

        Args:
            clips: (B, 3, T, H, W), float in [0, 1].
            seed: What the draws are a function of; from a generator one number is taken. torch's own generators are left
                as they were.
            share: This process's number, and how many there are: colours are drawn as for one batch of all of them.
            strength: Of the changes of colour, 0 to 1: none to those that were asked for.
        """
        if clips.dim() != 5 or clips.shape[1] != 3 or not clips.is_floating_point():
            raise ValueError(f"clips are {clips.dtype} {tuple(clips.shape)}, expected float (B, 3, T, H, W)")
        if not self.active:
            return clips
        if isinstance(seed, torch.Generator):
            seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
        with torch.no_grad():
            if any(self.jitter) or self.gray_probability > 0:
                clips = self._coloured(clips, _draws(6, len(clips), seed, share), strength)
            if self.crop == 1 and self.blur == 0 and self.noise == 0:
                return clips
            size = tuple(clips.shape[-2:])
            if size not in self._changes:
                self._changes[size] = self._build(size)
            devices = [clips.device] if clips.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed + share[0])
                return self._changes[size](clips).clamp(0, 1).to(clips.dtype)

    def _coloured(self, clips: Tensor, draws: Tensor, strength: float) -> Tensor:
        """Brightness and contrast, then saturation, then hue: each clip by its own matrix, in one pass."""
        jittered, gray = draws[4] < self.jitter_probability, draws[5] < strength * self.gray_probability
        change = strength * torch.tensor(self.jitter)[:, None] * (2 * draws[:4] - 1) * jittered
        (brightness, contrast, saturation), turn = 1 + change[:3], 2 * math.pi * change[3]
        saturation = torch.where(gray, 0, saturation)
        luma, ones = torch.tensor(LUMA).expand(3, 3), torch.full((3, 3), 1 / 3)
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        scalars = (brightness * contrast, saturation, turn.cos(), turn.sin())
        gain, saturation, cos, sin = (scalar[:, None, None] for scalar in scalars)
        hue = cos * torch.eye(3) + (1 - cos) * ones + sin * cross
        matrix = (gain * hue @ (saturation * torch.eye(3) + (1 - saturation) * luma)).to(clips)
        pixels = clips.flatten(2)
        mean = (pixels.mean(2) * luma[0].to(clips)).sum(1)  # of each clip's grey; both matrices leave greys as they are
        offset = (brightness * (1 - contrast)).to(clips) * mean
        return torch.baddbmm(offset[:, None, None], matrix, pixels).clamp_(0, 1).view_as(clips)

    def _build(self, size: tuple[int, int]) -> nn.Module:
        from kornia import augmentation as kornia

        changes: list[nn.Module] = []
        if self.crop < 1:
            changes.append(kornia.RandomResizedCrop(size, scale=(self.crop, 1.0), ratio=self.crop_ratio, p=1.0))
        if self.blur > 0:
            side = min(2 * round(2 * self.blur) + 1, size[0] - 1 + size[0] % 2, size[1] - 1 + size[1] % 2)
            changes.append(kornia.RandomGaussianBlur(max(side, 3), (min(0.1, self.blur), self.blur), p=self.blur_probability))
        if self.noise > 0:
            changes.append(kornia.RandomGaussianNoise(std=self.noise, p=self.noise_probability))
        return kornia.VideoSequential(*changes, data_format="BCTHW", same_on_frame=True)
