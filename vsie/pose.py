"""Rotations and rigid motions: the one place where a convention is decided.

A pose is *object in camera*: ``x_camera = T @ x_object``, shape (..., 4, 4); camera axes are OpenCV's (x right, y down,
z forward). A delta between two poses of one object has a frame:

* ``body``    ``T_source^-1 @ T_target``: the axes of the object (3DIEBench and SIE);
* ``camera``  ``T_target @ T_source^-1``: the axes of the camera (what flow and SLAM give).

Both have the same angle about different axes. Quaternions are xyzw, as in SciPy; kornia's wxyz is never seen outside of
this file. Everything is batched, differentiable, and works in float32 and float64.

A pose may have a fifth column, (..., 4, 5): the colours that its view was seen under (`with_hues`). A delta between two such
has the differences of their hues in its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FRAMES = ("body", "camera")
HUES = ("floor_hue", "spot_hue")
WIDTHS = {"quaternion": 4, "quaternion_raw": 4, "6d": 6, "matrix": 9, "harmonics": 34, "rotation_vector": 3}


def rigid(rotation: Tensor, translation: Tensor | None = None) -> Tensor:
    """Put rotations (..., 3, 3) and translations (..., 3), zero where absent, into poses (..., 4, 4)."""
    pose = rotation.new_zeros(*rotation.shape[:-2], 4, 4)
    pose[..., :3, :3] = rotation
    pose[..., 3, 3] = 1
    if translation is not None:
        pose[..., :3, 3] = translation
    return pose


def with_hues(pose: Tensor, hues: Tensor) -> Tensor:
    """Poses (..., 4, 4) with a fifth column that holds `HUES` (..., 2), in turns: (..., 4, 5)."""
    return torch.cat([pose, torch.nn.functional.pad(hues.to(pose), (0, 2))[..., None]], -1)


def hues(pose: Tensor) -> Tensor:
    """The hues (..., 2) of poses or deltas (..., 4, 5); zeros for those without, (..., 4, 4)."""
    return pose[..., :2, 4] if pose.shape[-1] == 5 else torch.zeros_like(pose[..., :2, 0])


def inverse(pose: Tensor) -> Tensor:
    """Inverse of rigid motions (..., 4, 4), by transposition and not by elimination."""
    transposed = pose[..., :3, :3].mT
    return rigid(transposed, -(transposed @ pose[..., :3, 3:]).squeeze(-1))


def mirrored(pose: Tensor) -> Tensor:
    """Poses (..., 4, 4 or 5) of the mirror image of the object, as a camera sees it in a mirror: x in the camera's axes turns
    over, and y in the object's, which is its left side in our renders. Still rigid motions; a delta turns the other way."""
    signs = pose.new_ones(4, pose.shape[-1])
    signs[0, :4] *= -1
    signs[:, 1] *= -1
    return pose * signs


def delta(source: Tensor, target: Tensor, frame: str = "body") -> Tensor:
    """The rigid motion from `source` to `target`, poses (..., 4, 4) of one object that broadcast against each other.

    Args:
        source: Object-in-camera poses.
        target: Object-in-camera poses.
        frame: ``body``: ``source^-1 target``; ``camera``: ``target source^-1``.

    Returns:
        Rigid motions (..., 4, 4).
    """
    if source.shape[-1] == 5:
        return with_hues(delta(source[..., :4], target[..., :4], frame), hues(target) - hues(source))
    if frame == "body":
        return inverse(source) @ target
    if frame == "camera":
        return target @ inverse(source)
    raise ValueError(f"frame is {frame!r}, expected one of {', '.join(FRAMES)}")


def angle(rotation: Tensor) -> Tensor:
    """Angle (...) in radians, [0, pi], of rotations (..., 3, 3); stable and with finite gradient at 0 and at pi.

    ``atan2(|v|, w)`` on the quaternion, never ``arccos`` of the trace, whose error is 1e-8 ** 0.5 near 0 and pi.
    """
    quaternion = to_quaternion(rotation)
    vector, scalar = quaternion[..., :3], quaternion[..., 3]
    return 2 * torch.atan2(_norm(vector), scalar.abs())


