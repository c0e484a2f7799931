"""Animals as toys: dog (any four-legged one), duck, fish. The head is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import box, curve, cylinder, ellipsoid, extrude, loft, torus, tube


def dog(design: Design) -> None:
    """A dog: long or short legs, standing or sitting, hanging or pricked ears, collar, patches."""
    length, girth = design.uniform(0.7, 1.1), design.uniform(0.17, 0.26)
    leg, thick = design.uniform(0.2, 0.55), design.uniform(0.05, 0.08)
    sitting = design.chance(0.3)
    blocky = design.chance(0.25)
    back = leg + girth

    def blob(radii, at, color="main"):
        design.add(
            box(np.array(radii) * 1.8, at, 0.25 * min(radii)) if blocky else ellipsoid(radii, at, 18, 12), color=color
        )

    slope = 28 if sitting else 0
    body = (
        box((length, girth * 1.8, girth * 1.9), bevel=0.05)
        if blocky
        else ellipsoid((length * 0.55, girth, girth), (0, 0, 0), 22, 14)
    )
    design.add(body.turn("y", -slope).move(z=back + (0.08 if sitting else 0)))
    lift = 0.25 * length if sitting else 0.0
    chest = np.array((length * 0.36, 0, back + lift + 0.03))
    if not blocky:
        blob((girth * 1.05, girth * 1.02, girth * 1.12), chest)
    foot = design.pick("round", "boot")
    for x, raised in ((length * 0.36, lift), (-length * 0.36, -lift * 0.3)):
        for side in (-1, 1):
            y = side * girth * 0.65
            top = (x, y, back + raised)
            design.add(cylinder((x, y, 0), top, thick, thick * 1.5, 4 if blocky else 12), color="main")
            reach = 0.12 if foot == "boot" else 0.05
            paw = ellipsoid((thick + reach, thick * 1.2, thick), (x + reach * 0.7, y, thick * 0.7), 12, 8)
            design.add(paw, color="second")
    if sitting:
        for side in (-1, 1):
            blob((0.2, girth * 0.5, 0.2), (-length * 0.3, side * girth * 0.8, 0.2))
    rise = design.uniform(0.12, 0.4)
    head = chest + (design.uniform(0.14, 0.28), 0, rise + girth * 0.4)
    size = design.uniform(0.15, 0.22)
    design.add(
        tube(
            curve([chest, (chest + head) / 2 + (0.02, 0, 0.02), head], 8), np.linspace(girth * 0.85, size * 0.8, 8), 12
        )
    )
    blob((size * 1.1, size, size * 0.95), head)
    muzzle = design.uniform(0.1, 0.3)
    snout = head + (size * 0.8, 0, -size * 0.25)
    design.add(
        cylinder(snout - (0.06, 0, 0), snout + (muzzle, 0, -0.03), size * 0.62, size * 0.42, 4 if blocky else 14),
        color="second",
    )
    design.add(ellipsoid((0.05, 0.06, 0.05), snout + (muzzle, 0, 0.01), 12, 8), color="accent")
    for side in (-1, 1):
        design.add(ellipsoid(0.038, head + (size * 0.85, side * size * 0.5, size * 0.35), 10, 8), color="accent")
    ears = design.pick("hang", "prick", "round")
    for side in (-1, 1):
        at = head + (-0.02, side * size * 0.8, size * 0.45)
        if ears == "hang":
            design.add(
                ellipsoid((0.09, 0.04, design.uniform(0.14, 0.22)), at + (0, side * 0.05, -0.12), 12, 10), color="third"
            )
        elif ears == "prick":
            design.add(
                cylinder(at - (0, side * 0.03, 0.04), at + (-0.03, side * 0.03, 0.26), 0.085, 0.0, 8), color="third"
            )
        else:
            design.add(ellipsoid((0.05, 0.1, 0.1), at + (0, 0, 0.08), 12, 8), color="third")
    tail = design.pick("up", "curl", "stub", "down")
    root = np.array((-length * 0.5, 0, back + (0.05 if not sitting else -0.12)))
    ends = {
        "up": [(-0.12, 0.2), (-0.1, 0.42)],
        "curl": [(-0.22, 0.14), (-0.1, 0.34), (0.04, 0.24)],
        "stub": [(-0.1, 0.08)],
        "down": [(-0.2, -0.06), (-0.32, -0.26)],
    }[tail]
    path = curve([root + (0.08, 0, 0)] + [root + (x, 0, z) for x, z in ends], 12)
    design.add(tube(path, np.linspace(0.07, 0.035, 12), 10), color="third")
    if design.chance(0.6):
        middle = chest * 0.4 + head * 0.6
        design.add(torus(size * 0.95, 0.035, (0, 0, 0), "z", 22, 8).turn("y", 35).move(*middle), color="accent")
    coat = design.pick("saddle", "patch", "vest", "plain")
    if coat == "saddle":
        design.add(
            ellipsoid((length * 0.3, girth * 0.9, girth * 0.62), (-0.05 * length, 0, back + girth * 0.45), 18, 10).turn(
                "y", 0
            ),
            color="third",
        )
    elif coat == "patch":
        design.add(
            ellipsoid((0.17, girth * 0.5, girth * 0.8), (-length * 0.15, girth * 0.6, back), 14, 10), color="accent"
        )
    elif coat == "vest":
        design.add(
            ellipsoid((length * 0.24, girth * 1.13, girth * 1.12), (0, 0, back + (0.05 if sitting else 0)), 20, 12),
            color="accent",
        )


def duck(design: Design) -> None:
    """A bird: duck, toy duck, flamingo-like wader, penguin; the beak is at +x."""
    kind = design.pick("duck", "duck", "wader", "penguin")
    long, wide = design.uniform(0.4, 0.55), design.uniform(0.24, 0.34)
    size = design.uniform(0.14, 0.22)
    if kind == "penguin":
        design.add(ellipsoid((wide, wide * 1.05, long * 1.15), (0, 0, long), 22, 16))
        design.add(
            ellipsoid((wide * 0.55, wide * 0.8, long * 0.9), (wide * 0.5, 0, long * 0.9), 18, 14), color="second"
        )
        head = np.array((0.05, 0, long * 2.15))
        feet, belly = 0.0, 0.06
    else:
        belly = design.uniform(0.55, 0.9) if kind == "wader" else 0.1
        design.add(ellipsoid((long, wide, wide * design.uniform(0.75, 0.95)), (0, 0, belly + wide * 0.7), 22, 14))
        rise = design.uniform(0.5, 0.8) if kind == "wader" else design.uniform(0.2, 0.45)
        head = np.array((long * design.uniform(0.7, 1.0), 0, belly + wide * 1.2 + rise))
        start = np.array((long * 0.55, 0, belly + wide * 0.8))
        bend = (start + head) / 2 + (0.12 if kind == "wader" else 0.02, 0, 0)
        neck = np.linspace(wide * 0.55, size * 0.6, 12) if kind == "duck" else np.linspace(0.12, 0.07, 12)
        design.add(tube(curve([start, bend, head], 12), neck, 12), color="main")
        feet = 0.0 if kind == "wader" else None
        tail = extrude([(0.12, -0.16), (0.12, 0.16), (-0.2, 0.22), (-0.26, 0), (-0.2, -0.22)], 0.07).turn("y", 25)
        design.add(tail.move(-long * 0.95, 0, belly + wide * 0.95), color="third")
    design.add(ellipsoid((size, size * 0.92, size * 0.95), head, 18, 12), color=design.pick("main", "second"))
    bill = design.uniform(0.12, 0.3)
    if kind == "duck":
        design.add(
            ellipsoid((bill * 0.75, size * 0.6, 0.05), head + (size + bill * 0.25, 0, -0.03), 14, 8), color="accent"
        )
        design.add(
            ellipsoid((bill * 0.55, size * 0.45, 0.04), head + (size + bill * 0.15, 0, -0.09), 14, 8), color="third"
        )
    else:
        tip = head + (size + bill, 0, -0.16 if kind == "wader" else -0.03)
        design.add(cylinder(head + (size * 0.6, 0, 0), tip, 0.075, 0.015, 12), color="accent")
    for side in (-1, 1):
        design.add(ellipsoid(0.04, head + (size * 0.62, side * size * 0.62, size * 0.32), 10, 8), color="accent")
        if kind == "penguin":
            wing = ellipsoid((0.12, 0.05, long * 0.6), (0, 0, -long * 0.5), 14, 10).turn(
                "x", side * design.uniform(10, 60)
            )
            design.add(wing.move(-0.02, side * wide, long * 1.6), color="third")
        else:
            wing = ellipsoid((long * 0.62, 0.06, wide * 0.55), (0, 0, 0), 18, 10).turn("y", design.uniform(-5, 25))
            design.add(wing.move(-long * 0.12, side * wide * 0.92, belly + wide * 0.85), color="third")
        y = side * wide * 0.45
        if feet is not None:
            if kind == "wader":
                design.add(cylinder((0.02, y, 0), (0, y, belly + 0.15), 0.03, segments=8), color="accent")
            web = extrude([(-0.08, 0), (0.2, -0.11), (0.2, 0.11)], 0.05)
            design.add(web.move(0.06, y, 0.02), color="accent")
    extra = design.pick("wheels", "crest", "scarf", "hat", "none")
    if kind == "duck" and extra == "wheels":
        design.add(box((long * 1.7, wide * 1.5, 0.07), (0, 0, 0.06), 0.02), color="second")
        for x in (-0.6, 0.6):
            for side in (-1, 1):
                at = (x * long, side * wide * 0.8, 0.0)
                design.add(cylinder(at, np.add(at, (0, side * 0.07, 0)), 0.13, segments=16), color="third")
    elif extra == "crest":
        for k in range(3):
            design.add(
                cylinder(
                    head + (0, 0, size * 0.7), head + (-0.12 - 0.05 * k, 0, size * (1.6 - 0.25 * k)), 0.045, 0.01, 8
                ),
                color="accent",
            )
    elif extra == "scarf":
        design.add(torus(size * 0.8, 0.05, head - (0.02, 0, size * 0.95), "z", 20, 8), color="second")
        design.add(box((0.06, 0.12, 0.3), head + (size * 0.7, size * 0.5, -size * 1.8), 0.02), color="second")
    elif extra == "hat":
        design.add(
            cylinder(head + (0, 0, size * 0.7), head + (0, 0, size * 1.7), size * 0.6, size * 0.55, 16), color="second"
        )
        design.add(
            cylinder(head + (0, 0, size * 0.68), head + (0, 0, size * 0.8), size * 1.05, segments=18), color="second"
        )


def fish(design: Design) -> None:
    """A fish or shark swimming to +x: slim or round body, tail and fins of several kinds, stripes."""
    length, high = design.uniform(1.0, 1.5), design.uniform(0.2, 0.42)
    wide = high * design.uniform(0.4, 0.9)
    bulge = design.uniform(0.55, 0.72)
    share = np.linspace(0, 1, 15)
    outline = np.interp(share, [0, 0.15, bulge, 0.9, 1], [0.16, 0.35, 1.0, 0.6, 0.05])
    outline = np.convolve(np.pad(outline, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    outline[-1] = 0.06
    angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    x = (share - 0.5) * length
    sway = design.uniform(-0.12, 0.12) * (1 - share) ** 2
    bands = design.integer(1, 4) if design.chance(0.55) else 0
    sections = [
        np.column_stack([np.full(18, where), wide * scale * np.cos(angles) + bend, high * scale * np.sin(angles)])
        for where, scale, bend in zip(x, outline, sway, strict=True)
    ]
    design.add(loft(sections, crease=70))
    for k in range(bands):
        at = 0.32 + 0.16 * k
        strip = []
        for where in np.linspace(at, at + 0.07, 4):
            scale, bend = np.interp(where, share, outline) * 1.03, np.interp(where, share, sway)
            strip.append(
                np.column_stack(
                    [
                        np.full(18, (where - 0.5) * length),
                        wide * scale * np.cos(angles) + bend,
                        high * scale * np.sin(angles),
                    ]
                )
            )
        design.add(loft(strip, crease=70), color="second")
    tail = design.pick("fork", "fan", "moon")
    spread, reach = design.uniform(0.25, 0.45), design.uniform(0.2, 0.35)
    shape = {
        "fork": [(0.1, 0.04), (-reach, spread), (-reach * 0.4, 0), (-reach, -spread), (0.1, -0.04)],
        "fan": [(0.1, 0.04), (-reach * 0.8, spread), (-reach, 0), (-reach * 0.8, -spread), (0.1, -0.04)],
        "moon": [
            (0.1, 0.05),
            (-reach * 0.3, spread * 0.5),
            (-reach, spread * 1.3),
            (-reach * 0.15, 0),
            (-reach, -spread * 0.7),
            (0.1, -0.05),
        ],
    }[tail]
    design.add(extrude(shape, 0.05, "xz").move(-length / 2, sway[0], 0), color="accent")
    tall = design.uniform(0.14, 0.34)
    fin = design.pick("shark", "sail", "low")
    dorsal = {
        "shark": [(0.2, 0), (-0.08, tall * 1.1), (-0.14, tall), (-0.12, 0)],
        "sail": [(0.34, 0), (0.2, tall), (-0.25, tall * 0.8), (-0.38, 0)],
        "low": [(0.25, 0), (0.1, tall * 0.5), (-0.4, tall * 0.35), (-0.42, 0)],
    }[fin]
    crest = high * float(np.interp(bulge - 0.05, share, outline)) - 0.06
    design.add(extrude(dorsal, 0.05, "xz").move((bulge - 0.55) * length, 0, crest), color="third")
    for side in (-1, 1):
        flipper = extrude([(0.1, 0), (-0.05, 0.24), (-0.2, 0.28), (-0.1, 0)], 0.045).stretch(y=side)
        flipper = flipper.turn("x", -side * design.uniform(0, 40))
        design.add(flipper.move((bulge - 0.42) * length, side * wide * 0.85, -high * 0.2), color="third")
        eye = ((0.9 - 0.5) * length, side * wide * 0.55, high * 0.18)
        design.add(ellipsoid((0.06, 0.05, 0.06), eye, 12, 8), color="accent")
        design.add(ellipsoid((0.03, 0.03, 0.03), np.add(eye, (0.01, side * 0.035, 0)), 8, 6), color="second")
    mouth = design.pick("lips", "nose", "none")
    if mouth == "lips":
        design.add(torus(0.07, 0.035, (length * 0.5, 0, -0.02), "x", 16, 8), color="second")
    elif mouth == "nose":
        design.add(cylinder((length * 0.46, 0, 0), (length * 0.5 + 0.3, 0, 0.02), 0.05, 0.0, 10), color="second")
    belly = ellipsoid((length * 0.26, wide * 0.8, high * 0.45), ((bulge - 0.5) * length, 0, -high * 0.58), 18, 10)
    design.add(belly, color="second")
