"""A mesh made ready for rays: Embree's BVH, and per triangle what shading looks up."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from vsie.render.occlusion import SurfaceLight, sphere_directions
from vsie.render.scene import Mesh


class QueryClock:
    """Seconds spent and rays cast inside Embree's queries while `enabled`; costs one test a query when it is off."""

    def __init__(self) -> None:
        self.enabled = False
        self.reset()

    def reset(self) -> None:
        """Sets the sums back to zero."""
        self.seconds = 0.0
        self.rays = 0


embree_clock = QueryClock()


def _query(scene: EmbreeScene, origins: np.ndarray, directions: np.ndarray, **options: object) -> object:
    if not embree_clock.enabled:
        return scene.run(origins, directions, **options)
    start = time.perf_counter()
    result = scene.run(origins, directions, **options)
    embree_clock.seconds += time.perf_counter() - start
    embree_clock.rays += len(directions)
    return result


def _probe_occluded() -> int:
    """What this embreex answers for an occluded ray: its documentation is silent and its versions may differ."""
    scene = EmbreeScene()
    TriangleMesh(scene, np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    origins = np.array([[0, 0, 1], [5, 5, 1]], np.float32)
    hit, miss = scene.run(origins, np.array([[0, 0, -1], [0, 0, -1]], np.float32), query="OCCLUDED")
    if hit == miss:
        raise ImportError(f"embreex: OCCLUDED answers {hit} for a hit and for a miss; another version is needed")
    return int(hit)


_OCCLUDED = _probe_occluded()


class ObjectScene:
    """A mesh made ready for rays: its BVH and, per triangle, everything that shading looks up. All in object space."""

    def __init__(self, mesh: Mesh) -> None:
        self._place(mesh)
        corners = mesh.vertices[mesh.faces]
        normals = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.sqrt((normals * normals) @ np.ones(3)), 1e-30)[:, None]
        length = np.maximum(np.sqrt((mesh.normals * mesh.normals) @ np.ones(3)), 1e-30)[:, None]
        shading = (mesh.normals / length)[mesh.faces]
        missing = (length < 1e-12).ravel()
        if missing.any():
            shading = np.where(missing[mesh.faces][..., None], normals[:, None], shading)
        # Files disagree about which side a normal is on; the winding decides, as it does in Cycles.
        against = np.einsum("fci,fi->fc", shading, normals) < 0
        if against.any():
            shading *= np.where(against, -1.0, 1.0)[..., None]
        # (3, F) of the winding
        self.face_normals = np.ascontiguousarray(normals.T, dtype=np.float32)
        self._textures = None if mesh.texture_ids is None or mesh.texture_ids.max() < 0 else Textures(mesh)
        # planes, not rows: (18, F), for each of three corners its normal and its colour
        table = np.concatenate([shading, mesh.colors[mesh.faces]], axis=2).reshape(len(normals), 18)
        self._table = np.ascontiguousarray(table.T, dtype=np.float32)
        self.outline = self._outline()

    def _place(self, mesh: Mesh) -> None:
        """Set what depends on where the mesh is."""
        self.mesh = mesh
        self.vertices = mesh.vertices.astype(np.float32)
        self.radius = float(np.linalg.norm(mesh.vertices, axis=1).max())
        self._embree = EmbreeScene()
        self._geometry = TriangleMesh(self._embree, np.ascontiguousarray(self.vertices), mesh.faces)

    def moved(self, by: np.ndarray) -> ObjectScene:
        """The same mesh moved `by` (3,): only its places and its BVH are made anew."""
        scene = copy.copy(self)
        scene._place(dataclasses.replace(self.mesh, vertices=self.mesh.vertices + by))
        scene.outline = self.outline + by.astype(np.float32)
        scene.light = self.light.moved(scene, by)
        return scene

    @functools.cached_property
    def light(self) -> SurfaceLight:
        """The light that comes from everywhere, baked when the first picture needs it."""
        return SurfaceLight(self)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """(F, 3, 3) unit normal and (F, 3, 3) linear albedo at the corners of each triangle."""
        table = self._table.T.reshape(-1, 3, 6)
        normals, albedo = table[..., :3], table[..., 3:]
        if self._textures is not None:
            middle = np.full(len(table), 1 / 3, np.float32)
            albedo = albedo * self._textures.look_up(np.arange(len(table)), middle, middle)[:, None]
        return normals, albedo

    def _outline(self) -> np.ndarray:
        """(n, 3) corners of a convex solid with few corners that holds the mesh: cut by planes in fixed directions."""
        points = self.vertices
        if len(points) <= 64:
            return points
        from scipy.spatial import HalfspaceIntersection

        normals = sphere_directions(64).astype(np.float32)
        reach = (points @ normals.T).max(axis=0) + np.float32(1e-3)
        planes = np.concatenate([normals, -reach[:, None]], axis=1).astype(np.float64)
        inside = points.mean(axis=0, dtype=np.float64)
        return HalfspaceIntersection(planes, inside).intersections.astype(np.float32)

    def intersect(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First hits of float32 rays (N, 3): `primID` (-1 for none), `u`, `v`, `tfar` in units of the direction."""
        return _query(self._embree, origins, directions, output=1)

    def occluded(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N,) bool, whether the mesh stands anywhere in the way of float32 rays (N, 3)."""
        return _query(self._embree, origins, directions, query="OCCLUDED") == _OCCLUDED

    def surface(self, prim: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(3, N) interpolated unit normals on the side of the winding, and (3, N) linear albedo."""
        corners = self._table.take(prim, axis=1)
        mixed = (1 - u - v) * corners[0:6]
        mixed += u * corners[6:12]
        mixed += v * corners[12:18]
        normals, albedo = mixed[:3], mixed[3:]
        normals /= np.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2) + np.float32(1e-20)
        if self._textures is not None:
            albedo *= self._textures.look_up(prim, u, v).T
        return normals, albedo


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 3) cross products; NumPy's own takes several times as long."""
    x, y, z = a.T
    u, v, w = b.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


class Textures:
    """The images of a mesh in one linear table, looked up by triangle and barycentric coordinates.

    Bilinear between texels, repeating in both directions, v pointing up.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._uv = mesh.uv[mesh.faces].astype(np.float32)
        # the last entry is white, for faces without a texture
        sizes = [image.shape[:2] for image in mesh.textures] + [(1, 1)]
        self._sizes = np.array(sizes, dtype=np.int64)
        self._start = np.concatenate([[0], np.cumsum(self._sizes.prod(axis=1))[:-1]])
        self._ids = np.where(mesh.texture_ids < 0, len(mesh.textures), mesh.texture_ids)
        texels = [image.reshape(-1, 3) for image in mesh.textures] + [np.full((1, 3), 255, np.uint8)]
        self._texels = np.concatenate(texels)
        value = np.arange(256) / 255.0
        self._linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)

    def look_up(self, prim: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(N, 3) float32 linear colour at barycentric places on triangles."""
        corners, ids = self._uv[prim], self._ids[prim]
        place = (1 - u - v)[:, None] * corners[:, 0] + u[:, None] * corners[:, 1] + v[:, None] * corners[:, 2]
        height, width = self._sizes[ids, 0], self._sizes[ids, 1]
        x = (place[:, 0] - np.floor(place[:, 0])) * width - 0.5
        y = (1 - place[:, 1] - np.floor(1 - place[:, 1])) * height - 0.5
        left, top = np.floor(x), np.floor(y)
        across, down = (x - left)[:, None], (y - top)[:, None]
        rows = [(top.astype(np.int64) + step) % height * width for step in (0, 1)]
        columns = [(left.astype(np.int64) + step) % width for step in (0, 1)]
        start = self._start[ids]
        a, b, c, d = (self._linear[self._texels[start + row + column]] for row in rows for column in columns)
        upper, lower = a * (1 - across) + b * across, c * (1 - across) + d * across
        return (upper * (1 - down) + lower * down).astype(np.float32)
