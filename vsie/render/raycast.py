"""Ray casting with Embree and deferred shading in NumPy: the look of 3DIEBench at hundreds of frames a second.

What is notable: the BVH is built once per object, in object space; camera, spot and sun are rotated into it, never the
mesh. Rays are cast only inside the convex outline of the object and of its shadow; the rest of the picture is the
clip's floor, computed once.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from vsie.render.occlusion import SurfaceLight
from vsie.render.scene import (
    FLOOR_Z,
    SUN_IRRADIANCE,
    WORLD_RADIANCE,
    Camera,
    Frame,
    Light,
    Mesh,
    check_rotation,
    spot_falloff,
    spot_irradiance,
    SPOT_DISTANCE,
    SPOT_POWER,
    sun_table,
    tone_map,
)

_OFFSET = 1e-4  # a shadow ray starts this far above its surface
_CACHED_VIEWS = 64


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


def even_irradiance(normal_z: np.ndarray, light: Light) -> np.ndarray:
    """(N, 3) irradiance from sun, sky and an evenly lit floor on a surface that nothing hides, by its normal's z."""
    sun = sun_table()[((normal_z + 1) * np.float32(512) + np.float32(0.5)).astype(np.int32)]
    down = np.float32(0.5) - np.float32(0.5) * normal_z
    above = np.float32(SUN_IRRADIANCE) * sun + np.float32(math.pi * WORLD_RADIANCE) * (1 - down)
    floor = light.floor_albedo * (SUN_IRRADIANCE + math.pi * WORLD_RADIANCE)
    return above[:, None] + down[:, None] * floor.astype(np.float32)


class ObjectScene:
    """A mesh made ready for rays: its BVH and, per triangle, everything that shading looks up. All in object space."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.vertices = mesh.vertices.astype(np.float32)
        self.radius = float(np.linalg.norm(mesh.vertices, axis=1).max())
        self._embree = EmbreeScene()
        self._geometry = TriangleMesh(self._embree, np.ascontiguousarray(self.vertices), mesh.faces)
        corners = mesh.vertices[mesh.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
        shading = mesh.normals[mesh.faces]
        length = np.linalg.norm(shading, axis=2, keepdims=True)
        shading = np.where(length > 1e-12, shading / np.maximum(length, 1e-30), normals[:, None])
        # Files disagree about which side a normal is on; the winding decides, as it does in Cycles.
        shading *= np.where(np.einsum("fci,fi->fc", shading, normals) < 0, -1.0, 1.0)[..., None]
        self.face_normals = normals.astype(np.float32)
        # one row a triangle: three corner normals, three corner colours, so that one gather fetches all
        colors = mesh.colors[mesh.faces]
        self._table = np.concatenate([shading, colors], axis=1).reshape(len(normals), 18).astype(np.float32)
        self.outline = self._outline()
        self.light = SurfaceLight(self)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """(F, 3, 3) unit normal and (F, 3, 3) linear albedo at the corners of each triangle."""
        table = self._table.reshape(-1, 6, 3)
        return table[:, :3], table[:, 3:]

    def _outline(self) -> np.ndarray:
        """(n, 3) points with the convex hull of the mesh."""
        points = np.unique(self.vertices[self.mesh.faces.ravel()], axis=0)
        if len(points) < 256:
            return points
        from scipy.spatial import ConvexHull, QhullError

        try:
            return np.ascontiguousarray(points[ConvexHull(points).vertices])
        except QhullError:  # a flat mesh has no volume
            return points

    def intersect(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First hits of float32 rays (N, 3): `primID` (-1 for none), `u`, `v`, `tfar` in units of the direction."""
        return _query(self._embree, origins, directions, output=1)

    def occluded(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N,) bool, whether the mesh stands anywhere in the way of float32 rays (N, 3)."""
        return _query(self._embree, origins, directions, query="OCCLUDED") == _OCCLUDED

    def surface(self, prim: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) interpolated unit normals on the side of the winding, and (N, 3) linear albedo."""
        row = self._table[prim]
        u, v = u[:, None], v[:, None]
        w = 1.0 - u - v
        normals = w * row[:, 0:3] + u * row[:, 3:6] + v * row[:, 6:9]
        normals /= np.sqrt(np.einsum("ni,ni->n", normals, normals))[:, None] + np.float32(1e-20)
        albedo = w * row[:, 9:12] + u * row[:, 12:15] + v * row[:, 15:18]
        return normals, albedo


