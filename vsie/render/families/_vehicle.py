"""What several vehicles share: a wheel and a body between two profiles."""

from __future__ import annotations

import numpy as np

from vsie.render.families._design import Design
from vsie.render.primitives import Part, cylinder, loft


def add_wheel(design: Design, x: float, y: float, radius: float, width: float, hub: str = "second") -> None:
    """Adds a wheel that stands on z = 0 at (x, y), its axle along y, the hub on the outer side."""
    design.add(cylinder((x, y - width / 2, radius), (x, y + width / 2, radius), radius, segments=18), color="third")
    side = np.sign(y) if y else 1.0
    face = y + side * width / 2
    design.add(
        cylinder((x, face, radius), (x, face + side * 0.03 * radius, radius), radius * 0.55, segments=12), color=hub
    )


def body_between(lower: list, upper: list, half_width: list, count: int = 24) -> Part:
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
