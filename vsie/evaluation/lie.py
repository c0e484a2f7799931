"""How much does an infinitesimal motion break the equivariance? The Lie derivative (Gruver et al., ICLR 2023, 2210.02984).

    L f (x) = d/dt rho_out(t)^-1 f(rho_in(t) x)  at t = 0,    LEE = mean |L f|^2 / dim

In the plane rho_in moves the image: translation (t in pixels), rotation (radians), scale (t = log), shear. Where f gives a
feature map rho_out moves it back, so an equivariant map scores 0; where it gives a vector nothing is moved back, so an
*invariant* one scores 0. Out of the plane the object itself is turned and rendered again (`out_of_plane`): rho_out is then
the learned predictor, and the derivative is a finite difference.

Notable: images are resampled by Keys' cubic convolution. It goes through the pixels, so a shift by whole pixels is exact, and its
derivative at a pixel is the central difference of the neighbours; that of the linear one does not exist there, and forward-mode
would give the slope of one side only. LEE scales with how quickly features change over the image at all (their bandwidth): report
it, never rank networks by it alone. `relative` divides by the variance of the features, `gain` by that of an image gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from vsie import pose
from vsie.evaluation import blocks, bootstrap
from vsie.evaluation.inputs import Steering
from vsie.evaluation.ladder import steer
from vsie.evaluation.steering import Identity
from vsie.feature_set import Features, flat

PICTURES = 128  # test frames that are moved in the plane
BLOCKS, BLOCK_PICTURES, BLOCK_MOTIONS = 6, 32, ("translation_x", "rotation")  # maps are many times the size of a latent
MOTIONS = ("translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y")
# Far from half a pixel: the two ends would be whole pixels apart, and any convolution would look exactly equivariant.
STEPS = {"translation_x": 0.1, "translation_y": 0.1, "rotation": 0.01, "scale": 0.01, "shear_x": 0.01, "shear_y": 0.01}


def inverse_map(motion: str, t: Tensor, height: int, width: int) -> Tensor:
    """The affine map (2, 3), in pixels from the centre, from where a pixel is after moving by t (scalar) to where it came from.

    x grows to the right, y downwards. Translations are given in pixels of an image `height` x `width`.

    Raises:
        ValueError: An unknown motion.
    """
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    if motion == "translation_x":
        rows = one, zero, -t, zero, one, zero
    elif motion == "translation_y":
        rows = one, zero, zero, zero, one, -t
    elif motion == "rotation":
        rows = t.cos(), t.sin(), zero, -t.sin(), t.cos(), zero
    elif motion == "scale":
        rows = (-t).exp(), zero, zero, zero, (-t).exp(), zero
    elif motion == "shear_x":
        rows = one, -t, zero, zero, one, zero
    elif motion == "shear_y":
        rows = one, zero, zero, -t, one, zero
    else:
        raise ValueError(f"motion is {motion!r}, expected one of {', '.join(MOTIONS)}")
    return torch.stack(rows).view(2, 3)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel, a = -1/2."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def warp(images: Tensor, matrix: Tensor, *, periodic: bool = False) -> Tensor:
    """Images (B, C, H, W) resampled at affine positions; differentiable in `matrix`, forwards and backwards.

    Args:
        images: What is moved.
        matrix: (2, 3), see `inverse_map`.
        periodic: What leaves on one side comes in on the other; else the border is repeated.
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=matrix.dtype) - (height - 1) / 2, torch.arange(width, dtype=matrix.dtype) - (width - 1) / 2,
        indexing="ij",
    )  # fmt: skip
    x, y = x.to(matrix.device), y.to(matrix.device)
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + (width - 1) / 2
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + (height - 1) / 2
    # Positions that should be whole are so within rounding: their floor must not fall to the pixel before.
    left, top = (column.detach() + 1e-6).floor().long(), (row.detach() + 1e-6).floor().long()
    flat = images.flatten(2)
    result = 0.0
    for i in range(-1, 3):
        rows = (top + i).remainder(height) if periodic else (top + i).clamp(0, height - 1)
        weight = _cubic(row - (top + i))
        for j in range(-1, 3):
            columns = (left + j).remainder(width) if periodic else (left + j).clamp(0, width - 1)
            taken = flat[:, :, (rows * width + columns).flatten()].unflatten(2, (height, width))
            result = result + taken * (weight * _cubic(column - (left + j))).to(images.dtype)
    return result


