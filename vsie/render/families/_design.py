"""What a family works with: the draws of its sub-type and proportions, the palette, the list of its parts."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np

from vsie.render import Mesh
from vsie.render.primitives import Part, cylinder, lathe, merge

ROLES = ("main", "second", "third", "accent")


class Design:
    """One object being designed.

    The colours are drawn before the family is known to anything, from one distribution for all families, so they say
    nothing about the class: the same generator state gives a chair and a car the same palette. A family says only
    which *role* a part has: "main" (the bulk), "second", "third" (tyres, feet, screens) and "accent" (what marks the
    front or a side, put on main parts).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.palette = draw_palette(rng)
        self._rng = rng
        self._parts: list[Part] = []
        self._colors: list[np.ndarray] = []

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high."""
        return low + (high - low) * self._rng.random()

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self._rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._rng.random() < probability

    def pick(self, *options):
        """One of the options, all equally likely."""
        return options[int(self._rng.integers(len(options)))]

    def add(self, *parts: Part, color: str = "main") -> None:
        """Puts parts on the object, in the colour of a role."""
        for part in parts:
            self._parts.append(part)
            self._colors.append(self.palette[ROLES.index(color)])

    def legs(self, x: float, y: float, height: float, kind: str, thickness: float, color: str = "second") -> None:
        """Four legs from the floor (z = 0) to `height` at (+-x, +-y); the kinds are :data:`LEGS`."""
        for sign_x in (-1, 1):
            for sign_y in (-1, 1):
                top = (sign_x * x, sign_y * y, height)
                foot = (sign_x * x, sign_y * y, 0.0)
                if kind == "square":
                    leg = cylinder(foot, top, thickness * 0.75, segments=4)
                elif kind == "round":
                    leg = cylinder(foot, top, thickness * 0.55, segments=12)
                elif kind == "tapered":
                    leg = cylinder(foot, top, thickness * 0.3, thickness * 0.75, segments=10)
                elif kind == "splayed":
                    foot = (sign_x * (x + 0.22 * height), sign_y * (y + 0.22 * height), 0.0)
                    leg = cylinder(foot, top, thickness * 0.35, thickness * 0.6, segments=10)
                else:
                    leg = turned_leg(round(height / thickness, 1))
                    leg = leg.stretch(thickness, thickness, thickness).move(*foot)
                    leg = leg.stretch(z=height / leg.vertices[:, 2].max())
                self.add(leg, color=color)

    def mesh(self) -> Mesh:
        """The finished object: bounding-box centre at the origin, bounding-box diagonal 1, linear RGB per vertex."""
        whole = merge(self._parts)
        low, high = whole.vertices.min(axis=0), whole.vertices.max(axis=0)
        vertices = (whole.vertices - (low + high) / 2) / np.sqrt(((high - low) ** 2).sum())
        colors = np.repeat(np.array(self._colors), [len(part.vertices) for part in self._parts], axis=0)
        return Mesh(vertices=vertices, faces=whole.faces, normals=whole.normals, colors=colors)


LEGS = ("square", "round", "tapered", "splayed", "turned")


@lru_cache(maxsize=64)
def turned_leg(height: float) -> Part:
    """A leg turned on a lathe, about 1 thick."""
    steps = np.array(
        [(0.3, 0), (0.45, 0.05), (0.3, 0.12), (0.35, 0.4), (0.55, 0.62), (0.3, 0.72), (0.5, 0.78), (0.5, 1)]
    )
    return lathe(steps * (1, height), segments=10)


def draw_palette(rng: np.random.Generator) -> np.ndarray:
    """Colours (4, 3), linear RGB, one per role of :data:`ROLES`; two to four of them differ, and those differ visibly.

    Hue is uniform; saturation and value are wide (greys, pastels, dark and vivid colours all occur).
    """
    count = int(rng.choice((2, 3, 4), p=(0.1, 0.35, 0.55)))
    display: list[np.ndarray] = []
    for _ in range(40):
        hue, saturation, value = rng.random(3)
        saturation = 0.08 * saturation if saturation < 0.2 else 0.15 + 0.8 * (saturation - 0.2) / 0.8
        candidate = np.array(colorsys.hsv_to_rgb(hue, saturation, 0.12 + 0.83 * value**0.8))
        if all(np.abs(candidate - other).sum() > 0.6 for other in display):
            display.append(candidate)
        if len(display) == count:
            break
    count = len(display)
    roles = {1: (0, 0, 0, 0), 2: (0, 1, 0, 1), 3: (0, 1, 2, 2), 4: (0, 1, 2, 3)}[count]
    return srgb_to_linear(np.array(display))[list(roles)]


def srgb_to_linear(display: np.ndarray) -> np.ndarray:
    """Display values 0..1 in sRGB as linear light (IEC 61966-2-1)."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
