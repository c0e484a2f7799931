"""Features that are larger than memory: what is held of them, and that the figures are those of arrays in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import features, in_a_file
from vsie import collapse, feature_set
from vsie.benchmarks import memory
from vsie.evaluation import classification, steering
from vsie.evaluation import pose as pair
from vsie.evaluation.inputs import _spread
from vsie.feature_set import flat, load_features, save_features


@pytest.fixture
def small(monkeypatch):
    """Everything is large, and read in pieces of 64 rows."""
    for module in (feature_set, steering):
        monkeypatch.setattr(module, "LARGE", 32)
    for module in (feature_set, collapse, classification, pair):
        monkeypatch.setattr(module, "CHUNK", 64)


def test_pre_and_probes_hold_pieces_and_not_tables(small, tmp_path):
    data, predictor = memory.noise(tmp_path / "noise", 1500, 256), memory.Bare(256)  # 77 MB in files
    assert in_a_file(flat(data, "equi", "image"))
    memory.probes(memory.noise(tmp_path / "first", 20, 256), steps=2)  # what the first use of anything takes
    with memory.watched() as held:
        embedded = steering.embed(predictor, flat(data, "all", "image"), chunk=512)
        steering.retrieve(predictor, embedded, data, cap=None, released=True)
        steering.pre(predictor, embedded, data, cap=None, chunk=512, limit=600, sources="every")
    assert torch.equal(embedded, torch.from_numpy(np.array(data.image)).flatten(0, 1))
    assert 0 < held["more"] < 45e6 and held["seconds"] > 0


def test_in_pieces_the_figures_are_the_same(small, tmp_path, monkeypatch):
    train, test = (features(objects=30, clips=2, frames=4, noise=0.3, seed=s, first_object=1000 * s) for s in (1, 2))
    save_features(tmp_path / "train", train)
    save_features(tmp_path / "test", test)
    stored = [load_features(tmp_path / name) for name in ("train", "test")]
    parts, objects = ("inv", "equi", "all"), torch.from_numpy(np.repeat(test.objects, test.frames))
    pieces = {
        "collapse": collapse.summary({part: flat(stored[1], part, "clip") for part in parts}, objects),
        "classification": {part: classification.classify(*stored, part).values for part in parts},
        "spread": _spread(stored[1].rows("equi")),
    }
    targets = [pair.Targets.of(f, reference=torch.tensor([0, 0, 0, 1.0]).double(), frame="body") for f in (train, test)]
    probe = pair.fit(flat(stored[0], "equi", "image"), targets[0], train.views(), steps=30)
    pairs = pair.fixed_pairs(test)
    answers = probe.predict(flat(stored[1], "equi", "image"), *pairs, chunk=50)
    monkeypatch.undo()
    for name, value in collapse.summary({part: flat(test, part, "clip") for part in parts}, objects).items():
        assert pieces["collapse"][name] == pytest.approx(value, rel=1e-9), name
    for part in parts:
        for name, value in classification.classify(train, test, part).values.items():
            np.testing.assert_array_equal(pieces["classification"][part][name], value)
    whole = probe.predict(flat(test, "equi", "image"), *pairs)
    assert torch.allclose(answers, whole, atol=1e-5)
    values = test.rows("equi")
    expected = (0, np.abs(values).max(), values.std(0).max())
    assert pieces["spread"] == pytest.approx(expected, rel=1e-5)


def test_rows_that_are_not_finite_are_counted():
    values = np.ones((10, 3), np.float32)
    values[4, 1] = values[7, 0] = np.nan
    assert _spread(values)[0] == 2


def test_features_of_stills_are_kept_once(tmp_path):
    data = features(objects=3, clips=2, frames=4)
    data = dataclasses.replace(data, clip=data.image)
    save_features(tmp_path / "stills", data)
    assert not (tmp_path / "stills" / "clip.npy").exists()
    again = load_features(tmp_path / "stills")
    assert again.clip is again.image and np.array_equal(again.image, data.image)
    again.image[:] = 0  # private: the file stays as it is
    assert np.array_equal(load_features(tmp_path / "stills").image, data.image)


def test_the_benchmark_has_a_bar_for_memory(small):
    rows = memory.measured(embeddings=500, dim=32, queries=40, objects=12)
    most = next(row for row in rows if "most" in row)
    assert most["most"] == 4 and 0 < most["value"] < 4 and all(np.isfinite(row["value"]) for row in rows)
