"""What the layers of an encoder give: its blocks by name, and their activations in one form.

A block is the unit that a network repeats (a residual block, an attention layer, an inverted bottleneck), found by the
structure of its modules, so image and video networks of any family have them; then come vsie's own head and mixing blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

MOST = 12
CONTAINERS = (nn.Sequential, nn.ModuleList)
CHANNELS_LAST = ("Swin", "PatchMerging")  # classes of torchvision whose maps are (n, h, w, c)


def of_encoder(encoder: nn.Module, most: int = MOST) -> dict[str, nn.Module]:
    """At most `most` blocks of an encoder's backbone, evenly chosen and in their order, then its head and mixing, by name.

    Empty for an encoder without a backbone that could be looked into (an exported program).
    """
    backbone = getattr(encoder, "backbone", None)
    if not isinstance(backbone, nn.Module):
        return {}
    found = list(_blocks(backbone, "", True))
    keep = torch.linspace(0, len(found) - 1, min(most, len(found))).round().long().unique().tolist()
    chosen = {f"backbone.{found[i][0]}": found[i][1] for i in keep}
    head = getattr(encoder, "head", None)
    if isinstance(head, nn.Linear):
        chosen["head"] = head
    return chosen | {f"mixing.{i}": block for i, block in enumerate(getattr(encoder, "mixing", ()))}


def _blocks(module: nn.Module, name: str, root: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Blocks of a module: containers, and what holds a stack of like modules, are looked into."""
    children = list(module.named_children())
    leaves = all(not list(child.children()) for _, child in children)
    within = isinstance(module, CONTAINERS) and not leaves or root or _holds_stack(module)
    if not within:
        if any(True for _ in module.parameters()):
            yield name, module
        return
    for key, child in children:
        simple = not list(child.children())
        if not simple or isinstance(child, (nn.Conv2d, nn.Conv3d)):  # norms and pools between blocks are no layers of their own
            yield from _blocks(child, f"{name}.{key}".lstrip("."))


def _holds_stack(module: nn.Module) -> bool:
    """Whether a module has a list of composite modules of one class (that is no mere Sequential)."""
    for child in module.children():
        kinds = [type(inner) for inner in child.children() if list(inner.children())] if isinstance(child, CONTAINERS) else []
        if kinds and len(set(kinds)) == 1 and kinds[0] not in CONTAINERS and not issubclass(kinds[0], nn.Sequential):
            return True
    return False


class Taps:
    """Activations of chosen modules during one pass of an encoder.

    Args:
        encoder: `vsie.encoders.base.Encoder`, in eval mode.
        chosen: From `of_encoder`.
        side: Maps are pooled to at most so many positions along each side; None for all.
    """

    def __init__(self, encoder: nn.Module, chosen: Mapping[str, nn.Module], *, side: int | None = None):
        self.encoder, self.chosen, self.side = encoder, dict(chosen), side

    @torch.no_grad()
    def __call__(self, clip: Tensor) -> dict[str, Tensor]:
        """Clips (B, 3, T, H, W) -> by name, a row for each of the B * S steps: maps (B S, c, h, w) or vectors (B S, d); under
        ``latent`` what the encoder gives (B S, dim)."""
        found: dict[str, Tensor] = {}
        count, steps = len(clip), self.encoder.steps(clip.shape[2])

        def keep(name: str):
            def hook(module: nn.Module, _, output) -> None:
                output = output[0] if isinstance(output, (tuple, list)) else output
                found[name] = self._standard(output.float(), module, name, count, steps)

            return hook

        handles = [module.register_forward_hook(keep(name)) for name, module in self.chosen.items()]
        try:
            latents = self.encoder(clip)
        finally:
            for handle in handles:
                handle.remove()
        return {name: found[name] for name in self.chosen} | {"latent": latents.flatten(0, 1).float()}

    def _standard(self, output: Tensor, module: nn.Module, name: str, count: int, steps: int) -> Tensor:
        """One row a step."""
        if output.ndim == 5:
            if output.shape[2] != steps:
                output = nn.functional.adaptive_avg_pool3d(output, (steps, *output.shape[3:]))
            output = rearrange(output, "b c s h w -> (b s) c h w")
        elif output.ndim == 3 and name.startswith("backbone"):
            output = _tokens(output)
        elif output.ndim == 3:
            output = output.flatten(0, 1)
        elif output.ndim == 4 and type(module).__name__.startswith(CHANNELS_LAST):
            output = rearrange(output, "n h w c -> n c h w")
        if len(output) != count * steps:
            shape = tuple(output.shape)
            raise ValueError(f"the block {name} gives {shape} for {count} clips of {steps} steps, expected a row a step")
        if output.ndim == 4 and self.side is not None and max(output.shape[2:]) > self.side:
            output = nn.functional.adaptive_avg_pool2d(output, tuple(min(self.side, side) for side in output.shape[2:]))
        return output


def _tokens(output: Tensor) -> Tensor:
    """Tokens (n, N, d) as a map (n, d, k, k), a class token left out; as their mean (n, d) where they are no square."""
    number = output.shape[1]
    for extra in (0, 1):
        side = round((number - extra) ** 0.5)
        if side > 1 and side * side == number - extra:
            return rearrange(output[:, extra:], "n (h w) d -> n d h w", h=side)
    return output.mean(1)


def pooled(activations: Tensor) -> Tensor:
    """Vectors (n, c) of maps (n, c, h, w) or of vectors."""
    return activations.mean((2, 3)) if activations.ndim == 4 else activations
