"""Light that comes from everywhere: what the object hides from itself, passes on to itself, and takes from the floor.

What is notable: visibility is baked once per object, at points spread over its surface and for a fixed set of
directions in object space. A frame then rotates the environment into those directions, and all ambient occlusion, sun
occlusion, light from the spot's pool on the floor and interreflection are a few small matrix products.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_matrix

from vsie.render.scene import (
    FLOOR_Z,
    SPOT_DISTANCE,
    SUN_HALF_ANGLE,
    SUN_RADIANCE,
    WORLD_RADIANCE,
    Light,
    spot_falloff,
    spot_irradiance,
)

DIRECTIONS = 64
_POINTS = 1400  # aim for the number of baked points of an object
_LEVELS = 16  # most parts into which an edge is split
_SUBSETS = 4  # samples of the floor for each baked direction
_GOLDEN = math.pi * (3.0 - math.sqrt(5.0))


def sphere_directions(count: int) -> np.ndarray:
    """(count, 3) float64 unit vectors spread evenly over the sphere (Fibonacci lattice)."""
    z = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angle = _GOLDEN * np.arange(count)
    flat = np.sqrt(1.0 - z * z)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=1)


def _cells(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return np.argmax(vectors @ directions.T, axis=1)


class SurfaceLight:
    """Visibility baked at points of a surface, and the diffuse light that a frame's environment makes of it.

    Args:
        scene: an `ObjectScene` (vsie.render.raycast).

    The surface of each triangle is a lattice of level n (n parts an edge); lattice points that fall together in place
    and normal share one baked point. A mesh whose triangles can be seen from behind (open or wrongly wound, common in
    files) is baked on both sides, the second side as face `prim + faces`.
    """

    def __init__(self, scene: object) -> None:
        self._scene = scene
        self.directions = sphere_directions(DIRECTIONS)
        self.two_sided = self._seen_from_behind()
        vertices = scene.mesh.vertices[scene.mesh.faces]
        normals, albedo = scene.corners()
        self._face_count = len(vertices)
        if self.two_sided:
            vertices, albedo = np.tile(vertices, (2, 1, 1)), np.tile(albedo, (2, 1, 1))
            normals = np.concatenate([normals, -normals])
        self._lattice(vertices, normals, albedo)
        self._bake()

    def _seen_from_behind(self) -> bool:
        """Whether rays from outside meet the back of a triangle."""
        origins = sphere_directions(512)
        targets = np.roll(origins, 173, axis=0) * 0.6
        radius = self._scene.radius
        rays = ((targets - origins) * radius).astype(np.float32)
        hit = self._scene.intersect((origins * 1.01 * radius).astype(np.float32), rays)
        found = hit["primID"] >= 0
        behind = np.einsum("ni,ni->n", self._scene.face_normals[hit["primID"][found]], rays[found]) > 0
        return bool(behind.sum() > 0.02 * max(found.sum(), 1))

    def _lattice(self, vertices: np.ndarray, normals: np.ndarray, albedo: np.ndarray) -> None:
        edges = np.linalg.norm(vertices - np.roll(vertices, 1, axis=1), axis=2).max(axis=1)
        area = 0.5 * np.linalg.norm(np.cross(vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0]), axis=1)
        spacing = max(math.sqrt(area.sum() / _POINTS), 0.02)
        while True:
            self.levels = np.clip(np.ceil(edges / (1.5 * spacing)), 1, _LEVELS).astype(np.int32)
            counts = (self.levels + 1) * (self.levels + 2) // 2
            if counts.sum() <= 3 * len(edges) + 12 * _POINTS:
                break
            spacing *= 1.3
        self._start = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
        places = np.empty((counts.sum(), 3))
        facing = np.empty((counts.sum(), 3))
        colors = np.empty((counts.sum(), 3))
        for level in np.unique(self.levels):
            chosen = np.flatnonzero(self.levels == level)
            i, j = np.meshgrid(np.arange(level + 1), np.arange(level + 1), indexing="ij")
            inside = i + j <= level
            u, v = i[inside] / level, j[inside] / level
            weights = np.stack([1 - u - v, u, v], axis=1)
            rows = self._start[chosen][:, None] + np.arange(len(u))
            # a little inwards: a corner is where parts touch, and where a ray would start inside the neighbour
            inner = 0.94 * weights + 0.02
            places[rows] = inner @ vertices[chosen]
            facing[rows] = weights @ normals[chosen]
            colors[rows] = weights @ albedo[chosen]
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
        cell = np.rint(places / (0.8 * spacing)).astype(np.int64) + 512
        octant = np.rint(facing * 2).astype(np.int64) + 2
        # the inner side of a thin plate's bottom faces like the outer side of its top, but sees nothing
        side = np.arange(len(places)) >= self._start[self._face_count] if self.two_sided else 0
        key = ((cell[:, 0] * 1024 + cell[:, 1]) * 1024 + cell[:, 2]) * 125 + octant @ (25, 5, 1)
        key += side * np.int64(1 << 40)
        _, first, self._index = np.unique(key, return_index=True, return_inverse=True)
        self._index = self._index.astype(np.int32)
        self.points, self.normals = places[first].astype(np.float32), facing[first].astype(np.float32)
        self.albedo = colors[first].astype(np.float32)

    def _bake(self) -> None:
        count = len(self.points)
        cosine = np.maximum(self.normals @ self.directions.T.astype(np.float32), 0)
        cosine *= math.pi / cosine.sum(axis=1, keepdims=True)
        outline = self._scene.outline
        reach = np.full(count, -np.inf, np.float32)
        for part in range(0, len(outline), 256):
            np.maximum(reach, (self.normals @ outline[part : part + 256].T).max(axis=1), out=reach)
        beyond = reach - np.einsum("ni,ni->n", self.normals, self.points) > 2e-3
        rows, columns = np.nonzero((cosine > 0.02 * math.pi / DIRECTIONS) & beyond[:, None])
        start = self.points[rows] + np.float32(2e-3) * self.normals[rows]
        hit = self._scene.intersect(start, self._jittered(columns))
        met = np.flatnonzero(hit["primID"] >= 0)
        rows, columns, prim = rows[met], columns[met], hit["primID"][met]
        blocked = np.zeros_like(cosine)
        blocked[rows, columns] = cosine[rows, columns]
        rays = self.directions[columns].astype(np.float32)
        behind = np.einsum("ni,ni->n", self._scene.face_normals[prim], rays) > 0
        target = self.nearest(prim, hit["u"][met], hit["v"][met], behind)
        self._leave_inside(rows[behind], blocked, cosine)
        weight = blocked[rows, columns] / math.pi
        self._exchange = csr_matrix((weight, (rows, target)), shape=(count, count))
        self.blocked, self._cosine = blocked, cosine

    def _jittered(self, columns: np.ndarray) -> np.ndarray:
        """Rays (n, 3) float32 spread within their direction's share of the sphere, the same on every call."""
        turn = np.random.default_rng(0).normal(size=(4096, 3)) * (0.5 / math.sqrt(DIRECTIONS))
        rays = self.directions[columns] + np.resize(turn, (len(columns), 3))
        return rays.astype(np.float32)

    def _leave_inside(self, rows: np.ndarray, blocked: np.ndarray, cosine: np.ndarray) -> None:
        """Points inside another part see nothing, or backs of triangles: they take the nearest outer point's view."""
        inside = blocked.sum(axis=1) > 0.97 * math.pi
        if not self.two_sided:
            inside |= np.bincount(rows, minlength=len(blocked)) > 0.3 * (cosine > 0).sum(axis=1)
        if not inside.any() or inside.all():
            return
        from scipy.spatial import cKDTree

        place = np.concatenate([self.points, 0.2 * self.normals], axis=1)
        _, nearest = cKDTree(place[~inside]).query(place[inside])
        blocked[inside] = blocked[np.flatnonzero(~inside)[nearest]]

    def nearest(self, prim: np.ndarray, u: np.ndarray, v: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """(N,) baked point next to a place on a triangle."""
        face = prim + behind * self._face_count if self.two_sided else prim
        level = self.levels[face]
        i = np.rint(u * level).astype(np.int32)
        j = np.minimum(np.rint(v * level).astype(np.int32), level - i)
        return self._index[self._start[face] + i * (level + 1) - i * (i - 1) // 2 + j]

    def interpolate(
        self, values: np.ndarray, prim: np.ndarray, u: np.ndarray, v: np.ndarray, behind: np.ndarray
    ) -> np.ndarray:
        """(N, c) values (P, c) of the baked points, linear within each cell of a triangle's lattice."""
        face = prim + behind * self._face_count if self.two_sided else prim
        level = self.levels[face]
        a, b = u * level, v * level
        i = np.minimum(a.astype(np.int32), level - 1)
        j = np.minimum(b.astype(np.int32), level - 1 - i)
        a -= i
        b -= j
        upper = (a + b > 1) & (i + j < level - 1)
        row = self._start[face] + i * (level + 1) - i * (i - 1) // 2 + j
        below = row + level + 1 - i  # the same j, in the next row
        # the upper triangle of a cell is the lower one seen from its opposite corner
        weight_b = np.where(upper, 1 - b, a)[:, None]
        weight_c = np.where(upper, 1 - a, b)[:, None]
        corner = np.where(upper, below + 1, row)
        values_a = values[self._index[corner]]
        result = values_a * (1 - weight_b - weight_c)
        result += values[self._index[below]] * weight_b
        result += values[self._index[row + 1]] * weight_c
        return result

    def evaluate(self, rotation: np.ndarray, light: Light) -> np.ndarray:
        """(P, 3) linear irradiance at the baked points, to be added to the unhindered sun, sky and even floor.

        Args:
            rotation: (3, 3) object in world.
            light: floor and spot.
        """
        floor = light.floor_albedo / math.pi
        world = self.directions @ rotation.T
        even = environment(world[:, 2])[:, None] * np.where(world[:, 2:] < 0, light.floor_albedo, 1.0)
        pool = self._pool(world, rotation, light)[:, None] * (floor * light.spot_color)
        gradient = _pool_gradient(light) @ rotation
        change = np.exp(np.clip(self.points @ gradient.astype(np.float32), -1, 1))[:, None]
        seen = (self._cosine - self.blocked) @ pool.astype(np.float32) * change
        lost = self.blocked @ even.astype(np.float32)
        total = seen - lost
        passed = self._exchange @ (self.albedo * np.maximum(total + self._plain(rotation, light), 0))
        passed += self._exchange @ (self.albedo * passed)
        return total + passed

    def _plain(self, rotation: np.ndarray, light: Light) -> np.ndarray:
        from vsie.render.raycast import even_irradiance

        normal_z = self.normals @ rotation[2].astype(np.float32)
        spot = (light.spot_position @ rotation).astype(np.float32)
        towards = spot - self.points
        distance = np.sqrt(np.einsum("ni,ni->n", towards, towards))
        falloff = spot_falloff(towards @ (spot / np.float32(SPOT_DISTANCE)) / distance)
        facing = np.maximum(np.einsum("ni,ni->n", self.normals, towards), 0) / distance**3
        close = np.argsort(-(self.directions @ spot))[:3]
        clear = 1 - (self.blocked[:, close] > 0).mean(axis=1)
        strength = (500 / (4 * math.pi) * falloff * facing * clear).astype(np.float32)
        return even_irradiance(normal_z, light) + strength[:, None] * light.spot_color.astype(np.float32)

    def _pool(self, world: np.ndarray, rotation: np.ndarray, light: Light) -> np.ndarray:
        """(K,) mean spot irradiance on the floor within each baked direction's share of the sphere."""
        jitter = sphere_directions(_SUBSETS) * (1.0 / math.sqrt(DIRECTIONS))
        rays = world[:, None] + jitter
        down = rays[..., 2] < -0.15
        points = rays[down] * (FLOOR_Z / rays[down][:, 2:])
        strength = spot_irradiance(points, light)
        towards = light.spot_position - points
        strength *= towards[:, 2] / np.linalg.norm(towards, axis=1)
        bright = np.flatnonzero(strength > 0)
        start = (light.spot_position @ rotation).astype(np.float32)
        if len(bright):
            ways = (-towards[bright] @ rotation).astype(np.float32)
            dark = self._scene.occluded(np.broadcast_to(start, ways.shape).copy(), ways)
            strength[bright[dark]] = 0.0
        result = np.zeros(rays.shape[:2])
        result[down] = strength
        return result.mean(axis=1)


def environment(z: np.ndarray) -> np.ndarray:
    """Even radiance from a direction of height z: sky and sun above; below, per unit of floor albedo.

    The rim of the sun is softened by the width of a baked direction, so that it does not flicker as an object turns.
    """
    rim = math.cos(SUN_HALF_ANGLE)
    sun = np.clip((z - rim) / 0.3 + 0.5, 0, 1)
    floor = (SUN_RADIANCE * math.pi * math.sin(SUN_HALF_ANGLE) ** 2 + math.pi * WORLD_RADIANCE) / math.pi
    return np.where(z < 0, floor, WORLD_RADIANCE + SUN_RADIANCE * sun)


def _pool_gradient(light: Light) -> np.ndarray:
    """(3,) gradient in world space, at the origin, of the logarithm of the light that the spot's pool sends up."""
    grid = np.linspace(-2.0, 2.0, 24)
    centre = light.spot_position * (FLOOR_Z / SPOT_DISTANCE)
    x, y = np.meshgrid(grid + centre[0], grid + centre[1])
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, FLOOR_Z)], axis=1)
    weight = spot_irradiance(points, light)
    step = 0.2
    probes = np.concatenate([np.eye(3), -np.eye(3)]) * step
    offset = probes[:, None] - points
    squared = np.einsum("pni,pni->pn", offset, offset)
    total = np.log((weight * offset[..., 2] / squared**1.5).sum(axis=1) + 1e-9)
    return (total[:3] - total[3:]) / (2 * step)
