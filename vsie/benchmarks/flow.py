"""Estimated against exact flow inside the object, by how far it moves: end-point error, share of errors above 1 px and a
third of the motion; 24 rendered turntables at 128 px, visible pixels only. RAFT where its weights are at hand."""

from __future__ import annotations

import tempfile
import time

import numpy as np

from vsie import components
from vsie.benchmarks.base import Rows
from vsie.data import manifest as manifests
from vsie.data.clips import ClipsDataset
from vsie.render.dataset import render_dataset


def rows(seconds: float) -> Rows:
    """Of each estimator whose weights are at hand; `seconds` is not used."""
    with tempfile.TemporaryDirectory() as folder:
        path = render_dataset(
            out=folder, objects=24, clips_per_object=1, frames=6, size=128, trajectory="turntable", seed=1, workers=1,
            val_fraction=0.0, auxiliary=("flow", "mask", "occlusion"), progress=False,
        )  # fmt: skip
        manifest = manifests.load(path)
        frames = np.stack([clip["frames"].numpy() for clip in ClipsDataset(manifest, None)])
        parts: dict[str, list] = {"flow": [], "mask": [], "occlusion": []}
        for row in range(len(manifest)):
            with np.load(manifest.pose_file(row)) as archive:
                for name, found in parts.items():
                    found.append(archive[name] if name != "mask" else archive[name][:-1])
    exact, mask, hidden = (np.concatenate(found) for found in parts.values())
    first, second = (frames[:, part].reshape(-1, *frames.shape[2:]) for part in (slice(None, -1), slice(1, None)))
    size = np.linalg.norm(exact, axis=-1)
    rows: Rows = []
    for name in components.names("motion.flow"):
        estimator = components.build("motion.flow", name)
        try:
            begun = time.perf_counter()
            found = estimator.pairs(first, second)
            spent = time.perf_counter() - begun
        except FileNotFoundError as error:  # weights that are not on this machine
            print(f"flow={name} is left out: {error}")
            continue
        error = np.linalg.norm(found - exact, axis=-1)
        rows.append({"figure": f"{name}, a pair of 128 px", "value": 1e3 * spent / len(first), "unit": "ms"})
        for low, high in ((0, 1), (1, 2), (2, 4), (4, 8), (8, np.inf)):
            here = mask & ~hidden & (size >= low) & (size < high)
            if here.sum() > 100:
                label = f"{name}, motion {low} to {high} px"
                wrong = (error[here] > 1) & (error[here] > size[here] / 3)
                rows.append({"figure": f"{label}, error", "value": float(error[here].mean()), "unit": "px"})
                rows.append({"figure": f"{label}, outliers", "value": float(wrong.mean()), "unit": ""})
    return rows
