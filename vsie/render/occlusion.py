"""Light that comes from everywhere: what the object hides from itself, passes on to itself, and takes from the floor.

What is notable: visibility is baked once per object, at points spread over its surface and for a fixed set of
directions in object space. A frame then rotates the environment into those directions, and all ambient occlusion, sun
occlusion, light from the spot's pool on the floor and interreflection are a few small matrix products.
"""

from __future__ import annotations

import copy
import functools
import math

import numpy as np
from scipy.sparse import csr_matrix

from vsie.render.scene import (
    FLOOR_Z,
    SPOT_DISTANCE,
    SPOT_POWER,
    SUN_HALF_ANGLE,
    SUN_IRRADIANCE,
    SUN_RADIANCE,
    WORLD_RADIANCE,
    Light,
    spot_falloff,
    spot_on_floor,
    sun_table,
)

DIRECTIONS = 32
_POINTS = 300  # aim for the number of baked points of an object
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

    def moved(self, scene: object, by: np.ndarray) -> SurfaceLight:
        """The same light of a scene that is this one moved `by` (3,): nothing hides more or less of itself for it."""
        light = copy.copy(self)
        light._scene = scene
        light.points = self.points + by.astype(np.float32)
        light._places = np.ascontiguousarray(light.points.T)
        return light

    def _seen_from_behind(self) -> bool:
        """Whether rays from outside meet the back of a triangle."""
        origins = sphere_directions(512)
        targets = np.roll(origins, 173, axis=0) * 0.6
        radius = self._scene.radius
        rays = ((targets - origins) * radius).astype(np.float32)
        hit = self._scene.intersect((origins * 1.01 * radius).astype(np.float32), rays)
        found = hit["primID"] >= 0
        behind = np.einsum("in,ni->n", self._scene.face_normals[:, hit["primID"][found]], rays[found]) > 0
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
        behind = np.einsum("in,ni->n", self._scene.face_normals[:, prim], rays) > 0
        target = self.nearest(prim, hit["u"][met], hit["v"][met], behind)
        self._leave_inside(rows[behind], blocked, cosine)
        weight = blocked[rows, columns] / math.pi
        self._exchange = csr_matrix((weight, (rows, target)), shape=(count, count))
        self.blocked, self._open = blocked, cosine - blocked
        # planes for the arithmetic of each frame
        self._clear = np.ascontiguousarray((blocked == 0).T, dtype=np.float32)
        self._hidden = blocked.sum(axis=1) / np.float32(math.pi)
        self._places, self._facing = np.ascontiguousarray(self.points.T), np.ascontiguousarray(self.normals.T)
        self._albedo = np.ascontiguousarray(self.albedo.T)

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
        """(c, N) values (c, P) of the baked points, linear within each cell of a triangle's lattice."""
        face = prim + behind * self._face_count if self.two_sided else prim
        level = self.levels.take(face)
        a, b = u * level, v * level
        i = np.minimum(a.astype(np.int32), level - 1)
        j = np.minimum(b.astype(np.int32), level - 1 - i)
        a -= i
        b -= j
        upper = (a + b > 1) & (i + j < level - 1)
        row = self._start.take(face) + i * (level + 1) - i * (i - 1) // 2 + j
        below = row + level + 1 - i  # the same j, in the next row
        # the upper triangle of a cell is the lower one seen from its opposite corner
        weight_b = np.where(upper, 1 - b, a).astype(np.float32)
        weight_c = np.where(upper, 1 - a, b).astype(np.float32)
        result = values.take(self._index.take(np.where(upper, below + 1, row)), axis=1)
        result *= 1 - weight_b - weight_c
        result += values.take(self._index.take(below), axis=1) * weight_b
        result += values.take(self._index.take(row + 1), axis=1) * weight_c
        return result

    def evaluate(self, rotations: np.ndarray, light: Light) -> np.ndarray:
        """(T, 3, P) linear irradiance at the baked points, to be added to the unhindered sun, sky and even floor.

        Args:
            rotations: (T, 3, 3) object in world.
            light: floor and spot.
        """
        frames = len(rotations)
        world = self.directions @ rotations.transpose(0, 2, 1)
        height = world[:, None, :, 2]
        even = environment(height) * np.where(height < 0, light.floor_albedo[:, None], 1.0)
        strength = (self._pool(world, rotations, light) / math.pi).astype(np.float32)
        color = (light.floor_albedo * light.spot_color).astype(np.float32)[:, None]
        gradient = (_pool_gradient(light) @ rotations).astype(np.float32)
        seen = strength @ self._open.T
        seen *= np.exp(np.clip(gradient @ self._places, -1, 1))
        total = seen[:, None] * color
        total -= (even.reshape(frames * 3, -1).astype(np.float32) @ self.blocked.T).reshape(total.shape)
        received = self._albedo * np.maximum(total + self._plain(rotations, light), 0)
        passed = self._exchange @ np.ascontiguousarray(received.reshape(frames * 3, -1).T)
        # light that is passed on more than once comes back to much the same place
        total += passed.T.reshape(total.shape) * (1 + self._albedo * self._hidden)
        return total

    def _plain(self, rotations: np.ndarray, light: Light) -> np.ndarray:
        """(T, 3, P) sun, sky, even floor and spot at the baked points."""
        spot = (light.spot_position @ rotations).astype(np.float32)
        towards = [spot[:, axis, None] - self._places[axis] for axis in range(3)]
        squared = towards[0] ** 2 + towards[1] ** 2 + towards[2] ** 2
        distance = np.sqrt(squared)
        along = sum(spot[:, axis, None] * towards[axis] for axis in range(3)) / np.float32(SPOT_DISTANCE)
        facing = sum(self._facing[axis] * towards[axis] for axis in range(3))
        # the spot's shadow from the baked directions next to it: good enough for what surfaces pass on to each other
        close = np.argsort(-(spot @ self.directions.T), axis=1)[:, :3]
        clear = self._clear[close].sum(axis=1)
        strength = spot_falloff(along / distance) * np.maximum(facing, 0) / (squared * distance) * clear
        strength *= np.float32(SPOT_POWER / (12 * math.pi))
        even = even_irradiance((rotations[:, 2].astype(np.float32) @ self._facing).ravel(), light)
        even = even.reshape(3, len(rotations), -1).transpose(1, 0, 2)
        return even + strength[:, None] * light.spot_color.astype(np.float32)[:, None]

    def _pool(self, world: np.ndarray, rotations: np.ndarray, light: Light) -> np.ndarray:
        """(T, K) mean spot irradiance on the floor within each baked direction's share of the sphere."""
        jitter = sphere_directions(_SUBSETS) * (1.0 / math.sqrt(DIRECTIONS))
        rays = (world[:, :, None] + jitter).reshape(len(world), -1, 3)
        points = rays * (FLOOR_Z / np.minimum(rays[..., 2:], -0.15))
        strength = spot_on_floor(points.reshape(-1, 3), light) * (rays[..., 2] < -0.15).ravel()
        bright = np.flatnonzero(strength)
        starts = (light.spot_position @ rotations).astype(np.float32).take(bright // rays.shape[1], axis=0)
        ways = ((points - light.spot_position) @ rotations).astype(np.float32).reshape(-1, 3).take(bright, axis=0)
        strength[bright[self._scene.occluded(starts, ways)]] = 0.0
        return strength.reshape(*world.shape[:2], _SUBSETS).mean(axis=2)


def even_irradiance(normal_z: np.ndarray, light: Light, below: float = 0.0) -> np.ndarray:
    """(3, N) irradiance from sun, sky and an evenly lit floor on a surface that nothing hides, by its normal's z.

    `below` is the share of the sun that the floor under the object has lost to the object.
    """
    sun = sun_table().take(((normal_z + 1) * np.float32(512) + np.float32(0.5)).astype(np.int32))
    down = np.float32(0.5) - np.float32(0.5) * normal_z
    above = np.float32(SUN_IRRADIANCE) * sun + np.float32(math.pi * WORLD_RADIANCE) * (1 - down)
    floor = light.floor_albedo * (SUN_IRRADIANCE * (1 - below) + math.pi * WORLD_RADIANCE)
    return above + down * floor.astype(np.float32)[:, None]


@functools.cache
def gloss_table() -> np.ndarray:
    """(2, 257) float32 radiance of sky and sun, and of a floor of albedo 1, blurred by a gloss of roughness 0.5.

    By the z of the mirrored direction, from -1 to 1; nothing hides the environment.
    """
    directions = sphere_directions(4096)
    z = np.linspace(-1, 1, 257)
    centres = np.stack([np.sqrt(1 - z * z), np.zeros_like(z), z], axis=1)
    lobe = np.maximum(centres @ directions.T, 0) ** 4.6  # half of GGX's reflected light is within 28 degrees
    lobe /= lobe.sum(axis=1, keepdims=True)
    light, above = environment(directions[:, 2]), directions[:, 2] >= 0
    return np.stack([lobe @ (light * above), lobe @ (light * ~above)]).astype(np.float32)


def environment(z: np.ndarray) -> np.ndarray:
    """Even radiance from a direction of height z: sky and sun above; below, per unit of floor albedo.

    The rim of the sun is softened by the width of a baked direction, so that it does not flicker as an object turns.
    """
    rim = math.cos(SUN_HALF_ANGLE)
    sun = np.clip((z - rim) / 0.3 + 0.5, 0, 1)
    floor = (SUN_RADIANCE * math.pi * math.sin(SUN_HALF_ANGLE) ** 2 + math.pi * WORLD_RADIANCE) / math.pi
    return np.where(z < 0, floor, WORLD_RADIANCE + SUN_RADIANCE * sun)


@functools.lru_cache(maxsize=64)
def _pool_gradient(light: Light) -> np.ndarray:
    """(3,) gradient in world space, at the origin, of the logarithm of the light that the spot's pool sends up."""
    grid = np.linspace(-2.0, 2.0, 24)
    centre = light.spot_position * (FLOOR_Z / SPOT_DISTANCE)
    x, y = np.meshgrid(grid + centre[0], grid + centre[1])
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, FLOOR_Z)], axis=1)
    weight = spot_on_floor(points, light)
    step = 0.2
    probes = np.concatenate([np.eye(3), -np.eye(3)]) * step
    offset = probes[:, None] - points
    squared = np.einsum("pni,pni->pn", offset, offset)
    total = np.log((weight * offset[..., 2] / squared**1.5).sum(axis=1) + 1e-9)
    return (total[:3] - total[3:]) / (2 * step)
