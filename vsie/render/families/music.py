"""Instruments: guitar (strings look along +x, neck up) and piano (the player sits at +x)."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import box, curve, cylinder, ellipsoid, extrude, lathe, torus, tube


def guitar(design: Design) -> None:
    """A guitar, ukulele, electric guitar or lute, upright on a stand or leaning back."""
    kind = design.pick("acoustic", "acoustic", "electric", "flying", "lute")
    long, wide = design.uniform(0.75, 0.95), design.uniform(0.32, 0.42)
    deep = design.uniform(0.07, 0.1) if kind in ("electric", "flying") else design.uniform(0.15, 0.26)
    waist = design.uniform(0.6, 0.8)
    if kind == "flying":
        outline = np.array([(0.0, 0.25), (0.14, 0.75), (0.3, 0.72), (1.25, -0.25), (0.95, -0.35), (0, 0.2)]) * (
            wide,
            long,
        )
        outline[:, 1] += 0.3 * long
        outline = np.concatenate([outline[1:5], outline[5:], (outline[1:5] * (-1, 1))[::-1]])
    else:
        right = {
            "acoustic": [(0, 0), (0.75, 0.04), (1, 0.28), (waist, 0.56), (0.78, 0.82), (0.3, 1.0), (0, 1.0)],
            "electric": [
                (0, 0.03),
                (0.7, 0.0),
                (1, 0.24),
                (0.62, 0.55),
                (0.75, 0.85),
                (0.5, 1.12),
                (0.33, 0.88),
                (0, 0.85),
            ],
            "lute": [(0, 0), (0.6, 0.05), (0.98, 0.32), (0.75, 0.68), (0.3, 0.97), (0, 1.05)],
        }[kind]
        right = curve(np.array(right) * (wide, long), 26)
        left = right[::-1] * (-1, 1)
        if kind == "electric":  # the two horns differ in most instruments
            low_horn = design.uniform(0.82, 1.0)
            left = left * np.where(left[:, 1:] > 0.6 * long, (1.0, low_horn), (1.0, 1.0))
        outline = np.concatenate([right, left[1:-1]])
    body = extrude(outline, deep, "yz")
    pieces = [(body, "main")]
    front = deep / 2
    if kind == "lute":
        shell = ellipsoid((deep * 1.6, wide * 0.85, long * 0.45), (-deep * 0.4, 0, long * 0.42), 20, 14)
        pieces.append((shell, "second"))
    if kind in ("acoustic", "lute"):
        rim = design.uniform(0.09, 0.13)
        pieces.append(
            (cylinder((front - 0.02, 0, long * 0.62), (front + 0.012, 0, long * 0.62), rim, segments=24), "third")
        )
        pieces.append((torus(rim, 0.018, (front + 0.008, 0, long * 0.62), "x", 26, 8), "accent"))
        pieces.append((box((0.05, wide * 0.8, 0.05), (front + 0.015, 0, long * 0.27)), "third"))
    else:
        for z in np.linspace(0.35, 0.62, design.integer(2, 3)) * long:
            pieces.append((box((0.04, 0.24, 0.06), (front + 0.012, 0, z), 0.01), "third"))
        pieces.append((box((0.05, 0.22, 0.05), (front + 0.015, 0, long * 0.22)), "second"))
        for k in range(design.integer(1, 3)):
            at = (front, wide * 0.55, long * (0.17 + 0.1 * k))
            pieces.append((cylinder(at, np.add(at, (0.05, 0, 0)), 0.035, segments=12), "third"))
    guard = curve([(0.02, 0.32), (0.55, 0.3), (0.6, 0.5), (0.25, 0.62)], 12) * (wide, long)
    side = design.pick(-1, 1)
    pieces.append((extrude(guard * (side, 1), 0.03, "yz").move(x=front + 0.003), "accent"))
    neck, top = long * design.uniform(0.75, 1.15), long * 1.0
    fret = design.uniform(0.08, 0.11)
    pieces.append(
        (box((0.07, fret, neck + 0.15 * long), (front - 0.03, 0, top + neck / 2 - 0.07 * long), 0.02), "second")
    )
    pieces.append((box((0.03, fret, neck + long * 0.2), (front + 0.012, 0, top + neck / 2 - 0.1 * long)), "third"))
    for z in np.linspace(0.15, 0.9, design.integer(4, 8)):
        pieces.append((box((0.02, fret * 1.02, 0.016), (front + 0.025, 0, top + z * neck)), "accent"))
    strings = np.linspace(-1, 1, 3) * fret * 0.34
    for y in strings:
        pieces.append(
            (box((0.012, 0.012, neck + long * 0.72), (front + 0.04, y, top + neck / 2 - long * 0.36)), "second")
        )
    head = design.pick("box", "paddle", "side")
    end = top + neck
    if head == "box":
        pieces.append(
            (
                box((0.06, fret * 1.8, 0.26), (front - 0.05, 0, end + 0.1), 0.01).shear(xz=-0.15).move(x=0.15 * end),
                "main",
            )
        )
    elif head == "paddle":
        shape = np.array([(-0.05, 0), (-0.1, 0.25), (0, 0.3), (0.1, 0.25), (0.05, 0)])
        pieces.append((extrude(shape, 0.06, "yz").move(front - 0.03, 0, end - 0.02), "main"))
    else:
        shape = np.array([(-0.05, 0), (-0.02, 0.32), (0.16, 0.28), (0.05, 0)])
        pieces.append((extrude(shape, 0.06, "yz").move(front - 0.03, 0, end - 0.02), "main"))
    for z in np.linspace(0.05, 0.2, design.integer(2, 3)):
        for hand in (-1, 1) if head != "side" else (1,):
            knob = (front - 0.05, hand * fret * 1.4, end + z)
            pieces.append((cylinder((front - 0.05, 0, end + z), knob, 0.015, segments=6), "third"))
            pieces.append((ellipsoid((0.02, 0.035, 0.025), knob, 8, 6), "accent"))
    pieces.append((box((0.03, wide * 0.7, long * 0.25), (-front - 0.005, 0, long * 0.3)), "accent"))
    lean = design.uniform(0, 14)
    for part, color in pieces:
        design.add(part.turn("y", -lean), color=color)
    stand = design.pick("none", "tripod", "base")
    if stand == "tripod":
        for angle in (70, 180, 290):
            foot = (0.35 * np.cos(np.deg2rad(angle)) - 0.1, 0.35 * np.sin(np.deg2rad(angle)), -0.2)
            design.add(cylinder((-deep - 0.12, 0, 0.25), foot, 0.022, segments=8), color="third")
        for y in (-0.18, 0.18):
            design.add(
                tube(curve([(-deep - 0.12, 0, 0.22), (0, y, -0.01), (0.1, y, -0.02), (0.15, y, 0.06)], 10), 0.022, 8),
                color="third",
            )
    elif stand == "base":
        design.add(box((0.5, wide * 1.4, 0.07), (-0.03, 0, -0.06), 0.02), color="third")
        design.add(box((0.08, wide, 0.14), (0.15, 0, 0.0), 0.02), color="second")


def piano(design: Design) -> None:
    """A piano: grand with raised or closed lid, upright, or a keyboard on legs."""
    kind = design.pick("grand", "grand", "upright", "upright", "stage")
    width = design.uniform(1.3, 1.6)
    key_x, key_z = 0.0, 0.68
    if kind == "grand":
        long, deep = design.uniform(1.0, 1.7), design.uniform(0.22, 0.32)
        half = width / 2
        shape = [
            (0, -half),
            (0, half),
            (-0.3 * long, half),
            (-0.62 * long, half * 0.25),
            (-0.85 * long, -half * 0.15),
            (-long, -half * 0.55),
            (-0.97 * long, -half * 0.95),
            (-0.3 * long, -half),
        ]
        bend = curve(shape[2:], 22)
        outline = np.concatenate([shape[:2], bend])
        design.add(extrude(outline, deep).move(-0.28, 0, 0.75))
        if design.chance(0.65):
            lid = extrude(outline * (0.98, 1) - (0, -half), 0.035).turn("x", design.uniform(25, 45)).move(y=-half)
            design.add(lid.move(-0.3, 0, 0.75 + deep / 2), color="second")
            prop = (-0.5, half * 0.6, 0.8 + deep / 2), (-0.5, half * 0.35, 0.75 + deep / 2 + half * 0.85)
            design.add(cylinder(*prop, 0.02, segments=6), color="third")
            plate = extrude(outline * (0.86, 0.86), 0.02).move(-0.36, 0, 0.755 + deep / 2)
            design.add(plate, color="accent")
        else:
            design.add(extrude(outline, 0.04).move(-0.27, 0, 0.77 + deep / 2), color="second")
        design.add(box((0.32, width, 0.16), (-0.14, 0, 0.67)))
        leg = design.pick("square", "round", "turned")
        for x, y in ((-0.15, half * 0.85), (-0.15, -half * 0.85), (-0.28 - long * 0.8, -half * 0.5)):
            if leg == "turned":
                part = lathe([(0.05, 0), (0.07, 0.05), (0.04, 0.1), (0.09, 0.35), (0.06, 0.5), (0.1, 0.64)], 14)
            else:
                part = cylinder((0, 0, 0), (0, 0, 0.66), 0.05, 0.085, 4 if leg == "square" else 14)
            design.add(part.move(x, y, 0), color="second")
        design.add(box((0.05, 0.28, 0.5), (-0.4, 0, 0.32)), color="third")
        design.add(
            box((0.03, width * 0.5, 0.24), (0, 0, 0.12)).shear(xz=-0.3).move(-0.4, 0, 0.75 + deep / 2), color="accent"
        )
    elif kind == "upright":
        high, deep = design.uniform(1.05, 1.4), design.uniform(0.34, 0.45)
        design.add(box((deep, width, high), (-0.28 - deep / 2 + 0.1, 0, high / 2), 0.01))
        design.add(box((deep * 1.15, width * 1.04, 0.05), (-0.28 - deep / 2 + 0.1, 0, high)), color="second")
        front = -0.18
        design.add(box((0.03, width * 0.84, (high - 0.85) * 0.8), (front, 0, (high + 0.85) / 2)), color="third")
        design.add(box((0.03, width * 0.84, 0.42), (front, 0, 0.3)), color="third")
        design.add(box((0.3, width, 0.12), (-0.1, 0, 0.66)))
        for side in (-1, 1):
            design.add(box((0.36, 0.07, 0.28), (-0.08, side * (width / 2 - 0.035), 0.68), 0.02))
            leg = design.uniform(0.03, 0.06)
            design.add(
                cylinder(
                    (0.02, side * (width / 2 - 0.06), 0),
                    (0.02, side * (width / 2 - 0.06), 0.6),
                    leg,
                    leg * 1.2,
                    design.pick(4, 12),
                ),
                color="second",
            )
        design.add(box((0.04, width * 0.4, 0.25), (front + 0.05, 0, 0.95)).shear(xz=-0.2).move(x=0.19), color="accent")
        if design.chance(0.6):
            design.add(
                lathe([(0.06, 0), (0.1, 0.08), (0.05, 0.18), (0.08, 0.22)], 16).move(
                    -0.4, design.pick(-0.4, 0.4) * width, high + 0.02
                ),
                color="accent",
            )
        if design.chance(0.5):
            design.add(box((0.03, width * 0.6, high * 0.4), (-0.28 - deep + 0.1, 0, high * 0.5)), color="accent")
    else:
        design.add(box((0.38, width, 0.13), (-0.14, 0, 0.68), 0.03))
        design.add(box((0.14, width * 0.95, 0.05), (-0.27, 0, 0.75), 0.01), color="third")
        for k in range(design.integer(3, 7)):
            at = (-0.27, width * (-0.35 + 0.1 * k), 0.78)
            design.add(cylinder(at, np.add(at, (0, 0, 0.045)), 0.028, segments=10), color="accent")
        cross = design.chance(0.5)
        for side in (-1, 1):
            if cross:
                design.add(
                    cylinder((0.06, side * width * 0.42, 0), (-0.34, side * width * 0.2, 0.62), 0.028, segments=8),
                    color="second",
                )
                design.add(
                    cylinder((-0.34, side * width * 0.42, 0), (0.04, side * width * 0.2, 0.62), 0.028, segments=8),
                    color="second",
                )
            else:
                design.add(box((0.34, 0.06, 0.62), (-0.14, side * width * 0.44, 0.31)), color="second")
        if not cross:
            design.add(box((0.04, width * 0.88, 0.24), (-0.28, 0, 0.45)), color="second")
        design.add(box((0.03, width * 0.4, 0.26), (-0.33, 0, 0.85)).shear(xz=0.0), color="second")
    whites = design.integer(12, 20)
    step = width * 0.88 / whites
    for k in range(whites):
        y = (k + 0.5 - whites / 2) * step
        design.add(
            box((0.2, step * 0.88, 0.045), (key_x - 0.04, y, key_z + 0.07)),
            color="third" if kind == "grand" else "second",
        )
        if k % 7 not in (2, 6):
            design.add(box((0.11, step * 0.5, 0.06), (key_x - 0.09, y + step / 2, key_z + 0.095)), color="accent")
    seat = design.pick("bench", "stool", "none")
    x = design.uniform(0.35, 0.5)
    if seat == "bench":
        design.add(box((0.3, width * 0.45, 0.09), (x, 0, 0.42), 0.03), color="accent")
        for y in (-1, 1):
            design.add(box((0.26, 0.05, 0.38), (x, y * width * 0.19, 0.19)), color="second")
    elif seat == "stool":
        design.add(cylinder((x, 0, 0.4), (x, 0, 0.48), 0.19, segments=20), color="accent")
        design.add(cylinder((x, 0, 0), (x, 0, 0.42), 0.12, 0.04, 12), color="second")