def move(images: Tensor, motion: str, t: Tensor, *, periodic: bool = False, reference: tuple[int, int] | None = None) -> Tensor:
    """Images or feature maps (B, C, H, W) moved by t (scalar tensor).

    Args:
        images: What is moved.
        motion: One of `MOTIONS`.
        t: Pixels, radians, log scale, or slope.
        periodic: See `warp`.
        reference: Height and width of the image whose pixels t counts, where `images` are feature maps of it.
    """
    height, width = images.shape[-2:]
    if reference is not None and motion.startswith("translation"):
        t = t * (width / reference[1] if motion.endswith("x") else height / reference[0])
    if reference is not None and motion.startswith("shear"):
        ratio = (width / reference[1]) / (height / reference[0])
        t = t * (ratio if motion.endswith("x") else 1 / ratio)
    return warp(images, inverse_map(motion, t, height, width), periodic=periodic)


@dataclass(frozen=True)
class Lie:
    """The Lie derivative of a motion over a set of images.

    Attributes:
        lee: Mean |L f|^2 / dim.
        interval: 95 % over objects.
        relative: LEE over the mean variance of a feature over the images (and positions): free of the features' unit.
        gain: LEE over that of the image itself not moved back (the image's own derivative), in the images' unit.
        values: |L f|^2 / dim of every image (B,).
    """

    lee: float
    interval: tuple[float, float]
    relative: float
    gain: float
    values: np.ndarray


def derivative(
    function: Callable[[Tensor], Tensor | dict[str, Tensor]], images: Tensor, motion: str, *, method: str = "central",
    step: float | None = None, periodic: bool = False, moved_back: bool | None = None,
) -> Tensor | dict[str, Tensor]:  # fmt: skip
    """L f of images (B, C, H, W): as f's output, (B, d) or (B, c, h, w), or several of them by name.

    Args:
        function: f, on a batch.
        images: Float.
        motion: One of `MOTIONS`.
        method: ``central`` differences, or ``forward``: forward-mode differentiation (f has to support `torch.func.jvp`).
        step: Of the central differences, in the unit of t; None for a small one. With whole-pixel steps, periodic images and a
            convolutional f of stride 1 nothing is interpolated at all. (A step of one pixel is blind to a stride of 2: both ends
            then sample the same pixels.)
        periodic: See `warp`.
        moved_back: Whether the output is moved back; None: where it is a feature map.

    Raises:
        ValueError: An unknown motion or method.
    """
    if motion not in STEPS:
        raise ValueError(f"motion is {motion!r}, expected one of {', '.join(MOTIONS)}")
    reference = tuple(images.shape[-2:])

    def whole(t: Tensor) -> Tensor | dict[str, Tensor]:
        def returned(output: Tensor) -> Tensor:
            back = output.ndim == 4 if moved_back is None else moved_back
            return move(output, motion, -t, periodic=periodic, reference=reference) if back else output

        return tree_map(returned, function(move(images, motion, t, periodic=periodic)))

    zero = torch.zeros((), dtype=images.dtype, device=images.device)
    if method == "forward":
        return torch.func.jvp(whole, (zero,), (torch.ones_like(zero),))[1]
    if method != "central":
        raise ValueError(f"method is {method!r}, expected central or forward")
    step = STEPS[motion] if step is None else step
    return tree_map(lambda after, before: (after - before) / (2 * step), whole(zero + step), whole(zero - step))


def lie(function: Callable[[Tensor], Tensor], images: Tensor, motion: str, objects: np.ndarray | None = None, **options) -> Lie:
    """`lies` of one function of images (B, C, H, W), with its options."""
    return lies(lambda batch: {"the features": function(batch)}, images, motion, objects, **options)["the features"]


