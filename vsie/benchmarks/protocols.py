"""Protocols of the 3DIEBench line for one checkpoint on a data set of its size, ResNet-18: on features computed once (our
definitions, and SIE's to the letter), against encoding every drawn image again in each of 300 epochs, as SIE's scripts do.

Measured: the encoder's rate on rendered views, the time of one step of each probe, of MRR per object, of PRE per query and
candidate. The rest is counting: images, steps, objects. Ours judge the encoder before training too, as a floor: their time is
that of two encoders, and so is what it is held against. Validation during training is not counted.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsie import features, pose
from vsie.benchmarks.base import Rows, median_time
from vsie.config import compose, to_plain
from vsie.data import manifest as manifests
from vsie.data.clips import ClipsDataset
from vsie.evaluation import classification, released, steering
from vsie.evaluation import pose as pair
from vsie.evaluation import views as line
from vsie.feature_set import Features
from vsie.model import build_method
from vsie.render.dataset import render_dataset

TRAIN_OBJECTS, TEST_OBJECTS, VIEWS = 41_920, 10_552, 50  # 3DIEBench's
ENCODERS = 2  # of ours: the trained one, and beside it the one before training


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""
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
    poses = torch.from_numpy(cached.poses.reshape(-1, 4, 4))
    questions = (
        released.classification(torch.from_numpy(np.repeat(cached.labels, VIEWS)), 55),
        released.rotation(poses, pose.mean_quaternion(poses)),
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
    seen = max(classification.TRAIN_FRAMES, classification.LEAST_FRAMES * TRAIN_OBJECTS)
    each = len(parts) * (2 * turn * line.PASSES * TRAIN_OBJECTS / 24 + fits * name * seen / 2000)  # rotation and colour, class
    ours = ENCODERS * each + every * TEST_OBJECTS + search * steering.QUERIES * TEST_OBJECTS * VIEWS

    probes = step * released.EPOCHS * -(-TRAIN_OBJECTS // released.BATCH)
    frames = TEST_OBJECTS * VIEWS
    retrieval = retrieve * TEST_OBJECTS + shared_search * frames**2
    moving = features.STATISTICS * features.OTHERS  # images that move BatchNorm's statistics, as the probes' training does
    once = TRAIN_OBJECTS * VIEWS + moving + 3 * TEST_OBJECTS + frames  # in train mode to learn from; to be judged; for retrieval
    draws = sum(question.views for question in questions)
    shared = draws * (released.EPOCHS * TRAIN_OBJECTS + TEST_OBJECTS) + frames
    separate = len(parts) * draws * (released.EPOCHS * TRAIN_OBJECTS + TEST_OBJECTS) + frames
    rows: Rows = [
        {"figure": "our probes, MRR and PRE", "value": ours / 3600, "unit": "h"},
        {"figure": "SIE's: one step of all probes, batch 256", "value": 1e3 * step, "unit": "ms"},
        {"figure": "SIE's probes, 300 epochs", "value": probes / 3600, "unit": "h"},
        {"figure": "SIE's MRR and PRE of 527,600 views", "value": retrieval / 3600, "unit": "h"},
    ]
    for size, rate in rates.items():
        encoding = ENCODERS * (TRAIN_OBJECTS + TEST_OBJECTS) * VIEWS / rate
        sets = {"ours": encoding + ours, "SIE's": once / rate + probes + retrieval}
        again = [images / rate + probes + retrieval for images in (separate, shared)]
        rows.append({"figure": f"{size} px, ResNet-18 encodes", "value": rate, "unit": "images/s"})
        figures = {f"suite on features computed once, {name}": seconds for name, seconds in sets.items()}
        figures["encoding in every epoch, a run per part"] = again[0]
        for figure, took in figures.items():
            rows.append({"figure": f"{size} px, {figure}", "value": took / 3600, "unit": "h"})
        for name, took in sets.items():
            bar = {"bar": 50} if size == 256 or name == "ours" else {}  # 256 px is the published recipe's
            encoders = ENCODERS if name == "ours" else 1
            rows.append({"figure": f"{size} px, ratio, {name}", "value": encoders * again[0] / took, "unit": "x"} | bar)
        figure = f"{size} px, ratio, SIE's, if parts share a run"
        rows.append({"figure": figure, "value": again[1] / sets["SIE's"], "unit": "x"})
    return rows


def rendered_views(size: int, *, count: int) -> Tensor:
    """`count` views (count, size, size, 3) uint8 of four objects, rendered as 3DIEBench draws them."""
    with tempfile.TemporaryDirectory() as folder:
        path = render_dataset(
            out=Path(folder) / "views", objects=4, clips_per_object=1, frames=count // 4, size=size, trajectory="views", seed=0,
            workers=1, val_fraction=0.0, progress=False,
        )  # fmt: skip
        clips = ClipsDataset(manifests.load(path), None)
        return torch.cat([clips[i]["frames"] for i in range(len(clips))])