class Renderer:
    """Draws one mesh many times: the BVH is built once, the floor kept per camera, its light per clip.

    Args:
        mesh: the object.
        size: pixels on a side.
        supersample: subsamples on a side of each pixel, averaged in linear light.
        camera: the camera where a call names none; 3DIEBench's by default.

    Raises:
        ValueError: bad sizes.
    """

    def __init__(self, mesh: Mesh, *, size: int = 256, supersample: int = 3, camera: Camera | None = None) -> None:
        for name, value in (("size", size), ("supersample", supersample)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"Renderer.{name}: expected a positive integer, found {value!r}")
        self.mesh = mesh
        self.size = int(size)
        self.supersample = int(supersample)
        self.camera = Camera.default() if camera is None else camera
        self.scene = ObjectScene(mesh)
        self._views: OrderedDict[bytes, View] = OrderedDict()
        self._grounds: OrderedDict[tuple[bytes, Light], Ground] = OrderedDict()

    def render(
        self, rotation: np.ndarray, light: Light, camera: Camera | None = None, auxiliary: bool = False
    ) -> Frame:
        """Draws one frame.

        Args:
            rotation: (3, 3) object in world.
            light: floor and spot.
            camera: instead of the renderer's own.
            auxiliary: whether depth, mask and normals are wanted as well.
        """
        rotation = check_rotation(rotation, "rotation")
        if rotation.shape != (3, 3):
            raise ValueError(f"rotation: expected shape (3, 3), found {rotation.shape}")
        view = self._view(self.camera if camera is None else camera)
        rgb = self._shade(rotation, view, light)
        if not auxiliary:
            return Frame(rgb)
        return Frame(rgb, *self.geometry(rotation, camera))

    def render_clip(
        self,
        rotations: np.ndarray,
        *,
        light: Light,
        cameras: Sequence[Camera] | None = None,
        auxiliary: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Draws a clip.

        Args:
            rotations: (T, 3, 3) object in world.
            light: floor and spot, the same in all frames.
            cameras: one for each frame, or None for the renderer's own.
            auxiliary: any of "depth", "mask", "normals", "flow", "occlusion".

        Returns:
            "rgb" (T, H, W, 3) uint8, and as asked for: "depth" (T, H, W) float32, "mask" (T, H, W) bool, "normals"
            (T, H, W, 3) float32, "flow" (T-1, H, W, 2) float32 pixels to the next frame, "occlusion" (T-1, H, W) bool.
        """
        from vsie.render.flow import clip_flow

        known = ("depth", "mask", "normals", "flow", "occlusion")
        unknown = sorted(set(auxiliary) - set(known))
        if unknown:
            raise ValueError(f"auxiliary: unknown {unknown}, expected some of {list(known)}")
        rotations = check_rotation(rotations, "rotations")
        if rotations.ndim != 3 or not len(rotations):
            raise ValueError(f"rotations: expected shape (T, 3, 3) with T > 0, found {rotations.shape}")
        cameras = [self.camera] * len(rotations) if cameras is None else list(cameras)
        if len(cameras) != len(rotations):
            raise ValueError(f"cameras: expected {len(rotations)} (one a frame), found {len(cameras)}")
        views = [self._view(camera) for camera in cameras]
        frames = [self._shade(rotation, view, light) for rotation, view in zip(rotations, views, strict=True)]
        clip = {"rgb": np.stack(frames)}
        if {"depth", "mask", "normals"} & set(auxiliary):
            buffers = [self.geometry(rotation, camera) for rotation, camera in zip(rotations, cameras, strict=True)]
            for name, values in zip(("depth", "mask", "normals"), zip(*buffers, strict=True), strict=True):
                if name in auxiliary:
                    clip[name] = np.stack(values)
        if {"flow", "occlusion"} & set(auxiliary):
            flow, occlusion = clip_flow(self.scene, rotations, cameras, size=self.size)
            clip.update({k: v for k, v in (("flow", flow), ("occlusion", occlusion)) if k in auxiliary})
        return clip

    def geometry(
        self, rotation: np.ndarray, camera: Camera | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth (H, W), mask (H, W) and normals (H, W, 3) at the pixels' centres, as `Frame` defines them."""
        view = self._view(self.camera if camera is None else camera)
        pixels, origin, directions = self._rays(rotation, view, view.centres)
        hit = self.scene.intersect(np.broadcast_to(origin, directions.shape).copy(), directions)
        found = hit["primID"] >= 0
        pixels = pixels[found]
        prim = hit["primID"][found]
        normals, _ = self.scene.surface(prim, hit["u"][found], hit["v"][found])
        behind = np.einsum("ni,ni->n", self.scene.face_normals[prim], directions[found]) > 0
        normals[behind] *= -1.0
        turn = (camera or self.camera).world_in_camera[:3, :3] @ rotation
        depth = np.full(self.size**2, np.inf, np.float32)
        mask = np.zeros(self.size**2, bool)
        picture = np.zeros((self.size**2, 3), np.float32)
        depth[pixels] = hit["tfar"][found]
        mask[pixels] = True
        picture[pixels] = normals @ turn.T.astype(np.float32)
        shape = (self.size, self.size)
        return depth.reshape(shape), mask.reshape(shape), picture.reshape(*shape, 3)

    def _view(self, camera: Camera) -> View:
        view = self._views.get(camera.key)
        if view is None:
            view = self._views[camera.key] = View(camera, self.size, self.supersample)
            if len(self._views) > _CACHED_VIEWS:
                self._views.popitem(last=False)
        return view

    def _ground(self, view: View, light: Light) -> Ground:
        key = (view.camera.key, light)
        ground = self._grounds.get(key)
        if ground is None:
            ground = self._grounds[key] = Ground(view, light)
            if len(self._grounds) > _CACHED_VIEWS:
                self._grounds.popitem(last=False)
        return ground

    def _rays(
        self, rotation: np.ndarray, view: View, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels that may see the object, and their rays in object space."""
        cover = view.cover(self.scene.outline @ rotation.T)
        pixels = np.arange(self.size**2) if cover is None else np.flatnonzero(cover)
        turned = directions[pixels].reshape(-1, 3) @ rotation.astype(np.float32)
        return pixels, (view.origin @ rotation).astype(np.float32), turned

    def _shade(self, rotation: np.ndarray, view: View, light: Light) -> np.ndarray:
        """One frame's picture, (H, W, 3) uint8."""
        ground = self._ground(view, light)
        samples = self.supersample**2
        pixels, origin, directions = self._rays(rotation, view, view.directions)
        hit = self.scene.intersect(np.broadcast_to(origin, directions.shape).copy(), directions)
        found = np.flatnonzero(hit["primID"] >= 0)
        radiance = self._object_radiance(
            rotation, light, origin + hit["tfar"][found, None] * directions[found], directions[found],
            hit["primID"][found], hit["u"][found], hit["v"][found],
        )  # fmt: skip
        covered = np.zeros((self.size**2, samples), bool)
        covered[pixels] = (hit["primID"] >= 0).reshape(-1, samples)
        scattered = np.zeros((len(pixels) * samples, 3), np.float32)
        scattered[found] = radiance
        on_object = np.zeros((self.size**2, 3), np.float32)
        on_object[pixels] = scattered.reshape(-1, samples, 3).sum(axis=1)

        spot = np.where(covered, np.float32(0), ground.spot)
        outline = self.scene.outline @ rotation.T
        towards = outline - light.spot_position
        reach = (FLOOR_Z - light.spot_position[2]) / np.minimum(towards[:, 2:], -1e-3)
        cover = view.cover(light.spot_position + towards * reach)
        shadow = ground.pool if cover is None else ground.pool & (cover > 0)
        candidates = np.flatnonzero(shadow)
        chosen = np.flatnonzero(spot[candidates] > 0)
        lit = candidates[chosen // samples] * samples + chosen % samples
        start = (light.spot_position @ rotation).astype(np.float32)
        rays = view.points.reshape(-1, 3)[lit] @ rotation.astype(np.float32) - start
        blocked = self.scene.occluded(np.broadcast_to(start, rays.shape).copy(), rays)
        spot.reshape(-1)[lit[blocked]] = 0.0

        touched = shadow.ravel().copy()
        touched[pixels] = True
        touched = np.flatnonzero(touched)
        free = samples - covered[touched].sum(axis=1, dtype=np.float32)
        linear = ground.radiance(spot[touched].sum(axis=1), free) + on_object[touched]
        if ground.sky is not None:
            open_sky = (ground.sky[touched] & ~covered[touched]).sum(axis=1, dtype=np.float32)[:, None]
            linear += open_sky * (np.float32(WORLD_RADIANCE) - ground.constant)
        image = ground.image.copy()
        image.reshape(-1, 3)[touched] = tone_map(linear / np.float32(samples))
        return image

    def _object_radiance(
        self,
        rotation: np.ndarray,
        light: Light,
        points: np.ndarray,
        directions: np.ndarray,
        prim: np.ndarray,
        u: np.ndarray,
        v: np.ndarray,
    ) -> np.ndarray:
        """(N, 3) linear radiance that leaves hit points (object space) towards the camera."""
        normals, albedo = self.scene.surface(prim, u, v)
        faces = self.scene.face_normals[prim]
        side = np.where(np.einsum("ni,ni->n", faces, directions) > 0, np.float32(-1), np.float32(1))
        normals = normals * side[:, None]
        faces = faces * side[:, None]
        up = rotation[2].astype(np.float32)
        normal_z = normals @ up
        spot_position = (light.spot_position @ rotation).astype(np.float32)
        towards = spot_position - points
        squared = np.einsum("ni,ni->n", towards, towards)
        distance = np.sqrt(squared)
        falloff = spot_falloff(towards @ (spot_position / np.float32(SPOT_DISTANCE)) / distance)
        facing = np.einsum("ni,ni->n", normals, towards)
        spot = np.float32(SPOT_POWER / (4 * math.pi)) * falloff * facing / (squared * distance)
        lit = (spot > 0) & (np.einsum("ni,ni->n", faces, towards) > 0)
        index = np.flatnonzero(lit)
        start = points[index] + np.float32(_OFFSET) * faces[index]
        spot *= lit
        spot[index[self.scene.occluded(start, towards[index])]] = 0.0
        soft = self.scene.light.evaluate(rotation, light)
        total = even_irradiance(normal_z, light) + self.scene.light.interpolate(soft, prim, u, v, side < 0)
        np.maximum(total, 0, out=total)
        total += spot[:, None] * light.spot_color.astype(np.float32)
        return albedo * total * np.float32(1 / math.pi)


def render_frame(
    mesh: Mesh,
    rotation: np.ndarray,
    *,
    light: Light,
    size: int = 256,
    supersample: int = 3,
    camera: Camera | None = None,
) -> Frame:
    """Draws one frame of a mesh with depth, mask and normals; for many frames of one mesh keep a `Renderer`.

    Args:
        mesh: the object, in object space.
        rotation: (3, 3) object in world.
        light: floor and spot.
        size: pixels on a side.
        supersample: subsamples on a side of each pixel.
        camera: 3DIEBench's by default.

    Raises:
        ValueError: the rotation is none, or a size is not positive.
    """
    renderer = Renderer(mesh, size=size, supersample=supersample, camera=camera)
    return renderer.render(rotation, light, auxiliary=True)
