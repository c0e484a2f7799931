"""The floor: where each camera sees it, what light falls on it without the object, and what the object takes away."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vsie.render.scene import (
    FLOOR_Z,
    SUN_HALF_ANGLE,
    SUN_IRRADIANCE,
    WORLD_RADIANCE,
    Camera,
    Light,
    spot_irradiance,
)

_GRID = 20  # nodes on a side of the square of floor whose sun the object may block
_EXTENT = 2.0  # half the side of that square
_RAYS = 16  # towards the sun, from each node


class View:
    """One camera at one image size: the directions of all subsample rays and where they meet the floor."""

    def __init__(self, camera: Camera, size: int, supersample: int) -> None:
        self.camera = camera
        self.size = size
        self.intrinsics = camera.intrinsics(size)
        self.world_to_camera = camera.world_in_camera
        rotation = camera.world_in_camera[:3, :3]
        self.origin = camera.position
        self.directions = self._directions(supersample, rotation)
        self.centres = self.directions if supersample == 1 else self._directions(1, rotation)
        with np.errstate(divide="ignore"):
            reach = (FLOOR_Z - self.origin[2]) / self.directions[..., 2].astype(np.float64)
        self.floor = np.isfinite(reach) & (reach > 0)
        self.points = (self.origin + np.where(self.floor, reach, 0.0)[..., None] * self.directions).astype(np.float32)

    def _directions(self, supersample: int, rotation: np.ndarray) -> np.ndarray:
        """(H * W, supersample ** 2, 3) float32 world directions with camera z = 1, so that a ray's length is depth."""
        steps = (np.arange(self.size * supersample) + 0.5) / supersample
        x = (steps - self.intrinsics[0, 2]) / self.intrinsics[0, 0]
        grid = np.empty((len(x), len(x), 3))
        grid[..., 0], grid[..., 1], grid[..., 2] = x, x[:, None], 1.0
        shape = (self.size, supersample, self.size, supersample, 3)
        grid = (grid @ rotation).reshape(shape).transpose(0, 2, 1, 3, 4)
        return np.ascontiguousarray(grid.reshape(self.size**2, supersample**2, 3), dtype=np.float32)

    def cover(self, points: np.ndarray) -> np.ndarray | None:
        """(H, W) uint8, 1 on every pixel that the convex hull of world points (n, 3) may touch; None for all pixels."""
        camera = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        if camera[:, 2].min() < 0.05:
            return None
        pixel = camera[:, :2] / camera[:, 2:] * self.intrinsics[0, 0] + self.intrinsics[0, 2] - 0.5
        pixel = np.clip(pixel, -4096, 4096)
        hull = cv2.convexHull(np.ascontiguousarray(pixel, dtype=np.float32))
        mask = np.zeros((self.size, self.size), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(hull * 16).astype(np.int32), 1, shift=4)
        return cv2.dilate(mask, np.ones((3, 3), np.uint8))


class Ground:
    """The floor of one clip under one camera: its light without the object, as numbers and as a picture."""

    def __init__(self, view: View, light: Light) -> None:
        spot = spot_irradiance(view.points, light)
        cosine = (light.spot_position[2] - FLOOR_Z) / np.linalg.norm(light.spot_position - view.points, axis=-1)
        self.spot = (spot * cosine * view.floor).astype(np.float32)
        self.pool = (self.spot > 0).any(axis=1).reshape(view.size, view.size)
        albedo = light.floor_albedo / math.pi
        self.constant = (albedo * (SUN_IRRADIANCE + math.pi * WORLD_RADIANCE)).astype(np.float32)
        self.per_spot = (albedo * light.spot_color).astype(np.float32)
        self.sky = None if view.floor.all() else (~view.floor)
        linear = self.radiance(self.spot.sum(axis=1), np.full(len(self.spot), self.spot.shape[1], np.float32))
        if self.sky is not None:
            open_sky = self.sky.sum(axis=1, dtype=np.float32)[:, None]
            linear += open_sky * (np.float32(WORLD_RADIANCE) - self.constant)
        self.linear = linear / np.float32(self.spot.shape[1])
        self.image = tone_map(self.linear).reshape(view.size, view.size, 3)

    def radiance(self, spot: np.ndarray, count: np.ndarray) -> np.ndarray:
        """(n, 3) sum over a pixel's subsamples: their summed spot light, and how many of them see the floor."""
        return count[:, None] * self.constant + spot[:, None] * self.per_spot


