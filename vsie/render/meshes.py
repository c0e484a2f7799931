"""Meshes from files: OBJ with MTL and textures, GLB/glTF, PLY, and the listing of a ShapeNetCore folder.

What comes out is what the renderer wants: z up, bounding-box centre at the origin, bounding-box diagonal 1, one colour
and normal per vertex in linear RGB, textures kept as images and looked up per triangle. The materials are read as
Blender reads them (3DIEBench was rendered with it): the diffuse colour of an MTL is linear and gives way to its
texture; images and the byte colours of a PLY are sRGB; glTF multiplies a linear factor with its texture.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsie.render import Mesh

SUFFIXES = (".obj", ".glb", ".gltf", ".ply")
DEFAULT_ALBEDO = 0.8  # Blender's for a surface without a material
SMOOTH_DEGREES = 40.0  # where a file has no normals, edges sharper than this stay hard
_MOST_PAIRS = 20_000_000  # above this many neighbouring corners (about 2 GB) all edges are smoothed


class MeshWarning(UserWarning):
    """A part of a mesh file (material file, texture) is missing or unreadable; grey stands in for it."""


@dataclass(frozen=True)
class ShapeNetObject:
    """One object of a ShapeNetCore folder: its synset and name, the class label, and the model's OBJ file."""

    synset: str
    object: str
    label: int
    path: Path


def load(path: str | Path, *, y_up: bool = True) -> Mesh:
    """Reads a mesh file with its colours and textures, turned upright and normalised.

    Args:
        path: an .obj (with .mtl and images beside it), .glb, .gltf or .ply file. Scene-graph transforms are applied.
        y_up: the file's up axis is y (OBJ and glTF convention): (x, y, z) becomes (x, -z, y). False: z is up already.

    Returns:
        A mesh with its bounding box centred at the origin and of diagonal 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file type, a file that cannot be read, no triangles, vertices that are not finite, no size.

    Warns:
        MeshWarning: a material file or a texture that the file names is missing or unreadable.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: unknown mesh file type {path.suffix!r}, expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mesh file")
    scene = _read(path)
    if path.suffix.lower() == ".obj":
        _check_materials(path)
    pieces = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if len(getattr(geometry, "faces", ())):
            pieces.append(_piece(path, geometry, np.asarray(transform, dtype=np.float64)))
    if not pieces:
        raise ValueError(f"{path}: no triangles in it (found {len(scene.geometry)} geometries without faces)")
    return _assemble(path, pieces, y_up)


def shapenet(root: str | Path, *, listing: str | Path | None = None) -> list[ShapeNetObject]:
    """The objects of a ShapeNetCore folder, as 3DIEBench lists them.

    Args:
        root: the folder that holds `<synset>/<object>/models/model_normalized.obj`.
        listing: .npy array (N, 2) of (synset, object) strings; `<root>/all_objects.npy` by default.

    Returns:
        One entry per row, in the order of the listing; labels count the synsets in sorted order.

    Raises:
        FileNotFoundError: the folder, the listing, or a listed model is missing (the first few are named).
        ValueError: the listing is not an array of string pairs.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such ShapeNetCore folder")
    listing = Path(listing) if listing is not None else root / "all_objects.npy"
    if not listing.is_file():
        raise FileNotFoundError(f"{listing}: the listing of ShapeNet objects is missing")
    try:
        rows = np.load(listing, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{listing}: expected an array of strings (N, 2); it cannot be read without unpickling ({error}). "
            "Save it again with np.save(path, array.astype(str))"
        ) from error
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "US" or not len(rows):
        raise ValueError(f"{listing}: expected strings of shape (N, 2), found {rows.dtype} of shape {rows.shape}")
    rows = rows.astype(str)
    labels = {synset: label for label, synset in enumerate(sorted(set(rows[:, 0])))}
    objects = [
        ShapeNetObject(synset, name, labels[synset], root / synset / name / "models" / "model_normalized.obj")
        for synset, name in rows.tolist()
    ]
    missing = [entry for entry in objects if not entry.path.is_file()]
    if missing:
        some = ", ".join(str(entry.path) for entry in missing[:3])
        raise FileNotFoundError(f"{listing}: {len(missing)} of {len(objects)} listed models are missing: {some}")
    return objects


@dataclass
class _Piece:
    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    uv: np.ndarray | None
    texture: np.ndarray | None


def _read(path: Path):
    import trimesh

    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # the readers of the several formats raise anything from KeyError to struct.error
        raise ValueError(f"{path}: cannot be read as a {path.suffix[1:].upper()} mesh ({error!r})") from error
    if not scene.geometry:
        raise ValueError(f"{path}: no geometry in it")
    return scene


