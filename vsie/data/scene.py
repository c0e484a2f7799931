"""What a rendered scene was drawn from beside the pose: light and floor, kept in the pose archives of vsie's own clips."""

from __future__ import annotations

import zipfile

import numpy as np

from vsie.data.manifest import Manifest
from vsie.data.three_die_bench import LATENTS

FIELD = "latents"
NAMES = tuple(LATENTS[:7])


def latents(manifest: Manifest, rows: np.ndarray) -> np.ndarray | None:
    """Latents (N, T, 7) float64 of all frames of clips, named by `NAMES`; None where any clip has none, or they differ in length.

    Args:
        manifest: The clips; of vsie's renderings every pose archive has the field.
        rows: Which of them, (N,).
    """
    found = []
    for row in rows:
        file = manifest.pose_file(int(row))
        try:
            with np.load(file if file is not None else "") as archive:
                values = np.asarray(archive[FIELD], np.float64) if FIELD in archive.files else None
        except (OSError, ValueError, zipfile.BadZipFile):  # who needs the poses says what is wrong with the file
            return None
        if values is None or values.ndim != 2 or values.shape[1] != len(NAMES) or (found and values.shape != found[0].shape):
            return None
        found.append(values)
    return np.stack(found) if found else None