@torch.no_grad()
def lies(
    function: Callable[[Tensor], dict[str, Tensor]], images: Tensor, motion: str, objects: np.ndarray | None = None, *,
    method: str = "central", step: float | None = None, periodic: bool = False, batch: int = 64, seed: int = 0,
) -> dict[str, Lie]:  # fmt: skip
    """LEE of a motion over images, in batches, for several functions that are evaluated together, such as layers or parts.

    Args:
        function: On a batch of images; gives (B, d) or (B, c, h, w) by name.
        images: (B, C, H, W) float.
        motion: One of `MOTIONS`.
        objects: (B,) object of each image, for the interval; None: each its own.
        method: See `derivative`.
        step: See `derivative`.
        periodic: See `warp`.
        batch: Images at once.
        seed: Of the resamples.

    Raises:
        ValueError: Features do not vary over the images: a constant has no derivative worth a number.
    """
    values: dict[str, list[Tensor]] = {}
    shifts: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    gradients = []
    for first in range(0, len(images), batch):
        part = images[first : first + batch]
        options = {"method": method, "step": step, "periodic": periodic}
        for name, slope in derivative(function, part, motion, **options).items():
            values.setdefault(name, []).append(slope.flatten(1).double().square().mean(1))
        own = derivative(lambda x: x, part, motion, moved_back=False, **options)
        gradients.append(own.flatten(1).double().square().mean(1))
        for name, output in function(part).items():
            output = output.double()
            output = output.transpose(0, 1).flatten(1) if output.ndim == 4 else output.mT  # features by observations
            shift = shifts.setdefault(name, output.mean(1, keepdim=True))
            sums[name] = sums.get(name, 0.0) + torch.stack([(output - shift).sum(1), (output - shift).square().sum(1)])
            counts[name] = counts.get(name, 0) + output.shape[1]
    gain = float(torch.cat(gradients).mean())
    objects = np.arange(len(images)) if objects is None else objects
    found = {}
    for name, pieces in values.items():
        own, count = torch.cat(pieces), counts[name]
        variance = float((sums[name][1] / count - (sums[name][0] / count).square()).mean())
        if variance <= 1e-12 * max(1.0, float(shifts[name].square().max())):
            raise ValueError(f"{name} have collapsed: they do not vary over the {len(images)} images; there is nothing to score")
        lee = float(own.mean())
        interval = bootstrap.mean_interval(own.numpy(), objects, seed=seed)
        found[name] = Lie(lee, interval, lee / variance, lee / gain if gain > 0 else float("nan"), own.numpy())
    return found


@dataclass(frozen=True)
class OutOfPlane:
    """Finite-difference Lie derivative of a rendered turn, per radian.

    Attributes:
        lee: Mean |d/dt rho(t)^-1 z(t)|^2 / dim with the learned predictor rho.
        unmoved: The same with rho the identity: how quickly the latent moves at all.
        ratio: lee / unmoved: 0 a perfect predictor, 1 no better than to expect no change.
        interval: Of the ratio, 95 % over objects.
        relative: lee over the mean variance of a dimension of the latent.
        angle_deg: Median angle between the two outer views.
    """

    lee: float
    unmoved: float
    ratio: float
    interval: tuple[float, float]
    relative: float
    angle_deg: float


