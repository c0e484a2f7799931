"""Verdicts with made-up numbers in which the answer is known, and the page that is written of them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from vsie.evaluation import paired
from vsie.evaluation.paired import Estimate, of_items
from vsie.report.page import Heading, Lines, Picture, Table, html, markdown
from vsie.report.planes import Point, near
from vsie.schemas import GridConfig
from vsie.study import verdicts
from vsie.study.page import write

OBJECTS = np.repeat(np.arange(40), 6)
HARD = np.random.default_rng(7).random(40)[OBJECTS]  # how hard an object is, for every row and seed
ERASERS = ("leace-rotation", "leace-basis", "linear", "inlp", "rasa", "orbit")
COLUMNS = ("pose_linear", "pose_kernel", "pose_mlp", "pair")


def r2(score: float, rng) -> paired.Sample:
    """Terms whose R2 is about `score`."""
    truth = rng.normal(size=(len(OBJECTS), 1))
    residual = (1 - score) * truth**2 * (1 + 0.1 * rng.normal(size=(len(OBJECTS), 1)))
    return paired.Sample("r2", np.concatenate([np.ones_like(truth), residual, truth, truth**2], 1), OBJECTS)


def accuracy(share: float, rng) -> paired.Sample:
    return of_items("mean", (HARD * 0.7 + 0.3 * rng.random(len(OBJECTS))) < np.quantile(HARD * 0.7 + 0.15, share), OBJECTS)


def judged(
    root, row, seed, *, frames=1, drift=5.0, top1=0.8, leak=0.02, inv=0.8, cleaned=0.8, left=0.6, clips="a", extra=(), lack=(),
    alone=False,
):  # fmt: skip
    """The folder of a run that was judged: an untrained nothing with these outcomes."""
    rng = np.random.default_rng(100 * seed + frames)
    samples = {
        "tracking/inversion/drift_deg": of_items("median", drift * (0.5 + HARD) + 0.05 * rng.normal(size=len(OBJECTS)), OBJECTS),
        "classification/top1/inv": accuracy(top1, rng), "classification/top1/all": accuracy(top1, np.random.default_rng(5)),
        "ladder/identity@15/inv": paired.Sample("explained", np.tile([0.1, 1.0], (40, 1)), np.arange(40)),
        "ladder/identity@90/inv": paired.Sample("explained", np.tile([0.3, 1.0], (40, 1)), np.arange(40)),
        "ladder/identity@180/inv": paired.Sample("explained", np.tile([0.9, 1.0], (20, 1)), np.arange(20)),
    }  # fmt: skip
    metrics = {}
    rows = {("leakage", "inv"): (leak, inv), ("leakage", "all"): (0.6, 0.85), ("leakage", "equi"): (0.7, 0.85)}
    rows |= {("leakage", name): (0.5, 0.7) for name in extra}
    rows |= {("cleaned", name): (left, cleaned) for name in ERASERS if name not in lack}
    if alone:
        rows |= {("single", "inv"): (leak, inv), ("single", "inlp"): (0.01, inv + 0.1), ("single", "all"): (0.6, 0.85)}
    for (family, name), (pose, share) in rows.items():
        for strength, column in enumerate(COLUMNS):
            samples[f"{family}/{column}/{name}"] = r2(pose * (0.25 + 0.25 * strength), rng)
            metrics[f"{family}/{column}/{name}/floor"] = 0.0
        for column in ("class_linear", "class_knn"):
            samples[f"{family}/{column}/{name}"] = accuracy(share, np.random.default_rng(seed))
            metrics[f"{family}/{column}/{name}/floor"] = 0.083
    metrics |= {key: sample.value for key, sample in samples.items()}
    metrics |= {"tracking/inversion/drift_deg/floor": 57.6, "classification/top1/inv/floor": 0.083, "ladder/group_law": 0.1}
    metrics |= {"ladder/identity@15/inv/null": 0.4, "ladder/identity@90/inv/null": 0.2, "dci/completeness": None}
    metrics |= {"seis/inv@15/inv": 0.5, "seis/inv@90/inv": 0.7, "seis/inv@15/inv/null": 0.1, "seis/inv_in_sample@15/inv": 9.0}
    folder = root / "runs" / f"{row}-{seed}"
    folder.mkdir(parents=True)
    config = {"method": {"name": "vsie"}, "seed": seed, "data": {"frames": frames, "windows": 8 // frames}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"trainer": {"images": 1000, "batch": 64}}))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    paired.save(folder / "samples.npz", samples, clips=clips)
    return row, seed, folder


GRID = GridConfig(
    title="A <test> of it", rows={"stills": [], "clips": [], "longer": []}, reference="stills", video=["clips", "longer"],
    subject="clips", motion=["clips", "guessed"],
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Clips drift less and longer ones more than stills; class and leak are the same; erasers leave most of the pose."""
    out = tmp_path_factory.mktemp("study")
    done = [judged(out, "stills", seed) for seed in range(3)]
    done += [judged(out, "clips", seed, frames=2, drift=4.0, extra=("raw",), alone=True) for seed in range(3)]
    done += [judged(out, "longer", seed, frames=4, drift=6.0, lack=("rasa",)) for seed in range(2)]
    return out, write(done, GRID, out, notes=["longer: not trained with seed 2."])


