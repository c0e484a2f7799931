from __future__ import annotations

import math

import pytest
import torch

from vsie import collapse


def test_rankme_equals_the_entropy_of_the_singular_values():
    features = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 12)
    singular = torch.linalg.svdvals((features - features.mean(0)).double())
    share = singular / singular.sum()
    expected = math.exp(-float((share * share.log()).sum()))
    assert collapse.rankme(features) == pytest.approx(expected, rel=1e-6)
    assert collapse.rankme(features[:8]) <= 7 + 1e-6  # fewer points than dimensions


def test_rankme_counts_directions():
    generator = torch.Generator().manual_seed(0)
    assert collapse.rankme(torch.randn(20_000, 8, generator=generator)) == pytest.approx(8, abs=0.01)
    line = torch.randn(100, 1, generator=generator) * torch.ones(8)
    assert collapse.rankme(line) == pytest.approx(1, abs=1e-3)
    assert collapse.rankme(torch.full((100, 8), 3.0)) == 0
    assert collapse.rankme(torch.full((100, 8), 0.1)) == 0


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.zeros(3), torch.tensor([[math.nan, 1.0]])])
def test_rankme_refuses_what_has_no_rank(bad):
    with pytest.raises(ValueError, match="rankme takes"):
        collapse.rankme(bad)


def test_within_object_share():
    generator = torch.Generator().manual_seed(0)
    objects = torch.arange(200).repeat_interleave(10)
    own = torch.randn(200, 5, generator=generator).repeat_interleave(10, 0)
    noise = torch.randn(2000, 5, generator=generator)
    assert collapse.within_object_share(own, objects) == pytest.approx(0, abs=1e-9)
    assert collapse.within_object_share(noise, objects) == pytest.approx(0.9, abs=0.02)  # 1 - 1/10: means of ten
    half = collapse.within_object_share(own + noise, objects)
    assert half == pytest.approx(0.9 / 2, abs=0.03)
    dead = torch.cat([own + noise, torch.zeros(2000, 3)], 1)
    assert collapse.within_object_share(dead, objects) == pytest.approx(half)  # dead dimensions do not count


def test_summary_keys():
    values = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    keys = collapse.summary({"inv": values, "all": values}, torch.arange(30) // 3)
    assert set(keys) == {f"collapse/{m}/{p}" for m in ("rankme", "std", "within_object_share") for p in ("inv", "all")}
