"""What stands in the picture: mesh, light, camera, floor, and the measured tables that turn light into bytes.

World axes: z up, the object's bounding-box centre at the origin, the floor the plane z = -1. Camera axes are OpenCV's
(x right, y down, z forward). Colours are linear (Rec. 709 primaries) until `tone_map`. All constants are the ones of
3DIEBench (Garrido, Najman, LeCun, ICML 2023), which was rendered with Blender Cycles.
"""

from __future__ import annotations

import colorsys
import functools
import math
from dataclasses import dataclass

import numpy as np

FLOOR_Z = -1.0
CAMERA_DISTANCE = 2.5
FIELD_OF_VIEW = 2.0 * math.atan(18.0 / 50.0)  # 50 mm lens on a 36 mm sensor
SUN_IRRADIANCE = 1.5
SUN_HALF_ANGLE = math.pi / 4
SPOT_POWER = 500.0
SPOT_DISTANCE = 4.0
SPOT_HALF_ANGLE = math.pi / 16
SPOT_BLEND = 0.15
SUN_RADIANCE = SUN_IRRADIANCE / (math.pi * math.sin(SUN_HALF_ANGLE) ** 2)
WORLD_RADIANCE = 0.0508761  # Blender's default grey, sRGB 0.25
_TONE_STEPS = 65536
_TONE_LIMIT = 4.0


def _float_array(value: object, name: str, columns: int, dtype: type = np.float64) -> np.ndarray:
    array = np.array(value, dtype=dtype, order="C")
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"Mesh.{name}: expected shape (n, {columns}), found {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"Mesh.{name}: row {row} holds a value that is not finite: {array[row]}")
    return array


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a normal and a colour at each vertex, in object space (z up).

    The renderer expects the bounding-box centre at the origin and a bounding-box diagonal of 1 (3DIEBench's scale); it
    draws any mesh that stays above the floor and before the camera.

    Args:
        vertices: (V, 3) float64 positions.
        faces: (F, 3) int32 indices into the vertices; triangles without area are allowed and never hit.
        normals: (V, 3) one shading normal per vertex, of any length; a zero normal means the triangle's own.
        colors: (V, 3) linear RGB albedo in [0, 1].
        uv: (V, 2) texture coordinates (v up, repeating), or None.
        texture_ids: (F,) index into `textures` for each face, -1 for none; or None.
        textures: (h, w, 3) uint8 sRGB images; decoded to linear at lookup and multiplied by the vertex colour.

    Raises:
        ValueError: a shape, an index or a value is wrong; the message names the field and the row.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    uv: np.ndarray | None = None
    texture_ids: np.ndarray | None = None
    textures: tuple[np.ndarray, ...] = ()

    def __post_init__(self) -> None:
        vertices = _float_array(self.vertices, "vertices", 3)
        faces = np.asarray(self.faces)
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f"Mesh.faces: expected shape (n, 3), found {faces.shape}")
        if not len(vertices) or not len(faces):
            raise ValueError(f"Mesh: empty, {len(vertices)} vertices and {len(faces)} faces")
        if not np.issubdtype(faces.dtype, np.integer):
            raise ValueError(f"Mesh.faces: expected integers, found {faces.dtype}")
        outside = (faces < 0) | (faces >= len(vertices))
        if outside.any():
            row = int(np.argwhere(outside)[0, 0])
            raise ValueError(f"Mesh.faces: row {row} is {faces[row].tolist()}, but there are {len(vertices)} vertices")
        values = {"vertices": vertices, "faces": np.ascontiguousarray(faces, dtype=np.int32)}
        for name in ("normals", "colors"):
            values[name] = _float_array(getattr(self, name), name, 3)
        if values["colors"].min() < -1e-6 or values["colors"].max() > 1 + 1e-6:
            low, high = values["colors"].min(), values["colors"].max()
            raise ValueError(f"Mesh.colors: expected linear RGB in [0, 1], found {low:.4g} to {high:.4g}")
        if self.uv is not None:
            values["uv"] = _float_array(self.uv, "uv", 2)
        for name in ("normals", "colors", "uv"):
            if name in values and len(values[name]) != len(vertices):
                found = len(values[name])
                raise ValueError(f"Mesh.{name}: expected {len(vertices)} rows (one a vertex), found {found}")
        values.update(self._textures(len(faces)))
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _textures(self, count: int) -> dict[str, object]:
        textures = tuple(np.asarray(image) for image in self.textures)
        for index, image in enumerate(textures):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                found = f"{image.shape} {image.dtype}"
                raise ValueError(f"Mesh.textures[{index}]: expected (h, w, 3) uint8, found {found}")
        if self.texture_ids is None:
            return {"textures": textures}
        ids = np.asarray(self.texture_ids)
        if ids.shape != (count,) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"Mesh.texture_ids: expected ({count},) integers, found {ids.shape} {ids.dtype}")
        if ids.min() < -1 or ids.max() >= len(textures):
            found = f"{ids.min()} to {ids.max()}"
            raise ValueError(f"Mesh.texture_ids: expected -1 to {len(textures) - 1}, found {found}")
        if ids.max() >= 0 and self.uv is None:
            raise ValueError("Mesh.uv: missing, but texture_ids names textures")
        return {"textures": textures, "texture_ids": np.ascontiguousarray(ids, dtype=np.int32)}


