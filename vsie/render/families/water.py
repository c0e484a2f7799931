"""What swims: boat and submarine. The bow is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import Part, box, circle, curve, cylinder, ellipsoid, extrude, lathe, loft, torus, tube


def _hull(length: float, width: float, deep: float, sheer: float, stern: float, well: float) -> Part:
    """A hull from stern to bow; `stern` is the transom's relative width, a well > 0 leaves the inside open."""
    share = np.linspace(0, 1, 15)
    x = (share - 0.5) * length
    half = width / 2 * np.interp(share, [0, 0.35, 0.65, 0.85, 0.95, 1.0], [stern, 1.0, 0.95, 0.6, 0.28, 0.02])
    keel = -deep * np.interp(share, [0, 0.2, 0.8, 1.0], [0.75, 1.0, 0.9, 0.15])
    top = sheer * (2 * np.abs(share - 0.4)) ** 2
    sections = []
    for where, wide, low, high in zip(x, half, keel, top, strict=True):
        outside = [(wide, high), (wide * 0.93, low * 0.35), (wide * 0.6, low * 0.85), (0.0, low)]
        outside += [(-y, z) for y, z in outside[-2::-1]]
        inner = max(wide - 0.05, 0.3 * wide)
        depth = well * float(np.interp(abs(where) / length, [0.38, 0.46], [1.0, 0.0]))
        floor = high - max(depth * (high - low), 0.002)
        inside = [(-inner, high), (-inner * 0.85, floor), (inner * 0.85, floor), (inner, high)]
        ring = np.array(outside + inside)
        sections.append(np.column_stack([np.full(len(ring), where), ring]))
    return loft(sections, crease=50)


