"""A checkpoint is whole at every instant, and reading one changes nothing."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest
import torch
from safetensors.torch import save

from vsie import checkpoint, files

CONFIG = {"encoder": {}, "method": {}, "conditioning": {}, "predictor": {}}


class Killed(BaseException):
    """In place of a signal."""


def killed(*_):
    raise Killed


def test_a_kill_between_two_renames_loses_nothing_and_a_reader_moves_nothing(tmp_path, monkeypatch):
    model = torch.nn.Linear(2, 2)
    checkpoint.save(tmp_path, model, CONFIG, {"step": 1})
    (tmp_path / checkpoint.FOLDER).rename(tmp_path / checkpoint.PREVIOUS)  # as in the middle of `save`
    assert checkpoint.load_state(tmp_path) == {"step": 1}
    assert not (tmp_path / checkpoint.FOLDER).exists()
    monkeypatch.setattr(checkpoint, "to_bytes", killed)
    for process in (99999998, 99999999):  # that are not running
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(files, "_remove", lambda path: None)  # nobody cleans up
            checkpoint.save(tmp_path, model, CONFIG, {"step": 2})
    assert len(list(tmp_path.glob("*.partial.next"))) + len(list(tmp_path.glob(".*.partial.next"))) >= 2
    monkeypatch.setattr(checkpoint, "to_bytes", save)
    checkpoint.save(tmp_path, model, CONFIG, {"step": 2})  # by a process that has the number of one of them
    begun = tmp_path / f"..checkpoint.{os.getppid()}.partial.next"
    begun.mkdir()  # by a process that is running
    checkpoint.save(tmp_path, model, CONFIG, {"step": 2})
    begun.rmdir()
    assert checkpoint.load_state(tmp_path) == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FOLDER]


def test_what_is_damaged_is_named(tmp_path):
    checkpoint.save(tmp_path, torch.nn.Linear(2, 2), CONFIG, {"step": 1})
    folder = checkpoint.locate(tmp_path)
    state = (folder / "state.pt").read_bytes()
    for part in (state[: len(state) // 2], b"", b"no state at all"):
        (folder / "state.pt").write_bytes(part)
        with pytest.raises(ValueError, match="state.pt is not the state of a training"):
            checkpoint.load_state(tmp_path)
    (folder / "config.yaml").write_text("method: [vsie")
    with pytest.raises(ValueError, match="config.yaml is not YAML"):
        checkpoint.read_config(tmp_path)


@pytest.mark.parametrize("megabytes, written", [(1, "model"), (6, "state")])
def test_a_full_disk_is_told_by_name_and_keeps_the_checkpoint_before(tmp_path, megabytes, written):
    """Weights take 4 MB: a disk of so many more is full while `written` is; only where a file system can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk]
    if subprocess.run(size, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        small, large = torch.nn.Linear(2, 2), torch.nn.Linear(1000, 1000)
        checkpoint.save(disk, small, CONFIG, {"step": 1})
        with pytest.raises(OSError, match="no space left on the disk.*nothing was replaced") as caught:
            checkpoint.save(disk, large, CONFIG, {"step": 2, "moments": torch.zeros(1000, 1000)})
        assert caught.value.errno == errno.ENOSPC
        assert checkpoint.load_state(disk) == {"step": 1}
        assert [path.name for path in disk.iterdir()] == [checkpoint.FOLDER]
    finally:
        subprocess.run(["umount", disk], check=True)
