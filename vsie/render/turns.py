"""Objects that turn a little: three renderings of each view, for finite differences out of the plane of the image.

The objects are of the families of a rendered data set, drawn from other random numbers, so no training has seen them. Frames
are as rendered: a video codec's noise would be divided by the small angle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from vsie.files import atomic_path
from vsie.render import Camera, Light, Renderer
from vsie.render import trajectories as motion
from vsie.render.clips import changes, generator

ANGLE_DEG = 2.0  # to either side: small for the latent, large against a ray per quarter of a pixel
OBJECTS, VIEWS, SUPERSAMPLE = 36, 4, 4
OTHER = 1_000_003  # from a data set's seed to that of its turns
VERSION = 2  # counted up when the same options give other turns


@dataclass(frozen=True)
class Turns:
    """N triples: before, middle, after.

    Attributes:
        images: (N, 3, H, W, 3) uint8.
        poses: (N, 3, 4, 4) float64, object in camera.
        objects: (N,) int64.
    """

    images: np.ndarray
    poses: np.ndarray
    objects: np.ndarray


def render_turns(
    *, trajectory: str, families: Sequence[str], size: int, objects: int = OBJECTS, views: int = VIEWS,
    angle_deg: float = ANGLE_DEG, supersample: int = SUPERSAMPLE, seed: int = 0, progress: bool = True,
) -> Turns:  # fmt: skip
    """Render turns about the axes of a kind of trajectory, from places on it.

    Args:
        trajectory: One of `vsie.render.trajectories.KINDS`: turntables turn about the vertical, an orbit moves the camera round,
            all else turns about any axis.
        families: Classes; object i is of family i modulo their number.
        size: Pixels on a side.
        objects: How many objects.
        views: Triples of each, each in a light of its own.
        angle_deg: From the middle to either side.
        supersample: Rays per pixel along each side.
        seed: Of the data set that the turns are for.
        progress: Show a bar.

    Raises:
        ValueError: An angle that is not small, an unknown trajectory or family.
    """
    from tqdm import tqdm

    from vsie.render.families import build

    if not 0 < angle_deg <= 20:
        raise ValueError(f"angle_deg is {angle_deg}, expected a small angle above 0 and up to 20")
    images, poses = [], []
    steps = np.radians(angle_deg) * np.array([-1.0, 0.0, 1.0])
    for item in tqdm(range(objects), desc="small turns", unit="object", disable=not progress, leave=False):
        mesh = build(families[item % len(families)], generator(seed + OTHER, item))
        renderer = Renderer(mesh, size=size, supersample=supersample)
        for view in range(views):
            rng = generator(seed + OTHER, item, view)
            path = motion.sample(trajectory, 2, rng)
            if path.viewpoints is None:
                start = Rotation.from_matrix(path.rotations[0])
                axis = (Rotation.from_matrix(path.rotations[1]) * start.inv()).as_rotvec()
                axis = axis / np.linalg.norm(axis)
                rotations, cameras = (Rotation.from_rotvec(steps[:, None] * axis) * start).as_matrix(), None
            else:
                azimuth, elevation = path.viewpoints[0]
                # however high it stands: the object turns in the camera by the angle that the camera goes about the vertical
                cameras = [Camera.on_sphere(azimuth + step, elevation) for step in steps]
                rotations = np.broadcast_to(np.eye(3), (3, 3, 3))
            light = Light(*motion.sample_light(rng))
            images.append(renderer.render_clip(rotations, light=light, cameras=cameras)["rgb"])
            pose = np.stack([camera.world_in_camera for camera in cameras or [Camera.default()] * 3])
            pose[:, :3, :3] = pose[:, :3, :3] @ rotations
            poses.append(pose)
    return Turns(np.stack(images), np.stack(poses), np.repeat(np.arange(objects), views))


def cached(folder: Path, **options) -> Turns:
    """`render_turns`, kept in a folder: rendered once for the same options."""
    what = [VERSION, changes(options["trajectory"]), options]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    file = Path(folder) / f"turns-{options['trajectory']}-{options['size']}px-{digest}.npz"
    if not file.is_file():
        turns = render_turns(**options)
        with atomic_path(file) as temporary:
            np.savez(temporary, **vars(turns))
    with np.load(file) as stored:
        return Turns(**{name: stored[name] for name in stored.files})
