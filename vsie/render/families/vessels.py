"""Vessels: mug, teapot, bottle, vase, bowl, pan. Handles, labels and spouts tell the front (+x)."""

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
    torus,
    tube,
)


def _patch(outer: np.ndarray, low: float, high: float, half_angle: float, at_angle: float = 0.0) -> Part:
    """A label on a body of revolution: the stretch low..high (share of its height) of its profile, over an arc."""
    order = np.argsort(outer[:, 1])
    span = outer[:, 1].min() + np.linspace(low, high, 9) * np.ptp(outer[:, 1])
    radius = np.interp(span, outer[order, 1], outer[order, 0])
    thick = 0.02 * outer[:, 0].max()
    angles = np.deg2rad(np.linspace(at_angle - half_angle, at_angle + half_angle, 13))
    sections = []
    for angle in angles:
        # The first and the last section fold flat below the surface: that closes the label without a cap.
        lift = -3 * thick if angle in (angles[0], angles[-1]) else thick
        across = np.concatenate([radius + lift, radius[::-1] - 3 * thick])
        up = np.concatenate([span, span[::-1]])
        sections.append(np.column_stack([across * np.cos(angle), across * np.sin(angle), up]))
    return loft(sections, caps=False, crease=50)


def _hollow(outer: np.ndarray, wall: float, segments: int = 32) -> Part:
    """An open vessel: the outer profile (from the foot to the lip) with an inner wall and a floor."""
    inner = outer[::-1] - (wall, 0)
    inner[:, 0] = np.maximum(inner[:, 0], wall)
    inner[:, 1] = np.maximum(inner[:, 1], outer[0, 1] + wall * 1.5)
    return lathe(np.concatenate([outer, inner]), segments)


def mug(design: Design) -> None:
    """A mug: the handle is at +x; cylinders, barrels, tapered cups, with label, stripes or a saucer."""
    radius, high = design.uniform(0.35, 0.5), design.uniform(0.75, 1.15)
    shape = design.pick("straight", "barrel", "taper", "bell", "foot")
    z = np.linspace(0, 1, 11)
    width = {
        "straight": np.ones(11),
        "barrel": 1 + 0.25 * np.sin(np.pi * z),
        "taper": 0.7 + 0.4 * z,
        "bell": 0.62 + 0.5 * z**0.5,
        "foot": np.where(z < 0.12, 0.8, 0.62 + 0.5 * np.sqrt(np.maximum(z - 0.12, 0))),
    }[shape]
    outer = np.column_stack([radius * width, high * z])
    segments = design.pick(32, 32, 8)
    design.add(_hollow(outer, design.uniform(0.03, 0.06), segments))
    if design.chance(0.7):
        fill = high * design.uniform(0.6, 0.85)
        level = float(np.interp(fill, outer[:, 1], outer[:, 0])) * 0.96
        design.add(lathe([(level, 0), (level, 0.02)]).move(z=fill), color="third")
    thick = design.uniform(0.045, 0.085)
    top, low = high * design.uniform(0.75, 0.92), high * design.uniform(0.12, 0.3)
    reach, color = design.uniform(0.25, 0.42), design.pick("second", "accent")
    base = [float(np.interp(level, outer[:, 1], outer[:, 0])) - 0.03 for level in (low, top)]
    grip = design.pick("loop", "ear", "square", "double")
    if grip == "loop":
        points = [
            (base[0], low),
            (radius + reach * 0.8, low),
            (radius + reach, (low + top) / 2),
            (radius + reach * 0.8, top),
            (base[1], top),
        ]
    elif grip == "square":
        far = radius + reach
        points = [
            (base[0], low),
            (far - 0.16, low),
            (far - 0.03, low + 0.03),
            (far, low + 0.16),
            (far, top - 0.16),
            (far - 0.03, top - 0.03),
            (far - 0.16, top),
            (base[1], top),
        ]
    else:
        points = [(base[0], low), (radius + reach * 0.5, low + 0.1), (radius + reach, top - 0.12), (base[1], top)]
    path = curve(points, 22)
    handle = tube(np.column_stack([path[:, 0], np.zeros(22), path[:, 1]]), thick, 10, flat=design.uniform(0.8, 1.5))
    design.add(handle, color=color)
    if grip == "double":
        design.add(handle.turn("z", 80), color=color)
    decor = design.pick("label", "stripe", "rim", "saucer", "spoon")
    if decor == "label":
        design.add(_patch(outer, 0.25, 0.75, design.uniform(25, 50), design.pick(90, 180, 270)), color="accent")
    elif decor == "stripe":
        design.add(_patch(outer, 0.4, 0.62, 150, 180), color="accent")
    elif decor == "rim":
        design.add(torus(outer[-1, 0], 0.04, (0, 0, high), "z", 32, 8), color="second")
        design.add(_patch(outer, 0.2, 0.8, 14, 180), color="accent")
    elif decor == "saucer":
        plate = np.array([(0.4, -0.06), (0.9, 0.05), (0.88, 0.09), (0.4, 0.0)]) * (radius * 2, 1)
        design.add(lathe(plate, 32), color="second")
        design.add(ellipsoid((0.09, 0.14, 0.06), (0, -radius * 1.4, 0.07), 12, 8), color="accent")
    else:
        design.add(cylinder((0, 0, 0.1), (-radius * 1.15, 0.1, high * 1.35), 0.03, segments=8), color="accent")
        design.add(_patch(outer, 0.3, 0.7, 30, 90), color="accent")


