"""Runs beside each other: what is one column, what is marked, what is told, and every file that is written."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.test_config import run as run_tool
from vsie import checkpoint
from vsie.config import compose, to_plain
from vsie.methods.sie import SIE
from vsie.model import build_method
from vsie.study import comparison

TINY = ["threads=1", "experiment=debug", "data.frames=1", "encoder.mixing=0", "encoder.dim=16", "method.projector_width=16"]


def metrics(error: float, top1: float) -> dict[str, float | None]:
    return {
        "pose/geodesic_median_deg/equi": error, "pose/geodesic_median_deg/equi/floor": 85.7, "classification/top1/all": top1,
        "classification/top1/all/floor": 0.083, "steering/mrr": 0.5, "steering/mrr/floor": 0.13, "mrr/mrr": 0.4,
        "mrr/mrr/floor": 0.09, "compat_sie/rotation/r2/equi": 0.7, "compat_sie/rotation/r2/equi/floor": 0.229,
        "tracking/probe/drift_deg": None,
    }  # fmt: skip


@pytest.fixture()
def runs(tmp_path, clips, monkeypatch):
    """sie with three seeds and vicreg with one, untrained, on the session's clips; sie is marked."""
    monkeypatch.setattr(SIE, "direct_supervision", True, raising=False)
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    for method, seed, error, top1 in (("sie", 0, 12, 0.85), ("sie", 1, 14, 0.84), ("sie", 2, 13, 0.87), ("vicreg", 0, 55, 0.93)):
        overrides = [*TINY, f"method={method}", f"seed={seed}", f"data.root={clips}", f"out={method}-{seed}"]
        config = to_plain(compose("train", overrides))
        folder = tmp_path / "runs" / f"{method}-{seed}"
        folder.mkdir(parents=True)
        torch.manual_seed(seed)
        checkpoint.save(folder, build_method(config), config, {})
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "metrics.json").write_text(json.dumps(metrics(error, top1)))
        probed = "equi" if method == "sie" else "all"
        lines = [f"{step},{step * 64},{0.4 + step / 100},{90 - step if step % 2 else ''},82.4" for step in range(20)]
        header = f"step,images,online/top1/all,online/pose_deg/{probed},online/pose_deg/floor"
        (folder / "log.csv").write_text("\n".join([header, *lines]) + "\n")
    return tmp_path / "runs"


def test_the_comparison_of_runs(runs, tmp_path, capsys):
    written = comparison.compare_runs([str(runs / "sie-*"), str(runs / "vicreg-0")], tmp_path / "report")
    names = ["comparison.md", "comparison.txt", "metrics.csv", "tradeoff.png", "learning.png", "steering.png"]
    assert [file.name for file in written] == names and all(file.is_file() for file in written)
    table = written[0].read_text()
    assert "| measure | sie † | vicreg | floor |" in table
    assert "| rotation of a pair, median deg, equi (lower is better) | 13.0 (12.0-14.0) | 55.0 | 85.7 |" in table
    assert "| Top-1, single frame, all | 0.850 (0.840-0.870) | 0.930 | 0.083 |" in table
    assert "| SIE's release: rotation, R2, equi | 0.700 (0.700-0.700) | 0.700 | 0.229 |" in table
    assert "| MRR among all other views | 0.400 (0.400-0.400) | 0.400 | 0.090 |" in table
    assert comparison.LEGEND in table and "Seeds: sie 3, vicreg 1." in table and "drift" not in table
    assert written[1].read_text().splitlines()[0] in capsys.readouterr().out
    rows = list(csv.DictReader(written[2].open()))
    assert [(row["method"], row["seed"], row["direct_supervision"]) for row in rows] == [
        ("sie", "0", "1"), ("sie", "1", "1"), ("sie", "2", "1"), ("vicreg", "0", "0")
    ]  # fmt: skip
    assert [float(row["pose/geodesic_median_deg/equi"]) for row in rows] == [12, 14, 13, 55]
    assert rows[0]["tracking/probe/drift_deg"] == ""
    for file in written[3:]:
        picture = np.asarray(Image.open(file).convert("RGB"))
        assert min(picture.shape[:2]) > 300 and 0.005 < (picture.min(-1) < 200).mean() < 0.95


def test_learning_is_drawn_over_the_images_that_all_seeds_have_seen(runs, tmp_path, monkeypatch):
    """Medians of three seeds of which one has stopped early; a method without a log is left out."""
    (runs / "sie-2" / "log.csv").write_text("step,images,online/top1/all\n0,0,0.6\n1,64,0.7\n2,128,0.8\n")
    (runs / "sie-1" / "log.csv").write_text("step,images,online/top1/all\n0,0,0.2\n5,320,0.2\n")
    (runs / "vicreg-0" / "log.csv").unlink()
    drawn = []
    monkeypatch.setattr(comparison.beside, "_save", lambda figure, out: drawn.append(figure) or out)
    columns = comparison.grouped([comparison.read(folder) for folder in comparison.find([str(runs / "*")])])
    comparison.draw_learning(columns, tmp_path / "learning.png")
    pose, top1 = drawn[0].axes
    assert len(pose.get_lines()) == 2  # sie-0 and the floor
    images, middle = (np.asarray(values) for values in top1.get_lines()[3].get_data())
    assert images.tolist() == [0, 64, 128] and np.allclose(middle, [0.4, 0.41, 0.42])
    assert pose.get_lines()[-1].get_ydata()[0] == 82  # of the pairs that the probe was asked about
    for run in columns["sie"]:
        (run.folder / "log.csv").unlink()
    assert comparison.draw_learning(columns, tmp_path / "learning.png") is None


