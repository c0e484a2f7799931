"""Bundle adjustment of one turning thing: rotations of all frames, a depth per point, batched over clips.

Notable: a point is a pixel of an anchor frame with one unknown, its depth, which is eliminated (Schur complement), so what
is solved is 3 numbers a frame however many points there are. Unit of length is the distance from the camera to the centre of
rotation. What two views leave open (under weak perspective depth and tilt trade against each other) is decided by the
third view, by a weak prior on depth, and by trying the mirrored solution (Necker's reversal) as well.

Points are the last dimension of everything, so that sums over them are products of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vsie import pose
from vsie.motion.fields import sample

NEAR, FAR = 0.3, 3.0  # the range of depths, in distances to the centre
AHEAD = (0.0, 0.0, 1.0)  # where the centre is believed to be before: on the axis of view, at the unit of length


@dataclass(frozen=True)
class Tracks:
    """P points in each of A anchor frames, seen in V other frames, of B clips of T frames.

    Attributes:
        rays: (B, A, 2, P) where each is in the anchor frame, normalised by the camera.
        seen: (B, A, V, 2, P) where each is seen, normalised.
        factor: (B, A, V or 1, K, 2, P) rows whose products with an error in pixels are its weighted parts.
        weight: (B, A, V, P) trust.
        anchors: (A,) frame numbers.
        views: (A, V) frame numbers.
        focal: Pixels.
        middle: (2,) principal point in pixels.
    """

    rays: Tensor
    seen: Tensor
    factor: Tensor
    weight: Tensor
    anchors: Tensor
    views: Tensor
    focal: float
    middle: Tensor

    def twice(self) -> Tracks:
        """The clips, and the clips again."""
        names = ("rays", "seen", "factor", "weight")
        return replace(self, **{name: torch.cat([getattr(self, name)] * 2) for name in names})

    @property
    def rays3(self) -> Tensor:
        """(B, A, 3, P) the rays with depth 1."""
        return torch.cat([self.rays, torch.ones_like(self.rays[:, :, :1])], 2)


@dataclass
class State:
    """What is estimated: rotations (B, T, 3, 3) of the frames against frame 0, depth (B, A, P), centre (B, 3)."""

    rotation: Tensor
    depth: Tensor
    centre: Tensor

    def clips(self, index: Tensor) -> State:
        """Of some clips."""
        return State(self.rotation[index], self.depth[index], self.centre[index])


@dataclass(frozen=True)
class Prior:
    """What is believed before: depth (B, A, P) with information (B, A, P); steadiness and centre, as information.

    Attributes:
        depth: Mean.
        information: Inverse variance.
        steady: Inverse variance (per squared radian) of the change from one frame's turn to the next.
        centre: (2,) or (3,) inverse variance of the centre's place about `AHEAD`: beside the axis of view (squared tangent), and
            along it (in squares of the unit). Without a third number it stays at the depth that it starts at.
    """

    depth: Tensor
    information: Tensor
    steady: float
    centre: Tensor


@dataclass(frozen=True)
class Fit:
    """How a state fits: cost (B,), normal matrix (B, 3 T + C, 3 T + C) with C numbers of the centre, residual in pixels
    (B, A, V, P)."""

    cost: Tensor
    normal: Tensor
    residual: Tensor


def project(tracks: Tracks, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Relative rotations (B, A, V, 3, 3), points about the centre (B, A, V, 3, P), inverse depth (B, A, V, 1, P) and place
    there (B, A, V, 2, P)."""
    relative = state.rotation[:, tracks.views] @ state.rotation[:, tracks.anchors][:, :, None].mT
    about = state.depth[:, :, None] * tracks.rays3 - state.centre[:, None, :, None]
    turned = relative @ about[:, :, None]
    camera = turned + state.centre[:, None, None, :, None]
    inverse = 1 / camera[..., 2:, :].clamp_min(0.1)
    return relative, turned, inverse, camera[..., :2, :] * inverse


def adjust(
    tracks: Tracks, state: State, prior: Prior, *, iterations: int, scale: float, damping: float = 1e-3
) -> tuple[State, Fit]:
    """Gauss-Newton with Cauchy weights.

    Args:
        tracks: What is seen.
        state: The start.
        prior: See `Prior`.
        iterations: Steps.
        scale: Of the Cauchy weights, in pixels.
        damping: Relative, on the diagonal.

    Returns:
        The last state, and the fit of the state before the last step.
    """
    fit = None
    for _ in range(iterations):
        state, fit = _step(tracks, state, prior, scale, damping)
    return state, fit