def teapot(design: Design) -> None:
    """A teapot: the spout is at +x, the handle at -x or over the lid."""
    radius, high = design.uniform(0.42, 0.55), design.uniform(0.55, 0.95)
    z = np.linspace(0, 1, 13)
    body = design.pick("globe", "pear", "cone", "drum")
    width = {
        "globe": np.sqrt(np.maximum(1 - (1.75 * (z - 0.5)) ** 2, 0.1)),
        "pear": 0.62 + 0.42 * np.sin(np.pi * np.clip(1.0 - z, 0, 1) ** 0.8) - 0.25 * z,
        "cone": 1.05 - 0.55 * z,
        "drum": np.where((z < 0.04) | (z > 0.96), 0.85, 1.0),
    }[body]
    outer = np.column_stack([radius * width, high * z])
    design.add(lathe(outer, design.pick(32, 32, 6)))
    lid = float(outer[-1, 0])
    design.add(
        lathe([(lid * 1.02, 0), (lid * 0.95, 0.05), (lid * 0.5, 0.12), (0.0, 0.14)], 24).move(z=high), color="second"
    )
    design.add(ellipsoid(design.uniform(0.05, 0.085), (0, 0, high + 0.17), 12, 8), color="accent")
    spout = design.pick("swan", "straight", "beak")
    start, end = high * 0.3, high * design.uniform(0.85, 1.05)
    near = float(np.interp(start, outer[:, 1], outer[:, 0])) - 0.06
    if spout == "swan":
        path = curve([(near, start), (near + 0.25, start + 0.08), (near + 0.32, end - 0.1), (near + 0.5, end)], 16)
        taper = np.linspace(0.13, 0.05, 16)
    elif spout == "straight":
        path, taper = curve([(near, start), (near + 0.5, end)], 6), np.linspace(0.15, 0.045, 6)
    else:
        near = float(np.interp(high * 0.75, outer[:, 1], outer[:, 0])) - 0.08
        path, taper = curve([(near, high * 0.7), (near + 0.26, high * 0.95)], 6), np.linspace(0.17, 0.07, 6)
    design.add(tube(np.insert(path, 1, 0.0, axis=1), taper, 12), color=design.pick("main", "second"))
    grip = design.pick("ear", "ear", "bail", "stick")
    thick = design.uniform(0.035, 0.055)
    if grip == "bail":
        arc = circle(radius * 0.85, 18, "y", 0, 180) * (1, 1, 1)
        arc = np.column_stack(
            [
                -radius * 0.85 * np.cos(np.linspace(0, np.pi, 18)),
                np.zeros(18),
                high * 0.85 + 0.6 * np.sin(np.linspace(0, np.pi, 18)),
            ]
        )
        design.add(tube(arc, thick, 10), color="third")
    elif grip == "stick":
        design.add(
            cylinder((0, 0, high * 0.6), (-radius - 0.5, 0, high * 0.85), thick * 1.2, thick * 1.8, 12), color="third"
        )
    else:
        low, top = high * 0.22, high * 0.85
        near = [float(np.interp(level, outer[:, 1], outer[:, 0])) - 0.04 for level in (low, top)]
        bow = curve([(-near[0], low), (-radius - 0.3, low + 0.15), (-radius - 0.28, top), (-near[1], top)], 18)
        design.add(tube(np.insert(bow, 1, 0.0, axis=1), thick, 10), color="third")
    if design.chance(0.6):
        design.add(_patch(outer, 0.35, 0.65, 30, design.pick(90, 270)), color="accent")
    if design.chance(0.5):
        design.add(torus(outer[0, 0] * 0.9, 0.04, (0, 0, 0), "z", 28, 8), color="second")


