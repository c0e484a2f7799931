"""Video backbones from torchvision: R3D-18, MC3-18, R(2+1)D-18 (Tran et al., CVPR 2018), S3D (Xie et al., ECCV 2018)."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie.encoders.base import Encoder, standardise
from vsie.encoders.frame import load_network

STRIDES = {"r3d_18": 8, "mc3_18": 1, "r2plus1d_18": 8, "s3d": 8}


class TorchVision(Encoder):
    """A torchvision video network, averaged over space; one step for every `stride` frames.

    Args:
        backbone: One of r3d_18, mc3_18, r2plus1d_18, s3d.
        weights: torchvision's name of pretrained weights (``DEFAULT``, ``KINETICS400_V1``), a file of a state dict, or null.
        dim: Width of the latents; null keeps the backbone's own.
    """

    def __init__(self, *, backbone: str = "r3d_18", weights: str | None = None, dim: int | None = None) -> None:
        super().__init__()
        from vsie.components import nearest

        if backbone not in STRIDES:
            raise ValueError(f"encoder.backbone {backbone!r} is not one of {', '.join(STRIDES)}{nearest(backbone, STRIDES)}")
        network = load_network(backbone, weights)
        if backbone == "s3d":
            self.backbone, features = network.features, network.classifier[1].in_channels
        else:
            parts = (network.stem, network.layer1, network.layer2, network.layer3, network.layer4)
            self.backbone, features = nn.Sequential(*parts), network.fc.in_features
        self.stride, self.dim = STRIDES[backbone], dim or features
        self.head = nn.Linear(features, self.dim) if dim else nn.Identity()
        self.register_buffer("mean", torch.tensor([0.43216, 0.394666, 0.37645])[:, None, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.22803, 0.22145, 0.216989])[:, None, None, None], persistent=False)

    def mix(self, features: Tensor) -> Tensor:
        """Features of the backbone (B, S, features) -> latents (B, S, dim), each step's of its own."""
        return self.head(features)

    def raw(self, clip: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> features of the backbone (B, T / stride, features), before the head."""
        self.check(clip)
        frames = clip.shape[2]
        clip = standardise(clip, self.mean, self.std)
        if frames == 1:
            clip = clip.expand(-1, -1, max(self.stride, 2), -1, -1)
        features = self.backbone(clip).float().mean((3, 4))  # [B, C, S]
        features = nn.functional.adaptive_avg_pool1d(features, self.steps(frames))
        return rearrange(features, "b c s -> b s c")
