"""On rails: train. The front is at +x."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.families._vehicle import add_wheel, body_between
from vsie.render.primitives import box, curve, cylinder, ellipsoid, extrude, lathe, loft, torus, tube


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
            add_wheel(design, x, side * (half - 0.1), wheel, 0.14, "accent")
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
            design.add(
                box((cab * 0.45, 0.05, 0.4), (-nose + cab * 0.5, side * half, floor + cab_high * 0.68)), color="accent"
            )
            rod = box((xs[-1] - xs[0], 0.06, 0.1), ((xs[0] + xs[-1]) / 2, side * (half + 0.02), wheel * 0.8))
            design.add(rod, color="second")
        stack, tall = design.uniform(0.13, 0.22), design.uniform(0.5, 0.95)
        flue = lathe(
            [
                (stack, 0),
                (stack * 0.85, tall * 0.6),
                (stack * design.uniform(1.0, 2.0), tall * 0.85),
                (stack * 1.1, tall),
            ],
            18,
        )
        design.add(flue.move(nose - 0.6, 0, z + barrel * 0.9), color="second")
        for k in range(design.integer(1, 2)):
            design.add(ellipsoid((0.24, 0.24, 0.3), (nose - 1.5 - 0.8 * k, 0, z + barrel), 14, 8), color="accent")
        for x in np.linspace(-nose + cab + 0.4, nose - 0.5, design.integer(2, 4)):
            design.add(torus(barrel, 0.035, (x, 0, z), "x", 24, 6), color="accent")
        plough = loft(
            [
                [
                    (nose - 0.1, -half, floor),
                    (nose - 0.1, half, floor),
                    (nose - 0.1, half, 0.1),
                    (nose - 0.1, -half, 0.1),
                ],
                [
                    (nose + 0.15, -0.1, floor),
                    (nose + 0.15, 0.1, floor),
                    (nose + 0.6, 0.1, 0.1),
                    (nose + 0.6, -0.1, 0.1),
                ],
            ]
        )
        design.add(plough, color="third")
    elif kind == "diesel":
        cab_at, high = design.pick(-0.35, 0.0, 0.25) * length, design.uniform(1.0, 1.3)
        hood = high * design.uniform(0.6, 0.75)
        design.add(box((length * 0.94, width * 0.72, hood), (0, 0, floor + hood / 2), 0.05))
        design.add(box((1.2, width, high * 1.15), (cab_at, 0, floor + high * 0.57), 0.04), color="second")
        design.add(box((1.26, width * 0.8, high * 0.3), (cab_at, 0, floor + high * 0.85)), color="third")
        for k in range(design.integer(2, 5)):
            design.add(
                box((0.3, width * 0.5, 0.1), (-nose + 0.5 + 0.5 * k, 0, floor + hood + 0.03), 0.02), color="third"
            )
        design.add(box((0.06, width * 0.7, hood * 0.7), (nose * 0.94, 0, floor + hood * 0.5)), color="accent")
        design.add(box((0.9, width * 0.74, 0.06), (nose * 0.7, 0, floor + hood)), color="accent")
        for side in (-1, 1):
            design.add(
                tube(
                    [
                        (-nose, side * half, floor + 0.45),
                        (0, side * half, floor + 0.45),
                        (nose, side * half, floor + 0.45),
                    ],
                    0.035,
                    6,
                ),
                color="accent",
            )
    else:
        high = design.uniform(1.2, 1.5)
        sharp = design.uniform(0.9, 2.0)
        body = body_between(
            [(-nose, floor - 0.1), (nose, floor - 0.1)],
            [
                (-nose, floor + high),
                (nose - sharp, floor + high),
                (nose - sharp * 0.6, floor + high * 0.9),
                (nose - sharp * 0.2, floor + high * 0.5),
                (nose, floor + 0.12),
            ],
            [(-nose, half), (nose - sharp, half), (nose - sharp * 0.3, half * 0.8), (nose, half * 0.3)],
        )
        design.add(body)
        window = box((length - sharp - 0.8, width * 1.01, 0.3), (-sharp / 2 - 0.1, 0, floor + high * 0.66))
        design.add(window, color="second")
        design.add(
            box((length - sharp * 0.7, width * 1.015, 0.12), (-sharp * 0.35, 0, floor + high * 0.25)), color="accent"
        )
        glass = ellipsoid(
            (sharp * 0.24, half * 0.62, high * 0.22), (nose - sharp * 0.62, 0, floor + high * 0.8), 16, 10
        )
        design.add(glass, color="second")
        design.add(box((1.0, width * 0.6, 0.12), (-nose * 0.5, 0, floor + high), 0.03), color="third")
        arm = tube(
            [
                (-nose * 0.1, 0, floor + high),
                (-nose * 0.3, 0, floor + high + 0.3),
                (-nose * 0.1, 0, floor + high + 0.6),
            ],
            0.035,
            6,
        )
        design.add(arm, color="accent")
        design.add(box((0.06, width * 0.8, 0.05), (-nose * 0.1, 0, floor + high + 0.6)), color="accent")
    if design.chance(0.5):
        for side in (-1, 1):
            design.add(box((length * 1.1, 0.1, 0.08), (0, side * (half - 0.1), -0.03)), color="second")
        for x in np.linspace(-0.52, 0.52, 9) * length:
            design.add(box((0.2, width * 1.2, 0.06), (x, 0, -0.09)), color="third")
    for side in (-1, 1):
        design.add(
            cylinder(
                (nose, side * half * 0.6, floor + 0.02),
                (nose + 0.16, side * half * 0.6, floor + 0.02),
                0.1,
                segments=10,
            ),
            color="accent",
        )
