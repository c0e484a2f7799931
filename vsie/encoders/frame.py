"""A 2-D backbone on every frame, then mixing over time: every image network is a video network, T = 1 is a still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie.encoders.base import Encoder, standardise
from vsie.encoders.resnet import SmallResNet


class Frame(Encoder):
    """Per-frame backbone, average pooling, a head, and (optional) attention over the steps of the clip.

    Args:
        backbone: ``small`` (ours, for small frames and CPUs) or the name of any torchvision classification network.
        weights: torchvision's name of pretrained weights (``DEFAULT``, ``IMAGENET1K_V1``), a file (see `load_network`), or null.
        dim: Width of the latents; null keeps the backbone's own.
        mixing: Attention blocks over the steps of a clip. A clip of one frame passes them too, attending to itself.
        heads: Attention heads.
        framewise: Share of the latent, from its start, that every frame gives alone: what a thing is can be averaged over the
            steps of a clip, how it moves has to be seen in the others. Make it `invariant_share`.
        widths: Channels of the small backbone's stages.
        depths: Blocks of the small backbone's stages after the stem.
        norm: ``batch`` or ``group`` (small backbone only).
        mean: Per channel, subtracted from images in [0, 1].
        std: Per channel, by which they are then divided.
    """

    stride, apart = 1, True

    def __init__(
        self,
        *,
        backbone: str = "small",
        weights: str | None = None,
        dim: int | None = 256,
        mixing: int = 0,
        heads: int = 4,
        framewise: float = 0.5,
        widths: tuple[int, ...] = (16, 32, 64, 128, 256),
        depths: tuple[int, ...] = (1, 1, 1, 1),
        norm: str = "batch",
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != 3 or (name == "std" and min(values) <= 0):
                raise ValueError(f"encoder.{name} is {list(values)}, expected one number a channel, three (std: above 0)")
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(3, 1, 1), persistent=False)
        if backbone == "small":
            self.backbone = SmallResNet(widths=widths, depths=depths, norm=norm)
            features = self.backbone.dim
        else:
            self.backbone, features = torchvision_backbone(backbone, weights)
        self.dim = dim or features
        self.head = nn.Linear(features, self.dim) if dim else nn.Identity()
        mixed = self.dim - round(self.dim * framewise)
        if not 0 <= framewise < 1 or not mixed:
            raise ValueError(f"encoder.framewise is {framewise}, expected a share of the latent from 0 to below 1")
        self.mixing = nn.ModuleList(Mixing(self.dim, heads, width=mixed) for _ in range(mixing))

    def raw(self, clip: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> features of the backbone (B, T, features), before head and mixing."""
        self.check(clip)
        images = rearrange(clip, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        features = self.backbone(standardise(images, self.mean, self.std))
        if features.dim() == 4:
            features = features.float().mean((2, 3))
        return rearrange(features, "(b t) d -> b t d", b=len(clip))

    def mix(self, features: Tensor) -> Tensor:
        """Features of the backbone (B, T, features) -> latents (B, T, dim), each frame's with the others of its window."""
        latents = self.head(features)
        for block in self.mixing:
            latents = block(latents)
        return latents


class Mixing(nn.Module):
    """Attention among the steps of a clip, added to the latents; starts as the identity.

    Steps are told apart by whether they come before or after each other (a learned bias), not by their place: a window may
    start anywhere, have any spacing, and be longer than those of training.

    Args:
        dim: Width of the latents.
        heads: Attention heads.
        width: How many dimensions, from the end, are changed (all are read); None for all.
        reach: Steps this far apart, and farther, share one bias.
    """

    def __init__(self, dim: int, heads: int, *, width: int | None = None, reach: int = 1) -> None:
        super().__init__()
        width = dim if width is None else width
        if dim % heads:
            raise ValueError(f"encoder.dim {dim} is not a multiple of encoder.heads {heads}")
        self.heads, self.reach = heads, reach
        self.norm, self.qkv, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, width)
        self.feed = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, width))
        self.bias = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        for layer in (self.out, self.feed[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents (B, S, dim) -> (B, S, dim)."""
        query, key, value = rearrange(self.qkv(self.norm(latents)), "b s (n h d) -> n b h s d", n=3, h=self.heads)
        steps = torch.arange(latents.shape[1], device=latents.device)
        distance = (steps[None] - steps[:, None]).clamp(-self.reach, self.reach) + self.reach
        scores = query @ key.mT / math.sqrt(query.shape[-1]) + self.bias[:, distance]
        mixed = scores.softmax(-1).to(value.dtype) @ value
        latents = self.add(latents, self.out(rearrange(mixed, "b h s d -> b s (h d)")))
        return self.add(latents, self.feed(latents))

    @staticmethod
    def add(latents: Tensor, update: Tensor) -> Tensor:
        """`update` (..., width) added to the last dimensions of the latents (..., dim)."""
        return latents + nn.functional.pad(update, (latents.shape[-1] - update.shape[-1], 0))


CLASSIFIERS = ("fc", "classifier", "heads", "head")


def torchvision_backbone(name: str, weights: str | None) -> tuple[nn.Module, int]:
    """A torchvision classification network without its classifier, and the width of its features.

    Raises:
        ValueError: torchvision has no such network, or weights cannot be had; the message says what to do.
    """
    from torchvision import models

    from vsie.components import nearest

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"encoder.backbone {name!r} is not small nor a torchvision network{nearest(name, known)}")
    network = load_network(name, weights)
    for attribute in CLASSIFIERS:
        if hasattr(network, attribute):
            classifier = getattr(network, attribute)
            linear = [layer for layer in classifier.modules() if isinstance(layer, nn.Linear)]
            if linear:
                layers = list(classifier) if isinstance(classifier, nn.Sequential) else [linear[0]]
                before = layers[: layers.index(linear[0])] if linear[0] in layers else []  # pooling, a norm of the features
                kept = [layer for layer in before if not isinstance(layer, nn.Dropout)]
                setattr(network, attribute, nn.Sequential(*kept, nn.Flatten(1)) if kept else nn.Flatten(1))
                for side in ("aux1", "aux2", "AuxLogits"):  # GoogLeNet's and Inception's, which training would give beside
                    if hasattr(network, side):
                        setattr(network, side, None)
                        network.aux_logits = False
                return network, linear[0].in_features
    raise ValueError(f"torchvision's {name} ends in no linear classifier that vsie knows how to take off")


def load_network(name: str, weights: str | None) -> nn.Module:
    """A torchvision network, whole.

    Args:
        name: torchvision's.
        weights: torchvision's name of weights, which are looked for in torch.hub's folder and then on the network; or a file: a
            state dict of the network (.pth, .pt or .safetensors, no code in it is run), whose classifier may be missing or of
            other classes; or null.

    Raises:
        ValueError: The weights cannot be had or are of another network; the message says what to do.
    """
    from torchvision import models

    if weights and (Path(weights).is_file() or Path(weights).suffix in (".pth", ".pt", ".safetensors")):
        network = models.get_model(name, weights=None)
        load_state(network, Path(weights), optional=CLASSIFIERS)
        return network
    try:
        return models.get_model(name, weights=weights)
    except (OSError, ValueError, KeyError) as error:
        where = f"{torch.hub.get_dir()}/checkpoints"
        raise ValueError(f"weights {weights!r} of torchvision's {name} could not be loaded ({error}); use weights=null, give a "
                         f"file of a state dict, or put torchvision's file into {where}") from error  # fmt: skip


def load_state(network: nn.Module, file: Path, *, optional: tuple[str, ...] = ()) -> None:
    """Load a state dict from a file, never running code in it.

    Args:
        network: What it is loaded into.
        file: A state dict, or a dict that holds one as ``state_dict``, ``model_state`` or ``model``.
        optional: Modules whose tensors may be missing or have another shape.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no state dict, or one of another network; tensors that do not fit are named.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there (weights=)")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and safetensors each have errors of their own
        raise ValueError(f"{file} is not a readable state dict ({' '.join(str(error).split())[:200]})") from None
    for key in ("state_dict", "model_state", "model"):
        state = state[key] if isinstance(state, Mapping) and isinstance(state.get(key), Mapping) else state
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} holds {type(state).__name__}, expected a state dict: names and tensors")
    own = network.state_dict()
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    wrong = [f"{name} is {tuple(value.shape)}, expected {tuple(own[name].shape)}" if name in own else f"{name} is left over"
             for name, value in state.items() if name not in fits]  # fmt: skip
    wrong += [f"{name} is missing" for name in own if name not in state]
    wrong = [text for text in wrong if not text.startswith(tuple(f"{name}." for name in optional))]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{file} holds weights of another network than {type(network).__name__}: {'; '.join(wrong[:3])}{more}")
    network.load_state_dict({**own, **fits})
