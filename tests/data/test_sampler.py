from __future__ import annotations

import pytest

from vsie.data import EpochSampler


def test_ranks_side_by_side_give_the_batches_of_one_process():
    whole = list(EpochSampler(103, 12, seed=4, epoch=2))
    for world in (2, 3, 4):
        shares = [list(EpochSampler(103, 12, seed=4, epoch=2, rank=rank, world=world)) for rank in range(world)]
        assert all(len(batch) == 12 // world for share in shares for batch in share)
        assert [sum(parts, []) for parts in zip(*shares, strict=True)] == whole


def test_an_epoch_shows_each_item_once_and_drops_the_rest():
    sampler = EpochSampler(103, 12, seed=4)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 8
    shown = sum(batches, [])
    assert len(set(shown)) == 96 and set(shown) < set(range(103))
    sampler.set_epoch(1)
    assert set(sum(sampler, [])) != set(shown), "another epoch drops others"


def test_order_depends_on_seed_and_epoch():
    first = list(EpochSampler(50, 10, seed=1, epoch=3))
    assert list(EpochSampler(50, 10, seed=1, epoch=3)) == first
    assert list(EpochSampler(50, 10, seed=1, epoch=4)) != first
    assert list(EpochSampler(50, 10, seed=2, epoch=3)) != first


def test_it_starts_at_any_step():
    whole = list(EpochSampler(50, 10, seed=1, epoch=3))
    for step in range(6):
        rest = EpochSampler(50, 10, seed=1, epoch=3, start_step=step)
        assert list(rest) == whole[step:] and len(rest) == 5 - step


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 9, "batch": 10}, "9 items, expected at least one global batch of 10"),
        ({"length": 90, "batch": 10, "world": 3}, "global batch is 10, expected a positive multiple of the 3"),
        ({"length": 90, "batch": 0}, "global batch is 0"),
        ({"length": 90, "batch": 10, "rank": 2, "world": 2}, "rank is 2, expected 0 to 1"),
        ({"length": 90, "batch": 10, "start_step": 10}, "start_step is 10, expected 0 to 9"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EpochSampler(**settings)
