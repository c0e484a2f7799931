"""Furniture that is not sat on: table, shelf, bed, bathtub."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import LEGS, Design
from vsie.render.primitives import (
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


def table(design: Design) -> None:
    """A table or desk, used from +x: a drawer or a set place there, sometimes a raised back."""
    width, depth, high = design.uniform(0.8, 1.6), design.uniform(0.6, 0.9), design.uniform(0.4, 0.78)
    thick = design.uniform(0.03, 0.08)
    top = design.pick("box", "box", "round", "cut", "drop")
    if top == "round":
        disc = lathe([(0.49, 0), (0.5, 0.3), (0.5, 0.8), (0.48, 1)], 32)
        design.add(disc.stretch(depth, width, thick).move(z=high))
    elif top == "cut":
        design.add(extrude(rounded_rectangle(depth, width, 0.2), thick).move(z=high + thick / 2))
    elif top == "drop":
        design.add(box((depth, width * 0.72, thick), (0, 0, high + thick / 2), 0.01))
        leaf = box((depth, 0.03, 0.24), (0, width * 0.37, high - 0.08), 0.01)
        design.add(leaf, color="third")
    else:
        design.add(box((depth, width, thick), (0, 0, high + thick / 2), thick * design.uniform(0, 0.4)))
    inner_x, inner_y = (
        depth / 2 * (0.62 if top == "round" else 0.86),
        width / 2 * (0.62 if top in ("round", "drop") else 0.88),
    )
    support = design.pick("legs", "legs", "pedestal", "trestle", "panel", "desk")
    if support == "legs":
        design.legs(inner_x, inner_y, high, design.pick(*LEGS), design.uniform(0.05, 0.1))
        if design.chance(0.4):
            design.add(box((2 * inner_x, 2 * inner_y, 0.03), (0, 0, high * 0.25)), color="third")
    elif support == "pedestal":
        waist = design.uniform(0.04, 0.1)
        foot = [(0.26, 0), (0.27, 0.03), (waist, 0.1), (waist * 0.7, 0.5 * high), (waist * 1.5, high)]
        design.add(lathe(foot, design.pick(4, 6, 20)), color="second")
    elif support == "trestle":
        for side in (-1, 1):
            for lean in (-1, 1):
                foot = (lean * inner_x, side * inner_y * 0.8, 0)
                design.add(cylinder(foot, (0, side * inner_y * 0.8, high), 0.035, segments=4), color="second")
        design.add(cylinder((0, -inner_y, high * 0.5), (0, inner_y, high * 0.5), 0.025, segments=8), color="second")
    else:
        for side in (-1, 1):
            at = (0, side * inner_y, high / 2)
            if support == "desk" and side == 1:
                design.add(
                    box((depth * 0.8, width * 0.26, high * 0.94), (0, inner_y * 0.8, high * 0.52)), color="second"
                )
                for k in range(3):
                    z = high * (0.22 + 0.3 * k)
                    front = box((0.03, width * 0.22, high * 0.24), (depth * 0.4 + 0.01, inner_y * 0.8, z), 0.008)
                    design.add(front, color="third")
                    design.add(ellipsoid(0.022, (depth * 0.4 + 0.04, inner_y * 0.8, z), 8, 6), color="accent")
            else:
                design.add(box((depth * 0.85, 0.05, high), at), color="second")
        design.add(box((0.03, 2 * inner_y, high * 0.5), (-inner_x * 0.8, 0, high * 0.7)), color="second")
    if top in ("box", "cut") and design.chance(0.6):
        y = design.uniform(-0.25, 0.25) * width
        design.add(box((0.04, width * 0.36, 0.1), (depth * 0.46, y, high - 0.05)), color="third")
        design.add(box((0.03, width * 0.1, 0.025), (depth * 0.49, y, high - 0.05)), color="accent")
    place, z = design.pick("runner", "plate", "hutch", "mat"), high + thick
    if place == "runner":
        design.add(box((depth * 1.01, width * 0.3, 0.02), (0.01, width * 0.18, z)), color="accent")
    elif place == "plate":
        dish = lathe([(0.06, 0), (0.13, 0.02), (0.12, 0.025), (0.06, 0.012)], 20).move(depth * 0.22, 0, z)
        design.add(dish, color="accent")
        design.add(lathe([(0.03, 0), (0.035, 0.09), (0.0, 0.09)], 12).move(depth * 0.05, width * 0.2, z), color="third")
    elif place == "hutch" and top != "round":
        design.add(
            box((depth * 0.25, width * 0.9, design.uniform(0.12, 0.3)), (-depth * 0.33, 0, z + 0.08), 0.01),
            color="third",
        )
    else:
        design.add(box((depth * 0.4, width * 0.42, 0.025), (depth * 0.24, 0.08 * width, z), 0.01), color="accent")


def shelf(design: Design) -> None:
    """A bookcase open to +x with books, doors or boxes in it."""
    width, depth, high = design.uniform(0.5, 1.1), design.uniform(0.28, 0.42), design.uniform(0.7, 1.6)
    wall, rows = design.uniform(0.025, 0.05), design.integer(2, 5)
    closed = design.pick("case", "case", "ladder", "posts")
    inner = width - 2 * wall
    if closed == "case":
        design.add(box((wall * 0.6, width, high), (-depth / 2, 0, high / 2)), color="second")
        for side in (-1, 1):
            design.add(box((depth, wall, high), (0, side * (width - wall) / 2, high / 2)))
    else:
        for side in (-1, 1):
            for x in (-1, 1):
                lean = depth * 0.5 if closed == "ladder" and x == 1 else 0.0
                foot, top = (
                    (x * depth * 0.48 + lean, side * inner / 2, 0),
                    (x * depth * 0.48, side * inner / 2, high * 1.04),
                )
                design.add(cylinder(foot, top, wall * 0.8, segments=design.pick(4, 10)), color="second")
    levels = np.linspace(0.06 if closed == "case" else 0.12, high - wall / 2, rows + 1)
    columns = design.integer(1, 2)
    for z in levels:
        design.add(box((depth, inner + wall, wall), (0, 0, z)))
    if columns == 2 and closed == "case":
        design.add(box((depth * 0.98, wall, high - 0.05), (0, 0, high / 2)))
    for row in range(rows):
        floor, room = levels[row] + wall / 2, levels[row + 1] - levels[row] - wall
        content = design.pick("books", "books", "boxes", "door", "vase", "empty")
        if content == "books":
            y = -inner / 2 + 0.01
            end = y + inner * design.uniform(0.5, 0.95)
            while y < end:
                thick, tall = design.uniform(0.03, 0.07), room * design.uniform(0.6, 0.95)
                book = box((depth * 0.7, thick * 0.92, tall), (0.04, y + thick / 2, floor + tall / 2))
                design.add(book, color=design.pick("second", "third", "accent"))
                y += thick
        elif content == "boxes":
            for y in (-0.25, 0.25):
                bin_size = (depth * 0.9, inner * 0.38, room * 0.75)
                design.add(box(bin_size, (0.02, y * inner, floor + room * 0.375), 0.012), color="third")
                design.add(box((0.03, 0.08, 0.025), (depth * 0.48, y * inner, floor + room * 0.45)), color="accent")
        elif content == "door" and closed == "case":
            for side in (-1, 1):
                door = box((0.03, inner * 0.48, room), (depth / 2, side * inner * 0.25, floor + room / 2), 0.008)
                design.add(door, color="third")
                design.add(ellipsoid(0.022, (depth / 2 + 0.03, side * 0.05, floor + room / 2), 8, 6), color="accent")
        elif content == "vase":
            pot = lathe(np.array([(0.3, 0), (0.5, 0.4), (0.2, 0.75), (0.3, 1)]) * min(room * 0.8, 0.22), 14)
            design.add(pot.move(0.03, design.uniform(-0.3, 0.3) * inner, floor), color="accent")


def bed(design: Design) -> None:
    """A bed: the foot end looks along +x, headboard and pillows at -x; single, double or bunk."""
    length, width = design.uniform(1.7, 2.1), design.uniform(0.85, 1.7)
    low, thick = design.uniform(0.1, 0.35), design.uniform(0.16, 0.3)
    bunk = width < 1.2 and design.chance(0.4)
    for level in (0.0, 0.95)[: 1 + bunk]:
        base = low + level
        design.add(box((length, width, 0.12), (0, 0, base + 0.02), 0.02), color="second")
        design.add(box((length * 0.97, width * 0.94, thick), (0, 0, base + thick / 2 + 0.06), 0.06), color="third")
        cover, z = design.uniform(0.4, 0.72), base + thick + 0.06
        blanket = box(
            (length * cover, width * 0.99, thick * 0.75), (length * (0.5 - cover / 2), 0, z - thick * 0.33), 0.05
        )
        design.add(blanket)
        if design.chance(0.5):
            at = (length * (0.5 - cover + 0.06), 0, z - thick * 0.3)
            design.add(box((length * 0.13, width, thick * 0.76), at, 0.05), color="accent")
        pillows = 1 if width < 1.15 else 2
        for k in range(pillows):
            y = (k - (pillows - 1) / 2) * width * 0.46
            size = (0.34, width * (0.55 if pillows == 1 else 0.4), 0.14)
            pillow = box(size, bevel=0.065) if design.chance(0.5) else ellipsoid(np.array(size) * (0.55, 0.55, 0.6))
            design.add(pillow.move(-length / 2 + 0.26, y, z + 0.05), color="accent")
    post = design.pick("square", "round", "turned")
    design.legs(length / 2 - 0.05, width / 2 - 0.05, low, post, 0.1, "second")
    rise = design.uniform(0.35, 0.75)
    x, base = -length / 2 - 0.02, low
    head = design.pick("panel", "arch", "bars", "padded")
    if bunk:
        for x_post in (-1, 1):
            for side in (-1, 1):
                foot = (x_post * length / 2, side * width / 2, 0)
                design.add(cylinder(foot, (foot[0], foot[1], low + 0.95 + 0.45), 0.045, segments=8), color="second")
        for z in np.linspace(0.25, 1.2, 5):
            design.add(
                cylinder((length * 0.25, width / 2 + 0.05, z), (length * 0.45, width / 2 + 0.05, z), 0.025, segments=8)
            )
        for share in (0.25, 0.45):
            rail = cylinder(
                (length * share, width / 2 + 0.05, 0), (length * share, width / 2 + 0.05, 1.45), 0.03, segments=8
            )
            design.add(rail, color="second")
    elif head == "panel":
        design.add(box((0.08, width * 1.04, rise + base), (x, 0, (base + rise) / 2 + 0.1), 0.02), color="second")
    elif head == "arch":
        rail = np.linspace(-1, 1, 17)
        crest = np.column_stack([rail * width / 2, base + 0.15 + rise * (1 - 0.5 * rail**2)])
        outline = np.concatenate([[(-width / 2, 0)], crest, [(width / 2, 0)]])
        design.add(extrude(outline, 0.08, "yz").move(x=x), color="second")
    elif head == "padded":
        design.add(box((0.16, width, rise), (x, 0, base + rise / 2 + 0.15), 0.07), color="second")
    else:
        for y in np.linspace(-0.5, 0.5, design.integer(5, 9)) * width:
            design.add(cylinder((x, y, base), (x, y, base + rise + 0.15), 0.022, segments=8), color="second")
        design.add(
            cylinder((x, -width / 2, base + rise + 0.15), (x, width / 2, base + rise + 0.15), 0.035, segments=10),
            color="second",
        )
    if not bunk and design.chance(0.4):
        board = box((0.06, width * 1.02, low + thick + 0.12), (length / 2 + 0.02, 0, (low + thick + 0.12) / 2), 0.02)
        design.add(board, color="second")


def bathtub(design: Design) -> None:
    """A tub with water in it; taps or a shower at -x."""
    length, width, high = design.uniform(1.4, 1.8), design.uniform(0.7, 0.9), design.uniform(0.42, 0.6)
    power = design.pick(2.0, 3.5, 8.0)
    slope, rim = design.uniform(0.65, 0.95), design.uniform(0.04, 0.09)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    ring /= (np.abs(ring) ** power).sum(axis=1, keepdims=True) ** (1 / power)
    rise = design.uniform(0.0, 0.3)

    def section(scale: float, z: float, inset: float = 0.0) -> np.ndarray:
        x, y = ring[:, 0] * (length / 2 * scale - inset), ring[:, 1] * (width / 2 * scale - inset)
        back = np.clip(ring[:, 0], 0, 1) ** 2 * rise * (z > high * 0.9) * high
        return np.column_stack([x, y, z + back])

    design.add(
        loft(
            [
                section(slope, 0.0),
                section((1 + slope) / 2, high * 0.5),
                section(1, high),
                section(1, high + 0.03),
                section(1, high + 0.03, rim),
                section((1 + slope) / 2, high * 0.5, rim),
                section(slope, 0.05, rim),
            ]
        )
    )
    level = high * design.uniform(0.55, 0.8)
    design.add(extrude(section(1.0, 0, rim)[:, :2] * (0.97, 0.97), 0.03).move(z=level), color="third")
    feet = design.pick("claw", "skirt", "plinth")
    if feet == "claw":
        for x in (-1, 1):
            for y in (-1, 1):
                at = (x * length * 0.32 * slope, y * width * 0.32 * slope, -0.07)
                design.add(ellipsoid((0.07, 0.07, 0.13), at, 12, 8), color="second")
    elif feet == "skirt":
        design.add(box((length * 0.8 * slope, width * 0.8 * slope, 0.12), (0, 0, -0.03)), color="second")
    else:
        design.add(box((length * 1.02, width * 1.04, high * 0.85), (0, 0, high * 0.36), 0.02), color="second")
    x = -length / 2 + 0.02
    tap = design.pick("spout", "shower", "telephone")
    reach = curve([(0, 0, 0), (0, 0, 0.16), (0.1, 0, 0.24), (0.24, 0, 0.15)], 12)
    if tap == "shower":
        reach = curve([(0, 0, 0), (0, 0, 0.7), (0.05, 0, 0.95), (0.3, 0, 0.95)], 16)
        design.add(lathe([(0.02, 0.08), (0.13, 0), (0, 0)], 16).move(x + 0.3, 0, high + 0.87), color="accent")
    elif tap == "telephone":
        design.add(cylinder((x, -0.16, high + 0.16), (x, 0.16, high + 0.16), 0.03, segments=10), color="accent")
        design.add(tube(circle(0.13, 12, "x", 0, 180) + (x, 0, high + 0.16), 0.022, 8), color="accent")
    design.add(tube(reach + (x, 0, high), 0.032, 10), color="accent")
    for side in (-1, 1):
        design.add(cylinder((x, side * 0.14, high), (x, side * 0.14, high + 0.09), 0.025, segments=10), color="accent")
        design.add(torus(0.04, 0.016, (x, side * 0.14, high + 0.1), "z", 14, 6), color="accent")
    if design.chance(0.6):
        towel = box((0.3, 0.05, 0.32), (length * 0.2, width / 2 + 0.01, high - 0.12), 0.02)
        design.add(towel, color="accent")