def bottle(design: Design) -> None:
    """A bottle: its label looks along +x; wine, flask, spray, jug and box-shaped kinds."""
    high, radius = design.uniform(1.0, 1.5), design.uniform(0.17, 0.3)
    neck, shoulder = radius * design.uniform(0.28, 0.5), design.uniform(0.5, 0.75)
    profile = [(radius * 0.9, 0), (radius, 0.03 * high), (radius, shoulder * high)]
    bend = curve([(radius, shoulder), (radius * 0.95, shoulder + 0.06), (neck * 1.2, shoulder + 0.18), (neck, 0.9)], 9)
    profile += [(r, z * high) for r, z in bend[1:]] + [(neck, high)]
    outer = np.array(profile)
    flat = design.pick(1.0, 1.0, 0.55)
    segments = design.pick(28, 28, 4, 8)
    turn = 45 if segments == 4 else 0
    body = lathe(outer, segments).turn("z", turn).stretch(x=flat)
    design.add(body)
    cap = design.pick("cork", "screw", "pump", "trigger", "lip")
    if cap == "cork":
        design.add(
            cylinder((0, 0, high * 0.98), (0, 0, high * 1.08), neck * 0.8 * flat, neck * 0.9 * flat, 14), color="third"
        )
    elif cap == "screw":
        design.add(cylinder((0, 0, high * 0.93), (0, 0, high * 1.03), neck * 1.25, segments=14), color="third")
    elif cap == "lip":
        design.add(torus(neck, neck * 0.25, (0, 0, high), "z", 18, 8).stretch(x=flat), color="third")
    else:
        design.add(cylinder((0, 0, high * 0.95), (0, 0, high * 1.12), neck * 0.6, segments=12), color="third")
        reach = 0.22 if cap == "pump" else 0.3
        design.add(box((reach, 0.09, 0.06), (reach * 0.35, 0, high * 1.13), 0.02), color="third")
        if cap == "trigger":
            lever = tube(curve([(0.16, 0, high * 1.1), (0.2, 0, high * 1.0), (0.15, 0, high * 0.9)], 8), 0.025, 8)
            design.add(lever, color="accent")
    low, top = design.uniform(0.05, 0.14), shoulder * design.uniform(0.8, 0.97)
    if segments == 28:
        label = _patch(outer, low, top, design.uniform(40, 75)).stretch(x=flat)
        design.add(label, color="accent")
        if design.chance(0.6):
            design.add(
                _patch(outer, (low + top) / 2 - 0.05, (low + top) / 2 + 0.07, 25, 180).stretch(x=flat), color="second"
            )
    else:
        side = radius * np.cos(np.pi / segments)
        width = 2 * radius * np.sin(np.pi / segments) * 0.8
        panel = box((0.02, width, (top - low) * high), (side * flat, 0, (low + top) / 2 * high))
        design.add(panel if segments == 4 else panel.turn("z", 22.5), color="accent")
        design.add(box((0.02, width * 0.6, 0.1), (-side * flat, 0, 0.3 * high)), color="second")
    if design.chance(0.5):
        z0, z1 = shoulder * high * 0.75, high * 0.9
        jug = curve([(radius * 0.9, z0), (radius * 1.8, z0 + 0.1), (radius * 1.7, z1), (neck * 0.6, z1)], 16)
        design.add(tube(np.insert(jug, 0, 0.0, axis=1), 0.04, 8), color="second")