def spread(value: float, wide: float = 0.01, seeds: int = 3) -> Estimate:
    return Estimate(value, value - wide, value + wide, (value,) * seeds)


@pytest.mark.parametrize("leak, utility, said", [
    (spread(-0.3), spread(0.05), "wins: less pose, more class"),
    (spread(-0.3), spread(0.0, 0.009), "wins: less pose, class at most 1% below"),
    (spread(-0.3), spread(-0.002, 0.009), "less pose; class not shown to be as good"),
    (spread(-0.3), spread(-0.008, 0.001), "wins: less pose, class at most 1% below"),  # worse, but by less than the margin
    (spread(-0.3), spread(-0.05), "less pose, less class: neither wins"),
    (spread(0.3), spread(0.05), "more class, more pose: neither wins"),
    (spread(0.3), spread(0.0), "loses: more pose, class not better"),
    (spread(0.3), spread(-0.05), "loses: more pose, class not better"),
    (spread(0.0), spread(0.05), "more class; pose not told apart"),
    (spread(0.0), spread(-0.05), "less class; pose not told apart"),
    (spread(0.0), spread(0.0), "not shown"),
    (Estimate(-0.3, float("nan"), float("nan"), (-0.3,)), spread(0.0), "not shown"),
])  # fmt: skip
def test_a_duel_is_judged_by_both_axes(leak, utility, said):
    assert verdicts.against_eraser(leak, utility) == said


def test_several_verdicts_come_to_one():
    assert verdicts.counted(["better", "not shown"]) == "yes" and verdicts.counted(["worse", "not shown"]) == "no"
    assert verdicts.counted(["better", "worse"]) == "mixed" and verdicts.counted(["not shown"]) == "not shown"


def test_the_front_and_the_closer_look():
    places = {"inv": (0.05, 0.93), "leace": (0.6, 0.96), "inlp": (0.3, 0.92), "all": (0.7, 0.96), "random": (0.0, 0.25)}
    points = [Point(name, spread(leak), spread(top1)) for name, (leak, top1) in places.items()]
    assert verdicts.front(points) == ["inv", "leace", "random"]  # inlp: inv has less pose and more class; all: leace
    assert [point.name for point in near(points)] == ["inv", "leace", "inlp", "all"]


def test_what_is_there_is_found_and_what_is_not_there_is_not_shown(page):
    text = (page[0] / "page.md").read_text()
    lines = {line.split("**")[0]: line for line in text.splitlines() if line.startswith("* `")}
    tracking = next(line for start, line in lines.items() if "`clips` against `stills`, better at tracking" in start)
    assert "**yes**" in tracking and "better: tracking drift at the last frame, predictor inverted +1.0" in tracking
    assert "**no**" in next(line for start, line in lines.items() if "`longer` against `stills`, better at tracking" in start)
    for row in ("clips", "longer"):
        split = next(line for start, line in lines.items() if f"`{row}` against `stills`, a cleaner split" in start)
        assert "**not shown**" in split and "pose left in inv, best of all probes" in split
    assert "| tracking drift at the last frame, predictor inverted ↓ |" in text and "57.6" in text
    drift = next(
        line for line in text.splitlines() if line.startswith("| tracking drift at the last frame, predictor inverted ↓")
    )
    assert re.fullmatch(r"\| [^|]+\| [\d.]+ \([^|]+\) \| [\d.]+ \([^|]+\) ▲ \| [\d.]+ \([^|]+\) ▼ \| 57.6 \|", drift)
    assert "Fewer than three seeds: longer (2)" in text and "longer: not trained with seed 2." in text
    assert "(c)" in text and "there is no run of guessed" in text


