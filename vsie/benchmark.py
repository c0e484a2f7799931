"""Every speed claim, repeatable: `tools/benchmark.py what=...` calls one function of this file per name.

Comparisons measure both sides in the same run, in turn, and quote the ratio of medians: machines are noisy.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rows = list[dict[str, Any]]


def predictor(seconds: float) -> Rows:
    """The factorised hypernetwork against one that builds a matrix per sample: B = d = 1024, K = 4, forward + backward."""
    from vsie.predictors import Hypernetwork

    torch.manual_seed(0)
    batch = dim = 1024
    network = Hypernetwork(dim, 4)
    latent = torch.randn(batch, dim, requires_grad=True)
    delta = torch.nn.functional.normalize(torch.randn(batch, 4), dim=-1)
    target = torch.randn(batch, dim)

    def factorised() -> Tensor:
        return network(latent, delta)

    def materialised() -> Tensor:
        return torch.bmm(network.matrix(delta), latent[..., None]).squeeze(-1)

    def step(forward: Callable[[], Tensor]) -> None:
        network.zero_grad(set_to_none=True)
        latent.grad = None
        (forward() - target).square().mean().backward()

    def gradients(forward: Callable[[], Tensor]) -> list[Tensor]:
        step(forward)
        return [forward().detach(), latent.grad, network.matrices.grad]

    pairs = zip(gradients(factorised), gradients(materialised), strict=True)
    difference = max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
    fast, slow = paired(lambda: step(factorised), lambda: step(materialised), max(seconds, 4.0))
    memory = {name: extra_memory(forward) for name, forward in (("factorised", factorised), ("materialised", materialised))}
    slim, fat = memory["factorised"] / 2**20, memory["materialised"] / 2**20
    return [
        {"what": "predictor", "figure": "forward + backward, factorised", "value": 1e3 * fast, "unit": "ms"},
        {"what": "predictor", "figure": "forward + backward, a matrix per sample", "value": 1e3 * slow, "unit": "ms"},
        {"what": "predictor", "figure": "speed ratio", "value": slow / fast, "unit": "x", "bar": 25},
        {"what": "predictor", "figure": "extra memory, factorised", "value": slim, "unit": "MiB"},
        {"what": "predictor", "figure": "extra memory, a matrix per sample", "value": fat, "unit": "MiB"},
        {"what": "predictor", "figure": "memory ratio", "value": fat / slim, "unit": "x", "bar": 50},
        {"what": "predictor", "figure": "largest relative difference", "value": difference, "unit": "", "most": 1e-5},
    ]


def extra_memory(forward: Callable[[], Tensor]) -> int:
    """Bytes that the forward pass keeps for the backward pass beyond inputs and parameters, and its result."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    kept[result.untyped_storage().data_ptr()] = result.untyped_storage().nbytes()
    inputs = set()
    stack = [result.grad_fn]
    while stack:
        node = stack.pop()
        if hasattr(node, "variable"):
            inputs.add(node.variable.untyped_storage().data_ptr())
        stack += [child for child, _ in node.next_functions if child is not None]
    return sum(size for place, size in kept.items() if place not in inputs)


def inversion(seconds: float) -> Rows:
    """Tracking without a probe: frame pairs per second, for a turntable (one axis) and for any rotation, default widths."""
    from vsie import pose
    from vsie.config import compose, to_plain
    from vsie.evaluation import inversion as module
    from vsie.model import build_method

    torch.manual_seed(0)
    method = build_method(to_plain(compose("train", []))).eval()
    rows = []
    with torch.no_grad():
        embedded = method.embed(torch.randn(2048, method.split.equivariant))
        for name, axis in (("one axis", torch.tensor([0.0, 0.0, 1.0])), ("any rotation", torch.ones(3))):
            source, target = pose.rigid(pose.exp((torch.rand(2, 4096, 3) - 0.5) * 5 * axis)).double()
            method.conditioning.fit(source, target)
            speeds = []
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                measured = module.benchmark(method, embedded, pose.delta(source, target))
                speeds.append(measured[0]["pairs_per_second"])
            rows.append({"what": "inversion", "figure": f"frame pairs, {name}", "value": statistics.median(speeds),
                         "unit": "pairs/s", "bar": 2000})  # fmt: skip
    return rows