def geodesic(first: Tensor, second: Tensor) -> Tensor:
    """Angle (...) in radians between rotations (..., 3, 3) or the rotations of poses (..., 4, 4)."""
    return angle(first[..., :3, :3].mT @ second[..., :3, :3])


def _norm(vector: Tensor) -> Tensor:
    """Length (...) of vectors (..., n); its gradient at the zero vector is 0 and not NaN."""
    square = vector.square().sum(-1)
    zero = square == 0
    return torch.where(zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt())


def _sinc(x: Tensor) -> Tensor:
    """sin(x) / x, 1 at 0, differentiable there."""
    return torch.sinc(x / math.pi)


def skew(vector: Tensor) -> Tensor:
    """Cross-product matrices (..., 3, 3) of vectors (..., 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def exp(vector: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of rotation vectors (..., 3) in radians (Rodrigues' formula)."""
    theta = _norm(vector)[..., None, None]
    cross = skew(vector)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + _sinc(theta) * cross + 0.5 * _sinc(theta / 2).square() * (cross @ cross)


def log(rotation: Tensor) -> Tensor:
    """Rotation vectors (..., 3) in radians, length in [0, pi], of rotations (..., 3, 3)."""
    quaternion = canonical(to_quaternion(rotation))
    vector, scalar = quaternion[..., :3], quaternion[..., 3:]
    length = _norm(vector)[..., None]
    small = length < 1e-7
    factor = 2 * torch.atan2(length, scalar) / torch.where(small, torch.ones_like(length), length)
    return vector * torch.where(small, 2 / scalar.clamp_min(0.5), factor)


def canonical(quaternion: Tensor) -> Tensor:
    """Of the two quaternions (..., 4) xyzw of a rotation the one with w >= 0."""
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def signed_quaternions(poses: Tensor, reference: Tensor) -> Tensor:
    """Quaternions (..., 4) xyzw of poses (..., 4, 4) in the hemisphere of `reference` (4,).

    The relative quaternion of two such has the sign that SIE conditions on and regresses (on 3DIEBench the mean pose is
    the reference, and in the world's frame its hemisphere is w >= 0), whichever way the camera stands.
    """
    quaternion = to_quaternion(poses[..., :3, :3])
    return torch.where((quaternion @ reference.to(quaternion))[..., None] < 0, -quaternion, quaternion)


def mean_quaternion(poses: Tensor) -> Tensor:
    """The mean orientation (4,) of poses (..., 4, 4): the main eigenvector of the sum of q q^T (Markley et al. 2007)."""
    quaternion = to_quaternion(poses[..., :3, :3]).reshape(-1, 4)
    return torch.linalg.eigh(quaternion.mT @ quaternion).eigenvectors[:, -1]


