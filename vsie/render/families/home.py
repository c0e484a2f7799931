"""Small things of a home: lamp, clock, knife, hat. Shades lean, faces and handles look along +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
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


def lamp(design: Design) -> None:
    """A lamp: jointed desk lamp, arc, table lamp with a patterned shade, standard lamp with a shelf."""
    kind = design.pick("desk", "desk", "arc", "table", "table", "standard")
    base = design.pick("disc", "square", "tripod", "clamp")
    size = design.uniform(0.17, 0.28)
    if base == "disc":
        design.add(lathe([(size, 0), (size, 0.03), (size * 0.3, 0.07)], 26), color="second")
    elif base == "square":
        design.add(box((size * 1.9, size * 1.9, 0.06), (0, 0, 0.03), 0.015), color="second")
    elif base == "tripod":
        for angle in (0, 120, 240):
            foot = (size * 1.3 * np.cos(np.deg2rad(angle)), size * 1.3 * np.sin(np.deg2rad(angle)), 0)
            design.add(cylinder((0, 0, 0.2), foot, 0.025, segments=8), color="second")
        design.add(cylinder((0, 0, 0.02), (0, 0, 0.22), 0.03, segments=8), color="second")
    else:
        design.add(box((size * 1.4, size, 0.22), (-0.05, 0, 0.08), 0.03), color="second")
    mouth, throat, tall = design.uniform(0.2, 0.34), design.uniform(0.06, 0.16), design.uniform(0.22, 0.4)
    if kind in ("desk", "arc"):
        if kind == "desk":
            elbow = (-design.uniform(0.15, 0.4), 0, design.uniform(0.45, 0.65))
            head = (design.uniform(0.2, 0.5), 0, design.uniform(0.75, 1.0))
            for start, end in (((0, 0, 0.04), elbow), (elbow, head)):
                for y in (-0.03, 0.03) if design.chance(0.5) else (0.0,):
                    design.add(
                        cylinder(np.add(start, (0, y, 0)), np.add(end, (0, y, 0)), 0.022, segments=8), color="second"
                    )
            design.add(
                cylinder(np.add(elbow, (0, -0.06, 0)), np.add(elbow, (0, 0.06, 0)), 0.05, segments=12), color="accent"
            )
        else:
            head = (design.uniform(0.45, 0.7), 0, design.uniform(0.9, 1.15))
            bow = curve([(0, 0, 0.03), (-0.05, 0, 0.7), (0.15, 0, head[2] + 0.15), head], 20)
            design.add(tube(bow, 0.028, 8), color="second")
        hood = [
            (throat * 0.6, 0),
            (throat, -0.08),
            (mouth * 0.85, -tall * 0.85),
            (mouth, -tall),
            (mouth * 0.93, -tall),
            (throat * 0.8, -0.12),
        ]
        shade = lathe(curve(hood[:4], 10).tolist() + hood[4:], design.pick(28, 28, 6)).turn("y", -design.uniform(5, 40))
        design.add(shade.move(*head))
        design.add(ellipsoid(0.09, np.add(head, (0.1, 0, -tall * 0.72)), 14, 10), color="accent")
    else:
        stem = design.uniform(0.35, 0.6) if kind == "table" else design.uniform(1.0, 1.3)
        if kind == "table":
            bulge = [(0.06, 0.03), (design.uniform(0.06, 0.2), stem * 0.35), (0.05, stem * 0.75), (0.03, stem + 0.1)]
            design.add(lathe(curve(bulge, 14), design.pick(24, 6)), color="third")
        else:
            design.add(cylinder((0, 0, 0), (0, 0, stem), 0.03, segments=10), color="third")
            design.add(box((0.34, 0.3, 0.04), (0.14, 0, stem * 0.45), 0.01), color="accent")
        shade = design.pick("cone", "drum", "pagoda", "globe")
        top = stem + tall
        if shade == "globe":
            design.add(ellipsoid((mouth, mouth, tall * 0.7), (0, 0, stem + tall * 0.6), 26, 16))
        else:
            upper = {"cone": throat, "drum": mouth * 0.95, "pagoda": throat}[shade]
            outer = (
                [(mouth, 0), (upper, tall)]
                if shade != "pagoda"
                else curve([(mouth * 1.1, 0), (mouth * 0.6, tall * 0.4), (upper, tall)], 8)
            )
            design.add(lathe(np.array(outer) + (0, stem), design.pick(28, 28, 4, 8)))
        patch = design.pick("label", "bow", "switch")
        if patch == "label":
            design.add(
                box((mouth * 0.5, mouth * 0.9, tall * 0.5), (mouth * 0.62, 0, stem + tall * 0.42), 0.02), color="accent"
            )
        elif patch == "bow":
            for side in (-1, 1):
                design.add(
                    ellipsoid((0.05, 0.11, 0.07), (mouth * 0.9, side * 0.1, stem + tall * 0.3), 12, 8), color="accent"
                )
        else:
            cord = curve(
                [(mouth * 0.7, 0, stem + 0.02), (mouth * 0.8, 0, stem - 0.15), (mouth * 0.75, 0, stem - 0.24)], 8
            )
            design.add(tube(cord, 0.016, 6), color="accent")
            design.add(ellipsoid(0.05, cord[-1], 10, 8), color="accent")
            design.add(box((0.1, 0.24, 0.1), (-mouth * 0.85, 0, stem + tall * 0.4)), color="accent")
        design.add(ellipsoid(0.035, (0, 0, top), 10, 8), color="accent")
    sway = np.linspace(0, 1, 18)
    plug = np.column_stack([-size * (0.8 + 1.3 * sway), 0.11 * np.sin(7 * sway), 0.03 - 0.012 * sway])
    if design.chance(0.6):
        design.add(tube(plug, 0.018, 6), color="third")


def clock(design: Design) -> None:
    """A clock whose dial looks along +x: alarm clock, mantel clock, tall-case clock, cuckoo clock."""
    kind = design.pick("alarm", "mantel", "tall", "cuckoo", "block")
    dial, deep = design.uniform(0.28, 0.36), design.uniform(0.22, 0.36)
    centre = {"alarm": 0.42, "mantel": 0.45, "tall": 1.35, "cuckoo": 0.5, "block": 0.36}[kind]
    front = deep / 2
    width = dial * design.uniform(2.2, 2.6)
    if kind == "alarm":
        design.add(cylinder((-front, 0, centre), (front, 0, centre), dial * 1.12, segments=30))
        for side in (-1, 1):
            leg = (0, side * dial * 0.75, 0)
            design.add(cylinder((0, side * dial * 0.5, centre - dial * 0.7), leg, 0.05, 0.03, 10), color="second")
            bell = lathe([(0.17, 0), (0.14, 0.1), (0.0, 0.15)], 18).turn("x", -side * 35)
            design.add(bell.move(0, side * dial * 0.72, centre + dial * 0.95), color="second")
        design.add(tube(circle(0.14, 14, "x", 0, 180) + (0, 0, centre + dial * 1.2), 0.025, 8), color="second")
    elif kind == "mantel":
        rail = np.linspace(np.pi, 0, 13)
        outline = np.concatenate(
            [
                [(-width * 0.75, 0), (-width * 0.75, 0.15), (-width * 0.5, 0.2)],
                np.column_stack([np.cos(rail) * width * 0.5, centre + np.sin(rail) * width * 0.5]),
                [(width * 0.5, 0.2), (width * 0.75, 0.15), (width * 0.75, 0)],
            ]
        )
        design.add(extrude(outline, deep, "yz"))
        design.add(box((deep * 1.2, width * 1.6, 0.07), (0, 0, 0), 0.01), color="second")
    elif kind == "tall":
        design.add(box((deep * 1.3, width, 0.4), (0, 0, 0.2), 0.02))
        design.add(box((deep, width * 0.72, 0.75), (0, 0, 0.7)))
        design.add(box((deep * 1.2, width, dial * 2.4), (0, 0, centre), 0.02))
        design.add(box((0.04, width * 0.46, 0.6), (front, 0, 0.7)), color="third")
        design.add(cylinder((front, 0, 0.6), (front + 0.05, 0, 0.6), 0.09, segments=16), color="accent")
        design.add(box((0.05, 0.03, 0.4), (front + 0.01, 0, 0.8)), color="accent")
        crown = extrude([(-width * 0.55, 0), (width * 0.55, 0), (0, design.uniform(0.15, 0.35))], deep, "yz")
        design.add(crown.move(z=centre + dial * 1.2), color="second")
        front *= 1.2
    elif kind == "cuckoo":
        house = [(-width * 0.45, 0), (width * 0.45, 0), (width * 0.45, 0.75), (0, 1.15), (-width * 0.45, 0.75)]
        design.add(extrude(house, deep, "yz"))
        for side in (-1, 1):
            slab = box((deep * 1.5, width * 0.75, 0.06), (0, 0, 0)).turn("x", -side * 46)
            design.add(slab.move(0.03, side * width * 0.25, 1.0), color="second")
            cord = (0.05, side * 0.12, -design.uniform(0.25, 0.5))
            design.add(cylinder((0.05, side * 0.12, 0), cord, 0.018, segments=6), color="third")
            design.add(cylinder(cord, np.add(cord, (0, 0, -0.16)), 0.05, 0.03, 10), color="accent")
        design.add(box((0.06, 0.2, 0.2), (front, 0, 0.92)), color="third")
        design.add(ellipsoid((0.1, 0.05, 0.06), (front + 0.08, 0, 0.92), 10, 8), color="accent")
        dial *= 0.75
    else:
        design.add(box((deep, width * 1.3, dial * 2.3), (0, 0, centre), design.uniform(0.02, 0.12)))
        for side in (-1, 1):
            design.add(box((deep * 0.9, 0.1, 0.08), (0, side * width * 0.45, 0)), color="second")
        design.add(box((deep * 0.4, width * 0.4, 0.08), (0, 0, centre + dial * 1.18), 0.02), color="accent")
    if kind == "block" and design.chance(0.5):
        design.add(box((0.03, width * 1.1, dial * 1.3), (front, 0, centre)), color="third")
        for k in range(4):
            y = width * (0.4 - 0.23 * k) - (0.05 if k > 1 else 0)
            for z in (-0.42, 0.0, 0.42):
                if (k + int(10 * z)) % 3:
                    design.add(box((0.04, 0.13, 0.04), (front + 0.01, y, centre + z * dial)), color="accent")
            for side in (-0.065, 0.065):
                design.add(box((0.04, 0.04, dial * 0.8), (front + 0.01, y + side, centre)), color="accent")
        return
    design.add(cylinder((front - 0.02, 0, centre), (front + 0.03, 0, centre), dial, segments=30), color="third")
    design.add(torus(dial, 0.035, (front + 0.02, 0, centre), "x", 30, 8), color="second")
    marks = design.pick(4, 12)
    for k in range(marks):
        tick = box((0.02, 0.03, 0.07), (0, 0, dial * 0.82)).turn("x", 360 * k / marks)
        design.add(tick.move(x=front + 0.035, z=centre), color="second")
    for reach, thick, angle in ((0.55, 0.045, design.uniform(0, 360)), (0.78, 0.03, design.uniform(0, 360))):
        hand = box((0.02, thick, dial * reach), (0, 0, dial * reach * 0.45)).turn("x", angle)
        design.add(hand.move(x=front + 0.05, z=centre), color="accent")
    design.add(box((0.03, dial * 0.8, dial * 0.6), (-deep / 2 - 0.01, 0, centre)), color="accent")


def knife(design: Design) -> None:
    """A knife with a thick handle: in a wooden block, in a sheath, cleaver, dagger or folding; blade along +x."""
    kind = design.pick("block", "block", "chef", "cleaver", "dagger", "folding", "sheath")
    grip, thick = design.uniform(0.36, 0.5), design.uniform(0.07, 0.12)

    def handle(x: float, z: float = 0.0) -> None:
        shape = design.pick("straight", "curved", "ringed")
        if shape == "straight":
            design.add(box((grip, thick * 1.1, thick * 1.6), (x - grip / 2, 0, z), thick * 0.4))
        elif shape == "curved":
            path = curve([(x, 0, z), (x - grip / 2, 0, z + 0.04), (x - grip, 0, z - 0.05)], 12)
            design.add(tube(path, np.linspace(0.75, 1.1, 12) * thick, 12))
        else:
            steps = np.linspace(0, grip, 13)
            radius = thick * (0.85 + 0.15 * (np.arange(13) % 2))
            design.add(lathe(np.column_stack([radius, steps]), 16, crease=80).turn("y", -90).move(x, 0, z))
        for share in (0.25, 0.5, 0.75)[: design.integer(1, 3)]:
            at = (x - grip * share, -thick * 1.05, z)
            design.add(cylinder(at, np.add(at, (0, 2.1 * thick, 0)), 0.03, segments=10), color="accent")

    def blade(outline: np.ndarray, x: float, z: float = 0.0) -> None:
        outline = np.asarray(outline, dtype=np.float64)
        spine = np.abs(outline - outline.mean(axis=0)) * (0.0, 1.0)
        design.add(extrude(outline, design.uniform(0.035, 0.06), "xz").move(x, 0, z), color="second")
        mark = (outline[:, 0].max() * 0.3, thick * 0.9, float(spine.max()) * 0.35)
        design.add(box(mark, (x + outline[:, 0].max() * 0.35, 0, z + float(outline[:, 1].mean()))), color="accent")

    if kind == "block":
        lean, high, deep, wide = (
            design.uniform(0.2, 0.5),
            design.uniform(0.5, 0.7),
            design.uniform(0.4, 0.55),
            design.uniform(0.26, 0.42),
        )
        body = box((deep, wide, high), (0, 0, high / 2), 0.02).shear(xz=-lean)
        design.add(body, color="third")
        rows, columns = design.integer(1, 3), design.integer(2, 3)
        for row in range(rows):
            for column in range(columns):
                x, y = deep * (0.28 - 0.28 * row) - lean * high, wide * 0.3 * (column - (columns - 1) / 2) * 1.1
                reach = design.uniform(0.18, 0.34) + 0.08 * row
                foot = np.array((x, y, high))
                tip = foot + np.array((-lean, 0, 1.0)) * reach
                design.add(cylinder(foot, foot + (tip - foot) * 0.2, 0.035, segments=8), color="second")
                stick = cylinder(foot + (tip - foot) * 0.2, tip, 0.04, 0.05, design.pick(4, 10))
                design.add(stick, color="main")
                design.add(ellipsoid(0.045, tip, 10, 6), color="accent")
        design.add(
            box((0.04, wide * 0.6, high * 0.35), (deep / 2 - lean * high * 0.45 + 0.01, 0, high * 0.45)).shear(
                xz=-lean * 0.0
            ),
            color="accent",
        )
        design.add(box((deep * 1.3, wide * 1.25, 0.06), (0.0, 0, 0.02), 0.015), color="second")
        return
    handle(0.0)
    if kind == "cleaver":
        tall, long = design.uniform(0.3, 0.42), design.uniform(0.5, 0.7)
        blade([(0, 0.09), (long, 0.1), (long, 0.1 - tall), (0.04, 0.1 - tall), (0, -0.05)], 0.0)
        design.add(cylinder((long - 0.1, -0.035, 0.03), (long - 0.1, 0.035, 0.03), 0.035, segments=12), color="accent")
    elif kind == "dagger":
        long, wide = design.uniform(0.6, 0.85), design.uniform(0.09, 0.14)
        blade([(0, wide), (long * 0.75, wide * 0.8), (long, 0), (long * 0.75, -wide * 0.8), (0, -wide)], 0.03)
        design.add(box((0.08, thick * 2.5, design.uniform(0.4, 0.55)), (0.0, 0, 0), 0.03), color="accent")
        design.add(ellipsoid(thick * 1.2, (-grip, 0, 0), 14, 10), color="accent")
    elif kind == "folding":
        design.add(box((grip, thick * 2.2, thick * 1.9), (-grip / 2, 0, 0), thick * 0.5), color="third")
        for tool, angle in enumerate((0, design.uniform(-75, -35), design.uniform(-150, -100))[: design.integer(1, 3)]):
            long = design.uniform(0.3, 0.42)
            piece = extrude(
                curve([(0, 0.06), (long * 0.8, 0.06), (long, -0.02), (long * 0.7, -0.05), (0, -0.05)], 14), 0.04, "xz"
            )
            design.add(
                piece.turn("y", angle).move(-grip * 0.3 * (tool == 2), 0.035 * (tool - 1), 0.02),
                color=("second", "accent", "second")[tool],
            )
    elif kind == "sheath":
        long, wide = design.uniform(0.5, 0.7), design.uniform(0.14, 0.2)
        body = [(0.04, wide), (long * 0.7, wide), (long, wide * 0.1), (long * 0.8, -wide), (0.04, -wide)]
        design.add(extrude(curve(body + body[:1], 18)[:-1], design.uniform(0.14, 0.22), "xz"), color="second")
        for x in np.linspace(0.12, long * 0.7, design.integer(1, 3)):
            design.add(box((0.06, 0.26, wide * 2.2), (x, 0, 0), 0.02), color="third")
        design.add(box((0.16, 0.1, 0.34), (0.14, 0, wide + 0.1), 0.03), color="accent")
        design.add(box((0.06, thick * 2.2, thick * 2.6), (0, 0, 0), 0.02), color="accent")
    else:
        long, tall = design.uniform(0.6, 0.85), design.uniform(0.16, 0.26)
        belly = curve(
            [(0, 0.08), (long * 0.6, 0.07), (long, -tall * 0.35), (long * 0.6, -tall * 0.85), (0.02, 0.06 - tall)], 18
        )
        blade(belly, 0.0)
        design.add(box((0.08, thick * 1.3, thick * 1.9), (0.0, 0, 0), 0.02), color="accent")
    if kind != "folding" and design.chance(0.5):
        slab = extrude(rounded_rectangle(design.uniform(1.0, 1.3), design.uniform(0.55, 0.75), 0.08), 0.07)
        design.add(slab.move(0.15, 0, -0.32 if kind == "cleaver" else -0.26), color="third")
        bit = ellipsoid((0.1, 0.1, 0.1), (0.45, 0.18, -0.18), 14, 10)
        design.add(bit, color="accent")


def hat(design: Design) -> None:
    """A hat: cap with a peak, bowler, top hat, straw hat, cone with a bow, helmet; peak, bow or feather at +x."""
    kind = design.pick("cap", "cap", "brim", "top", "cowboy", "party", "helmet")
    radius = design.uniform(0.32, 0.4)
    if kind in ("cap", "helmet"):
        high = radius * design.uniform(0.85, 1.25)
        dome = np.linspace(0, np.pi / 2, 10)
        design.add(lathe(np.column_stack([radius * np.cos(dome), high * np.sin(dome)]), 28))
        length = design.uniform(0.28, 0.5)
        rail = np.linspace(-1, 1, 15)
        peak = np.column_stack(
            [
                radius * 0.55
                + length * np.sqrt(np.maximum(1 - rail**2, 0))
                + radius * 0.35 * np.sqrt(np.maximum(1 - rail**2, 0)),
                rail * radius * 0.93,
            ]
        )
        design.add(extrude(peak, 0.05).shear(zx=-design.uniform(0, 0.25)).move(z=0.05 + 0.1 * radius), color="second")
        if kind == "cap":
            design.add(ellipsoid((0.05, 0.05, 0.035), (0, 0, high), 10, 6), color="accent")
            design.add(box((0.09, radius, high * 0.45), (radius * 0.84, 0, high * 0.45), 0.03), color="accent")
            if design.chance(0.5):
                design.add(box((0.1, radius * 0.7, 0.1), (-radius * 0.97, 0, 0.07), 0.02), color="third")
        else:
            comb = np.linspace(-0.2, np.pi * 0.8, 12)
            path = np.column_stack([radius * 1.02 * np.cos(comb), np.zeros(12), high * 1.03 * np.sin(comb)])
            design.add(tube(path, 0.06, 8), color="third")
            design.add(
                cylinder((radius * 0.7, 0, high * 0.55), (radius * 1.12, 0, high * 0.6), 0.1, 0.12, 14), color="accent"
            )
            for side in (-1, 1):
                design.add(
                    cylinder((0, side * radius * 0.9, 0.04), (0, side * radius * 1.12, 0.04), 0.15, segments=18),
                    color="third",
                )
        return
    brim = radius * {"top": 1.5, "party": 1.05, "cowboy": 1.9}.get(kind, design.uniform(1.45, 2.1))
    if kind == "cowboy":
        bend = design.uniform(0.25, 0.5)
        angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)

        def loop(scale: float, z: float) -> np.ndarray:
            x, y = np.cos(angles) * scale * 1.15, np.sin(angles) * scale
            return np.column_stack([x, y, z + bend * y**2 / brim])

        design.add(
            loft([loop(brim, 0), loop(brim, 0.035), loop(radius * 0.8, 0.035), loop(radius * 0.8, 0)], closed=True)
        )
    elif kind != "party":
        slope = design.uniform(-0.12, 0.1)
        ring = [(radius * 0.8, 0), (brim, slope), (brim, slope + 0.035), (radius * 0.8, 0.035), (radius * 0.8, 0)]
        # pushed forward: the brim is longer over the face than at the neck
        design.add(lathe(ring, 36).stretch(x=1.12).shear(zx=-0.08).move(x=0.12 * radius))
    high = {"top": design.uniform(0.5, 0.75), "party": design.uniform(0.7, 1.0)}.get(kind, design.uniform(0.28, 0.45))
    if kind == "party":
        design.add(cylinder((0, 0, 0), (0, 0, high), radius, 0.0, 28))
        design.add(ellipsoid(0.09, (0, 0, high), 14, 8), color="second")
        for k in range(design.integer(3, 7)):
            z, angle = high * (0.12 + 0.1 * k), np.deg2rad(-50 + 40 * (k % 4))
            spread = radius * (1 - z / high)
            design.add(ellipsoid(0.055, (spread * np.cos(angle), spread * np.sin(angle), z), 10, 8), color="accent")
        design.add(box((radius * 0.9, radius * 1.2, 0.04), (radius * 0.9, 0, 0.02), 0.01), color="third")
        return
    flare = design.uniform(0.85, 1.15) if kind == "top" else design.uniform(0.7, 0.9)
    crown = [(radius, 0), (radius * flare, high * 0.95), (radius * flare * 0.9, high)]
    if kind == "brim" and design.chance(0.5):
        dome = np.linspace(0, np.pi / 2, 9)
        crown = np.column_stack([radius * np.cos(dome), high * np.sin(dome)])
    body = lathe(crown, 28)
    design.add(body.stretch(x=1.15) if kind == "cowboy" else body)
    band = lathe([(radius * 1.03, 0.03), (radius * 1.03, 0.03 + high * 0.24), (radius * 0.8, 0.03 + high * 0.24)], 28)
    design.add(band.stretch(x=1.15) if kind == "cowboy" else band, color="second")
    mark, x = design.pick("feather", "bow", "flower", "buckle"), radius * (1.18 if kind == "cowboy" else 1.03)
    if mark == "feather":
        quill = extrude(curve([(0, 0), (0.12, 0.25), (0.05, 0.55), (-0.06, 0.3)], 14), 0.04, "xz")
        design.add(quill.turn("y", -20).move(x * 0.95, 0.05, 0.06), color="accent")
        design.add(box((0.05, 0.16, 0.14), (x, 0.05, 0.1), 0.015), color="accent")
    elif mark == "bow":
        for side in (-1, 1):
            design.add(ellipsoid((0.06, 0.15, 0.09), (x, side * 0.13, 0.1), 12, 8), color="accent")
        design.add(ellipsoid(0.07, (x + 0.03, 0, 0.1), 10, 8), color="third")
    elif mark == "flower":
        for angle in np.arange(5) * 2 * np.pi / 5:
            design.add(
                ellipsoid((0.05, 0.08, 0.08), (x, 0.11 * np.cos(angle), 0.14 + 0.11 * np.sin(angle)), 10, 8),
                color="accent",
            )
        design.add(ellipsoid(0.07, (x + 0.04, 0, 0.14), 10, 8), color="third")
    else:
        design.add(box((0.07, 0.3, high * 0.3), (x, 0, 0.03 + high * 0.12), 0.02), color="accent")
        design.add(
            extrude(rounded_rectangle(0.2, radius * 1.6, 0.05), 0.06).shear(zx=-0.08).move(brim * 0.92, 0, 0.02),
            color="accent",
        )
