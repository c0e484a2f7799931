"""Does the feature map move with the image? Correlation of feature maps, after Bruintjes et al. (2304.02628).

They correlate the transformed feature map of an image with the feature map of the transformed image. Maps of any two images
correlate too (position, channels' means, a common blur), so this is an own form, normalised by that null:

    score = (r - r_null) / (1 - r_null)

with r the mean Pearson correlation, over channels and positions together, of the two maps of one image, and r_null that of
the maps of two different images. 1: equivariant; 0: no more alike than maps of different images. Invariance is the same
without moving the map. Each channel is centred and scaled over the images and positions first, so that no loud channel speaks
for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vsie.evaluation import blocks, bootstrap
from vsie.evaluation.lie import move, pictures
from vsie.evaluation.moments import derangement

PICTURES, LAYERS = 96, 6
FLOATS = 2**24  # of maps held at once, each three times and in float64: 400 MB
SMALLEST = 4  # positions along a side


@dataclass(frozen=True)
class Correlation:
    """Null-normalised correlations of a motion: with the map moved along (equivariance) and not (invariance).

    Attributes:
        equivariance: (r - null) / (1 - null), map moved along.
        equivariance_interval: 95 % over objects.
        invariance: The same with the map left in its place.
        invariance_interval: 95 % over objects.
        raw: r of the map moved along, as published.
        null: r_null of it.
        margin: Rows and columns left out at each border.
    """

    equivariance: float
    equivariance_interval: tuple[float, float]
    invariance: float
    invariance_interval: tuple[float, float]
    raw: float
    null: float
    margin: int


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation (B,) of maps (B, ...), over all but the first axis; 0 where one is constant."""
    a, b = (m.flatten(1).double() for m in (first, second))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(scale > 0, (a * b).sum(1) / torch.where(scale > 0, scale, torch.ones_like(scale)), torch.zeros_like(scale))


