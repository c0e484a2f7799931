from __future__ import annotations

import pytest

from vsie.data import StepSampler


def test_ranks_side_by_side_give_the_batches_of_one_process():
    whole = list(StepSampler(103, 12, seed=4, end=20))
    for world in (2, 3, 4):
        shares = [list(StepSampler(103, 12, seed=4, end=20, rank=rank, world=world)) for rank in range(world)]
        assert all(len(batch) == 12 // world for share in shares for batch in share)
        assert [sum(parts, []) for parts in zip(*shares, strict=True)] == whole


def test_an_epoch_shows_each_item_once_and_drops_the_rest():
    batches = list(StepSampler(103, 12, seed=4, end=16))
    assert [{epoch for epoch, _ in batch} for batch in batches] == [{0}] * 8 + [{1}] * 8
    first, second = ({index for batch in half for _, index in batch} for half in (batches[:8], batches[8:]))
    assert len(first) == len(second) == 96 and first < set(range(103))
    assert first != second, "another epoch drops others"


def test_order_depends_on_seed_and_epoch():
    first = list(StepSampler(50, 10, seed=1, end=10))
    assert list(StepSampler(50, 10, seed=1, end=10)) == first
    assert [[i for _, i in batch] for batch in first[:5]] != [[i for _, i in batch] for batch in first[5:]]
    assert list(StepSampler(50, 10, seed=2, end=10)) != first


def test_it_starts_at_any_step():
    whole = list(StepSampler(50, 10, seed=1, end=17))
    for step in range(18):
        rest = StepSampler(50, 10, seed=1, start=step, end=17)
        assert list(rest) == whole[step:] and len(rest) == 17 - step


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 9, "batch": 10}, "9 objects, expected at least one global batch of 10"),
        ({"length": 90, "batch": 10, "world": 3}, "global batch is 10, expected a positive multiple of the 3"),
        ({"length": 90, "batch": 0}, "global batch is 0"),
        ({"length": 90, "batch": 10, "rank": 2, "world": 2}, "rank is 2, expected 0 to 1"),
        ({"length": 90, "batch": 10, "start": 11}, "start is 11, expected 0 to the end 10"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StepSampler(**{"end": 10} | settings)
