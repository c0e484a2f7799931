"""The position is taken out of tokens that hold it, and what else they hold stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluation.test_layers import judged  # noqa: F401
from vsie.evaluation import erasure, position


def tokens(objects: int, seed: int) -> position.Set:
    """Tokens (60 dims) of 6 x 6: the class in 8, the position and some curve of it mixed into all, noise."""
    shared, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    places = erasure.positions(6, 6)
    bends = [(torch.pi * number * places).sin() for number in (1, 2)]
    curve = torch.cat([places, *bends], 1).float() @ torch.randn(6, 60, generator=shared)
    labels = torch.arange(objects) % 3
    content = torch.nn.functional.pad(2 * torch.randn(3, 8, generator=shared)[labels], (0, 52))
    values = content[:, None] + 2 * curve + 0.5 * torch.randn(objects, 36, 60, generator=own)
    turns = torch.eye(3, dtype=torch.float64).flatten().expand(objects, 9)
    return position.Set(values, np.arange(objects) + 1000 * seed, labels, turns)


@pytest.fixture(scope="module")
def outcome():
    train, test, places = tokens(90, 1), tokens(45, 2), erasure.positions(6, 6)
    fitted = position.erasers(train.tokens.flatten(0, 1), places.repeat(90, 1))
    kinds = {"none": None, **fitted}
    return {name: position.judge(train, test, places, eraser) for name, eraser in kinds.items()}, fitted


def test_the_position_goes_and_the_class_stays(outcome):
    found, fitted = outcome
    assert set(fitted) == {"leace", "leace-waves", "linear", "inlp", "rasa"}
    assert found["none"]["position_linear"].value > 0.9 and found["none"]["class_linear"].value > 0.95
    for name in ("leace", "inlp", "rasa"):
        assert found[name]["position_linear"].value < 0.15, name
    assert abs(found["leace"]["position_linear"].value) < 0.02
    # what is a curve of the position, a kernel still reads; not so where the curves were erased too
    assert found["leace-waves"]["position_kernel"].value < 0.1 < found["leace"]["position_kernel"].value
    for name in fitted:
        own = found[name]["class_linear"]
        assert own.value > 0.9 and own.interval[0] <= own.value <= own.interval[1]
    assert "pose_linear" not in found["none"]  # nothing turns here


def test_a_random_subspace_of_the_same_rank_leaves_the_position(outcome):
    _, fitted = outcome
    train, test, places = tokens(90, 1), tokens(45, 2), erasure.positions(6, 6)
    moments = position.Moments.of(train.tokens.flatten(0, 1))
    control = position.judge(train, test, places, erasure.random(moments, fitted["leace"].rank))
    assert control["position_linear"].value > 0.8


def test_tokens_without_a_position_tell_none_whatever_order_the_pictures_are_in():
    """Sorted by class, as manifests are: of tokens at even distances the column goes with the class."""
    sets = []
    for number, seed in ((1500, 1), (750, 2)):
        labels = torch.arange(number) * 12 // number
        centres = 2 * torch.randn(12, 24, generator=torch.Generator().manual_seed(0))
        noise = torch.randn(number, 16, 24, generator=torch.Generator().manual_seed(seed))
        sets.append(position.Set(centres[labels][:, None] + noise, np.arange(number) + 10_000 * seed, labels, None))
    found = position.judge(*sets, erasure.positions(4, 4), None)
    assert abs(found["position_linear"].value) < 0.02 and "pose_linear" not in found


def test_waves_span_what_changes_along_both_sides():
    places = erasure.positions(5, 7)
    functions = position.waves(places)
    assert functions.shape == (35, 2 + 12 + 36)
    wanted = (2 * torch.pi * places[:, :1]).sin() * (torch.pi * places[:, 1:]).cos()
    weights = torch.linalg.lstsq(functions, wanted).solution
    assert torch.allclose(functions @ weights, wanted, atol=1e-6)


def test_the_suite_looks_at_the_last_map_that_is_large_enough(judged):  # noqa: F811
    result, _ = judged
    assert any("position: tokens of backbone.1, 8 x 8" in note for note in result.notes)
    metrics = result.metrics
    # tokens of four dimensions: whatever takes all of them is said to keep nothing
    for eraser in ("leace", "linear", "rasa"):
        assert metrics[f"position/kept/{eraser}"] >= 0 and 0 <= metrics[f"position/change/{eraser}"] <= 1.01
        if metrics[f"position/kept/{eraser}"]:
            for beside in ("floor", "before", "random"):
                assert np.isfinite(metrics[f"position/position_linear/{eraser}/{beside}"])
