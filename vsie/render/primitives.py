"""Closed solids with outward faces and shading normals: what every procedural object is put together from.

A :class:`Part` is one closed surface. Boxes, cylinders and ellipsoids are stretched from cached templates; everything
curved otherwise (lathe, tube, extrusion, loft) goes through one function, :func:`loft`, which finds the hard edges of a
grid of points by itself and doubles the vertices there. Lengths are in the family's own unit (the finished object is
normalised), z is up. No CSG: an object is a union by concatenation, so parts may run into each other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

CREASE_DEGREES = 38.0  # sharper than this between two neighbouring strips is an edge, not a curve


class Part(NamedTuple):
    """A closed surface: vertices (V, 3), faces (F, 3) int32 (counter-clockwise seen from outside), normals (V, 3)."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray

    def move(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
        """The part shifted by (x, y, z)."""
        return self._replace(vertices=self.vertices + (x, y, z))

    def turn(self, axis: str, degrees: float) -> Part:
        """The part rotated about a coordinate axis ("x", "y" or "z") through the origin, right-handed."""
        rotation = _axis_rotation(axis, float(np.deg2rad(degrees))).T
        return Part(self.vertices @ rotation, self.faces, self.normals @ rotation)

    def stretch(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Part:
        """The part scaled per axis about the origin; negative factors mirror it and keep the faces outward."""
        factors = np.array((x, y, z), dtype=np.float64)
        normals = _unit(self.normals / factors)
        # With a negative determinant both the winding and the inverse-transpose normals stay right only if one flips.
        faces = self.faces[:, ::-1] if factors.prod() < 0 else self.faces
        return Part(self.vertices * factors, faces, normals)

    def mirror(self, axis: str) -> Part:
        """The part mirrored in the plane through the origin with the given normal ("x", "y" or "z")."""
        return self.stretch(**{axis: -1.0})

    def shear(self, **amounts: float) -> Part:
        """The part sheared: ``shear(xz=0.3)`` adds 0.3 z to x; any of xy, xz, yx, yz, zx, zy."""
        matrix = np.eye(3)
        for pair, amount in amounts.items():
            matrix["xyz".index(pair[0]), "xyz".index(pair[1])] = amount
        return Part(self.vertices @ matrix.T, self.faces, _unit(self.normals @ np.linalg.inv(matrix)))


def merge(parts: list[Part]) -> Part:
    """Several parts as one, by concatenation."""
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Part(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]).astype(np.int32),
        np.concatenate([part.normals for part in parts]),
    )


def volume(part: Part) -> float:
    """Signed volume enclosed by a part: positive when its faces point outward."""
    a, b, c = (part.vertices[part.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, _cross(b, c)) / 6.0)


def box(size, at=(0.0, 0.0, 0.0), bevel: float = 0.0) -> Part:
    """A box of the given size (3,) centred at `at`; a bevel > 0 rounds its edges (44 triangles instead of 12)."""
    half = np.abs(np.asarray(size, dtype=np.float64)) / 2
    signs, on_face, sharp, rounded = _box_template()
    if bevel <= 0:
        return Part(signs * half + at, sharp, on_face * signs)
    inset = half - min(bevel, 0.49 * 2 * float(half.min()))
    return Part(signs * np.where(on_face, half, inset) + at, rounded, on_face * signs)


def cylinder(start, end, radius: float, end_radius: float | None = None, segments: int = 20) -> Part:
    """A cylinder, frustum (`end_radius`) or cone (`end_radius` 0) between two points; few segments give a prism."""
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    end_radius = radius if end_radius is None else end_radius
    axis = end - start
    length = float(np.sqrt(axis @ axis))
    rotation = _axes_along(axis / length)
    ring, faces, side, low, high = _cylinder_template(segments)
    radii = np.where(low, radius, 0.0) + np.where(high, max(end_radius, 1e-3 * radius), 0.0)
    local = np.column_stack([ring[:, :2] * radii[:, None], ring[:, 2] * length])
    slope = np.arctan2(radius - end_radius, length)
    tilted = np.column_stack([ring[:, 3:5] * np.cos(slope), np.full(len(ring), np.sin(slope))])
    caps = np.column_stack([np.zeros((len(ring), 2)), np.where(ring[:, 2] > 0.5, 1.0, -1.0)])
    normals = np.where(side[:, None], tilted, caps)
    return Part(local @ rotation + start, faces, normals @ rotation)