@torch.no_grad()
def out_of_plane(
    steering: Steering, before: Tensor, after: Tensor, middle: Tensor, poses: tuple[Tensor, Tensor, Tensor], objects: np.ndarray,
    *, seed: int = 0,
) -> OutOfPlane:  # fmt: skip
    """Central differences over three rendered views of an object that turns a little.

    ``(rho(middle -> after)^-1 z_after - rho(middle -> before)^-1 z_before) / angle``, where an inverse is the predictor told the
    inverse motion. With a predictor that was trained by cosine the lengths are normalised first.

    Args:
        steering: The predictor.
        before: Latents (N, d) of the part that it steers, of the first view.
        after: Of the last view.
        middle: Of the view between, for the variance.
        poses: Poses (N, 4, 4) of the three views: before, middle, after.
        objects: (N,).
        seed: Of the resamples.

    Raises:
        ValueError: The object does not turn; the latents have collapsed.
    """
    first, centre, last = poses
    angle = pose.geodesic(first, last)
    if float(angle.min()) < 1e-6:
        raise ValueError(f"{int((angle < 1e-6).sum())} of {len(angle)} triples do not turn from the first view to the last")
    finish = torch.nn.functional.normalize if steering.similarity == "cosine" else torch.nn.Identity()
    ends = [steering.embed(z) for z in (before, after)]
    to_centre = [pose.delta(p.double(), centre.double(), steering.frame).to(before.dtype) for p in (first, last)]
    moved = [finish(steer(steering, z, motion)).double() for z, motion in zip(ends, to_centre, strict=True)]
    plain = [finish(z).double() for z in ends]
    middle = finish(steering.embed(middle)).double()
    variance = float(middle.var(0, unbiased=False).mean())
    if variance <= 1e-12 * max(1.0, float(middle.abs().max()) ** 2):
        raise ValueError("the embedded latents have collapsed: they do not vary; there is nothing to score")
    slopes = [((b - a) / angle[:, None]).square().mean(1) for a, b in (moved, plain)]
    sums = bootstrap.group_sums(torch.stack([*slopes, torch.ones_like(slopes[0])], 1).numpy(), objects)
    total = sums.sum(0)
    lee, unmoved = float(total[0] / total[2]), float(total[1] / total[2])
    ratio = lee / unmoved if unmoved > 0 else float("nan")
    interval = bootstrap.sums_interval(sums, lambda s: s[:, 0] / np.where(s[:, 1] > 0, s[:, 1], np.nan), seed=seed)
    return OutOfPlane(lee, unmoved, ratio, interval, lee / variance, float(torch.rad2deg(angle).median()))


def pictures(clips: Sequence, count: int, *, with_numbers: bool = False) -> tuple:
    """Single frames (n, 3, H, W) in [0, 1] of `Live.train` or `Live.test`, one of each of at most `count` evenly chosen clips,
    and these clips' numbers (n,); `with_numbers` also the frames' numbers (n,) in their clips."""
    rows = np.unique(np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int))
    frames, numbers = [], np.zeros(len(rows), int)
    for place, row in enumerate(rows):
        whole = torch.as_tensor(clips[int(row)]["frames"])
        numbers[place] = (place * 7919) % len(whole)  # not always the first of a clip
        frames.append(whole[numbers[place]])
    images = torch.stack(frames).permute(0, 3, 1, 2).float() / 255
    return (images, rows, numbers) if with_numbers else (images, rows)


def by_part(latents: Tensor, features: Features) -> dict[str, Tensor]:
    """Latents (n, D) by the parts of the features."""
    edge = features.invariant_dim
    spans = {"inv": slice(0, edge), "equi": slice(edge, None), "all": slice(None)}
    return {part: latents[..., spans[part]] for part in features.parts()}


def protocol(task) -> None:
    """For `suite`: three kinds of motion.

    In the plane, of single test frames encoded alone, nothing moved back (0: invariant): ``lie/plane/<motion>/<part>`` with
    ``/relative`` and ``/gain`` beside it; of the maps of the backbone's blocks, moved back (0: equivariant):
    ``lie/block/<motion>/<block>`` with ``/relative``. Out of the plane, by the predictor (the identity where there is none):
    ``lie/{out_of_plane,relative,unmoved,ratio,angle_deg}`` of three consecutive frames of the test clips, and
    ``lie/rendered/{...}`` of objects rendered at small turns; of these also ``lie/rendered/relative/<part>``, unmoved.
    """
    if task.live is None:
        task.result.notes.append("lie: the plane and small rendered turns are skipped: they need the encoder, not its features")
    else:
        _in_plane(task)
        _rendered(task)
    part = getattr(task.steering, "part", "equi")
    if part not in task.test.parts() or task.test.frames < 3:
        task.result.notes.append("lie skipped: consecutive frames need an equivariant part and clips of three frames")
        return
    rows = flat(task.test, part, "clip").reshape(len(task.test.poses), task.test.frames, -1)
    poses = torch.from_numpy(np.ascontiguousarray(task.test.poses, dtype=np.float64))
    turns = torch.rad2deg(pose.geodesic(poses[:, :-2], poses[:, 2:])) > 1
    views = [slice(0, -2), slice(1, -1), slice(2, None)]
    before, middle, after = (rows[:, view][turns] for view in views)
    objects = np.repeat(task.test.objects, task.test.frames - 2)[turns.flatten().numpy()]
    if len(np.unique(objects)) < 2:
        task.result.notes.append("lie skipped: fewer than two test objects turn from frame to frame")
        return
    steering = task.steering if task.steering is not None else Identity(frame=task.frame)
    found = out_of_plane(steering, before, after, middle, tuple(poses[:, view][turns] for view in views), objects, seed=task.seed)
    _note(task, "lie", found)


