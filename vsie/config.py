"""Configs: dataclass schemas and the one bridge to Hydra. Nothing else under `vsie/` imports Hydra or OmegaConf.

Every tool's YAML in `configs/` is checked against a dataclass here; the options of a method, encoder or predictor are
checked against the keyword-only constructor of its class, so a new component needs a file and a YAML and no schema. A
misspelt override stops the run before anything starts and names the nearest key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ROOMS = {"method": "methods", "encoder": "encoders", "predictor": "predictors",
         "flow": "motion.flow", "egomotion": "motion.egomotion"}  # config group -> folder of vsie/  # fmt: skip


@dataclass
class RenderConfig:
    """`tools/render.py`. See `vsie.render.dataset.render_dataset`."""

    out: str | None = None
    objects: int | None = 1000
    layout: str = "clips"
    clips_per_object: int | None = None
    frames: int | None = None
    size: int = 128
    trajectory: str | None = None
    translated: bool = False
    seed: int = 0
    workers: int | None = None
    shard: str = "0/1"
    families: list[str] | None = None
    meshes: str | None = None
    auxiliary: list[str] = field(default_factory=list)
    supersample: int = 2
    fps: float = 8.0
    val_fraction: float = 0.2
    sheet: str | None = None
    overwrite: bool = False


@dataclass
class RenderedData:
    """What to render when `data.root` is not given."""

    objects: int = 1200
    clips_per_object: int = 4
    frames: int = 16
    size: int = 64
    trajectory: str = "turntable"
    seed: int = 0
    families: list[str] | None = None
    supersample: int = 2
    workers: int | None = None


@dataclass
class AugmentConfig:
    """On the device, the same for all frames of a window; see `vsie.data.augment.Augment`. All off by default."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gray_probability: float = 0.0
    crop: float = 1.0
    blur: float = 0.0
    noise: float = 0.0


@dataclass
class BenchConfig:
    """A folder in 3DIEBench's layout; see `vsie.data.three_die_bench`.

    Args:
        views: Views that every object has to have.
        rotations: ``released``: Euler angles within 90 degrees; ``ood``: beyond them; ``any``.
        swap_rb: Change red and blue.
        objects: Only about so many objects, for a quick look.
        ood: A folder with held-out rotations of the objects of the split val, which take the place of theirs.
    """

    views: int = 50
    rotations: str = "released"
    swap_rb: bool = False
    objects: int | None = None
    ood: str | None = None


@dataclass
class DataConfig:
    """Where clips come from and how windows are cut from them.

    `reader` holds the options of a component of `vsie/data/readers/`, its name under ``name``; empty where `root` is a manifest
    or a folder of videos.
    """

    layout: str = "clips"
    root: str | None = None
    reader: dict[str, Any] = field(default_factory=dict)
    need_root: bool = False
    size: int | None = None
    windows: int = 4
    frames: int = 2
    spacing: list[int] = field(default_factory=lambda: [1, 12])
    clips_per_item: int | None = None
    held_out: float = 0.0
    context: int | None = None
    cache: bool = True
    workers: int = 0
    allowed_skips: float = 0.01
    bench: BenchConfig = field(default_factory=BenchConfig)
    render: RenderedData = field(default_factory=RenderedData)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class MotionConfig:
    """What training is told of the motion between frames; see `vsie.told`.

    Args:
        source: ``known``: the poses of the manifest; ``estimated``: from the pictures, by `flow` and `egomotion`.
        noise_deg: Median error in degrees that deltas are given; see `vsie.data.pose_noise`.
        shuffled: Give the deltas of an object to the wrong pairs of its frames; see `vsie.data.windows`.
        weighted: Of estimated motion: pairs count as much as their deltas can be believed.
        cache: Of estimated motion: a folder of `tools/estimate_motion.py`; null: in the user's cache directory.
        size: As in `EstimateMotionConfig`.
        uses: As in `EstimateMotionConfig`.
        batch: As in `EstimateMotionConfig`.
    """

    source: str = "known"
    noise_deg: float = 0.0
    shuffled: bool = False
    weighted: bool = True
    cache: str | None = None
    size: int = 256
    uses: list[str] = field(default_factory=lambda: ["intrinsics"])
    batch: int = 16


