"""The real configs compose, schemas come from constructors, and a misspelt override names its nearest key."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from vsie import components
from vsie.config import CONFIGS, compose, from_plain, to_plain
from vsie.model import build_method
from vsie.schemas import AugmentConfig

COLOUR = {"hue": 0.5, "saturation": 0.4, "brightness": 0.2, "contrast": 0.2}


def run(tools, tool: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(tools / f"{tool}.py"), *arguments], capture_output=True, text=True, **options)


def test_every_experiment_and_data_config_composes():
    for group in ("experiment", "data"):
        for file in (CONFIGS / group).glob("*.yaml"):
            assert compose("train", [f"{group}={file.stem}"]).trainer.images > 0


@pytest.mark.parametrize("choice", ["data=videos", *(f"experiment=3diebench_{name}" for name in ("sie", "128", "vsie"))])
def test_what_needs_data_never_renders_in_their_place(choice):
    from vsie.pipeline import open_data

    with pytest.raises(ValueError, match="data.root is missing"):
        open_data(compose("train", [choice]))


@pytest.mark.parametrize("name, views, images_a_step, epochs, objects_a_step", [
    ("3diebench_sie", 2, 2048, 2000, 1024), ("3diebench_128", 2, 2048, 1000, 1024), ("3diebench_vsie", 8, 2048, None, 256),
])  # fmt: skip
def test_the_recipes_on_3diebench_are_those_published(name, views, images_a_step, epochs, objects_a_step):
    """Budget, batch, optimiser and network of SIE; ours has as many images a step and in all as the recipe at 128 px."""
    config = compose("train", [f"experiment={name}", "data.root=DIR"])
    data, trainer = config.data, config.trainer
    assert data.layout == "3diebench" and (data.windows, data.frames) == (views, 1) and trainer.batch == objects_a_step
    assert trainer.batch * data.windows == images_a_step
    steps = trainer.images / images_a_step
    assert steps == (epochs or 1000) * (41_920 // 1024)
    assert data.size == (None if name == "3diebench_sie" else 128)
    assert config.compat == "sie" and config.protocol == ["classification", "rotation", "colour", "mrr", "pre"]
    method = build_method(to_plain(config))
    assert (method.split.invariant, method.split.equivariant) == (256, 256)
    assert method.invariant_projector(torch.zeros(2, 256)).shape[-1] == 1024
    torch.testing.assert_close(method.encoder.mean.flatten(), torch.tensor([0.5016, 0.5037, 0.5060]))
    torch.testing.assert_close(method.encoder.std.flatten(), torch.tensor([0.1030, 0.0999, 0.0969]))
    assert data.augment == AugmentConfig(**(COLOUR if name == "3diebench_vsie" else {}))
    if epochs:
        assert (trainer.optimiser, trainer.learning_rate, trainer.schedule, trainer.warmup, trainer.weight_decay) == (
            "adam", 1e-3, "constant", 0.0, 1e-6
        )  # fmt: skip
        names = ("invariance", "equivariance", "variance", "predicted_variance", "covariance")
        assert [method.weights[name] for name in names] == [10, 4.5, 10, 10, 1]
        assert (config.conditioning.encoding, config.conditioning.centred) == ("quaternion_raw", False)


@pytest.mark.parametrize("overrides, encoding, centred", [
    ([], "harmonics", True), (["method=sen"], "harmonics", True), (["method=sie"], "quaternion_raw", False),
    (["method=sie", "conditioning=centred"], "harmonics", True), (["predictor=lie"], "matrix", False),
    (["experiment=motion_study"], "harmonics", True), (["conditioning.encoding=matrix"], "matrix", True),
])  # fmt: skip
def test_what_is_told_of_a_motion(overrides, encoding, centred):
    config = compose("train", overrides)
    assert (config.conditioning.encoding, config.conditioning.centred) == (encoding, centred)
    build_method(to_plain(config))


def test_a_method_may_bring_its_own_learning_rate():
    def rate(*overrides):
        return compose("train", list(overrides)).trainer.learning_rate

    assert rate() == rate("method=byol") == 3e-3 and rate("method=seq_jepa") == 1e-3
    assert rate("method=seq_jepa", "trainer.learning_rate=5e-4") == 5e-4
    assert rate("experiment=3diebench_128", "method=seq_jepa") == rate("experiment=3diebench_128") == 1e-3


def test_colours_are_changed_for_vsie_alone_unless_it_is_said():
    """A method brings its own augmentation; what the data has of its own stays below it."""

    def augment(*overrides):
        return compose("train", list(overrides)).data.augment

    assert augment() == augment("experiment=stills") == augment("experiment=motion_study") == AugmentConfig(**COLOUR)
    assert augment("method=sie", "data/augment=colour") == AugmentConfig(**COLOUR)
    assert augment("method=sie") == augment("data/augment=none") == AugmentConfig()
    assert augment("data.augment.hue=0") == AugmentConfig(**COLOUR | {"hue": 0.0})
    own = augment("data=videos", "method=sie")
    assert own.gray_probability == 0.1 and augment("data=videos") == dataclasses.replace(own, **COLOUR)


def test_another_method_can_be_run_with_the_same_recipe():
    config = compose("train", ["experiment=3diebench_128", "data.root=DIR", "method=vicreg"])
    assert config.method["name"] == "vicreg" and config.trainer.optimiser == "adam" and config.data.size == 128


def test_options_that_came_after_a_run_have_the_defaults_with_which_it_was_made():
    config = compose("train", ["method=sie"])
    plain = to_plain(config)
    del plain["data"]["bench"], plain["data"]["layout"], plain["trainer"]["optimiser"], plain["encoder"]["mean"]
    assert from_plain(plain) == config


def test_every_component_has_a_yaml_and_builds():
    for group, room in (("method", "methods"), ("encoder", "encoders"), ("predictor", "predictors")):
        assert sorted(file.stem for file in (CONFIGS / group).glob("*.yaml")) == components.names(room)
    choices = [f"method={name}" for name in components.names("methods")]
    choices += [f"encoder={name}" for name in components.names("encoders")]
    choices += [f"predictor={name}" for name in components.names("predictors")]
    for choice in choices:
        assert build_method(to_plain(compose("train", [choice]))).encoder.dim > 0


def test_a_run_config_survives_its_yaml():
    config = compose("train", ["method=sie", "encoder.dim=64", "data.render.families=[car,mug]"])
    again = from_plain(to_plain(config))
    assert again == config


@pytest.mark.parametrize("tool, override, told", [
    ("train", "method=sei", "method=sei: there is no such method; there are augself, "),
    ("train", "data=turntabel", "data=turntabel: there is no such data; there are 3diebench, "),
    ("train", "threads=-1", "threads is -1, expected at least 1"),
    ("train", "trainer.devices=foo", "trainer.accelerator=auto and trainer.devices=foo cannot be had here"),
    ("prepare", "data=images", "out is missing"), ("extract", "checkpoint=x", "manifest is missing"),
    ("evaluate", "checkpoint=x device=cuda:99", "device is 'cuda:99', which is not here"),
])  # fmt: skip
def test_wrong_choices_are_one_line(tools, tmp_path, tool, override, told):
    result = run(tools, tool, *override.split(), cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr and "_schema" not in result.stderr
    assert told in result.stderr and ("there is no such" not in told or "did you mean" in result.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("override, nearest", [
    ("trainer.learning_rat=1", "trainer.learning_rate"), ("method.wieghts.leak=1", "method.weights.leak"),
    ("encoder.mixng=2", "encoder.mixing"), ("data.framse=4", "data.frames"), ("sed=1", "seed"),
])  # fmt: skip
def test_misspelt_override_stops_at_once_and_names_the_nearest_key(tools, tmp_path, override, nearest):
    result = run(tools, "train", override, cwd=tmp_path)
    assert result.returncode == 2
    assert f"did you mean '{nearest}'" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was started


@pytest.mark.parametrize("override, told", [
    ("trainer.batch=many", "many"), ("method=vsi", "vsie"), ("data.windows=[1]", "windows"),
])  # fmt: skip
def test_wrong_values_are_told(tools, tmp_path, override, told):
    result = run(tools, "train", override, cwd=tmp_path)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_group_that_is_null_is_as_it_is_where_nothing_is_said(tools, tmp_path):
    assert compose("train", ["data/augment=null", "experiment=null"]) == compose("train", [])
    result = run(tools, "train", "data/augment=null", "--cfg", "job", cwd=tmp_path)
    assert result.returncode == 0 and "hue: 0.5" in result.stdout, result.stderr
    assert compose("train", ["data/augment=none"]).data.augment == AugmentConfig()


def test_report_takes_folders_and_options(tools, tmp_path):
    result = run(tools, "report", "runs/a", "runs/b", "--cfg", "job", "out=there", cwd=tmp_path)
    assert result.returncode == 0 and "- runs/b" in result.stdout and "out: there" in result.stdout, result.stderr
    (tmp_path / "runs" / "a=b").mkdir(parents=True)  # a folder, whatever its name
    result = run(tools, "report", "runs=[runs/c,'runs/d']", "runs/a=b", "runs/e=f", "--cfg", "job", cwd=tmp_path)
    assert result.returncode == 2 and "runs/e" in result.stderr
    result = run(tools, "report", "runs=[runs/c,'runs/d,e']", "runs/a=b", "--cfg", "job", cwd=tmp_path)
    assert "runs:\n- runs/c\n- runs/d,e\n- runs/a=b\n" in result.stdout, result.stderr


def test_compose_names_the_nearest_key_too():
    with pytest.raises(ValueError, match="did you mean 'trainer.batch'"):
        compose("train", ["trainer.bacth=2"])


def test_help_shows_groups_and_five_commands(tools, tmp_path):
    result = run(tools, "train", "--help", cwd=tmp_path)
    assert result.returncode == 0
    for word in ("method: augself, byol, class_pose", "encoder:", "experiment: ", "data:", "predictor: film, hypernetwork"):
        assert word in result.stdout
    assert result.stdout.count("  python tools/train.py") >= 5
    assert list(tmp_path.iterdir()) == []


def test_every_tool_opens_with_commands_and_stays_small(tools):
    for file in tools.glob("*.py"):
        lines = file.read_text().splitlines()
        assert len(lines) <= 80, file
        assert sum(f"python tools/{file.name}" in line for line in lines[:8]) >= 3, file


def test_a_sweep_runs_every_combination(tools, tmp_path):
    """-m over methods and seeds, at a size that takes seconds."""
    tiny = ["experiment=debug", "data.render.objects=24", "data.render.size=32", "data.render.frames=6", "data.spacing=[1,2]",
            "trainer.images=256", "trainer.batch=8", "protocol=[]", "data.windows=2"]  # fmt: skip
    environment = os.environ | {"VSIE_DATA": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    result = run(tools, "train", "-m", "method=vsie,vicreg", "seed=0,1", *tiny, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(list((tmp_path / "runs").glob("*/checkpoint/model.safetensors"))) == 4
    result = run(tools, "train", "-m", "method=sie", "predictor=identity,film", "data.frames=1,2", "data.windows=1", *tiny[:-1],
                 cwd=tmp_path / "runs", env=environment)  # fmt: skip
    assert result.returncode == 2, "SIE takes pairs: one window of one frame is refused, and the other two runs are not"
    assert result.stderr.count("sie needs at least 2 views") == 2 and "2 of the sweep's runs failed: predictor=identity, " in (
        result.stderr.splitlines()[-1]
    )
    made = sorted(path.parts[-3] for path in (tmp_path / "runs" / "runs").glob("*/checkpoint/model.safetensors"))
    assert made == [f"sie-turntable32-T2-seed0-predictor_{name}" for name in ("film", "identity")]


@pytest.mark.parametrize("method", components.names("methods"))
def test_a_method_keeps_its_own_predictor_in_the_recipes_of_3diebench(method):
    recipe = compose("train", ["experiment=3diebench_128", f"method={method}", "data.root=x"])
    assert recipe.predictor["name"] == compose("train", [f"method={method}"]).predictor["name"]
    assert recipe.method["name"] == method


def test_configs_can_be_composed_by_several_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        seeds = [config.seed for config in pool.map(lambda seed: compose("train", [f"seed={seed}"]), range(8))]
    assert seeds == list(range(8))
