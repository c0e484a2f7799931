"""The loop: same seed same bits, killed and resumed same bits, two processes same curve, bad losses kept."""

from __future__ import annotations

import copy
import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from vsie import pipeline
from vsie.config import compose
from vsie.objectives import EquivarianceContrast
from vsie.training import probes
from vsie.training.loop import Interrupted, Trainer, resolve_precision

TINY = [
    "encoder.widths=[8,16]", "encoder.depths=[1]", "encoder.dim=32", "method.projector_width=32", "data.frames=2",
    "data.windows=2", "data.spacing=[1,2]", "trainer.batch=8", "trainer.images=640", "trainer.log_steps=1",
    "trainer.precision=32-true", "trainer.checkpoint_seconds=0", "protocol=[]", "threads=1",
]  # fmt: skip


def overrides(clips, out, *more: str) -> list[str]:
    return [*TINY, f"data.root={clips}", f"out={out}", *more]


def train_process(tools, arguments: list[str], launcher: tuple[str, ...] = (), cwd=None, **environment: str) -> subprocess.Popen:
    command = [sys.executable, *launcher, str(tools / "train.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint" / "model.safetensors")


def log(run) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory, cache):
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    pipeline.train(compose("train", overrides(clips, run)))
    return run


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The user's cache directory, for this module."""
    before = os.environ.get("VSIE_DATA")
    os.environ["VSIE_DATA"] = str(tmp_path_factory.mktemp("cache"))
    yield os.environ["VSIE_DATA"]
    os.environ.pop("VSIE_DATA")
    if before is not None:
        os.environ["VSIE_DATA"] = before


def test_same_seed_same_bits_and_another_seed_others(whole, clips, tmp_path):
    pipeline.train(compose("train", overrides(clips, tmp_path / "again")))
    assert_same_bits(weights(whole), weights(tmp_path / "again"))
    pipeline.train(compose("train", overrides(clips, tmp_path / "other", "seed=1")))
    assert not torch.equal(weights(whole)["encoder.head.weight"], weights(tmp_path / "other")["encoder.head.weight"])


@pytest.mark.parametrize("moment", [3, 7])
def test_killed_at_any_moment_and_resumed_ends_with_the_same_bits(whole, clips, tools, tmp_path, moment):
    arguments = overrides(clips, tmp_path / "run")
    process = train_process(tools, arguments)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        file = tmp_path / "run" / "log.csv"
        if file.exists() and len(file.read_text().splitlines()) > moment:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(log(tmp_path / "run")) < len(log(whole)), "the kill came too late to test anything"
    pipeline.train(compose("train", arguments))
    assert_same_bits(weights(whole), weights(tmp_path / "run"))
    assert [row["loss"] for row in log(tmp_path / "run")] == [row["loss"] for row in log(whole)]
    assert [row["online/top1/all"] for row in log(tmp_path / "run")] == [row["online/top1/all"] for row in log(whole)]