def _step(tracks: Tracks, state: State, prior: Prior, scale: float, damping: float) -> tuple[State, Fit]:
    batch, frames = state.rotation.shape[:2]
    anchors, views = tracks.views.shape
    free = len(prior.centre)
    point, last = 3 + free, 4 + free  # columns: the turn, the centre, the depth, the error
    relative, turned, inverse, place = project(tracks, state)
    (right, down, away), (along_x, along_y, along_z) = (
        (points * inverse).unbind(-2) for points in (turned, relative @ tracks.rays3[:, :, None])
    )  # [B, A, V, P]
    inverse, (x, y), (off_x, off_y) = inverse[..., 0, :], place.unbind(-2), (place - tracks.seen).unbind(-2)
    by_x, by_y = x * inverse, y * inverse
    beside = (torch.eye(3) - relative)[..., None]  # [B, A, V, 3, 3, 1]
    # derivatives of the place by the turn (3), the centre and the depth, and the error
    pairs = (
        (-x * down, -away - y * down),
        (away + x * right, y * right),
        (-down, right),
        *(
            (inverse * beside[..., 0, axis, :] - by_x * beside[..., 2, axis, :],
             inverse * beside[..., 1, axis, :] - by_y * beside[..., 2, axis, :])
            for axis in range(free)
        ),
        (along_x - x * along_z, along_y - y * along_z),
        (off_x, off_y),
    )  # fmt: skip
    factor = tracks.factor * (tracks.focal / scale)  # [B, A, V, K, 2, P]
    columns = factor.new_empty(*x.shape[:3], last + 1, factor.shape[3], x.shape[3])
    for number, (first, second) in enumerate(pairs):
        torch.mul(factor[..., 0, :], first[..., None, :], out=columns[..., number, :, :])
        columns[..., number, :, :].addcmul_(factor[..., 1, :], second[..., None, :])
    square = columns[..., last, :, :].square().sum(-2)
    columns *= (tracks.weight / (1 + square)).sqrt()[..., None, None, :]

    flat = columns.flatten(-2)
    products = flat @ flat.mT  # [B, A, V, columns, columns]
    with_depth = (columns * columns[..., point : point + 1, :, :]).sum(-2)  # [B, A, V, columns, P]
    size = 3 * views + free
    normal = products.new_zeros(batch, anchors, size, size)
    for view in range(views):
        part = slice(3 * view, 3 * view + 3)
        normal[..., part, part] = products[:, :, view, :3, :3]
    cross = products[..., :3, 3:point].flatten(2, 3)
    normal[..., :-free, -free:], normal[..., -free:, :-free] = cross, cross.mT
    normal[..., -free:, -free:] = products[..., 3:point, 3:point].sum(2)
    gradient = torch.cat([products[..., :3, last].flatten(2), products[..., 3:point, last].sum(2)], -1)
    coupling = torch.cat([with_depth[..., :3, :].flatten(2, 3), with_depth[..., 3:point, :].sum(2)], 2)  # [B, A, size, P]
    off = state.depth - prior.depth
    own = with_depth[..., point, :].sum(2) + prior.information
    slope = with_depth[..., last, :].sum(2) + prior.information * off
    share = coupling / own[:, :, None]
    normal = (normal - share @ coupling.mT).double()
    gradient = (gradient - (share @ slope[..., None])[..., 0]).double()

    # From the turns between anchor and view to the turns of the frames: d_view - R d_anchor.
    first = torch.nn.functional.one_hot(tracks.anchors, frames).double()
    second = torch.nn.functional.one_hot(tracks.views, frames).double()
    spread = torch.einsum("avt,ij->avitj", second, torch.eye(3, dtype=torch.float64))
    spread = spread - torch.einsum("at,bavij->bavitj", first, relative.double())
    unknown = 3 * frames + free
    chain = normal.new_zeros(batch, anchors, size, unknown)
    chain[..., :-free, :-free] = spread.reshape(batch, anchors, size - free, unknown - free)
    chain[..., -free:, -free:] = torch.eye(free, dtype=torch.float64)
    whole = (chain.mT @ normal @ chain).sum(1)
    down = (chain.mT @ gradient[..., None]).squeeze(-1).sum(1)
    cost = 0.5 * (tracks.weight * torch.log1p(square)).sum((1, 2, 3)) + 0.5 * (prior.information * off.square()).sum((1, 2))

    damp = _damping(whole, state.rotation.double(), free, damping)  # of the data alone: a firm prior must not slow the rest
    whole[:, -free:, -free:] += torch.diag(prior.centre.double())
    down[:, -free:] += prior.centre.double() * (state.centre - torch.tensor(AHEAD))[:, :free].double()
    if prior.steady and frames > 2:
        jacobian, change = _steadiness(state.rotation.double(), free)
        whole = whole + prior.steady * jacobian.mT @ jacobian
        down = down + prior.steady * (jacobian.mT @ change[..., None]).squeeze(-1)
        cost = cost + 0.5 * prior.steady * change.square().sum(1).float()
    fit = Fit(cost, whole.clone(), square.sqrt() * scale)

    whole[:, :3, :3] += 1e12 * torch.eye(3, dtype=torch.float64)  # frame 0 stays: the freedom of choosing the axes
    step = -torch.linalg.solve(whole + damp, down)
    angles = step[:, :-free].unflatten(1, (frames, 3))
    between = (angles[:, 1:] - angles[:, :-1]).norm(dim=-1).amax(1)
    step = step * (0.3 / between.clamp_min(1e-9)).clamp_max(1)[:, None]
    local = (chain @ step[:, None, :, None]).squeeze(-1).float()
    move = -(slope + (local[:, :, None] @ coupling)[:, :, 0]) / own
    centre_step = torch.nn.functional.pad(step[:, -free:], (0, 3 - free)).float()
    rotation = pose.exp(step[:, :-free].unflatten(1, (frames, 3))).float() @ state.rotation
    return State(rotation, (state.depth + move).clamp(NEAR, FAR), state.centre + centre_step), fit