def _check_materials(path: Path) -> None:
    """Warns of every material file and texture named by an OBJ that is not there or not an image."""
    from PIL import Image

    with path.open(errors="replace") as lines:
        libraries = [name for line in lines if line.startswith("mtllib ") and (name := line[7:].strip())]
    for library in libraries:
        material_file = path.parent / library
        if not material_file.is_file():
            warnings.warn(f"{path}: material file {library} is missing, grey stands in", MeshWarning, stacklevel=3)
            continue
        for line in material_file.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) < 2 or words[0].lower() != "map_kd":
                continue
            image = path.parent / words[-1].replace("\\", "/")
            if not image.is_file() and (path.parent / line.split(maxsplit=1)[1].strip()).is_file():
                image = path.parent / line.split(maxsplit=1)[1].strip()  # a name with spaces
            try:
                if not image.is_file():
                    raise FileNotFoundError("no such file")
                with Image.open(image) as opened:
                    opened.verify()
            except (OSError, SyntaxError) as error:
                message = f"{path}: texture {image.name} named by {library} is missing or unreadable ({error}), "
                warnings.warn(message + "the material's colour stands in", MeshWarning, stacklevel=3)


def _piece(path: Path, geometry, transform: np.ndarray) -> _Piece:
    vertices = np.asarray(geometry.vertices, dtype=np.float64)
    faces = np.asarray(geometry.faces, dtype=np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"{path}: a face names vertex {faces.max()}, but there are only {len(vertices)}")
    if not np.isfinite(vertices).all():
        rows = np.flatnonzero(~np.isfinite(vertices).all(axis=1))
        raise ValueError(
            f"{path}: {len(rows)} of {len(vertices)} vertices are not finite, the first is vertex {rows[0]}"
        )
    colors, uv, texture, face_colors = _surface(path, geometry, len(vertices))
    # trimesh keeps normals that a file gave in its cache, and computes them (always smooth) on access otherwise
    given = "vertex_normals" in geometry._cache
    normals = np.array(geometry.vertex_normals, dtype=np.float64) if given else None
    usable = given and np.isfinite(normals).all() and (np.abs(normals).sum(axis=1) > 0)[faces].all()
    if face_colors is not None or not usable:
        corners = faces.reshape(-1)
        corner_normals = normals[corners] if usable else crease_normals(vertices, faces)
        vertices, normals = vertices[corners], corner_normals
        colors = np.repeat(face_colors, 3, axis=0) if face_colors is not None else colors[corners]
        uv = uv[corners] if uv is not None else None
        faces = np.arange(len(corners)).reshape(-1, 3)
    linear = transform[:3, :3]
    vertices = vertices @ linear.T + transform[:3, 3]
    if abs(np.linalg.det(linear)) > 1e-12:
        normals = normals @ np.linalg.inv(linear)
    if np.linalg.det(linear) < 0:
        faces = faces[:, ::-1]
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return _Piece(vertices, faces, normals / np.where(lengths > 0, lengths, 1.0), colors, uv, texture)


def _surface(path: Path, geometry, count: int):
    """Colours (V, 3) linear, uv (V, 2) or None, texture or None, colours (F, 3) per face or None."""
    from vsie.render.families._design import srgb_to_linear

    colors = np.full((count, 3), DEFAULT_ALBEDO)
    visual = geometry.visual
    linear_bytes = path.suffix.lower() in (".glb", ".gltf")
    if visual.kind == "face":
        byte_colors = np.asarray(visual.face_colors)[:, :3] / 255.0
        return colors, None, None, byte_colors if linear_bytes else srgb_to_linear(byte_colors)
    if visual.kind == "vertex":
        byte_colors = np.asarray(visual.vertex_colors)[:, :3] / 255.0
        return byte_colors if linear_bytes else srgb_to_linear(byte_colors), None, None, None
    material = getattr(visual, "material", None)
    if material is None or (path.suffix.lower() == ".obj" and getattr(material, "_name", None) is None):
        return colors, None, None, None  # trimesh's placeholder for a material that no MTL file defines has no name
    uv = getattr(visual, "uv", None)
    if hasattr(material, "baseColorTexture"):
        image, factor = material.baseColorTexture, material.baseColorFactor
        base = np.ones(3) if factor is None else np.asarray(factor, dtype=np.float64)[:3]
        base = base / 255.0 if factor is not None and np.asarray(factor).dtype.kind in "ui" else base
    else:
        image = getattr(material, "image", None)
        diffuse = np.asarray(material.diffuse)[:3] / 255.0
        known = path.suffix.lower() != ".obj" or "Kd" in material.kwargs or "kd" in material.kwargs
        base = np.ones(3) if image is not None else diffuse if known else np.full(3, DEFAULT_ALBEDO)
    texture = None
    if image is not None and uv is not None and len(uv) == count:
        try:
            texture = np.asarray(image.convert("RGB"), dtype=np.uint8)
        except OSError as error:
            warnings.warn(f"{path}: a texture cannot be read ({error}), grey stands in", MeshWarning, stacklevel=5)
            base = np.full(3, DEFAULT_ALBEDO)
    colors[:] = np.clip(base, 0.0, 1.0)
    if texture is None:
        return colors, None, None, None
    uv = np.asarray(uv, dtype=np.float64)
    return colors, np.where(np.isfinite(uv), uv, 0.0), texture, None


