"""A list of check sums is written by the first copy that is whole, and finds every later change."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.test_config import run
from vsie.data import VideoError, checksums
from vsie.render.dataset import render_dataset

VIEWS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return render_dataset(
        out=tmp_path_factory.mktemp("bench") / "set", objects=6, clips_per_object=VIEWS, frames=None, size=16, trajectory=None,
        seed=3, workers=1, layout="3diebench", supersample=1, families=["car", "sofa"], val_fraction=0.4, progress=False,
    )  # fmt: skip


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def verify(folder: Path, file: Path, **options) -> checksums.Verdict:
    return checksums.verify(folder, file, **{"views": VIEWS, "workers": 1} | options)


def test_the_first_run_writes_what_the_second_compares(folder, tmp_path):
    first = verify(folder, tmp_path / "list.csv")
    assert (first.objects, first.views, first.known, first.written) == (6, 18, False, tmp_path / "list.csv")
    assert first.bytes == sum(path.stat().st_size for path in (*folder.glob("*/*/*"), *folder.glob("*.npy")))
    second = verify(folder, tmp_path / "list.csv")
    assert second.written is None and second.bytes == first.bytes
    lines = (tmp_path / "list.csv").read_text().splitlines()
    assert lines[0] == "object,files,bytes,sha256" and len(lines) == 1 + 6 + 5  # the index files, after the objects
    name, _, _, found = next(line for line in lines[1:] if "/" in line).split(",")
    files = sorted((folder / name).iterdir())
    expected = hashlib.sha256(b"".join(f"{f.name}\0{f.stat().st_size}\0".encode() + f.read_bytes() for f in files))
    assert found == expected.hexdigest()


def test_workers_write_the_same_list(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "CHUNK", 2)
    verify(folder, tmp_path / "one.csv")
    verify(folder, tmp_path / "two.csv", workers=2)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize(("spoil", "told"), [
    (lambda f: np.save(f / "latent_1.npy", np.load(f / "latent_1.npy") * 0.5), "sha256 .*, expected"),
    (lambda f: (f / "image_0.jpg").write_bytes((f / "image_1.jpg").read_bytes() + b"\0"), "bytes .*, expected"),
    (lambda f: shutil.copy(f / "image_0.jpg", f / "image_9.jpg"), "files 7, expected 6"),
])  # fmt: skip
def test_changes_are_found_and_named(folder, copy, tmp_path, spoil, told):
    verify(folder, tmp_path / "list.csv")
    name = np.load(copy / "val_images.npy")[0].strip("/")
    spoil(copy / name)
    with pytest.raises(ValueError, match=f"{copy / name}: {told}.* as in .*list.csv"):
        verify(copy, tmp_path / "list.csv")


def test_another_split_or_other_labels_are_another_copy(folder, copy, tmp_path):
    verify(folder, tmp_path / "list.csv")
    for what in ("images", "labels"):
        train, val = copy / f"train_{what}.npy", copy / f"val_{what}.npy"
        train.rename(copy / "kept"), val.rename(train), (copy / "kept").rename(val)
    with pytest.raises(ValueError, match=r"copy/train_images.npy: (bytes|sha256) .*, expected .* as in .*list.csv"):
        verify(copy, tmp_path / "list.csv")


def test_a_copy_that_is_not_whole_writes_no_list(copy, tmp_path):
    image = copy / np.load(copy / "val_images.npy")[0].strip("/") / "image_2.jpg"
    image.write_bytes(image.read_bytes()[:99])
    with pytest.raises(VideoError, match="image_2.jpg: not an image that can be read whole"):
        verify(copy, tmp_path / "list.csv")
    assert not (tmp_path / "list.csv").exists()


def test_a_list_of_other_objects_is_refused(folder, copy, tmp_path):
    verify(folder, tmp_path / "list.csv")
    for name in ("train_images", "train_labels"):
        np.save(copy / f"{name}.npy", np.load(copy / f"{name}.npy")[:-1])
    with pytest.raises(ValueError, match=r"list.csv: .* \(1 in all\) is in the list and not in the index of"):
        verify(copy, tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="list.csv: not a list of check sums"):
        verify(folder, tmp_path / "list.csv")


def test_the_command_says_what_it_found(folder, tmp_path, tools):
    result = run(tools, "verify", f"root={folder}", "list=sums.csv", f"views={VIEWS}", "workers=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "whole, 6 objects (not the numbers of 3DIEBench), 18 views" in result.stdout
    assert (tmp_path / "sums.csv").is_file()