def _damping(whole: Tensor, rotation: Tensor, free: int, share: float) -> Tensor:
    """What is added to the normal matrices (B, 3 T + C, 3 T + C): `share` of their diagonal, against changes of the *turns* from
    frame to frame and not of the frames' rotations. A clip of many frames would else hardly turn as a whole: what little a
    slow mode of a chain of T frames costs, pi^2 / T^2 of the diagonal, must not be less than its damping."""
    frames = rotation.shape[1]
    size = torch.diagonal(whole, dim1=1, dim2=2)
    weight = share * size[:, :-free].unflatten(1, (frames, 3)).unfold(1, 2, 1).mean(-1)[..., None]  # [B, T - 1, 3, 1]
    steps = rotation[:, 1:] @ rotation[:, :-1].mT
    moved = weight * steps
    blocks = whole.new_zeros(len(whole), frames, 3, frames, 3)
    index = torch.arange(frames - 1)
    # advanced indices on both sides of a slice come first: [T - 1, B, 3, 3]
    blocks[:, index + 1, :, index + 1] += torch.diag_embed(weight[..., 0]).transpose(0, 1)
    blocks[:, index, :, index] += (steps.mT @ moved).transpose(0, 1)
    blocks[:, index + 1, :, index] -= moved.transpose(0, 1)
    blocks[:, index, :, index + 1] -= moved.mT.transpose(0, 1)
    damp = torch.nn.functional.pad(blocks.flatten(3).flatten(1, 2), (0, free, 0, free))
    rest = torch.full_like(size, 1e-3)
    rest[:, -free:] += share * size[:, -free:]
    return damp + torch.diag_embed(rest)


def _steadiness(rotation: Tensor, free: int) -> tuple[Tensor, Tensor]:
    """Changes (B, 3 (T - 2)) of the camera-frame turn from step to step, and their derivatives (B, 3 (T - 2), 3 T + free)."""
    batch, frames = rotation.shape[:2]
    steps = rotation[:, 1:] @ rotation[:, :-1].mT
    turns = pose.log(steps)
    rows = rotation.new_zeros(batch, frames - 2, 3, frames, 3)
    index, eye = torch.arange(frames - 2), torch.eye(3, dtype=rotation.dtype)
    rows[:, index, :, index + 2] += eye
    rows[:, index, :, index + 1] -= eye + steps[:, 1:].transpose(0, 1)
    rows[:, index, :, index] += steps[:, :-1].transpose(0, 1)
    jacobian = torch.nn.functional.pad(rows.flatten(3).flatten(1, 2), (0, free))
    return jacobian, (turns[:, 1:] - turns[:, :-1]).flatten(1)