def crease_normals(vertices: np.ndarray, faces: np.ndarray, degrees: float = SMOOTH_DEGREES) -> np.ndarray:
    """Normals (3 F, 3) per face corner: the area-weighted mean over the neighbours at less than `degrees` to the face.

    Vertices at the same position count as one, so a mesh that is split along texture seams stays smooth there.
    """
    _, welded = np.unique(vertices, axis=0, return_inverse=True)
    corner_vertex = welded.reshape(-1)[faces.reshape(-1)]
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    areas = np.cross(b - a, c - a)
    lengths = np.linalg.norm(areas, axis=1, keepdims=True)
    units = areas / np.where(lengths > 0, lengths, 1.0)
    order = np.argsort(corner_vertex, kind="stable")
    valence = np.bincount(corner_vertex)
    starts = np.concatenate([[0], np.cumsum(valence)])[:-1]
    per_corner = valence[corner_vertex]
    corner_face = np.repeat(np.arange(len(faces)), 3)
    if per_corner.sum() > _MOST_PAIRS:
        total = np.stack([np.bincount(corner_vertex, areas[corner_face, axis]) for axis in range(3)], axis=1)
        summed = total[corner_vertex]
    else:
        left = np.repeat(np.arange(len(corner_vertex)), per_corner)
        offset = np.arange(len(left)) - np.repeat(np.cumsum(per_corner) - per_corner, per_corner)
        right = order[np.repeat(starts[corner_vertex], per_corner) + offset]
        cosine = np.einsum("ij,ij->i", units[corner_face[left]], units[corner_face[right]])
        keep = cosine >= np.cos(np.deg2rad(degrees))
        left, weights = left[keep], areas[corner_face[right[keep]]]
        summed = np.stack([np.bincount(left, weights[:, axis], len(corner_vertex)) for axis in range(3)], axis=1)
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.where(lengths > 0, summed / np.where(lengths > 0, lengths, 1.0), units[corner_face])


def _assemble(path: Path, pieces: list[_Piece], y_up: bool) -> Mesh:
    starts = np.cumsum([0] + [len(piece.vertices) for piece in pieces])[:-1]
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=True)])
    used, inverse = np.unique(faces, return_inverse=True)
    vertices = np.concatenate([piece.vertices for piece in pieces])[used]
    normals = np.concatenate([piece.normals for piece in pieces])[used]
    if y_up:
        vertices, normals = (array[:, [0, 2, 1]] * (1.0, -1.0, 1.0) for array in (vertices, normals))
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    diagonal = float(np.linalg.norm(high - low))
    if not np.isfinite(diagonal) or diagonal <= 0:
        raise ValueError(f"{path}: the mesh has no size (bounding-box diagonal {diagonal})")
    textures: list[np.ndarray] = []
    ids = []
    for piece in pieces:
        index = -1
        if piece.texture is not None:
            same = [k for k, known in enumerate(textures) if np.array_equal(known, piece.texture)]
            index = same[0] if same else len(textures)
            textures += [] if same else [piece.texture]
        ids.append(np.full(len(piece.faces), index, dtype=np.int32))
    uv = [piece.uv if piece.uv is not None else np.zeros((len(piece.vertices), 2)) for piece in pieces]
    return Mesh(
        vertices=(vertices - (low + high) / 2) / diagonal,
        faces=inverse.reshape(-1, 3).astype(np.int32),
        normals=normals,
        colors=np.concatenate([piece.colors for piece in pieces])[used],
        uv=np.concatenate(uv)[used] if textures else None,
        texture_ids=np.concatenate(ids) if textures else None,
        textures=tuple(textures),
    )