def vase(design: Design) -> None:
    """A vase: one ear, a band of relief or leaning flowers turn its front to +x."""
    high = design.uniform(0.8, 1.4)
    points = [
        (design.uniform(0.14, 0.3), 0),
        (design.uniform(0.3, 0.5), 0.3),
        (design.uniform(0.2, 0.5), 0.6),
        (design.uniform(0.1, 0.25), 0.85),
        (design.uniform(0.18, 0.36), 1.0),
    ]
    outer = curve(points, 20) * (1, high)
    design.add(_hollow(outer, 0.03, design.pick(32, 32, 6, 10)))
    front = design.pick("ear", "ears", "flowers", "panel", "spout")
    if front in ("ear", "ears"):
        z0, z1 = high * design.uniform(0.3, 0.5), high * design.uniform(0.8, 0.95)
        near = [float(np.interp(z, outer[:, 1], outer[:, 0])) - 0.02 for z in (z0, z1)]
        reach = max(near) + design.uniform(0.15, 0.3)
        bow = curve([(near[0], z0), (reach, (z0 + 2 * z1) / 3), (reach * 0.8, z1 + 0.05), (near[1], z1)], 16)
        ear = tube(np.insert(bow, 1, 0.0, axis=1), design.uniform(0.03, 0.05), 8)
        design.add(ear, color="second")
        if front == "ears":
            design.add(ear.turn("z", 110), color="third")
    elif front == "spout":
        lip = tube(
            np.array([(outer[-1, 0] * 0.6, 0, high * 0.93), (outer[-1, 0] + 0.16, 0, high * 1.03)]), (0.13, 0.07)
        )
        design.add(lip, color="second")
    if front == "flowers" or design.chance(0.35):
        for k in range(design.integer(1, 5)):
            side, lift = 0.35 * (k % 3 - 1) * design.uniform(0.5, 1.2), design.uniform(0.3, 0.7)
            tip = np.array((design.uniform(0.2, 0.5), side, high + lift))
            stem = curve([(0, 0, high * 0.6), (0.04, side * 0.3, high + lift * 0.3), tip], 8)
            design.add(tube(stem, 0.015, 6), color="third")
            bloom = design.pick("ball", "cone", "disc")
            if bloom == "ball":
                design.add(ellipsoid(0.1, tip, 12, 8), color="accent")
            elif bloom == "cone":
                design.add(cylinder(tip - (0.02, 0, 0.06), tip + (0.04, 0, 0.14), 0.02, 0.12, 10), color="accent")
            else:
                design.add(ellipsoid((0.05, 0.15, 0.15), tip, 12, 8), color="accent")
    design.add(
        _patch(outer, design.uniform(0.12, 0.25), design.uniform(0.45, 0.6), design.uniform(30, 80)), color="accent"
    )
    if design.chance(0.5):
        design.add(_patch(outer, 0.3, 0.42, 35, 180), color="second")


def bowl(design: Design) -> None:
    """A bowl: fruit, a spoon, a lip or a handle at +x."""
    radius, high = design.uniform(0.45, 0.6), design.uniform(0.22, 0.5)
    z = np.linspace(0, 1, 10)
    outer = np.column_stack([radius * (0.35 + 0.65 * z ** design.uniform(0.35, 1.1)), high * z])
    design.add(_hollow(outer, 0.035, design.pick(36, 36, 8, 5)))
    if design.chance(0.5):
        design.add(lathe([(radius * 0.4, -0.08), (radius * 0.33, 0.01)], 24), color="second")
    content = design.pick("fruit", "soup", "empty", "salad")
    level = high * design.uniform(0.55, 0.85)
    width = float(np.interp(level, outer[:, 1], outer[:, 0])) - 0.03
    if content == "fruit":
        for k in range(design.integer(2, 5)):
            angle, size = design.uniform(-1.2, 1.2) + 0.3 * k, design.uniform(0.1, 0.17)
            at = (width * 0.5 * np.cos(angle), width * 0.5 * np.sin(angle), level)
            design.add(
                ellipsoid((size, size, size * design.uniform(0.8, 1.3)), at, 14, 10), color=("accent", "third")[k % 2]
            )
    elif content != "empty":
        design.add(lathe([(width, 0), (width, 0.02)], 28).move(z=level), color="third")
        if content == "salad":
            for k in range(design.integer(3, 7)):
                angle = 0.45 * k
                at = (0.6 * width * np.cos(angle), 0.6 * width * np.sin(angle), level + 0.03)
                design.add(ellipsoid((0.1, 0.07, 0.04), at, 10, 6).move(), color="accent")
    tool = design.pick("spoon", "handle", "lip", "sticks")
    if tool == "spoon":
        design.add(cylinder((0, 0, high * 0.4), (radius * 1.25, 0.08, high * 1.45), 0.025, 0.04, 8), color="accent")
    elif tool == "sticks":
        for side in (0.06, 0.14):
            ends = (-radius * 0.5, side, high + 0.03), (radius * 1.4, side * 1.8, high + 0.05)
            design.add(cylinder(*ends, 0.022, segments=8), color="accent")
    elif tool == "handle":
        design.add(box((0.4, 0.16, 0.06), (radius + 0.14, 0, high * 0.93), 0.025), color="second")
    else:
        design.add(extrude([(0, -0.2), (0.22, 0), (0, 0.2)], 0.05).move(radius * 0.95, 0, high - 0.03), color="second")
    design.add(_patch(outer, 0.35, 0.85, design.uniform(20, 45)), color="accent")
    if design.chance(0.5):
        design.add(_patch(outer, 0.5, 0.8, 20, 120), color="second")