@dataclass
class ConditioningConfig:
    """See `vsie.methods.conditioning.Conditioning`."""

    encoding: str = "matrix"
    frame: str = "body"
    translation: bool = False
    centred: bool = True
    colour: str = "none"


@dataclass
class TrainerConfig:
    """Options of `vsie.training.loop.Trainer`.

    Args:
        images: Budget: images seen in all, whatever their arrangement in windows.
        batch: Objects per step over all processes.
        accumulate: Micro-batches per step; statistics are then over each micro-batch.
        optimiser: ``adamw`` (betas .9 and .95, weight decay on matrices only, apart from the gradient), or ``adam`` (betas .9 and
            .999, weight decay on all and within the gradient: as the papers of the 3DIEBench line train).
        learning_rate: The optimiser's, after warm-up.
        schedule: ``cosine`` to zero, or ``constant``.
        warmup: Share of the steps with a linear warm-up.
        weight_decay: The optimiser's.
        precision: ``auto`` (by the hardware), ``32-true`` or ``bf16-mixed`` (the encoder in bfloat16).
        accelerator: Fabric's.
        devices: Fabric's.
        nodes: Fabric's num_nodes.
        compile: torch.compile the encoder.
        sync_batch_norm: With several GPUs, BatchNorm over the global batch (SyncBatchNorm), as on one. PyTorch has it for CUDA
            alone: several CPU processes keep statistics of their own, and a line says so.
        checkpoint_seconds: From one checkpoint to the next.
        log_steps: From one row of `log.csv` to the next.
        tensorboard: Write TensorBoard events beside `log.csv`.
    """

    images: int = 1_000_000
    batch: int = 64
    accumulate: int = 1
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 1e-4
    precision: str = "auto"
    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    compile: bool = False
    sync_batch_norm: bool = False
    checkpoint_seconds: float = 60.0
    log_steps: int = 10
    tensorboard: bool = False


@dataclass
class TrainConfig:
    """`tools/train.py`."""

    out: str | None = None
    seed: int = 0
    resume: str = "auto"
    threads: int | None = None
    protocol: list[str] = field(default_factory=lambda: ["classification", "pose", "tracking"])
    metric: str = "classification/top1/all"
    data: DataConfig = field(default_factory=DataConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    method: Any = None
    encoder: Any = None
    predictor: Any = None
    flow: Any = None
    egomotion: Any = None


@dataclass
class EvaluateConfig:
    """`tools/evaluate.py`."""

    checkpoint: str | None = None
    network: str | None = None
    features: str | None = None
    weights: str | None = None
    size: int | None = None
    frames: int | None = None
    protocol: Any = field(default_factory=lambda: ["classification", "pose", "tracking"])
    compat: str | None = None
    metric: str | None = None
    out: str | None = None
    manifest: str | None = None
    ood: str | None = None
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False


# Written as the first, kept as the second: an option called like a folder of configs/ would be taken for a choice from it.
ALIASES = {"evaluate": {"encoder": "network", "data": "manifest"}}


def _unaliased(name: str, overrides: list[str]) -> list[str]:
    """Overrides of a tool with its `ALIASES` replaced."""
    for written, kept in ALIASES.get(name, {}).items():
        overrides = [re.sub(rf"^(\+*){written}=", rf"\g<1>{kept}=", override) for override in overrides]
    return overrides


@dataclass
class ReportConfig:
    """`tools/report.py`. See `vsie.comparison.compare_runs`."""

    runs: list[str] = field(default_factory=list)
    out: str = "report"
    strips: bool = True


@dataclass
class GridConfig:
    """The runs of a study and what is asked of them; see `vsie.study` and `vsie.answer`.

    Args:
        title: Of the page.
        common: Overrides of `tools/train.py` for every row.
        rows: Name of a row to its own overrides.
        reference: The row that others are compared with.
        video: Rows on clips: does video help, against the reference?
        subject: The row whose invariant part is held against erasers; its own.
        motion: Two rows, known and estimated motion.
        images: Budget of a run; null as `tools/train.py` has it.
        protocol: What every run is asked.
    """

    title: str = ""
    common: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)
    reference: str | None = None
    video: list[str] = field(default_factory=list)
    subject: str | None = None
    motion: list[str] = field(default_factory=list)
    images: int | None = None
    protocol: list[str] = field(default_factory=list)