def _note(task, prefix: str, found: OutOfPlane) -> None:
    task.result.add(f"{prefix}/out_of_plane", found.lee)
    task.result.add(f"{prefix}/unmoved", found.unmoved)
    task.result.add(f"{prefix}/relative", found.relative)
    task.result.add(f"{prefix}/ratio", found.ratio, found.interval, floor=1.0)
    task.result.add(f"{prefix}/angle_deg", found.angle_deg)


def _in_plane(task) -> None:
    images, clips = pictures(task.live.test, PICTURES)
    objects = task.test.objects[clips]

    def function(batch: Tensor) -> dict[str, Tensor]:
        return by_part(task.live.encoder(batch[:, :, None])[:, 0].float(), task.test)

    for motion in MOTIONS:
        task.bar.set_postfix_str(f"lie, {motion}")
        try:
            found = lies(function, images, motion, objects, seed=task.seed)
        except ValueError as error:
            task.result.notes.append(f"lie in the plane skipped: {error}")
            return
        for part, own in found.items():
            task.result.add(f"lie/plane/{motion}/{part}", own.lee, own.interval, relative=own.relative, gain=own.gain)
    chosen = blocks.of_encoder(task.live.encoder, most=BLOCKS)
    taps = blocks.Taps(task.live.encoder, {name: block for name, block in chosen.items() if name.startswith("backbone")})

    def maps(batch: Tensor) -> dict[str, Tensor]:
        return {name: values for name, values in taps(batch[:, :, None]).items() if values.ndim == 4}

    some = np.unique(np.linspace(0, len(images) - 1, min(BLOCK_PICTURES, len(images))).round().astype(int))
    for motion in BLOCK_MOTIONS if taps.chosen else ():
        task.bar.set_postfix_str(f"lie of blocks, {motion}")
        try:
            found = lies(maps, images[some], motion, objects[some], batch=8, seed=task.seed)
        except ValueError as error:
            task.result.notes.append(f"lie of blocks skipped: {error}")
            return
        for name, own in found.items():
            task.result.add(f"lie/block/{motion}/{name}", own.lee, own.interval, relative=own.relative)


def _rendered(task) -> None:
    turns = task.live.turns() if task.live.turns is not None else None
    if turns is None:
        task.result.notes.append("lie of small rendered turns skipped: the data are not vsie's own renderings")
        return
    task.bar.set_postfix_str("lie, rendered turns")
    count = turns.images.shape[:2]
    frames = torch.from_numpy(turns.images).flatten(0, 1)
    pieces = [task.live.encoder((part.permute(0, 3, 1, 2).float() / 255)[:, :, None])[:, 0].float() for part in frames.split(64)]
    latents = torch.cat(pieces).unflatten(0, count)
    poses = tuple(torch.from_numpy(turns.poses).unbind(1))
    parts = by_part(latents, task.test)
    still = Identity(frame=task.frame)
    try:
        for part, values in parts.items():
            before, middle, after = values.unbind(1)
            found = out_of_plane(still, before, after, middle, poses, turns.objects, seed=task.seed)
            task.result.add(f"lie/rendered/relative/{part}", found.relative)
        part = getattr(task.steering, "part", "equi")
        if part in parts:
            before, middle, after = parts[part].unbind(1)
            steering = task.steering if task.steering is not None else still
            _note(task, "lie/rendered", out_of_plane(steering, before, after, middle, poses, turns.objects, seed=task.seed))
    except ValueError as error:
        task.result.notes.append(f"lie of small rendered turns skipped: {error}")