@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")], ids=["alone", "sweep"])
def test_sigterm_saves_and_exits_cleanly(whole, clips, tools, tmp_path, sweep):
    """Of a sweep, too: the next run is not started."""
    run = tmp_path / "runs" / "0"
    arguments = overrides(clips, tmp_path / "runs" / "${seed}")
    process = train_process(tools, [*sweep, *arguments, "trainer.checkpoint_seconds=1000"], cwd=tmp_path)
    while process.poll() is None and not (run / "log.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "stopped by SIGTERM at step" in output and list(run.parent.iterdir()) == [run]
    pipeline.train(compose("train", arguments))
    assert_same_bits(weights(whole), weights(run))


def test_sigterm_to_the_whole_group_of_processes_saves_too(whole, clips, tools, tmp_path):
    """As `timeout` and job managers send it: loader processes must not die of it before the trainer has saved."""
    arguments = overrides(clips, tmp_path / "run")
    process = train_process(tools, [*arguments, "data.workers=2", "trainer.checkpoint_seconds=1000"])
    while process.poll() is None and not (tmp_path / "run" / "log.csv").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and "stopped by SIGTERM at step" in output, output
    pipeline.train(compose("train", arguments))
    assert_same_bits(weights(whole), weights(tmp_path / "run"))


@pytest.mark.parametrize("what", ["method=byol", "method=supervised", "method.after=1"])
def test_a_run_with_a_memory_of_its_own_resumes_to_the_same_bits(clips, tmp_path, what, monkeypatch):
    """A moving average; labels; colours that change as far as the step before was ready for it."""
    more = (what, "trainer.images=192")
    guessed = staticmethod(lambda error, views, trust=None: (error.detach() / 2).clamp(0, 1))  # so few steps teach nothing
    monkeypatch.setattr(EquivarianceContrast, "learned", guessed)
    pipeline.train(compose("train", overrides(clips, tmp_path / "whole", *more)))
    asked, steps = Trainer.any_rank, []

    def stop(self, flag):
        steps.append(None)
        return len(steps) == 3 or asked(self, flag)

    monkeypatch.setattr(Trainer, "any_rank", stop)
    with pytest.raises(Interrupted, match="at step 3 of 6"):
        pipeline.train(compose("train", overrides(clips, tmp_path / "run", *more)))
    pipeline.train(compose("train", overrides(clips, tmp_path / "run", *more)))
    assert len(steps) == 6
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    assert 0 < float(log(tmp_path / "run")[2]["ready"]) <= 1


def test_two_processes_give_the_loss_curve_of_one(clips, tools, tmp_path):
    """Same global batch, same colours; norms that do not see the batch, since the CPU's backend cannot synchronise them."""
    free = ["encoder.norm=group", "method.projector_norm=layer", "trainer.images=256"]
    free += ["data.augment.hue=0.5"]
    for method, more in (("vsie", ["data.augment.mirror_probability=0.5"]), ("sie", [])):
        pipeline.train(compose("train", overrides(clips, tmp_path / f"one-{method}", *free, *more, f"method={method}")))
        launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone")
        process = train_process(tools, overrides(clips, tmp_path / f"two-{method}", *free, *more, f"method={method}"), launcher)
        output = process.communicate(timeout=180)[0]
        assert process.returncode == 0, output
        one, two = log(tmp_path / f"one-{method}"), log(tmp_path / f"two-{method}")
        assert len(one) == len(two) > 5
        for first, second in zip(one, two, strict=True):
            for key in ("loss", *(key for key in first if key.startswith("term/"))):
                assert float(first[key]) == pytest.approx(float(second[key]), abs=1e-4, rel=1e-4), (method, first["step"], key)


def test_a_loss_that_is_not_finite_stops_with_the_steps_inputs_saved(clips, tmp_path):
    config = compose("train", overrides(clips, tmp_path / "run", "method.weights.leak=1e39", "trainer.learning_rate=1e30"))
    with pytest.raises(FloatingPointError, match="not finite at step") as error:
        pipeline.train(config)
    (kept,) = (tmp_path / "run").glob("nonfinite-step-*.pt")
    assert str(kept) in str(error.value)
    state = torch.load(kept, weights_only=True)
    assert state["batches"][0]["clips"].shape == (8, 2, 2, 32, 32, 3)
    assert state["batches"][0]["clips"].dtype == torch.uint8


def test_a_gradient_that_is_not_finite_is_no_step(clips, tmp_path, monkeypatch):
    """The loss may still be fine: weights that became NaN would be kept by the next save."""
    from vsie.methods.vicreg import VICReg

    terms = VICReg.terms
    monkeypatch.setattr(VICReg, "terms", lambda self, latents, poses: terms(self, latents, poses) | {
        "covariance": torch.special.xlogy(latents.mean() * 0, latents.mean() * 0)})  # fmt: skip
    with pytest.raises(FloatingPointError, match="the gradient is not finite at step 0"):
        pipeline.train(compose("train", overrides(clips, tmp_path / "run", "method=vicreg")))
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_processes_that_would_each_train_alone_are_refused(clips, tools, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone")
    process = train_process(tools, overrides(clips, tmp_path / "run", "trainer.devices=1"), launcher)
    output = process.communicate(timeout=180)[0]
    assert process.returncode != 0 and "2 processes were started, and 1 would share the training" in output, output
    assert not (tmp_path / "run").exists()


def test_a_term_that_counts_nothing_is_no_hindrance_to_several_processes(clips, tools, tmp_path):
    """Its head has no gradient, which processes that share gradients would wait for."""
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone")
    told = overrides(clips, tmp_path / "run", "method=augself", "method.weights.delta=0", "trainer.images=256")
    process = train_process(tools, told, launcher)
    output = process.communicate(timeout=180)[0]
    assert process.returncode == 0, output


def test_accumulation_sees_the_same_images(whole, clips, tmp_path):
    pipeline.train(compose("train", overrides(clips, tmp_path / "run", "trainer.accumulate=2")))
    assert [row["images"] for row in log(tmp_path / "run")] == [row["images"] for row in log(whole)]


def test_the_log_has_terms_probes_and_alarms(whole):
    row = log(whole)[-1]
    expected = {"loss", "term/leak", "ready", "images_per_second", "learning_rate", "online/top1/inv", "online/pose_deg/equi",
                "collapse/rankme/inv", "collapse/std/equi", "collapse/within_object_share/all"}  # fmt: skip
    assert expected <= row.keys()
    assert int(row["images"]) == 640


def test_learning_rate_warms_up_and_falls_to_zero():
    trainer = Trainer(images=1, batch=1, learning_rate=1.0, warmup=0.1)
    trainer.steps = 100
    rates = [trainer.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1 and rates[-1] < 1e-3


def test_resume_with_another_config_is_refused_by_name(whole, clips):
    with pytest.raises(ValueError, match="trainer.learning_rate was 0.003, now 0.1"):
        pipeline.train(compose("train", overrides(clips, whole, "trainer.learning_rate=0.1")))
    with pytest.raises(FileExistsError, match="holds a run already"):
        pipeline.train(compose("train", overrides(clips, whole, "resume=never")))


def test_what_was_stopped_by_videos_that_cannot_be_read_is_started_again(clips, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "skipped.csv").write_text("path,reason\n")  # all that such a start leaves
    pipeline.train(compose("train", overrides(clips, tmp_path / "run", "trainer.images=64")))
    assert (tmp_path / "run" / "log.csv").is_file()


def test_a_folder_of_something_else_is_left_alone(clips, tmp_path):
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(FileExistsError, match="holds no vsie run"):
        pipeline.train(compose("train", overrides(clips, tmp_path)))
    assert (tmp_path / "thesis.tex").read_text() == "all my work"


def test_precision_is_told_with_a_reason(monkeypatch):
    precision, reason = resolve_precision("auto", "cpu")
    assert precision in ("bf16-mixed", "32-true") and "CPU" in reason
    assert resolve_precision("32-true", "cpu") == ("32-true", "as asked for")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert resolve_precision("auto", "cuda") == ("bf16-mixed", "the GPU has bfloat16")
    assert resolve_precision("auto", "cpu") == (precision, reason)  # of the device that is used, not of one that is there


def test_what_a_method_draws_tells_nothing_of_the_colours(clips, tmp_path, monkeypatch):
    """With windows of one frame SIE's matching and the brightness of views were the same random numbers."""
    from vsie.data import augment
    from vsie.methods.sie import SIE

    brighter, drawn, own = [], [], SIE.draw_pairs

    def draws(rows, count, seed, share, draw=augment._draws):
        drawn.append(draw(rows, count, seed, share))
        return drawn[-1]

    def matched(self, latents):
        source, target = own(self, latents)
        brightness = drawn[-1][0].view(latents.shape[:2])
        brighter.append((brightness.gather(1, source) < brightness.gather(1, target)).float().mean().item())
        return source, target

    monkeypatch.setattr(augment, "_draws", draws)
    monkeypatch.setattr(SIE, "draw_pairs", matched)
    more = ["method=sie", "data/augment=colour", "data.windows=8", "data.frames=1", "trainer.images=640"]
    pipeline.train(compose("train", overrides(clips, tmp_path / "run", *more)))
    assert len(brighter) == 10 and sum(brighter) / 10 == pytest.approx(0.5, abs=0.15)


def test_objects_without_a_label_are_trained_on(tmp_path, clips):
    """The online probe learns from those that have one."""
    with clips.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row |= {"path": str(clips.parent / row["path"]), "poses": str(clips.parent / row["poses"])}
        row["label"] = "" if row["object"] == rows[0]["object"] else row["label"]
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    pipeline.train(compose("train", overrides(tmp_path / "manifest.csv", tmp_path / "run")))
    assert 0 <= float(log(tmp_path / "run")[-1]["online/top1/all"]) <= 1


def test_loader_processes_are_sent_no_network(clips):
    import pickle

    config = compose("train", overrides(clips, "unused"))
    manifest, frames = pipeline.open_data(config)
    dataset = pipeline.windows(config, manifest, frames, None, 1)
    modules = []

    class Watching(pickle.Pickler):
        def reducer_override(self, value):
            modules.extend([value] if isinstance(value, torch.nn.Module) else [])
            return NotImplemented

    Watching(open(os.devnull, "wb")).dump(dataset)
    assert not modules and torch.equal(dataset.step_times(torch.arange(4.0)), torch.arange(4.0))


def test_loader_processes_outlive_sigterm_and_not_the_training(clips):
    config = compose("train", overrides(clips, "unused"))
    manifest, frames = pipeline.open_data(config)
    trainer = Trainer(images=640, batch=8)
    trainer.launch()
    trainer.steps = 40
    stream = trainer.batches(pipeline.windows(config, manifest, frames, None, 1), 0, 0, 2)
    next(stream)
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    assert len(workers) == 2 and len([next(stream) for _ in range(20)]) == 20 and all(worker.is_alive() for worker in workers)
    os.kill(workers[0].pid, signal.SIGSTOP)  # one that hangs
    stream.close()
    assert [worker.join(10) or worker.exitcode for worker in workers] == [-signal.SIGKILL, 0]


def test_reconstructed_poses_are_watched_in_the_cameras_frame(clips, tmp_path, monkeypatch):
    with clips.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(row | {name: str(clips.parent / row[name]) for name in ("path", "poses")} for row in rows)
    (tmp_path / "prepared.json").write_text('{"anchored": false}')
    asked = []
    delta = probes.pose.delta
    monkeypatch.setattr(probes.pose, "delta", lambda *poses, frame="body": asked.append(poses[2]) or delta(*poses))
    step = probes.OnlineProbes.step
    monkeypatch.setattr(probes.OnlineProbes, "step", lambda *given: asked.clear() or step(*given) or seen.extend(asked))
    seen: list[str] = []
    pipeline.train(compose("train", overrides(tmp_path / "manifest.csv", tmp_path / "run", "conditioning.frame=camera")))
    assert set(seen) == {"camera"} and "online/pose_deg/equi" in log(tmp_path / "run")[-1]
    seen.clear()
    pipeline.train(compose("train", overrides(clips, tmp_path / "other", "conditioning.frame=camera")))
    assert set(seen) == {"body"}, "where a picture tells it, all runs are watched alike"


@pytest.mark.parametrize("option, message", [
    ("trainer.batch=7", "accumulate|batch 7 cannot be shared"), ("trainer.schedule=linear", "expected cosine or constant"),
    ("trainer.accumulate=8", "one object at a time"), ("data.augment.mirror_probability=0.5", "hemisphere"),
    ("conditioning.colour=difference", "has none that takes it"),
    ("trainer.precision=16", "expected one of auto, 32-true, bf16-mixed"), ("resume=maybe", "expected auto or never"),
])  # fmt: skip
def test_bad_options_are_named(clips, tmp_path, option, message):
    more = {"trainer.batch=7": ["trainer.accumulate=2"], "data.augment.mirror_probability=0.5": ["method=sie"],
            "conditioning.colour=difference": ["method=class_pose", "data/augment=none"]}.get(option, [])  # fmt: skip
    with pytest.raises(ValueError, match=message):
        pipeline.train(compose("train", overrides(clips, tmp_path / "run", option, *more)))


def test_adam_is_torchs_own_with_weight_decay_on_everything():
    """As the 3DIEBench papers train: betas .9 and .999, weight decay within the gradient, biases too."""
    torch.manual_seed(0)
    first = torch.nn.Linear(4, 3)
    second = copy.deepcopy(first)
    ours = Trainer(optimiser="adam", learning_rate=1e-2, weight_decay=0.1).build_optimiser(first)
    theirs = torch.optim.Adam(second.parameters(), lr=1e-2, betas=(0.9, 0.999), weight_decay=0.1)
    for _ in range(3):
        for module, optimiser in ((first, ours), (second, theirs)):
            optimiser.zero_grad()
            module(torch.ones(2, 4)).square().sum().backward()
            optimiser.step()
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    assert isinstance(Trainer().build_optimiser(first), torch.optim.AdamW)
    with pytest.raises(ValueError, match="trainer.optimiser is 'sgd', expected adamw or adam"):
        Trainer(optimiser="sgd")


def test_batch_norm_is_over_all_gpus_where_asked_for_and_a_line_says_where_it_cannot():
    from types import SimpleNamespace

    from vsie.config import to_plain
    from vsie.model import build_method

    kinds = []
    for device, wanted in (("cuda", True), ("cuda", False), ("cpu", True)):
        method = build_method(to_plain(compose("train", [*TINY[:4], "method=sie"])))
        before, printed = dict(method.named_parameters()), []
        trainer = Trainer(sync_batch_norm=wanted)
        trainer.fabric = SimpleNamespace(world_size=2, device=torch.device(device), print=printed.append)
        assert trainer.wrap(method) is method
        after = dict(method.named_parameters())
        assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
        norms = [module for module in method.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        assert len(norms) >= 4
        kinds.append({type(module).__name__ for module in norms})
        assert bool(printed) == (device == "cpu")
    assert kinds[0] == {"SyncBatchNorm"} and not any("SyncBatchNorm" in kind for kind in kinds[1:])
    assert compose("train", ["experiment=3diebench_sie", "data.root=x"]).trainer.sync_batch_norm
