"""MVImgNet (Yu et al., CVPR 2023, arXiv 2303.06042) as released: phone videos round objects, cameras found by COLMAP.

    DIR/<class number>/<instance>/images/001.jpg ...
    DIR/<class number>/<instance>/sparse/0/{cameras,images}.bin
    DIR/mvimgnet_category.txt                                     optional, from the authors' repository: lines "number,name"

Of some instances the reconstruction failed, and their folders sparse are empty: they are not clips. See `colmap` for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vsie.data.readers.base import ClipEntry, LeftOut
from vsie.data.readers.colmap import Colmap

NAMES = "mvimgnet_category.txt"


class Mvimgnet(Colmap):
    """Models of COLMAP below folders of classes.

    Args:
        fps: Of `Colmap`; the release does not say, phones have about 30 and every so-many-th frame was kept.
        val_fraction: Of `Reader`.
        min_frames: Of `Reader`.
    """

    def __init__(self, *, fps: float = 5.0, val_fraction: float = 0.1, min_frames: int = 8) -> None:
        super().__init__(fps=fps, labels=True, val_fraction=val_fraction, min_frames=min_frames)

    def sources(self, root: Path) -> list[Path]:
        """Those of `Colmap`, and the names of the classes."""
        return [*super().sources(root), *([root / NAMES] if (root / NAMES).is_file() else [])]

    def clips(self, root: Path) -> Iterator[ClipEntry | LeftOut]:
        """Those of `Colmap`, labelled as the authors' list has it; without the list, by number."""
        names = _names(root / NAMES)
        for entry in super().clips(root):
            if isinstance(entry, ClipEntry):
                entry.label = names.get(entry.label, entry.label)
            yield entry


def _names(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    rows = (line.partition(",") for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    return {number.strip(): name.strip() for number, _, name in rows}
