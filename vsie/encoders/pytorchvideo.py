"""The one adapter to pytorchvideo: its video backbones.

Of pytorchvideo 0.1.5 only what works beside today's torchvision is used: never `pytorchvideo.transforms` (its import
breaks since torchvision 0.17) nor its iterable data set (wrong counts with workers).
"""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie.encoders.base import Encoder
from vsie.encoders.frame import load_state

X3D = {"x3d_xs": dict(depth_factor=2.2), "x3d_s": dict(depth_factor=2.2), "x3d_m": dict(depth_factor=2.2),
       "x3d_l": dict(depth_factor=5.0)}  # fmt: skip
MEAN, STD = 0.45, 0.225


class PyTorchVideo(Encoder):
    """A pytorchvideo network without its head, averaged over space; one step for every `stride` frames.

    Args:
        backbone: x3d_xs, x3d_s, x3d_m, x3d_l (Feichtenhofer, CVPR 2020; one step a frame), or slow_r50 (one step a frame).
        weights: Path of a local state dict of the whole network (``model_state``, as pytorchvideo publishes them), or null.
        dim: Width of the latents; null keeps the backbone's own.
    """

    stride = 1

    def __init__(self, *, backbone: str = "x3d_xs", weights: str | None = None, dim: int | None = None) -> None:
        super().__init__()
        from vsie.components import nearest

        known = [*X3D, "slow_r50"]
        if backbone not in known:
            raise ValueError(f"encoder.backbone {backbone!r} is not one of {', '.join(known)}{nearest(backbone, known)}")
        if backbone in X3D:
            from pytorchvideo.models.x3d import create_x3d

            network = create_x3d(input_clip_length=4, input_crop_size=160, **X3D[backbone])
        else:
            from pytorchvideo.models.resnet import create_resnet

            network = create_resnet()
        if weights:
            load_state(network, Path(weights), optional=(f"blocks.{len(network.blocks) - 1}",))
        self.backbone = nn.Sequential(*network.blocks[:-1])
        with torch.no_grad():
            features = self.backbone.eval()(torch.zeros(1, 3, 1, 64, 64)).shape[1]
        self.backbone.train()
        self.dim = dim or features
        self.head = nn.Linear(features, self.dim) if dim else nn.Identity()

    def mix(self, features: Tensor) -> Tensor:
        """Features of the backbone (B, S, features) -> latents (B, S, dim), each step's of its own."""
        return self.head(features)

    def raw(self, clip: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> features of the backbone (B, T, features), before the head."""
        self.check(clip)
        features = self.backbone((clip - MEAN) / STD).float().mean((3, 4))  # [B, C, T']
        features = nn.functional.adaptive_avg_pool1d(features, self.steps(clip.shape[2]))
        return rearrange(features, "b c s -> b s c")