@dataclass
class StudyConfig:
    """`tools/study.py`. See `vsie.study.study`."""

    out: str = "study"
    rows: list[str] | None = None
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    images: int | None = None
    take: list[str] = field(default_factory=list)
    train: bool = True
    again: bool = False
    jobs: int = 2
    threads: int | None = None
    protocol: list[str] | None = None
    data: str | None = None
    overrides: list[str] = field(default_factory=list)
    grid: GridConfig = field(default_factory=GridConfig)


@dataclass
class ExtractConfig:
    """`tools/extract.py`. See `vsie.extraction.extract`."""

    checkpoint: str = "???"
    manifest: str = "???"
    out: str = "???"
    split: str | None = None
    frames: int | None = None
    spacing: int | None = None
    stride: int | None = None
    size: int | None = None
    batch: int = 16
    eraser: str | None = None
    overwrite: bool = False


@dataclass
class VerifyConfig:
    """`tools/verify.py`. See `vsie.data.checksums.verify`."""

    root: str = "???"
    list: str = "???"
    views: int = 50
    rotations: str = "released"
    workers: int | None = None


@dataclass
class EstimateMotionConfig:
    """`tools/estimate_motion.py`. See `vsie.motion.estimate.estimate_manifest`."""

    manifest: str = "???"
    out: str = "???"
    size: int = 256
    uses: list[str] = field(default_factory=lambda: ["intrinsics"])
    batch: int = 16
    shard: str = "0/1"
    allowed_skips: float = 0.01
    overwrite: bool = False
    flow: Any = None
    egomotion: Any = None


@dataclass
class PrepareConfig:
    """`tools/prepare.py`. See `vsie.data.prepare.prepare`."""

    out: str = "???"
    overwrite: bool = False
    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class BenchmarkConfig:
    """`tools/benchmark.py`."""

    what: str = "all"
    seconds: float = 4.0
    out: str | None = None


class _Lines(logging.Handler):
    """Records as lines on the terminal that leave progress bars whole."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _let_warnings_through() -> None:
    """Let the library's own records reach the terminal: Hydra silences the loggers that are there before each job."""
    library = logging.getLogger("vsie")
    library.setLevel(logging.INFO)
    if not library.handlers:
        library.addHandler(_Lines())
    for name, logger in logging.root.manager.loggerDict.items():
        if name.split(".")[0] == "vsie" and isinstance(logger, logging.Logger):
            logger.disabled = False


