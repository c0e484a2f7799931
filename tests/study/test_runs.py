"""A grid is planned, taken, trained and judged once, and never twice; what goes wrong is named and the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.evaluation.synthetic import features
from tests.study import test_page
from tests.study.test_page import judged as made
from tests.test_config import run as run_tool
from vsie import checkpoint, components, told
from vsie.config import CONFIGS, compose, to_plain
from vsie.evaluation import paired, suite
from vsie.feature_set import load_features, save_features
from vsie.model import build_method
from vsie.schemas import GridConfig
from vsie.study import runs

TINY = ["experiment=debug", "encoder.dim=16", "method.projector_width=16", "trainer.images=512"]
GRID = GridConfig(rows={"stills": ["data.windows=8", "data.frames=1"], "clips": []}, reference="stills", common=TINY[1:3],
                  video=["clips"], subject="clips", images=512)  # fmt: skip


def trained(folder, *overrides: str, step: int = 4):
    """A run as training leaves it: 4 steps of 16 objects x 8 images are 512 images."""
    config = to_plain(compose("train", [*TINY, *overrides, f"out={folder}"]))
    checkpoint.save(folder, build_method(config), config, {"step": step, "seconds": 0.0})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


class Tools:
    """In place of processes: training leaves a checkpoint, evaluation what an evaluation leaves; all calls are noted."""

    def __init__(self, monkeypatch, fail: str = ""):
        self.calls, self.fail = [], fail
        monkeypatch.setattr(runs.Processes, "run", self.run)
        monkeypatch.setattr(runs, "prepared", lambda *_: None)

    def run(self, command, log):
        tool, options = command[1].rsplit("/", 1)[1], command[2:]
        self.calls.append((tool, tuple(options)))
        log.parent.mkdir(parents=True, exist_ok=True)
        if self.fail and any(self.fail in option for option in options):
            log.write_text("line\nerror: no luck\n")
            return 2
        log.write_text("fine\n")
        values = dict(option.split("=", 1) for option in options)
        place = Path(values.get("out", values.get("checkpoint")).strip("'"))
        if tool == "train.py":
            trained(place, *[option for option in options if option.startswith(("seed", "data"))])
        else:
            scratch = place.parent.parent / "scratch" / place.name
            row, seed = place.name.rsplit("-", 1)
            _, _, found = made(scratch, row, int(seed), frames=1 if row == "stills" else 2)
            for name in ("metrics.json", "samples.npz"):
                (place / name).write_bytes((found / name).read_bytes())
            shutil.rmtree(scratch)
        return 0


def options(out, **more):
    return {"grid": GRID, "out": out, "seeds": [0, 1], "overrides": TINY[:1], "protocol": ["leakage", "cleaned"]} | more


def test_runs_that_are_asked_as_released_are_asked_both_ways(tmp_path, monkeypatch):
    """The second evaluation adds to what the first found; a study that was not asked so is judged again."""
    tools = Tools(monkeypatch)
    given = options(tmp_path / "s", seeds=[0], rows=["clips"], protocol=["classification", "leakage"])
    released = given | {"overrides": [*TINY[:1], "compat=sie"]}
    runs.study(**released)
    asked = [set(call) for tool, call in tools.calls if tool == "evaluate.py"]
    assert len(asked) == 2 and {"protocol=[classification,leakage]", "overwrite=true"} <= asked[0]
    assert {"protocol=[classification]", "compat=sie"} <= asked[1] and "overwrite=true" not in asked[1]
    runs.study(**released)
    assert len(tools.calls) == 3, "and that once"


def test_everything_is_done_once(tmp_path, monkeypatch):
    tools = Tools(monkeypatch)
    page = runs.study(**options(tmp_path / "s", threads=1))
    assert page.is_file() and sorted(tool for tool, _ in tools.calls) == ["evaluate.py"] * 4 + ["train.py"] * 4
    told = [call for tool, call in tools.calls if tool == "train.py"]
    assert all("threads=1" in call and "protocol=[]" in call and "trainer.images=512" in call for call in told)
    assert {call[call.index("seed=1")] for call in told if "seed=1" in call} == {"seed=1"}
    assert sum("data.frames=1" in call for call in told) == 2
    assert all("protocol=[leakage,cleaned]" in call for tool, call in tools.calls if tool == "evaluate.py")
    tools.calls.clear()
    runs.study(**options(tmp_path / "s"))
    assert tools.calls == []
    runs.study(**options(tmp_path / "s", protocol=["leakage", "dci"], rows=["clips"], seeds=[1]))  # another question
    assert [tool for tool, _ in tools.calls] == ["evaluate.py"]
    tools.calls.clear()
    runs.study(**options(tmp_path / "s", protocol=["dci"], rows=["clips"], seeds=[1]))  # a part of what was asked already
    assert tools.calls == []
    trained(tmp_path / "s" / "runs" / "clips-1", "seed=1", step=2)  # as if it had been stopped
    runs.study(**options(tmp_path / "s", rows=["clips"]))
    assert [tool for tool, _ in tools.calls] == ["train.py", "evaluate.py"]


def test_a_run_that_fails_is_named_and_the_page_is_about_the_others(tmp_path, monkeypatch):
    Tools(monkeypatch, fail="data.frames=1")
    with pytest.raises(ChildProcessError, match="2 of 4 runs failed: stills, seed 0, stills, seed 1"):
        runs.study(**options(tmp_path / "s"))
    text = (tmp_path / "s" / "page.md").read_text()
    assert "stills, seed 0: failed." in text and "| clips | vsie |" in text and "| stills | vsie |" not in text
    Tools(monkeypatch, fail="experiment")
    with pytest.raises(ValueError, match="no run is trained and judged.*\n.*training ended with status 2(.*\n)*.*error: no luck"):
        runs.study(**options(tmp_path / "other"))


def test_taken_runs_are_only_read(tmp_path, monkeypatch):
    source = trained(tmp_path / "elsewhere" / "clips_1", "seed=1", "trainer.learning_rate=0.5")
    save_features(source / "features" / "features-train-x", features(objects=3, clips=1))
    trained(tmp_path / "elsewhere" / "clips_0", "seed=0", step=3)  # still running
    before = {file: file.read_bytes() for file in (tmp_path / "elsewhere").rglob("*") if file.is_file()}
    tools = Tools(monkeypatch)
    runs.study(**options(tmp_path / "s", take=[f"clips={tmp_path}/elsewhere/clips_*"], train=False))
    folder = tmp_path / "s" / "runs" / "clips-1"
    assert [tool for tool, _ in tools.calls] == ["evaluate.py"]
    place = folder / "features" / "features-train-x"
    assert runs.complete(folder) and load_features(place).image.shape[0] == 3 and not place.is_symlink()
    assert {file: file.read_bytes() for file in (tmp_path / "elsewhere").rglob("*") if file.is_file()} == before
    text = (tmp_path / "s" / "page.md").read_text()
    assert "clips, seed 0: left out" in text and "is at step 3 of 4" in text
    assert "trainer.learning_rate is 0.5 and not 0.003" in text and "stills: not trained with seed 0, 1." in text
    shutil.rmtree(place)  # as the features' cache does: links go, and nothing that they lead to
    save_features(place, features(objects=4, clips=1))
    runs.link(source, folder)
    assert load_features(place).image.shape[0] == 4  # computed here: kept
    assert load_features(source / "features" / "features-train-x").image.shape[0] == 3
    own = trained(tmp_path / "own")
    with pytest.raises(FileExistsError, match="holds a run of its own"):
        runs.link(source, own)


def test_a_run_of_another_config_is_not_taken_for_the_planned_one(tmp_path, monkeypatch):
    """Grids have rows of one name, and all studies one folder where none is given: a run counts for its own config alone."""
    tools = Tools(monkeypatch)
    runs.study(**options(tmp_path / "s", rows=["clips"], seeds=[0], kept=tmp_path / "found"))
    folder = tmp_path / "s" / "runs" / "clips-0"
    leak = [*TINY[:1], "method.weights.leak=8"]
    for changed, said in (({"overrides": leak}, "method.weights.leak is"), ({"images": 1024}, "trainer.images is 512")):
        with pytest.raises(ValueError, match=f"{folder} holds another run, where {said}.*; give another out="):
            runs.study(**options(tmp_path / "s", rows=["clips"], seeds=[0]) | changed)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "found" / "clips-0", folder)  # what was found of a run counts as little
    with pytest.raises(ValueError, match="holds another run"):
        runs.study(**options(tmp_path / "s", rows=["clips"], seeds=[0], overrides=leak))
    assert len(tools.calls) == 2


def test_runs_differ_in_what_their_method_makes_use_of():
    other = ["conditioning.encoding=matrix", "conditioning.centred=false", "predictor=film"]
    for method, said in (
        ("vicreg", []),
        ("augself", ["conditioning.centred", "conditioning.encoding"]),  # it regresses what a predictor would be told
        ("sen", ["conditioning.centred", "conditioning.encoding", "predictor.name"]),
    ):
        own, plan = (compose("train", [*TINY, f"method={method}", *more]) for more in (other, []))
        different = [words.split(" is ")[0] for words in runs.unlike(own, plan)]
        assert [key for key in different if key in said] == said and bool(different) == bool(said), (method, different)
    own, plan = (compose("train", [*TINY, "method=vicreg", *more]) for more in (["conditioning.frame=world"], []))
    assert runs.unlike(own, plan) == ["conditioning.frame is 'world' and not 'body'"]  # what measures take it for


def test_the_budget_is_the_grids_unless_it_is_said_once(tmp_path):
    def images(**more):
        return {cell.config.trainer.images for cell in runs.planned(GRID, tmp_path, seeds=[0], **more)}

    assert images() == {512} and images(images=1024) == {1024} and images(overrides=["trainer.images=2048"]) == {2048}
    with pytest.raises(ValueError, match="images is 1024 and overrides has trainer.images=2048, expected one of them"):
        images(images=1024, overrides=["trainer.images=2048"])


def with_more(*arguments, **options):
    """A judged run with outcomes that no page shows."""
    row, seed, folder = test_page.judged(*arguments, **options)
    samples, clips = paired.load(folder / "samples.npz")
    samples["tracking/probe/pair_median_deg"] = paired.of_items("median", torch.rand(50000).numpy(), torch.arange(50000).numpy())
    paired.save(folder / "samples.npz", samples, clips=clips)
    return row, seed, folder


def test_what_was_found_is_kept_without_weights_and_taken_from_there(tmp_path, monkeypatch):
    """The page of what was kept is the page of the runs; what was not asked then cannot be asked now, and says so."""
    tools = Tools(monkeypatch)
    monkeypatch.setitem(globals(), "made", with_more)
    runs.study(**options(tmp_path / "s", kept=tmp_path / "found"))
    for folder in (tmp_path / "found").iterdir():
        assert {file.name for file in folder.iterdir()} == set(runs.FOUND)
        kept, whole = (place / folder.name / "samples.npz" for place in (tmp_path / "found", tmp_path / "s" / "runs"))
        assert kept.stat().st_size < whole.stat().st_size - 100_000
        assert str(tmp_path) not in (folder / "config.yaml").read_text()  # nor where it was
    assert len(list((tmp_path / "found").iterdir())) == 4
    tools.calls.clear()
    take = [f"{row}={tmp_path}/found/{row}-*" for row in GRID.rows]
    runs.study(**options(tmp_path / "other", take=take, train=False))
    assert tools.calls == []
    for name in ("page.md", "study.json"):
        assert (tmp_path / "other" / name).read_text() == (tmp_path / "s" / name).read_text()
    runs.study(**options(tmp_path / "same", take=take, train=False, kept=tmp_path / "found"))  # kept where they were taken from
    assert all({file.name for file in folder.iterdir()} == set(runs.FOUND) for folder in (tmp_path / "found").iterdir())
    runs.study(**options(tmp_path / "third", take=[f"clips={tmp_path}/s/runs/clips-*"], rows=["clips"], train=False))
    assert tools.calls == []  # a study's own runs, with weights, are not judged again either
    runs.study(**options(tmp_path / "fourth", take=take, train=False, protocol=["leakage", "seis"]))
    assert tools.calls == []
    assert f"clips, seed 1: {tmp_path}/found/clips-1 has no weights and was not asked seis." in (
        tmp_path / "fourth" / "page.md"
    ).read_text()
    with pytest.raises(ValueError, match="what was found of a run, not its weights.*on data None, and the others by . on x"):
        runs.study(**options(tmp_path / "fifth", take=take, train=False, data="x"))
    runs.study(**options(tmp_path / "s", kept=tmp_path / "found"))  # over what was kept before
    for text in ("{", "[]", "{}"):
        (tmp_path / "found" / "clips-0" / runs.STAMP).write_text(text)
        with pytest.raises(ValueError, match="judged.json does not say what a run was judged on"):
            runs.study(**options(tmp_path / "sixth", take=take, train=False))
    (tmp_path / "found" / "clips-0" / runs.STAMP).unlink()
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        runs.study(**options(tmp_path / "seventh", take=take, train=False))


def test_a_study_that_is_stopped_has_kept_what_it_found(tmp_path, monkeypatch):
    class Stopped(Tools):
        def run(self, command, log):
            if len(self.calls) == 4:  # two runs, trained and judged
                raise KeyboardInterrupt
            return super().run(command, log)

    Stopped(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        runs.study(**options(tmp_path / "s", kept=tmp_path / "found", jobs=1))
    found = sorted(folder.name for folder in (tmp_path / "found").iterdir())
    assert found == ["clips-0", "stills-0"] and all(runs.weightless(tmp_path / "found" / name) for name in found)
    Tools(monkeypatch)
    runs.study(**options(tmp_path / "s", kept=tmp_path / "found", jobs=1))
    assert len(list((tmp_path / "found").iterdir())) == 4


def test_what_cannot_be_planned_or_taken_is_named(tmp_path):
    with pytest.raises(ValueError, match="no row clip; it has stills, clips"):
        runs.planned(GRID, tmp_path, rows=["clip"])
    with pytest.raises(ValueError, match="each once"):
        runs.planned(GRID, tmp_path, seeds=[1, 1])
    with pytest.raises(ValueError, match="row a: .*did you mean 'data.frames'"):
        runs.planned(GridConfig(rows={"a": ["data.framse=2"]}), tmp_path)
    with pytest.raises(ValueError, match="row a: experiment is chosen twice"):
        runs.planned(GridConfig(rows={"a": ["experiment=stills"]}), tmp_path, overrides=["experiment=debug"])
    with pytest.raises(ValueError, match="expected row=PATTERN"):
        runs.taken(["somewhere"], tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere_\\* matches no folder"):
        runs.taken([f"a={tmp_path}/nowhere_*"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        runs.taken([f"a={tmp_path}/empty"], tmp_path)
    trained(tmp_path / "x_1"), trained(tmp_path / "x_2")
    with pytest.raises(ValueError, match="are both a with seed 0"):
        runs.taken([f"a={tmp_path}/x_*"], tmp_path)


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONFIGS / "grid").glob("*.yaml")))
def test_the_grids_compose_at_equal_images(name, tmp_path):
    grid = compose("study", [f"grid={name}"]).grid
    cells = runs.planned(grid, tmp_path, seeds=[0])
    assert {cell.row for cell in cells} == set(grid.rows) and grid.reference in grid.rows
    suite.check_protocols(grid.protocol)
    for cell in cells:
        data, trainer = cell.config.data, cell.config.trainer
        assert data.windows * data.frames * trainer.batch == (2048 if name == "3diebench" else 512), cell.row  # images a step
        method = build_method(to_plain(cell.config))
        told.check(cell.config, method)
        method.check_data(posed=True, classes=12)
        method.check_views(data.windows, method.encoder.steps(data.frames))
    assert len({cell.config.trainer.images for cell in cells}) == 1
    assert set(grid.video) <= set(grid.rows) and (grid.subject is None or grid.subject in grid.rows)


def test_overrides_are_for_every_row_and_a_row_has_the_last_word(tmp_path):
    cells = runs.planned(compose("study", ["grid=methods"]).grid, tmp_path, rows=["sie", "stills"], seeds=[0],
                         overrides=["data.windows=4", "data.frames=2"])  # fmt: skip
    assert {cell.row: (cell.config.data.windows, cell.config.data.frames) for cell in cells} == {"sie": (4, 2), "stills": (8, 1)}


def test_processes_log_are_given_their_threads_and_are_stopped_together(tmp_path):
    processes = runs.Processes(3)
    log = tmp_path / "logs" / "a.log"
    code = "import os, sys; print(os.environ['OMP_NUM_THREADS']); sys.exit(4)"
    assert processes.run([sys.executable, "-c", code], log) == 4
    assert log.read_text().splitlines()[-1] == "3"
    statuses = []
    long = [sys.executable, "-c", "import time; time.sleep(60)"]
    thread = threading.Thread(target=lambda: statuses.append(processes.run(long, log)))
    thread.start()
    while not processes.running:
        time.sleep(0.01)
    processes.stop()
    thread.join(20)
    assert statuses and statuses[0] != 0 and processes.run([sys.executable, "-c", "pass"], log) == -1


def test_an_override_is_taken_literally():
    for value in ("a b=c,d'e\\f", "/plain/path"):
        assert compose("train", [runs.quoted("out", value)]).out == value


def test_lists_of_overrides_need_no_quotes(tools):
    """What a user writes is what the study gets: entries with an equals sign, with brackets, quoted by hand or not."""
    sys.path.insert(0, str(tools))
    try:
        from study import with_lists
    finally:
        sys.path.remove(str(tools))
    written = [
        "overrides=[experiment=debug,data.spacing=[1,2],'a=b c',\"d=e,f\"]",
        "take=[vsie=/x/vsie_*]",
        "seeds=[0,1]",
        "take=[]",
    ]
    config = compose("study", with_lists(written[:3]))
    assert config.overrides == ["experiment=debug", "data.spacing=[1,2]", "a=b c", "d=e,f"]
    assert config.take == ["vsie=/x/vsie_*"] and config.seeds == [0, 1]
    spaced = compose("study", with_lists(["overrides=[trainer.batch=32, data.windows=2]"]))
    assert spaced.overrides == ["trainer.batch=32", "data.windows=2"]
    assert with_lists(written[3:]) == ["take=[]"] and with_lists(["out='a,b'"]) == ["out='a,b'"]


def test_who_was_judged_by_other_measures_is_judged_again(tmp_path, monkeypatch):
    (tmp_path / checkpoint.FILES[0]).write_bytes(b"weights")
    monkeypatch.setattr(checkpoint, "locate", lambda run: run)
    for name in ("metrics.json", "samples.npz"):
        (tmp_path / name).touch()
    (tmp_path / runs.STAMP).write_text(json.dumps(runs.identity(tmp_path, ["pose", "ladder"], None)))
    assert runs.judged(tmp_path, ["pose"], None) and not runs.judged(tmp_path, ["pose", "dci"], None)
    monkeypatch.setattr(suite, "VERSION", suite.VERSION + 1)
    assert not runs.judged(tmp_path, ["pose"], None)


@pytest.mark.slow
def test_the_tool_at_toy_size_end_to_end(tools, tmp_path):
    tiny = ["data.render.objects=40", "data.render.size=32", "data.render.frames=6", "data.spacing=[1,2]", "trainer.batch=16"]
    arguments = ("study", f"overrides=[experiment=debug,{','.join(tiny)}]", "rows=[stills,vsie]", "seeds=[0]", "images=1024",
                 "protocol=[classification,ladder]", "out=toy")  # fmt: skip
    environment = os.environ | {"VSIE_DATA": str(tmp_path / "cache")}
    result = run_tool(tools, *arguments, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / "toy" / "study.json").read_text())
    better = found["vsie"]["better_by"]
    assert {"classification/top1/inv", "ladder/identity/inv", "ladder/orbit_share/inv"} <= set(better)
    assert all(own["low"] <= own["high"] and own["than"] == "stills" for own in better.values())
    assert "Not asked: no row was judged by" in (tmp_path / "toy" / "page.md").read_text()
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "toy" / "runs").rglob("*") if file.is_file()}
    result = run_tool(tools, *arguments, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert stamps == {file: file.stat().st_mtime_ns for file in (tmp_path / "toy" / "runs").rglob("*") if file.is_file()}


def test_the_grid_of_methods_has_every_method(tmp_path):
    cells = runs.planned(compose("study", ["grid=methods"]).grid, tmp_path, seeds=[0])
    assert {cell.config.method["name"] for cell in cells} == set(components.names("methods"))
