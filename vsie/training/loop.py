"""The training loop: about the size of one page, on Lightning Fabric.

Notable: the learning rate, the order of the data and the random draws are functions of the step alone, and everything else
that a step reads is in the checkpoint, so a run killed at any moment and resumed ends with the same bits as one that was
not. Checkpoints are written by the clock and change nothing in what follows.
"""

from __future__ import annotations

import contextlib
import csv
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import lightning_fabric as fabric_package
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from vsie import checkpoint, distributed
from vsie.data import StepSampler, WindowsDataset, collate
from vsie.feature_set import PARTS
from vsie.files import atomic_path
from vsie.methods.base import Method
from vsie.schemas import TrainerConfig
from vsie.training.probes import OnlineProbes, alarms

PRECISIONS = ("auto", "32-true", "bf16-mixed")


class Interrupted(Exception):
    """Training was asked to stop (SIGTERM) and has saved its state."""


@dataclass(kw_only=True)
class Trainer(TrainerConfig):
    """Trains a method on windows. The options are those of `vsie.config.TrainerConfig`."""

    def __post_init__(self) -> None:
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(f"trainer.schedule is {self.schedule!r}, expected cosine or constant")
        if self.optimiser not in ("adamw", "adam"):
            raise ValueError(f"trainer.optimiser is {self.optimiser!r}, expected adamw or adam")
        for name in ("images", "batch", "accumulate", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"trainer.{name} is {getattr(self, name)}, expected at least 1")

    def launch(self) -> fabric_package.Fabric:
        """Start Fabric on the best device there is; `self.reason` says which and why."""
        if self.precision not in PRECISIONS:
            raise ValueError(f"trainer.precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        devices = self.devices if not self.devices.lstrip("-").isdigit() else int(self.devices)
        if devices == "auto" and (self.accelerator == "cpu" or self.accelerator == "auto" and not torch.cuda.is_available()):
            devices = int(torch_world())  # one process, or those that torchrun started
        started = int(os.environ.get("WORLD_SIZE", 1))
        # Fabric's own mixed precision would round the inputs too, poses among them: the method casts its encoder alone.
        try:
            self.fabric = fabric_package.Fabric(
                accelerator=self.accelerator, devices=devices, num_nodes=self.nodes, precision="32-true"
            )
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"trainer.accelerator={self.accelerator} and trainer.devices={self.devices} cannot be had here: "
                             f"{error}") from None  # fmt: skip
        self.fabric.launch()
        if started > 1 and started != self.fabric.world_size:  # each would take itself for the only one, all in one folder
            raise ValueError(f"{started} processes were started, and {self.fabric.world_size} would share the training: "
                             f"accelerator={self.accelerator}, devices={self.devices}, nodes={self.nodes}, "
                             f"{torch.cuda.device_count()} GPU(s) here")  # fmt: skip
        precision, why = resolve_precision(self.precision, self.fabric.device)
        self.mixed = precision == "bf16-mixed"
        if self.batch % (self.fabric.world_size * self.accumulate):
            raise ValueError(f"trainer.batch {self.batch} cannot be shared by {self.fabric.world_size} processes x "
                             f"{self.accumulate} micro-batches")  # fmt: skip
        if self.batch // self.accumulate < 2:
            raise ValueError(f"trainer.batch {self.batch} in {self.accumulate} micro-batches is one object at a time, which has "
                             "no other to be told from; expected at least 2")  # fmt: skip
        self.reason = f"{self.fabric.device}, {self.fabric.world_size} process(es), {precision} ({why})"
        return self.fabric

    def fit(
        self, method: Method, dataset: WindowsDataset, *, run: Path, config: Mapping[str, Any], seed: int, classes: int = 0,
        workers: int = 0, augment=None, resume: bool = True,
    ) -> Method:  # fmt: skip
        """Train `method` on `dataset` and leave a checkpoint, `log.csv` (and `skipped.csv`) in `run`.

        Args:
            method: On any device.
            dataset: Gives windows of objects.
            run: The run's folder.
            config: The run's config, kept with the checkpoint.
            seed: Of data order and random draws.
            classes: For the online class probe; 0 = no labels.
            workers: Loader processes.
            augment: `vsie.data.augment.Augment`, or None.
            resume: Go on from the checkpoint in `run` when there is one.

        Raises:
            FloatingPointError: The loss or its gradient is not finite; the step's inputs were saved and the message says where.
            Interrupted: SIGTERM came and the state was saved.
        """
        fabric = self.fabric
        per_object = dataset.windows * dataset.frames
        self.steps = max(1, round(self.images / (self.batch * per_object)))
        fabric.to_device(method)
        method.mixed, method.one_clip = self.mixed, dataset.one_clip
        module = self.wrap(method)
        optimiser = self.build_optimiser(method)
        module, optimiser = fabric.setup(module, optimiser)
        parts = PARTS if method.splits else ("all",)
        told = method.frame if dataset.told else None
        frame = told or ("body" if dataset.manifest.anchored else "camera")
        probes = fabric.to_device(OnlineProbes(method.split, classes, dataset.posed, parts=parts, frame=frame, told=bool(told)))
        start, seconds, ready = 0, 0.0, 1.0
        if resume and checkpoint.locate(run, missing_ok=True):
            checkpoint.load_weights(run, method)
            state = checkpoint.load_state(run)
            optimiser.load_state_dict(state["optimiser"])
            probes.load_extra_state(state["probes"])
            start, seconds, ready = state["step"], state["seconds"], state.get("ready", 1.0)
            fabric.print(f"resumed at step {start} of {self.steps}")
        log = Log(run, start, self.tensorboard) if fabric.is_global_zero else None

        def save(step: int) -> None:
            if fabric.is_global_zero:
                spent = seconds + time.monotonic() - begun
                state = {"step": step, "seconds": spent, "ready": ready, "optimiser": optimiser.state_dict(),
                         "probes": probes.extra_state()}  # fmt: skip
                checkpoint.save(run, method, config, state)
            fabric.barrier()

        begun = saved = time.monotonic()
        module.train()
        bar = tqdm(total=self.steps, initial=start, desc="train", unit="step", mininterval=1, disable=not fabric.is_global_zero)
        with bar, terminations() as asked, contextlib.closing(self.batches(dataset, start, seed, workers)) as stream:
            for step, batches in zip(range(start, self.steps), stream, strict=False):
                torch.manual_seed(_mix(seed, step))
                method.progress, rate = step / self.steps, self.rate(step)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                optimiser.zero_grad(set_to_none=True)
                loss, terms = 0.0, {}
                for number, batch in enumerate(batches):  # colours of another seed than the method's own draws
                    clips, poses, labels = self.ready(batch, augment, _mix(~seed, step) + number, ready)
                    trust = fabric.to_device(batch["trust"]) if "trust" in batch else None
                    with fabric.no_backward_sync(module, enabled=number + 1 < self.accumulate):
                        weights = {"trust": trust} if method.weighs and trust is not None else {}
                        outputs = module(clips, poses, *([labels] if method.needs_labels else []), **weights)
                        fabric.backward(outputs.loss / self.accumulate)
                    loss = loss + distributed.mean(outputs.loss) / self.accumulate
                    for name, term in outputs.terms.items():
                        terms[name] = terms.get(name, 0.0) + distributed.mean(term) / self.accumulate
                gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
                if not torch.isfinite(loss + torch.nn.utils.get_total_norm(gradients)):
                    what = "gradient" if torch.isfinite(loss) else "loss"
                    raise FloatingPointError(self.keep_inputs(run, step, batches, terms, what))
                ready = float(outputs.ready)
                optimiser.step()
                method.after_step(step + 1, self.steps)
                flat = None if poses is None else poses.flatten(1, 2)
                probes.step(outputs.latents, labels if classes else None, flat, trust)
                bar.update()
                done = step + 1
                if log and (done % self.log_steps == 0 or done == self.steps):
                    now = time.monotonic()
                    speed = (done - start) * self.batch * per_object / (now - begun)
                    row = {"step": done, "images": done * self.batch * per_object, "loss": loss.item()}
                    row |= {f"term/{name}": value.item() for name, value in terms.items()} | {"learning_rate": rate}
                    row |= {"ready": ready, "images_per_second": speed, "seconds": seconds + now - begun}
                    row |= probes.scores | alarms(method.split, outputs.latents, parts)
                    log.write(row)
                    shown = {name: f"{value.item():.3f}" for name, value in terms.items() if method.weights.get(name)}
                    bar.set_postfix({"loss": f"{loss.item():.3f}", **shown, "img/s": f"{speed:.0f}"}, refresh=False)
                stop = self.any_rank(asked)
                if stop or done == self.steps or self.first_rank(time.monotonic() - saved > self.checkpoint_seconds):
                    save(done)
                    saved = time.monotonic()
                if stop and done < self.steps:
                    raise Interrupted(f"stopped by SIGTERM at step {done} of {self.steps}; run the same command to go on")
        if start >= self.steps and not checkpoint.locate(run, missing_ok=True):
            save(self.steps)
        return method

    def build_optimiser(self, method: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimiser that was asked for, over the parameters that learn."""
        if self.optimiser == "adam":
            learning = [p for p in method.parameters() if p.requires_grad]
            return torch.optim.Adam(learning, lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.AdamW(
            parameter_groups(method, self.weight_decay), lr=self.learning_rate, betas=(0.9, 0.95), fused=True
        )  # fmt: skip

    def wrap(self, method: Method) -> torch.nn.Module:
        """The method with BatchNorm over all processes, and its encoder compiled, when asked for."""
        if self.sync_batch_norm and self.fabric.world_size > 1:
            if self.fabric.device.type == "cuda":
                torch.nn.SyncBatchNorm.convert_sync_batchnorm(method)  # in place, with the same parameters
            else:
                self.fabric.print("BatchNorm: each process has its own statistics, SyncBatchNorm needs GPUs")
        if self.compile:
            method.encoder.compile()
        return method

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def batches(self, dataset: WindowsDataset, start: int, seed: int, workers: int) -> Iterator[list[dict[str, Any]]]:
        """Per step, from step `start` on, this process's micro-batches."""
        order = StepSampler(
            len(dataset), self.batch // self.accumulate, seed=seed, start=start * self.accumulate,
            end=self.steps * self.accumulate, rank=self.fabric.global_rank, world=self.fabric.world_size,
        )  # fmt: skip
        loader = DataLoader(
            dataset, batch_sampler=order, num_workers=workers, collate_fn=collate,
            multiprocessing_context="spawn" if workers else None, pin_memory=self.fabric.device.type == "cuda",
            worker_init_fn=outlive_terminations,
        )  # fmt: skip
        others = set(multiprocessing.active_children())
        with held_terminations() if workers else contextlib.nullcontext():
            stream = iter(loader)
        try:
            while group := [batch for _, batch in zip(range(self.accumulate), stream, strict=False)]:
                yield group
        finally:
            del stream  # asks its processes to end, and SIGTERM would not end one that hangs
            for process in set(multiprocessing.active_children()) - others:
                process.kill()

    def ready(self, batch: dict[str, Any], augment, seed: int, ready: float) -> tuple[Tensor, Tensor | None, Tensor]:
        """A collated batch on the device: clips (B, V, 3, T, H, W) float in [0, 1], poses (B, V, S, 4, 4), labels (B,).

        Colours are changed as far as the method is `ready`.
        """
        clips = self.fabric.to_device(batch["clips"]).permute(0, 1, 5, 2, 3, 4).float().div_(255)
        poses = self.fabric.to_device(batch["poses"]) if "poses" in batch else None
        if augment is not None:
            share = (self.fabric.global_rank, self.fabric.world_size)
            clips, poses = augment.mirrored(clips, poses, seed, share)
            clips = augment(clips.flatten(0, 1), seed, share, strength=ready).unflatten(0, clips.shape[:2])
        return clips, poses, self.fabric.to_device(batch["label"])

    def any_rank(self, flag: threading.Event) -> bool:
        """Whether the flag is set in any process: all must stop at the same step."""
        value = torch.tensor(float(flag.is_set()), device=self.fabric.device)
        return bool(distributed.mean(value) > 0)

    def first_rank(self, decision: bool) -> bool:
        """The first process's decision, in all processes."""
        return bool(self.fabric.broadcast(decision)) if self.fabric.world_size > 1 else decision

    def keep_inputs(self, run: Path, step: int, batches: list[dict[str, Any]], terms: dict[str, Tensor], what: str) -> str:
        """Save what a step that went wrong was given; returns the message."""
        file = run / f"nonfinite-step-{step:06d}-rank-{self.fabric.global_rank}.pt"
        kept = [{k: v for k, v in batch.items() if isinstance(v, Tensor)} for batch in batches]
        with atomic_path(file) as temporary:
            torch.save({"step": step, "batches": kept, "terms": dict(terms)}, temporary)
        bad = ", ".join(f"{name} = {value.item():g}" for name, value in terms.items())
        return f"the {what} is not finite at step {step} ({bad}); the step's inputs are in {file}, the last good state in {run}"


class Log:
    """`log.csv`: one row per logged step; a resumed run drops the rows after its checkpoint and goes on."""

    def __init__(self, run: Path, start: int, tensorboard: bool) -> None:
        self.file = run / "log.csv"
        self.columns: list[str] = []
        if start and self.file.exists():
            with self.file.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in csv.DictReader(stream) if (row.get("step") or "").isdigit() and int(row["step"]) <= start]
            with atomic_path(self.file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
                self.columns = list(rows[0]) if rows else []
                writer = csv.DictWriter(stream, self.columns)
                if rows:  # else the header comes with the first row
                    writer.writeheader()
                writer.writerows(rows)
        elif self.file.exists():
            self.file.unlink()
        self.events = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ValueError("trainer.tensorboard needs TensorBoard: pip install -e '.[dev]'") from None
            self.events = SummaryWriter(run / "tensorboard", purge_step=start)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row, whole, to the file."""
        fresh = not self.columns
        self.columns = self.columns or list(row)
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self.columns, extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
        for key, value in row.items():
            if self.events is not None and key != "step":
                self.events.add_scalar(key, value, row["step"])


@contextlib.contextmanager
def terminations() -> Iterator[threading.Event]:
    """An event that is set when SIGTERM comes; the handler before is put back at the end."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def held_terminations() -> Iterator[None]:
    """SIGTERM waits until the end of the block. Processes that are started in it never get one: a loader process that is still
    importing has not said yet that it outlives them (`outlive_terminations`)."""
    resource_tracker.ensure_running()  # its start lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_terminations(worker: int) -> None:
    """Of a loader process: SIGTERM, which may go to the whole group of processes, is the trainer's, that saves and ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def parameter_groups(module: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and filters, none on biases and scales."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.dim() > 1]
    plain = [p for p in module.parameters() if p.requires_grad and p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def resolve_precision(asked: str, device: torch.device | str) -> tuple[str, str]:
    """The precision of an encoder on a device, ``32-true`` or ``bf16-mixed``, and the reason; of ``auto`` the fastest."""
    if asked != "auto":
        return asked, "as asked for"
    if torch.device(device).type == "cuda":
        if torch.cuda.is_bf16_supported():
            return "bf16-mixed", "the GPU has bfloat16"
        return "32-true", "the GPU has no bfloat16"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    for flag in ("avx512_bf16", "amx_bf16"):
        if flag in flags:
            return "bf16-mixed", f"the CPU has {flag}"
    return "32-true", "the CPU has no bfloat16 instructions"


def torch_world() -> str:
    """How many processes torchrun started on this machine (1 where it did not)."""
    import os

    return os.environ.get("LOCAL_WORLD_SIZE", "1")


def _mix(seed: int, number: int) -> int:
    """A seed for `number` under `seed`; far apart for neighbours."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % (2**63)