def ellipsoid(radii, at=(0.0, 0.0, 0.0), segments: int = 20, rings: int = 12) -> Part:
    """An ellipsoid with half axes `radii` (3,) or one radius, centred at `at`."""
    unit, faces = _sphere_template(segments, rings)
    radii = np.broadcast_to(np.asarray(radii, dtype=np.float64), (3,))
    return Part(unit * radii + at, faces, _unit(unit / radii))


def lathe(profile, segments: int = 28, crease: float = CREASE_DEGREES) -> Part:
    """A solid of revolution about z. Profile (N, 2) of (radius, z); open ends are closed by flat discs.

    A profile whose last point repeats its first is a ring (a tyre). A vessel goes up outside and down inside.
    """
    profile = np.asarray(profile, dtype=np.float64)
    ring = bool(np.allclose(profile[0], profile[-1]))
    if ring:
        profile = profile[:-1]
    else:
        low, high = profile[:1] * (0, 1), profile[-1:] * (0, 1)
        profile = np.concatenate([low] * int(profile[0, 0] > 0) + [profile] + [high] * int(profile[-1, 0] > 0))
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    points = np.empty((len(profile), segments, 3))
    points[..., :2] = profile[:, None, :1] * circle
    points[..., 2] = profile[:, 1:]
    return loft(points, closed=ring, caps=False, crease=crease)


def tube(path, radius, segments: int = 10, closed: bool = False, flat: float = 1.0) -> Part:
    """A tube along a path (N, 3) with one radius or a radius per point; ends are capped.

    `flat` scales the tube across the path's plane (a band when large). Frames follow the normal of the path's plane, or
    are carried along a path that has none.
    """
    path = np.asarray(path, dtype=np.float64)
    if closed:
        tangents = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    else:
        tangents = np.gradient(path, axis=0)
    tangents = _unit(tangents)
    centred = path - path.mean(axis=0)
    across = np.linalg.eigh(centred.T @ centred)[1][:, 0]
    if np.abs(tangents @ across).max() < 0.8:
        side = _unit(_cross(tangents, across))
    else:  # not planar, or straight along the axis found
        side = _carried(tangents, np.eye(3)[np.abs(tangents[0]).argmin()])
    other = _cross(side, tangents)
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    # A tube thicker than its bend is tight would turn itself inside out there: it is pinched instead.
    bends = np.diff(tangents, axis=0)
    gaps = np.diff(path, axis=0)
    tightest = np.sqrt((gaps * gaps).sum(axis=1) / np.maximum((bends * bends).sum(axis=1), 1e-12))
    limit = 0.9 * np.minimum(np.append(tightest, np.inf), np.insert(tightest, 0, np.inf))
    radius = np.minimum(np.asarray(radius, dtype=np.float64), limit)[:, None, None]
    points = path[:, None] + radius * (
        side[:, None] * np.cos(angles)[None, :, None] + other[:, None] * (flat * np.sin(angles))[None, :, None]
    )
    return loft(points, closed=closed, caps=not closed, crease=60.0)


def torus(major: float, minor: float, at=(0.0, 0.0, 0.0), axis: str = "z", segments: int = 28, sides: int = 12) -> Part:
    """A ring of radius `major` and thickness `minor` about a coordinate axis through `at`."""
    return tube(circle(major, segments, axis) + np.asarray(at, dtype=np.float64), minor, sides, closed=True)