def test_the_improvement_is_the_difference_that_was_made(page):
    rows = {row: [verdicts.read(row, page[0] / "runs" / f"{row}-{seed}") for seed in range(3)] for row in ("clips", "stills")}
    (drift,) = [measure for measure in verdicts.measures() if measure.key == "tracking/inversion/drift_deg"]
    found = verdicts.improvement(drift, rows["clips"], rows["stills"])
    assert found.value == pytest.approx(np.median(0.5 + HARD), abs=0.05) and found.low > 0.7 and found.verdict() == "better"
    (ladder,) = [measure for measure in verdicts.measures() if measure.key == "ladder/identity/inv"]
    assert ladder.value(rows["clips"][0]) == pytest.approx(0.8)  # of the two motions that all objects make
    assert ladder.floor(rows["clips"][0]) == pytest.approx(0.3)
    (seis,) = [measure for measure in verdicts.measures() if measure.key == "seis/inv/inv"]
    assert seis.value(rows["clips"][0]) == pytest.approx(0.6) and seis.floor(rows["clips"][0]) == pytest.approx(0.1)
    assert verdicts.improvement(seis, rows["clips"], rows["stills"]) is None  # nothing to resample is kept
    (leak,) = [measure for measure in verdicts.measures() if measure.key == "leak/inv"]
    assert leak.value(rows["clips"][0]) == pytest.approx(0.02, abs=0.02)  # the strongest probe's


def test_the_share_of_a_gain_that_is_kept(tmp_path):
    """Of 50 degrees below the floor one row keeps 45, or nine tenths; which floor stands there is the measure's own."""
    done = [judged(tmp_path, "clips", seed, frames=2, drift=7.6) for seed in range(3)]
    done += [judged(tmp_path, "guessed", seed, frames=2, drift=12.6) for seed in range(3)]
    done += [judged(tmp_path, "elsewhere", seed, frames=2, drift=7.6, clips="b") for seed in range(3)]
    rows = {name: [verdicts.read(name, folder) for row, _, folder in done if row == name] for name in ("clips", "guessed")}
    little = [verdicts.read("little", judged(tmp_path / "x", "little", seed, drift=54.0)[2]) for seed in range(3)]
    (drift,) = [measure for measure in verdicts.measures() if measure.key == "tracking/inversion/drift_deg"]
    found = verdicts.kept(drift, rows["guessed"], rows["clips"])
    own, whole = (np.median([run.metric(drift.key) for run in rows[name]]) for name in ("guessed", "clips"))
    assert found.value == pytest.approx((57.6 - own) / (57.6 - whole), abs=0.005)
    assert 0.88 < found.low < found.value < found.high < 0.93
    assert verdicts.kept(drift, rows["clips"], little) is None  # who gains next to nothing has nothing to keep
    write(done, GRID, tmp_path)
    text = (tmp_path / "page.md").read_text()
    said = next(line for line in text.splitlines() if line.startswith("* (c) `guessed` keeps of what `clips` gains"))
    assert f"tracking drift at the last frame, predictor inverted {found.value:.0%} (" in said
    assert "| guessed |\n" in text and "| guessed | elsewhere |\n|---|---:|---:|\n| tracking" not in text  # of other clips


def test_the_learned_part_wins_where_the_erasers_leave_pose(page):
    found = json.loads((page[0] / "study.json").read_text())
    for name, others in (("clips", 6), ("longer", 5)):  # longer lacks one eraser: nothing breaks
        assert len(found[name]["against_erasers"]) == others
        assert {duel["verdict"] for duel in found[name]["against_erasers"].values()} == {
            "wins: less pose, class at most 1% below"
        }
    text = (page[0] / "page.md").read_text()
    assert "`clips`: **yes**: the learned invariant part wins against 6 of 6 erasers" in text
    assert found["clips"]["better_by"]["tracking/inversion/drift_deg"]["verdict"] == "better"
    assert set(found["clips"]["plane"]) - set(found["stills"]["plane"]) == {"raw backbone"}  # a new row appears by itself
    assert "raw backbone" in text
    said = next(line for line in text.splitlines() if line.startswith("* (b) of frames encoded alone, `clips`"))
    assert "wins against 0 of 1 erasers" in said and "**yes**" not in said  # another question, another answer