def mirrored(state: State) -> State:
    """The reversal: tilts negated, depths reflected at the centre's; the same picture to first order."""
    turn = pose.log(state.rotation.double()) * torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)
    return State(pose.exp(turn).to(state.rotation), (2 - state.depth).clamp(NEAR, FAR), state.centre)


def retarget(tracks: Tracks, state: State, images: Tensor, here: Tensor, trust: Tensor, *, edges: float) -> Tracks:
    """Look at the pictures themselves: along its gradient each point should be where its grey level is.

    Linearised at the state (Lucas and Kanade 1981, with one-dimensional targets), so `adjust` with one iteration at a time
    is a direct alignment.

    Args:
        tracks: What was seen.
        state: Where points are thought to be.
        images: (B or a part of it that repeats, T, H, W, 3) from `derivatives`.
        here: (B, A, 3, P) what the anchors show, from `appearance`.
        trust: (B, A, P) of the points.
        edges: As `EDGES` in `foreground`.
    """
    place = project(tracks, state)[3]
    pixels = place * tracks.focal + tracks.middle[:, None]
    there = _look(images, tracks.views, pixels)
    slope = (there[..., 1:, :] + here[:, :, None, 1:]) / 2
    strength = slope.square().sum(-2, keepdim=True) + edges
    shift = (slope * (here[:, :, None, :1] - there[..., :1, :]) / strength).clamp(-2, 2)
    height, width = images.shape[2:4]
    x, y = pixels.unbind(-2)
    visible = (x > 0) & (y > 0) & (x < width) & (y < height)
    valid = (tracks.views != tracks.anchors[:, None])[None, :, :, None]
    return replace(
        tracks, seen=place + shift / tracks.focal, factor=(slope * strength.rsqrt())[..., None, :, :],
        weight=trust[:, :, None] * (visible & valid),
    )  # fmt: skip


def appearance(tracks: Tracks, images: Tensor) -> Tensor:
    """What the anchors show at their points, (B, A, 3, P), of images (B or a part of it that repeats, T, H, W, 3)."""
    return _look(images, tracks.anchors, tracks.rays * tracks.focal + tracks.middle[:, None])


def _look(images: Tensor, frames: Tensor, pixels: Tensor) -> Tensor:
    """Values (B, ..., 3, P) of the frames (...) at (B, ..., 2, P)."""
    clips = torch.arange(len(pixels)) % len(images)
    index = clips.reshape(-1, *(1,) * frames.ndim) * images.shape[1] + frames
    return sample(images.flatten(0, 1), index, pixels.mT).mT


def derivatives(images: Tensor) -> Tensor:
    """(..., H, W, 3): images (..., H, W) with their central differences by x and y."""
    found = torch.zeros(*images.shape, 3)
    found[..., 0] = images
    found[..., :, 1:-1, 1] = (images[..., 2:] - images[..., :-2]) / 2
    found[..., 1:-1, :, 2] = (images[..., 2:, :] - images[..., :-2, :]) / 2
    return found


def step_covariance(normal: Tensor, rotation: Tensor) -> Tensor:
    """Covariances (B, T - 1, 3, 3) of the camera-frame turns between neighbours, from a `Fit`'s normal matrix."""
    frames = rotation.shape[1]
    fixed = normal.clone()
    fixed[:, :3, :3] += 1e12 * torch.eye(3, dtype=normal.dtype)
    scale = torch.diagonal(fixed, dim1=1, dim2=2).mean(1)[:, None, None]
    whole = torch.linalg.inv(fixed + 1e-12 * scale * torch.eye(len(fixed[0]), dtype=normal.dtype))
    steps = (rotation[:, 1:] @ rotation[:, :-1].mT).to(normal)
    index = torch.arange(frames - 1)
    rows = normal.new_zeros(len(normal), frames - 1, 3, frames, 3)
    rows[:, index, :, index + 1] += torch.eye(3, dtype=normal.dtype)
    rows[:, index, :, index] -= steps.transpose(0, 1)
    rows = torch.nn.functional.pad(rows.flatten(3), (0, normal.shape[1] - 3 * frames))
    return rows @ whole[:, None] @ rows.mT
