"""How many frames a second a data set is rendered at, and where the time goes.

Each process does what `vsie.render.dataset` does for its objects, families in turn: mesh, search tree, clips of 16
frames on the turntable, H.264, archive, both written to a temporary folder. Every process has one thread.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vsie.benchmarks.base import Rows
from vsie.render import Renderer, embree_clock, families, pool
from vsie.render.clips import ClipSettings, archive_bytes, encode_video, generator, render_clip

CLIPS_PER_OBJECT = 4
FRAMES = 16


def rows(seconds: float) -> Rows:
    """Frames per second, scaling with a second process, and the share inside Embree, each measured for `seconds`."""
    found: Rows = []
    for row in measured(sizes=(64, 128, 256), seconds=seconds):
        name = f"{row['size']} px, {row['processes']} process(es)"
        bar = {128: {"bar": 130}, 256: {"bar": 40}}.get(row["size"], {}) if row["processes"] == 1 else {}
        found.append({"figure": name, "value": row["frames_per_second"], "unit": "frames/s"} | bar)
        if row["processes"] > 1:
            found.append({"figure": f"{name}, scaling", "value": row["scaling"], "unit": "x", "bar": 1.8})
        else:
            found.append({"figure": f"{name}, share inside Embree's queries", "value": row["embree"], "unit": ""})
    return found


def measured(
    sizes: Sequence[int] = (128, 256), seconds: float = 4.0, processes: Sequence[int] = (1, 2), supersample: int = 2
) -> list[dict[str, float]]:
    """Measure rendering at each size with each number of processes.

    Args:
        sizes: Pixels.
        seconds: Time of each measurement, after a warm-up.
        processes: Numbers of processes at work at the same time.
        supersample: Rays per pixel along each side.

    Returns:
        One row per size and number of processes: `size`, `processes`, `frames_per_second` (all processes together),
        `scaling` (against the first row of this size), `cores` (processor time by wall time, all together; where it is
        below `processes` the machine was busy with something else and the row says little), and the shares of the wall
        time spent in `mesh` (building it and what is precomputed for rays and light), `embree` (inside its queries: the
        limit of what any other improvement can bring), `shade` (the rest of rendering), `encode`, `write`.
    """
    rows = []
    for size in sizes:
        alone = None
        for count in processes:
            row = {"size": size, "processes": count} | _measure_together(size, seconds, count, supersample)
            alone = alone or row["frames_per_second"]
            rows.append(row | {"scaling": row["frames_per_second"] / alone})
    return rows


def _measure_together(size: int, seconds: float, count: int, supersample: int) -> dict[str, float]:
    """One row: `count` spawned processes that start their clocks together."""
    context = multiprocessing.get_context("spawn")
    with (
        pool.thread_environment(),
        tempfile.TemporaryDirectory(prefix="vsie-benchmark-") as folder,
        concurrent.futures.ProcessPoolExecutor(count, context, _share, (context.Barrier(count),)) as executor,
    ):
        futures = [executor.submit(_measure, size, seconds, part, supersample, Path(folder)) for part in range(count)]
        parts = [future.result() for future in futures]
    rate = sum(part["frames"] / part["wall"] for part in parts)
    cores = sum(part["processor"] / part["wall"] for part in parts)
    wall = sum(part["wall"] for part in parts)
    steps = ("mesh", "embree", "shade", "encode", "write")
    shares = {name: sum(part[name] for part in parts) / wall for name in steps}
    return {"frames_per_second": rate, "cores": cores} | shares


_barrier = None


def _share(barrier) -> None:
    """Set a spawned process up."""
    global _barrier
    _barrier = barrier
    pool.limit_threads()


def _measure(size: int, seconds: float, part: int, supersample: int, folder: Path) -> dict[str, float]:
    """Frames and seconds of this process: render for at least `seconds`, whole objects only."""
    settings = ClipSettings(FRAMES, size, "turntable", 0, supersample, 8.0)
    names = families.names()
    _render_object(settings, names[0], 10**6 + part, folder)
    embree_clock.enabled = True
    _barrier.wait()
    embree_clock.reset()
    spent = {"mesh": 0.0, "embree": 0.0, "shade": 0.0, "encode": 0.0, "write": 0.0, "frames": 0}
    start, processor = time.perf_counter(), time.process_time()
    index = part * 1000
    while time.perf_counter() - start < seconds:
        for name, value in _render_object(settings, names[index % len(names)], index, folder).items():
            spent[name] += value
        index += 1
    spent["wall"], spent["processor"] = time.perf_counter() - start, time.process_time() - processor
    spent["embree"] = embree_clock.seconds
    spent["shade"] -= embree_clock.seconds
    return spent


def _render_object(settings: ClipSettings, family: str, index: int, folder: Path) -> dict[str, float]:
    """Seconds per step for one object with its clips; Embree's queries are counted in `shade`."""
    spent = dict.fromkeys(("mesh", "shade", "encode", "write"), 0.0)

    def lap(name: str) -> None:
        nonlocal start
        now = time.perf_counter()
        spent[name] += now - start
        start = now

    start = time.perf_counter()
    mesh = families.build(family, generator(settings.seed, index))
    renderer = Renderer(mesh, size=settings.size, supersample=settings.supersample)
    lap("mesh")
    for clip in range(CLIPS_PER_OBJECT):
        frames, arrays = render_clip(renderer, settings, generator(settings.seed, index, clip))
        lap("shade")
        video, archive = encode_video(frames, settings.fps), archive_bytes(arrays, compress=False)
        lap("encode")
        (folder / f"{index}-{clip}.mp4").write_bytes(video)
        (folder / f"{index}-{clip}.npz").write_bytes(archive)
        lap("write")
    return spent | {"frames": CLIPS_PER_OBJECT * settings.frames}
