"""Judge what vsie did not train: an encoder by its name, an exported program, or features made elsewhere.

Such an encoder has no split (its one part is ``all``) and no predictor: what needs either is left out with a line that says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch

from vsie import components, feature_cache, features_file, pipeline
from vsie import eraser as erasers
from vsie.components import nearest
from vsie.data import three_die_bench
from vsie.data.clips import of_one_length
from vsie.encoders.base import Encoder
from vsie.encoders.exported import Exported
from vsie.encoders.torchvision import STRIDES
from vsie.evaluation import ladder, suite
from vsie.evaluation.inputs import Live
from vsie.feature_set import Features
from vsie.features import Whole
from vsie.schemas import BenchConfig, DataConfig, TrainConfig

FORMS = "torchvision/NETWORK, pytorchvideo/NETWORK, or a file of torch.export (FILE.pt2)"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
RANDOM = "random"  # the word with which an untrained network is asked for
MOST_FRAMES = 16  # that a video network sees together, unless told


def build(name: str, weights: str | None = None) -> Encoder:
    """An encoder by its name.

    Args:
        name: ``torchvision/resnet18`` (any classification network, or a video network of `vsie.encoders.torchvision`),
            ``pytorchvideo/x3d_xs``, or a `.pt2`.
        weights: A name of torchvision's, a file of a state dict, or ``random`` for the untrained network; None: torchvision's
            best (pytorchvideo comes without, and an exported program has its own).

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: There is no such network, or no such weights; the message says what to do.
    """
    if name.endswith(".pt2"):
        if weights:
            raise ValueError(f"weights is {weights!r}, but {name} has its own")
        return Exported(file=name)
    room, _, network = name.partition("/")
    if room not in ("torchvision", "pytorchvideo") or not network:
        raise ValueError(f"encoder is {name!r}, expected {FORMS}{nearest(room, ('torchvision', 'pytorchvideo'))}")
    if room == "pytorchvideo":
        if weights is None:
            raise ValueError(f"weights is missing: {name} comes without; give weights=FILE (its state dict), or weights={RANDOM} "
                             "to judge the untrained network")  # fmt: skip
        return components.build("encoders", room, backbone=network, weights=None if weights == RANDOM else weights)
    options = {"backbone": network, "weights": None if weights == RANDOM else weights or "DEFAULT", "dim": None}
    try:
        if network in STRIDES:
            return components.build("encoders", room, **options)
        return components.build("encoders", "frame", **options, **IMAGENET)
    except ValueError as error:
        if weights == RANDOM or "could not be loaded" not in str(error):
            raise
        raise ValueError(f"{error}; or weights={RANDOM} to judge the untrained network") from None


def judge_encoder(
    name: str, *, out: Path, weights: str | None = None, protocols: Sequence[str] = suite.DEFAULT, data: str | None = None,
    size: int | None = None, frames: int | None = None, seed: int = 0, device: torch.device | str = "cpu",
    views: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """Features of a data set by an encoder (kept in `out`), then what they know: a table, metrics.json and the pictures.

    Args:
        name: See `build`.
        out: Folder of the results.
        weights: See `build`.
        protocols: Which of `suite.PROTOCOLS` and `suite.measures`.
        data: A manifest, a folder of videos or of 3DIEBench, with splits train and val (or test); None for vsie's rendered
            turntables.
        size: Side to which frames are resized; None for the data's own.
        frames: How many frames of a clip the encoder sees together; None: one for an image network, else all, at most 16.
        seed: Of probes, pairs, and of random weights.
        device: Where features are computed and the probes of single frames are trained.
        views: Of data in 3DIEBench's layout, that every object has to have; None for its 50.

    Returns:
        The flat metrics.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: What is asked for does not exist or does not fit; the message says what to do.
    """
    suite.check_protocols(protocols)
    torch.manual_seed(seed)
    encoder = build(name, weights).eval()
    config = data_config(data, size, views)
    manifest, cache = pipeline.open_data(config)
    protocols = pipeline.askable(protocols, manifest)
    if not protocols:
        return {}
    splits = pipeline.judged_splits(manifest, cache, size)
    splits, cut = of_one_length(splits, config.data.spacing[1], config.data.allowed_skips)
    window = together(encoder, frames, len(splits["test"][0]["frames"])), config.data.spacing[1]
    out = Path(out)
    method = Whole(encoder).to(device).eval()
    with fitting(name):  # in float32, which is what a stranger's encoder was made for
        found = feature_cache.feature_set(out, method, splits, window, "32-true", "features")
    untrained = None
    if weights != RANDOM and not isinstance(encoder, Exported):
        torch.manual_seed(seed)
        initial = Whole(build(name, RANDOM)).to(device).eval()
        untrained = feature_cache.feature_set(out, initial, splits, window, "32-true", "random-init")
    live = Live(encoder=method.cpu().encoder, train=splits["train"], test=splits["test"], window=window,
                turns=pipeline.small_turns(config))  # fmt: skip
    notes = [*cut, f"{name}: no split and no predictor; its one part is all, and what needs more is left out"]
    if weights == RANDOM:
        notes.append(f"{name}: weights are random (seed {seed}), nothing was learned")
    return _judged(found, out=out, untrained=untrained, live=live, protocols=protocols, classes=manifest.classes, method=method,
                   dataset=splits["test"], notes=notes, seed=seed, device=device)  # fmt: skip


def judge_features(
    file: Path | str, *, out: Path, protocols: Sequence[str] = suite.DEFAULT, seed: int = 0, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """What features made elsewhere know (`vsie.features_file` says which keys the file has).

    Args:
        file: The `.npz`.
        out: Folder of the results.
        protocols: As for `judge_encoder`; what the file has no labels or poses for is left out with a line.
        seed: Of probes, pairs, and of the objects held out where the file does not say which.
        device: Where the probes of single frames are trained.

    Returns:
        The flat metrics.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A key is missing or wrong; file and key are named.
    """
    suite.check_protocols(protocols)
    found = features_file.read(file, seed=seed)
    labelled = all((part.labels >= 0).all() for part in (found.train, found.test))
    protocols = pipeline.answerable(protocols, file, labelled=labelled, posed=found.posed)
    if not protocols:
        return {}
    notes = [*found.notes, f"{file}: no predictor; what needs one is left out"]
    method = SimpleNamespace(frame=frame_of(found.test), steers=False)
    return _judged((found.train, found.test), out=Path(out), untrained=None, live=None, protocols=protocols,
                   classes=found.classes, method=method, dataset=None, notes=notes, seed=seed, device=device)  # fmt: skip


def _judged(
    found: tuple[Features, Features], *, out: Path, untrained, live: Live | None, protocols: Sequence[str],
    classes: Sequence[str], method, dataset, notes: Sequence[str], seed: int, device: torch.device | str,
) -> dict[str, float]:  # fmt: skip
    """Evaluate, keep the erasers, report."""
    from vsie.report import write_report

    result = suite.evaluate(
        *found, random_init=untrained, remembered=None if untrained is None else feature_cache.Measured(out, *untrained),
        live=live, protocols=protocols, seed=seed, frame=frame_of(found[1]), device=device,
    )  # fmt: skip
    for eraser in result.erasers.values():
        erasers.save_with(out, eraser)
    result.notes[:0] = notes
    source, target = ladder.all_pairs(found[1], views=8)
    deltas = ladder.deltas(found[1], source, target, frame_of(found[1])) if len(source) else torch.eye(4)[None]
    write_report(out, out, result, found[1], dataset, classes, method, deltas)
    return result.metrics


def frame_of(features: Features) -> str:
    """The frame in which motion is asked: the object's own, the camera's where no picture tells that (`Features.anchored`)."""
    return "body" if features.anchored else "camera"


def data_config(data: str | None, size: int | None, views: int | None = None) -> TrainConfig:
    """The config that reads a data set; a folder with the index files of 3DIEBench is read as such."""
    if not data or not three_die_bench.indexed(data):
        if views is not None:
            raise ValueError(f"views is {views}, which goes with a folder in 3DIEBench's layout; data is {data or 'missing'}")
        return TrainConfig(data=DataConfig(root=data, size=size))
    bench = BenchConfig() if views is None else BenchConfig(views=views)
    return TrainConfig(data=DataConfig(root=data, size=size, layout="3diebench", bench=bench))


def together(encoder: Encoder, frames: int | None, length: int) -> int:
    """How many frames of clips of `length` frames an encoder sees together.

    Raises:
        ValueError: The encoder cannot see so many, or sees single images.
    """
    alone = getattr(encoder, "clips", None) is False or type(encoder).__name__ == "Frame"
    if alone:
        if frames not in (None, 1):
            raise ValueError(f"frames is {frames}, but the encoder sees single images; leave it out")
        return 1
    fixed = getattr(encoder, "frames", None)
    if frames is not None and fixed and frames % fixed:
        raise ValueError(f"frames is {frames}, but the encoder takes clips of {fixed}")
    most = min(length, MOST_FRAMES)
    frames = frames or fixed or max(1, most - most % encoder.stride)
    if frames > 1 and frames % encoder.stride:
        if length < encoder.stride:
            raise ValueError(f"the encoder takes steps of {encoder.stride} frames, the clips have {length}")
        raise ValueError(f"frames is {frames}, expected 1 or a multiple of the encoder's stride {encoder.stride}")
    return frames


@contextlib.contextmanager
def fitting(name: str):
    """What a network says of images that it cannot take, with what to do about it."""
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"encoder={name} could not encode the clips: {said}; try size=224, or another frames=") from error
