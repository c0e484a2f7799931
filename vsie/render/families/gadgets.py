"""Devices for eye and ear: camera and headphones. Lens and microphone point along +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import box, curve, cylinder, ellipsoid, lathe, loft, torus, tube


def camera(design: Design) -> None:
    """A camera: reflex, compact, twin-lens, cine, surveillance or instant; the lens looks along +x."""
    kind = design.pick("reflex", "reflex", "compact", "twin", "cine", "instant")
    width, high, depth = design.uniform(0.75, 1.0), design.uniform(0.5, 0.65), design.uniform(0.26, 0.4)
    if kind == "twin":
        width, high = width * 0.62, high * 1.5
    elif kind == "cine":
        width, depth = width * 0.55, depth * 2.2
    elif kind == "instant":
        depth *= 1.4
    design.add(box((depth, width, high), (0, 0, 0), design.uniform(0.02, 0.1)))
    band = high * design.uniform(0.4, 0.62)
    design.add(box((depth * 1.02, width * 1.02, band), (0, 0, -high * 0.08), 0.02), color="second")
    long = {"compact": 0.14, "instant": 0.16, "cine": 0.35}.get(kind, design.uniform(0.25, 0.6))
    big = design.uniform(0.17, 0.24)
    lenses = [(0.0, -high * 0.06)]
    if kind == "twin":
        lenses, big, long = [(0.0, -high * 0.22), (0.0, high * 0.2)], 0.15, 0.14
    elif kind == "compact":
        lenses = [(design.pick(-0.1, 0.12) * width, -high * 0.06)]
    for y, z in lenses:
        steps = [
            (big * 1.08, 0),
            (big * 1.08, long * 0.3),
            (big, long * 0.35),
            (big, long * 0.8),
            (big * 1.1, long * 0.85),
            (big * 1.1, long),
            (big * 0.85, long),
            (big * 0.75, long * 0.85),
        ]
        lens = lathe(steps, 26).turn("y", 90)
        design.add(lens.move(depth / 2 - 0.01, y, z), color="third")
        design.add(torus(big * 1.03, 0.025, (depth / 2 + long * 0.55, y, z), "x", 26, 8), color="accent")
        glass = ellipsoid((0.06, big * 0.76, big * 0.76), (depth / 2 + long * 0.84, y, z), 16, 8)
        design.add(glass, color="accent")
    top = high / 2
    if kind == "reflex":
        hump = loft(
            [
                [(depth * 0.5, y * 1.0, z) for y, z in ((-0.2, 0), (-0.12, 0.18), (0.12, 0.18), (0.2, 0))],
                [(-depth * 0.5, y, z) for y, z in ((-0.2, 0), (-0.15, 0.12), (0.15, 0.12), (0.2, 0))],
            ]
        )
        design.add(hump.move(z=top - 0.02))
        grip = cylinder(
            (depth / 2, -width * 0.4, -high * 0.45), (depth / 2, -width * 0.4, high * 0.42), 0.1, segments=14
        )
        design.add(grip, color="second")
    elif kind == "twin":
        for side in (-1, 1):
            design.add(box((depth * 0.9, 0.03, 0.22), (0, side * width * 0.42, top + 0.1)), color="second")
        design.add(box((0.03, width * 0.84, 0.26), (-depth * 0.42, 0, top + 0.1)), color="second")
    elif kind == "cine":
        for x, size in ((-0.24, 0.27), (0.26, 0.24)):
            reel = (x * depth * 1.1, 0, top + size * 0.92)
            design.add(cylinder((reel[0], -0.08, reel[2]), (reel[0], 0.08, reel[2]), size, segments=24), color="second")
            design.add(
                cylinder((reel[0], -0.1, reel[2]), (reel[0], 0.1, reel[2]), size * 0.4, segments=14), color="accent"
            )
        design.add(
            tube([(-depth / 2, 0, -0.1), (-depth / 2 - 0.1, 0, -0.25), (-depth / 2 - 0.06, 0, -0.6)], 0.06, 10),
            color="second",
        )
    elif kind == "instant":
        design.add(box((depth * 0.5, width * 0.5, 0.22), (-depth * 0.2, 0, top + 0.06), 0.05))
        design.add(box((0.3, width * 0.7, 0.02), (depth / 2 + 0.1, 0, -high * 0.42)), color="accent")
    else:
        design.add(box((0.08, width * 0.3, 0.1), (depth / 2, width * 0.28, high * 0.34), 0.01), color="third")
    if kind in ("reflex", "compact", "instant"):
        design.add(
            cylinder((0, -width * 0.36, top - 0.02), (0, -width * 0.36, top + 0.06), 0.07, segments=14), color="accent"
        )
        if design.chance(0.6):
            design.add(
                cylinder((0, width * 0.34, top - 0.02), (0, width * 0.34, top + 0.08), 0.1, segments=16), color="second"
            )
        if design.chance(0.4):
            design.add(box((depth * 0.7, 0.26, 0.16), (0.02, 0, top + 0.2), 0.03), color="third")
            design.add(box((0.03, 0.22, 0.1), (depth * 0.37, 0, top + 0.2)), color="accent")
    design.add(box((0.03, width * 0.55, high * 0.5), (-depth / 2, width * 0.08, -high * 0.06)), color="third")
    if design.chance(0.4):
        strap = curve(
            [
                (0, -width / 2, top - 0.08),
                (-0.3, -width * 0.5, -0.1),
                (-0.5, 0, -high / 2),
                (-0.3, width * 0.5, -0.1),
                (0, width / 2, top - 0.08),
            ],
            22,
        )
        design.add(tube(strap, 0.03, 6), color="accent")
    elif design.chance(0.4):
        for angle in (60, 180, 300):
            foot = (0.45 * np.cos(np.deg2rad(angle)), 0.45 * np.sin(np.deg2rad(angle)), -high / 2 - 0.75)
            design.add(cylinder((0, 0, -high / 2 - 0.05), foot, 0.04, 0.025, 8), color="third")
        design.add(cylinder((0, 0, -high / 2 - 0.12), (0, 0, -high / 2), 0.1, segments=12), color="second")


def headphones(design: Design) -> None:
    """Headphones with the band over z: a microphone, slanted pads or a stand tell the front (+x)."""
    span, rise = design.uniform(0.38, 0.46), design.uniform(0.45, 0.6)
    arc = np.linspace(0, np.pi, 22)
    band = np.column_stack([np.zeros(22), -span * np.cos(arc), rise * np.sin(arc)])
    style = design.pick("flat", "round", "double")
    thick = design.uniform(0.03, 0.05)
    design.add(tube(band, thick, 10, flat={"flat": 2.6, "round": 1.1, "double": 1.0}[style]))
    if style == "double":
        design.add(tube(band * (1, 1.1, 1.15) + (0.0, 0, 0.02), 0.022, 8), color="second")
    else:
        pad = tube(band[6:16] * (1, 0.93, 0.93), thick * 0.9, 10, flat=2.2)
        design.add(pad, color="second")
    size, deep = design.uniform(0.18, 0.27), design.uniform(0.1, 0.18)
    shape = design.pick("round", "oval", "square")
    for side in (-1, 1):
        y = side * span
        lean = design.uniform(0.0, 12.0)
        if shape == "square":
            shell, cushion = (
                box((size * 1.7, deep, size * 2), bevel=0.06),
                box((size * 1.6, 0.12, size * 1.9), (0, -side * deep * 0.7, 0), 0.055),
            )
        else:
            tall = 1.25 if shape == "oval" else 1.0
            shell = cylinder((0, -deep / 2 * side, 0), (0, deep / 2 * side, 0), size, size * 0.75, 24).stretch(z=tall)
            cushion = torus(size * 0.72, size * 0.32, (0, -side * deep * 0.55, 0), "y", 26, 10).stretch(z=tall)
        design.add(shell.turn("z", side * lean).move(0.02, y, -0.04), color="main" if design.chance(0.5) else "third")
        design.add(cushion.turn("z", side * lean).move(0.02, y, -0.04), color="second")
        mark = cylinder((0, side * deep * 0.4, 0), (0, side * deep * 0.62, 0), size * 0.42, segments=18)
        if side == 1 or design.chance(0.5):
            design.add(mark.move(0.04, y, -0.04), color="accent")
    front = design.pick("microphone", "microphone", "cable", "stand")
    if front == "microphone":
        side = design.pick(-1, 1)
        boom = curve(
            [(0, side * (span + 0.05), -0.1), (0.25, side * (span + 0.02), -0.3), (0.5, side * span * 0.45, -0.36)], 14
        )
        design.add(tube(boom, 0.024, 8), color="third")
        design.add(ellipsoid((0.06, 0.09, 0.055), boom[-1], 12, 8), color="accent")
    elif front == "cable":
        cord = curve([(0, -span, -0.25), (0.2, -span, -0.4), (0.5, 0, -0.42), (0.75, 0.2, -0.42)], 20)
        design.add(tube(cord, 0.025, 8), color="third")
        design.add(cylinder(cord[-1], cord[-1] + (0.16, 0.02, 0), 0.04, segments=10), color="accent")
    else:
        design.add(cylinder((-0.02, 0, -0.55), (-0.02, 0, rise - 0.05), 0.035, segments=10), color="third")
        design.add(box((0.5, 0.4, 0.06), (0.08, 0, -0.55), 0.02), color="third")
        design.add(box((0.1, 0.3, 0.02), (0.24, 0, -0.51)), color="accent")
    for side in (-1, 1):
        fork = cylinder((0, side * span, 0.02), (0, side * span, 0.22), 0.03, segments=8)
        design.add(fork, color="third")
    if design.chance(0.6):
        design.add(
            box((0.05, 0.3, 0.06), (thick * (2.4 if style == "flat" else 1.2), 0, rise - 0.01), 0.01), color="accent"
        )