@dataclass(frozen=True)
class Light:
    """The floor's colour and the spot of one clip: 3DIEBench's last four latents.

    Args:
        floor_hue: in [0, 1] (circular), the floor's albedo is hsv(floor_hue, 0.6, 0.6).
        spot_theta: polar angle of the spot from +z, radians, in [0, 1.2].
        spot_phi: azimuth of the spot, radians.
        spot_hue: in [0, 1] (circular), the spot's colour is hsv(spot_hue, 1, 0.8).

    Raises:
        ValueError: a value is not finite, or the spot would stand below the object.
    """

    floor_hue: float
    spot_theta: float
    spot_phi: float
    spot_hue: float

    def __post_init__(self) -> None:
        for name in ("floor_hue", "spot_theta", "spot_phi", "spot_hue"):
            value = float(getattr(self, name))
            if not math.isfinite(value):
                raise ValueError(f"Light.{name}: expected a finite number, found {value}")
            object.__setattr__(self, name, value)
        if not 0.0 <= self.spot_theta <= 1.2:
            raise ValueError(f"Light.spot_theta: expected 0 to 1.2 radians, found {self.spot_theta}")

    @property
    def floor_albedo(self) -> np.ndarray:
        """(3,) linear RGB."""
        return np.array(colorsys.hsv_to_rgb(self.floor_hue % 1.0, 0.6, 0.6))

    @property
    def spot_color(self) -> np.ndarray:
        """(3,) linear RGB."""
        return np.array(colorsys.hsv_to_rgb(self.spot_hue % 1.0, 1.0, 0.8))

    @property
    def spot_position(self) -> np.ndarray:
        """(3,) world position of the spot; it looks at the origin."""
        sine = math.sin(self.spot_theta)
        direction = (sine * math.cos(self.spot_phi), sine * math.sin(self.spot_phi), math.cos(self.spot_theta))
        return SPOT_DISTANCE * np.array(direction)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with a square image.

    Args:
        world_in_camera: (4, 4) rigid transform, x_camera = T x_world.
        field_of_view: full horizontal angle, radians.

    Raises:
        ValueError: the matrix is not rigid, the angle is not in (0, pi), or the camera is below the floor.
    """

    world_in_camera: np.ndarray
    field_of_view: float = FIELD_OF_VIEW

    def __post_init__(self) -> None:
        matrix = check_rigid(self.world_in_camera, "Camera.world_in_camera")
        object.__setattr__(self, "world_in_camera", matrix)
        if not 0.0 < self.field_of_view < math.pi:
            raise ValueError(f"Camera.field_of_view: expected 0 to pi radians, found {self.field_of_view}")
        if self.position[2] <= FLOOR_Z:
            raise ValueError(f"Camera: stands at z = {self.position[2]:.3f}, at or below the floor at z = {FLOOR_Z}")

    @classmethod
    def default(cls) -> Camera:
        """3DIEBench's fixed camera: distance 2.5, 45 degrees above the horizon, on the +y side."""
        return cls.on_sphere(azimuth=math.pi / 2, elevation=math.pi / 4)

    @classmethod
    def on_sphere(cls, azimuth: float, elevation: float, distance: float = CAMERA_DISTANCE) -> Camera:
        """A camera on a sphere around the origin that looks at the origin, its horizon level.

        Args:
            azimuth: angle about +z from +x, radians.
            elevation: angle above the horizontal plane, radians.
            distance: from the origin.
        """
        if not (math.isfinite(azimuth) and math.isfinite(elevation) and distance > 0):
            raise ValueError(f"Camera.on_sphere: bad azimuth {azimuth}, elevation {elevation} or distance {distance}")
        flat = math.cos(elevation)
        outward = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])
        right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([right, np.cross(-outward, right), -outward])
        matrix[:3, 3] = -matrix[:3, :3] @ (distance * outward)
        return cls(matrix)

    @property
    def position(self) -> np.ndarray:
        """(3,) world position."""
        return -self.world_in_camera[:3, :3].T @ self.world_in_camera[:3, 3]

    @property
    def key(self) -> bytes:
        """A name for caches: equal cameras have equal keys."""
        return self.world_in_camera.tobytes() + np.float64(self.field_of_view).tobytes()

    def intrinsics(self, size: int) -> np.ndarray:
        """(3, 3) matrix K in pixels: u = fx X / Z + cx; the centre of the pixel in column j is u = j + 0.5."""
        focal = 0.5 * size / math.tan(0.5 * self.field_of_view)
        return np.array([[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture. `depth`, `mask` and `normals` are sampled at the pixel's centre.

    Args:
        rgb: (H, W, 3) uint8, display values.
        depth: (H, W) float32 camera z of the object, inf elsewhere; or None where it was not asked for.
        mask: (H, W) bool, True on the object; or None.
        normals: (H, W, 3) float32 unit shading normals in the camera frame on the side of the camera, 0 off the object;
            or None.
    """

    rgb: np.ndarray
    depth: np.ndarray | None = None
    mask: np.ndarray | None = None
    normals: np.ndarray | None = None


def check_rotation(value: object, name: str) -> np.ndarray:
    """Returns `value` as float64 (..., 3, 3); a ValueError names it where it is not a rotation (tolerance 1e-4)."""
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.ndim < 2 or matrix.shape[-2:] != (3, 3):
        raise ValueError(f"{name}: expected shape (..., 3, 3), found {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name}: holds a value that is not finite")
    error = np.abs(matrix @ np.swapaxes(matrix, -1, -2) - np.eye(3)).max(initial=0.0)
    if error > 1e-4:
        raise ValueError(f"{name}: not a rotation, R R^T differs from the identity by {error:.3g}")
    if (np.linalg.det(matrix) < 0).any():
        raise ValueError(f"{name}: not a rotation but a reflection (determinant -1)")
    return matrix


def check_rigid(value: object, name: str) -> np.ndarray:
    """Returns `value` as float64 (4, 4); a ValueError names it where it is not a rigid transform."""
    matrix = np.array(value, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{name}: expected shape (4, 4), found {matrix.shape}")
    check_rotation(matrix[:3, :3], name)
    if not np.isfinite(matrix).all() or np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise ValueError(f"{name}: not a rigid transform, found {matrix.tolist()}")
    return matrix


def spot_on_floor(points: np.ndarray, light: Light) -> np.ndarray:
    """Irradiance (n,) from the spot at points (n, 3) of the floor, without its colour and the object's shadow."""
    position = light.spot_position.astype(points.dtype)
    offset = points - position
    squared = np.einsum("ni,ni->n", offset, offset)
    distance = np.sqrt(squared)
    cosine = offset @ (position * points.dtype.type(-1 / SPOT_DISTANCE)) / distance
    height = points.dtype.type(SPOT_POWER / (4.0 * math.pi) * (light.spot_position[2] - FLOOR_Z))
    return height / (squared * distance) * spot_falloff(cosine)


def spot_falloff(cosine: np.ndarray) -> np.ndarray:
    """Blender's spot cone: 0 outside, 1 inside, a smoothstep over the blend; `cosine` of the angle to the axis."""
    edge = math.cos(SPOT_HALF_ANGLE)
    ramp = np.clip((cosine - edge) * (1.0 / ((1.0 - edge) * SPOT_BLEND)), 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


@functools.cache
def sun_table() -> np.ndarray:
    """(1025,) float32 irradiance of the sun over normal z from -1 to 1, 1 at z = 1.

    The sun is a uniform cone of 45 degrees about +z; where part of the cone is below the surface it is cut off.
    """
    polar = (np.arange(48) + 0.5) / 48 * SUN_HALF_ANGLE
    azimuth = (np.arange(96) + 0.5) / 96 * math.pi
    weight = np.sin(polar)
    normal_z = np.linspace(-1.0, 1.0, 1025)
    normal_x = np.sqrt(1.0 - normal_z**2)
    across = np.sin(polar)[:, None] * np.cos(azimuth)
    total = np.empty(len(normal_z))
    for index, (x, z) in enumerate(zip(normal_x, normal_z, strict=True)):
        total[index] = weight @ np.maximum(across * x + np.cos(polar)[:, None] * z, 0.0).mean(axis=1)
    return (total / total[-1]).astype(np.float32)


def tone_curve(linear: np.ndarray) -> np.ndarray:
    """Blender's Filmic view transform on linear values >= 0, in closed form; display values in [0, 1].

    Within 0.003 of the 256 points that were measured in Blender (tests/render/cycles_reference/filmic.csv).
    """
    stops = np.log2(np.maximum(np.asarray(linear, dtype=np.float64), 1e-9) / 0.18)
    return np.clip(1.0518 / (1.0 + np.exp(-0.5836 * (stops - 0.8745))) ** 0.7197 - 0.0202, 0.0, 1.0)


@functools.cache
def _tone_bytes() -> np.ndarray:
    centres = (np.arange(_TONE_STEPS) + 0.5) * (_TONE_LIMIT / _TONE_STEPS)
    return np.rint(tone_curve(centres) * 255.0).astype(np.uint8)


def tone_map(linear: np.ndarray) -> np.ndarray:
    """Linear float32 light of any shape, to display bytes by table (brighter than 4 is as bright as 4)."""
    index = np.minimum(linear * np.float32(_TONE_STEPS / _TONE_LIMIT), np.float32(_TONE_STEPS - 1))
    return _tone_bytes().take(index.astype(np.uint16))
