from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import features
from vsie.evaluation import classification


def test_the_linear_probe_finds_the_optimum():
    """At the optimum of mean cross entropy + l2 / 2 |W|^2 the gradient, written out by hand, is zero."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 6, generator=generator), torch.randint(3, (300,), generator=generator)
    weights = classification.fit_linear(x, y, classes=3, penalty=0.05)
    residual = (x @ weights[:-1] + weights[-1]).softmax(1) - torch.nn.functional.one_hot(y, 3)
    assert (x.mT @ residual / 300 + 0.05 * weights[:-1]).abs().max() < 1e-4
    assert residual.mean(0).abs().max() < 1e-4


def test_nearest_neighbours_equal_a_loop():
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(40, 5, generator=generator), torch.randn(7, 5, generator=generator)
    labels = torch.randint(3, (40,), generator=generator)
    votes = classification.nearest_neighbours(train, labels, test, classes=3, neighbours=6, chunk=3)
    mean = train.mean(0)
    for row in range(7):
        cosines = torch.stack([torch.cosine_similarity(test[row] - mean, other - mean, dim=0) for other in train])
        expected = torch.zeros(3)
        for index in cosines.argsort(descending=True)[:6]:
            expected[labels[index]] += torch.exp((cosines[index] - 1) / 0.07)
        torch.testing.assert_close(votes[row], expected, rtol=1e-4, atol=1e-6)


def test_class_is_in_the_invariant_part_and_not_in_the_rest():
    train, test = features(objects=60, seed=1), features(objects=40, seed=2, first_object=1000)
    inv, equi = (classification.classify(train, test, part) for part in ("inv", "equi"))
    for name in ("top1", "knn", "clip_top1"):
        assert inv.values[name].mean() > 0.95
        assert equi.values[name].mean() < 0.45  # four classes
        assert len(inv.values[name]) == len(inv.objects[name])
    assert inv.values["top5"].mean() == 1


def test_where_objects_are_many_the_probes_still_see_all_of_them(monkeypatch):
    """3DIEBench has 41,920 train objects: the linear probe sees four frames of each, and neighbours are looked for in one."""
    monkeypatch.setattr(classification, "TRAIN_FRAMES", 40)
    seen = {}

    def noting(name):
        whole = getattr(classification, name)
        return lambda x, *rest, **options: seen.setdefault(name, x) is None or whole(x, *rest, **options)

    for name in ("linear_probe", "nearest_neighbours"):
        monkeypatch.setattr(classification, name, noting(name))
    train, test = (features(objects=60, clips=1, frames=6, seed=s, first_object=99 * s) for s in (1, 2))
    assert classification.classify(train, test, "inv").values["top1"].mean() > 0.95
    assert len(seen["linear_probe"]) == 4 * 60 and len(seen["nearest_neighbours"]) == 60
    rows = torch.from_numpy(train.part("inv", "image"))
    assert all((row == clip).all(-1).any() for row, clip in zip(seen["nearest_neighbours"], rows, strict=True))


def test_floors_are_the_commonest_class():
    train, test = features(objects=20, seed=1), features(objects=20, seed=2)
    train = dataclasses.replace(train, labels=np.where(train.labels == 0, 1, train.labels))
    floors = classification.floors(train, test)
    assert floors["top1"] == pytest.approx((test.labels == 1).mean())
    assert floors["top5"] == 1 and floors["knn"] == floors["clip_top1"] == floors["top1"]


def test_clips_without_label_are_left_out():
    train, test = features(objects=30, seed=1), features(objects=20, seed=2, first_object=1000)
    some = np.where(np.arange(len(test.labels)) % 4 == 0, -1, test.labels)
    correct = classification.classify(train, dataclasses.replace(test, labels=some), "inv")
    assert len(correct.values["clip_top1"]) == (some >= 0).sum()
    assert correct.values["top1"].mean() > 0.9
    with pytest.raises(ValueError, match="test features has a label"):
        classification.classify(train, dataclasses.replace(test, labels=np.full_like(some, -1)), "inv")


def test_a_constant_dimension_and_scale_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    x = torch.randn(200, 3, generator=generator) + y[:, None] * 3
    objects = np.arange(200) // 4
    plain = classification.linear_probe(x, y, objects, x, classes=2)
    odd = torch.cat([x * torch.tensor([1e4, 1.0, 1e-3]), torch.full((200, 1), 7.0)], 1)
    scaled = classification.linear_probe(odd, y, objects, odd, classes=2)
    assert (plain.argmax(1) == y).float().mean() > 0.97
    assert (plain.argmax(1) == scaled.argmax(1)).float().mean() > 0.99
