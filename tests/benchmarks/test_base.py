"""The speed claims can be repeated: every benchmark runs through its tool and gives figures."""

from __future__ import annotations

import json
import os

import pytest
import torch

from tests.test_config import run
from vsie.benchmarks.measures import known_features
from vsie.benchmarks.predictor import extra_memory
from vsie.predictors import Hypernetwork


@pytest.mark.parametrize("what", ["inversion", "data", "three_die_bench", "train", "augment", "protocols"])
def test_the_tool_prints_and_keeps_figures(tools, tmp_path, what):
    arguments = (f"what={what}", "seconds=0.1", "out=rows.json")
    result = run(tools, "benchmark", *arguments, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert rows and all(row["what"] == what and row["value"] > 0 for row in rows)
    assert all(row["figure"] in result.stdout for row in rows)


def test_the_features_that_measures_are_timed_on_know_what_they_should():
    from vsie.evaluation.audit import Audit

    train, test = known_features(60, 0, half=30), known_features(20, 100, half=30)
    assert train.image.shape == (120, 16, 60) and train.parts() == ("inv", "equi", "all")
    assert known_features(2, 0, split=False).parts() == ("all",)
    audit = Audit(train, test)
    equi, inv = (audit.pose(audit.rows(train, test, part), "linear").value for part in ("equi", "inv"))
    assert equi > 0.8 and inv < 0.2


def test_unknown_benchmarks_name_the_nearest(tools, tmp_path):
    result = run(tools, "benchmark", "what=rendr", cwd=tmp_path)
    assert result.returncode == 2 and "did you mean 'render'" in result.stderr


def test_extra_memory_counts_what_the_backward_pass_keeps():
    network = Hypernetwork(128, 4)
    latent, delta = torch.randn(64, 128, requires_grad=True), torch.randn(64, 4)
    factorised = extra_memory(lambda: network(latent, delta))
    explicit = extra_memory(lambda: torch.bmm(network.matrix(delta), latent[..., None]).squeeze(-1))
    assert explicit >= 64 * 128 * 128 * 4 > 3 * factorised  # a matrix per sample, against K numbers per dimension
