"""What do the protocols hold in memory on features of 3DIEBench's size? Features made of noise, in files as a run keeps them.

Notable: what counts is anonymous memory. Pages of a mapped file that is only read are the kernel's to drop, and it does.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsie import collapse, pose
from vsie.benchmarks.base import Rows
from vsie.evaluation import pose as pair
from vsie.evaluation import released, steering
from vsie.evaluation.inputs import check_scorable
from vsie.feature_set import LARGE, Features, flat, load_features, new_column, write_features
from vsie.methods.conditioning import Conditioning
from vsie.predictors.hypernetwork import Hypernetwork

VIEWS = 50


class Bare:
    """SIE's predictor on the latents as they are."""

    similarity, frame, part = "euclidean", "body", "all"

    def __init__(self, dim: int) -> None:
        self.conditioning = Conditioning(encoding="quaternion_raw", centred=False)
        self.predictor = Hypernetwork(dim, self.conditioning.width).requires_grad_(False)
        self.expand = self.predictor.expand

    def embed(self, latents: Tensor) -> Tensor:
        """The latents."""
        return latents

    def pair_coefficients(self, source: Tensor, target: Tensor) -> Tensor:
        """h_k of the motions between poses (..., 4, 4): (..., K)."""
        return self.predictor.coefficients(self.conditioning(source, target))


def anonymous() -> int:
    """Bytes of this process that are in memory and belong to no file (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@contextlib.contextmanager
def watched() -> Iterator[dict[str, float]]:
    """What is done inside: ``peak``, the most anonymous memory in bytes, ``more``, that less what was there before, and
    ``seconds`` of CPU."""
    gc.collect()
    found, stop, before, begun = {}, threading.Event(), anonymous(), time.process_time()
    peak = [before]

    def look() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
        found |= {"peak": peak[0], "more": peak[0] - before, "seconds": time.process_time() - begun}


def noise(folder: Path, objects: int, dim: int, *, seed: int = 0) -> Features:
    """Features (objects, 50, dim) without any sense, on disk, written in pieces."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    image = new_column(folder / "image.npy", (objects, VIEWS, dim), np.float32)
    for first in range(0, objects, 200):
        image[first : first + 200] = rng.standard_normal(image[first : first + 200].shape, dtype=np.float32)
    angles = torch.from_numpy(rng.uniform(-np.pi / 2, np.pi / 2, (objects, VIEWS, 3)))
    write_features(folder, Features(
        image=image, clip=image, poses=pose.rigid(pose.from_euler_xyz(angles)).numpy(), times=np.zeros((objects, VIEWS)),
        labels=np.arange(objects) % 55, objects=np.arange(objects), clips=np.zeros(objects, np.int64),
        paths=[f"object_{i}" for i in range(objects)], invariant_dim=dim // 2,
    ))  # fmt: skip
    return load_features(folder)


def probes(features: Features, *, steps: int = 20) -> None:
    """What the probes do with all frames: checks, alarms, a few steps of the pair probe and of SIE's, and their answers."""
    check_scorable(features, "train")
    collapse.summary({"all": flat(features, "all", "image")}, torch.from_numpy(np.repeat(features.objects, features.frames)))
    poses = torch.from_numpy(features.poses.reshape(-1, 4, 4))
    reference = pose.mean_quaternion(poses)
    targets = pair.Targets.of(features, reference=reference, frame="body")
    rows = flat(features, "equi", "image")
    probe = pair.fit(rows, targets, features.views(), steps=steps)
    pairs = pair.fixed_pairs(features, per_object=8)
    pair.score(probe.predict(rows, *pairs), targets, *pairs, features.objects[(pairs[0] // features.frames).numpy()])
    question, views = released.rotation(poses, reference), released.Views.of(features)
    parts = {"equi": released.widths(features)["equi"]}
    released.ask(released.fit(question, views, parts, epochs=1), question, views, parts)


def rows(seconds: float) -> Rows:
    """At the sizes of the claim, some minutes of CPU; `seconds` is not used."""
    return measured()


def measured(
    *, embeddings: int = 500_000, dim: int = 1024, queries: int = 2 * steering.CHUNK, objects: int = LARGE // VIEWS + 100
) -> Rows:
    """MRR and PRE of many embeddings, and how memory grows with the objects (from `objects` to twice as many).

    Args:
        embeddings: For MRR and PRE, 50 views of each object.
        dim: Their width.
        queries: Of PRE that are run, each against all embeddings; twice what is searched at once: more take no more memory.
        objects: More than are kept in memory.
    """
    rows: Rows = []

    def add(figure: str, value: float, unit: str, **bar: float) -> None:
        rows.append({"figure": figure, "value": value, "unit": unit} | bar)

    with tempfile.TemporaryDirectory(prefix="vsie-memory-") as folder, torch.no_grad():
        features, predictor = noise(Path(folder) / "embedded", embeddings // VIEWS, dim), Bare(dim)
        with watched() as embed:
            embedded = steering.embed(predictor, flat(features, "all", "image"))
        with watched() as mrr:
            steering.retrieve(predictor, embedded, features, cap=None, hits=(1, 5, 10), released=True)
        with watched() as pre:
            steering.pre(predictor, embedded, features, cap=None, sources="every", limit=queries)
        what = f"{embeddings:,} embeddings of {dim:,} dims"
        add(f"{what}: most memory at any time", max(part["peak"] for part in (embed, mrr, pre)) / 1e9, "GB", most=4)
        parts = {"embedding them (copied to a file)": embed, "MRR as SIE released it": mrr, "PRE, a chunk of queries": pre}
        for name, found in parts.items():
            add(f"{what}: {name}, memory", found["more"] / 1e6, "MB")
        add(f"{what}: MRR as SIE released it", mrr["seconds"], "CPU s")
        add(f"{what}: PRE of {queries:,} queries", pre["seconds"], "CPU s")
        add(f"{what}: PRE of {steering.QUERIES:,} queries, by counting", pre["seconds"] * steering.QUERIES / queries, "CPU s")
        del embedded, features
        more = []
        for number in (objects, 2 * objects):
            features = noise(Path(folder) / f"probes-{number}", number, 512)
            with torch.enable_grad(), watched() as found:
                probes(features)
            more.append(found["more"])
        add(f"probes on {objects * VIEWS:,} frames of 512 dims: memory", more[0] / 1e6, "MB")
        add("memory for another object of 50 frames, whose features are 102,400 bytes", (more[1] - more[0]) / objects, "bytes")
    return rows