def to_quaternion(rotation: Tensor) -> Tensor:
    """Unit quaternions (..., 4) xyzw of rotations (..., 3, 3).

    Of Shepperd's four forms each element takes the one with the largest divisor, so precision holds at every angle. The
    sign is as the chosen form gives it: see `canonical`.
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], -1)  # 4 q_i^2
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    rows = torch.stack(  # row i is 4 q_i q
        [
            torch.stack([squares[..., 0], xy, xz, wx], -1),
            torch.stack([xy, squares[..., 1], yz, wy], -1),
            torch.stack([xz, yz, squares[..., 2], wz], -1),
            torch.stack([wx, wy, wz, squares[..., 3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1, keepdim=True)
    row = rows.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
    return row / row.norm(dim=-1, keepdim=True)


def from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of quaternions (..., 4) xyzw of any length but zero."""
    x, y, z, w = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def from_6d(vector: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of two stacked columns (..., 6), by Gram-Schmidt (Zhou et al., CVPR 2019)."""
    first = torch.nn.functional.normalize(vector[..., :3], dim=-1)
    second = vector[..., 3:] - (first * vector[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def project(matrix: Tensor) -> Tensor:
    """The nearest rotations (..., 3, 3), in the Frobenius norm, to matrices (..., 3, 3)."""
    u, _, vt = torch.linalg.svd(matrix)
    sign = torch.ones_like(matrix[..., 0])
    sign[..., 2] = torch.det(u @ vt).sign()
    return (u * sign[..., None, :]) @ vt


def quadratic_block(rotation: Tensor) -> Tensor:
    """The l = 2 block of rotations (..., 3, 3): how they act on symmetric traceless matrices, (..., 5, 5), orthogonal."""
    a, b = 0.5**0.5, 6**-0.5
    basis = rotation.new_tensor([
        [[0, a, 0], [a, 0, 0], [0, 0, 0]], [[0, 0, a], [0, 0, 0], [a, 0, 0]], [[0, 0, 0], [0, 0, a], [0, a, 0]],
        [[a, 0, 0], [0, -a, 0], [0, 0, 0]], [[-b, 0, 0], [0, -b, 0], [0, 0, 2 * b]],
    ])  # fmt: skip
    return torch.einsum("iab,...ac,jcd,...bd->...ij", basis, rotation, basis, rotation)


def from_euler_xyz(angles: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of 3DIEBench's Euler angles (..., 3) in radians: ``Rz(c) Ry(b) Rx(a)``, extrinsic xyz."""
    zero = torch.zeros_like(angles[..., 0])
    a, b, c = (torch.stack(parts, -1) for parts in (
        (angles[..., 0], zero, zero), (zero, angles[..., 1], zero), (zero, zero, angles[..., 2])
    ))  # fmt: skip
    return exp(c) @ exp(b) @ exp(a)


def to_euler_xyz(rotation: Tensor) -> Tensor:
    """Euler angles (..., 3) in radians with ``rotation = Rz(c) Ry(b) Rx(a)``, b in [-pi/2, pi/2]."""
    a = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    b = torch.atan2(-rotation[..., 2, 0], torch.hypot(rotation[..., 2, 1], rotation[..., 2, 2]))
    c = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return torch.stack([a, b, c], -1)


def width(encoding: str, translation: bool = False) -> int:
    """How many numbers `encode` gives."""
    if encoding not in WIDTHS:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(WIDTHS)}")
    return WIDTHS[encoding] + (3 if translation else 0)


def encode(motion: Tensor, encoding: str = "matrix", translation: bool = False) -> Tensor:
    """Numbers (..., width) that describe motions (..., 4, 4), the rotation first, the translation last.

    Args:
        motion: Rigid motions (..., 4, 4).
        encoding: ``quaternion`` xyzw with w >= 0; ``6d`` the first two columns; ``matrix`` vec R row by row;
            ``harmonics`` vec R and the 25 entries of `quadratic_block`, which go round twice in a turn; ``rotation_vector`` in
            radians; ``quaternion_raw``: see `encode_pair`, from a motion alone it is the canonical.
        translation: Append the translation (in the pose's unit of length).
    """
    width(encoding)
    rotation = motion[..., :3, :3]
    if encoding == "matrix":
        numbers = rotation.flatten(-2)
    elif encoding == "harmonics":
        numbers = torch.cat([rotation.flatten(-2), quadratic_block(rotation).flatten(-2)], -1)
    elif encoding == "6d":
        numbers = rotation[..., :2].mT.flatten(-2)
    elif encoding == "rotation_vector":
        numbers = log(rotation)
    else:
        numbers = canonical(to_quaternion(rotation))
    return torch.cat([numbers, motion[..., :3, 3]], -1) if translation else numbers


def encode_pair(
    source: Tensor, target: Tensor, *, frame: str, encoding: str, translation: bool = False, reference: Tensor | None = None
) -> Tensor:
    """`encode` of the delta between poses (..., 4, 4).

    With ``quaternion_raw`` the sign is that of the product of the two poses' own quaternions in the hemisphere of `reference`
    (4,), as the released SIE conditions on it: 4.4 % of 3DIEBench's deltas then have w < 0. That sign is a property of the
    pair. The reference has to be the `mean_quaternion` of the data, since a camera turns the hemisphere with everything
    else: None, w >= 0, is right where the mean pose is the identity.
    """
    motion = delta(source, target, frame)
    numbers = encode(motion, encoding, translation)
    if encoding != "quaternion_raw":
        return numbers
    upright = source.new_tensor([0, 0, 0, 1]) if reference is None else reference
    first, second = (signed_quaternions(pose, upright) for pose in (source, target))
    scalar = (first * second).sum(-1, keepdim=True)  # w of conj(first) * second, and of second * conj(first)
    sign = torch.where(scalar < 0, -torch.ones_like(scalar), torch.ones_like(scalar))
    return torch.cat([numbers[..., :4] * sign, numbers[..., 4:]], -1)


