"""Flow and occlusion against brute force over all triangles in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.render.test_raycast import box, joined
from vsie.render import Camera, render_flow

SIZE = 64
MESH = joined(box((0.4, 0.06, 0.1)), box((0.06, 0.3, 0.06), (0.25, 0.0, 0.1)))


def pose(camera: Camera, *angles: float, shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix()
    matrix[:3, 3] = shift
    return camera.world_in_camera @ matrix


def cast(origin: np.ndarray, rays: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest hit (n,) of rays (n, 3) with triangles (f, 3, 3), Cramer's rule, and which triangle."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    matrix = np.stack(np.broadcast_arrays(a[None], b[None], -rays[:, None]), axis=-1)
    with np.errstate(all="ignore"):
        solved = np.linalg.solve(matrix + 1e-300, (origin - corners[:, 0])[None, ..., None])[..., 0]
    u, v, t = solved[..., 0], solved[..., 1], solved[..., 2]
    t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-9), t, np.inf)
    return t.min(axis=1), t.argmin(axis=1)


def pixel_rays() -> np.ndarray:
    steps = (np.arange(SIZE) + 0.5 - SIZE / 2) / Camera.default().intrinsics(SIZE)[0, 0]
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel(), np.ones(SIZE * SIZE)], axis=1)


def project(points: np.ndarray) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * Camera.default().intrinsics(SIZE)[0, 0] + SIZE / 2


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def test_flow_and_occlusion_of_a_moving_object() -> None:
    camera = Camera.default()
    pose_a, pose_b = pose(camera, 0.3, -0.4, 0.2), pose(camera, 0.9, 0.8, 1.2, shift=(0.05, -0.1, 0.08))
    flow, occlusion = render_flow(MESH, pose_a, pose_b, size=SIZE)
    flow, occlusion = flow.reshape(-1, 2), occlusion.ravel()
    triangles = MESH.vertices[MESH.faces]
    rays, eye = pixel_rays(), np.zeros(3)
    depth, _ = cast(eye, rays, moved(triangles.reshape(-1, 3), pose_a).reshape(-1, 3, 3))
    hit = np.isfinite(depth)
    assert 100 < hit.sum() < 2500
    after = moved(rays[hit] * depth[hit, None], pose_b @ np.linalg.inv(pose_a))
    error = np.abs(flow[hit] - (project(after) - project(rays[hit])))
    # a pixel whose centre lies on an edge may fall to either side in float32
    assert np.quantile(error, 0.99) <= 1e-3 and (error.max(1) > 1e-3).sum() <= 2
    assert not flow[~hit].any()

    posed_b = moved(triangles.reshape(-1, 3), pose_b).reshape(-1, 3, 3)
    first, _ = cast(eye, after, posed_b)
    end = project(after)
    truth = (first < 1 - 1e-4) | (end < 0).any(1) | (end >= SIZE).any(1)
    assert 20 < truth.sum() < len(truth) - 20
    assert (occlusion[hit] != truth).sum() <= 2
    covered, _ = cast(eye, rays[~hit], posed_b)
    assert (occlusion[~hit] != np.isfinite(covered)).sum() <= 2 and occlusion[~hit].any()


def test_no_motion_is_no_flow() -> None:
    here = pose(Camera.default(), 0.3, -0.4, 0.2)
    flow, occlusion = render_flow(MESH, here, here, size=SIZE)
    assert np.abs(flow).max() < 1e-6 and occlusion.mean() < 2e-3


def test_moving_camera_moves_the_floor() -> None:
    camera_a, camera_b = Camera.default(), Camera.on_sphere(math.pi / 2 + 0.15, math.pi / 4 - 0.05)
    pose_a, pose_b = pose(camera_a, 0.3, -0.4, 0.2), pose(camera_b, 0.3, -0.4, 0.2)
    flow, occlusion = render_flow(MESH, pose_a, pose_b, size=SIZE, camera_a=camera_a, camera_b=camera_b)
    # the floor's homography, by the normal form: x_b = (R + t n^T / d) x_a
    relative = camera_b.world_in_camera @ np.linalg.inv(camera_a.world_in_camera)
    normal = camera_a.world_in_camera[:3, 2]
    distance = normal @ camera_a.world_in_camera[:3, 3] - 1.0  # n . x = distance on the floor z = -1
    rays = pixel_rays()
    homography = relative[:3, :3] + np.outer(relative[:3, 3], normal) / distance
    truth = project(rays @ homography.T) - project(rays)
    depth, _ = cast(np.zeros(3), rays, moved(MESH.vertices[MESH.faces].reshape(-1, 3), pose_a).reshape(-1, 3, 3))
    floor = np.isinf(depth)
    assert np.abs(flow.reshape(-1, 2) - truth)[floor].max() < 1e-4
    assert np.abs(truth[floor]).max() > 2
    still = moved(rays[~floor] * depth[~floor, None], relative)
    assert np.quantile(np.abs(flow.reshape(-1, 2)[~floor] - (project(still) - project(rays[~floor]))), 0.99) < 1e-3
    outside = ((project(rays) + truth < 0) | (project(rays) + truth >= SIZE)).any(1)
    assert occlusion.ravel()[floor & outside].all() and (floor & outside).any()


def test_bad_pose() -> None:
    good = pose(Camera.default(), 0, 0, 0)
    with pytest.raises(ValueError, match="pose_b: not a rotation"):
        render_flow(MESH, good, 2 * good, size=SIZE)
    with pytest.raises(ValueError, match=r"pose_a: expected shape \(4, 4\)"):
        render_flow(MESH, np.eye(3), good, size=SIZE)
