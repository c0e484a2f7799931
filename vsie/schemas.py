"""Schemas of the tools' configs: what can be set, of which type, and what it is when nobody says.

Plain dataclasses; `vsie.config` checks every YAML and every override against them. The options of a method, encoder or predictor
are not here: they are the keyword-only arguments of its constructor, so a new component needs a file and a YAML and no schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    allowed_skips: float = 0.01
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
    mirror_probability: float = 0.0


@dataclass
class BenchConfig:
    """A folder in 3DIEBench's layout; see `vsie.data.three_die_bench`.

    Args:
        views: Views that every object has to have.
        rotations: ``released``: Euler angles within 90 degrees; ``ood``: first and third beyond them; ``any``.
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
    or a folder of videos. `pose_frame`: in which frame motion can be told, for `ConditioningConfig.frame`: ``camera`` where the
    objects' own frames lie as they happened to, as structure from motion leaves them.
    """

    layout: str = "clips"
    pose_frame: str = "body"
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

    encoding: str = "harmonics"
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
    learning_rate: float = 3e-3
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
    compat: str | None = None
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
    views: int | None = None
    ood: str | None = None
    device: str = "auto"
    seed: int = 0
    overwrite: bool = False


@dataclass
class ReportConfig:
    """`tools/report.py`. See `vsie.study.comparison.compare_runs`."""

    runs: list[str] = field(default_factory=list)
    out: str = "report"
    strips: bool = True


@dataclass
class GridConfig:
    """The runs of a study and what is asked of them; see `vsie.study`.

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
    """`tools/study.py`. See `vsie.study.runs.study`."""

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
    keep: str | None = None
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
    device: str = "auto"
    eraser: str | None = None
    allowed_skips: float = 0.01
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


# Of each tool, by its name in tools/ and of its YAML in configs/.
TOOLS: dict[str, type] = {
    "train": TrainConfig, "evaluate": EvaluateConfig, "extract": ExtractConfig, "report": ReportConfig, "study": StudyConfig,
    "render": RenderConfig, "prepare": PrepareConfig, "estimate_motion": EstimateMotionConfig, "verify": VerifyConfig,
    "benchmark": BenchmarkConfig,
}  # fmt: skip
