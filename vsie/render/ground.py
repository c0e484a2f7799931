"""The floor: where each camera sees it, what light falls on it without the object, and what the object takes away."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from vsie.render.scene import (
    FLOOR_Z,
    SPOT_DISTANCE,
    SPOT_HALF_ANGLE,
    SUN_HALF_ANGLE,
    SUN_IRRADIANCE,
    WORLD_RADIANCE,
    Camera,
    Light,
    spot_on_floor,
)

_GRID = 20  # nodes on a side of the square of floor whose sun the object may block
_EXTENT = 2.0  # half the side of that square
_RAYS = 16  # towards the sun, from each node
_NEIGHBOURS = np.ones((3, 3), np.uint8)


class SunBlock:
    """How much of the sun an object takes from the floor: a soft patch, no visible outline.

    Rays from a coarse grid of floor points towards the wide sun; those that miss the object's bounding sphere are left
    out for good, since neither they nor the floor move.

    Args:
        radius: of the object's bounding sphere around the origin.
    """

    def __init__(self, radius: float) -> None:
        step = 2 * _EXTENT / _GRID
        place = (np.arange(_GRID) + 0.5) * step - _EXTENT
        x, y = np.meshgrid(place, place)
        nodes = np.stack([x.ravel(), y.ravel(), np.full(x.size, FLOOR_Z)], axis=1)
        # equal shares of the sun's irradiance on the floor; each node turns its pattern
        sine = math.sin(SUN_HALF_ANGLE) * np.sqrt((np.arange(_RAYS) + 0.5) / _RAYS)
        angle = math.pi * (3 - math.sqrt(5)) * np.arange(_RAYS) + np.arange(len(nodes))[:, None] * 2.399963 / 7
        height = np.broadcast_to(np.sqrt(1 - sine**2), angle.shape)
        rays = np.stack([sine * np.cos(angle), sine * np.sin(angle), height], axis=-1)
        distance = np.linalg.norm(np.cross(nodes[:, None], rays), axis=-1)
        self._node, ray = np.nonzero(distance < radius)
        self._origins = nodes[self._node].astype(np.float32)
        self._rays = rays[self._node, ray].astype(np.float32)
        below = 1.0 / (1.0 + x**2 + y**2) ** 2
        self._below = (below / below.sum()).astype(np.float32)

    def share(self, scene: object, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T, n, n) float32 share of the sun blocked at the grid's nodes, and (T,) its mean as seen from the object.

        Args:
            scene: an `ObjectScene` (vsie.render.geometry).
            rotations: (T, 3, 3) object in world.
        """
        turns = rotations.astype(np.float32)
        count = _GRID * _GRID
        hit = scene.occluded((self._origins @ turns).reshape(-1, 3), (self._rays @ turns).reshape(-1, 3))
        hit = np.flatnonzero(hit)
        node = self._node.take(hit % len(self._node)) + hit // len(self._node) * count
        blocked = np.bincount(node, minlength=len(turns) * count).reshape(-1, _GRID, _GRID).astype(np.float32) / _RAYS
        for index, picture in enumerate(blocked):
            blocked[index] = cv2.GaussianBlur(picture, (5, 5), 1.0, borderType=cv2.BORDER_CONSTANT)
        return blocked, np.einsum("tij,ij->t", blocked, self._below)


@functools.lru_cache(maxsize=16)
def sun_block(radius: float) -> SunBlock:
    """The `SunBlock` for a radius, kept: most objects have the same."""
    return SunBlock(radius)


