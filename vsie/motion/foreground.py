"""What moves against the background, and where texture tells of motion."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vsie.motion.fields import Fields, pixel_grid

STILL = 0.3  # pixels: what differs less from the background's motion is background
EDGES = 100.0  # squared grey levels per pixel at which a gradient tells half of what it could
LINES = 7  # pixels (odd): what is thinner is an edge of the ground, not a thing
HALO = 3  # pixels (odd): side of the erosion that takes the halo off
BORDER = 0.1  # share of the picture's sides that is taken for background


def grey(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) float32 grey levels in [0, 255] of frames (T, H, W, 3) uint8."""
    return frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def structure(images: np.ndarray, sigma: float = 1.5) -> Tensor:
    """Structure tensors (3, T, H, W) of grey images (T, H, W), averaged over a Gaussian of `sigma` pixels: xx, xy, yy."""
    import cv2

    planes = np.empty((3, *images.shape), np.float32)
    for number, image in enumerate(images):
        x, y = cv2.Scharr(image, cv2.CV_32F, 1, 0, scale=1 / 32), cv2.Scharr(image, cv2.CV_32F, 0, 1, scale=1 / 32)
        for plane, product in zip(planes, (x * x, x * y, y * y), strict=True):
            plane[number] = cv2.GaussianBlur(product, (0, 0), sigma)
    return torch.from_numpy(planes)


def information(tensor: Tensor, edges: float = EDGES) -> Tensor:
    """Symmetric factors L (3, ...: xx, xy, yy) with ``|L e|^2`` the weight of a flow error e: near 1 across edges, near 0
    along them.

    Each eigenvalue s of the structure tensor (3, ...) becomes ``s / (s + edges)``: the aperture problem as a weight. That is
    ``S (S + edges)^-1``, and L its square root, which for 2 x 2 needs no eigenvectors.
    """
    xx, xy, yy = tensor
    square = xy * xy
    inner = xx * yy - square
    whole = 1 / (inner + edges * (xx + yy + edges))
    root = (inner.clamp_min(0) * whole).sqrt()
    first, second = (inner + edges * xx) * whole + root, (inner + edges * yy) * whole + root
    size = (first + second).clamp_min(1e-12).rsqrt()
    return torch.stack([first * size, edges * xy * whole * size, second * size])


def full(planes: Tensor) -> Tensor:
    """Symmetric matrices (..., 2, 2) of their planes (3, ...)."""
    return planes[[0, 1, 1, 2]].movedim(0, -1).unflatten(-1, (2, 2))


def fit_affine(place: Tensor, motion: Tensor, weight: Tensor, *, iterations: int = 10, scale: float = 0.3) -> Tensor:
    """Affine motion fields (N, 2, 3), ``motion ~ A [x, y, 1]``, by least squares with Cauchy weights.

    Args:
        place: (N, P, 2) coordinates.
        motion: (N, P, 2), in the same unit.
        weight: (N, P) non-negative.
        iterations: Reweightings.
        scale: The least scale of the Cauchy weights, in the motion's unit.
    """
    ones = torch.cat([place, torch.ones_like(place[..., :1])], -1).double()
    motion, weight = motion.double(), weight.double() + 1e-12
    eye, robust = torch.eye(3, dtype=torch.float64), weight
    for _ in range(iterations):
        left = (ones * robust[..., None]).mT
        normal = left @ ones
        ridge = 1e-9 * torch.diagonal(normal, dim1=1, dim2=2).sum(-1)[:, None, None] + 1e-12
        fitted = torch.linalg.solve(normal + ridge * eye, left @ motion)
        x, y = (motion - ones @ fitted).unbind(-1)
        square = x * x + y * y
        size = weighted_median(square, weight).clamp_min(scale**2)[:, None]
        robust = weight / (1 + square / size)
    return fitted.mT


def weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted median (N,) of values (N, P)."""
    ordered, order = values.sort(-1)
    total = weight.gather(-1, order).cumsum(-1)
    index = (total < total[..., -1:] / 2).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return ordered.gather(-1, index).squeeze(-1)


def background(fields: Fields, count: int = 300) -> Tensor:
    """Affine motion (T - 1, 2, 3) of the picture's border to the next frame, in pixels, from about `count` of its pixels."""
    height, width = fields.forward.shape[1:3]
    depth = max(2, round(BORDER * min(height, width)))
    frame = torch.ones(height, width, dtype=torch.bool)
    frame[depth:-depth, depth:-depth] = False
    index = frame.flatten().nonzero()[:, 0]
    index = index[:: max(1, len(index) // count)]
    place = pixel_grid(height, width).flatten(0, 1)[index].expand(len(fields.forward), -1, 2)
    return fit_affine(place, fields.forward.flatten(1, 2)[:, index], fields.forward_confidence.flatten(1)[:, index])


def reversed_affine(motion: Tensor) -> Tensor:
    """The way back (N, 2, 3) of affine motions x -> x + A [x, 1]."""
    back = torch.linalg.inv(torch.eye(2, dtype=motion.dtype) + motion[:, :, :2])
    return torch.cat([back - torch.eye(2, dtype=motion.dtype), -back @ motion[:, :, 2:]], -1)


def foreground(fields: Fields, factor: Tensor) -> Tensor:
    """What moves otherwise than the border of the picture does, bool (T, H, W): the motion's own mask.

    Flow spreads over plain ground, so only the part that texture vouches for counts: a pixel is a seed when ``|L e|``, with
    e the difference between its flow (to the next frame, or from it to the last) and the border's affine motion, is more
    than `STILL` pixels and a fifth of the frame's largest. Seeds are closed and filled; specks, thin lines, and the halo
    by which texture is wider than the thing are taken off again.

    Args:
        fields: The clip's flow.
        factor: (3, T, H, W) L, from `information`.
    """
    import cv2

    height, width = fields.forward.shape[1:3]
    grid = pixel_grid(height, width)
    ahead = background(fields)
    difference = torch.zeros(len(fields.forward) + 1, height, width)  # squared
    for part, flow, affine in (
        (slice(None, -1), fields.forward, ahead), (slice(1, None), fields.backward, reversed_affine(ahead)),
    ):  # fmt: skip
        affine = affine.float()
        x, y = (flow - (grid @ affine[:, None, :, :2].mT + affine[:, None, None, :, 2])).unbind(-1)
        xx, xy, yy = factor[:, part]
        first, second = xx * x + xy * y, xy * x + yy * y
        difference[part] = torch.maximum(difference[part], first * first + second * second)
    some = difference.flatten(1)[:, ::4]
    high = some.kthvalue(round(0.99 * some.shape[1]), 1).values.clamp_min(1e-12)[:, None, None]
    seeds = (difference > (0.04 * high).clamp_min(STILL**2)).numpy().astype(np.uint8)
    size = max(3, round(min(height, width) / 16)) | 1
    wide, lines, halo = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) for side in (size, LINES, HALO))
    masks = []
    for seed in seeds:
        closed = cv2.morphologyEx(seed, cv2.MORPH_CLOSE, wide)
        outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        largest = max((cv2.contourArea(outline) for outline in outlines), default=0)
        filled = np.zeros_like(seed)
        cv2.drawContours(filled, [line for line in outlines if cv2.contourArea(line) >= 0.1 * largest], -1, 1, cv2.FILLED)
        for shrink in (lambda mask: cv2.morphologyEx(mask, cv2.MORPH_OPEN, lines), lambda mask: cv2.erode(mask, halo)):
            smaller = shrink(filled)
            filled = smaller if smaller.sum() > 0.4 * filled.sum() else filled  # thin things stay what they are
        masks.append(filled)
    return torch.from_numpy(np.stack(masks)).bool()