def render(seconds: float) -> Rows:
    """Frames per second of rendered clips (mesh building and encoding included), scaling, and the share inside Embree."""
    from vsie.render.benchmark import benchmark

    rows: Rows = []
    for row in benchmark(sizes=(64, 128, 256), seconds=seconds):
        name = f"{row['size']} px, {row['processes']} process(es)"
        bar = {128: {"bar": 130}, 256: {"bar": 40}}.get(row["size"], {}) if row["processes"] == 1 else {}
        rows.append({"what": "render", "figure": name, "value": row["frames_per_second"], "unit": "frames/s"} | bar)
        if row["processes"] > 1:
            rows.append({"what": "render", "figure": f"{name}, scaling", "value": row["scaling"], "unit": "x", "bar": 1.8})
        else:
            share = {"what": "render", "figure": f"{name}, share inside Embree's queries", "value": row["embree"], "unit": ""}
            rows.append(share)
    return rows


def flow(seconds: float) -> Rows:
    """Estimated against exact flow inside the object, by how far it moves: end-point error, share of errors above 1 px and a
    third of the motion; 24 rendered turntables at 128 px, visible pixels only. RAFT where its weights are at hand."""
    import tempfile

    import numpy as np

    from vsie import components
    from vsie.data import manifest as manifests
    from vsie.data.clips import ClipsDataset
    from vsie.render.dataset import render_dataset

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
        rows.append({"what": "flow", "figure": f"{name}, a pair of 128 px", "value": 1e3 * spent / len(first), "unit": "ms"})
        for low, high in ((0, 1), (1, 2), (2, 4), (4, 8), (8, np.inf)):
            here = mask & ~hidden & (size >= low) & (size < high)
            if here.sum() > 100:
                label = f"{name}, motion {low} to {high} px"
                wrong = (error[here] > 1) & (error[here] > size[here] / 3)
                rows.append({"what": "flow", "figure": f"{label}, error", "value": float(error[here].mean()), "unit": "px"})
                rows.append({"what": "flow", "figure": f"{label}, outliers", "value": float(wrong.mean()), "unit": ""})
    return rows


def motion(seconds: float) -> Rows:
    """Motion from rendered RGB that no constant was set on: error, confidence, drift and speed; see `vsie.motion.benchmark`.

    Two clips of 16 frames for each of `seconds`, at most 55 of each kind: 24 or more for figures to quote.
    """
    from vsie.motion.benchmark import rows

    return [{"what": "motion"} | row for row in rows(count=int(min(max(2 * seconds, 2), 55)))]


def train(seconds: float) -> Rows:
    """Images per second of the default training step on random frames, in float32 and in bfloat16."""
    from vsie import pose
    from vsie.config import compose, to_plain
    from vsie.model import build_method

    config = compose("train", [])
    data, rows = config.data, []
    clips = torch.rand(config.trainer.batch, data.windows, 3, data.frames, data.render.size, data.render.size)
    poses = pose.rigid(pose.exp(torch.rand(*clips.shape[:2], data.frames, 1) * torch.tensor([0.0, 0.0, 6.0])))
    times = {}
    for precision in ("32-true", "bf16-mixed"):
        method = build_method(to_plain(config))
        method.mixed = precision == "bf16-mixed"
        optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)

        def step(method=method, optimiser=optimiser) -> None:
            optimiser.zero_grad(set_to_none=True)
            method(clips, poses).loss.backward()
            optimiser.step()

        times[precision] = median_time(step, seconds)
        images = clips.shape[0] * clips.shape[1] * clips.shape[3]
        speed = images / times[precision]
        rows.append({"what": "train", "figure": f"default step, {precision}", "value": speed, "unit": "images/s"})
    return rows


