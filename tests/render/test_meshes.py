"""Mesh files: OBJ with materials and textures, GLB, PLY, ShapeNet folders; the tests write their own files."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import trimesh
from PIL import Image

from vsie.render import Light, render_frame
from vsie.render.families._design import srgb_to_linear
from vsie.render.meshes import MeshWarning, crease_normals, load, shapenet

CORNERS = [(x, y, z) for x in (0, 2) for y in (0, 1) for z in (0, 4)]
QUADS = [
    (1, 2, 4, 3),
    (5, 7, 8, 6),
    (1, 5, 6, 2),
    (3, 4, 8, 7),
    (1, 3, 7, 5),
    (2, 6, 8, 4),
]  # counter-clockwise outside


def write_obj(path, *, materials=True, texture="skin.png", vertices=CORNERS, extra=""):
    """A 2 x 1 x 4 block, y up; its first three faces red-ish, the others textured."""
    lines = ["mtllib block.mtl"] if materials else []
    lines += [f"v {x} {y} {z}" for x, y, z in vertices]
    lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", extra]
    for index, quad in enumerate(QUADS):
        lines += [f"usemtl {'paint' if index < 3 else 'skin'}"] if index in (0, 3) and materials else []
        lines.append("f " + " ".join(f"{vertex}/{corner}" for corner, vertex in enumerate(quad, 1)))
    path.write_text("\n".join(lines) + "\n")
    if materials:
        path.with_name("block.mtl").write_text(
            f"newmtl paint\nKd 0.8 0.2 0.4\n\nnewmtl skin\nKd 0.1 0.1 0.1\nmap_Kd {texture}\n"
        )
    return path


def write_skin(folder):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:2], pixels[2:] = (10, 200, 30), (90, 20, 220)  # green above (v > 0.5), blue below
    Image.fromarray(pixels).save(folder / "skin.png")
    return pixels


def assert_normalised_and_outward(mesh):
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose(low, -high, atol=1e-12)
    assert np.linalg.norm(high - low) == pytest.approx(1.0)
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    areas = np.cross(b - a, c - a)
    inside = mesh.vertices.mean(axis=0)
    assert (np.einsum("ij,ij->i", areas, (a + b + c) / 3 - inside) > 0).all(), "faces of a convex body look inward"
    assert (np.einsum("fc,fkc->fk", areas, mesh.normals[mesh.faces]) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-6)


def test_obj_with_materials_and_texture(tmp_path):
    pixels = write_skin(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MeshWarning)
        mesh = load(write_obj(tmp_path / "block.obj", extra="mtllib "))  # as some exporters leave it
    assert_normalised_and_outward(mesh)
    assert len(mesh.faces) == 12
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), np.array((2, 4, 1)) / np.sqrt(21), atol=1e-12)
    assert len(mesh.textures) == 1
    np.testing.assert_array_equal(mesh.textures[0], pixels)
    textured = mesh.texture_ids == 0
    assert textured.sum() == 6
    plain = mesh.colors[mesh.faces[~textured].reshape(-1)]
    np.testing.assert_allclose(plain, np.broadcast_to((0.8, 0.2, 0.4), plain.shape), atol=1 / 255)
    np.testing.assert_allclose(
        mesh.colors[mesh.faces[textured].reshape(-1)], 1.0
    )  # the texture replaces Kd, as in Blender
    assert {tuple(row) for row in mesh.uv[mesh.faces[textured].reshape(-1)]} == {(0, 0), (1, 0), (1, 1), (0, 1)}


def test_y_up_mapping_is_x_minus_z_y(tmp_path):
    points = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 3.0)]
    path = tmp_path / "tetrahedron.obj"
    path.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in points) + "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    expected = np.array([(x, -z, y) for x, y, z in points])
    for y_up, target in ((True, expected), (False, np.array(points))):
        mesh = load(path, y_up=y_up)
        target = (target - (target.min(axis=0) + target.max(axis=0)) / 2) / np.sqrt(14)
        assert {tuple(row) for row in mesh.vertices.round(9)} == {tuple(row) for row in target.round(9)}
        assert_normalised_and_outward(mesh)


def test_missing_normals_are_computed_with_hard_edges(tmp_path):
    mesh = load(write_obj(tmp_path / "block.obj", materials=False))
    corner = mesh.normals[mesh.faces]
    np.testing.assert_allclose(corner, np.broadcast_to(corner[:, :1], corner.shape), atol=1e-12)  # a block is flat
    np.testing.assert_allclose(np.sort(np.abs(mesh.normals), axis=1)[:, :2], 0.0, atol=1e-12)
    ball = trimesh.creation.icosphere(subdivisions=3)
    smooth = crease_normals(ball.vertices, ball.faces).reshape(-1, 3, 3)
    assert (np.einsum("fkc,fkc->fk", smooth, ball.vertices[ball.faces]) > 0.999).all()


def test_normals_of_a_file_are_kept(tmp_path):
    path = tmp_path / "bent.obj"
    bent = "vn 0 0.6 0.8\n" * 3
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" + bent + "f 1//1 2//2 3//3\n")
    np.testing.assert_allclose(load(path).normals, np.tile((0, -0.8, 0.6), (3, 1)), atol=1e-6)


def test_missing_material_file_and_texture_warn_and_name_the_file(tmp_path):
    path = write_obj(tmp_path / "block.obj")
    with pytest.warns(MeshWarning, match=r"block\.obj.*skin\.png.*missing"):
        mesh = load(path)
    assert mesh.textures == ()
    (tmp_path / "skin.png").write_bytes(b"no image")
    with pytest.warns(MeshWarning, match=r"skin\.png.*unreadable"):
        load(path)
    (tmp_path / "block.mtl").unlink()
    with pytest.warns(MeshWarning, match=r"block\.obj.*block\.mtl is missing"):
        mesh = load(path)
    np.testing.assert_allclose(mesh.colors, 0.8)


def test_glb_applies_the_scene_graph(tmp_path):
    scene = trimesh.Scene()
    red = trimesh.creation.box((1, 1, 1))
    red.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((len(red.vertices), 2)),
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 255]),
    )
    for offset, mirrored in ((0.0, 1.0), (5.0, -2.0)):
        transform = np.diag([mirrored, 1.0, 1.0, 1.0])
        transform[0, 3] = offset
        scene.add_geometry(red, node_name=f"node{offset}", transform=transform)
    path = tmp_path / "two.glb"
    scene.export(path)
    mesh = load(path)
    assert len(mesh.faces) == 24
    extent = np.array((6.5, 1.0, 1.0))
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), extent / np.linalg.norm(extent), atol=1e-6)
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    areas = np.cross(b - a, c - a)
    assert (np.einsum("fc,fkc->fk", areas, mesh.normals[mesh.faces]) > 0).all(), "the mirrored copy is inside out"
    np.testing.assert_allclose(mesh.colors, np.broadcast_to((1.0, 0, 0), mesh.colors.shape), atol=1e-6)


def test_glb_texture_stands_the_right_way_up(tmp_path):
    pixels = write_skin(tmp_path)
    plate = trimesh.Trimesh([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [(0, 1, 2), (0, 2, 3)], process=False)
    uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=float)  # v up: the image's first row belongs to y = 1
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(pixels))
    plate.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    path = tmp_path / "plate.glb"
    plate.export(path)
    mesh = load(path)
    np.testing.assert_array_equal(mesh.textures[0], pixels)
    high = mesh.vertices[:, 2] > 0
    np.testing.assert_allclose(mesh.uv[high][:, 1], 1.0)
    np.testing.assert_allclose(mesh.uv[~high][:, 1], 0.0)
    view = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1.0]])  # the plate looks along -y; turn it to the camera at +y
    frame = render_frame(mesh, view, light=Light(0.3, 0.7, np.pi / 2, 0.3), size=48, supersample=1)
    rows = np.flatnonzero(frame.mask.any(axis=1))
    upper, lower = (frame.rgb[part][frame.mask[part]].mean(axis=0) for part in np.array_split(rows, 2))
    assert upper[1] > upper[2] and lower[2] > lower[1]  # green above, blue below


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_vertex_colours_are_srgb(tmp_path, encoding):
    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = np.tile([128, 255, 0, 255], (len(ball.vertices), 1))
    path = tmp_path / "ball.ply"
    path.write_bytes(trimesh.exchange.ply.export_ply(ball, encoding=encoding))
    mesh = load(path)
    expected = srgb_to_linear(np.array([128, 255, 0]) / 255)
    np.testing.assert_allclose(mesh.colors, np.broadcast_to(expected, mesh.colors.shape), atol=1e-9)
    assert_normalised_and_outward(mesh)


def test_bad_files_name_themselves(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.obj"):
        load(tmp_path / "gone.obj")
    cases = {
        "mesh.stl": (b"solid", "unknown mesh file type"),
        "empty.obj": (b"", "empty.obj"),
        "points.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "points.obj"),
        "corrupt.glb": (b"glTF\x02\x00\x00\x00junk", "corrupt.glb: cannot be read"),
        "corrupt.ply": (b"ply\nformat ascii 1.0\nelement vertex x\n", "corrupt.ply"),
        "nan.obj": (b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", r"nan.obj: 1 of 3 vertices are not finite.*vertex 1"),
        "outside.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "outside.obj"),
        "dot.obj": (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "dot.obj: the mesh has no size"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)


def test_unused_vertices_do_not_shift_the_centre(tmp_path):
    path = write_obj(tmp_path / "block.obj", materials=False, extra="v 100 100 100")
    assert_normalised_and_outward(load(path))


def write_shapenet(root, pairs):
    for synset, name in pairs:
        folder = root / synset / name / "models"
        folder.mkdir(parents=True)
        write_obj(folder / "model_normalized.obj", materials=False)
    np.save(root / "all_objects.npy", np.array(pairs))


def test_shapenet_listing(tmp_path):
    pairs = [("02958343", "b"), ("02691156", "a"), ("02958343", "c")]
    write_shapenet(tmp_path, pairs)
    objects = shapenet(tmp_path)
    assert [(entry.synset, entry.object) for entry in objects] == pairs
    assert [entry.label for entry in objects] == [1, 0, 1]
    assert objects[0].path == tmp_path / "02958343" / "b" / "models" / "model_normalized.obj"
    assert len(load(objects[0].path).faces) == 12


def test_shapenet_errors_name_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        shapenet(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="all_objects.npy"):
        shapenet(tmp_path)
    write_shapenet(tmp_path, [("02958343", "b"), ("02691156", "a")])
    (tmp_path / "02958343" / "b" / "models" / "model_normalized.obj").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 listed models.*02958343/b/models/model_normalized.obj"):
        shapenet(tmp_path)
    np.save(tmp_path / "all_objects.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match=r"shape \(N, 2\), found.*\(2,\)"):
        shapenet(tmp_path)
    np.save(tmp_path / "all_objects.npy", np.array([("a", None)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="without unpickling"):
        shapenet(tmp_path)
