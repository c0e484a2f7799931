"""The whole job in order: data (rendered when not given), training, features, evaluation, report."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from vsie import checkpoint, features, told
from vsie import eraser as erasers
from vsie import pose as geometry
from vsie.config import from_plain, to_plain
from vsie.data import manifest as manifests
from vsie.data import three_die_bench
from vsie.data.augment import Augment
from vsie.data.clips import ClipsDataset, of_one_length
from vsie.data.frame_cache import FrameCache
from vsie.data.image_shards import ImageShards, JoinedShards
from vsie.data.manifest import Manifest
from vsie.data.prepare import prepared
from vsie.data.sampler import StepSampler
from vsie.data.windows import WindowsDataset
from vsie.encoders.base import step_times
from vsie.evaluation import released, suite
from vsie.evaluation.inputs import Live
from vsie.extraction import weights_digest
from vsie.feature_cache import Measured, feature_set
from vsie.files import write_text
from vsie.methods.base import Method
from vsie.model import build_method
from vsie.motion.estimated import EstimatedMotion
from vsie.schemas import AugmentConfig, DataConfig, RenderedData, TrainConfig
from vsie.training.loop import Trainer, resolve_precision

DRAWS = 1_000_000  # an epoch that training does not reach: other draws than its own
DELTAS = 4096  # training deltas that conditioning is fitted on and inversion searches


def cache_folder() -> Path:
    """Where rendered data and decoded frames are kept: $VSIE_DATA, else the user's cache directory; never the source tree."""
    if os.environ.get("VSIE_DATA"):
        return Path(os.environ["VSIE_DATA"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsie"


def rendered(options: RenderedData, layout: str = "clips") -> Path:
    """The manifest (layout ``3diebench``: the folder) of the data set that `options` describe, rendered if it is not in the
    cache (or only in part)."""
    from vsie.render import families
    from vsie.render.clips import changes
    from vsie.render.dataset import render_dataset

    values = dataclasses.asdict(options)
    workers = values.pop("workers")
    chosen = values["families"] or list(families.TURNTABLE_FAMILIES)
    values["families"] = chosen
    if layout != "clips":  # the names of folders that are there already stay as they are
        values["layout"] = layout
    what = values | changes(options.trajectory)
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{options.trajectory}-{options.size}px-{options.objects}x{options.clips_per_object}x{options.frames}-{digest}"
    return render_dataset(out=cache_folder() / "rendered" / name, workers=workers, **values)


LAYOUTS = ("clips", "3diebench")
Frames = FrameCache | ImageShards | JoinedShards | three_die_bench.ViewSource  # what clips are read from in place of videos


def open_data(config: TrainConfig) -> tuple[Manifest, Frames | None]:
    """The manifest of a training config, and what its frames are read from; None for the videos themselves."""
    data = config.data
    if data.layout not in LAYOUTS:
        raise ValueError(f"data.layout is {data.layout!r}, expected one of {', '.join(LAYOUTS)}")
    if data.need_root and not data.root:
        raise ValueError("data.root is missing: give the folder (or manifest) of the data, for example data.root=DIR")
    if data.layout == "3diebench":
        return open_views(data)
    root = prepared(data.reader, data.root, cache_folder() / "prepared") if data.reader else data.root
    manifest = manifests.load(root or rendered(data.render))
    manifest.rows("train")  # a manifest without any is refused here, before anything is decoded
    told.check_truth(config, manifest)
    manifest = told.hold_out(manifest, data.held_out)
    return manifest, open_cache(manifest, data.size) if data.cache else None


def open_views(data: DataConfig) -> tuple[Manifest, Frames]:
    """The objects of a folder in 3DIEBench's layout, rendered when none is given, and their views: in shards if `data.cache`."""
    bench = data.bench
    root = Path(data.root) if data.root else rendered(data.render, "3diebench")
    if data.need_root and not three_die_bench.indexed(root):
        raise FileNotFoundError(f"{root / 'train_images.npy'}: missing, and this recipe is of the split that index files say; "
                                f"data.need_root=false takes every fifth object of a class as held out")  # fmt: skip
    own = three_die_bench.load(root, objects=bench.objects)
    manifest = three_die_bench.with_held_out_rotations(own, bench.ood) if bench.ood else own
    views = bench.views if data.root else data.render.clips_per_object
    options = dict(views=views, rotations=bench.rotations, size=data.size, swap_rb=bench.swap_rb)
    if not data.cache:
        return manifest, three_die_bench.ViewSource(manifest, **options)

    def shards(some: Manifest, ood: str | None) -> ImageShards:
        what = json.dumps([str(root.resolve()), bench.objects, ood and str(Path(ood).resolve()), views, bench.rotations])
        name = f"{root.name}-{data.size or 'full'}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
        return ImageShards.build(three_die_bench.ViewSource(some, **options), cache_folder() / "shards" / name)

    if not bench.ood:
        return manifest, shards(own, None)
    outside = manifest.take(np.flatnonzero(three_die_bench.held_out(manifest)))
    return manifest, JoinedShards(manifest, own, shards(own, None), shards(outside, bench.ood))


def open_cache(manifest: Manifest, size: int | None) -> FrameCache:
    """The decoded frames of a manifest, built when they are not there yet."""
    digest = hashlib.sha256(str(Path(manifest.file).resolve()).encode()).hexdigest()[:12]
    folder = cache_folder() / "frames" / f"{Path(manifest.root).name}-{size or 'full'}-{digest}"
    return FrameCache.build(manifest, folder, size=size)


def open_motion(config: TrainConfig, manifest: Manifest) -> EstimatedMotion | None:
    """The estimated motion of a config's clips: of those to train on, and where true poses are missing of all; None for known."""
    if config.motion.source == "known":
        return None
    kept = manifest.rows("train") if manifest.posed.all() else np.arange(len(manifest))
    return told.estimated(config, manifest, kept, cache_folder())


def windows(
    config: TrainConfig, manifest: Manifest, cache: Frames | None, run: Path | None, stride: int,
    motion: EstimatedMotion | None = None,
) -> WindowsDataset:  # fmt: skip
    """The training data set of a config, for an encoder of that stride; loader processes are sent none of the encoder."""
    data = config.data
    return WindowsDataset(
        manifest, "train", windows=data.windows, frames=data.frames, spacing=tuple(data.spacing), seed=config.seed,
        step_times=functools.partial(step_times, stride=stride), cache=cache, size=None if cache else data.size,
        clips_per_item=data.clips_per_item, motion=motion, noise=told.noise(config), shuffled=config.motion.shuffled,
        hues=config.conditioning.colour != "none",
        skipped=None if run is None else run / "skipped.csv", allowed_share=data.allowed_skips,
    )  # fmt: skip


def training_deltas(
    dataset: WindowsDataset, count: int = DELTAS, *, mirrored: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` pairs of poses (count, 4, 4), or (count, 4, 5) with hues, from two windows of one object.

    From one window where objects have one, or where nothing is known of the motion between two. The objects are drawn from all
    of the data; `mirrored` is the share of the pairs that are seen in a mirror (`Augment.mirrored`).

    Steps of one window are close to each other: with them the mean delta leans towards the identity, and what is centred on
    it tells large motions badly apart (measured: inversion 40 degrees off instead of 21). Where motion is trusted more or less, a
    pair is taken with the probability of its trust; fewer are then given where most of the motion is unknown.

    Raises:
        ValueError: No pair's motion is known.
    """
    generator, chance = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    order = itertools.cycle(torch.randperm(len(dataset), generator=torch.Generator().manual_seed(2)).tolist())
    sources, targets, found, drawn, inside = [], [], 0, 0, dataset.windows == 1
    while found < count and drawn < 32 * count:
        items = [(DRAWS + drawn, index) for index in itertools.islice(order, min(len(dataset), 256))]
        batch = dataset.motions(items)
        poses, kept = batch["poses"], len(sources)  # [B, V, S, 4, 4]
        objects = torch.arange(len(poses))
        first, second = torch.rand(2, len(poses), poses.shape[2], generator=generator).argsort(-1)[:, :, :2].unbind(0)
        to = [(0, first[:, -1])] if inside else [(window, second[:, 0]) for window in range(1, poses.shape[1])]
        for window, step in to:
            sources.append(poses[objects, 0, first[:, 0]])
            targets.append(poses[objects, window, step])
        drawn += sum(len(part) for part in sources[kept:])
        if "trust" in batch:
            size = poses.shape[2]
            for place, (window, step) in enumerate(to, kept):
                trust = batch["trust"][objects, first[:, 0], window * size + step]
                taken = torch.rand(len(objects), generator=chance) < trust
                sources[place], targets[place] = sources[place][taken], targets[place][taken]
        found = sum(len(part) for part in sources)
        inside |= not found and poses.shape[2] > 1
    if not found:
        raise ValueError(f"{dataset.manifest.file}: the motion between no two steps of a clip is known, so there is nothing to "
                         "learn from it: are the clips static?")  # fmt: skip
    source, target = torch.cat(sources)[:count].double(), torch.cat(targets)[:count].double()
    turned = torch.rand(len(source), 1, 1, generator=torch.Generator().manual_seed(3)) < mirrored
    return torch.where(turned, geometry.mirrored(source), source), torch.where(turned, geometry.mirrored(target), target)


def measured(run: Path, key: str) -> float | None:
    """One measure of a run's metrics.json, for a sweep to optimise; None where there is no such file, and a line says so
    where it does not hold the key, but of the measure that nobody asked for by name."""
    from vsie.components import nearest

    file = Path(run) / "metrics.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    if key not in found and key != TrainConfig.metric:
        print(f"metric={key} is not in {file}{nearest(key, found)}")
    return found.get(key)


def train(config: TrainConfig) -> Path:
    """Data, training, evaluation and report of one run; returns the run's folder.

    Raises:
        FileExistsError: `resume=never` and the folder holds a run.
        ValueError: The folder holds a run of another config (what differs is named), or the config does not fit the data.
    """
    run = run_folder(config)
    plain = to_plain(config)
    suite.check_protocols(config.protocol)  # now, not after the training
    suite.check_protocols([], config.compat)
    check_claim(run, plain, config.resume)
    if config.threads is not None and config.threads < 1:
        raise ValueError(f"threads is {config.threads}, expected at least 1, or null for all cores")
    if config.threads:
        torch.set_num_threads(config.threads)
    trainer = Trainer(**dataclasses.asdict(config.trainer))
    fabric = trainer.launch()
    fabric.print(f"run {run}\ndevice {trainer.reason}")
    fabric.seed_everything(config.seed, verbose=False)
    method = build_method(plain)
    encoder = method.encoder
    if config.data.frames > 1 and config.data.frames % encoder.stride:
        raise ValueError(f"data.frames is {config.data.frames}, expected 1 or a multiple of encoder.stride {encoder.stride}")
    method.check_views(config.data.windows, encoder.steps(config.data.frames))
    context(config, encoder.stride)  # refuses now what evaluation would refuse after training
    told.check(config, method)
    if method.conditioning.colour != "none" and (config.data.augment.hue or config.data.augment.gray_probability):
        raise ValueError(f"conditioning.colour={method.conditioning.colour} tells hues that data.augment.hue or gray_probability "
                         "would change, expected both 0 (data/augment=none)")  # fmt: skip
    if method.conditioning.colour != "none" and not method.uses_colour:
        raise ValueError(f"conditioning.colour={method.conditioning.colour} is told to a predictor, and "
                         f"method={config.method['name']} has none that takes it; expected none")  # fmt: skip
    if config.data.augment.mirror_probability and method.conditioning.encoding == "quaternion_raw":
        raise ValueError("data.augment.mirror_probability turns the hemisphere in which conditioning.encoding=quaternion_raw has "
                         "its signs; expected 0, or conditioning=centred")  # fmt: skip
    with fabric.rank_zero_first(local=True):
        manifest, cache = open_data(config)
        if reason := told.untold(manifest, method.frame):
            raise ValueError(reason)
        motion = open_motion(config, manifest)
    dataset = windows(config, manifest, cache, run, encoder.stride, motion)
    StepSampler(len(dataset), config.trainer.batch, end=1)  # refuses a batch larger than the data set
    if dataset.posed:
        method.fit(*training_deltas(dataset, mirrored=config.data.augment.mirror_probability))
    classes = len(manifest.classes) if (manifest.label[manifest.rows("train")] >= 0).any() else 0
    method.check_data(posed=dataset.posed, classes=classes)
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
    options = config.data.augment
    augment = Augment(**dataclasses.asdict(options)) if options != AugmentConfig() else None
    trainer.fit(
        method, dataset, run=run, config=plain, seed=config.seed, classes=classes, workers=config.data.workers,
        augment=augment, resume=config.resume == "auto",
    )  # fmt: skip
    with fabric.rank_zero_first():  # the others wait for as long as it takes, where a barrier gives up after half an hour
        if fabric.is_global_zero and config.protocol:
            evaluate(run, config=config, protocols=config.protocol, device=fabric.device)
            if config.compat:
                released = [name for name in config.protocol if name in suite.RELEASED]
                evaluate(run, config=config, protocols=released, device=fabric.device, compat=config.compat)
    return run


def run_folder(config: TrainConfig, varied: Sequence[str] = ()) -> Path:
    """Where a run goes: `out`, or `runs/<method>-<data>-<seed>`, and what a sweep varies (``predictor_mlp``) beside these."""
    if config.out:
        return Path(config.out)
    data = config.data
    source = Path(data.root).stem if data.root else f"{data.render.trajectory}{data.render.size}"
    more = [entry for entry in varied if not re.match(r"(method|seed|motion|motion\..*|data\.frames)=", entry)]
    tag = "".join("-" + re.sub(r"[^\w.-]+", "_", entry).strip("_") for entry in more)  # a word that can stand behind checkpoint=
    return Path("runs") / f"{config.method['name']}-{source}-T{data.frames}{told.tag(config)}-seed{config.seed}{tag}"


# What may differ between a run and the command that goes on with it: it changes how a run works, never what comes out.
FREE = ("out", "resume", "threads", "protocol", "compat", "metric", "trainer.checkpoint_seconds", "trainer.log_steps",
        "trainer.tensorboard", "trainer.devices", "trainer.nodes", "data.workers", "data.render.workers", "motion.cache",
        "motion.batch", "flow.workers", "data.pose_frame")  # fmt: skip


def check_claim(run: Path, plain: Mapping[str, Any], resume: str) -> None:
    """See that the run's folder is free, or that what is in it is this very run."""
    if resume not in ("auto", "never"):
        raise ValueError(f"resume is {resume!r}, expected auto or never")
    if checkpoint.locate(run, missing_ok=True):
        if resume == "never":
            raise FileExistsError(f"{run} holds a run already; give another out=, or resume=auto to go on with it")
        before, now = flatten(to_plain(from_plain(checkpoint.read_config(run)))), flatten(plain)
        different = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key) and key not in FREE]
        if different:
            key = different[0]
            raise ValueError(
                f"{run} holds a run of another config ({len(different)} options differ): {key} was {before.get(key)!r}, "
                f"now {now.get(key)!r}; give another out="
            )
    elif run.exists() and {file.name for file in run.iterdir()} - {"skipped.csv"} and not (run / "config.yaml").exists():
        raise FileExistsError(f"{run} exists and holds no vsie run; give another out=")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    flat = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def evaluate(
    run: Path, *, config: TrainConfig | None = None, protocols: Sequence[str] = suite.DEFAULT, out: Path | None = None,
    data: str | None = None, ood: str | None = None, seed: int = 0, device: torch.device | str = "cpu", compat: str | None = None,
    views: int | None = None, keep: bool | None = None,
) -> dict[str, float]:  # fmt: skip
    """Features once (cached in the run), then what each part knows: prints a table, writes metrics.json and the pictures.

    Erasers are kept with the run, those that were fitted on other data with the results.

    Args:
        run: A run's folder.
        config: Its config when at hand; else as it was kept.
        protocols: Which of `suite.PROTOCOLS` and `suite.measures`.
        out: Where results go; None for the run's folder.
        data: Another manifest to judge on (with splits train, for the probes, and val); None for the run's own.
        ood: For a run on the layout of 3DIEBench: held-out rotations that take the place of the val views; see `BenchConfig`.
        seed: Of probes and pairs.
        device: Where features are computed and the probes of single frames are trained.
        compat: ``sie``: the protocols as SIE released them.
        views: With `data` in 3DIEBench's layout: views that every object has to have; None for as many as the run's.
        keep: Keep what else metrics.json holds; None: with `compat`.

    Returns:
        The flat metrics.
    """
    from vsie.report import published, tables, write_report

    suite.check_protocols(protocols, compat)
    model = features.load(run, device=device)
    config = config or from_plain(model.config)
    out = out or run
    if data:
        config = judged_on(config, data, views)
    if ood:
        if config.data.layout != "3diebench":
            raise ValueError(f"ood={ood}: {run} was not trained on data in 3DIEBench's layout (data.layout={config.data.layout})")
        bench = dataclasses.replace(config.data.bench, ood=ood)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, bench=bench))
    manifest, cache = open_data(config)
    precision = "32-true" if compat else resolve_precision(config.trainer.precision, device)[0]  # as released
    protocols = askable(protocols, manifest, config.motion.source == "estimated")
    if not protocols:
        return {}
    splits = judged_splits(manifest, cache, config.data.size)
    window = context(config, model.encoder.stride)
    motion, lines, cut = open_motion(config, manifest), [], []
    true = bool(manifest.posed[np.concatenate([clips.rows for clips in splits.values()])].all())
    if motion is not None and not true:
        splits, lines = told.judged(splits, motion, window[1], model.encoder.stride)
        if not splits:
            print("\n".join(["no evaluation: too few clips have motion that can be relied on", *lines]))
            return {}
    else:
        splits, cut = of_one_length(splits, window[1], config.data.allowed_skips)
    untrained = probed = raw = None
    if compat and features.has_batch_norm(model.encoder):
        # The released probes learn with BatchNorm in train mode, and are judged by the statistics that it has by then; the
        # released retrieval is in eval mode.
        alone = feature_set(run, model.method, {"test": splits["test"]}, window, precision, "features")
        drawn = released.validation(alone[0], seed)
        (train_set,) = feature_set(run, model.method, {"train": splits["train"]}, window, precision, "among-others", True)
        moved = features.with_moved_statistics(model.method, splits["train"], precision=precision)
        (probed,) = feature_set(run, moved, {"test": splits["test"]}, window, precision, "drawn", drawn=(alone[0], drawn))
        del moved
        trained = (train_set, *alone)
    else:
        if "leakage" in protocols and features.Backbone.differs(model.encoder):
            backbone = features.Whole(features.Backbone(model.encoder)).eval()
            raw = feature_set(run, backbone, splits, window, precision, "raw-backbone")
        trained = feature_set(run, model.method, splits, window, precision, "features", seen=raw)
    if not compat:
        torch.manual_seed(config.seed)
        initial = features.untrained(model.config).to(device)
        untrained = feature_set(run, initial, splits, window, precision, "random-init")
        del initial
    method: Method = model.method.cpu()
    dataset = windows(config, manifest, cache, None, method.encoder.stride, motion)
    deltas = geometry.delta(*training_deltas(dataset), method.frame)[..., :4] if dataset.posed else None
    if dataset.told and method.steers:
        deltas = told.without_errors(deltas)
    live = Live(encoder=method.encoder, train=splits["train"], test=splits["test"], window=window, turns=small_turns(config))
    result = suite.evaluate(
        *trained, steering=method if method.steers else None, training_deltas=deltas, random_init=untrained, raw=raw, live=live,
        protocols=protocols, compat=compat, probed=probed, seed=seed, frame=method.frame, device=device,
        summary=method.summarise, remembered=None if untrained is None else Measured(run, *untrained),
    )  # fmt: skip
    result.notes += [*cut, *([reason] if (reason := told.untold(manifest, method.frame)) else [])]
    if compat and config.data.bench.ood:
        result.notes.append("signs of quaternions are those of the hemisphere of the training rotations: of held-out rotations "
                            "the released product of two quaternions has the other one in half of the pairs")  # fmt: skip
    if motion is not None:
        if not true:
            told.marked(result, lines)
        else:
            unit = f"; translations were told in another unit ({', '.join(motion.scales)})" if method.uses_translation else ""
            result.notes.append(f"trained on estimated motion, judged against true poses{unit}")
    for eraser in result.erasers.values():
        place = out if data or ood else run  # fitted on other data they are not the run's
        erasers.save_with(place, dataclasses.replace(eraser, encoder=weights_digest(model)))
    axis_of = torch.eye(4)[None] if deltas is None else deltas
    if method.direct_supervision:
        result.notes.append(tables.DIRECT)
    write_report(out, run, result, trained[1], splits["test"], manifest.classes, method, axis_of,
                 keep=compat is not None if keep is None else keep)  # fmt: skip
    if config.data.layout == "3diebench":
        published.write(
            out, name=str(config.method["name"]), manifest=manifest, supervision=published.supervision(method),
            size=config.data.size or (None if config.data.root else config.data.render.size),
            swap_rb=config.data.bench.swap_rb,
        )  # fmt: skip
    return result.metrics


def held_split(manifest: Manifest) -> str:
    """The split that is judged."""
    return "val" if manifest.holds("val") else "test"


def judged_splits(manifest: Manifest, cache: Frames | None, size: int | None) -> dict[str, ClipsDataset]:
    """The clips that probes are fitted on, ``train``, and those that are judged, ``test``, whole."""
    return {name: ClipsDataset(manifest, split, cache=cache, size=None if cache else size)
            for name, split in (("train", "train"), ("test", held_split(manifest)))}  # fmt: skip


def judged_on(config: TrainConfig, data: str, views: int | None = None) -> TrainConfig:
    """The config of a run with other data: a manifest, a folder in 3DIEBench's layout, or another of the run's own kind."""
    folder, change = Path(data), {"root": data}
    if not config.data.root:
        change["size"] = config.data.size or config.data.render.size  # what was rendered for the run had it of itself
    if three_die_bench.indexed(folder):
        bench = dataclasses.replace(config.data.bench, objects=None, ood=None, views=views or config.data.bench.views)
        change |= {"layout": "3diebench", "reader": {}, "bench": bench}
    elif views is not None:
        raise ValueError(f"views is {views}, which goes with a folder in 3DIEBench's layout; {folder} has no train_images.npy")
    elif folder.is_file() or (folder / "manifest.csv").is_file():
        change |= {"layout": "clips", "reader": {}}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **change))


def small_turns(config: TrainConfig):
    """What renders small turns of objects like those of a config's data, kept in the cache; None where vsie did not render it."""
    data = config.data
    if data.root:
        return None
    from vsie.render import families, turns

    options = {"trajectory": data.render.trajectory, "families": list(data.render.families or families.TURNTABLE_FAMILIES),
               "size": data.size or data.render.size, "seed": data.render.seed}  # fmt: skip
    return functools.partial(turns.cached, cache_folder() / "rendered", **options)


def askable(protocols: Sequence[str], manifest: Manifest, estimated: bool = False) -> list[str]:
    """Those of the protocols that the data, or motion `estimated` from it, can answer; a line says which it cannot and why."""
    if not manifest.holds(held_split(manifest)):
        print(f"no evaluation: {manifest.file} has no held-out clips (split val or test)")
        return []
    rows = np.concatenate([manifest.rows("train"), manifest.rows(held_split(manifest))])
    labelled, posed = bool((manifest.label[rows] >= 0).all()), bool(manifest.posed[rows].all())
    return answerable(protocols, manifest.file, labelled=labelled, posed=posed or estimated)


def answerable(protocols: Sequence[str], source: Path | str, *, labelled: bool, posed: bool) -> list[str]:
    """Those of the protocols that need neither labels nor poses that `source` does not have; a line says which do."""
    kept = list(protocols)
    if not labelled and "classification" in kept:
        print(f"no classification: {source} has clips without a label")
        kept.remove("classification")
    needing = [name for name in ("pose", "tracking", "rotation", "mrr", "pre", *suite.measures()) if name in kept]
    if not posed and needing:
        print(f"{', '.join(f'no {name}' for name in needing)}: {source} has clips without poses")
        kept = [name for name in kept if name not in needing]
    return kept


def context(config: TrainConfig, stride: int) -> tuple[int, int]:
    """How many frames of a clip the encoder sees together in evaluation, and the largest number of frames between two of them.

    An encoder that was trained on stills sees stills.

    Raises:
        ValueError: `data.context` is no multiple of the encoder's stride, or `data.spacing` is no pair.
    """
    data = config.data
    if len(data.spacing) != 2:
        raise ValueError(f"data.spacing is {data.spacing}, expected [least, largest]")
    frames = 1 if data.frames == 1 else data.context or data.frames
    if frames < 1 or (frames > 1 and frames % stride):
        raise ValueError(f"data.context is {frames}, expected 1 or a multiple of encoder.stride {stride}")
    return frames, data.spacing[1]
