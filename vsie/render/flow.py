"""Exact optical flow and next-frame occlusion, from depth and the known change of pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vsie.render.geometry import ObjectScene
from vsie.render.scene import FLOOR_Z, Camera, Mesh, check_rigid


def _pixel_rays(intrinsics: np.ndarray, size: int) -> np.ndarray:
    """(H * W, 3) directions in the camera frame through the pixels' centres, z = 1."""
    step = (np.arange(size) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    x, y = np.meshgrid(step, step)
    return np.stack([x.ravel(), y.ravel(), np.ones(size * size)], axis=1)


def _visible(scene: ObjectScene, pose: np.ndarray, points: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """(n,) bool, whether no part of the object stands before camera-frame points by more than `slack` (a depth)."""
    rotation, centre = pose[:3, :3], -pose[:3, :3].T @ pose[:3, 3]
    directions = (points @ rotation).astype(np.float32)
    origins = np.broadcast_to(centre.astype(np.float32), directions.shape).copy()
    hit = scene.intersect(origins, directions)
    depth = np.where(hit["primID"] >= 0, hit["tfar"] * points[:, 2], np.inf)
    return depth > points[:, 2] - slack


def _flow(
    scene: ObjectScene, pose_a: np.ndarray, pose_b: np.ndarray, camera_a: Camera, camera_b: Camera, size: int
) -> tuple[np.ndarray, np.ndarray]:
    intrinsics_a, intrinsics_b = camera_a.intrinsics(size), camera_b.intrinsics(size)
    rays = _pixel_rays(intrinsics_a, size)
    rotation = pose_a[:3, :3]
    directions = (rays @ rotation).astype(np.float32)
    origin = (-rotation.T @ pose_a[:3, 3]).astype(np.float32)
    hit = scene.intersect(np.broadcast_to(origin, directions.shape).copy(), directions)
    found = hit["primID"] >= 0
    corners = scene.mesh.vertices[scene.mesh.faces[hit["primID"][found]]]
    u, v = hit["u"][found, None].astype(np.float64), hit["v"][found, None].astype(np.float64)
    # the point of the surface itself, not depth times a float32 direction: it keeps the flow exact
    surface = (1 - u - v) * corners[:, 0] + u * corners[:, 1] + v * corners[:, 2]
    before = surface @ rotation.T + pose_a[:3, 3]
    after = np.empty_like(rays)
    start = rays[:, :2] * intrinsics_a[0, 0] + intrinsics_a[:2, 2]
    start[found] = before[:, :2] / before[:, 2:] * intrinsics_a[0, 0] + intrinsics_a[:2, 2]
    after[found] = surface @ pose_b[:3, :3].T + pose_b[:3, 3]
    after[~found] = _move_static(rays[~found], camera_a, camera_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        end = after[:, :2] / after[:, 2:] * intrinsics_b[0, 0] + intrinsics_b[:2, 2]
    behind = after[:, 2] <= 1e-6
    end[behind] = start[behind]
    if camera_a.key == camera_b.key:
        end[~found] = start[~found]  # exactly zero, not rounding
    outside = behind | (end < 0).any(axis=1) | (end >= size).any(axis=1)
    # a grazing surface changes depth by much within the float32 error of a ray, so the slack grows with distance
    visible = _visible(scene, pose_b, np.where(behind[:, None], rays, after), 1e-4 * np.abs(after[:, 2]))
    flow = (end - start).astype(np.float32).reshape(size, size, 2)
    return flow, (outside | ~visible).reshape(size, size)


def _move_static(rays: np.ndarray, camera_a: Camera, camera_b: Camera) -> np.ndarray:
    """Floor points (and directions of the sky) along camera-a rays (n, 3), in the frame of camera b."""
    if camera_a.key == camera_b.key:
        relative = np.eye(4)
    else:
        relative = camera_b.world_in_camera @ np.linalg.inv(camera_a.world_in_camera)
    down = (rays @ camera_a.world_in_camera[:3, :3])[:, 2]
    with np.errstate(divide="ignore"):
        reach = (FLOOR_Z - camera_a.position[2]) / down
    sky = ~(np.isfinite(reach) & (reach > 0))
    points = rays * np.where(sky, 1e6, reach)[:, None]
    return points @ relative[:3, :3].T + relative[:3, 3]


def render_flow(
    mesh: Mesh,
    pose_a: np.ndarray,
    pose_b: np.ndarray,
    *,
    size: int = 256,
    camera_a: Camera | None = None,
    camera_b: Camera | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Optical flow from a frame a to a frame b, and which pixels of a cannot be seen in b.

    Args:
        mesh: the object.
        pose_a: (4, 4) object in camera in frame a.
        pose_b: (4, 4) object in camera in frame b.
        size: pixels on a side.
        camera_a: where the camera stands in frame a (it says where the floor is); 3DIEBench's by default.
        camera_b: where it stands in frame b; `camera_a` by default, and then the floor's flow is zero.

    Returns:
        (H, W, 2) float32 displacement in pixels (x right, y down) of the surface that the centre of each pixel of frame
        a shows, and (H, W) bool, True where it is hidden by the object or out of the picture in frame b. The motion of
        the shadow is no flow.

    Raises:
        ValueError: a pose is not rigid.
    """
    pose_a, pose_b = check_rigid(pose_a, "pose_a"), check_rigid(pose_b, "pose_b")
    camera_a = Camera.default() if camera_a is None else camera_a
    camera_b = camera_a if camera_b is None else camera_b
    return _flow(ObjectScene(mesh), pose_a, pose_b, camera_a, camera_b, int(size))


def clip_flow(
    scene: ObjectScene, rotations: np.ndarray, cameras: Sequence[Camera], *, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flow (T-1, H, W, 2) and occlusion (T-1, H, W) between the neighbours of a clip; see `render_flow`."""
    poses = []
    for rotation, camera in zip(rotations, cameras, strict=True):
        pose = camera.world_in_camera.copy()
        pose[:3, :3] = pose[:3, :3] @ rotation
        poses.append(pose)
    flow = np.zeros((len(poses) - 1, size, size, 2), np.float32)
    occlusion = np.zeros((len(poses) - 1, size, size), bool)
    for i in range(len(poses) - 1):
        flow[i], occlusion[i] = _flow(scene, poses[i], poses[i + 1], cameras[i], cameras[i + 1], size)
    return flow, occlusion