def hydra_main(name: str, schema: type) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Make `main(config)` a command: composed from `configs/<name>.yaml`, checked against `schema`.

    What is given to `main` is an instance of the schema (component groups as plain dicts). Errors that tell a user something
    (ValueError, OSError, the library's own RuntimeErrors) end the program with one line and status 2, a wrong override with
    the nearest key. VSIE_TRACEBACK=1 shows where they came from.
    """
    import hydra
    from omegaconf.errors import OmegaConfBaseException

    def decorate(main: Callable[[Any], Any]) -> Callable[[], None]:
        _register(name, schema)

        @functools.wraps(main)
        def task(config):
            _let_warnings_through()
            try:
                return main(_to_object(config))
            except (ValueError, FloatingPointError, RuntimeError, OSError) as error:
                if os.environ.get("VSIE_TRACEBACK") or type(error) is RuntimeError:
                    raise  # a fault of ours: the traceback is what helps
                _stop(str(error))

        def command() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's printer
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_help(name, sys.modules[main.__module__].__doc__ or ""))
                return
            sys.argv[1:] = _unaliased(name, sys.argv[1:])
            try:
                _check_keys(name)
                hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)(task)()
            except hydra.errors.HydraException as error:
                _stop(_explain(error, name))
            except OmegaConfBaseException as error:
                _stop(_explain(error, name))
            except KeyboardInterrupt:
                _stop("interrupted", 130)

        return command

    return decorate


def compose(name: str, overrides: list[str]) -> Any:
    """The config that `tools/<name>.py` would run with, for Python users and tests.

    Raises:
        ValueError: An override that does not fit; the nearest key is named.
    """
    import hydra

    schema = {"train": TrainConfig, "render": RenderConfig, "evaluate": EvaluateConfig, "extract": ExtractConfig,
              "benchmark": BenchmarkConfig, "verify": VerifyConfig, "report": ReportConfig, "study": StudyConfig,
              "estimate_motion": EstimateMotionConfig, "prepare": PrepareConfig}[name]  # fmt: skip
    _register(name, schema)
    overrides = _unaliased(name, overrides)
    with _fresh_hydra():
        try:
            return _to_object(hydra.compose(name, overrides))
        except hydra.errors.HydraException as error:
            raise ValueError(_explain(error, name, overrides)) from None


@contextlib.contextmanager
def _fresh_hydra() -> Iterator[None]:
    """Hydra ready to compose from `configs/`, also inside of a tool that Hydra started; what was there is put back."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def _to_object(config: Any) -> Any:
    """A composed config as an instance of its schema, component groups as plain dicts."""
    from omegaconf import OmegaConf

    made = OmegaConf.to_object(config)
    for group in ROOMS:
        if getattr(made, group, None) is not None:
            setattr(made, group, to_plain(getattr(made, group)))
    return made


def to_plain(config: Any) -> dict[str, Any]:
    """A config as dicts, lists and scalars, as it is written to `config.yaml`."""
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(config)


def _help(name: str, document: str) -> str:
    """What `--help` shows: the tool's own words, the groups it composes, where to find all options."""
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    groups = [group for group in re.findall(r"^  - (?:optional )?(\w+): ", text, re.MULTILINE) if (CONFIGS / group).is_dir()]
    lines = [f"  {group}: {', '.join(sorted(file.stem for file in (CONFIGS / group).glob('*.yaml')))}" for group in groups]
    shown = ["Groups (choose with group=option, change an option with group.option=value):", *lines, ""] if lines else []
    return "\n".join([document.strip(), "", *shown, f"All options and their values: python tools/{name}.py --cfg job"])


def _stop(message: str, status: int = 2) -> typing.NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def _register(name: str, schema: type) -> None:
    """Tell Hydra's config store the schemas: the tool's own, and one per component made from its constructor."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name=f"{name}_schema", node=schema)
    if groups := [group for group in ROOMS if group in schema.__dataclass_fields__]:
        from vsie import components

        for group, room in ((group, ROOMS[group]) for group in groups):
            for component in components.names(room):
                store.store(group=group, name=f"{component}_schema", node=_component_schema(room, component))


def _component_schema(room: str, name: str) -> type:
    """A dataclass with the options of a component: what its keyword-only constructor takes."""
    from vsie import components

    fields: list[Any] = [("name", str, name)]
    for key, (hint, default) in components.options(components.find(room, name)).items():
        kind = _storable(hint)
        if default is inspect.Parameter.empty:
            fields.append((key, kind, field(default_factory=dict) if typing.get_origin(kind) is dict else "???"))
        elif isinstance(default, tuple):
            fields.append((key, kind, field(default_factory=functools.partial(list, default))))
        else:
            fields.append((key, kind, default))
    return dataclasses.make_dataclass(f"{name}_{room}_options", fields)


def _storable(hint: Any) -> Any:
    """The type hint as OmegaConf can hold it: tuples are lists, mappings are dicts."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return list[arguments[0]]
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return dict[arguments[0], arguments[1]]
    if origin in (typing.Union, types.UnionType):
        return typing.Optional[_storable(next(a for a in arguments if a is not type(None)))]  # noqa: UP045
    return hint


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys of a composed config."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _known(name: str, overrides: list[str]) -> list[str]:
    """All keys that may be overridden, with the groups chosen on the command line where these exist."""
    import hydra
    from omegaconf import OmegaConf

    chosen = [o for o in overrides if re.fullmatch(r"\+?(method|encoder|predictor|flow|egomotion|motion|data|experiment)=\w+", o)]
    with _fresh_hydra():
        for attempt in (chosen, []):
            try:
                config = hydra.compose(name, attempt)
                return list(_keys(OmegaConf.to_container(config, resolve=False)))
            except hydra.errors.HydraException:
                continue
        return []


def _check_keys(name: str) -> None:
    """Refuse an override whose key is not there, before Hydra makes a folder for the run."""
    overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    known = None
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+~")
        if key.startswith("hydra") or "@" in key or "/" in key:
            continue
        known = known if known is not None else _known(name, overrides)
        groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
        if known and key not in known and key not in groups:
            _stop(f"there is no option {key!r}{_nearest(key, [*known, *groups])}; --help shows the groups, --cfg job all options")


def _nearest(key: str, known: list[str]) -> str:
    from vsie.components import nearest

    leaf = {k.rsplit(".", 1)[-1]: k for k in reversed(known)}
    direct = nearest(key, known)
    if direct:
        return direct
    short = nearest(key.rsplit(".", 1)[-1], leaf)
    return f" (did you mean {leaf[re.search(chr(39) + '(.*)' + chr(39), short).group(1)]!r}?)" if short else ""


def _explain(error: Exception, name: str, overrides: list[str] | None = None) -> str:
    """Hydra's words for a wrong config, and the nearest key."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    if cause is not None and str(cause).splitlines()[:1] and str(cause).splitlines()[0] not in text:
        text += f" ({str(cause).splitlines()[0]})"
    text = " ".join(line.strip() for line in text.splitlines() if line.strip() and "append to your config" not in line)
    match = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' not in", text)
    known = _known(name, overrides if overrides is not None else sys.argv[1:]) if match else []
    if match and match.group(1) not in known:
        text += _nearest(match.group(1), known)
    return text


def from_plain(config: Mapping[str, Any]) -> TrainConfig:
    """A training config from the plain dicts that `to_plain` gave.

    Options that did not exist yet when a config was kept have their defaults: that is how the run was made.
    """

    from vsie import components

    def fill(schema: type, values: Mapping[str, Any]) -> Any:
        found = {}
        for entry in dataclasses.fields(schema):
            if entry.name in values:
                inner = typing.get_type_hints(schema)[entry.name]
                found[entry.name] = fill(inner, values[entry.name]) if dataclasses.is_dataclass(inner) else values[entry.name]
        return schema(**found)

    made = fill(TrainConfig, config)
    for group, room in ROOMS.items():
        values = getattr(made, group, None)
        if values:
            known = components.options(components.find(room, values["name"])).items()
            defaults = {key: list(value) if isinstance(value, tuple) else value for key, (_, value) in known}
            defaults = {key: value for key, value in defaults.items() if value is not inspect.Parameter.empty}
            setattr(made, group, values | {key: value for key, value in defaults.items() if key not in values})
    return made
