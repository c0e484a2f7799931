"""On the road: car, truck, bus. The front is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.families._vehicle import add_wheel, body_between
from vsie.render.primitives import Part, box, curve, cylinder, ellipsoid, loft, tube


def car(design: Design) -> None:
    """A car: saloon, hatchback, estate, pick-up, van, sports car or jeep."""
    kind = design.pick("saloon", "hatch", "estate", "pickup", "van", "sports", "jeep")
    length, width = design.uniform(3.6, 4.7), design.uniform(1.6, 1.9)
    wheel = design.uniform(0.3, 0.38) * (1.2 if kind in ("jeep", "pickup") else 1.0)
    clear, belt = wheel * 0.75, design.uniform(0.78, 0.95)
    roof = {"van": 1.95, "jeep": 1.75, "pickup": 1.7, "sports": 1.15}.get(kind, 1.45) * design.uniform(0.95, 1.06)
    tail, nose, half = -length / 2, length / 2, width / 2
    square = kind in ("jeep", "van", "pickup")
    hood = belt - (0.02 if square else design.uniform(0.05, 0.18))
    body = body_between(
        [(tail, clear + 0.12), (tail + 0.3, clear), (nose - 0.3, clear), (nose, clear + 0.12)],
        [(tail, belt - 0.08), (tail + 0.15, belt), (nose - 1.2, belt), (nose - 0.2, hood), (nose, hood - 0.15)],
        [(tail, half * 0.85), (tail + 0.4, half), (nose - 0.6, half), (nose, half * (0.9 if square else 0.72))],
    )
    design.add(body)
    front_base = {"van": nose - 0.55, "sports": nose - 1.55}.get(kind, nose - 1.15)
    front_top = front_base - {"van": 0.4, "jeep": 0.2, "pickup": 0.4}.get(kind, design.uniform(0.55, 0.8))
    rear_top = {
        "saloon": tail + 1.15,
        "hatch": tail + 0.6,
        "estate": tail + 0.3,
        "van": tail + 0.08,
        "jeep": tail + 0.1,
        "sports": tail + 1.5,
        "pickup": front_top - 0.9,
    }[kind]
    rear_base = {
        "saloon": tail + 0.55,
        "hatch": tail + 0.1,
        "estate": tail + 0.05,
        "van": tail + 0.03,
        "jeep": tail + 0.05,
        "sports": tail + 0.45,
        "pickup": rear_top - 0.1,
    }[kind]
    rear_top = min(rear_top, front_top - 0.35)
    rear_base = min(rear_base, rear_top - 0.02)
    open_top = kind in ("sports", "jeep") and design.chance(0.35)
    if not open_top:
        glass = [(rear_base, belt - 0.05), (front_base, belt - 0.05), (front_top, roof - 0.06), (rear_top, roof - 0.06)]
        design.add(_cabin(glass, half * 0.94, half * 0.8), color="second")
        lid = [
            (rear_top - 0.03, roof - 0.08),
            (front_top + 0.06, roof - 0.08),
            (front_top - 0.05, roof),
            (rear_top + 0.06, roof),
        ]
        design.add(_cabin(lid, half * 0.82, half * 0.76))
        for x0, x1 in ((rear_base, rear_top), (front_base, front_top)):
            for side in (-1, 1):
                design.add(
                    cylinder(
                        (x0, side * half * 0.93, belt - 0.03), (x1, side * half * 0.8, roof - 0.05), 0.05, segments=4
                    )
                )
    else:
        design.add(box((1.5, width * 0.8, 0.05), (rear_top + 0.9, 0, belt)), color="second")
        screen = box((0.05, width * 0.85, roof - belt), (0, 0, (roof - belt) / 2)).shear(xz=-0.4)
        design.add(screen.move(front_base - 0.2, 0, belt), color="second")
        for side in (-1, 1):
            design.add(box((0.15, 0.5, 0.5), (rear_top + 0.5, side * 0.36, belt + 0.2), 0.06), color="third")
    if kind == "pickup":
        bed = (rear_base - tail - 0.25, width * 0.8, 0.06)
        design.add(box(bed, ((rear_base + tail) / 2, 0, belt + 0.01)), color="third")
        for side in (-1, 1):
            design.add(box((rear_base - tail, 0.1, 0.16), ((rear_base + tail) / 2, side * half * 0.9, belt + 0.06)))
        design.add(box((0.1, width * 0.9, 0.16), (tail + 0.08, 0, belt + 0.06)))
    for x in (tail + 0.75, nose - 0.75):
        for side in (-1, 1):
            add_wheel(design, x, side * (half - 0.08), wheel, 0.22)
    lamp = design.pick("round", "bar", "block")
    for side in (-1, 1):
        y, z = side * half * 0.6, hood - 0.17
        if lamp == "round":
            design.add(ellipsoid((0.08, 0.14, 0.14), (nose - 0.02, y, z), 12, 8), color="accent")
        else:
            design.add(box((0.14, 0.4, 0.1 if lamp == "bar" else 0.22), (nose - 0.05, y, z), 0.02), color="accent")
        design.add(box((0.1, 0.25, 0.16), (tail + 0.01, side * half * 0.65, belt - 0.2)), color="second")
        design.add(box((0.1, 0.16, 0.12), (front_base - 0.12, side * (half + 0.06), belt + 0.06), 0.03), color="third")
    design.add(box((0.14, width * 0.8, 0.14), (nose, 0, clear + 0.14), 0.04), color="third")
    design.add(box((0.12, width * 0.8, 0.14), (tail, 0, clear + 0.14), 0.04), color="third")
    extra = design.pick("stripe", "rack", "spoiler", "bonnet", "spare")
    if extra == "stripe":
        design.add(
            box((nose - front_base - 0.25, 0.3, 0.03), ((nose + front_base) / 2, 0.1, (belt + hood) / 2 + 0.02)),
            color="accent",
        )
    elif extra in ("bonnet", "rack"):
        design.add(
            box(
                (nose - front_base - 0.4, width * 0.62, 0.05),
                ((nose + front_base) / 2 - 0.05, 0, (belt + hood) / 2),
                0.02,
            ),
            color="accent",
        )
    if extra == "rack" and not open_top and kind != "sports":
        design.add(box((0.9, width * 0.6, 0.16), ((rear_top + front_top) / 2, 0, roof + 0.1), 0.04), color="accent")
    elif extra == "spare" or kind == "jeep":
        design.add(cylinder((tail - 0.16, 0, belt - 0.05), (tail, 0, belt - 0.05), 0.32, segments=18), color="third")
    else:
        design.add(box((0.3, width * 0.9, 0.05), (tail + 0.15, 0, belt + 0.2)), color="accent")
        for side in (-1, 1):
            design.add(box((0.12, 0.06, 0.25), (tail + 0.16, side * half * 0.6, belt + 0.08)))


def _cabin(corners: list, low_half: float, high_half: float) -> Part:
    """A prism over the quadrilateral (x, z): back low, front low, front high, back high; narrower at the top."""
    (a, b, c, d) = corners
    base = [(a[0], low_half, a[1]), (b[0], low_half, b[1]), (b[0], -low_half, b[1]), (a[0], -low_half, a[1])]
    top = [(d[0], high_half, d[1]), (c[0], high_half, c[1]), (c[0], -high_half, c[1]), (d[0], -high_half, d[1])]
    return loft([base, top])


def truck(design: Design) -> None:
    """A lorry: cab at +x with or without a bonnet; box, tank, flat bed, tipper or crane behind."""
    wheel, width = design.uniform(0.42, 0.55), design.uniform(1.9, 2.3)
    cargo, cab, half = design.uniform(3.0, 5.2), design.uniform(1.3, 1.9), width / 2
    bonnet = design.pick(0.0, 0.0, 1.0, 1.3)
    floor, tall = wheel * 1.5, design.uniform(1.6, 2.1)
    total = cargo + cab + bonnet
    front = total / 2
    design.add(box((total * 0.97, width * 0.5, 0.25), (0, 0, floor - 0.1)), color="third")
    x = front - bonnet - cab / 2
    lean = design.uniform(0.0, 0.22)
    body = box((cab, width, tall), (0, 0, tall / 2), design.uniform(0.03, 0.12)).shear(xz=-lean * 0.4)
    design.add(body.move(x=x, z=floor))
    glass = box((0.08, width * 0.85, tall * 0.36), (cab / 2 - tall * 0.68 * lean * 0.4, 0, tall * 0.68)).shear(
        xz=-lean * 0.4
    )
    design.add(glass.move(x=x, z=floor), color="second")
    for side in (-1, 1):
        design.add(box((cab * 0.5, 0.06, tall * 0.32), (x + 0.1, side * half, floor + tall * 0.68)), color="second")
        design.add(
            box((0.1, 0.2, 0.4), (x + cab * 0.42, side * (half + 0.16), floor + tall * 0.65), 0.03), color="third"
        )
    if bonnet:
        design.add(box((bonnet, width * 0.82, tall * 0.5), (front - bonnet / 2, 0, floor + tall * 0.24), 0.1))
    design.add(box((0.1, width * 0.55, tall * 0.3), (front + 0.02, 0, floor + tall * 0.22)), color="accent")
    for side in (-1, 1):
        lamp = ellipsoid((0.08, 0.15, 0.15), (front + 0.03, side * half * 0.75, floor + 0.18), 10, 8)
        design.add(lamp, color="accent")
    design.add(box((0.2, width, 0.25), (front + 0.05, 0, floor - 0.12), 0.05), color="third")
    if design.chance(0.4):
        for side in (-1, 1):
            pipe = cylinder(
                (x - cab * 0.55, side * half * 0.9, floor),
                (x - cab * 0.55, side * half * 0.9, floor + tall * 1.3),
                0.09,
                segments=10,
            )
            design.add(pipe, color="accent")
    centre = -front + cargo / 2
    kind = design.pick("box", "tank", "flat", "tipper", "crane", "logs")
    if kind == "box":
        high = design.uniform(1.7, 2.6)
        design.add(box((cargo - 0.2, width * 1.05, high), (centre - 0.05, 0, floor + high / 2), 0.03), color="second")
        design.add(box((cargo * 0.5, width * 1.07, high * 0.4), (centre, 0, floor + high * 0.55)), color="accent")
        design.add(box((0.06, width * 0.9, high * 0.85), (-front + 0.02, 0, floor + high / 2)), color="third")
    elif kind == "tank":
        radius = half * 0.9
        ends = (-front + 0.25, 0, floor + radius), (-front + cargo - 0.3, 0, floor + radius)
        design.add(cylinder(*ends, radius, segments=24), color="second")
        for end in ends:
            design.add(ellipsoid((0.25, radius * 0.98, radius * 0.98), end, 20, 10), color="third")
        for share in np.linspace(-0.25, 0.25, design.integer(1, 3)):
            design.add(
                cylinder(
                    (centre + share * cargo, 0, floor),
                    (centre + share * cargo, 0, floor + 2 * radius + 0.12),
                    0.22,
                    segments=12,
                ),
                color="accent",
            )
    else:
        design.add(box((cargo - 0.15, width, 0.18), (centre, 0, floor + 0.08)), color="second")
        if kind == "flat":
            for k in range(design.integer(1, 3)):
                at = (centre + (k - 1) * cargo * 0.28, 0, floor + 0.5)
                design.add(box((cargo * 0.24, width * 0.7, design.uniform(0.4, 0.8)), at, 0.02), color="accent")
        elif kind == "tipper":
            low, high = design.uniform(0.7, 1.1), cargo / 2
            bed = loft(
                [
                    [
                        (-high * 0.85, half * 0.75, 0),
                        (high, half * 0.75, 0),
                        (high, -half * 0.75, 0),
                        (-high * 0.85, -half * 0.75, 0),
                    ],
                    [(-high, half, low), (high, half, low), (high, -half, low), (-high, -half, low)],
                ]
            )
            design.add(bed.turn("y", design.pick(0, 0, 12)).move(centre - 0.1, 0, floor + 0.2), color="second")
            design.add(
                ellipsoid((high * 0.85, half * 0.85, 0.35), (centre - 0.1, 0, floor + low + 0.15), 16, 8),
                color="accent",
            )
        elif kind == "logs":
            for k in range(design.integer(2, 5)):
                y, z = (k % 3 - 1) * 0.6, floor + 0.45 + 0.5 * (k // 3)
                design.add(
                    cylinder((-front - 0.3, y, z), (-front + cargo - 0.3, y, z), 0.29, segments=12), color="accent"
                )
        else:
            design.add(
                cylinder((centre + 0.6, 0, floor), (centre + 0.6, 0, floor + 1.3), 0.4, segments=14), color="second"
            )
            boom = (centre + 0.6, 0, floor + 1.3), (centre - cargo * 0.55, 0, floor + 2.6)
            design.add(cylinder(*boom, 0.2, 0.12, 4), color="accent")
            design.add(cylinder(boom[1], (boom[1][0], 0, floor + 1.4), 0.05, segments=6), color="third")
    axles = [front - bonnet * 0.5 - 0.5, -front + 0.7] + [-front + 0.7 + 2.1 * wheel] * design.integer(0, 1)
    for axle in axles:
        for side in (-1, 1):
            add_wheel(design, axle, side * (half - 0.14), wheel, 0.34)


def bus(design: Design) -> None:
    """A bus: town bus, double-decker, coach, school bus with bonnet."""
    length, width = design.uniform(6.5, 9.5), design.uniform(2.2, 2.5)
    kind = design.pick("town", "double", "coach", "school")
    high = {"town": 2.5, "double": 4.0, "coach": 2.9, "school": 2.4}[kind] * design.uniform(0.95, 1.08)
    wheel, base, half = 0.48, 0.45, width / 2
    nose = length / 2
    bonnet = 1.3 if kind == "school" else 0.0
    design.add(box((length - bonnet, width, high), (-bonnet / 2, 0, base + high / 2), design.uniform(0.08, 0.3)))
    if bonnet:
        design.add(
            box((bonnet + 0.3, width * 0.85, high * 0.5), (nose - bonnet / 2 - 0.1, 0, base + high * 0.25), 0.15),
            color="third",
        )
    face = nose - bonnet
    levels = (0.3, 0.72) if kind == "double" else (0.66,)
    for level in levels:
        tall = high * (0.2 if kind == "double" else 0.36)
        z = base + high * level
        count = design.integer(4, 8)
        span = length - bonnet - 0.8
        for k in range(count):
            x = face - 0.7 - (k + 0.5) * span / count
            design.add(box((span / count * 0.82, width + 0.06, tall), (x, 0, z)), color="second")
        design.add(box((0.1, width * 0.88, tall * 1.15), (face, 0, z)), color="second")
        design.add(box((0.08, width * 0.7, tall * 0.8), (-nose, 0, z)), color="second")
    doors = design.integer(1, 2)
    for k in range(doors):
        x = face - 0.75 - k * length * 0.42
        design.add(
            box(
                (0.85, 0.1, high * (0.42 if kind == "double" else 0.8)),
                (x, -half, base + high * (0.22 if kind == "double" else 0.42)),
            ),
            color="accent",
        )
    if design.chance(0.6):
        design.add(
            box(
                (length - bonnet, width + 0.04, 0.25),
                (-bonnet / 2, 0, base + high * (0.5 if kind == "double" else 0.3)),
            ),
            color="accent",
        )
    design.add(box((0.16, width * 0.7, 0.28), (face + 0.03, 0, base + high - 0.25)), color="accent")
    for side in (-1, 1):
        design.add(ellipsoid((0.08, 0.2, 0.16), (nose, side * half * 0.7, base + 0.4), 10, 8), color="accent")
        mirror = tube(
            curve(
                [
                    (face, side * half, base + high * 0.8),
                    (face + 0.35, side * half * 1.1, base + high * 0.75),
                    (face + 0.35, side * half * 1.1, base + high * 0.5),
                ],
                8,
            ),
            0.06,
            6,
        )
        design.add(mirror, color="third")
        for x in (nose - 1.6 - bonnet * 0.1, -nose + 1.8):
            add_wheel(design, x, side * (half - 0.12), wheel, 0.32, "accent")
    roof = design.pick("units", "hatch", "poles", "rear", "plain")
    top = base + high
    if roof == "units":
        for x in (nose * 0.4, -nose * 0.2):
            design.add(box((1.4, width * 0.6, 0.3), (x, 0, top + 0.1), 0.1), color="third")
    elif roof == "hatch":
        design.add(box((1.1, width * 0.6, 0.12), (nose * 0.45, 0, top + 0.04), 0.04), color="accent")
    elif roof == "poles":
        for side in (-1, 1):
            pole = cylinder((nose * 0.2, side * 0.3, top), (-nose * 0.8, side * 0.45, top + 0.9), 0.06, segments=8)
            design.add(pole, color="third")
    elif roof == "rear":
        design.add(box((1.6, width * 0.75, 0.35), (-nose * 0.7, 0, top + 0.14), 0.12), color="third")
    else:
        design.add(box((length * 0.45, width * 0.62, 0.06), (-length * 0.15, 0, top + 0.02)), color="third")
