"""Road and rail: car, truck, bus, train, bicycle, motorbike. Wheels turn about y; the front is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import Part, box, circle, curve, cylinder, ellipsoid, extrude, lathe, loft, torus, tube


def _wheel(design: Design, x: float, y: float, radius: float, width: float, hub: str = "second") -> None:
    design.add(cylinder((x, y - width / 2, radius), (x, y + width / 2, radius), radius, segments=18), color="third")
    side = np.sign(y) if y else 1.0
    face = y + side * width / 2
    design.add(cylinder((x, face, radius), (x, face + side * 0.03 * radius, radius), radius * 0.55, segments=12), color=hub)


def _rails(lower: list, upper: list, half_width: list, count: int = 24) -> Part:
    """A body lofted along x from the profiles of its underside and its top, both lists of (x, z), and half widths."""
    x0, x1 = lower[0][0], lower[-1][0]
    x = x0 + (x1 - x0) * (1 - np.cos(np.linspace(0, np.pi, count))) / 2
    knots = [point[0] for point in upper]
    x = np.unique(np.concatenate([x, [k for k in knots if x0 < k < x1]]))
    low = np.interp(x, *np.array(lower).T)
    high = np.interp(x, *np.array(upper).T)
    half = np.interp(x, *np.array(half_width).T)
    sections = []
    for where, bottom, top, wide in zip(x, low, high, half, strict=True):
        middle = bottom + (top - bottom) * 0.55
        ring = [(wide * 0.92, bottom), (wide, middle), (wide * 0.9, top - 0.02), (wide * 0.75, top)]
        ring = np.array(ring + [(-y, z) for y, z in reversed(ring)])
        sections.append(np.column_stack([np.full(len(ring), where), ring]))
    return loft(sections, crease=30)


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
    body = _rails(
        [(tail, clear + 0.12), (tail + 0.3, clear), (nose - 0.3, clear), (nose, clear + 0.12)],
        [(tail, belt - 0.08), (tail + 0.15, belt), (nose - 1.2, belt), (nose - 0.2, hood), (nose, hood - 0.15)],
        [(tail, half * 0.85), (tail + 0.4, half), (nose - 0.6, half), (nose, half * (0.9 if square else 0.72))],
    )
    design.add(body)
    front_base = {"van": nose - 0.55, "sports": nose - 1.55}.get(kind, nose - 1.15)
    front_top = front_base - {"van": 0.4, "jeep": 0.2, "pickup": 0.4}.get(kind, design.uniform(0.55, 0.8))
    rear_top = {"saloon": tail + 1.15, "hatch": tail + 0.6, "estate": tail + 0.3, "van": tail + 0.08,
                "jeep": tail + 0.1, "sports": tail + 1.5, "pickup": front_top - 0.9}[kind]
    rear_base = {"saloon": tail + 0.55, "hatch": tail + 0.1, "estate": tail + 0.05, "van": tail + 0.03,
                 "jeep": tail + 0.05, "sports": tail + 0.45, "pickup": rear_top - 0.1}[kind]
    open_top = kind in ("sports", "jeep") and design.chance(0.35)
    if not open_top:
        glass = [(rear_base, belt - 0.05), (front_base, belt - 0.05), (front_top, roof - 0.06), (rear_top, roof - 0.06)]
        design.add(_cabin(glass, half * 0.94, half * 0.8), color="second")
        lid = [(rear_top - 0.03, roof - 0.08), (front_top + 0.06, roof - 0.08), (front_top - 0.05, roof), (rear_top + 0.06, roof)]
        design.add(_cabin(lid, half * 0.82, half * 0.76))
        for x0, x1 in ((rear_base, rear_top), (front_base, front_top)):
            for side in (-1, 1):
                design.add(cylinder((x0, side * half * 0.93, belt - 0.03), (x1, side * half * 0.8, roof - 0.05), 0.05, segments=4))
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
            _wheel(design, x, side * (half - 0.08), wheel, 0.22)
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
        design.add(box((nose - front_base - 0.25, 0.3, 0.03), ((nose + front_base) / 2, 0.1, (belt + hood) / 2 + 0.02)), color="accent")
    elif extra == "bonnet":
        design.add(box((nose - front_base - 0.4, width * 0.62, 0.05), ((nose + front_base) / 2 - 0.05, 0, (belt + hood) / 2), 0.02), color="accent")
    elif extra == "rack" and not open_top and kind != "sports":
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
    glass = box((0.08, width * 0.85, tall * 0.36), (cab / 2 - tall * 0.68 * lean * 0.4, 0, tall * 0.68)).shear(xz=-lean * 0.4)
    design.add(glass.move(x=x, z=floor), color="second")
    for side in (-1, 1):
        design.add(box((cab * 0.5, 0.06, tall * 0.32), (x + 0.1, side * half, floor + tall * 0.68)), color="second")
        design.add(box((0.1, 0.2, 0.4), (x + cab * 0.42, side * (half + 0.16), floor + tall * 0.65), 0.03), color="third")
    if bonnet:
        design.add(box((bonnet, width * 0.82, tall * 0.5), (front - bonnet / 2, 0, floor + tall * 0.24), 0.1))
    design.add(box((0.1, width * 0.55, tall * 0.3), (front + 0.02, 0, floor + tall * 0.22)), color="accent")
    for side in (-1, 1):
        lamp = ellipsoid((0.08, 0.15, 0.15), (front + 0.03, side * half * 0.75, floor + 0.18), 10, 8)
        design.add(lamp, color="accent")
    design.add(box((0.2, width, 0.25), (front + 0.05, 0, floor - 0.12), 0.05), color="third")
    if design.chance(0.4):
        for side in (-1, 1):
            pipe = cylinder((x - cab * 0.55, side * half * 0.9, floor), (x - cab * 0.55, side * half * 0.9, floor + tall * 1.3), 0.09, segments=10)
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
            design.add(cylinder((centre + share * cargo, 0, floor), (centre + share * cargo, 0, floor + 2 * radius + 0.12), 0.22, segments=12), color="accent")
    else:
        design.add(box((cargo - 0.15, width, 0.18), (centre, 0, floor + 0.08)), color="second")
        if kind == "flat":
            for k in range(design.integer(1, 3)):
                at = (centre + (k - 1) * cargo * 0.28, 0, floor + 0.5)
                design.add(box((cargo * 0.24, width * 0.7, design.uniform(0.4, 0.8)), at, 0.02), color="accent")
        elif kind == "tipper":
            low, high = design.uniform(0.7, 1.1), cargo / 2
            bed = loft([
                [(-high * 0.85, half * 0.75, 0), (high, half * 0.75, 0), (high, -half * 0.75, 0), (-high * 0.85, -half * 0.75, 0)],
                [(-high, half, low), (high, half, low), (high, -half, low), (-high, -half, low)],
            ])
            design.add(bed.turn("y", design.pick(0, 0, 12)).move(centre - 0.1, 0, floor + 0.2), color="second")
            design.add(ellipsoid((high * 0.85, half * 0.85, 0.35), (centre - 0.1, 0, floor + low + 0.15), 16, 8), color="accent")
        elif kind == "logs":
            for k in range(design.integer(2, 5)):
                y, z = (k % 3 - 1) * 0.6, floor + 0.45 + 0.5 * (k // 3)
                design.add(cylinder((-front - 0.3, y, z), (-front + cargo - 0.3, y, z), 0.29, segments=12), color="accent")
        else:
            design.add(cylinder((centre + 0.6, 0, floor), (centre + 0.6, 0, floor + 1.3), 0.4, segments=14), color="second")
            boom = (centre + 0.6, 0, floor + 1.3), (centre - cargo * 0.55, 0, floor + 2.6)
            design.add(cylinder(*boom, 0.2, 0.12, 4), color="accent")
            design.add(cylinder(boom[1], (boom[1][0], 0, floor + 1.4), 0.05, segments=6), color="third")
    axles = [front - bonnet * 0.5 - 0.5, -front + 0.7] + [-front + 0.7 + 2.1 * wheel] * design.integer(0, 1)
    for axle in axles:
        for side in (-1, 1):
            _wheel(design, axle, side * (half - 0.14), wheel, 0.34)


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
        design.add(box((bonnet + 0.3, width * 0.85, high * 0.5), (nose - bonnet / 2 - 0.1, 0, base + high * 0.25), 0.15), color="third")
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
        design.add(box((0.85, 0.1, high * (0.42 if kind == "double" else 0.8)), (x, -half, base + high * (0.22 if kind == "double" else 0.42))), color="accent")
    if design.chance(0.6):
        design.add(box((length - bonnet, width + 0.04, 0.25), (-bonnet / 2, 0, base + high * (0.5 if kind == "double" else 0.3))), color="accent")
    design.add(box((0.16, width * 0.7, 0.28), (face + 0.03, 0, base + high - 0.25)), color="accent")
    for side in (-1, 1):
        design.add(ellipsoid((0.08, 0.2, 0.16), (nose, side * half * 0.7, base + 0.4), 10, 8), color="accent")
        mirror = tube(curve([(face, side * half, base + high * 0.8), (face + 0.35, side * half * 1.1, base + high * 0.75),
                             (face + 0.35, side * half * 1.1, base + high * 0.5)], 8), 0.06, 6)
        design.add(mirror, color="third")
        for x in (nose - 1.6 - bonnet * 0.1, -nose + 1.8):
            _wheel(design, x, side * (half - 0.12), wheel, 0.32, "accent")
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


def train(design: Design) -> None:
    """A locomotive on its rails: steam engine, diesel with a hood, or a streamlined set."""
    width = design.uniform(1.3, 1.6)
    kind = design.pick("steam", "steam", "diesel", "fast")
    wheel, half = design.uniform(0.36, 0.5), width / 2
    length = design.uniform(4.0, 5.6)
    nose, floor = length / 2, wheel * 1.7
    design.add(box((length, width, 0.16), (0, 0, floor)), color="third")
    count = design.integer(3, 5)
    xs = np.linspace(-nose + 0.6, nose - 0.7, count)
    for x in xs:
        for side in (-1, 1):
            _wheel(design, x, side * (half - 0.1), wheel, 0.14, "accent")
    if kind == "steam":
        barrel, cab = design.uniform(0.5, 0.66), design.uniform(1.1, 1.5)
        z = floor + 0.12 + barrel
        design.add(cylinder((-nose + cab, 0, z), (nose - 0.15, 0, z), barrel, segments=24))
        design.add(cylinder((nose - 0.16, 0, z), (nose - 0.05, 0, z), barrel * 0.9, barrel * 0.75, 24), color="accent")
        cab_high = barrel * 2 + 0.65
        design.add(box((cab, width, cab_high), (-nose + cab / 2, 0, floor + cab_high / 2), 0.02), color="second")
        roof = extrude(curve([(-half * 1.15, 0), (0, 0.24), (half * 1.15, 0)], 12), cab * 1.25, "yz")
        design.add(roof.move(-nose + cab / 2, 0, floor + cab_high), color="third")
        for side in (-1, 1):
            design.add(box((cab * 0.45, 0.05, 0.4), (-nose + cab * 0.5, side * half, floor + cab_high * 0.68)), color="accent")
            rod = box((xs[-1] - xs[0], 0.06, 0.1), ((xs[0] + xs[-1]) / 2, side * (half + 0.02), wheel * 0.8))
            design.add(rod, color="second")
        stack, tall = design.uniform(0.13, 0.22), design.uniform(0.5, 0.95)
        flue = lathe([(stack, 0), (stack * 0.85, tall * 0.6), (stack * design.uniform(1.0, 2.0), tall * 0.85), (stack * 1.1, tall)], 18)
        design.add(flue.move(nose - 0.6, 0, z + barrel * 0.9), color="second")
        for k in range(design.integer(1, 2)):
            design.add(ellipsoid((0.24, 0.24, 0.3), (nose - 1.5 - 0.8 * k, 0, z + barrel), 14, 8), color="accent")
        for x in np.linspace(-nose + cab + 0.4, nose - 0.5, design.integer(2, 4)):
            design.add(torus(barrel, 0.035, (x, 0, z), "x", 24, 6), color="accent")
        plough = loft([[(nose - 0.1, -half, floor), (nose - 0.1, half, floor), (nose - 0.1, half, 0.1), (nose - 0.1, -half, 0.1)],
                       [(nose + 0.15, -0.1, floor), (nose + 0.15, 0.1, floor), (nose + 0.6, 0.1, 0.1), (nose + 0.6, -0.1, 0.1)]])
        design.add(plough, color="third")
    elif kind == "diesel":
        cab_at, high = design.pick(-0.35, 0.0, 0.25) * length, design.uniform(1.0, 1.3)
        hood = high * design.uniform(0.6, 0.75)
        design.add(box((length * 0.94, width * 0.72, hood), (0, 0, floor + hood / 2), 0.05))
        design.add(box((1.2, width, high * 1.15), (cab_at, 0, floor + high * 0.57), 0.04), color="second")
        design.add(box((1.26, width * 0.8, high * 0.3), (cab_at, 0, floor + high * 0.85)), color="third")
        for k in range(design.integer(2, 5)):
            design.add(box((0.3, width * 0.5, 0.1), (-nose + 0.5 + 0.5 * k, 0, floor + hood + 0.03), 0.02), color="third")
        design.add(box((0.06, width * 0.7, hood * 0.7), (nose * 0.94, 0, floor + hood * 0.5)), color="accent")
        design.add(box((0.9, width * 0.74, 0.06), (nose * 0.7, 0, floor + hood)), color="accent")
        for side in (-1, 1):
            design.add(tube([(-nose, side * half, floor + 0.45), (0, side * half, floor + 0.45), (nose, side * half, floor + 0.45)], 0.035, 6), color="accent")
    else:
        high = design.uniform(1.2, 1.5)
        sharp = design.uniform(0.9, 2.0)
        body = _rails(
            [(-nose, floor - 0.1), (nose, floor - 0.1)],
            [(-nose, floor + high), (nose - sharp, floor + high), (nose - sharp * 0.6, floor + high * 0.9),
             (nose - sharp * 0.2, floor + high * 0.5), (nose, floor + 0.12)],
            [(-nose, half), (nose - sharp, half), (nose - sharp * 0.3, half * 0.8), (nose, half * 0.3)],
        )
        design.add(body)
        window = box((length - sharp - 0.8, width * 1.01, 0.3), (-sharp / 2 - 0.1, 0, floor + high * 0.66))
        design.add(window, color="second")
        design.add(box((length - sharp * 0.7, width * 1.015, 0.12), (-sharp * 0.35, 0, floor + high * 0.25)), color="accent")
        glass = ellipsoid((sharp * 0.24, half * 0.62, high * 0.22), (nose - sharp * 0.62, 0, floor + high * 0.8), 16, 10)
        design.add(glass, color="second")
        design.add(box((1.0, width * 0.6, 0.12), (-nose * 0.5, 0, floor + high), 0.03), color="third")
        arm = tube([(-nose * 0.1, 0, floor + high), (-nose * 0.3, 0, floor + high + 0.3), (-nose * 0.1, 0, floor + high + 0.6)], 0.035, 6)
        design.add(arm, color="accent")
        design.add(box((0.06, width * 0.8, 0.05), (-nose * 0.1, 0, floor + high + 0.6)), color="accent")
    if design.chance(0.5):
        for side in (-1, 1):
            design.add(box((length * 1.1, 0.1, 0.08), (0, side * (half - 0.1), -0.03)), color="second")
        for x in np.linspace(-0.52, 0.52, 9) * length:
            design.add(box((0.2, width * 1.2, 0.06), (x, 0, -0.09)), color="third")
    for side in (-1, 1):
        design.add(cylinder((nose, side * half * 0.6, floor + 0.02), (nose + 0.16, side * half * 0.6, floor + 0.02), 0.1, segments=10), color="accent")


def bicycle(design: Design) -> None:
    """A bicycle or tricycle; thick tubes, so that it can be seen."""
    wheel = design.uniform(0.3, 0.36)
    front, rear = design.uniform(0.5, 0.62), -design.uniform(0.44, 0.54)
    frame = design.pick("diamond", "step", "cruiser", "trike")
    tyre, pipe = design.uniform(0.025, 0.045), design.uniform(0.02, 0.035)
    crank, saddle, head = (0.0, 0, wheel * 0.85), (-0.16, 0, design.uniform(0.78, 0.92)), (front - 0.17, 0, design.uniform(0.76, 0.9))
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
                design.add(cylinder((x - rim[0], y, z - rim[2]), (x + rim[0], y, z + rim[2]), 0.008, segments=5), color="second")
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
    design.add(extrude(np.array([(-0.16, -0.09), (-0.16, 0.09), (0.0, 0.04), (0.13, 0.02), (0.13, -0.02), (0.0, -0.04)]), 0.06).move(*saddle), color="accent")
    grip = design.pick("flat", "drop", "high")
    shape = {
        "flat": [(-0.06, -0.3, 0.0), (0, -0.1, 0.0), (0, 0.1, 0), (-0.06, 0.3, 0)],
        "drop": [(0.02, -0.2, -0.13), (0.13, -0.2, -0.05), (0.02, -0.18, 0.02), (0, 0, 0.02), (0.02, 0.18, 0.02), (0.13, 0.2, -0.05), (0.02, 0.2, -0.13)],
        "high": [(-0.16, -0.3, 0.1), (-0.02, -0.2, 0.13), (0, 0, 0), (-0.02, 0.2, 0.13), (-0.16, 0.3, 0.1)],
    }[grip]
    bar_at = np.array(head) + (0.01, 0, 0.08)
    design.add(cylinder(head, bar_at, pipe * 0.8, segments=8), color="second")
    design.add(tube(curve(shape, 20) + bar_at, 0.02, 8), color="second")
    design.add(cylinder((0, -0.03, crank[2]), (0, 0.03, crank[2]), 0.1, segments=16), color="second")
    for side in (-1, 1):
        design.add(box((0.12, 0.1, 0.03), (side * 0.14, side * 0.1, crank[2] - side * 0.08)), color="third")
        design.add(cylinder((0, side * 0.05, crank[2]), (side * 0.14, side * 0.05, crank[2] - side * 0.08), 0.016, segments=6), color="third")
    extra = design.pick("basket", "rack", "mudguard", "lamp", "bottle")
    if extra == "basket":
        design.add(box((0.24, 0.3, 0.2), (front - 0.02, 0, bar_at[2] - 0.08), 0.02), color="accent")
    elif extra == "rack":
        design.add(box((0.36, 0.14, 0.03), (rear + 0.03, 0, 2 * wheel + 0.06)), color="second")
        design.add(box((0.3, 0.34, 0.26), (rear + 0.02, 0, 2 * wheel - 0.06), 0.04), color="accent")
    elif extra == "mudguard":
        for x, start, stop in ((front, 20, 150), (rear, 30, 170)):
            arc = np.deg2rad(np.linspace(start, stop, 14))
            path = np.column_stack([x + (wheel + 0.03) * np.cos(arc), np.zeros(14), wheel + (wheel + 0.03) * np.sin(arc)])
            design.add(tube(path, 0.02, 8, flat=2.5), color="accent")
    elif extra == "lamp":
        design.add(cylinder(bar_at + (0.02, 0, -0.05), bar_at + (0.14, 0, -0.05), 0.045, 0.07, 12), color="accent")
    else:
        design.add(cylinder((0.1, 0, crank[2] + 0.12), (0.2, 0, crank[2] + 0.34), 0.05, segments=10), color="accent")


def motorbike(design: Design) -> None:
    """A motorcycle: roadster, sports bike with fairing, chopper or scooter."""
    kind = design.pick("roadster", "sports", "chopper", "scooter")
    wheel = design.uniform(0.26, 0.33) * (0.75 if kind == "scooter" else 1.0)
    tyre = design.uniform(0.07, 0.1)
    front, rear = {"chopper": 0.85, "scooter": 0.6}.get(kind, 0.66) * design.uniform(0.95, 1.05), -design.uniform(0.52, 0.62)
    for x in (front, rear):
        design.add(torus(wheel - tyre, tyre, (x, 0, wheel), "y", 28, 10), color="third")
        design.add(cylinder((x, -0.04, wheel), (x, 0.04, wheel), wheel - tyre * 1.2, segments=20), color="second")
    seat, head = design.uniform(0.62, 0.74), (front - {"chopper": 0.5}.get(kind, 0.24), 0, design.uniform(0.82, 0.95))
    for side in (-1, 1):
        design.add(cylinder((front, side * 0.11, wheel), (head[0], side * 0.09, head[2]), 0.035, segments=10), color="second")
    high = {"chopper": 0.22, "sports": -0.02}.get(kind, 0.1)
    bar = curve([(-0.14, -0.36, high), (-0.03, -0.24, high + 0.02), (0, 0, 0), (-0.03, 0.24, high + 0.02), (-0.14, 0.36, high)], 18)
    design.add(tube(bar + head, 0.028, 8), color="second")
    for side in (0, -1):
        design.add(ellipsoid(0.045, bar[side] + head, 8, 6), color="third")
    design.add(cylinder(np.array(head) + (0.02, 0, -0.02), np.array(head) + (0.16, 0, -0.05), 0.08, 0.1, 14), color="accent")
    if kind == "scooter":
        shield = extrude([(0.04, 0.1), (0.0, 0.9), (-0.06, 0.9), (-0.1, 0.15), (-0.5, 0.12), (-0.5, 0.02), (0.0, 0.02)], 0.42, "xz")
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
        beam = [((head[0] - 0.02, 0, head[2] - 0.12), (0.15, 0, seat - 0.42)), ((0.0, 0, seat - 0.35), (rear, 0, wheel)),
                ((head[0] - 0.02, 0, head[2] - 0.1), (rear + 0.2, 0, seat))]
        for start, end in beam:
            design.add(cylinder(start, end, 0.035, segments=8), color="second")
        fender = np.deg2rad(np.linspace(30, 150, 12))
        for x in (front, rear):
            path = np.column_stack([x + (wheel + 0.03) * np.cos(fender), np.zeros(12), wheel + (wheel + 0.03) * np.sin(fender)])
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
            design.add(box((0.03, 0.34, 0.3), (0, 0, 0.15)).shear(xz=-0.4).move(head[0] + 0.1, 0, head[2]), color="third")
