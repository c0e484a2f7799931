"""The real configs compose, schemas come from constructors, and a misspelt override names its nearest key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vsie import components
from vsie.config import CONFIGS, compose, from_plain, to_plain
from vsie.model import build_method


def run(tools, tool: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(tools / f"{tool}.py"), *arguments], capture_output=True, text=True, **options)


def test_every_experiment_and_data_config_composes():
    for group in ("experiment", "data"):
        for file in (CONFIGS / group).glob("*.yaml"):
            more = ["data.root=somewhere"] if file.stem == "videos" else []
            config = compose("train", [f"{group}={file.stem}", *more])
            assert config.trainer.images > 0


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
