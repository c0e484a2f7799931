"""On two or three wheels: bicycle, motorbike. The front is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import box, curve, cylinder, ellipsoid, extrude, torus, tube


def bicycle(design: Design) -> None:
    """A bicycle or tricycle; thick tubes, so that it can be seen."""
    wheel = design.uniform(0.3, 0.36)
    front, rear = design.uniform(0.5, 0.62), -design.uniform(0.44, 0.54)
    frame = design.pick("diamond", "step", "cruiser", "trike")
    tyre, pipe = design.uniform(0.025, 0.045), design.uniform(0.02, 0.035)
    crank, saddle, head = (
        (0.0, 0, wheel * 0.85),
        (-0.16, 0, design.uniform(0.78, 0.92)),
        (front - 0.17, 0, design.uniform(0.76, 0.9)),
    )
    hubs = [(front, 0.0, wheel)] + [(rear, y, wheel) for y in ((-0.22, 0.22) if frame == "trike" else (0.0,))]
    for x, y, z in hubs:
        design.add(torus(wheel - tyre, tyre, (x, y, z), "y", 30, 8), color="third")
        design.add(cylinder((x, y - 0.05, z), (x, y + 0.05, z), 0.05, segments=10), color="second")
        if design.chance(0.25):
            design.add(cylinder((x, y - 0.008, z), (x, y + 0.008, z), wheel * 0.88, segments=26), color="second")
        else:
            spokes = design.pick(3, 4, 6)
            for angle in np.arange(spokes) * np.pi / spokes:
                rim = ((wheel - tyre) * np.cos(angle), 0, (wheel - tyre) * np.sin(angle))
                design.add(
                    cylinder((x - rim[0], y, z - rim[2]), (x + rim[0], y, z + rim[2]), 0.008, segments=5),
                    color="second",
                )
    hub_rear = (rear, 0, wheel)
    top = np.array(head) - (0.0, 0, 0.1)
    seat_top = np.array(saddle) - (0, 0, 0.12)
    bars = [(crank, head), (crank, seat_top), (crank, hub_rear), (hub_rear, seat_top)]
    if frame == "diamond" or frame == "trike":
        bars.append((seat_top, top))
    elif frame == "step":
        bars.append((np.array(crank) + (-0.05, 0, 0.16), top))
    else:
        bow = curve([seat_top, (0.05, 0, seat_top[2] + 0.02), top + (0, 0, 0.05)], 10)
        design.add(tube(bow, pipe, 8))
        design.add(ellipsoid((0.16, 0.05, 0.08), (0.1, 0, seat_top[2] - 0.02), 14, 8), color="accent")
    for start, end in bars:
        design.add(cylinder(start, end, pipe, segments=8))
    if frame == "trike":
        design.add(cylinder((rear, -0.22, wheel), (rear, 0.22, wheel), 0.025, segments=8), color="second")
    design.add(cylinder(head, (front, 0, wheel), pipe * 0.9, segments=8), color="second")
    design.add(cylinder(seat_top, saddle, pipe * 0.8, segments=8), color="second")
    design.add(
        extrude(
            np.array([(-0.16, -0.09), (-0.16, 0.09), (0.0, 0.04), (0.13, 0.02), (0.13, -0.02), (0.0, -0.04)]), 0.06
        ).move(*saddle),
        color="accent",
    )
    grip = design.pick("flat", "drop", "high")
    shape = {
        "flat": [(-0.06, -0.3, 0.0), (0, -0.1, 0.0), (0, 0.1, 0), (-0.06, 0.3, 0)],
        "drop": [
            (0.02, -0.2, -0.13),
            (0.13, -0.2, -0.05),
            (0.02, -0.18, 0.02),
            (0, 0, 0.02),
            (0.02, 0.18, 0.02),
            (0.13, 0.2, -0.05),
            (0.02, 0.2, -0.13),
        ],
        "high": [(-0.16, -0.3, 0.1), (-0.02, -0.2, 0.13), (0, 0, 0), (-0.02, 0.2, 0.13), (-0.16, 0.3, 0.1)],
    }[grip]
    bar_at = np.array(head) + (0.01, 0, 0.08)
    design.add(cylinder(head, bar_at, pipe * 0.8, segments=8), color="second")
    design.add(tube(curve(shape, 20) + bar_at, 0.02, 8), color="second")
    design.add(cylinder((0, -0.03, crank[2]), (0, 0.03, crank[2]), 0.1, segments=16), color="second")
    for side in (-1, 1):
        design.add(box((0.12, 0.1, 0.03), (side * 0.14, side * 0.1, crank[2] - side * 0.08)), color="third")
        design.add(
            cylinder((0, side * 0.05, crank[2]), (side * 0.14, side * 0.05, crank[2] - side * 0.08), 0.016, segments=6),
            color="third",
        )
    extra = design.pick("basket", "rack", "mudguard", "lamp", "bottle")
    if extra == "basket":
        design.add(box((0.24, 0.3, 0.2), (front - 0.02, 0, bar_at[2] - 0.08), 0.02), color="accent")
    elif extra == "rack":
        design.add(box((0.36, 0.14, 0.03), (rear + 0.03, 0, 2 * wheel + 0.06)), color="second")
        design.add(box((0.3, 0.34, 0.26), (rear + 0.02, 0, 2 * wheel - 0.06), 0.04), color="accent")
    elif extra == "mudguard":
        for x, start, stop in ((front, 20, 150), (rear, 30, 170)):
            arc = np.deg2rad(np.linspace(start, stop, 14))
            path = np.column_stack(
                [x + (wheel + 0.03) * np.cos(arc), np.zeros(14), wheel + (wheel + 0.03) * np.sin(arc)]
            )
            design.add(tube(path, 0.02, 8, flat=2.5), color="accent")
    elif extra == "lamp":
        design.add(cylinder(bar_at + (0.02, 0, -0.05), bar_at + (0.14, 0, -0.05), 0.045, 0.07, 12), color="accent")
    else:
        design.add(cylinder((0.1, 0, crank[2] + 0.12), (0.2, 0, crank[2] + 0.34), 0.05, segments=10), color="accent")


def motorbike(design: Design) -> None:
    """A motorcycle: roadster, sports bike with fairing, chopper or scooter."""
    kind = design.pick("roadster", "sports", "chopper", "scooter")
    wheel = design.uniform(0.26, 0.33) * (0.75 if kind == "scooter" else 1.0)
    tyre = min(design.uniform(0.07, 0.1), 0.38 * wheel)
    front, rear = (
        {"chopper": 0.85, "scooter": 0.6}.get(kind, 0.66) * design.uniform(0.95, 1.05),
        -design.uniform(0.52, 0.62),
    )
    for x in (front, rear):
        design.add(torus(wheel - tyre, tyre, (x, 0, wheel), "y", 28, 10), color="third")
        design.add(cylinder((x, -0.04, wheel), (x, 0.04, wheel), wheel - tyre * 1.2, segments=20), color="second")
    seat, head = design.uniform(0.62, 0.74), (front - {"chopper": 0.5}.get(kind, 0.24), 0, design.uniform(0.82, 0.95))
    for side in (-1, 1):
        design.add(
            cylinder((front, side * 0.11, wheel), (head[0], side * 0.09, head[2]), 0.035, segments=10), color="second"
        )
    high = {"chopper": 0.22, "sports": -0.02}.get(kind, 0.1)
    bar = curve(
        [(-0.14, -0.36, high), (-0.03, -0.24, high + 0.02), (0, 0, 0), (-0.03, 0.24, high + 0.02), (-0.14, 0.36, high)],
        18,
    )
    design.add(tube(bar + head, 0.028, 8), color="second")
    for side in (0, -1):
        design.add(ellipsoid(0.045, bar[side] + head, 8, 6), color="third")
    design.add(
        cylinder(np.array(head) + (0.02, 0, -0.02), np.array(head) + (0.16, 0, -0.05), 0.08, 0.1, 14), color="accent"
    )
    if kind == "scooter":
        shield = extrude(
            [(0.04, 0.1), (0.0, 0.9), (-0.06, 0.9), (-0.1, 0.15), (-0.5, 0.12), (-0.5, 0.02), (0.0, 0.02)], 0.42, "xz"
        )
        design.add(shield.move(head[0] + 0.05, 0, 0.12).stretch(z=0.95))
        tail = ellipsoid((0.4, 0.2, 0.26), (rear + 0.08, 0, 0.5), 20, 12)
        design.add(tail)
        design.add(box((0.55, 0.28, 0.12), (rear + 0.15, 0, 0.74), 0.05), color="accent")
        fender = ellipsoid((wheel * 1.1, 0.12, wheel * 0.7), (front, 0, wheel * 1.5), 16, 10)
        design.add(fender)
    else:
        tank = ellipsoid((0.27, 0.15, 0.14), (0.14, 0, seat + 0.08), 20, 12)
        design.add(tank.shear(zx=0.15))
        saddle = curve([(0.0, 0.0), (-0.2, -0.05), (-0.42, 0.0), (-0.62, 0.12 if kind != "sports" else 0.2)], 10)
        outline = np.concatenate([saddle, saddle[::-1] - (0, 0.09)])
        design.add(extrude(outline, 0.26, "xz").move(0.0, 0, seat + 0.05), color="accent")
        design.add(box((0.36, 0.24, 0.28), (0.06, 0, seat - 0.3), 0.04), color="second")
        for k in range(design.integer(2, 4)):
            design.add(box((0.3, 0.3, 0.025), (0.1, 0, seat - 0.36 + 0.08 * k)), color="third")
        beam = [
            ((head[0] - 0.02, 0, head[2] - 0.12), (0.15, 0, seat - 0.42)),
            ((0.0, 0, seat - 0.35), (rear, 0, wheel)),
            ((head[0] - 0.02, 0, head[2] - 0.1), (rear + 0.2, 0, seat)),
        ]
        for start, end in beam:
            design.add(cylinder(start, end, 0.035, segments=8), color="second")
        fender = np.deg2rad(np.linspace(30, 150, 12))
        for x in (front, rear):
            path = np.column_stack(
                [x + (wheel + 0.03) * np.cos(fender), np.zeros(12), wheel + (wheel + 0.03) * np.sin(fender)]
            )
            design.add(tube(path, 0.03, 8, flat=3.0))
        pipe = curve([(0.15, -0.16, seat - 0.35), (0.05, -0.18, 0.2), (-0.3, -0.2, 0.2), (rear - 0.15, -0.2, 0.3)], 14)
        design.add(tube(pipe, np.linspace(0.03, 0.06, 14), 8), color="accent")
        if kind == "sports":
            cowl = ellipsoid((0.26, 0.2, 0.22), (head[0] + 0.12, 0, head[2] - 0.04), 18, 12)
            design.add(cowl)
            design.add(ellipsoid((0.36, 0.18, 0.2), (0.28, 0, seat - 0.22), 18, 10))
            design.add(box((0.03, 0.22, 0.2), (head[0] + 0.14, 0, head[2] + 0.16)).turn("y", 0), color="second")
        if design.chance(0.4):
            for side in (-1, 1):
                design.add(box((0.4, 0.16, 0.28), (rear + 0.02, side * 0.24, 0.5), 0.04), color="third")
        if kind == "roadster" and design.chance(0.5):
            design.add(
                box((0.03, 0.34, 0.3), (0, 0, 0.15)).shear(xz=-0.4).move(head[0] + 0.1, 0, head[2]), color="third"
            )