def augment(seconds: float) -> Rows:
    """Jitter of colour of a batch of clips: one matrix per clip, against kornia's way through HSV."""
    from kornia import augmentation as kornia

    from vsie.data.augment import Augment

    sizes = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.4, "hue": 0.5}
    ours = Augment(**sizes)
    hsv = kornia.VideoSequential(kornia.ColorJitter(*sizes.values(), p=1.0), data_format="BCTHW", same_on_frame=True)
    clips = torch.rand(128, 3, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    fast, slow = paired(lambda: ours(clips, 0), lambda: hsv(clips), seconds)
    images = clips.shape[0] * clips.shape[2]
    return [
        {"what": "augment", "figure": "colour, one matrix per clip", "value": images / fast, "unit": "images/s"},
        {"what": "augment", "figure": "colour, through HSV", "value": images / slow, "unit": "images/s"},
        {"what": "augment", "figure": "speed ratio", "value": slow / fast, "unit": "x"},
    ]


def data(seconds: float) -> Rows:
    """Windows read from videos by decord and from the cache of decoded frames, on the debug run's clips."""
    import tempfile

    from vsie.config import compose
    from vsie.data import manifest as manifests
    from vsie.data.frame_cache import FrameCache
    from vsie.data.windows import WindowsDataset
    from vsie.render.dataset import render_dataset

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
            rows.append({"what": "data", "figure": f"windows of 64 px frames, {name}", "value": speed, "unit": "images/s"})
    rows.append({"what": "data", "figure": "cache against decord", "value": times["decord"] / times["cache"], "unit": "x"})
    return rows


def three_die_bench(seconds: float) -> Rows:
    """Random pairs of 128 px from the shards of a 3DIEBench folder: images per second, and memory that grows with the objects.

    A few rendered objects stand for many: the index and the files have as many entries as if they were different ones.
    """
    import dataclasses
    import os
    import tempfile
    import tracemalloc

    from torch.utils.data import DataLoader

    from vsie.data import ImageShards, StepSampler, WindowsDataset, collate
    from vsie.data.three_die_bench import ViewSource, load
    from vsie.render.dataset import render_dataset

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
    what = "three_die_bench"
    return [
        {"what": what, "figure": "shards built, one process", "value": built, "unit": "images/s"},
        {"what": what, "figure": "random pairs of 128 px, one process", "value": alone, "unit": "images/s"},
        {"what": what, "figure": "the same per second of CPU", "value": busy, "unit": "images/s"},
        {"what": what, "figure": f"the same, {workers} loader process(es)", "value": together, "unit": "images/s", "bar": 2000},
        {"what": what, "figure": "memory for another object (of 50 views)", "value": growth, "unit": "bytes", "most": 1000},
    ]


def memory(seconds: float) -> Rows:
    """What the protocols hold in memory on features of 3DIEBench's size; see `vsie.evaluation.memory` (some minutes of CPU)."""
    from vsie.evaluation.memory import benchmark

    return benchmark()


TRAIN_OBJECTS, TEST_OBJECTS, VIEWS = 41_920, 10_552, 50  # 3DIEBench's


def protocols(seconds: float) -> Rows:
    """Protocols of the 3DIEBench line for one checkpoint on a data set of its size, ResNet-18: on features computed once (our
    definitions, and SIE's to the letter), against encoding every drawn image again in each of 300 epochs, as SIE's scripts do.

    Measured: the encoder's rate on rendered views, the time of one step of each probe, of MRR per object, of PRE per query and
    candidate. The rest is counting: images, steps, objects. Validation during training is not counted.
    """
    import numpy as np

    from vsie import features, pose
    from vsie.config import compose, to_plain
    from vsie.evaluation import classification, released, steering
    from vsie.evaluation import pose as pair
    from vsie.evaluation import views as line
    from vsie.feature_set import Features
    from vsie.model import build_method

    torch.manual_seed(0)
    published = ["encoder.backbone=resnet18", "encoder.dim=512", "encoder.mixing=0", "method.projector_width=1024"]
    config = compose("train", ["method=sie", *published])
    method = build_method(to_plain(config)).eval()
    rates = {}
    for size in (128, 256):
        images = rendered_views(size, count=16)
        rates[size] = len(images) / median_time(lambda i=images: features.encode(method.encoder, i[:, None]), seconds / 2)

    generator = torch.Generator().manual_seed(0)
    angles = (torch.rand(256, VIEWS, 3, generator=generator, dtype=torch.float64) - 0.5) * torch.pi
    latents = torch.randn(256, VIEWS, 512, generator=generator).numpy()
    cached = Features(
        image=latents, clip=latents, poses=pose.rigid(pose.from_euler_xyz(angles)).numpy(), times=np.zeros((256, VIEWS)),
        labels=np.arange(256) % 55, objects=np.arange(256), clips=np.zeros(256, np.int64), paths=[""] * 256, invariant_dim=256,
    )  # fmt: skip
    views, parts = released.Views.of(cached), released.widths(cached)
    questions = (
        released.classification(torch.from_numpy(np.repeat(cached.labels, VIEWS)), 55),
        released.rotation(torch.from_numpy(cached.poses.reshape(-1, 4, 4))),
        released.colour(torch.rand(256 * VIEWS, 2, generator=generator, dtype=torch.float64)),
    )
    step = sum(median_time(lambda q=q: released.fit(q, views, parts, epochs=2), seconds / 3) / 2 for q in questions)
    few = Features(**{**vars(cached), **{n: getattr(cached, n)[:16] for n in ("image", "clip", "poses", "times", "labels",
                                                                              "objects", "clips", "paths")}})  # fmt: skip
    with torch.no_grad():
        embedded = torch.randn(16 * VIEWS, 1024, generator=generator)
        retrieve, every = (
            median_time(lambda r=r: steering.retrieve(method, embedded, few, cap=None, released=r), seconds / 4) / 16
            for r in (True, False)
        )
        rows, bank, sources = torch.randn(16_384, 1024, generator=generator), torch.arange(16_384), 4 * steering.CHUNK // VIEWS
        queries = torch.randn(steering.CHUNK, 1024, generator=generator)
        find = steering.nearest_of_many
        search = median_time(lambda: find("cosine", queries, rows, bank), seconds / 4) / (len(queries) * len(bank))
        products, mixing = (torch.randn(sources, *shape, generator=generator) for shape in ((4, 1024), (VIEWS, 4)))
        call = functools.partial(find, "cosine", products, rows, bank, mixing=mixing, chunk=steering.CHUNK // 4)
        shared_search = median_time(call, seconds / 4) / (sources * VIEWS * len(bank))

    flat, targets = views.features, pair.Targets.of(cached, reference=torch.tensor([0, 0, 0, 1.0]).double(), frame="body")
    turn = median_time(lambda: pair.fit(flat, targets, cached.views(), steps=10), seconds / 4) / 10
    labels = torch.from_numpy(np.repeat(cached.labels, VIEWS))[:2000]
    name = median_time(lambda: classification.fit_linear(flat[:2000], labels, classes=55, penalty=1e-2), seconds / 4)
    fits = 1 + 0.25 * len(classification.PENALTIES)  # the penalty is chosen on half of the frames, in 40 steps of 100
    ours = len(parts) * (
        2 * turn * line.PASSES * TRAIN_OBJECTS / 24 + fits * name * classification.TRAIN_FRAMES / 2000
    ) + every * TEST_OBJECTS + search * steering.QUERIES * TEST_OBJECTS * VIEWS  # fmt: skip

    probes = step * released.EPOCHS * -(-TRAIN_OBJECTS // released.BATCH)
    frames = TEST_OBJECTS * VIEWS
    retrieval = retrieve * TEST_OBJECTS + shared_search * frames**2
    once = TRAIN_OBJECTS * VIEWS + 3 * TEST_OBJECTS + frames  # BatchNorm in train mode for the probes, in eval mode for retrieval
    draws = sum(question.views for question in questions)
    shared = draws * (released.EPOCHS * TRAIN_OBJECTS + TEST_OBJECTS) + frames
    separate = len(parts) * draws * (released.EPOCHS * TRAIN_OBJECTS + TEST_OBJECTS) + frames
    rows: Rows = [
        {"what": "protocols", "figure": "our probes, MRR and PRE", "value": ours / 3600, "unit": "h"},
        {"what": "protocols", "figure": "SIE's: one step of all probes, batch 256", "value": 1e3 * step, "unit": "ms"},
        {"what": "protocols", "figure": "SIE's probes, 300 epochs", "value": probes / 3600, "unit": "h"},
        {"what": "protocols", "figure": "SIE's MRR and PRE of 527,600 views", "value": retrieval / 3600, "unit": "h"},
    ]
    for size, rate in rates.items():
        sets = {"ours": (TRAIN_OBJECTS + TEST_OBJECTS) * VIEWS / rate + ours, "SIE's": once / rate + probes + retrieval}
        again = [images / rate + probes + retrieval for images in (separate, shared)]
        rows.append({"what": "protocols", "figure": f"{size} px, ResNet-18 encodes", "value": rate, "unit": "images/s"})
        figures = {f"suite on features computed once, {name}": seconds for name, seconds in sets.items()}
        figures["encoding in every epoch, a run per part"] = again[0]
        for figure, took in figures.items():
            rows.append({"what": "protocols", "figure": f"{size} px, {figure}", "value": took / 3600, "unit": "h"})
        for name, took in sets.items():
            bar = {"bar": 50} if size == 256 or name == "ours" else {}  # 256 px is the published recipe's
            rows.append({"what": "protocols", "figure": f"{size} px, ratio, {name}", "value": again[0] / took, "unit": "x"} | bar)
        figure = f"{size} px, ratio, SIE's, if parts share a run"
        rows.append({"what": "protocols", "figure": figure, "value": again[1] / sets["SIE's"], "unit": "x"})
    return rows


def measures(seconds: float) -> Rows:
    """The full suite on 20,000 frames of 512 dims (16,000 of 500 train objects, 4,000 of 125 others), with the rows of an
    untrained encoder and of a raw backbone: CPU seconds of each protocol, wall time, and the memory that it took at most.

    The peak is this process's: run it alone (`what=measures`). What needs pictures and not features (layers, correlation, the
    plane) depends on the encoder and is not in it. `seconds` is not used.
    """
    import resource

    from vsie.config import compose, to_plain
    from vsie.evaluation import suite
    from vsie.model import build_method

    torch.manual_seed(0)
    method = build_method(to_plain(compose("train", ["encoder.dim=512"]))).eval()
    own, initial, raw = (
        (known_features(500, 0, **options), known_features(125, 10_000, **options))
        for options in ({}, {"noise": 3.0}, {"split": False})
    )
    protocols = [*suite.DEFAULT, *(name for name in suite.measures() if name not in ("layers", "correlation"))]
    begun = time.perf_counter()
    result = suite.evaluate(*own, steering=method, random_init=initial, raw=raw, protocols=protocols)
    wall, spent = time.perf_counter() - begun, result.seconds
    rows: Rows = [{"what": "measures", "figure": f"{name}, CPU", "value": value, "unit": "s"} for name, value in spent.items()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [
        *rows,
        {"what": "measures", "figure": "all of them, CPU", "value": sum(spent.values()), "unit": "s"},
        {"what": "measures", "figure": "all of them, wall", "value": wall, "unit": "s", "most": 180},
        {"what": "measures", "figure": "memory at most", "value": peak, "unit": "GiB", "most": 4},
    ]


def known_features(objects: int, first: int, *, half: int = 256, noise: float = 0.3, split: bool = True):
    """Features of turntables, two clips of 16 frames of each object: the class in the invariant half, the turned object, mixed,
    in the equivariant half, and noise."""
    from vsie import pose
    from vsie.feature_set import Features

    clips, frames = 2, 16
    shared, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1 + first)
    mixing = torch.linalg.qr(torch.randn(half, half, generator=shared)).Q
    centres, common = torch.randn(12, half, generator=shared), torch.randn(half // 3, 3, generator=shared)
    angle = 6.3 * torch.rand(objects, clips, 1, generator=own) + 0.3 * torch.arange(frames)
    turn = pose.exp(angle[..., None].double() * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    body = common + 0.3 * torch.randn(objects, half // 3, 3, generator=own)
    moved = torch.nn.functional.pad((body[:, None, None] @ turn.float()).flatten(-2), (0, half % 3)) @ mixing
    labels = torch.arange(objects) % len(centres)
    still = (centres[labels] + torch.randn(objects, half, generator=own))[:, None, None].expand(-1, clips, frames, -1)
    latents = torch.cat([still, moved], -1)
    latents = (latents + noise * torch.randn(latents.shape, generator=own)).flatten(0, 1).numpy()
    number = objects * clips
    return Features(
        image=latents, clip=latents.copy(), poses=pose.rigid(turn).flatten(0, 1).numpy(),
        times=np.tile(np.arange(frames) / 8.0, (number, 1)), labels=labels.repeat_interleave(clips).numpy(),
        objects=np.repeat(np.arange(first, first + objects), clips), clips=np.tile(np.arange(clips), objects),
        paths=[""] * number, invariant_dim=half if split else 0,
    )  # fmt: skip


def rendered_views(size: int, *, count: int) -> Tensor:
    """`count` views (count, size, size, 3) uint8 of four objects, rendered as 3DIEBench draws them."""
    import tempfile

    from vsie.data import manifest as manifests
    from vsie.data.clips import ClipsDataset
    from vsie.render.dataset import render_dataset

    with tempfile.TemporaryDirectory() as folder:
        path = render_dataset(
            out=Path(folder) / "views", objects=4, clips_per_object=1, frames=count // 4, size=size, trajectory="views", seed=0,
            workers=1, val_fraction=0.0, progress=False,
        )  # fmt: skip
        clips = ClipsDataset(manifests.load(path), None)
        return torch.cat([clips[i]["frames"] for i in range(len(clips))])


def median_time(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call, after one that is not counted, over about `seconds` (three calls at least)."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def paired(first: Callable[[], Any], second: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Median seconds of two calls that take turns."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < 3 or sum(times[0]) + sum(times[1]) < seconds:
        for call, kept in zip((first, second), times, strict=True):
            begun = time.perf_counter()
            call()
            kept.append(time.perf_counter() - begun)
    return statistics.median(times[0]), statistics.median(times[1])


FIGURES = (render, predictor, inversion, data, three_die_bench, train, augment, protocols, memory, measures, flow, motion)
WHATS = {function.__name__: function for function in FIGURES}


def run(what: str, seconds: float) -> Rows:
    """Measure one thing, or ``all``.

    Raises:
        ValueError: There is no such benchmark.
    """
    from vsie.components import nearest

    if what != "all" and what not in WHATS:
        raise ValueError(f"what is {what!r}, expected all or one of {', '.join(WHATS)}{nearest(what, WHATS)}")
    return [row for name, function in WHATS.items() if what in ("all", name) for row in function(seconds)]