def boat(design: Design) -> None:
    """A boat: sailing boat, motor boat, rowing boat, fishing boat, steamer or container ship."""
    kind = design.pick("sail", "sail", "motor", "row", "fishing", "ship")
    length = design.uniform(1.8, 2.6) * (1.35 if kind == "ship" else 1.0)
    width, deep = length * design.uniform(0.27, 0.36), length * design.uniform(0.12, 0.17)
    if kind == "ship":
        width *= 0.75
    well = {"row": 0.7, "sail": design.pick(0.0, 0.35), "motor": 0.3}.get(kind, 0.0)
    sheer = length * design.uniform(0.03, 0.1)
    design.add(_hull(length, width, deep, sheer, design.uniform(0.45, 0.95), well))
    rail = length * 0.5
    deck = 0.0
    stripe = np.array([(-0.42, 0.5), (0.1, 0.48), (0.3, 0.36), (0.47, 0.1)]) * (length, width)
    for side in (-1, 1):
        path = curve(
            np.column_stack([stripe[:, 0], side * (stripe[:, 1] + 0.01), [0.0, 0.01, sheer * 0.45, sheer * 1.2]]), 14
        )
        design.add(tube(path, 0.025, 6), color="accent")
    if kind == "sail":
        mast_x, mast = length * design.uniform(0.02, 0.15), length * design.uniform(0.9, 1.25)
        design.add(cylinder((mast_x, 0, -deep * 0.5), (mast_x, 0, mast), 0.03, 0.02, 8), color="second")
        boom = length * design.uniform(0.4, 0.5)
        swing = design.uniform(-22, 22)
        kind_of = design.pick("bermuda", "gaff", "square")
        if kind_of == "square":
            for k in range(design.integer(1, 2)):
                z = mast * (0.35 + 0.33 * k)
                belly = np.linspace(-1, 1, 9)
                sail = np.column_stack([0.14 * (1 - belly**2), belly * width * (0.95 - 0.2 * k)])
                cloth = extrude(np.concatenate([sail, sail[::-1] - (0.03, 0)]), mast * 0.28)
                design.add(cloth.move(mast_x, 0, z), color="third")
                design.add(
                    cylinder((mast_x, -width, z + mast * 0.14), (mast_x, width, z + mast * 0.14), 0.022, segments=6),
                    color="second",
                )
        else:
            corners = [(0, 0.16 * mast), (-boom, 0.16 * mast), (-boom * 0.55, 0.55 * mast), (0, 0.97 * mast)]
            if kind_of == "gaff":
                corners = [(0, 0.16 * mast), (-boom, 0.16 * mast), (-boom * 0.8, 0.9 * mast), (0, 0.68 * mast)]
            sail = extrude(corners, 0.03, "xz").turn("z", swing)
            design.add(sail.move(x=mast_x - 0.03), color="third")
            design.add(
                cylinder((0, 0, 0), (-boom * 1.05, 0, 0), 0.022, segments=6)
                .turn("z", swing)
                .move(mast_x, 0, 0.15 * mast),
                color="second",
            )
            mark = box((boom * 0.3, 0.05, mast * 0.12), (-boom * 0.32, 0, mast * 0.36)).turn("z", swing)
            design.add(mark.move(x=mast_x - 0.03), color="accent")
        if design.chance(0.75):
            jib = extrude([(rail - 0.05 - mast_x, sheer), (0.06, 0.8 * mast), (0.08, 0.12 * mast)], 0.03, "xz")
            design.add(jib.turn("z", swing * 0.3).move(x=mast_x), color="accent")
        if not well:
            design.add(
                box((length * 0.28, width * 0.5, deep * 0.6), (-length * 0.12, 0, deep * 0.2), 0.04), color="second"
            )
        flag = box((0.16, 0.02, 0.1), (mast_x - 0.08, 0, mast + 0.0))
        design.add(flag, color="accent")
    elif kind == "row":
        for x in np.linspace(-0.25, 0.2, design.integer(2, 3)) * length:
            design.add(box((0.16, width * 0.92, 0.05), (x, 0, -deep * 0.12)), color="second")
        for side in (-1, 1):
            lock = np.array((-0.02 * length, side * width / 2, 0.05))
            end = lock + (design.uniform(-0.2, 0.2), side * width * 0.7, -deep * 0.5)
            hand = lock - (end - lock) * 0.45
            design.add(cylinder(hand, end, 0.022, segments=8), color="third")
            design.add(ellipsoid((0.09, 0.17, 0.03), end, 12, 6), color="accent")
        design.add(box((0.3, width * 0.2, 0.06), (rail * 0.72, 0, sheer * 0.6)), color="accent")
    elif kind == "motor":
        screen = [(0.02, -width * 0.4), (0.22, -width * 0.3), (0.28, 0), (0.22, width * 0.3), (0.02, width * 0.4)]
        glass = extrude(np.array(screen + [(x - 0.04, y * 0.93) for x, y in screen[::-1]]), deep * 0.8)
        design.add(glass.shear(xz=-0.5).move(length * 0.05, 0, deep * 0.3), color="third")
        cover = ellipsoid((length * 0.3, width * 0.36, deep * 0.4), (length * 0.22, 0, sheer * 0.2), 20, 10)
        design.add(cover, color="second")
        for side in (-1, 1):
            design.add(
                box((0.22, width * 0.3, deep * 0.8), (-length * 0.08, side * width * 0.2, deep * 0.05), 0.05),
                color="accent",
            )
        for k in range(design.integer(1, 2)):
            y = (k - 0.5) * 0.3 if k else 0.0
            design.add(box((0.2, 0.2, 0.3), (-rail - 0.06, y, 0.1), 0.06), color="third")
            design.add(cylinder((-rail - 0.1, y, 0), (-rail - 0.1, y, -deep * 1.1), 0.05, segments=8), color="third")
        if design.chance(0.4):
            for side in (-1, 1):
                design.add(
                    cylinder((-0.2, side * width * 0.42, 0), (-0.2, side * width * 0.4, 0.75), 0.025, segments=8),
                    color="second",
                )
            design.add(box((length * 0.32, width * 0.9, 0.05), (-0.2, 0, 0.76), 0.02), color="accent")
    else:
        at = design.pick(-0.3, -0.22, 0.12) if kind == "fishing" else -0.34
        high = deep * design.uniform(1.1, 1.6)
        house = (length * (0.2 if kind == "fishing" else 0.13), width * 0.66, high)
        design.add(box(house, (at * length, 0, deck + high / 2), 0.03), color="second")
        design.add(
            box((house[0] * 1.02, house[1] * 1.02, high * 0.25), (at * length, 0, deck + high * 0.68)), color="third"
        )
        design.add(box((house[0] * 1.2, house[1] * 1.15, 0.05), (at * length, 0, deck + high + 0.02), 0.01))
        stack = at * length - house[0] * 0.2
        design.add(cylinder((stack, 0, high), (stack - 0.05, 0, high * 1.9), 0.1, 0.085, 14), color="accent")
        if kind == "fishing":
            mast_x = (at + (0.3 if at < 0 else -0.3)) * length
            design.add(cylinder((mast_x, 0, 0), (mast_x, 0, high * 2.4), 0.03, segments=8), color="third")
            design.add(
                cylinder((mast_x, 0, high * 0.7), (mast_x + 0.55, 0, high * 1.9), 0.025, segments=8), color="third"
            )
            design.add(box((0.34, width * 0.45, 0.2), (mast_x + 0.3, 0, 0.1), 0.03), color="accent")
            for side in (-1, 1):
                design.add(torus(0.11, 0.035, (mast_x - 0.25, side * width * 0.52, -0.03), "y", 18, 8), color="accent")
        else:
            count, rows = design.integer(3, 5), design.integer(2, 3)
            for k in range(count):
                x = (-0.2 + 0.52 * (k + 0.5) / count) * length
                for row in range(rows):
                    y = (row + 0.5 - rows / 2) * width * 0.8 / rows
                    tall = deep * 0.5 * design.integer(1, 3)
                    crate = box((0.48 * length / count, width * 0.74 / rows, tall), (x, y, tall / 2))
                    design.add(crate, color=design.pick("second", "third", "accent"))
            design.add(
                cylinder((rail * 0.85, 0, sheer * 0.4), (rail * 0.85, 0, deep * 1.7), 0.03, segments=8), color="third"
            )


