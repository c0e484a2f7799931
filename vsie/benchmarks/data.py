"""Windows read from videos by decord and from the cache of decoded frames, on the debug run's clips."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vsie.benchmarks.base import Rows, median_time
from vsie.config import compose
from vsie.data import manifest as manifests
from vsie.data.frame_cache import FrameCache
from vsie.data.windows import WindowsDataset
from vsie.render.dataset import render_dataset


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""
    options = compose("train", []).data
    rows, times = [], {}
    with tempfile.TemporaryDirectory() as folder:
        path = render_dataset(
            out=Path(folder) / "clips", objects=32, clips_per_object=2, frames=16, size=64, trajectory="turntable", seed=0,
            workers=1, val_fraction=0.0, progress=False,
        )  # fmt: skip
        manifest = manifests.load(path)
        cache = FrameCache.build(manifest, Path(folder) / "cache")
        for name, source in (("decord", None), ("cache", cache)):
            dataset = WindowsDataset(
                manifest, "train", windows=options.windows, frames=options.frames, spacing=tuple(options.spacing), cache=source
            )
            indices = list(range(len(dataset)))
            times[name] = median_time(lambda d=dataset, i=indices: d.__getitems__(i), seconds)
            images = len(indices) * options.windows * options.frames
            speed = images / times[name]
            rows.append({"figure": f"windows of 64 px frames, {name}", "value": speed, "unit": "images/s"})
    rows.append({"figure": "cache against decord", "value": times["decord"] / times["cache"], "unit": "x"})
    return rows
