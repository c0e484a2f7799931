from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vsie import checkpoint, pipeline, report
from vsie import eraser as erasers
from vsie.config import compose, to_plain
from vsie.eraser import Eraser
from vsie.evaluation import suite
from vsie.extraction import extract, weights_digest
from vsie.features import load
from vsie.model import build_method
from vsie.render.dataset import render_dataset


def an_eraser(dims=6, rank=2, **options):
    basis = torch.linalg.qr(
        torch.randn(dims, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ).Q.contiguous()
    return Eraser(torch.arange(dims).double(), basis, basis, "made up", **options)


def test_it_projects_about_the_mean():
    eraser = an_eraser()
    x = torch.randn(4, 3, 6)
    once = eraser(x)
    assert once.dtype == torch.float32 and once.shape == x.shape
    torch.testing.assert_close(eraser(once), once)
    torch.testing.assert_close(eraser(eraser.mean), eraser.mean)
    torch.testing.assert_close(
        (once.double() - eraser.mean) @ eraser.right, torch.zeros(4, 3, 2, dtype=torch.float64), atol=1e-5, rtol=0
    )
    with pytest.raises(ValueError, match="takes latents of width 6, found 5"):
        eraser(x[..., :5])


def test_within_a_wider_latent_it_leaves_the_rest_alone():
    eraser = an_eraser()
    x = torch.randn(5, 10)
    wide = eraser.within(10, 3)(x)
    torch.testing.assert_close(wide[:, 3:9], eraser(x[:, 3:9]))
    assert torch.equal(wide[:, :3], x[:, :3]) and torch.equal(wide[:, 9:], x[:, 9:])


def test_it_is_the_same_after_saving_with_a_run(tmp_path):
    eraser = an_eraser(encoder="abc")
    file = erasers.save_with(tmp_path, eraser)
    assert erasers.find(tmp_path, "made up") == file and erasers.find(tmp_path, file) == file
    (tmp_path / "other").touch()
    assert file.stat().st_mode == (tmp_path / "other").stat().st_mode, "for whom all files of a run are"
    loaded = erasers.load(file, encoder="abc", dim=6)
    assert (loaded.name, loaded.encoder, loaded.rank) == ("made up", "abc", 2)
    x = torch.randn(7, 6)
    assert torch.equal(loaded(x), eraser(x))


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    file = erasers.save_with(tmp_path, an_eraser(encoder="abc"))
    with pytest.raises(ValueError, match="fitted on the encoder abc, this one is xyz"):
        erasers.load(file, encoder="xyz")
    with pytest.raises(ValueError, match="latents of width 6, the encoder's have 8"):
        erasers.load(file, dim=8)
    with pytest.raises(FileNotFoundError, match="no eraser leace, .* it has made up"):
        erasers.find(tmp_path, "leace")
    other = tmp_path / "other.safetensors"
    save_file({"mean": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match="holds no eraser"):
        erasers.load(other)
    other.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match="not a readable eraser"):
        erasers.load(other)
    with pytest.raises(ValueError, match=r"eraser.left has shape \(5, 2\), expected \(6, 2\)"):
        dataclasses.replace(an_eraser(), left=torch.zeros(5, 2))


def test_extraction_applies_it_and_names_what_is_missing(tmp_path):
    config = to_plain(compose("train", ["experiment=debug"]))
    run = tmp_path / "run"
    checkpoint.save(run, build_method(config), config, {})
    clips = render_dataset(
        out=tmp_path / "clips", objects=2, clips_per_object=1, frames=4, size=32, workers=1, families=["chair"],
        trajectory="turntable", seed=0, progress=False,
    )  # fmt: skip
    model = load(run)
    basis = torch.eye(model.encoder.dim, dtype=torch.float64)[:, :3]  # the first three dimensions, set to 7
    erasers.save_with(run, Eraser(torch.full((model.encoder.dim,), 7.0).double(), basis, basis, "three", weights_digest(model)))
    for name, eraser in (("plain", None), ("clean", "three")):
        extract(run, clips, tmp_path / f"{name}.npz", frames=2, spacing=1, size=32, eraser=eraser)
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "clean.npz") as clean:
        np.testing.assert_allclose(clean["invariant"][:, :3], 7, atol=1e-5)
        np.testing.assert_allclose(clean["invariant"][:, 3:], plain["invariant"][:, 3:], atol=1e-5)
        np.testing.assert_allclose(clean["equivariant"], plain["equivariant"], atol=1e-5)
    with pytest.raises(FileNotFoundError, match="has no eraser four.* it has three"):
        extract(run, clips, tmp_path / "none.npz", eraser="four")


def test_evaluation_keeps_erasers_with_the_run_and_extraction_takes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("vsie.evaluation.audit.PAIR_STEPS", 5)
    clips = render_dataset(
        out=tmp_path / "clips", objects=16, clips_per_object=2, frames=4, size=32, workers=1, families=["chair", "mug"],
        trajectory="turntable", seed=0, val_fraction=0.5, progress=False,
    )  # fmt: skip
    config = compose("train", ["experiment=debug", f"data.root={clips}", "data.size=32", "data.frames=2", "data.spacing=[1,1]"])
    run = tmp_path / "run"
    checkpoint.save(run, build_method(to_plain(config)), to_plain(config), {})
    metrics = pipeline.evaluate(run, config=config, protocols=["erasure"])
    assert 0 < metrics["erasure/change/leace-rotation"] < 2  # of so few objects an untrained encoder knows little that holds
    assert metrics["erasure/kept/leace-rotation"] == 62
    assert "the pose erased afterwards" in (run / "table.txt").read_text() and (run / "measures.md").is_file()
    assert {file.stem for file in (run / "erasers").iterdir()} >= {"leace-rotation", "leace-basis", "inlp", "rasa", "orbit"}
    assert extract(run, clips, tmp_path / "clean.npz", split="val", eraser="leace-rotation")[0] > 0


def test_what_is_fitted_on_other_data_does_not_replace_the_erasers_of_the_run(clips, tmp_path, monkeypatch):
    """They lie with the results; `eraser=NAME` is the run's, whatever it was judged on since."""
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    config = to_plain(compose("train", ["experiment=debug", "data.frames=1", "encoder.mixing=0", f"data.root={clips}"]))
    run, judged = tmp_path / "run", tmp_path / "judged"
    checkpoint.save(run, build_method(config), config, {})
    monkeypatch.setattr(pipeline, "feature_set", lambda run, method, splits, *_, **__: [None for _ in splits])
    monkeypatch.setattr(pipeline, "Measured", lambda *_: None)
    monkeypatch.setattr(report, "write_report", lambda *_, **__: None)

    def evaluate(mean: float, **options):
        found = suite.Result(erasers={"made up": dataclasses.replace(an_eraser(), mean=mean * torch.ones(6).double())})
        monkeypatch.setattr(suite, "evaluate", lambda *_, **__: found)
        pipeline.evaluate(run, protocols=["classification"], **options)

    evaluate(1.0)
    evaluate(2.0, data=str(shutil.copytree(clips.parent, tmp_path / "other")), out=judged)
    assert float(erasers.load(erasers.find(run, "made up")).mean[0]) == 1
    assert float(erasers.load(erasers.find(judged, "made up")).mean[0]) == 2
    evaluate(3.0, out=judged)  # other questions of the run's own data
    assert float(erasers.load(erasers.find(run, "made up")).mean[0]) == 3
