"""Buildings: tower, house, windmill. The door is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import Part, box, cylinder, ellipsoid, extrude, lathe


def _door(width: float, high: float, arched: bool) -> Part:
    outline = [(-width / 2, 0), (width / 2, 0), (width / 2, high)]
    if arched:
        angles = np.linspace(0, np.pi, 9)[1:-1]
        outline += [(width / 2 * np.cos(a), high + width / 2 * np.sin(a)) for a in angles]
    return extrude(outline + [(-width / 2, high)], 0.08, "yz")


def tower(design: Design) -> None:
    """A tower: castle keep, lighthouse, skyscraper, lattice mast, church tower; a gate and an annex at +x."""
    kind = design.pick("castle", "castle", "lighthouse", "skyscraper", "lattice", "church")
    high, radius = design.uniform(1.3, 2.2), design.uniform(0.25, 0.38)
    front = radius
    if kind == "castle":
        sides = design.pick(4, 4, 8, 24)
        turn = 180 / sides if sides < 24 else 0
        front = radius * (np.cos(np.pi / sides) if sides < 24 else 1.0)
        design.add(cylinder((0, 0, 0), (0, 0, high), radius * 1.1, radius, sides).turn("z", turn))
        crown = design.uniform(1.15, 1.4)
        design.add(
            cylinder((0, 0, high * 0.88), (0, 0, high), radius, radius * crown, sides).turn("z", turn), color="second"
        )
        if design.chance(0.6):
            for angle in np.arange(8) * 45.0 + (22.5 if sides == 8 else 0):
                edge = radius * crown * (0.86 if sides > 4 else 0.8)
                block = box((0.14, 0.16, 0.16), (edge, 0, high + 0.07)).turn("z", angle)
                design.add(block, color="second")
        else:
            design.add(
                cylinder((0, 0, high), (0, 0, high * 1.35), radius * crown, 0.0, sides).turn("z", turn), color="third"
            )
    elif kind == "lighthouse":
        steps = np.linspace(0, 1, design.integer(3, 6) + 1)
        for k, (low, top) in enumerate(zip(steps[:-1], steps[1:], strict=True)):
            ends = (0, 0, low * high), (0, 0, top * high)
            design.add(
                cylinder(*ends, radius * (1.1 - 0.5 * low), radius * (1.1 - 0.5 * top), 24),
                color=("main", "second")[k % 2],
            )
        design.add(cylinder((0, 0, high), (0, 0, high + 0.06), radius * 0.85, segments=24), color="third")
        design.add(cylinder((0, 0, high), (0, 0, high + 0.3), radius * 0.45, segments=16), color="accent")
        design.add(cylinder((0, 0, high + 0.3), (0, 0, high + 0.5), radius * 0.6, 0.0, 16), color="third")
    elif kind == "skyscraper":
        width, tiers = radius * 2, design.integer(1, 4)
        z = 0.0
        for k in range(tiers):
            tall, wide = high / tiers * design.uniform(0.8, 1.2), width * (1 - 0.2 * k)
            design.add(box((wide, wide * 1.1, tall), (-0.1 * radius * k, 0, z + tall / 2)))
            for y in np.linspace(-0.35, 0.35, 3) * wide:
                design.add(
                    box((wide * 1.03, wide * 0.14, tall * 0.86), (-0.1 * radius * k, y, z + tall / 2)), color="second"
                )
            for x in np.linspace(-0.3, 0.3, 2) * wide:
                design.add(
                    box((wide * 0.2, wide * 1.13, tall * 0.86), (x - 0.1 * radius * k, 0, z + tall / 2)), color="third"
                )
            z += tall
        if design.chance(0.7):
            design.add(cylinder((0, 0, z), (0, 0, z + high * 0.3), 0.06, 0.01, 8), color="third")
    elif kind == "lattice":
        levels = np.linspace(0, 1, design.integer(4, 7))
        spread = radius * 1.5 * (1 - levels) ** 1.4 + 0.07
        for k in range(len(levels) - 1):
            z0, z1, s0, s1 = levels[k] * high * 1.2, levels[k + 1] * high * 1.2, spread[k], spread[k + 1]
            for turn in (0, 90, 180, 270):
                leg = cylinder((s0, s0, z0), (s1, s1, z1), 0.045, 0.04, 4).turn("z", turn)
                brace = cylinder((s0, -s0, z0), (s1, s1, z1), 0.022, segments=4).turn("z", turn)
                beam = cylinder((s1, -s1, z1), (s1, s1, z1), 0.025, segments=4).turn("z", turn)
                design.add(leg)
                design.add(brace, beam, color="second")
        design.add(box((spread[1] * 2.6, spread[1] * 2.6, 0.08), (0, 0, levels[1] * high * 1.2)), color="third")
        design.add(cylinder((0, 0, high * 1.2), (0, 0, high * 1.45), 0.04, 0.01, 8), color="third")
        front = spread[0]
    else:
        wide = radius * 1.6
        design.add(box((wide, wide, high), (0, 0, high / 2)))
        design.add(box((wide * 1.12, wide * 1.12, 0.07), (0, 0, high * 0.72)), color="second")
        design.add(
            cylinder((0, 0, high), (0, 0, high * design.uniform(1.25, 1.6)), wide * 0.78, 0.0, 4).turn("z", 45),
            color="third",
        )
        design.add(
            cylinder((wide / 2 - 0.02, 0, high * 0.85), (wide / 2 + 0.05, 0, high * 0.85), wide * 0.3, segments=20),
            color="accent",
        )
        front = wide / 2
    base_high = design.uniform(0.25, 0.5)
    annex = design.pick("wing", "gate", "stairs") if kind not in ("lattice",) else design.pick("gate", "stairs")
    if annex == "wing":
        deep = radius * design.uniform(1.2, 2.2)
        design.add(box((deep, radius * 1.3, base_high), (front + deep / 2 - 0.06, 0, base_high / 2)), color="second")
        roof = extrude([(-radius * 0.75, 0), (radius * 0.75, 0), (0, base_high * 0.6)], deep, "yz")
        design.add(roof.move(front + deep / 2 - 0.06, 0, base_high), color="third")
        front += deep - 0.06
    elif annex == "gate":
        design.add(
            box((0.22, radius * 1.4, base_high * 1.15), (front + 0.05, 0, base_high * 0.58), 0.01), color="second"
        )
        front += 0.16
    else:
        for k in range(4):
            design.add(
                box((0.1, radius * 1.2, 0.06 * (4 - k)), (front + 0.05 + 0.1 * k, 0, 0.03 * (4 - k))), color="third"
            )
    design.add(_door(radius * 0.6, base_high * 0.55, design.chance(0.6)).move(front, 0, 0.0), color="accent")
    if kind in ("castle", "lighthouse", "church"):
        for k in range(design.integer(1, 3)):
            z = high * (0.45 + 0.13 * k)
            at = radius * (1.05 if kind == "castle" else 0.98 - 0.5 * z / high) * (0.88 if kind == "castle" else 1.0)
            design.add(box((0.14, 0.1, 0.15), (at if kind != "church" else radius * 0.8, 0, z)), color="accent")
    if design.chance(0.5):
        top = high * (1.2 if kind == "lattice" else 1.0) + (0.5 if kind == "lighthouse" else 0.0)
        design.add(cylinder((0, 0, top), (0, 0, top + 0.55), 0.018, segments=6), color="second")
        design.add(extrude([(0, 0), (0.34, 0.09), (0, 0.18)], 0.025, "xz").move(0, 0, top + 0.36), color="accent")


def house(design: Design) -> None:
    """A house: gabled, hipped, flat-roofed or round; the door and most windows at +x."""
    width, depth, high = design.uniform(0.8, 1.4), design.uniform(0.7, 1.0), design.uniform(0.45, 0.9)
    kind = design.pick("gable", "gable", "across", "hip", "flat", "hut")
    front = depth / 2
    if kind == "hut":
        design.add(cylinder((0, 0, 0), (0, 0, high), front, segments=24))
        design.add(
            cylinder((0, 0, high * 0.92), (0, 0, high + design.uniform(0.4, 0.8)), front * 1.3, 0.0, 24), color="second"
        )
        width = depth
    else:
        design.add(box((depth, width, high), (0, 0, high / 2)))
        rise, eave = design.uniform(0.25, 0.6), 1.16
        if kind == "gable":
            roof = extrude([(-width / 2 * eave, 0), (width / 2 * eave, 0), (0, rise)], depth * 1.1, "yz")
            design.add(roof.move(z=high), color="second")
        elif kind == "across":
            roof = extrude([(-front * eave * 1.1, 0), (front * eave * 1.1, 0), (0, rise)], width * 1.08, "xz")
            design.add(roof.move(z=high), color="second")
        elif kind == "hip":
            design.add(
                cylinder((0, 0, high), (0, 0, high + rise), 0.8, 0.12, 4).turn("z", 45).stretch(depth, width, 1),
                color="second",
            )
        else:
            design.add(box((depth * 1.1, width * 1.1, 0.08), (0, 0, high), 0.01), color="second")
            upper = design.uniform(0.4, 0.7)
            design.add(
                box((depth * 0.7, width * upper, high * 0.7), (-depth * 0.15, width * (0.5 - upper / 2), high * 1.35))
            )
            design.add(
                box((depth * 0.8, width * upper * 1.1, 0.06), (-depth * 0.15, width * (0.5 - upper / 2), high * 1.7)),
                color="second",
            )
        if kind != "flat" and design.chance(0.7):
            x, y = -depth * 0.18, design.pick(-0.28, 0.28) * width
            design.add(box((0.13, 0.13, rise + 0.25), (x, y, high + (rise + 0.25) / 2)), color="third")
    place = 0.0 if kind == "hut" else design.pick(-0.25, 0.0, 0.25) * width
    tall = min(0.32, high * 0.6)
    design.add(_door(0.2, tall, design.chance(0.4)).move(front, place, 0), color="accent")
    if design.chance(0.5):
        design.add(box((0.3, 0.46, 0.05), (front + 0.13, place, tall + 0.14), 0.01), color="second")
        for side in (-1, 1):
            design.add(
                cylinder(
                    (front + 0.24, place + side * 0.19, 0),
                    (front + 0.24, place + side * 0.19, tall + 0.14),
                    0.022,
                    segments=8,
                ),
                color="third",
            )
    design.add(box((0.24, 0.3, 0.05), (front + 0.1, place, 0.02)), color="third")
    if kind != "hut":
        for y in np.linspace(-0.36, 0.36, design.integer(2, 4)) * width:
            if abs(y - place) > 0.2:
                design.add(box((0.05, 0.17, 0.19), (front, y, high * 0.58)), color="third")
        for side in (-1, 1):
            design.add(
                box((0.2, 0.04, 0.2), (design.uniform(-0.2, 0.2) * depth, side * width / 2, high * 0.55)), color="third"
            )
        if design.chance(0.5):
            side = design.pick(-1, 1)
            shed = (depth * 0.8, width * 0.42, high * 0.6)
            design.add(box(shed, (0, side * width * 0.7, high * 0.3)), color="second")
            design.add(
                box((0.05, width * 0.32, high * 0.42), (depth * 0.4, side * width * 0.7, high * 0.22)), color="accent"
            )
            design.add(box((depth * 0.9, width * 0.5, 0.05), (0, side * width * 0.71, high * 0.61)), color="third")
    if design.chance(0.35):
        at = (front + 0.25, -width * 0.45, 0)
        design.add(cylinder(at, np.add(at, (0, 0, 0.25)), 0.035, segments=8), color="third")
        crown = (0.16, 0.16, 0.2) if design.chance(0.5) else (0.12, 0.12, 0.3)
        design.add(ellipsoid(crown, np.add(at, (0, 0, 0.4)), 14, 10), color="accent")


def windmill(design: Design) -> None:
    """A windmill or a wind turbine; the sails look along +x."""
    high, radius = design.uniform(0.9, 1.4), design.uniform(0.25, 0.4)
    kind = design.pick("tower", "post", "turbine", "western")
    hub_z = high + 0.12
    if kind == "tower":
        design.add(cylinder((0, 0, 0), (0, 0, high), radius * 1.2, radius * 0.7, design.pick(8, 24)))
        design.add(
            lathe([(radius * 0.8, 0), (radius * 0.75, 0.14), (radius * 0.3, 0.34), (0, 0.38)], 20).move(z=high),
            color="second",
        )
        hub_x = radius * 0.95
        design.add(box((0.1, 0.2, 0.32), (radius * 1.15, 0, 0.16)), color="accent")
        design.add(box((0.1, 0.13, 0.13), (radius * 0.95, 0, high * 0.6)), color="third")
        if design.chance(0.5):
            design.add(cylinder((0, 0, high * 0.35), (0, 0, high * 0.4), radius * 1.55, segments=24), color="third")
    elif kind == "post":
        design.add(box((radius * 1.9, radius * 1.5, high * 0.6), (0, 0, high * 0.7), 0.01))
        roof = extrude([(-radius * 0.85, 0), (radius * 0.85, 0), (0, 0.36)], radius * 2.0, "yz")
        design.add(roof.move(z=high), color="second")
        for angle in (45, 135, 225, 315):
            foot = (0.42 * np.cos(np.deg2rad(angle)), 0.42 * np.sin(np.deg2rad(angle)), 0)
            design.add(cylinder(foot, (0, 0, high * 0.5), 0.045, segments=6), color="third")
        hub_x = radius * 1.05
        design.add(cylinder((-radius, 0, high * 0.5), (-radius * 2.2, 0, 0), 0.04, segments=6), color="third")
    elif kind == "western":
        for turn in (0, 90, 180, 270):
            design.add(cylinder((0.26, 0.26, 0), (0.04, 0.04, high), 0.035, segments=6).turn("z", turn))
            for share in (0.3, 0.6):
                s = 0.26 - 0.22 * share
                design.add(cylinder((s, -s, share * high), (s, s, share * high), 0.022, segments=5).turn("z", turn))
        hub_x = 0.16
        design.add(box((0.3, 0.12, 0.14), (0, 0, hub_z), 0.02), color="second")
        design.add(cylinder((0, 0, hub_z), (-0.5, 0, hub_z), 0.025, segments=6), color="second")
        vane = extrude([(-0.45, -0.06), (-0.45, 0.06), (-0.75, 0.2), (-0.75, -0.2)], 0.03, "xz")
        design.add(vane.move(z=hub_z), color="accent")
    else:
        high *= 1.25
        hub_z = high
        design.add(cylinder((0, 0, 0), (0, 0, high), 0.1, 0.055, 16))
        design.add(box((0.42, 0.17, 0.17), (-0.04, 0, high), 0.06), color="second")
        design.add(cylinder((0, 0, 0), (0, 0, 0.08), radius, radius * 0.9, 20), color="third")
        hub_x = 0.24
    design.add(cylinder((hub_x - 0.12, 0, hub_z), (hub_x + 0.08, 0, hub_z), 0.07, 0.05, 14), color="accent")
    count = {"turbine": 3, "western": design.integer(8, 14)}.get(kind, design.pick(4, 4, 5, 6))
    reach = high * design.uniform(0.55, 0.72) * (0.6 if kind == "western" else 1.0)
    phase = design.uniform(0, 90)
    for k in range(count):
        angle = phase + 360 * k / count
        if kind == "turbine":
            blade = extrude([(-0.03, 0.05), (0.07, 0.18), (0.02, reach), (-0.02, reach), (-0.05, 0.18)], 0.04, "yz")
            design.add(blade.turn("x", angle).move(hub_x, 0, hub_z), color="third")
        elif kind == "western":
            blade = extrude([(-0.03, 0.1), (0.03, 0.1), (0.09, reach), (-0.09, reach)], 0.025, "yz").turn("x", angle)
            design.add(blade.move(hub_x, 0, hub_z), color=("third", "accent")[k % 2])
        else:
            spar = box((0.035, 0.045, reach), (0, 0, reach / 2)).turn("x", angle)
            cloth = box((0.025, 0.2, reach * 0.75), (0, 0.09, reach * 0.6)).turn("x", angle)
            design.add(spar.move(hub_x, 0, hub_z), color="second")
            design.add(cloth.move(hub_x, 0, hub_z), color="third")
