"""Every speed claim, repeatable: `tools/benchmark.py what=...` calls one function of this file per name.

Comparisons measure both sides in the same run, in turn, and quote the ratio of medians: machines are noisy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
            source, target = (pose.rigid(pose.exp((torch.rand(2, 4096, 3) - 0.5) * 5 * axis)).double())
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


WHATS = {function.__name__: function for function in (render, predictor, inversion, data, train, flow)}


def run(what: str, seconds: float) -> Rows:
    """Measure one thing, or ``all``.

    Raises:
        ValueError: There is no such benchmark.
    """
    from vsie.components import nearest

    if what != "all" and what not in WHATS:
        raise ValueError(f"what is {what!r}, expected all or one of {', '.join(WHATS)}{nearest(what, WHATS)}")
    return [row for name, function in WHATS.items() if what in ("all", name) for row in function(seconds)]