def pan(design: Design) -> None:
    """A frying pan, saucepan or wok: the handle is at -x, the pouring lip at +x."""
    radius, high, flare = (
        design.uniform(0.38, 0.5),
        design.pick(0.12, 0.2, 0.4) * design.uniform(0.8, 1.2),
        design.uniform(1.0, 1.3),
    )
    outer = np.column_stack([np.linspace(radius, radius * flare, 5), np.linspace(0, high, 5)])
    design.add(_hollow(outer, 0.03, 36))
    edge = radius * flare
    length = design.uniform(0.5, 0.9)
    grip = design.pick("bar", "round", "flat")
    end = (-edge - length, 0, high * 0.8 + design.uniform(0, 0.25))
    if grip == "bar":
        design.add(
            tube(curve([(-edge + 0.02, 0, high * 0.8), (-edge - length / 2, 0, high), end], 10), 0.05, 8, flat=0.6),
            color="second",
        )
    elif grip == "round":
        design.add(cylinder((-edge + 0.02, 0, high * 0.7), end, 0.035, 0.055, 12), color="second")
    else:
        plank = extrude(np.array([(0.03, 0.06), (-length, 0.09), (-length, -0.09), (0.03, -0.06)]), 0.04)
        design.add(plank.shear(zx=-0.2).move(-edge, 0, high * 0.75), color="second")
    design.add(ellipsoid(0.06, end, 10, 8), color="accent")
    lip = design.pick("pour", "ear", "none")
    if lip == "pour":
        design.add(extrude([(0, -0.16), (0.14, 0), (0, 0.16)], 0.05).move(edge * 0.96, 0, high - 0.03))
    elif lip == "ear":
        design.add(tube(circle(0.13, 12, "z", -90, 90) + (edge - 0.01, 0, high * 0.85), 0.03, 8), color="second")
    food = design.pick("egg", "steak", "lid", "peas")
    if food == "egg":
        for k in range(design.integer(1, 3)):
            x, y = 0.16 * (1 - k), 0.2 * (k - 0.6)
            design.add(ellipsoid((0.16, 0.14, 0.03), (x, y, 0.06), 16, 6), color="third")
            design.add(ellipsoid((0.06, 0.06, 0.05), (x, y, 0.08), 12, 6), color="accent")
    elif food == "steak":
        design.add(box((0.3, 0.4, 0.08), (radius * 0.2, 0.04, 0.08), 0.035), color="accent")
    elif food == "lid":
        design.add(lathe([(edge, high), (edge * 0.6, high + 0.1), (0.0, high + 0.13)], 32), color="third")
        design.add(box((0.2, 0.07, 0.09), (0.06, 0, high + 0.17), 0.02), color="accent")
        design.add(box((0.14, 0.14, 0.03), (edge * 0.55, 0.05, high + 0.1)), color="accent")
    else:
        design.add(lathe([(radius * 0.9, 0), (radius * 0.9, 0.03)], 28).move(z=high * 0.45), color="third")
        for angle in np.linspace(-1, 1, design.integer(5, 9)):
            at = (radius * 0.6 * np.cos(angle), radius * 0.6 * np.sin(angle), high * 0.5 + 0.03)
            design.add(ellipsoid(0.05, at, 8, 6), color="accent")
