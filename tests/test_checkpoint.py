"""A checkpoint is whole at every instant, and reading one changes nothing."""

from __future__ import annotations

import torch

from vsie import checkpoint

CONFIG = {"encoder": {}, "method": {}, "conditioning": {}, "predictor": {}}


def test_a_kill_between_two_renames_loses_nothing_and_a_reader_moves_nothing(tmp_path):
    model = torch.nn.Linear(2, 2)
    checkpoint.save(tmp_path, model, CONFIG, {"step": 1})
    (tmp_path / checkpoint.FOLDER).rename(tmp_path / checkpoint.PREVIOUS)  # as in the middle of `save`
    assert checkpoint.load_state(tmp_path) == {"step": 1}
    assert not (tmp_path / checkpoint.FOLDER).exists()
    (tmp_path / ".checkpoint.12.partial.next").mkdir()  # a save that was killed
    checkpoint.save(tmp_path, model, CONFIG, {"step": 2})
    assert checkpoint.load_state(tmp_path) == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FOLDER]