def circle(radius: float, segments: int = 28, axis: str = "z", start: float = 0.0, stop: float = 360.0) -> np.ndarray:
    """Points (segments, 3) on a circle about a coordinate axis, or on an arc of it (degrees, both ends included)."""
    full = abs(stop - start) >= 360
    angles = np.deg2rad(np.linspace(start, stop, segments, endpoint=not full))
    points = np.zeros((segments, 3))
    first = "xyz".index(axis)
    points[:, (first + 1) % 3] = radius * np.cos(angles)
    points[:, (first + 2) % 3] = radius * np.sin(angles)
    return points


def extrude(outline, depth: float, plane: str = "xy", crease: float = CREASE_DEGREES) -> Part:
    """A flat outline (N, 2) made `depth` thick, centred on its plane: "xy" (thick along z), "xz" (y) or "yz" (x)."""
    outline = np.asarray(outline, dtype=np.float64)
    if (outline[:, 0] * np.roll(outline[:, 1], -1) - outline[:, 1] * np.roll(outline[:, 0], -1)).sum() < 0:
        outline = outline[::-1]
    points = np.empty((2, len(outline), 3))
    points[..., :2], points[0, :, 2], points[1, :, 2] = outline, -depth / 2, depth / 2
    spokes, along = outline - outline.mean(axis=0), np.roll(outline, -1, axis=0) - outline
    if (spokes[:, 0] * along[:, 1] - spokes[:, 1] * along[:, 0] > 0).all():
        solid = loft(points, crease=crease)
    else:
        lids = np.zeros((2, len(outline), 3))
        lids[0, :, 2], lids[1, :, 2] = -1, 1
        triangles = triangulate(outline)
        faces = np.concatenate([triangles[:, ::-1], triangles + len(outline)]).astype(np.int32)
        wall = loft(points[::-1], caps=False, crease=crease, outward=False)
        solid = merge([wall, Part(points.reshape(-1, 3), faces, lids.reshape(-1, 3))])
    first, second = ("xyz".index(letter) for letter in plane)
    order = np.argsort([first, second, 3 - first - second])
    faces = solid.faces if (second - first) % 3 == 1 else solid.faces[:, ::-1]
    return Part(solid.vertices[:, order], faces, solid.normals[:, order])


def loft(
    sections,
    closed: bool = False,
    caps: bool = True,
    crease: float = CREASE_DEGREES,
    outward: bool = True,
) -> Part:
    """A skin through cross-sections (M, N, 3), each a closed loop of N points in step with the others.

    Args:
        sections: the loops, in order along the solid.
        closed: the last section joins the first (a ring).
        caps: close both ends by a fan about the section's centre (a section shrunk to a point needs none).
        crease: degrees between neighbouring strips above which their common edge is hard.
        outward: turn the faces outward by the sign of the volume (False: as the points run).
    """
    points = np.asarray(sections, dtype=np.float64)
    if caps:
        ends = [np.broadcast_to(points[k].mean(axis=0), points[k].shape)[None] for k in (0, -1)]
        points = np.concatenate([ends[0], points, ends[1]])
    count, width = points.shape[:2]
    row_next = np.arange(1, count + 1) % count if closed else np.arange(1, count)
    row_here = np.arange(len(row_next))
    column = np.arange(width)
    column_next = np.roll(column, -1)

    low, high = points[row_here], points[row_next]
    quads = _cross(high[:, column_next] - low, high - low[:, column_next])  # (R, N, 3), twice the area
    lengths = np.sqrt(np.einsum("rnc,rnc->rn", quads, quads))
    solid = lengths > 1e-10 * max(float(lengths.max()), 1e-300)
    units = quads / np.where(solid, lengths, 1.0)[..., None]

    hard_rows = np.zeros(count, dtype=bool)
    inner = np.arange(count) if closed else np.arange(1, count - 1)
    hard_rows[inner] = _hard(units[inner - 1], units[inner % len(row_here)], solid[inner - 1], crease, axis=1)
    hard_columns = _hard(np.roll(units, 1, axis=1), units, solid, crease, axis=0)

    rows, row_before, row_after, row_index = _split(hard_rows)
    columns, column_before, column_after, column_index = _split(hard_columns)
    padded = np.zeros((count + 1, width, 3))  # index -1 and `count - 1` of an open skin: no strip there
    padded[: len(row_here)] = quads
    by_row = padded[rows] * row_after[:, None, None]
    previous = (rows - 1) % count if closed else np.where(rows == 0, count, rows - 1)
    by_row += padded[previous] * row_before[:, None, None]
    normals = by_row[:, columns] * column_after[:, None] + by_row[:, columns - 1] * column_before[:, None]
    vertices = points[rows][:, columns].reshape(-1, 3)

    wide = len(columns)
    upper, lower = row_index[row_here] + hard_rows[row_here], row_index[row_next]
    left, right = column_index + hard_columns, column_index[column_next]
    a = (upper[:, None] * wide + left).reshape(-1)
    b = (upper[:, None] * wide + right).reshape(-1)
    c = (lower[:, None] * wide + right).reshape(-1)
    d = (lower[:, None] * wide + left).reshape(-1)
    faces = np.concatenate([np.column_stack([a, c, b]), np.column_stack([a, d, c])])
    corners = vertices[faces]
    areas = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sizes = np.einsum("fc,fc->f", areas, areas)
    faces = faces[sizes > 1e-20 * max(float(sizes.max()), 1e-300)].astype(np.int32)
    part = Part(vertices, faces, -_unit(normals.reshape(-1, 3)))
    # Winding first, normals to match: quads point along `cross(diagonals)`, the triangles (a, c, b) the other way.
    if outward and volume(part) < 0:
        part = Part(vertices, faces[:, ::-1], -part.normals)
    return part


