"""A small residual network for small frames: our backbone where a CPU has to train it in minutes."""

from __future__ import annotations

from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016), with the second scale started at zero."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.first_norm = norm(fan_out)
        self.second = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.second_norm = norm(fan_out)
        nn.init.zeros_(self.second_norm.weight)
        self.shortcut = nn.Identity()
        if stride != 1 or fan_in != fan_out:
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                                          nn.Conv2d(fan_in, fan_out, 1, bias=False), norm(fan_out))  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        out = nn.functional.relu(self.first_norm(self.first(image)), inplace=True)
        out = self.second_norm(self.second(out))
        return nn.functional.relu(out + self.shortcut(image), inplace=True)


class SmallResNet(nn.Module):
    """Images (B, 3, H, W) to feature maps (B, dim, H / 2**stages, W / 2**stages).

    Args:
        widths: Channels of each stage; every stage halves the resolution, the stem too.
        depths: Blocks of each stage after the stem; one fewer than `widths`.
        norm: ``batch`` or ``group`` (free of the batch: for several processes on a CPU).
    """

    def __init__(self, *, widths: tuple[int, ...] = (24, 48, 96, 192), depths: tuple[int, ...] = (1, 1, 1), norm: str = "batch"):
        super().__init__()
        layer = image_norm(norm)
        stem = [nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), layer(widths[0]), nn.ReLU(inplace=True)]
        stages = []
        for fan_in, fan_out, depth in zip(widths[:-1], widths[1:], depths, strict=True):
            blocks = [Block(fan_in, fan_out, 2, layer)] + [Block(fan_out, fan_out, 1, layer) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
        self.stem, self.stages = nn.Sequential(*stem), nn.ModuleList(stages)
        self.dim = widths[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        image = self.stem(image)
        for stage in self.stages:
            image = stage(image)
        return image


def image_norm(name: str):
    """The constructor `channels -> norm layer` for feature maps that is called `name`."""
    if name == "batch":
        return nn.BatchNorm2d
    if name == "group":
        return lambda channels: nn.GroupNorm(max(1, channels // 16), channels)
    raise ValueError(f"norm is {name!r}, expected batch or group")
