"""How the object, or the camera, moves through a clip; and the light, drawn with 3DIEBench's latents.

The world has z up and its floor at z = -1. A rotation takes object space into the world, ``x_world = R x_object``; the
camera of all but `orbit` stands where 3DIEBench's does. All clips of one object share the object's
pose frame: the mesh's own. Angles are in radians, speeds in radians per frame, so a clip of twice the frames covers
twice the angle.

=============  ===========================================================================================
turntable      the object stands upright and turns about the vertical at a constant speed
tumble         any start in 3DIEBench's Euler range, then a constant turn about one axis anywhere on the sphere
orbit          the object stands still, the camera moves smoothly on the sphere around it
views          3DIEBench: every frame an independent rotation in its Euler range, and a light and floor of its own
ood            as views, with rotations that no angles in that range give: a and c of size pi/2 to pi, b within pi/2
=============  ===========================================================================================

A rotation has two triples of angles, (a, b, c) and (a +- pi, +-pi - b, c +- pi). Of `ood` neither is in the range: a and c are
out of it in the first, b in the second. With all three out of it (seq-JEPA's held-out rotations) the second is in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from vsie.render.scene import Camera

KINDS = ("turntable", "tumble", "orbit", "views", "ood")
SPEED = (2 * math.pi / 3 / 16, 2 * math.pi / 16)
"""Range of the speed, radians per frame: 16 frames cover between a third of a turn and one whole turn."""
EULER_RANGE = math.pi / 2
"""3DIEBench draws each of its three Euler angles from [-pi/2, pi/2]."""
ELEVATION = (math.radians(25), math.radians(70))
"""Range of `orbit`'s elevation. With the lens' half field of view of 19.8 degrees, 25 keeps the horizon out of view."""


@dataclass(frozen=True)
class Trajectory:
    """The motion of one clip of T frames.

    Attributes:
        kind: One of `KINDS`.
        rotations: (T, 3, 3) float64, object in world.
        angles: (T, 3) float64, extrinsic xyz Euler angles (a, b, c) of `rotations`: ``R = Rz(c) Ry(b) Rx(a)``.
        viewpoints: (T, 2) float64, azimuth and elevation of the camera on the sphere of 3DIEBench's distance; None
            where the camera stands still in 3DIEBench's place.
        relit: Whether each frame has a light and floor of its own; False: one for the clip.
    """

    kind: str
    rotations: np.ndarray
    angles: np.ndarray
    viewpoints: np.ndarray | None = None
    relit: bool = False

    @property
    def cameras(self) -> list[Camera]:
        """One camera per frame."""
        if self.viewpoints is None:
            return [Camera.default()] * len(self.rotations)
        return [Camera.on_sphere(azimuth, elevation) for azimuth, elevation in self.viewpoints]

    @property
    def object_in_camera(self) -> np.ndarray:
        """(T, 4, 4) float64 poses, ``x_camera = T x_object``."""
        poses = np.stack([camera.world_in_camera for camera in self.cameras])
        poses[:, :3, :3] = poses[:, :3, :3] @ self.rotations
        return poses


def sample(kind: str, frames: int, rng: np.random.Generator, *, speed: tuple[float, float] = SPEED) -> Trajectory:
    """Draw the motion of one clip.

    Args:
        kind: One of `KINDS`.
        frames: Number of frames T, at least 1.
        rng: Where all randomness comes from.
        speed: Range of the speed, radians per frame.

    Raises:
        ValueError: For an unknown kind or fewer than one frame.
    """
    if frames < 1:
        raise ValueError(f"a clip has at least 1 frame, found frames={frames}")
    if kind not in KINDS:
        raise ValueError(f"trajectory is {kind!r}, expected one of {', '.join(KINDS)}")
    steps = np.arange(frames)
    if kind == "turntable":
        yaw = rng.uniform(0, 2 * math.pi) + _signed_speed(rng, speed) * steps
        return _from_rotations(kind, Rotation.from_rotvec(yaw[:, None] * np.array([0.0, 0.0, 1.0])))
    if kind == "tumble":
        start = Rotation.from_euler("xyz", rng.uniform(-EULER_RANGE, EULER_RANGE, 3))
        axis = rng.standard_normal(3)
        axis /= np.linalg.norm(axis)
        turn = Rotation.from_rotvec(rng.uniform(*speed) * steps[:, None] * axis)
        return _from_rotations(kind, turn * start)
    if kind == "views":
        angles = rng.uniform(-EULER_RANGE, EULER_RANGE, (frames, 3))
        return Trajectory(kind, Rotation.from_euler("xyz", angles).as_matrix(), angles, relit=True)
    if kind == "ood":
        size = rng.uniform([EULER_RANGE, 0.0, EULER_RANGE], [math.pi, EULER_RANGE, math.pi], (frames, 3))
        angles = size * rng.choice([-1.0, 1.0], (frames, 3))
        return Trajectory(kind, Rotation.from_euler("xyz", angles).as_matrix(), angles, relit=True)
    rotations = np.broadcast_to(np.eye(3), (frames, 3, 3)).copy()
    return Trajectory(kind, rotations, np.zeros((frames, 3)), viewpoints=_orbit(steps, rng, speed))


def sample_light(rng: np.random.Generator) -> np.ndarray:
    """Draw 3DIEBench's four latents of light and floor: floor_hue, spot_theta, spot_phi, spot_hue, (4,) float64."""
    return rng.uniform(0.0, [1.0, math.pi / 4, 2 * math.pi, 1.0])


