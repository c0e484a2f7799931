"""Things to carry: bag. Flap, pocket or clasp at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import box, circle, curve, ellipsoid, extrude, loft, rounded_rectangle, tube


def bag(design: Design) -> None:
    """A handbag, tote or backpack: the flap, pocket or clasp is at +x."""
    width, depth, high = design.uniform(0.7, 1.0), design.uniform(0.28, 0.42), design.uniform(0.55, 0.95)
    taper = design.uniform(0.6, 1.05)
    ring = rounded_rectangle(depth, width, design.uniform(0.04, 0.14))
    levels = [(0.0, 0.94), (0.06, 1.0), (0.55, 1 - (1 - taper) * 0.35), (1.0, taper)]
    sections = [
        np.column_stack([ring[:, 0] * share, ring[:, 1] * (0.6 + 0.4 * share), np.full(len(ring), z * high)])
        for z, share in levels
    ]
    design.add(loft(sections))
    kind = design.pick("tote", "satchel", "backpack", "basket")
    top = depth / 2 * taper
    if kind in ("tote", "basket"):
        spread, rise = width * 0.26, design.uniform(0.25, 0.45)
        arc = np.column_stack(
            [
                np.zeros(17),
                -spread * np.cos(np.linspace(0, np.pi, 17)),
                high * 0.95 + rise * np.sin(np.linspace(0, np.pi, 17)),
            ]
        )
        if kind == "tote":
            for side in (-1, 1):
                design.add(tube(arc + (side * top * 0.8, 0, 0), 0.022, 8), color="second")
        else:
            design.add(tube(arc * (1, 1.6, 1), 0.035, 8), color="second")
            for z in np.linspace(0.2, 0.9, design.integer(2, 4)):
                share = float(np.interp(z, [0.06, 0.55, 1], [1, 1 - (1 - taper) * 0.35, taper]))
                band = np.column_stack([ring * (share, 0.6 + 0.4 * share), np.full(len(ring), z * high)])
                design.add(tube(band, 0.025, 6, closed=True), color="third")
        pocket_x = depth / 2 * (1 - (1 - taper) * 0.3) - 0.01
        pocket = box((0.12, width * design.uniform(0.4, 0.75), high * 0.45), (pocket_x, 0.06, high * 0.42), 0.03)
        design.add(pocket, color="accent")
    elif kind == "satchel":
        lean = depth / 2
        flap = [
            (-lean * taper, high),
            (-lean * taper, high + 0.05),
            (lean * 0.9, high + 0.04),
            (lean + 0.05, high * 0.4),
            (lean, high * 0.4),
            (lean * 0.8 * min(taper, 1.0), high),
        ]
        design.add(extrude(flap, width * 0.96, "xz"), color="third")
        for side in (-1, 1):
            design.add(box((0.06, 0.07, 0.12), (lean + 0.03, side * width * 0.25, high * 0.45), 0.01), color="accent")
        path = [
            (0, -width / 2, high * 0.8),
            (0, -width * 0.3, high * 1.5),
            (0, width * 0.3, high * 1.5),
            (0, width / 2, high * 0.8),
        ]
        design.add(tube(curve(path, 20), 0.022, 8), color="second")
    else:
        design.add(ellipsoid((top, width * 0.47, 0.16), (0, 0, high)), color="main")
        pocket = box((0.16, width * 0.66, high * 0.42), (depth / 2 + 0.03, 0, high * 0.26), 0.06)
        design.add(pocket, color="accent")
        for side in (-1, 1):
            strap = curve(
                [(-top * 0.9, 0, high), (-depth / 2 - 0.16, 0, high * 0.7), (-depth / 2 + 0.01, 0, high * 0.1)], 12
            )
            design.add(tube(strap + (0, side * width * 0.28, 0), 0.045, 8, flat=1.6), color="second")
        design.add(tube(circle(0.1, 10, "x", 0, 180) + (-top * 0.5, 0, high + 0.1), 0.02, 8), color="third")
