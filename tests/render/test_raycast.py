"""Geometry against closed forms, light against what it must do, bad input against its message."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vsie.render import Camera, Light, Mesh, Renderer, embree_clock, raycast, render_frame
from vsie.render.geometry import ObjectScene, Textures
from vsie.render.ground import Ground, View

LIGHT = Light(floor_hue=0.3, spot_theta=0.4, spot_phi=1.0, spot_hue=0.7)
TURN = Rotation.from_euler("xyz", [0.3, -0.5, 0.9]).as_matrix()


def box(half: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> dict[str, np.ndarray]:
    vertices, faces, normals = [], [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            normal, across, along = np.zeros(3), np.zeros(3), np.zeros(3)
            normal[axis], across[(axis + 1) % 3], along[(axis + 2) % 3] = sign, 1.0, sign
            start = len(vertices)
            corners = [normal - across - along, normal + across - along, normal + across + along]
            vertices += [*corners, normal - across + along]
            normals += [normal] * 4
            faces += [[start, start + 1, start + 2], [start, start + 2, start + 3]]
    return {
        "vertices": np.array(vertices) * half + centre,
        "faces": np.array(faces),
        "normals": np.array(normals),
        "colors": np.full((24, 3), 0.5),
    }


def joined(*parts: dict[str, np.ndarray]) -> Mesh:
    offsets = np.cumsum([0] + [len(part["vertices"]) for part in parts])
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in ("vertices", "normals", "colors")}
    return Mesh(faces=np.concatenate([p["faces"] + o for p, o in zip(parts, offsets[:-1], strict=True)]), **arrays)


def sphere(radius: float = 0.5, rings: int = 64) -> Mesh:
    polar, azimuth = np.linspace(0, np.pi, rings + 1)[:, None], np.linspace(0, 2 * np.pi, 2 * rings + 1)
    polar, azimuth = np.broadcast_arrays(polar, azimuth)
    normals = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    i, j = np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij")
    a, width = (i * (2 * rings + 1) + j).ravel(), 2 * rings + 1
    faces = np.concatenate([np.stack([a, a + width, a + width + 1], 1), np.stack([a, a + width + 1, a + 1], 1)])
    normals = normals.reshape(-1, 3)
    return Mesh(radius * normals, faces, normals, np.full_like(normals, 0.5))


def world_rays(size: int) -> tuple[np.ndarray, np.ndarray]:
    camera = Camera.default()
    steps = (np.arange(size) + 0.5 - size / 2) / camera.intrinsics(size)[0, 0]
    x, y = np.meshgrid(steps, steps)
    return camera.position, np.stack([x, y, np.ones_like(x)], -1) @ camera.world_in_camera[:3, :3]


def test_camera_is_that_of_3diebench() -> None:
    camera = Camera.default()
    assert np.allclose(camera.position, 2.5 * np.array([0, math.sqrt(0.5), math.sqrt(0.5)]))
    assert np.allclose(camera.world_in_camera @ [0, 0, 0, 1], [0, 0, 2.5, 1])
    assert (camera.world_in_camera @ [0, 0, 0.1, 1])[1] < 0  # world up is image up, camera y is down
    assert (camera.world_in_camera @ [0.1, 0, 0, 1])[0] < 0  # seen from +y, +x is on the left
    assert np.isclose(2 * math.atan(128 / camera.intrinsics(256)[0, 0]), 0.6911, atol=1e-4)


@pytest.mark.parametrize("azimuth, elevation", [(0.0, 0.3), (2.0, -0.2), (-1.0, math.pi / 2)])
def test_camera_on_sphere_looks_at_the_origin_with_a_level_horizon(azimuth: float, elevation: float) -> None:
    camera = Camera.on_sphere(azimuth, elevation, distance=3.0)
    assert np.allclose(camera.world_in_camera @ [0, 0, 0, 1], [0, 0, 3, 1])
    assert abs(camera.world_in_camera[0, 2]) < 1e-12  # the image's x axis is horizontal
    assert np.isclose(camera.position[2], 3 * math.sin(elevation))


def test_sphere_depth_mask_normals() -> None:
    frame = render_frame(sphere(0.4), TURN, light=LIGHT, size=96, supersample=1)
    origin, rays = world_rays(96)
    a, b, c = (rays**2).sum(-1), rays @ origin, origin @ origin - 0.4**2
    inside = b**2 - a * c
    depth = (-b - np.sqrt(np.maximum(inside, 0))) / a
    clear = np.abs(inside) > 0.02
    assert (frame.mask == (inside > 0))[clear].all() and frame.mask.sum() > 800
    both = frame.mask & (inside > 0.02)
    assert np.abs(frame.depth - depth)[both].max() < 1.5e-3
    assert np.isinf(frame.depth[~frame.mask]).all() and not frame.normals[~frame.mask].any()
    truth = (origin + depth[..., None] * rays) / 0.4 @ Camera.default().world_in_camera[:3, :3].T
    assert np.abs(frame.normals - truth)[both].max() < 0.02


def test_box_depth_and_normals() -> None:
    half = np.array([0.4, 0.2, 0.2])
    frame = render_frame(joined(box(tuple(half))), TURN, light=LIGHT, size=96, supersample=2)
    origin, rays = world_rays(96)
    start, rays = origin @ TURN, rays @ TURN
    low, high = np.sort(np.stack([(-half - start) / rays, (half - start) / rays]), axis=0)
    near, far = low.max(-1), high.min(-1)
    sure = np.abs(far - near) > 1e-3
    assert (frame.mask == (far > near))[sure].all()
    both = frame.mask & sure
    assert np.abs(frame.depth - near)[both].max() < 2e-6
    normal = -np.sign(np.take_along_axis(rays, low.argmax(-1)[..., None], -1)) * np.eye(3)[low.argmax(-1)]
    truth = normal @ (Camera.default().world_in_camera[:3, :3] @ TURN).T
    assert np.abs(frame.normals - truth)[both].max() < 1e-5


def test_plane_is_seen_from_both_sides() -> None:
    corners = 0.35 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    plane = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.tile([0, 0, 1.0], (4, 1)), np.full((4, 3), 0.5))
    over = np.diag([1.0, -1.0, -1.0])
    front, back = (render_frame(plane, turn, light=LIGHT, size=64) for turn in (np.eye(3), over))
    origin, rays = world_rays(64)
    depth = -origin[2] / rays[..., 2]
    assert np.abs(front.depth - depth)[front.mask].max() < 2e-6
    assert (front.mask == back.mask).all() and front.mask.sum() > 300
    assert np.abs(front.normals - back.normals)[front.mask].max() < 1e-5
    assert np.abs(front.rgb.astype(int) - back.rgb).max() <= 6  # lit from above either way


def test_occluded_means_occluded() -> None:
    scene = ObjectScene(joined(box((0.2, 0.2, 0.2))))
    origins = np.array([[0, 0, 2], [0, 0, 2], [0.5, 0, 2], [0, 0, 0.3]], np.float32)
    rays = np.array([[0, 0, -1], [0, 0, 1], [0, 0, -1], [1, 0, 0]], np.float32)
    assert scene.occluded(origins, rays).tolist() == [True, False, False, False]
    assert (scene.intersect(origins, rays)["primID"] >= 0).tolist() == [True, False, False, False]


def test_length_of_normals_and_empty_triangles_change_nothing() -> None:
    parts = box((0.4, 0.2, 0.2))
    plain = render_frame(joined(parts), TURN, light=LIGHT, size=64, supersample=2)
    faces = np.concatenate([parts["faces"], [[0, 0, 0], [1, 1, 2]]])
    odd = Mesh(parts["vertices"], faces, parts["normals"] * 7.3, parts["colors"])
    other = render_frame(odd, TURN, light=LIGHT, size=64, supersample=2)
    assert np.abs(plain.rgb.astype(int) - other.rgb).max() <= 1 and (plain.mask == other.mask).all()
    bare = Mesh(parts["vertices"], parts["faces"], parts["normals"] * 0, parts["colors"])  # zero: the triangle's own
    assert np.abs(plain.rgb.astype(int) - render_frame(bare, TURN, light=LIGHT, size=64, supersample=2).rgb).max() <= 1


def test_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); import test_raycast as t;"
        "print(hashlib.sha256(t.picture().tobytes()).hexdigest())"
    )
    folder = str(__import__("pathlib").Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(picture().tobytes()).hexdigest()


def picture() -> np.ndarray:
    mesh = joined(box((0.35, 0.1, 0.1)), box((0.05, 0.3, 0.05)))
    return Renderer(mesh, size=96, supersample=2).render_clip(np.stack([np.eye(3), TURN]), light=LIGHT)["rgb"]


def test_adaptive_sampling_is_close_to_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = joined(box((0.35, 0.1, 0.1)), box((0.01, 0.3, 0.01)), box((0.01, 0.01, 0.3)))
    adaptive = Renderer(mesh, size=128, supersample=2).render(TURN, LIGHT).rgb.astype(int)
    monkeypatch.setattr(raycast, "_ADAPTIVE_FROM", 10_000)
    full = Renderer(mesh, size=128, supersample=2).render(TURN, LIGHT).rgb.astype(int)
    error = np.abs(adaptive - full)
    assert error.any() and error.mean() < 0.08 and (error.max(-1) > 12).mean() < 1e-3


def test_clip_is_its_frames() -> None:
    mesh, turns = sphere(0.4, rings=12), np.stack([np.eye(3), TURN, TURN @ TURN])
    renderer = Renderer(mesh, size=64, supersample=2)
    wanted = ("depth", "mask", "normals", "flow", "occlusion")
    clip = renderer.render_clip(turns, light=LIGHT, auxiliary=wanted)
    assert {name: clip[name].shape for name in clip} == {
        "rgb": (3, 64, 64, 3), "depth": (3, 64, 64), "mask": (3, 64, 64), "normals": (3, 64, 64, 3),
        "flow": (2, 64, 64, 2), "occlusion": (2, 64, 64),
    }  # fmt: skip
    assert clip["rgb"].dtype == np.uint8 and clip["depth"].dtype == np.float32 and clip["mask"].dtype == bool
    for index, turn in enumerate(turns):
        frame = Renderer(mesh, size=64, supersample=2).render(turn, LIGHT, auxiliary=True)
        assert np.abs(clip["rgb"][index].astype(int) - frame.rgb).max() <= 1
        assert (clip["rgb"][index] != frame.rgb).mean() < 1e-3 and (clip["depth"][index] == frame.depth).all()
    assert set(renderer.render_clip(turns, light=LIGHT)) == {"rgb"}


def test_orbit_shows_what_turning_the_object_shows() -> None:
    mesh = joined(box((0.35, 0.1, 0.1)))
    cameras = [Camera.on_sphere(math.pi / 2, math.pi / 4), Camera.on_sphere(math.pi / 2 + 0.7, math.pi / 4)]
    renderer = Renderer(mesh, size=64, supersample=1)
    clip = renderer.render_clip(np.stack([np.eye(3)] * 2), light=LIGHT, cameras=cameras, auxiliary=("mask",))
    turned = renderer.render(Rotation.from_euler("z", -0.7).as_matrix(), LIGHT, auxiliary=True)
    assert (clip["mask"][1] != turned.mask).mean() < 2e-3 and (clip["mask"][0] != turned.mask).mean() > 0.01


def test_horizon() -> None:
    camera = Camera.on_sphere(0.5, 0.0)
    rgb = Renderer(joined(box((0.3, 0.2, 0.2))), size=64, supersample=2, camera=camera).render(TURN, LIGHT).rgb
    assert (rgb[:20, 0] == rgb[0, 0]).all() and len(set(rgb[0, 0].tolist())) == 1  # grey sky
    assert rgb[50, 0].max() > 20 + rgb[0, 0].max()  # sunlit floor


def test_floor_in_shadow_loses_the_spot_and_under_the_object_some_sun() -> None:
    light = Light(floor_hue=0.3, spot_theta=0.3, spot_phi=0.2, spot_hue=0.7)
    renderer = Renderer(joined(box((0.3, 0.3, 0.05))), size=96, supersample=1)
    view = View(renderer.camera, 96, 1)
    linear_empty = Ground(view, light)
    places, _ = view.meet_floor(view.rays(np.arange(96 * 96)))
    rgb = renderer.render(np.eye(3), light).rgb.reshape(-1, 3).astype(int)
    mask = renderer.geometry(np.eye(3))[1].ravel()
    towards = light.spot_position - places
    passing = places + towards * ((0.0 - places[:, 2:]) / towards[:, 2:])
    deep = (np.abs(passing[:, :2]) < 0.25).all(1) & ~mask & (linear_empty.spot[:, 0] > 0)
    outside = (np.abs(passing[:, :2]) > 0.4).any(1) & ~mask & (linear_empty.spot[:, 0] > 1)
    assert deep.sum() > 50 and outside.sum() > 50
    assert rgb[deep, 2].max() < rgb[outside, 2].min()  # the spot is blue
    share, below = renderer._sun_block.share(renderer.scene, np.eye(3)[None])
    assert 0.02 < below[0] < 0.3 and share[0, 10, 10] > 0.1 and share[0, 0, 0] == 0


def test_a_cavity_is_darker_than_the_open() -> None:
    walls = [box((0.02, 0.3, 0.3), (x, 0, 0.3)) for x in (-0.12, 0.12)]
    ends = [box((0.12, 0.02, 0.3), (0, y, 0.3)) for y in (-0.12, 0.12)]
    floor = box((0.12, 0.12, 0.02))
    light = Light(0.3, 0.75, 0.0, 0.7)
    down = Camera.on_sphere(math.pi / 2, math.pi / 2)
    cavity = render_frame(joined(floor, *walls, *ends), np.eye(3), light=light, size=96, camera=down).rgb[48, 48]
    plain = render_frame(joined(floor), np.eye(3), light=light, size=96, camera=down).rgb[48, 48]
    assert (cavity.astype(int) < plain.astype(int) - 25).all()


def test_nothing_hides_the_surface_of_a_convex_object() -> None:
    convex = ObjectScene(joined(box((0.3, 0.2, 0.1)))).light
    assert not convex.blocked.any() and not convex.two_sided
    crossed = ObjectScene(joined(box((0.3, 0.05, 0.05)), box((0.05, 0.3, 0.05)))).light
    # in the corner between two arms half of the way is shut, at their ends nothing is
    shut = crossed.blocked.sum(axis=1) / math.pi
    ends = np.abs(crossed.points).max(axis=1) > 0.29
    assert 0.3 < shut.max() < 0.9 and shut[ends].max() < 0.1


def test_winding_does_not_matter() -> None:
    parts = [box((0.35, 0.1, 0.01)), box((0.05, 0.3, 0.05), (0.1, 0, 0.05))]
    right = render_frame(joined(*parts), TURN, light=LIGHT, size=64, supersample=2)
    parts[0]["faces"] = parts[0]["faces"][:, ::-1]  # one thin part inside out, as in many files
    wrong = render_frame(joined(*parts), TURN, light=LIGHT, size=64, supersample=2)
    assert (right.mask == wrong.mask).all() and np.abs(right.normals - wrong.normals).max() < 1e-5
    assert np.abs(right.rgb.astype(int) - wrong.rgb)[right.mask].mean() < 3


def test_textures_are_decoded_interpolated_and_repeated() -> None:
    corners = 0.35 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    image = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [188, 188, 188]]], np.uint8)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    arrays = (corners, np.array([[0, 1, 2], [0, 2, 3]]), np.tile([0, 0, 1.0], (4, 1)), np.ones((4, 3)))
    mesh = Mesh(*arrays, uv=uv, texture_ids=np.array([0, 0]), textures=(image,))
    texels = Textures(mesh)
    grey = ((188 / 255 + 0.055) / 1.055) ** 2.4
    # uv (.25, .25) and (.75, .25) are the lower texels' centres, (.75, .5) is halfway up to the upper right one
    prim = np.zeros(3, np.int32)
    found = texels.look_up(prim, np.array([0.0, 0.5, 0.25], np.float32), np.array([0.25, 0.25, 0.5], np.float32))
    truth = [[0, 0, 1], [grey] * 3, [grey / 2, grey / 2 + 0.5, grey / 2]]
    assert np.allclose(found, truth, atol=1e-5)
    prim = prim[:2]
    shifted = Mesh(*arrays, uv=uv + [3, -2], texture_ids=np.array([0, 0]), textures=(image,))
    assert np.allclose(Textures(shifted).look_up(prim, *np.full((2, 2), 0.25, np.float32)),
                       texels.look_up(prim, *np.full((2, 2), 0.25, np.float32)), atol=1e-5)  # fmt: skip
    frame = render_frame(mesh, np.eye(3), light=LIGHT, size=64)
    rows, columns = np.nonzero(frame.mask)
    # from +y with +x on the left: texture left is picture right, texture top (v = 1, +y) is picture bottom
    near = frame.rgb[rows.max() - 4, columns.max() - 8].astype(int)
    assert near[0] > near[1] + 60 and near[0] > near[2] + 60
    without = Mesh(*arrays, uv=uv, texture_ids=np.array([-1, -1]), textures=(image,))
    assert (render_frame(without, np.eye(3), light=LIGHT, size=64).rgb
            == render_frame(Mesh(*arrays), np.eye(3), light=LIGHT, size=64).rgb).all()  # fmt: skip


def test_large_mesh_is_thinned_to_a_bounded_bake() -> None:
    renderer = Renderer(sphere(0.5, rings=150), size=64, supersample=1)
    assert len(renderer.mesh.faces) == 90_000
    assert len(renderer.scene.light.points) < 6000 and not renderer.scene.light.two_sided
    assert renderer.render(TURN, LIGHT).rgb.std() > 5


def test_clock_counts_only_while_enabled() -> None:
    renderer = Renderer(joined(box((0.3, 0.2, 0.2))), size=32, supersample=1)
    embree_clock.reset()
    renderer.render(TURN, LIGHT)
    assert embree_clock.rays == 0
    embree_clock.enabled = True
    try:
        renderer.render(TURN, LIGHT)
    finally:
        embree_clock.enabled = False
    assert embree_clock.rays > 100 and embree_clock.seconds > 0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"vertices": np.zeros((0, 3))}, "empty"),
        ({"faces": np.zeros((0, 3), int)}, "empty"),
        ({"faces": np.array([[0, 1, 24]])}, r"row 0 is \[0, 1, 24\], but there are 24 vertices"),
        ({"faces": np.array([[0, 1, -1]])}, "row 0"),
        ({"faces": np.array([[0.0, 1.0, 2.0]])}, "integers"),
        ({"vertices": np.full((24, 3), np.nan)}, "not finite"),
        ({"vertices": np.zeros((24, 2))}, r"expected shape \(n, 3\)"),
        ({"normals": np.zeros((7, 3))}, "normals: expected 24 rows"),
        ({"colors": np.full((24, 3), 1.5)}, r"colors: expected linear RGB in \[0, 1\]"),
        ({"uv": np.zeros((3, 2))}, "uv: expected 24 rows"),
        ({"texture_ids": np.zeros(12, int)}, "texture_ids: expected -1 to -1"),
        ({"textures": (np.zeros((4, 4)),)}, r"textures\[0\]"),
        ({"texture_ids": np.zeros(12, int), "textures": (np.zeros((4, 4, 3), np.uint8),)}, "uv: missing"),
    ],
)
def test_bad_mesh(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mesh(**{**box((0.2, 0.2, 0.2)), **change})


def test_bad_scene() -> None:
    mesh = joined(box((0.2, 0.2, 0.2)))
    with pytest.raises(ValueError, match="floor_hue"):
        Light(float("nan"), 0, 0, 0)
    with pytest.raises(ValueError, match="spot_theta"):
        Light(0, 2.0, 0, 0)
    with pytest.raises(ValueError, match="not a rotation, R R"):
        render_frame(mesh, 2 * np.eye(3), light=LIGHT)
    with pytest.raises(ValueError, match="reflection"):
        render_frame(mesh, np.diag([1.0, 1, -1]), light=LIGHT)
    with pytest.raises(ValueError, match="shape"):
        render_frame(mesh, np.eye(4), light=LIGHT)
    with pytest.raises(ValueError, match="size"):
        render_frame(mesh, np.eye(3), light=LIGHT, size=0)
    with pytest.raises(ValueError, match="below the floor"):
        Camera.on_sphere(0, -1.0)
    with pytest.raises(ValueError, match="unknown"):
        Renderer(mesh, size=16).render_clip(np.eye(3)[None], light=LIGHT, auxiliary=("depht",))
    with pytest.raises(ValueError, match="cameras: expected 1"):
        Renderer(mesh, size=16).render_clip(np.eye(3)[None], light=LIGHT, cameras=[])
