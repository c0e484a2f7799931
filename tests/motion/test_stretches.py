"""A video of any length is cut where it is cut, and divided where it is long."""

from __future__ import annotations

import numpy as np
import pytest

from tests.motion.scenes import SIZE, moved, similarity, texture
from vsie.motion.stretches import AROUND, cut_steps, cuts, stretches


def test_cuts_are_found_and_motion_is_none():
    before = moved([similarity(shift=(2.0 * t, 0)) for t in range(5)], background=texture(SIZE, 3))
    after = moved([similarity(angle=0.1 * t) for t in range(4)], background=255 - texture(SIZE, 9) // 2)
    assert np.flatnonzero(cuts(np.concatenate([before, after]))).tolist() == [4]
    assert not cuts(before).any() and not cuts(after).any()
    assert not cuts(np.zeros((6, 32, 32, 3), np.uint8)).any()
    assert cuts(before[:1]).shape == (0,)
    assert cuts(np.stack([np.zeros((32, 32, 3)), np.full((32, 32, 3), 200)]).astype(np.uint8)).tolist() == [True]


def test_a_cut_is_judged_by_the_steps_around_it():
    rng = np.random.default_rng(0)
    change = rng.uniform(1, 5, 200) + 70 * (rng.random(200) < 0.03) + 20 * (rng.random(200) < 0.1)
    for step, value in enumerate(change):
        around = np.delete(change[max(0, step - 4) : step + 5], min(step, 4))
        assert cut_steps(change)[step] == (value > 60 or (value > 12 and value > 4 * np.median(around)))
    assert 5 < cut_steps(change).sum() < 40


@pytest.mark.parametrize("piece", (1, 3, 7, 100))
@pytest.mark.parametrize("longest", (2, 5, 16))
def test_every_step_that_is_no_cut_is_in_one_stretch(piece, longest):
    """Frames whose grey says which scene they are of; a scene has 1 to 40 frames."""
    scenes = (1, 2, 9, 40, 10, 11, 1, 17, 5)
    levels = np.repeat(np.arange(len(scenes)) * 97 % 256, scenes)
    frames = np.broadcast_to(levels[:, None, None, None], (len(levels), 4, 4, 3)).astype(np.uint8)
    parts = list(stretches((frames[i : i + piece].copy() for i in range(0, len(frames), piece)), len(frames), longest))
    covered = np.zeros(len(frames) - 1, int)
    for before, part in zip([None, *parts], parts, strict=False):
        stop = part.first + len(part.frames)
        assert 1 <= len(part.frames) <= longest and (part.frames == frames[part.first : stop]).all()
        held = part.frames if part.frames.base is None else part.frames.base  # what it keeps in memory
        assert len(held) < 2 * longest + AROUND + 1 + piece
        covered[part.first : stop - 1] += 1
        end = 0 if before is None else before.first + len(before.frames)
        assert part.first == end - part.goes_on
        assert part.goes_on == (before is not None and bool(levels[end - 1] == levels[min(end, len(levels) - 1)]))
    assert (covered == (np.diff(levels) == 0)).all() and stop == len(frames)
    inner = [len(part.frames) for part in parts if part.goes_on]
    assert min(inner) > longest // 2  # what is divided is divided evenly at the end