@torch.no_grad()
def correlation(
    function: Callable[[Tensor], Tensor], images: Tensor, motion: str, amount: float, objects: np.ndarray | None = None, *,
    periodic: bool = False, margin: int | None = None, batch: int = 64, seed: int = 0,
) -> Correlation:  # fmt: skip
    """Correlate the moved map of images with the map of the moved images.

    Args:
        function: f, images (B, C, H, W) to feature maps (B, c, h, w).
        images: Float.
        motion: One of `lie.MOTIONS`.
        amount: How far, in the unit of the motion.
        objects: (B,) object of each image, for the interval and so that the null pairs differ; None: each its own.
        periodic: Images and maps wrap around.
        margin: Rows and columns of the map left out at each border, where what was outside of the image comes in; None: a
            sixth, or none where periodic.
        batch: Images at once.
        seed: Of the null's pairs and of the resamples.

    Raises:
        ValueError: f gives no feature maps, or maps that do not vary.
    """
    pieces = []
    amount = torch.tensor(amount, dtype=images.dtype)
    for first in range(0, len(images), batch):
        part = images[first : first + batch]
        still = function(part)
        if still.ndim != 4:
            raise ValueError(f"correlation of feature maps: the function gives {tuple(still.shape)}, expected (B, c, h, w)")
        along = move(still, motion, amount, periodic=periodic, reference=tuple(part.shape[-2:]))
        pieces.append((still, along, function(move(part, motion, amount, periodic=periodic))))
    still, along, moved = (torch.cat(maps).double() for maps in zip(*pieces, strict=True))
    if margin is None:
        margin = 0 if periodic else max(1, min(still.shape[-2:]) // 6) if min(still.shape[-2:]) > 2 else 0
    inner = (..., slice(margin, still.shape[-2] - margin), slice(margin, still.shape[-1] - margin))
    mean, std = still.mean((0, 2, 3), keepdim=True), still.std((0, 2, 3), keepdim=True)
    if float(std.max()) <= 1e-6 * max(1.0, float(still.abs().max())):
        raise ValueError(
            f"the feature maps have collapsed: they do not vary over the {len(images)} images; there is nothing to score"
        )
    scale = torch.where(std > 1e-6 * std.max(), 1 / std.clamp_min(1e-30), torch.zeros_like(std))
    still, along, moved = ((maps[inner] - mean) * scale for maps in (still, along, moved))
    objects = np.arange(len(images)) if objects is None else np.asarray(objects)
    other = torch.from_numpy(_strangers(objects, seed))
    terms = [pearson(along, moved), pearson(along[other], moved), pearson(still, moved), pearson(still[other], moved)]
    sums = bootstrap.group_sums(torch.stack([*terms, torch.ones_like(terms[0])], 1).numpy(), objects)

    def score(which: int, total: np.ndarray) -> np.ndarray:
        own, null = total[..., which] / total[..., 4], total[..., which + 1] / total[..., 4]
        return (own - null) / (1 - null)

    total = sums.sum(0)
    return Correlation(
        float(score(0, total)), bootstrap.sums_interval(sums, lambda s: score(0, s), seed=seed),
        float(score(2, total)), bootstrap.sums_interval(sums, lambda s: score(2, s), seed=seed),
        float(total[0] / total[4]), float(total[1] / total[4]), margin,
    )  # fmt: skip


def _strangers(objects: np.ndarray, seed: int) -> np.ndarray:
    """For each image (B,) the index of one of another object.

    Raises:
        ValueError: All images are of one object.
    """
    if len(np.unique(objects)) < 2:
        raise ValueError("all images are of one object; the null needs images of two")
    order = derangement(len(objects), seed=seed).numpy()
    rng = np.random.default_rng(seed)
    same = objects[order] == objects
    while same.any():
        order[same] = rng.integers(len(objects), size=int(same.sum()))
        same = objects[order] == objects
    return order


def protocol(task) -> None:
    """For `suite`: ``correlation/{equivariance,invariance}@<motion>/<block>`` of the maps of up to six blocks of the backbone,
    for a shift by a sixteenth of the image and a turn by 10 degrees; ``/raw`` and ``/null`` beside the first.
    """
    chosen = {} if task.live is None else blocks.of_encoder(task.live.encoder, most=LAYERS)
    chosen = {name: module for name, module in chosen.items() if name.startswith("backbone")}
    if not chosen:
        task.result.notes.append("correlation skipped: it needs an encoder with blocks that can be looked into")
        return
    images, clips = pictures(task.live.test, PICTURES)
    motions = {"translation_x": images.shape[-1] / 16, "rotation": np.pi / 18}
    for name, module in chosen.items():
        taps = blocks.Taps(task.live.encoder, {name: module})

        def maps(batch: Tensor, taps: blocks.Taps = taps, name: str = name) -> Tensor:
            return taps(batch[:, :, None])[name]

        shape = maps(images[:1]).shape
        if len(shape) != 4 or min(shape[2:]) < SMALLEST:
            continue  # a map of a few positions has nothing to move
        count = int(min(len(images), max(16, FLOATS // (shape[1] * shape[2] * shape[3]))))
        some = np.unique(np.linspace(0, len(images) - 1, count).round().astype(int))
        for motion, amount in motions.items():
            task.bar.set_postfix_str(f"correlation, {name}, {motion}")
            try:
                found = correlation(maps, images[some], motion, amount, task.test.objects[clips[some]], batch=16, seed=task.seed)
            except ValueError as error:
                task.result.notes.append(f"correlation of {name} skipped: {error}")
                break
            task.result.add(
                f"correlation/equivariance@{motion}/{name}", found.equivariance, found.equivariance_interval,
                raw=found.raw, null=found.null,
            )  # fmt: skip
            task.result.add(f"correlation/invariance@{motion}/{name}", found.invariance, found.invariance_interval)