class View:
    """One camera at one image size: its rays, and where they meet the floor.

    A pixel is a flat index row * size + column; sample s of it is subsample (s // supersample, s % supersample).
    """

    def __init__(self, camera: Camera, size: int, supersample: int) -> None:
        self.camera = camera
        self.size = size
        self.supersample = supersample
        self.intrinsics = camera.intrinsics(size)
        self.origin = camera.position
        self._axes = camera.world_in_camera[:3, :3].astype(np.float32)
        self._fine = self._steps(supersample)
        self._centres = self._steps(1)
        corners = self.rays(np.array([0, size - 1, size * (size - 1), size * size - 1]))
        self.above_horizon = bool((corners[:, 2] > -1e-3).any())
        place, floor = self.meet_floor(self.rays(np.arange(size * size)))
        place = (place[:, :2] + _EXTENT) * np.float32(_GRID / (2 * _EXTENT)) + np.float32(0.5)
        place = np.where(floor[:, None], np.clip(place, 0, _GRID + 1), 0).reshape(size, size, 2)
        self._grid_map = cv2.convertMaps(place.astype(np.float32), None, cv2.CV_16SC2)

    def _steps(self, supersample: int) -> np.ndarray:
        """(size * supersample,) float32 x (or y) of the columns of subsamples at depth 1."""
        steps = (np.arange(self.size * supersample) + 0.5) / supersample
        return ((steps - self.intrinsics[0, 2]) / self.intrinsics[0, 0]).astype(np.float32)

    def rays(
        self, pixels: np.ndarray, samples: np.ndarray | None = None, turn: np.ndarray | None = None
    ) -> np.ndarray:
        """(n, 3) float32 directions whose length is camera depth, through pixels at their samples (or centres).

        Args:
            pixels: (n,) flat indices.
            samples: (n,) sample of each, or None for the centres.
            turn: (3, 3) float32, object in world: the rays are then in object space, else in world space.
        """
        row, column = np.divmod(pixels, self.size)
        plane = np.ones((len(pixels), 3), np.float32)
        if samples is None:
            plane[:, 0], plane[:, 1] = self._centres.take(column), self._centres.take(row)
        else:
            down, right = np.divmod(samples, self.supersample)
            plane[:, 0] = self._fine.take(column * self.supersample + right)
            plane[:, 1] = self._fine.take(row * self.supersample + down)
        return plane @ (self._axes if turn is None else self._axes @ turn)

    def meet_floor(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3) float32 world points where world rays meet the floor, and (n,) bool whether they do."""
        floor = rays[:, 2] < -1e-6
        reach = np.float32(FLOOR_Z - self.origin[2]) / np.where(floor, rays[:, 2], np.float32(-1))
        return self.origin.astype(np.float32) + reach[:, None] * rays, floor

    def spread(self, nodes: np.ndarray) -> np.ndarray:
        """(H * W,) float32 values of the floor's grid of nodes as the pixels see them, 0 outside the grid."""
        bordered = cv2.copyMakeBorder(nodes, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0.0)
        return cv2.remap(bordered, *self._grid_map, cv2.INTER_LINEAR).ravel()

    def cover(self, points: np.ndarray) -> np.ndarray:
        """(H, W) uint8, 1 on every pixel that the convex hull of world points (n, 3) may touch."""
        camera = points @ self.camera.world_in_camera[:3, :3].T + self.camera.world_in_camera[:3, 3]
        if camera[:, 2].min() < 0.05:
            return np.ones((self.size, self.size), np.uint8)
        pixel = camera[:, :2] / camera[:, 2:] * self.intrinsics[0, 0] + (self.intrinsics[0, 2] - 0.5)
        hull = cv2.convexHull(np.clip(pixel, -4096, 4096).astype(np.float32))
        mask = np.zeros((self.size, self.size), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(hull * 16).astype(np.int32), 1, shift=4)
        return cv2.dilate(mask, _NEIGHBOURS)


class Ground:
    """The floor of one clip under one camera: its light without the object."""

    def __init__(self, view: View, light: Light) -> None:
        count = view.supersample**2
        albedo = light.floor_albedo / math.pi
        # colours stand as columns (3, 1), pictures as planes (3, H * W)
        self.constant = (albedo * (SUN_IRRADIANCE + math.pi * WORLD_RADIANCE)).astype(np.float32)[:, None]
        self.sun = (albedo * SUN_IRRADIANCE).astype(np.float32)[:, None]
        self.per_spot = (albedo * light.spot_color).astype(np.float32)[:, None]
        self.spot = np.zeros((view.size**2, count), np.float32)
        pixels = np.flatnonzero(view.cover(_pool_rim(light)))
        samples = np.tile(np.arange(count), len(pixels))
        points, floor = view.meet_floor(view.rays(np.repeat(pixels, count), samples))
        self.spot[pixels] = (spot_on_floor(points, light) * floor).reshape(-1, count)
        ones = np.ones(count, np.float32)
        share = np.float32(1 / count)
        self.linear = self.constant + (self.spot @ ones * share) * self.per_spot
        self.pool = (self.spot @ ones > 0).reshape(view.size, view.size)
        self.sky = None
        if view.above_horizon:
            everywhere = np.repeat(np.arange(view.size**2), count)
            _, floor = view.meet_floor(view.rays(everywhere, np.tile(np.arange(count), view.size**2)))
            self.sky = ~floor.reshape(-1, count)
            self.linear += ((self.sky @ ones) * share) * (np.float32(WORLD_RADIANCE) - self.constant)


def _pool_rim(light: Light) -> np.ndarray:
    """(32, 3) world points on the floor whose convex hull holds the spot's pool."""
    axis = -light.spot_position / SPOT_DISTANCE
    side = np.cross(axis, (1.0, 0.0, 0.0) if abs(axis[0]) < 0.7 else (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    angle = np.arange(32) * (2 * math.pi / 32)
    # the polygon around a circle: its sides touch it
    slope = math.tan(SPOT_HALF_ANGLE) / math.cos(math.pi / 32)
    rays = axis + slope * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side))
    return light.spot_position + rays * ((FLOOR_Z - light.spot_position[2]) / np.minimum(rays[:, 2:], -1e-2))