def triangulate(outline) -> np.ndarray:
    """Triangles (N - 2, 3), counter-clockwise, of a simple polygon (N, 2), by ear clipping (quadratic: keep N small).

    The outline is taken to be simple; not every one that crosses itself is noticed.

    Raises:
        ValueError: the outline was found to cross itself.
    """
    outline = np.asarray(outline, dtype=np.float64)
    x, y = outline[:, 0], outline[:, 1]
    order = list(range(len(outline)))
    if (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() < 0:
        order.reverse()
    triangles = []
    at, misses = 0, 0
    while len(order) > 3:
        a, b, c = order[at - 1], order[at % len(order)], order[(at + 1) % len(order)]
        if _is_ear(x, y, a, b, c, np.array(order)):
            triangles.append((a, b, c))
            del order[at % len(order)]
            at, misses = (at + 1) % len(order), 0
        else:
            at, misses = (at + 1) % len(order), misses + 1
        if misses > len(order):
            raise ValueError(f"outline of {len(outline)} points crosses itself: no ear left among {len(order)} points")
    a, b, c = order
    if (x[b] - x[a]) * (y[c] - y[a]) < (y[b] - y[a]) * (x[c] - x[a]):
        raise ValueError(
            f"outline of {len(outline)} points crosses itself: what is left of it runs the wrong way round"
        )
    triangles.append((a, b, c))
    return np.array(triangles, dtype=np.int32)


def curve(points, count: int = 16) -> np.ndarray:
    """A smooth path (count, D) through control points (N, D), both ends included: a centripetal Catmull-Rom spline.

    Centripetal knots (Yuksel, Schaefer, Keyser 2011) keep it free of loops and cusps however unevenly the points lie.
    """
    points = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    steps = np.diff(padded, axis=0)
    spans = np.sqrt(np.sqrt((steps**2).sum(axis=1, keepdims=True)))
    slopes = steps / spans
    across = (padded[2:] - padded[:-2]) / (spans[:-1] + spans[1:])
    tangents = slopes[:-1] - across + slopes[1:]
    knots = np.concatenate([[0.0], np.cumsum(spans[1:-1, 0])])
    where = np.linspace(0.0, knots[-1], count)
    segment = np.clip(np.searchsorted(knots, where, side="right") - 1, 0, len(points) - 2)
    span = spans[1:-1][segment]
    t = (where - knots[segment])[:, None] / span
    start, end = points[segment], points[segment + 1]
    out, into = tangents[segment] * span, tangents[segment + 1] * span
    rise = t * t * (3 - 2 * t)
    return start + rise * (end - start) + t * (1 - t) ** 2 * out - t * t * (1 - t) * into


def rounded_rectangle(width: float, height: float, radius: float, steps: int = 4) -> np.ndarray:
    """Outline (4 * steps, 2) of a rectangle about the origin with round corners, counter-clockwise."""
    radius = min(radius, 0.499 * width, 0.499 * height)
    angles = np.deg2rad(np.linspace(0, 90, steps))
    corner = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    turned = [corner, corner[:, ::-1] * (-1, 1), -corner, corner[:, ::-1] * (1, -1)]
    centre = np.array([width / 2 - radius, height / 2 - radius])
    signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    return np.concatenate([piece + centre * sign for piece, sign in zip(turned, signs, strict=True)])


def _carried(tangents: np.ndarray, start: np.ndarray) -> np.ndarray:
    """One perpendicular per tangent, each the previous one carried along with the least turning."""
    sides = np.empty_like(tangents)
    for row, tangent in enumerate(tangents):
        start = start - tangent * (start @ tangent)
        start = start / np.sqrt(start @ start)
        sides[row] = start
    return sides


def _is_ear(x, y, a: int, b: int, c: int, order: np.ndarray) -> bool:
    if (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a]) <= 0:
        return False
    others = order[(order != a) & (order != b) & (order != c)]
    px, py = x[others], y[others]
    inside = np.ones(len(others), dtype=bool)
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (x[q] - x[p]) * (py - y[p]) - (y[q] - y[p]) * (px - x[p]) >= 0
    return not inside.any()