def test_seeds_are_one_column_and_other_options_are_named(runs):
    whole = [comparison.read(folder) for folder in comparison.find([str(runs / "*")])]
    assert {title: [r.seed for r in members] for title, members in comparison.grouped(whole).items()} == {
        "sie": [0, 1, 2], "vicreg": [0]
    }  # fmt: skip
    folder = runs / "sie-2"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["trainer"]["images"], config["data"]["windows"] = 999, 7
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    columns = comparison.grouped([comparison.read(f) for f in comparison.find([str(runs / "*")])])
    assert list(columns) == ["sie (windows=4, images=4096)", "sie (windows=7, images=999)", "vicreg"]
    assert any(line == "Not at equal terms: trainer.images is 4096, 999." for line in comparison.notes(columns))


def test_no_run_is_lost_where_folders_have_one_name(runs, tmp_path):
    """Runs that differ in more options than a title holds are told by their folders, by more of the path where it takes that."""
    for study, number in (("first", 1), ("second", 2)):
        for method in ("sie-0", "vicreg-0"):
            shutil.copytree(runs / method, tmp_path / study / method)
            config = yaml.safe_load((runs / method / "config.yaml").read_text())
            config["trainer"] |= {"images": 300_000 * number, "learning_rate": 0.0015 * number}
            config["data"]["render"] |= {"objects": 1000 * number, "frames": 10 * number, "clips_per_object": 10 * number}
            (tmp_path / study / method / "config.yaml").write_text(yaml.safe_dump(config))
    found = [comparison.read(folder) for folder in comparison.find([str(tmp_path / "*" / "*-0")])]
    columns = comparison.grouped(found)
    assert sum(len(members) for members in columns.values()) == len(found) == 6
    names = {f"{method} ({folder}/{method}-0)" for method in ("sie", "vicreg") for folder in ("runs", "first", "second")}
    assert set(columns) == names


def test_who_was_judged_on_other_clips_has_no_strip(runs, tmp_path, monkeypatch):
    original = comparison.opened

    def opened(run):
        method, test, dataset = original(run)
        if run.seed == 1:
            test.paths[0] = "another.mp4"
        return method, test, dataset

    monkeypatch.setattr(comparison, "opened", opened)
    columns = {name: [comparison.read(runs / name)] for name in ("sie-0", "sie-1", "vicreg-0")}
    picture, said = comparison.draw_strips(columns, tmp_path / "steering.png")
    assert picture.is_file() and said == ["No strip for sie-1: it was judged on other clips."]


def test_every_method_has_a_strip(runs, tmp_path, monkeypatch):
    """One that does not split its latent and has no predictor is steered with the identity, all of it."""
    drawn = {}
    monkeypatch.setattr(comparison.beside, "strips", lambda first, truth, found, wrong, *_: drawn.update(wrong) or tmp_path)
    comparison.draw_strips({name: [comparison.read(runs / name)] for name in ("sie-0", "vicreg-0")}, tmp_path / "steering.png")
    assert list(drawn) == ["sie-0" + comparison.MARK, "vicreg-0"]


def test_what_is_missing_is_named(runs, tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match="nowhere-\\* matches no folder"):
        comparison.find([str(runs / "nowhere-*")])
    with pytest.raises(ValueError, match="no run is given"):
        comparison.find([])
    with pytest.raises(FileNotFoundError, match="config.yaml is not there: not the folder of a run"):
        comparison.read(tmp_path)
    (runs / "sie-0" / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="sie-0/metrics.json is not JSON"):
        comparison.read(runs / "sie-0")
    (runs / "sie-0" / "metrics.json").unlink()
    with pytest.raises(FileNotFoundError, match="metrics.json is not there: evaluate it"):
        comparison.read(runs / "sie-0")
    with caplog.at_level("WARNING", "vsie"):  # one run of many that is still in training does not stop the report
        found = comparison.find([str(runs / "*")])
    assert [folder.name for folder in found] == ["sie-1", "sie-2", "vicreg-0"] and "sie-0 is left out" in caplog.text
    assert comparison.find([str(runs / "sie-0")]) == [runs / "sie-0"], "named by itself it is an error"
    assert math.isnan(comparison.first_of({"a": math.nan}, "a", "b"))


def test_the_tool_takes_folders_without_a_key(runs, tools, tmp_path):
    result = run_tool(tools, "report", "runs/sie-0", "runs/vicreg-0", "out=report", "strips=false", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Top-1, single frame" in result.stdout and (tmp_path / "report" / "tradeoff.png").is_file()
    assert not (tmp_path / "report" / "steering.png").exists()
    result = run_tool(tools, "report", "runs/missing", cwd=tmp_path)
    assert result.returncode == 2 and "runs/missing matches no folder" in result.stderr
