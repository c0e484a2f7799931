"""Things to sit on: chair, stool, bench, sofa."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import LEGS, Design
from vsie.render.primitives import box, circle, curve, cylinder, ellipsoid, extrude, lathe, rounded_rectangle, tube


def chair(design: Design) -> None:
    """A chair: the back is at -x. Sub-types of support, seat, back and arms."""
    width, depth, seat = design.uniform(0.4, 0.58), design.uniform(0.4, 0.55), design.uniform(0.38, 0.52)
    rise, lean = design.uniform(0.38, 0.75), design.uniform(0.05, 0.3)
    thick = design.uniform(0.035, 0.09)
    support = design.pick("legs", "legs", "star", "sled", "cantilever")
    if support == "legs":
        design.legs(depth / 2 - 0.04, width / 2 - 0.04, seat, design.pick(*LEGS), design.uniform(0.035, 0.07))
    elif support == "star":
        design.add(cylinder((0, 0, 0.06), (0, 0, seat), 0.035, segments=12), color="second")
        for angle in np.arange(5) * 2 * np.pi / 5:
            tip = (0.3 * np.cos(angle), 0.3 * np.sin(angle), 0.05)
            design.add(cylinder((0, 0, 0.1), tip, 0.03, 0.02, 8), color="second")
            design.add(ellipsoid(0.045, tip, 10, 6), color="third")
    else:
        for side in (-1, 1):
            y, x = side * (width / 2 - 0.03), depth / 2 - 0.02
            path = [(-x, y, seat), (-x, y, 0.02), (x, y, 0.02), (x, y, seat)]
            path = np.array(path[1:] if support == "cantilever" else path)
            dense = np.concatenate([np.linspace(a, b, 5) for a, b in zip(path[:-1], path[1:], strict=True)])
            design.add(tube(dense[np.r_[True, np.abs(np.diff(dense, axis=0)).sum(1) > 0]], 0.02, 8), color="second")
    if design.chance(0.3):
        round_seat = lathe([(0.46, 0), (0.5, 0.3), (0.5, 0.7), (0.46, 1)], 28)
        design.add(round_seat.stretch(depth, width, thick).move(z=seat))
    else:
        design.add(box((depth, width, thick), (0, 0, seat + thick / 2), bevel=thick * design.uniform(0, 0.45)))
    if design.chance(0.5):
        design.add(
            box((depth * 0.75, width * 0.8, 0.05), (depth * 0.08, 0, seat + thick + 0.015), 0.024), color="accent"
        )
    back = design.pick("panel", "slats", "ladder", "hoop", "shell")
    base, top = seat + thick, seat + thick + rise
    x, parts = -depth / 2 + 0.025, []
    if back == "panel":
        low = base + design.uniform(0, 0.15)
        outline = rounded_rectangle(width, top - low, design.uniform(0.01, 0.16)) + (0, (top + low) / 2)
        parts.append((extrude(outline, design.uniform(0.03, 0.07), "yz").move(x=x), "third"))
    elif back == "shell":
        rail = np.linspace(-1, 1, 13)
        bend = design.uniform(0.08, 0.25)
        inner = np.column_stack([bend * rail**2, rail * width / 2])
        outline = np.concatenate([inner, inner[::-1] - (0.04, 0)])
        parts.append((extrude(outline, rise).move(x=x, z=base + rise / 2), "third"))
    elif back == "hoop":
        arch = curve([(-0.5, 0), (-0.52, 0.5), (-0.35, 0.92), (0, 1.0), (0.35, 0.92), (0.52, 0.5), (0.5, 0)], 21)
        arch = np.column_stack([np.full(21, x), arch[:, 0] * width * 0.95, base + arch[:, 1] * rise])
        parts.append((tube(arch, 0.024, 8), "third"))
    if back in ("slats", "ladder"):
        for side in (-1, 1):
            y = side * (width / 2 - 0.025)
            parts.append((box((0.045, 0.045, rise + thick), (x, y, base + (rise - thick) / 2)), "second"))
    if back in ("slats", "hoop"):
        count = design.integer(2, 6)
        for y in np.linspace(-0.5, 0.5, count + 2)[1:-1] * width:
            high = rise * (0.97 - 0.25 * (2 * y / width) ** 2) if back == "hoop" else rise * 0.93
            parts.append((box((0.022, 0.035, high), (x, y, base + high / 2)), "third"))
        if back == "slats":
            parts.append((box((0.05, width, 0.09), (x, 0, top - 0.03), 0.02), "third"))
    elif back == "ladder":
        for z in np.linspace(base + 0.12, top - 0.05, design.integer(2, 5)):
            parts.append((box((0.025, width - 0.04, 0.07), (x, 0, z)), "third"))
    for part, color in parts:
        part = part.shear(xz=-lean)
        design.add(part.move(x=lean * base), color=color)
    if design.chance(0.35):
        for side in (-1, 1):
            y, high = side * (width / 2), base + rise * 0.42
            design.add(box((depth * 0.85, 0.06, 0.035), (-0.03, y, high), 0.012), color="second")
            design.add(box((0.035, 0.04, high - seat), (depth * 0.3, y, (high + seat) / 2)), color="second")


def stool(design: Design) -> None:
    """A stool without a back; a seat dip, footrest or step marks the front."""
    high = design.uniform(0.45, 0.8)
    radius = design.uniform(0.16, 0.25)
    seat = design.pick("round", "square", "saddle")
    if seat == "round":
        design.add(lathe([(radius * 0.9, 0), (radius, 0.02), (radius, 0.05), (radius * 0.88, 0.075)]).move(z=high))
    elif seat == "square":
        design.add(box((radius * 2, radius * 2, 0.07), (0, 0, high + 0.03), design.uniform(0.005, 0.03)))
    else:
        rail = np.linspace(-1, 1, 13)
        top = np.column_stack([rail * radius * 1.3, 0.06 + 0.07 * rail**2])
        outline = np.concatenate([top, top[::-1] * (1, 0) + (0, 0)])
        design.add(extrude(outline, radius * 1.7, "yz").move(z=high - 0.01))
    kind = design.pick("legs", "three", "pedestal", "step")
    if kind == "pedestal":
        design.add(lathe([(0.2, 0), (0.2, 0.02), (0.04, 0.06), (0.03, high)]), color="second")
        rest = circle(0.15, 12, "z", -75, 75) + (0, 0, high * 0.4)
        design.add(tube(rest, 0.014, 8), color="third")
        for end in (0, -1):
            design.add(cylinder((0, 0, high * 0.4), rest[end], 0.012, segments=8), color="third")
    elif kind == "three":
        for angle in np.deg2rad((0, 125, 235)):
            foot = (1.25 * radius * np.cos(angle), 1.25 * radius * np.sin(angle), 0)
            design.add(cylinder(foot, (foot[0] * 0.5, foot[1] * 0.5, high), 0.02, 0.03, 10), color="second")
        design.add(cylinder((radius, 0, high * 0.3), (-radius * 0.5, 0, high * 0.35), 0.014, segments=8), color="third")
    else:
        design.legs(radius * 0.7, radius * 0.7, high, design.pick("square", "round", "tapered", "splayed"), 0.045)
        bar = high * design.uniform(0.25, 0.45)
        design.add(box((0.025, radius * 1.9, 0.03), (radius * 0.82, 0, bar)), color="third")
        if kind == "step":
            design.add(box((radius * 1.2, radius * 1.7, 0.035), (radius * 1.4, 0, bar)), color="third")
            for side in (-1, 1):
                design.add(box((0.035, 0.035, bar), (radius * 1.9, side * radius * 0.7, bar / 2)), color="second")
    patch = design.pick("stripe", "cushion", "handle")
    top = high + 0.075 + (0.06 if seat == "saddle" else 0)
    if patch == "stripe":
        design.add(box((radius * 0.5, radius * 1.1, 0.03), (radius * 0.6, 0, top - 0.01), 0.01), color="accent")
    elif patch == "cushion":
        design.add(ellipsoid((radius * 0.65, radius * 0.85, 0.06), (radius * 0.25, 0, top)), color="accent")
    else:
        grip = tube(curve([(0, -0.6, -0.02), (0.45, -0.5, 0), (0.45, 0.5, 0), (0, 0.6, -0.02)], 12) * radius, 0.018, 8)
        design.add(grip.move(x=radius * 0.85, z=high + 0.04), color="accent")


def bench(design: Design) -> None:
    """A long seat of planks, with a back at -x in most sub-types."""
    length, depth, seat = design.uniform(1.1, 1.9), design.uniform(0.35, 0.5), design.uniform(0.38, 0.48)
    planks = design.integer(1, 5)
    step = depth / planks
    for k in range(planks):
        color = "accent" if k == planks - 1 and planks > 1 else "main"
        at = (-depth / 2 + (k + 0.5) * step, 0, seat)
        design.add(box((step * 0.85, length, 0.045), at, 0.008), color=color)
    ends = [side * (length / 2 - design.uniform(0.04, 0.25)) for side in (-1, 1)]
    kind = design.pick("slab", "frame", "cross", "iron")
    for y in ends:
        if kind == "slab":
            design.add(box((depth, 0.09, seat), (0, y, seat / 2), 0.015), color="second")
        elif kind == "frame":
            for x in (-0.42, 0.42):
                design.add(box((0.06, 0.06, seat), (x * depth, y, seat / 2)), color="second")
            design.add(box((depth, 0.05, 0.06), (0, y, seat - 0.05)), color="second")
        elif kind == "cross":
            for x in (-0.5, 0.5):
                bar = cylinder((x * depth, y + x * 0.04, 0), (-x * depth, y + x * 0.04, seat), 0.035, segments=4)
                design.add(bar, color="second")
        else:
            bow = [(0.45, 0), (0.2, 0.5), (0.4, 0.95), (-0.4, 0.95), (-0.2, 0.5), (-0.55, 0)]
            bow = curve(np.array(bow) * (depth, seat), 18)
            design.add(tube(np.insert(bow, 1, y, axis=1), 0.024, 8), color="second")
    back = design.pick("planks", "planks", "slats", "panel", "none")
    high, lean = design.uniform(0.3, 0.5), design.uniform(0.1, 0.3)
    parts = []
    if back == "planks":
        count = design.integer(1, 4)
        for k in range(count):
            plank = box((0.035, length, high / count * 0.75), (0, 0, (k + 0.6) * high / count), 0.008)
            parts.append((plank, "main"))
    elif back == "slats":
        for y in np.linspace(-0.46, 0.46, design.integer(6, 14)) * length:
            parts.append((box((0.025, 0.04, high), (0, y, high / 2)), "third"))
        parts.append((box((0.05, length, 0.06), (0, 0, high)), "main"))
    elif back == "panel":
        outline = rounded_rectangle(length, high, 0.12) + (0, high / 2)
        parts.append((extrude(outline, 0.05, "yz"), "third"))
    if back != "none":
        parts += [(box((0.05, 0.05, high + 0.05), (-0.03, y, high / 2)), "second") for y in ends]
    else:
        cushion = box((depth * 0.8, length * 0.3, 0.07), (0.03, length * 0.3, seat + 0.05), 0.03)
        design.add(cushion, color="third")
    for part, color in parts:
        design.add(part.shear(xz=-lean).move(-depth / 2, 0, seat + 0.02), color=color)
    if design.chance(0.45):
        for y in ends:
            design.add(box((depth, 0.06, 0.04), (0, y, seat + 0.22), 0.012), color="third")
            design.add(box((0.045, 0.05, 0.24), (depth * 0.42, y, seat + 0.1)), color="second")


def sofa(design: Design) -> None:
    """An upholstered seat for several: back at -x, arms, cushions, sometimes a chaise at one side."""
    seats = design.integer(1, 4)
    each, depth = design.uniform(0.5, 0.7), design.uniform(0.55, 0.7)
    length, low, seat = seats * each, design.uniform(0.04, 0.16), design.uniform(0.3, 0.42)
    back, arm = design.uniform(0.3, 0.55), design.uniform(0.1, 0.24)
    design.add(box((depth, length, seat - low), (0, 0, (seat + low) / 2 - 0.03), 0.03))
    feet = design.pick("square", "round", "tapered")
    if low > 0.07:
        design.legs(depth / 2 - 0.06, length / 2 - 0.04, low + 0.02, feet, 0.08, "third")
    puff = design.uniform(0.03, 0.06)
    chaise = design.pick(-1, 0, 0, 1) if seats > 1 else 0
    for k in range(seats):
        y = (k + 0.5) * each - length / 2
        reach = 0.5 if chaise and k == (0 if chaise < 0 else seats - 1) else 0.0
        if reach:
            design.add(box((depth + reach, each, seat - low), (reach / 2, y, (seat + low) / 2 - 0.03), 0.03))
        cushion = box((depth * 0.82 + reach, each * 0.97, 0.14), (reach / 2 + 0.06, y, seat), puff)
        design.add(cushion, color="second")
    style = design.pick("block", "cushions", "curved", "buttons")
    x = -depth / 2 - 0.02
    if style == "curved":
        rail = np.linspace(-1, 1, 15)
        crest = np.column_stack([rail * (length / 2 + arm * 0.5), seat + back * (1 - 0.35 * rail**2)])
        outline = np.concatenate([[(-length / 2, low)], crest, [(length / 2, low)]])
        design.add(extrude(outline, 0.2, "yz").move(x=x))
    else:
        design.add(box((0.2, length + arm * 0.6, seat + back - low), (x, 0, (seat + back + low) / 2), 0.05))
    if style == "cushions":
        for k in range(seats):
            y = (k + 0.5) * each - length / 2
            pillow = box((0.16, each * 0.94, back * 0.95), (0, 0, back / 2), 0.06).turn("y", -10)
            design.add(pillow.move(-depth / 2 + 0.16, y, seat + 0.06), color="second")
    elif style == "buttons":
        for y in np.linspace(-0.42, 0.42, 2 * seats + 1) * length:
            for z in (0.35, 0.75):
                design.add(ellipsoid((0.03, 0.035, 0.035), (x + 0.1, y, seat + z * back), 8, 6), color="accent")
    arms = design.pick("box", "roll", "flared", "none") if seats > 1 else design.pick("box", "roll", "flared")
    for side in (-1, 1):
        y, high = side * (length / 2 + arm / 2), seat + design.uniform(0.12, 0.2)
        if arms == "box":
            design.add(box((depth + 0.1, arm, high - low), (0.0, y, (high + low) / 2), 0.035), color="third")
        elif arms == "roll":
            design.add(box((depth, arm * 0.7, high - low), (0, y, (high + low) / 2), 0.02), color="third")
            design.add(
                cylinder((-depth / 2, y, high), (depth / 2 + 0.04, y, high), arm * 0.55, segments=16), color="third"
            )
        elif arms == "flared":
            panel = box((depth, arm * 0.5, high - low), (0, 0, (high - low) / 2), 0.02).shear(yz=side * 0.25)
            design.add(panel.move(0, y - side * arm * 0.2, low), color="third")
    for k in range(design.integer(0, 2)):
        pillow = box((0.1, 0.32, 0.32), (0, 0, 0.16), 0.045).turn("x", 12).turn("y", -20)
        design.add(pillow.move(-depth / 2 + 0.3, (length / 2 - 0.2) * (1 - 2 * k), seat + 0.06), color="accent")