def _hard(before, after, solid, crease: float, axis: int) -> np.ndarray:
    cosines = np.einsum("rnc,rnc->rn", before, after)
    both = solid & (np.einsum("rnc,rnc->rn", after, after) > 0) & (np.einsum("rnc,rnc->rn", before, before) > 0)
    total = both.sum(axis=axis)
    mean = np.where(both, cosines, 0.0).sum(axis=axis) / np.maximum(total, 1)
    return (total > 0) & (mean < np.cos(np.deg2rad(crease)))


def _split(hard: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Doubles the hard lines: each copy's source, whether it meets the strip before / after, the first copy's index."""
    lines = np.repeat(np.arange(len(hard)), 1 + hard)
    first = np.cumsum(1 + hard) - (1 + hard)
    is_first = np.zeros(len(lines), dtype=bool)
    is_first[first] = True
    before = is_first
    after = ~is_first | ~hard[lines]
    return lines, before.astype(np.float64), after.astype(np.float64), first


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product over the last axis; without the axis juggling that makes `np.cross` slow on small arrays."""
    result = np.empty(np.broadcast_shapes(a.shape, b.shape))
    result[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    result[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    result[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return result


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _axis_rotation(axis: str, angle: float) -> np.ndarray:
    first = "xyz".index(axis)
    second, third = (first + 1) % 3, (first + 2) % 3
    rotation = np.eye(3)
    rotation[second, second] = rotation[third, third] = np.cos(angle)
    rotation[second, third], rotation[third, second] = -np.sin(angle), np.sin(angle)
    return rotation


def _axes_along(axis: np.ndarray) -> np.ndarray:
    """Rows: an orthonormal right-handed frame whose third row is `axis`."""
    other = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 1.0, 0])
    if abs(axis[2]) > 0.999:
        other = np.array([1.0, 0, 0])
    first = other - axis * (other @ axis)
    first /= np.sqrt(first @ first)
    second = np.array(
        [
            axis[1] * first[2] - axis[2] * first[1],
            axis[2] * first[0] - axis[0] * first[2],
            axis[0] * first[1] - axis[1] * first[0],
        ]
    )
    return np.stack([first, second, axis])


@lru_cache(maxsize=1)
def _box_template() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    signs, on_face = [], []
    for axis in range(3):
        for sign in (-1, 1):
            for u, v in ((-1, -1), (-1, 1), (1, 1), (1, -1)):
                corner = [0, 0, 0]
                corner[axis], corner[(axis + 1) % 3], corner[(axis + 2) % 3] = sign, u, v
                signs.append(corner)
                on_face.append([index == axis for index in range(3)])
    signs, on_face = np.array(signs, dtype=np.float64), np.array(on_face)
    spread = signs * np.where(on_face, 1.0, 0.7)
    quads = [np.arange(4) + 4 * face for face in range(6)]
    edges, corners = [], []
    key = {
        tuple(sign) + (int(face.argmax()),): index
        for index, (sign, face) in enumerate(zip(signs.astype(int).tolist(), on_face, strict=True))
    }
    for axis in range(3):
        second, third = (axis + 1) % 3, (axis + 2) % 3
        for u in (-1, 1):
            for v in (-1, 1):
                ends = []
                for sign in (-1, 1):
                    corner = [0, 0, 0]
                    corner[axis], corner[second], corner[third] = sign, u, v
                    ends.append(tuple(corner))
                edges.append(
                    [
                        key[ends[0] + (second,)],
                        key[ends[1] + (second,)],
                        key[ends[1] + (third,)],
                        key[ends[0] + (third,)],
                    ]
                )
    for corner in {tuple(sign) for sign in signs.astype(int).tolist()}:
        corners.append([key[corner + (axis,)] for axis in range(3)])
    sharp = _outward(spread, [list(quad[[0, 1, 2]]) for quad in quads] + [list(quad[[0, 2, 3]]) for quad in quads])
    strips = [[e[0], e[1], e[2]] for e in edges] + [[e[0], e[2], e[3]] for e in edges]
    return signs, on_face, sharp, np.concatenate([sharp, _outward(spread, strips + sorted(corners))])


def _outward(points: np.ndarray, triangles: list) -> np.ndarray:
    triangles = np.array(triangles, dtype=np.int32)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    inward = np.einsum("fc,fc->f", _cross(b - a, c - a), a + b + c) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return triangles


@lru_cache(maxsize=64)
def _cylinder_template(segments: int):
    """Ring points (x, y, z in 0..1, normal x, y), faces, and which vertices are side / low ring / high ring."""
    hard = 360.0 / segments > CREASE_DEGREES
    angles = np.arange(segments) * 2 * np.pi / segments
    circle_points = np.column_stack([np.cos(angles), np.sin(angles)])
    middle = np.column_stack([np.cos(angles + np.pi / segments), np.sin(angles + np.pi / segments)])
    # Side vertices: with hard edges each panel owns its two corners, else neighbours share them.
    start = circle_points
    stop = np.roll(circle_points, -1, axis=0)
    ring, normal = (np.concatenate([start, stop]), np.concatenate([middle, middle])) if hard else (start, start)
    count = len(ring)
    rows = [
        np.column_stack([ring, np.zeros(count), normal]),
        np.column_stack([ring, np.ones(count), normal]),
        np.column_stack([circle_points, np.zeros(segments), circle_points]),
        np.column_stack([circle_points, np.ones(segments), circle_points]),
    ]
    column = np.arange(segments)
    following = column + segments if hard else np.roll(column, -1)
    first = np.column_stack([column, following, following + count])
    sides = np.concatenate([first, np.column_stack([column, following + count, column + count])])
    fan = np.column_stack([np.zeros(segments - 2, dtype=int), column[1:-1], column[2:]])
    faces = np.concatenate([sides, fan[:, ::-1] + 2 * count, fan + 2 * count + segments]).astype(np.int32)
    points = np.concatenate(rows)
    side = np.arange(len(points)) < 2 * count
    high = points[:, 2] > 0.5
    return points, faces, side, ~high, high


@lru_cache(maxsize=64)
def _sphere_template(segments: int, rings: int) -> tuple[np.ndarray, np.ndarray]:
    heights = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    profile = np.column_stack([np.cos(heights), np.sin(heights)])
    profile[0, 0] = profile[-1, 0] = 0.0
    part = lathe(profile, segments, crease=180.0)
    return part.vertices, part.faces
