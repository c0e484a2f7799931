"""Random pairs of 128 px from the shards of a 3DIEBench folder: images per second, and memory that grows with the objects.

A few rendered objects stand for many: the index and the files have as many entries as if they were different ones.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from vsie.benchmarks.base import Rows, median_time
from vsie.data import ImageShards, StepSampler, WindowsDataset, collate
from vsie.data.three_die_bench import ViewSource, load
from vsie.render.dataset import render_dataset


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""

    def repeated(manifest, times: int):
        names = ("path", "label", "clip", "split", "pose_path", "objects")
        columns = {name: np.tile(getattr(manifest, name), times) for name in names}
        return dataclasses.replace(manifest, object=np.arange(times * len(manifest)), **columns)

    def pairs(manifest, shards) -> WindowsDataset:
        return WindowsDataset(manifest, "train", windows=2, frames=1, cache=shards)

    with tempfile.TemporaryDirectory() as folder:
        root = render_dataset(
            out=Path(folder) / "bench", objects=8, clips_per_object=None, frames=None, size=128, trajectory=None, seed=0,
            workers=1, layout="3diebench", families=["car", "sofa"], val_fraction=0.25, supersample=1, progress=False,
        )  # fmt: skip
        few = load(root)
        many = repeated(few, 24)
        begun = time.perf_counter()
        shards = ImageShards.build(ViewSource(many), Path(folder) / "shards", workers=0)
        built = len(many) * 50 / (time.perf_counter() - begun)
        dataset = pairs(many, shards)
        batch = [(0, index) for index in range(64)]
        alone = 2 * len(batch) / median_time(lambda: dataset.__getitems__(batch), seconds)
        cpu, images = time.process_time(), 0
        while time.process_time() - cpu < seconds:
            dataset.__getitems__(batch)
            images += 2 * len(batch)
        busy = images / (time.process_time() - cpu)

        workers = min(2, len(os.sched_getaffinity(0)))
        ready = 8 * workers  # batches that may be made while nobody asks: they do not count
        sampler = StepSampler(len(dataset), 64, end=ready + max(8, int(seconds * alone * workers / (2 * 64))))
        loader = iter(DataLoader(
            dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate, multiprocessing_context="spawn",
            prefetch_factor=4,
        ))  # fmt: skip
        for _ in range(ready):
            next(loader)
        begun = time.perf_counter()
        images = sum(2 * len(batch["label"]) for batch in loader)
        together = images / (time.perf_counter() - begun)

        peaks = []
        for number, times in enumerate((1, 64)):
            manifest = repeated(few, times)
            ImageShards.build(ViewSource(manifest, views=2), Path(folder) / f"memory-{number}", workers=0)
            tracemalloc.start()
            dataset = pairs(manifest, ImageShards(Path(folder) / f"memory-{number}"))
            for index in range(len(dataset)):
                dataset[index]
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    growth = (peaks[1] - peaks[0]) / (63 * len(few))
    return [
        {"figure": "shards built, one process", "value": built, "unit": "images/s"},
        {"figure": "random pairs of 128 px, one process", "value": alone, "unit": "images/s"},
        {"figure": "the same per second of CPU", "value": busy, "unit": "images/s"},
        {"figure": f"the same, {workers} loader process(es)", "value": together, "unit": "images/s", "bar": 2000},
        {"figure": "memory for another object (of 50 views)", "value": growth, "unit": "bytes", "most": 1000},
    ]
