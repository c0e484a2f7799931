"""Devices with a screen or keys: monitor, laptop, phone. They look along +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import (
    Part,
    box,
    circle,
    curve,
    cylinder,
    ellipsoid,
    extrude,
    lathe,
    loft,
    rounded_rectangle,
    torus,
    tube,
)


def _screen(width: float, height: float) -> list[tuple[Part, str]]:
    """What a screen shows, as raised patches in the yz plane at x = 0: a bar, a window, an icon."""
    return [
        (box((0.012, width, height)), "third"),
        (box((0.02, width * 0.9, height * 0.12), (0, 0, height * 0.38)), "accent"),
        (box((0.02, width * 0.4, height * 0.45), (0, width * 0.22, -height * 0.08)), "accent"),
    ]


def monitor(design: Design) -> None:
    """A screen on a stand: flat, curved, deep (tube), all-in-one, two side by side, or a television on feet."""
    kind = design.pick("flat", "flat", "curved", "crt", "dual", "portrait", "television")
    high = design.uniform(0.4, 0.62)
    width = high * {"portrait": 0.62, "crt": 1.2, "curved": 2.0, "television": 1.75}.get(
        kind, design.uniform(1.25, 1.8)
    )
    lift, frame, deep = design.uniform(0.14, 0.4), design.uniform(0.02, 0.07), design.uniform(0.05, 0.13)
    if kind == "television":
        lift = 0.1
    centre, panel = lift + high / 2, []
    if kind == "curved":
        rail, bend = np.linspace(-1, 1, 15), design.uniform(0.1, 0.22)
        front = np.column_stack([bend * rail**2, rail * width / 2])
        for depth, inset, color in ((deep, 0.0, "main"), (0.012, frame, "third")):
            shape = front * (1, 1 - inset) + (0 if inset == 0 else 0.006, 0)
            outline = np.concatenate([shape, shape[::-1] - (depth, 0)])
            panel.append((extrude(outline, high - 2 * inset), color))
        panel.append((box((0.02, width * 0.3, high * 0.4), (bend * 0.09 + 0.01, width * 0.15, 0)), "accent"))
    elif kind == "crt":
        back = design.uniform(0.32, 0.5)
        panel.append((box((0.12, width, high), (-0.06, 0, 0), 0.03), "main"))
        ends = [
            np.insert(rounded_rectangle(width * s, high * s, 0.08), 0, x, axis=1)
            for x, s in ((-0.1, 0.92), (-back, 0.55))
        ]
        panel.append((loft(ends), "main"))
        glass = ellipsoid((0.05, width * 0.42, high * 0.4), (-0.01, 0, 0.02), 20, 12)
        panel.append((glass, "third"))
        for k in range(design.integer(1, 4)):
            panel.append(
                (
                    cylinder(
                        (0, width * (0.36 - 0.1 * k), -high * 0.44),
                        (0.04, width * (0.36 - 0.1 * k), -high * 0.44),
                        0.022,
                        segments=10,
                    ),
                    "accent",
                )
            )
    else:
        count = 2 if kind == "dual" else 1
        for k in range(count):
            yaw = (1 - 2 * k) * design.uniform(8, 24) if count == 2 else 0.0
            pieces = [(box((deep, width, high), (-deep / 2, 0, 0), frame * 0.4), "main")]
            pieces += [(part.move(x=0.004), color) for part, color in _screen(width - 2 * frame, high - 2 * frame)]
            pieces.append((box((0.05, width * 0.5, high * 0.5), (-deep - 0.02, 0, 0), 0.02), "second"))
            if design.chance(0.5):
                pieces.append(
                    (box((0.03, width * 0.14, frame * 0.7), (0.0, -width * 0.3, -high / 2 + frame / 2)), "accent")
                )
            panel += [
                (part.turn("z", -yaw).move(y=(width * 1.03) * (k - (count - 1) / 2)), color) for part, color in pieces
            ]
    tilt = design.uniform(-12, 3)
    for part, color in panel:
        design.add(part.turn("y", tilt).move(z=centre), color=color)
    stand = design.pick("disc", "plate", "vee", "arm", "block") if kind != "television" else "feet"
    back = -deep - 0.03 if kind != "crt" else -0.2
    if stand == "feet":
        for side in (-1, 1):
            foot = tube(
                [
                    (0.16, side * width * 0.36, 0.01),
                    (0, side * width * 0.34, lift + 0.03),
                    (-0.2, side * width * 0.36, 0.01),
                ],
                0.022,
                8,
            )
            design.add(foot, color="second")
        design.add(box((0.09, width * 0.8, 0.07), (0.08, 0, 0.04), 0.02), color="second")
    else:
        if stand == "disc":
            design.add(lathe([(0.22, 0), (0.21, 0.03), (0.05, 0.05)], 28).move(x=back * 0.5), color="second")
        elif stand == "plate":
            design.add(box((0.3, width * 0.5, 0.03), (0.02, 0, 0.015), 0.01), color="second")
        elif stand == "vee":
            for side in (-1, 1):
                leg = cylinder((back, 0, 0.02), (0.22, side * width * 0.3, 0.015), 0.022, segments=8)
                design.add(leg, color="second")
        elif stand == "block":
            design.add(box((0.28, 0.34, lift * 0.6), (back * 0.5, 0, lift * 0.3), 0.02), color="second")
        else:
            design.add(box((0.16, 0.18, 0.05), (back - 0.18, 0, 0.02), 0.015), color="second")
            design.add(
                cylinder((back - 0.18, 0, 0), (back - 0.18, 0, centre * 0.95), 0.025, segments=10), color="second"
            )
        reach = back - (0.18 if stand == "arm" else 0.0)
        post = cylinder(
            (reach, 0, centre if stand == "arm" else 0.0), (back, 0, centre), design.uniform(0.025, 0.05), segments=10
        )
        design.add(post, color="second")
    if design.chance(0.45) and kind != "television":
        board_width = design.uniform(0.4, 0.6)
        design.add(box((0.17, board_width, 0.03), (0.4, 0, 0.015), 0.008), color="second")
        for row in range(3):
            design.add(box((0.035, board_width * 0.92, 0.02), (0.345 + row * 0.05, 0, 0.032)), color="accent")
        if design.chance(0.6):
            design.add(ellipsoid((0.06, 0.035, 0.03), (0.4, -board_width / 2 - 0.1, 0.02), 12, 8), color="accent")
    if design.chance(0.4):
        for side in (-1, 1):
            at = (0.0, side * (width * (2 if kind == "dual" else 1) / 2 + 0.13), 0.16)
            design.add(box((0.14, 0.13, 0.32), at, 0.02), color="third")
            design.add(cylinder((0.06, at[1], 0.2), (0.085, at[1], 0.2), 0.045, segments=14), color="accent")
    if design.chance(0.25):
        design.add(ellipsoid((0.035, 0.05, 0.035), (0.0, 0, lift + high + 0.03), 12, 8), color="accent")


def laptop(design: Design) -> None:
    """An open laptop: the keys and the screen look to +x, the hinge is at -x."""
    width, depth = design.uniform(0.85, 1.15), design.uniform(0.55, 0.8)
    thick, round_by = design.uniform(0.03, 0.09), design.uniform(0.01, 0.09)
    style = design.pick("thin", "wedge", "rugged", "tablet")
    base = extrude(rounded_rectangle(depth, width, round_by), thick)
    if style == "wedge":
        base = base.shear(zx=-0.06)
    design.add(base)
    top = thick / 2
    slope = -0.06 if style == "wedge" else 0.0
    rows, key = design.integer(3, 5), design.pick("rows", "keys")
    field, left = depth * design.uniform(0.42, 0.55), width * design.uniform(0.8, 0.92)
    start = -depth / 2 + 0.08
    pieces = [(box((field, left, 0.012), (start + field / 2, 0, top)), "third")]
    for row in range(rows):
        x = start + (row + 0.5) * field / rows
        if key == "rows":
            pieces.append((box((field / rows * 0.62, left * 0.96, 0.03), (x, 0, top)), "second"))
        else:
            count = design.integer(8, 11)
            for k in range(count):
                y = (k + 0.5 - count / 2) * left / count
                pieces.append((box((field / rows * 0.68, left / count * 0.75, 0.032), (x, y, top)), "second"))
    pad = depth - field - 0.12
    where = design.pick(-0.08, 0.0, 0.0, 0.1) * width
    pieces.append(
        (
            box((pad * 0.72, width * design.uniform(0.22, 0.4), 0.02), (start + field + 0.02 + pad / 2, where, top)),
            "accent",
        )
    )
    for part, color in pieces:
        design.add(part.shear(zx=slope), color=color)
    tall, open_by = depth * design.uniform(0.92, 1.02), design.uniform(4, 38)
    lid_thick = design.uniform(0.02, 0.05)
    lid = [
        (extrude(rounded_rectangle(width, tall, round_by), lid_thick, "yz").move(x=-lid_thick / 2, z=tall / 2), "main")
    ]
    inset = design.uniform(0.04, 0.1)
    lid += [
        (part.move(x=0.002, z=tall / 2 + 0.01), color) for part, color in _screen(width - 2 * inset, tall - 2 * inset)
    ]
    logo = design.pick("disc", "bar", "cross")
    if logo == "disc":
        lid.append((cylinder((-lid_thick - 0.02, 0, tall / 2), (-lid_thick, 0, tall / 2), 0.1, segments=18), "accent"))
    else:
        lid.append((box((0.02, width * 0.3, 0.06), (-lid_thick - 0.008, 0, tall / 2)), "accent"))
        if logo == "cross":
            lid.append((box((0.02, 0.06, tall * 0.4), (-lid_thick - 0.008, 0, tall / 2)), "accent"))
    hinge_z = top - slope * depth / 2 if style == "wedge" else top
    for part, color in lid:
        design.add(part.turn("y", -open_by).move(-depth / 2 + 0.02, 0, hinge_z), color=color)
    design.add(
        cylinder(
            (-depth / 2 + 0.01, -width * 0.35, hinge_z), (-depth / 2 + 0.01, width * 0.35, hinge_z), 0.03, segments=10
        ),
        color="third",
    )
    if style == "rugged":
        for x in (-1, 1):
            for y in (-1, 1):
                design.add(
                    box((0.12, 0.12, thick * 1.5), (x * (depth / 2 - 0.03), y * (width / 2 - 0.03), 0), 0.03),
                    color="second",
                )
        design.add(
            tube(circle(0.16, 12, "z", -90, 90) * (0.7, 1.3, 1) + (depth / 2 - 0.01, 0, 0), 0.025, 8), color="second"
        )
    elif style == "tablet":
        prop = box((0.02, width * 0.6, tall * 0.62), (0, 0, tall * 0.31)).turn("y", open_by * 0.3 + 22)
        design.add(prop.move(-depth / 2 - tall * 0.5, 0, -thick / 2), color="second")
    if design.chance(0.3):
        side = design.pick(-1, 1)
        design.add(ellipsoid((0.11, 0.065, 0.05), (0.05, side * (width / 2 + 0.16), 0), 14, 8), color="accent")


def phone(design: Design) -> None:
    """A telephone: smartphone on a stand or in a block of a case, flip phone, brick with aerial, desk telephone."""
    kind = design.pick("smart", "smart", "flip", "brick", "desk", "desk", "wall")
    if kind == "smart":
        width, high, thick = design.uniform(0.45, 0.62), design.uniform(0.9, 1.2), design.uniform(0.09, 0.2)
        pieces = [
            (
                extrude(rounded_rectangle(width, high, design.uniform(0.03, 0.14)), thick, "yz").move(x=-thick / 2),
                "main",
            )
        ]
        margin = design.uniform(0.03, 0.1)
        pieces += [(box((0.02, width - margin, high - margin * design.pick(1.0, 3.0))), "third")]
        for row in range(design.integer(2, 4)):
            for column in range(design.integer(2, 3)):
                at = (0.01, width * (0.24 - 0.24 * column), high * (0.3 - 0.18 * row))
                pieces.append((box((0.02, width * 0.16, width * 0.16), at, 0.01), design.pick("accent", "second")))
        eyes = design.integer(1, 3)
        pieces.append(
            (box((0.04, width * 0.36, width * 0.22 * eyes), (-thick - 0.01, -width * 0.22, high * 0.3), 0.02), "second")
        )
        for k in range(eyes):
            at = np.array((-thick - 0.02, -width * 0.22, high * 0.3 + width * 0.2 * (k - (eyes - 1) / 2)))
            pieces.append((cylinder(at, at - (0.05, 0, 0), 0.055, segments=14), "accent"))
        stand = design.pick("dock", "easel", "ring", "block")
        lean = -design.uniform(8, 25)
        for part, color in pieces:
            design.add(part.turn("y", lean).move(z=high / 2 + 0.05), color=color)
        if stand == "dock":
            design.add(lathe([(0.3, -0.08), (0.3, -0.02), (0.2, 0.08)], 26).move(x=-0.02), color="second")
            design.add(box((0.1, 0.2, 0.06), (0.22, 0, 0), 0.02), color="accent")
        elif stand == "easel":
            design.add(box((0.5, width * 0.8, 0.05), (-0.05, 0, 0), 0.02), color="second")
            prop = cylinder((-0.3, 0, 0), (-thick - high * 0.12, 0, high * 0.62), 0.06, segments=4)
            design.add(prop, color="second")
            design.add(box((0.06, width * 0.8, 0.09), (0.12, 0, 0.04), 0.015), color="accent")
        elif stand == "ring":
            design.add(torus(width * 0.25, 0.035, (-thick - high * 0.13, 0, high * 0.42), "x", 22, 8), color="second")
            design.add(box((0.36, width * 0.3, 0.06), (-0.1, 0, 0.0), 0.02), color="second")
        else:
            design.add(box((0.4, width * 1.2, 0.2), (-0.04, 0, 0.0), design.uniform(0.01, 0.07)), color="second")
            design.add(box((0.03, width * 0.5, 0.08), (0.17, 0, 0.0)), color="accent")
    elif kind == "flip":
        width, half, thick = design.uniform(0.42, 0.55), design.uniform(0.5, 0.65), design.uniform(0.1, 0.16)
        design.add(extrude(rounded_rectangle(half, width, 0.1), thick).move(x=half / 2))
        for row in range(4):
            for column in range(3):
                at = (half * (0.24 + 0.2 * row), width * 0.25 * (1 - column), thick / 2)
                design.add(box((half * 0.12, width * 0.17, 0.04), at, 0.012), color="accent" if row else "second")
        lean = -design.uniform(15, 60)
        lid = [
            (extrude(rounded_rectangle(width, half, 0.1), thick * 0.8, "yz"), "main"),
            (box((0.02, width * 0.72, half * 0.6), (thick * 0.4, 0, 0.02)), "third"),
            (box((0.03, width * 0.4, half * 0.25), (-thick * 0.4, 0, half * 0.12)), "second"),
            (box((0.03, width * 0.4, 0.03), (thick * 0.4, 0, half * 0.42)), "accent"),
        ]
        for part, color in lid:
            design.add(part.move(z=half / 2).turn("y", lean).move(z=thick / 2), color=color)
        design.add(
            cylinder((0, -width * 0.45, thick * 0.4), (0, width * 0.45, thick * 0.4), thick * 0.6, segments=14),
            color="second",
        )
        if design.chance(0.5):
            design.add(cylinder((0, width * 0.4, 0.1), (-0.35, width * 0.4, half * 0.9), 0.04, 0.03, 8), color="second")
    elif kind == "brick":
        width, high, thick = design.uniform(0.32, 0.42), design.uniform(0.9, 1.15), design.uniform(0.22, 0.36)
        design.add(box((thick, width, high), (0, 0, high / 2), design.uniform(0.02, 0.1)))
        front = thick / 2
        design.add(box((0.03, width * 0.75, high * 0.2), (front, 0, high * 0.68)), color="third")
        for row in range(design.integer(3, 5)):
            for column in range(3):
                at = (front, width * 0.25 * (1 - column), high * (0.5 - 0.09 * row))
                design.add(box((0.05, width * 0.18, high * 0.06), at, 0.01), color="accent")
        design.add(box((0.03, width * 0.5, 0.04), (front, 0, high * 0.88)), color="second")
        reach = design.uniform(0.25, 0.7)
        design.add(
            cylinder(
                (-front * 0.4, width * 0.3, high * 0.97), (-front * 0.4, width * 0.3, high + reach), 0.05, 0.035, 10
            ),
            color="second",
        )
        design.add(box((0.06, width * 0.6, high * 0.4), (-front, 0, high * 0.35), 0.02), color="second")
        design.add(box((0.5, 0.55, 0.12), (0, 0, 0.02), 0.03), color="third")
    else:
        wall = kind == "wall"
        width, depth, high = design.uniform(0.65, 0.85), design.uniform(0.6, 0.8), design.uniform(0.22, 0.4)
        slope = [(-depth / 2, 0), (depth / 2, 0), (depth / 2, 0.08), (-depth * 0.12, high), (-depth / 2, high)]
        design.add(extrude(slope, width, "xz"))
        angle = float(np.degrees(np.arctan2(high - 0.08, depth * 0.62)))
        middle = (depth * 0.19, (high + 0.08) / 2)
        pieces = []
        if design.chance(0.5):
            pieces.append((lathe([(0.21, 0), (0.19, 0.05)], 26), "second"))
            pieces.append((lathe([(0.08, 0), (0.08, 0.07)], 18), "accent"))
            pieces += [
                (
                    cylinder(
                        (0.145 * np.cos(a), 0.145 * np.sin(a), 0.03),
                        (0.145 * np.cos(a), 0.145 * np.sin(a), 0.06),
                        0.026,
                        segments=10,
                    ),
                    "third",
                )
                for a in np.linspace(0.5, 5.6, 9)
            ]
        else:
            pieces.append((box((0.4, 0.36, 0.03)), "second"))
            pieces += [
                (box((0.065, 0.08, 0.07), (0.12 * (row - 1.5) * 0.8, 0.11 * (column - 1), 0.015), 0.015), "accent")
                for row in range(4)
                for column in range(3)
            ]
        for part, color in pieces:
            design.add(
                part.turn("y", angle).move(middle[0], design.pick(0.0, 0.0) - (0.12 if wall else 0), middle[1]),
                color=color,
            )
        if wall:
            ends = (-depth * 0.1, width * 0.32), (depth * 0.35, width * 0.32)
            lift = (high + 0.08, 0.3)
        else:
            ends = (-depth * 0.34, -width * 0.52), (-depth * 0.34, width * 0.52)
            lift = (high + 0.14, high + 0.14)
        grip = curve(
            [
                (*ends[0], lift[0]),
                ((ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2, max(lift) + 0.08),
                (*ends[1], lift[1]),
            ],
            12,
        )
        design.add(tube(grip, 0.055, 10), color="third")
        for end, z in zip(ends, lift, strict=True):
            design.add(ellipsoid((0.12, 0.11, 0.1), (*end, z - 0.04), 14, 8), color="third")
            design.add(box((0.1, 0.08, 0.14), (end[0], end[1] * 0.8, z - 0.12)), color="main")
        coil = np.linspace(0, 1, 20)
        cord = np.column_stack(
            [
                depth * (0.5 * coil - 0.35),
                width / 2 + 0.1 + 0.08 * np.sin(np.pi * coil),
                0.03 + 0.015 * np.sin(13 * coil),
            ]
        )
        design.add(tube(cord, 0.025, 6), color="accent")