def decode(numbers: Tensor, encoding: str = "matrix", translation: bool = False) -> Tensor:
    """The rigid motions (..., 4, 4) that `encode` would describe by `numbers` (..., width); the nearest rotation is taken."""
    expected = width(encoding, translation)
    if numbers.shape[-1] != expected:
        raise ValueError(f"{encoding} has {expected} numbers, found {numbers.shape[-1]}")
    part = numbers[..., : WIDTHS[encoding]]
    if encoding in ("matrix", "harmonics"):
        rotation = project(part[..., :9].unflatten(-1, (3, 3)))
    elif encoding == "6d":
        rotation = from_6d(part)
    elif encoding == "rotation_vector":
        rotation = exp(part)
    else:
        rotation = from_quaternion(part)
    return rigid(rotation, numbers[..., -3:] if translation else None)


def interpolate(times: Tensor, poses: Tensor, query: Tensor) -> Tensor:
    """Poses (..., M, 4, 4) at `query` (..., M) seconds between poses (..., N, 4, 4) at increasing `times` (..., N).

    Rotations go along the geodesic (slerp), translations along the straight line; outside of `times` the nearest end holds.
    """
    if times.shape[-1] == 1:
        return poses.expand(*poses.shape[:-3], query.shape[-1], 4, 4).clone()
    query = query.to(times.dtype)
    right = torch.searchsorted(times.contiguous(), query.contiguous()).clamp(1, times.shape[-1] - 1)
    before, after = times.gather(-1, right - 1), times.gather(-1, right)
    weight = ((query - before) / (after - before)).clamp(0, 1).to(poses.dtype)[..., None]
    index = right[..., None, None].expand(*right.shape, 4, 4)
    source, target = poses.gather(-3, index - 1), poses.gather(-3, index)
    turn = log(source[..., :3, :3].mT @ target[..., :3, :3])
    rotation = source[..., :3, :3] @ exp(weight * turn)
    return rigid(rotation, source[..., :3, 3] + weight * (target[..., :3, 3] - source[..., :3, 3]))


def from_pytorch3d(rotation: Tensor, translation: Tensor) -> Tensor:
    """World-in-camera poses (..., 4, 4) of PyTorch3D's R (..., 3, 3) and T (..., 3), as CO3D and uCO3D have them.

    There points are rows, ``x_camera = x_world R + T``, and the camera's axes are x left, y up, z forward.
    """
    flip = rotation.new_tensor([-1.0, -1.0, 1.0])
    return rigid(flip[:, None] * rotation.mT, flip * translation)


def to_pytorch3d(pose: Tensor) -> tuple[Tensor, Tensor]:
    """PyTorch3D's R (..., 3, 3) and T (..., 3) of world-in-camera poses (..., 4, 4); see `from_pytorch3d`."""
    flip = pose.new_tensor([-1.0, -1.0, 1.0])
    return (flip[:, None] * pose[..., :3, :3]).mT, flip * pose[..., :3, 3]


def from_colmap(quaternion: Tensor, translation: Tensor) -> Tensor:
    """World-in-camera poses (..., 4, 4) of COLMAP's quaternions wxyz (..., 4) and translations (..., 3); its axes are ours."""
    return rigid(from_quaternion(quaternion.roll(-1, -1)), translation)


def is_rotation(matrix: Tensor, tolerance: float = 1e-4) -> Tensor:
    """Whether matrices (..., 3, 3) are rotations: finite, orthonormal and right-handed within `tolerance`; bool (...)."""
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    clean = torch.nan_to_num(matrix, nan=9.0, posinf=9.0, neginf=9.0)
    orthonormal = (clean.mT @ clean - identity).abs().amax((-1, -2)) <= tolerance
    return orthonormal & (torch.det(clean) > 0) & matrix.isfinite().all(-1).all(-1)