def test_other_answers_are_given_where_the_numbers_are_others(tmp_path):
    done = [judged(tmp_path, "stills", seed, frames=2, leak=0.4, left=0.1, inv=0.7, cleaned=0.85) for seed in range(3)]
    write(done, GRID, tmp_path)
    text = (tmp_path / "page.md").read_text()
    said = "the learned invariant part wins against 0 of 6 erasers; holds less pose than 0 of them; loses against LEACE (vec R)"
    assert f"`stills`: **no**: {said}" in text
    assert "Not asked: it needs the row `stills` and one of clips, longer." in text


def test_runs_judged_on_other_clips_are_not_compared(tmp_path):
    done = [judged(tmp_path, "stills", 0), judged(tmp_path, "clips", 0, frames=2, drift=1.0, clips="b")]
    write(done, GRID, tmp_path)
    text = (tmp_path / "page.md").read_text()
    assert "Not known: no seed of clips was judged on the clips of stills." in text and "▲" not in text.replace("▲ ▼:", "")
    assert "Not all runs were judged on the same clips" in text


def test_a_row_whose_seeds_were_judged_on_different_clips_is_not_pooled(tmp_path, monkeypatch):
    """Neither objects of the same number, which are others, nor objects of other numbers."""
    done = [judged(tmp_path, row, seed, clips=clips) for row in ("stills", "clips") for seed, clips in ((0, "a"), (1, "b"))]
    done.append(judged(tmp_path, "longer", 0))
    monkeypatch.setitem(globals(), "OBJECTS", OBJECTS + 1000)
    done.append(judged(tmp_path, "longer", 1, clips="b"))
    write(done, GRID, tmp_path)
    text, found = (tmp_path / "page.md").read_text(), json.loads((tmp_path / "study.json").read_text())
    for row in ("stills", "clips", "longer"):
        said = f"its runs were judged on different clips ({row}-0; {row}-1)."
        assert f"`{row}` is left out of what is pooled over seeds: {said}" in text
        assert not found[row]["plane"] and not found[row]["against_erasers"] and not found[row]["better_by"]


def test_rows_are_drawn_beside_each_other_with_their_learning(tmp_path):
    done = [judged(tmp_path, row, 0) for row in ("stills", "clips")]
    for number, (_, _, folder) in enumerate(done):
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics |= {"pose/geodesic_median_deg/equi": 20.0 + number, "classification/top1/all": 0.5}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "log.csv").write_text("step,images,online/pose_deg/equi,online/top1/all\n1,10,60,.2\n2,20,40,.4\n")
    write(done, GRID, tmp_path)
    text = (tmp_path / "page.md").read_text()
    for name in ("tradeoff.png", "learning.png"):
        assert f"]({name})" in text and min(Image.open(tmp_path / name).size) > 300


def test_the_page_stands_alone_and_its_pictures_show_something(page):
    text = page[1].read_text()
    assert "A &lt;test&gt; of it" in text and "<test>" not in text
    pictures = sorted(page[0].glob("*.png"))
    assert [file.name for file in pictures] == [
        "frames.png", "learned.png", "plane.png", "plane_alone.png", "probes.png", "video.png"
    ]  # fmt: skip
    assert text.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    for file in pictures:
        picture = np.asarray(Image.open(file).convert("RGB"))
        assert min(picture.shape[:2]) > 300 and 0.005 < (picture.min(-1) < 200).mean() < 0.9, file


def test_blocks_are_the_same_in_both_forms(tmp_path):
    (tmp_path / "x.png").write_bytes(b"png")
    table, picture = Table(["", "x|y"], [["r", "1"]], "said"), Picture(tmp_path / "x.png", "it")
    blocks = [Heading("H"), "a **b** `c` <d>", Lines(["one"]), table, picture]
    page, text = html("T", blocks), markdown("T", blocks, root=tmp_path)
    assert "<p>a <b>b</b> <code>c</code> &lt;d&gt;</p>" in page and "<li>one</li>" in page and "<caption>said</caption>" in page
    assert "## H" in text and "* one" in text and "|  | x\\|y |\n|---|---:|\n| r | 1 |" in text and "![it](x.png)" in text
