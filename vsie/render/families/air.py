"""What flies: airplane, helicopter, rocket. The nose is at +x (the rocket stands upright, its hatch at +x)."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import Part, box, circle, curve, cylinder, ellipsoid, extrude, lathe, loft, tube


def _wing(root: tuple, tip: tuple, root_chord: float, tip_chord: float, thick: float = 0.1) -> Part:
    """A tapering blade from a root point to a tip point, chords along x, trailing edges behind the points."""
    sections = []
    for point, chord in ((root, root_chord), (tip, tip_chord)):
        profile = np.array([(0, 0), (-0.3, 0.55), (-1, 0), (-0.3, -0.35)]) * (chord, thick * chord)
        upright = abs(tip[2] - root[2]) > abs(tip[1] - root[1])
        offsets = np.column_stack([profile[:, 0], profile[:, 1] * upright, profile[:, 1] * (not upright)])
        sections.append(np.asarray(point) + offsets)
    return loft(sections, crease=80)


def airplane(design: Design) -> None:
    """An aircraft: airliner, propeller plane, biplane, jet fighter or glider."""
    kind = design.pick("liner", "liner", "propeller", "biplane", "jet", "glider")
    length = design.uniform(2.4, 3.4)
    radius = (
        length
        * {"liner": 0.055, "propeller": 0.07, "biplane": 0.08, "jet": 0.06, "glider": 0.045}[kind]
        * design.uniform(0.9, 1.15)
    )
    nose, tail = length / 2, -length / 2
    x = np.array([0, 0.02, 0.06, 0.14, 0.3, 0.62, 0.8, 0.92, 1.0])
    width = np.array([0.02, 0.4, 0.7, 0.95, 1, 1, 0.75, 0.42, 0.12])
    drop = np.array([-0.2, -0.15, -0.1, 0, 0, 0, 0.2, 0.4, 0.55])
    angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    sections = [
        np.column_stack(
            [
                np.full(18, nose - share * length),
                radius * wide * np.cos(angles),
                radius * (wide * np.sin(angles) + lift),
            ]
        )
        for share, wide, lift in zip(x, width, drop, strict=True)
    ]
    design.add(loft(sections, crease=60))
    span = (
        length
        * {"liner": 0.48, "propeller": 0.5, "biplane": 0.42, "jet": 0.34, "glider": 0.8}[kind]
        * design.uniform(0.88, 1.12)
    )
    sweep = {"liner": 0.45, "jet": 0.9}.get(kind, 0.03) * design.uniform(0.6, 1.1)
    chord = length * {"liner": 0.2, "jet": 0.36, "glider": 0.1}.get(kind, 0.17) * design.uniform(0.9, 1.2)
    taper = {"liner": 0.35, "jet": 0.2, "glider": 0.4}.get(kind, design.uniform(0.6, 1.0))
    heights = (-0.6, 1.6) if kind == "biplane" else (design.pick(-0.6, -0.6, 0.75),)
    start = nose - length * {"jet": 0.42, "propeller": 0.28, "biplane": 0.2}.get(kind, 0.36)
    lift = design.uniform(0.0, 0.14) if kind != "biplane" else 0.0
    for side in (-1, 1):
        for height in heights:
            root = (start, 0, radius * height)
            tip = (start - sweep * span, side * span, radius * height + lift * span)
            design.add(_wing(root, tip, chord, chord * taper), color="second")
            mark = np.array(root) * 0.25 + np.array(tip) * 0.75
            patch = box((chord * 0.4, span * 0.18, chord * 0.11), mark - (chord * 0.25, 0, 0))
            if side == 1 or design.chance(0.5):
                design.add(patch, color="accent")
        if kind == "biplane":
            for share in (0.45, 0.85):
                foot = (start - chord * 0.4, side * span * share, radius * -0.6)
                design.add(cylinder(foot, (foot[0], foot[1], radius * 1.6), 0.02, segments=6), color="third")
    tail_span, fin = length * design.uniform(0.13, 0.19), length * design.uniform(0.12, 0.2)
    fin_style = design.pick("low", "tee", "twin") if kind != "jet" else design.pick("twin", "low")
    tail_z = fin if fin_style == "tee" else radius * 0.6
    back = tail + length * 0.15
    for side in (-1, 1):
        design.add(
            _wing(
                (back, 0, tail_z),
                (back - 0.4 * tail_span, side * tail_span * 1.2, tail_z),
                length * 0.11,
                length * 0.06,
            ),
            color="second",
        )
        if fin_style == "twin":
            root = (back, side * tail_span * 0.9, radius * 0.4)
            design.add(
                _wing(root, (back - 0.1, side * tail_span * 0.95, fin), length * 0.11, length * 0.07), color="accent"
            )
    if fin_style != "twin":
        design.add(
            _wing((back, 0, radius * 0.4), (back - fin * 0.5, 0, fin + radius * 0.4), length * 0.15, length * 0.08),
            color="accent",
        )
    if kind == "liner":
        for k in range(design.integer(1, 2)):
            for side in (-1, 1):
                at = np.array((start - sweep * span * (0.35 + 0.3 * k), side * span * (0.35 + 0.3 * k), -radius * 1.2))
                size = radius * 0.5
                design.add(cylinder(at + (0.1, 0, 0), at - (chord * 0.5, 0, 0), size, size * 0.7, 14), color="third")
        design.add(
            box((length * 0.5, radius * 2.03, radius * 0.22), (nose - length * 0.42, 0, radius * 0.25)), color="third"
        )
        design.add(
            box((length * 0.03, radius * 1.3, radius * 0.3), (nose - length * 0.075, 0, radius * 0.52)).turn("y", 0),
            color="third",
        )
    elif kind in ("propeller", "biplane"):
        hub = np.array((nose + 0.02, 0, -0.15 * radius))
        design.add(cylinder(hub - (0.12, 0, 0), hub + (0.02, 0, 0), radius * 0.75, radius * 0.6, 16), color="accent")
        design.add(ellipsoid((radius * 0.6, radius * 0.3, radius * 0.3), hub, 12, 8), color="third")
        for angle in np.arange(design.integer(2, 4)) * 180.0:
            blade = box((0.03, 0.08, radius * 4.4)).turn("x", angle / 2 + 30).move(*(hub + (0.05, 0, 0)))
            design.add(blade, color="third")
        for side in (-1, 1):
            design.add(
                cylinder((start, side * radius, -radius), (start, side * radius * 2, -radius * 2.4), 0.025, segments=6),
                color="third",
            )
            y = side * radius * 2
            design.add(
                cylinder((start, y - 0.03, -radius * 2.5), (start, y + 0.03, -radius * 2.5), radius * 0.6, segments=14),
                color="third",
            )
    if kind != "liner":
        canopy = ellipsoid(
            (length * 0.09, radius * 0.7, radius * 0.8), (nose - length * 0.26, 0, radius * 0.85), 16, 10
        )
        design.add(canopy, color="third")
    if kind == "jet":
        for side in (-1, 1):
            inlet = box(
                (length * 0.3, radius * 0.9, radius * 1.1),
                (nose - length * 0.45, side * radius * 1.1, -0.1 * radius),
                0.03,
            )
            design.add(inlet, color="main")
        design.add(cylinder((tail, 0, 0), (tail - 0.15, 0, 0), radius * 0.6, radius * 0.45, 14), color="third")
        design.add(
            cylinder((nose - 0.1, 0, -0.1 * radius), (nose + 0.25, 0, -0.15 * radius), radius * 0.4, 0.0, 12),
            color="accent",
        )


def helicopter(design: Design) -> None:
    """A helicopter: bubble, transport, gunship or one with two rotors."""
    kind = design.pick("bubble", "transport", "gunship", "tandem")
    length, radius = design.uniform(1.1, 1.6), design.uniform(0.36, 0.48)
    slim = 0.62 if kind == "gunship" else 1.0
    if kind == "tandem":
        length *= 1.5
        design.add(box((length * 1.2, radius * 1.5, radius * 1.5), (0, 0, 0), radius * 0.35))
        design.add(
            ellipsoid((radius * 0.9, radius * 0.75, radius * 0.75), (length * 0.58, 0, -0.02), 18, 12), color="third"
        )
        masts = [(length * 0.45, radius * 1.15), (-length * 0.5, radius * 1.8)]
        design.add(box((radius, radius * 0.6, radius * 1.2), (-length * 0.5, 0, radius * 1.1), 0.1), color="second")
    else:
        design.add(ellipsoid((length * 0.52, radius * slim, radius * 0.95), (0, 0, 0), 24, 14))
        glass = ellipsoid((length * 0.3, radius * slim * 0.9, radius * 0.75), (length * 0.26, 0, radius * 0.16), 18, 12)
        design.add(glass, color="third")
        boom_high = design.uniform(0.1, 0.3)
        boom = length * design.uniform(1.0, 1.35)
        design.add(
            cylinder(
                (-length * 0.3, 0, radius * 0.3),
                (-length * 0.3 - boom, 0, radius * 0.3 + boom_high),
                radius * 0.34,
                0.06,
                12,
            ),
            color=design.pick("main", "second"),
        )
        end = np.array((-length * 0.3 - boom, 0, radius * 0.3 + boom_high))
        fin = extrude([(0.22, -0.05), (0.02, 0.42), (-0.16, 0.42), (-0.1, -0.05)], 0.06, "xz")
        design.add(fin.move(*end), color="accent")
        design.add(box((0.16, design.uniform(0.5, 0.8), 0.035), end + (0.22, 0, 0)), color="second")
        for angle in (20, 110):
            blade = box((0.07, 0.025, 0.6)).turn("y", angle)
            design.add(blade.move(*(end + (-0.03, 0.08, 0.2))), color="second")
        masts = [(design.uniform(-0.05, 0.15) * length, radius * 1.15)]
        design.add(
            box((length * 0.5, radius * 0.8, radius * 0.4), (masts[0][0] - 0.08, 0, radius * 0.88), 0.07),
            color="second",
        )
    blades = design.integer(2, 5)
    reach = length * (0.6 if kind == "tandem" else design.uniform(0.85, 1.1))
    phase = design.uniform(0, 360)
    for k, (x, z) in enumerate(masts):
        design.add(cylinder((x, 0, z - 0.3), (x, 0, z + 0.16), 0.05, segments=10), color="third")
        design.add(cylinder((x, 0, z + 0.1), (x, 0, z + 0.2), 0.12, segments=12), color="accent")
        for blade in range(blades):
            plank = box((reach, 0.09, 0.03), (reach / 2, 0, 0)).turn("z", phase + 30 * k + 360 * blade / blades)
            design.add(plank.move(x, 0, z + 0.15), color="third")
    gear = design.pick("skids", "skids", "wheels")
    base = -radius - 0.16
    for side in (-1, 1):
        y = side * radius * 0.85
        if gear == "skids":
            runner = curve([(-length * 0.45, y, base), (length * 0.35, y, base), (length * 0.5, y, base + 0.12)], 12)
            design.add(tube(runner, 0.04, 8), color="second")
            for x in (-0.25, 0.25):
                design.add(
                    cylinder((x * length, y, base), (x * length, y * 0.4, -radius * 0.5), 0.03, segments=8),
                    color="second",
                )
        else:
            design.add(
                cylinder((-0.1, y - 0.06, base + 0.06), (-0.1, y + 0.06, base + 0.06), 0.13, segments=14),
                color="second",
            )
            design.add(
                cylinder((-0.1, y, base + 0.06), (-0.1, y * 0.4, -radius * 0.5), 0.04, segments=8), color="second"
            )
    if gear == "wheels":
        design.add(
            cylinder((length * 0.4, -0.06, base + 0.04), (length * 0.4, 0.06, base + 0.04), 0.11, segments=14),
            color="second",
        )
        design.add(
            cylinder((length * 0.4, 0, base), (length * 0.36, 0, -radius * 0.4), 0.04, segments=8), color="second"
        )
    if kind == "gunship":
        for side in (-1, 1):
            design.add(box((0.28, 0.5, 0.06), (-0.05, side * 0.42, -0.05)), color="second")
            design.add(
                cylinder((-0.25, side * 0.6, -0.12), (0.3, side * 0.6, -0.12), 0.08, segments=12), color="accent"
            )
        design.add(cylinder((length * 0.42, 0, -0.2), (length * 0.75, 0, -0.25), 0.035, segments=8), color="accent")
    else:
        door = box((0.34, radius * slim * 2.0, radius * 0.7), (-length * 0.08, 0, -radius * 0.05), 0.05)
        design.add(door, color="accent")


def rocket(design: Design) -> None:
    """A rocket standing upright: the hatch, a boarding ladder or the orbiter at +x."""
    high, radius = design.uniform(1.6, 2.6), design.uniform(0.22, 0.36)
    nose = design.pick("ogive", "cone", "capsule", "dome")
    belly = design.uniform(1.0, 1.45)
    profile = [(radius * 0.75, 0), (radius * belly, 0.35 * high), (radius, 0.7 * high)]
    body = curve(profile, 12) if design.chance(0.5) else np.array([(radius, 0), (radius, 0.7 * high)])
    design.add(lathe(body, design.pick(28, 28, 8)))
    tip = {
        "ogive": [(radius, 0.7), (radius * 0.8, 0.82), (radius * 0.4, 0.94), (0, 1.0)],
        "cone": [(radius, 0.7), (0, 0.95)],
        "capsule": [(radius, 0.7), (radius * 0.55, 0.8), (radius * 0.5, 0.86), (0.03, 0.9), (0.03, 1.0)],
        "dome": [(radius, 0.7), (radius * 0.9, 0.78), (radius * 0.55, 0.85), (0, 0.88)],
    }[nose]
    tip = np.array(tip) * (1, high)
    design.add(lathe(tip, 28), color="second")
    for k in range(design.integer(0, 2)):
        z = high * (0.2 + 0.22 * k)
        wide = float(np.interp(z, body[:, 1], body[:, 0])) * 1.03
        design.add(lathe([(wide, 0), (wide, 0.08)], 28).move(z=z), color="third")
    fins = design.integer(3, 4)
    reach = design.uniform(0.25, 0.5)
    shape = design.pick("delta", "swept", "legs")
    for k in range(fins):
        outline = {
            "delta": [(0, 0.0), (reach, -0.02), (0, 0.28 * high)],
            "swept": [(0, 0.06 * high), (reach, -0.16), (reach, 0.06), (0, 0.3 * high)],
            "legs": [(0, 0.22 * high), (reach * 1.2, -0.25), (reach * 1.2 + 0.1, -0.25), (0.0, 0.34 * high)],
        }[shape]
        fin = extrude(np.array(outline) + (radius * 0.7, 0), 0.06, "xz").turn("z", 360 * k / fins + 180 / fins)
        design.add(fin, color="third")
    for k in range(design.integer(1, 3)):
        angle = 2.1 * k
        at = (0.12 * np.cos(angle) * (k > 0), 0.12 * np.sin(angle) * (k > 0))
        design.add(lathe([(0.13, -0.2), (0.06, 0.02)], 14).move(at[0], at[1], 0), color="second")
    windows = design.integer(1, 3)
    for k in range(windows):
        z = high * (0.6 - 0.14 * k)
        wide = float(np.interp(z, body[:, 1], body[:, 0]))
        design.add(cylinder((wide * 0.9, 0, z), (wide + 0.05, 0, z), 0.11, segments=16), color="accent")
    side = design.pick("orbiter", "boosters", "ladder", "patch")
    wide = float(body[:, 0].max())
    if side == "orbiter":
        x = wide + 0.12
        design.add(
            loft(
                [
                    np.column_stack([circle(0.16 * s, 14, "z")[:, :2] + (x, 0), np.full(14, z * high)])
                    for z, s in ((0.02, 1), (0.4, 1), (0.52, 0.75), (0.6, 0.1))
                ],
                crease=60,
            ),
            color="accent",
        )
        wing = extrude([(-0.45, 0.02), (0.45, 0.02), (0.12, 0.34 * high), (-0.12, 0.34 * high)], 0.05, "yz")
        design.add(wing.move(x=x - 0.02), color="accent")
        design.add(box((0.22, 0.04, 0.25), (x + 0.2, 0, 0.15)), color="third")
    elif side == "boosters":
        for y in (-1, 1):
            booster = lathe([(0.12, 0), (0.12, 0.45 * high), (0, 0.58 * high)], 16)
            design.add(booster.move(0, y * (wide + 0.13), -0.05), color="second")
        design.add(box((0.04, 0.28, high * 0.22), (wide + 0.01, 0, high * 0.24)), color="accent")
    elif side == "ladder":
        for y in (-0.09, 0.09):
            design.add(box((0.035, 0.035, high * 0.6), (wide + 0.05, y, high * 0.25)), color="accent")
        for z in np.linspace(-0.03, 0.53, 8) * high:
            design.add(box((0.035, 0.2, 0.035), (wide + 0.05, 0, z)), color="accent")
    else:
        design.add(box((wide * 1.1, wide * 1.2, high * 0.16), (wide * 0.5, 0, high * 0.33)), color="accent")
        design.add(box((wide, wide * 0.5, high * 0.3), (0, -wide * 0.78, high * 0.33)), color="second")