def euler_xyz(rotations: np.ndarray) -> np.ndarray:
    """Extrinsic xyz angles (..., 3) of rotations (..., 3, 3), as in 3DIEBench's latents; b is in [-pi/2, pi/2].

    The inverse of ``Rz(c) Ry(b) Rx(a)``; where b is +-pi/2 only one of a and c is determined, and a is given as 0.
    """
    cosine = np.hypot(rotations[..., 0, 0], rotations[..., 1, 0])
    locked = cosine < 1e-12
    a = np.where(locked, 0.0, np.arctan2(rotations[..., 2, 1], rotations[..., 2, 2]))
    b = np.arctan2(-rotations[..., 2, 0], cosine)
    free = np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0])
    c = np.where(locked, np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1]), free)
    return np.stack([a, b, c], -1)


def _signed_speed(rng: np.random.Generator, speed: tuple[float, float]) -> float:
    """A speed in either direction."""
    return rng.uniform(*speed) * (1 if rng.random() < 0.5 else -1)


def _from_rotations(kind: str, rotations: Rotation) -> Trajectory:
    """A trajectory in front of the default camera."""
    matrices = rotations.as_matrix()
    return Trajectory(kind, matrices, euler_xyz(matrices))


def _orbit(steps: np.ndarray, rng: np.random.Generator, speed: tuple[float, float]) -> np.ndarray:
    """Azimuth and elevation (T, 2) of a camera that goes round at a constant azimuthal speed, nodding slowly.

    The elevation is a sine around a middle height, with an amplitude that stays inside `ELEVATION` and between a
    quarter of and one whole period per 16 frames: smooth, never out of range, and independent of the clip's length. A camera
    that is slower than all of `SPEED` nods the slower too.
    """
    azimuth = rng.uniform(0, 2 * math.pi) + _signed_speed(rng, speed) * steps
    low, high = ELEVATION
    middle = rng.uniform(low, high)
    amplitude = rng.uniform(0, min(middle - low, high - middle))
    nod = rng.uniform(0.25, 1.0) * 2 * math.pi / 16 * min(1.0, speed[1] / SPEED[0])
    elevation = middle + amplitude * np.sin(nod * steps + rng.uniform(0, 2 * math.pi))
    return np.stack([azimuth, elevation], -1)
