"""A contact sheet of the procedural families, to be looked at by a person: one row per family, named at its left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vsie.files import atomic_path
from vsie.render import Camera, Light, render_frame
from vsie.render.families import build, names

_GAP = 14  # pixels above each row for the name


def contact_sheet(
    families: Sequence[str] | None = None, per_family: int = 8, size: int = 96, seed: int = 0
) -> np.ndarray:
    """Renders several objects of each family, each at another yaw (0, 45, ... degrees) and in another light.

    Args:
        families: the rows, in order; all families by default.
        per_family: objects in a row.
        size: pixels of an object's picture. The camera stands nearer than 3DIEBench's, so that objects fill it.
        seed: the sheet is the same for the same seed.

    Returns:
        The sheet, (H, W, 3) uint8.

    Raises:
        ValueError: an unknown family, or a size or a count below one.
    """
    from PIL import Image, ImageDraw
    from tqdm import tqdm

    if size < 1 or per_family < 1:
        raise ValueError(f"a contact sheet needs per_family and size of at least 1, found {per_family} and {size}")
    families = names() if families is None else list(families)
    if not families:
        raise ValueError("a contact sheet needs at least one family, found none")
    camera = Camera.on_sphere(np.pi / 2, np.pi / 4, distance=1.75)
    rows = []
    for family in tqdm(families, desc="sheet", unit="family"):
        pictures = []
        for index in range(per_family):
            # the stream depends on the family's name, not on its place, so that a row stays the same in any sheet
            rng = np.random.default_rng([seed, index, *family.encode()])
            mesh = build(family, rng)
            yaw = np.pi / 4 * index + np.pi / 3
            cosine, sine = np.cos(yaw), np.sin(yaw)
            rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
            light = Light(rng.random(), rng.random() * np.pi / 4, rng.random() * 2 * np.pi, rng.random())
            frame = render_frame(mesh, rotation, light=light, size=size, supersample=3, camera=camera)
            pictures.append(frame.rgb)
        row = np.zeros((size + _GAP, size * per_family, 3), dtype=np.uint8)
        row[_GAP:] = np.concatenate(pictures, axis=1)
        image = Image.fromarray(row)
        ImageDraw.Draw(image).text((3, 1), family, fill=(255, 255, 255))
        rows.append(np.asarray(image))
    return np.concatenate(rows)


def write(
    out: str | Path, *, families: Sequence[str] | None = None, per_family: int = 8, size: int = 96, seed: int = 0
) -> Path:
    """Renders a contact sheet (see :func:`contact_sheet`) into a PNG or JPEG file and returns its path.

    Raises:
        ValueError: the file's name does not end in .png, .jpg or .jpeg.
    """
    from PIL import Image

    out = Path(out)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"{out}: a contact sheet is written as .png or .jpg, found {out.suffix!r}")
    sheet = Image.fromarray(contact_sheet(families, per_family, size, seed))
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        sheet.save(temporary, format="PNG" if out.suffix.lower() == ".png" else "JPEG")
    return out