def submarine(design: Design) -> None:
    """A submarine: cigar, bathyscaphe with a window, or toy with a big tower."""
    length, radius = design.uniform(1.6, 2.6), design.uniform(0.26, 0.4)
    nose, blunt = length / 2, design.uniform(0.3, 0.7)
    share = np.linspace(0, 1, 15)
    width = np.minimum(1.0, (share / 0.5) ** 0.6) * np.sqrt(
        np.maximum(1 - np.maximum(0, (share - 1 + blunt * 0.5) / (blunt * 0.5)) ** 2, 0)
    )
    hull = np.column_stack([radius * width, (share - 0.5) * length])
    hull[-1, 0] = hull[0, 0] = 0.0
    design.add(lathe(hull, 24, crease=60).turn("y", 90))
    at = length * design.uniform(0.0, 0.15)
    tower, wide = design.uniform(0.22, 0.5), design.uniform(0.13, 0.22)
    style = design.pick("sail", "drum", "cabin")
    base = radius * 0.85
    if style == "sail":
        outline = circle(1.0, 20, "z")[:, :2]
        sections = [
            np.column_stack([outline * (0.34, wide * 0.7) * s + (at - lean, 0), np.full(20, base + z)])
            for s, z, lean in ((1, 0, 0), (0.9, tower, 0.03))
        ]
        design.add(loft(sections), color="second")
    elif style == "drum":
        design.add(cylinder((at, 0, base * 0.7), (at, 0, base + tower), wide * 1.3, segments=22), color="second")
        design.add(torus(wide * 1.3, 0.03, (at, 0, base + tower), "z", 22, 8), color="accent")
    else:
        design.add(box((0.6, wide * 2, tower), (at, 0, base + tower / 2), 0.05), color="second")
        design.add(box((0.05, wide * 1.6, tower * 0.4), (at + 0.3, 0, base + tower * 0.62)), color="third")
    scope = curve(
        [
            (at, 0, base),
            (at, 0, base + tower + 0.3),
            (at + 0.04, 0, base + tower + 0.37),
            (at + 0.16, 0, base + tower + 0.38),
        ],
        12,
    )
    design.add(tube(scope, 0.035, 8), color="third")
    if design.chance(0.5):
        design.add(cylinder((at - 0.12, 0, base), (at - 0.12, 0, base + tower + 0.25), 0.02, segments=6), color="third")
    front = design.pick("window", "stripe", "torpedo")
    if front == "window":
        design.add(ellipsoid((0.14, radius * 0.62, radius * 0.62), (nose - 0.1, 0, 0.02), 18, 10), color="accent")
        design.add(torus(radius * 0.64, 0.05, (nose - 0.1, 0, 0.02), "x", 22, 8), color="second")
    elif front == "stripe":
        design.add(
            lathe([(radius * 1.015, -0.2), (radius * 1.015, 0.2)], 24).turn("y", 90).move(x=nose * 0.45), color="accent"
        )
    else:
        for side in (-1, 1):
            design.add(
                cylinder(
                    (nose * 0.2, side * radius * 0.9, -0.08),
                    (nose * 0.9, side * radius * 0.75, -0.08),
                    0.09,
                    segments=12,
                ),
                color="accent",
            )
    for k in range(design.integer(2, 4)):
        for side in (-1, 1):
            x = at + 0.25 - 0.3 * k
            design.add(
                cylinder((x, side * radius * 0.8, 0.08), (x, side * (radius + 0.03), 0.08), 0.075, segments=14),
                color="third",
            )
    tail = -length / 2
    fin = extrude([(0.32, 0), (0.05, design.uniform(0.24, 0.4)), (-0.12, 0.34), (-0.06, 0)], 0.05, "xz")
    for angle in (0, 90, 180, 270):
        design.add(fin.turn("x", angle).move(x=tail + 0.1), color="second")
    for angle in np.arange(design.integer(3, 5)):
        blade = box((0.04, 0.1, radius * 1.5), (0, 0, radius * 0.0)).turn("x", 60 * angle)
        design.add(blade.move(x=tail - 0.04), color="accent")
    planes = design.uniform(0.3, 0.5)
    design.add(box((0.22, 2 * (radius + planes * 0.5), 0.045), (nose * 0.55, 0, 0.0), 0.01), color="second")
