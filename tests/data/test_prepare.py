"""From a data set's folder to a manifest: what is written, what is left out, when it is made anew; and every reader's YAML."""

from __future__ import annotations

import csv
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import moving_picture, write_video
from tests.data.test_image_sequence import write_images
from tests.test_config import run
from vsie import components
from vsie.config import CONFIGS, compose
from vsie.data import decode, load
from vsie.data.prepare import prepare
from vsie.data.readers.base import ClipEntry, LeftOut
from vsie.files import locked

IMAGES = {"name": "images", "min_frames": 2}
RECONSTRUCTED = ("co3d", "colmap", "mvimgnet", "realestate10k")  # by structure from motion, in frames of their own


def left_out(out) -> dict[str, str]:
    with open(out / "left_out.csv", newline="") as file:
        return {row["name"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture
def folder(tmp_path):
    """Six image sequences of two classes, and one that is too short."""
    for number in range(6):
        write_images(tmp_path / "root" / f"kind {number % 2}" / f"clip{number}", moving_picture(4, 16, 16, number), "{}.png")
    write_images(tmp_path / "root" / "kind 1" / "short", moving_picture(1, 16, 16))
    return tmp_path / "root"


def test_every_reader_has_a_yaml_that_says_its_defaults():
    assert components.names("data.readers"), "the room is found"
    for name in components.names("data.readers"):
        reader = compose("train", [f"data={name}", "data.root=DIR"]).data.reader
        options = components.options(components.find("data.readers", name))
        data = compose("train", [f"data={name}", "data.root=DIR"])
        assert (data.conditioning.frame == "camera") == (name in RECONSTRUCTED)
        assert components.build_from("data.readers", reader).anchored == (name == "uco3d")
        assert reader == {"name": name} | {key: default for key, (_, default) in options.items()}
        assert (CONFIGS / "data" / f"{name}.yaml").read_text().startswith("# ")
    with pytest.raises(ValueError, match="val_fraction"):
        compose("train", ["data=co3d", "data.reader.val_fracton=0"])


def test_image_sequences_become_a_manifest_with_classes_times_and_a_split(folder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        written = prepare(IMAGES | {"labels": True, "fps": 10.0, "val_fraction": 0.3}, folder, tmp_path / "out", progress=False)
    assert "1 of 7 clips cannot be used" in caplog.text
    assert left_out(tmp_path / "out") == {"kind 1/short": "1 frames, expected at least 2 (reader.min_frames)"}
    table = load(written)
    assert len(table) == 6 and table.classes == ("kind 0", "kind 1") and len(table.rows("val")) == 2
    assert {str(table.objects[o]).split("/")[0] for o in table.object[table.label == 1]} == {"kind 1"}
    row = list(table.objects).index("kind 1/clip3")
    times = np.arange(4) / 10
    np.testing.assert_array_equal(decode(table.video(row), times), moving_picture(4, 16, 16, 3))
    assert not table.posed.any()
    again = load(prepare(IMAGES | {"labels": True, "val_fraction": 0.3}, folder, tmp_path / "again", progress=False))
    assert sorted(again.objects[again.object[again.rows("val")]]) == sorted(table.objects[table.object[table.rows("val")]])


def test_it_is_made_anew_only_when_something_has_changed(folder, tmp_path):
    out = tmp_path / "out"
    written = prepare(IMAGES, folder, out, progress=False)
    before = written.stat().st_mtime_ns
    assert prepare(IMAGES, folder, out, progress=False).stat().st_mtime_ns == before
    write_images(folder / "new", moving_picture(3, 16, 16))
    assert len(load(prepare(IMAGES, folder, out, progress=False))) == 7
    assert len(load(prepare(IMAGES | {"min_frames": 4}, folder, out, progress=False))) == 6
    assert prepare(IMAGES | {"min_frames": 4}, folder, out, progress=False, overwrite=True).stat().st_mtime_ns != before
    assert sorted(os.listdir(tmp_path)) == [".out.lock", "out", "root"], "nothing half-made is left"


def test_what_others_have_put_beside_it_is_never_lost(folder, tmp_path):
    """Motion that was estimated from a prepared manifest may have gone into its folder."""
    out = tmp_path / "out"
    prepare(IMAGES, folder, out, progress=False)
    (out / "motion").mkdir()
    prepare(IMAGES, folder, out, progress=False)  # nothing has changed: fine
    write_images(folder / "new", moving_picture(3, 16, 16))
    with pytest.raises(ValueError, match=r"out: is to be made anew, and holds motion, which was not made here \(1 in all\)"):
        prepare(IMAGES, folder, out, progress=False)
    assert (out / "motion").is_dir() and len(load(out)) == 6
    (out / "motion").rename(tmp_path / "out-motion")
    assert len(load(prepare(IMAGES, folder, out, progress=False))) == 7


def test_who_prepares_the_same_waits_and_a_failure_leaves_what_was_there(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(IMAGES, folder, out, progress=False)
    with ThreadPoolExecutor(1) as thread, locked(out):
        second = thread.submit(prepare, IMAGES, folder, out, progress=False)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.2)
    before = content(out)
    write_images(folder / "new", moving_picture(3, 16, 16))
    (tmp_path / ".out.partial" / "clips").mkdir(parents=True)  # of one that was killed
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no luck"):
        patch.setattr(Path, "rename", failing(Path.rename))
        prepare(IMAGES, folder, out, progress=False)
    assert content(out) == before and sorted(os.listdir(tmp_path)) == [".out.lock", "out", "root"]
    assert len(load(prepare(IMAGES, folder, out, progress=False))) == 7


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def failing(rename):
    """A disk on which what was prepared cannot be put in its place."""

    def renamed(path, target):
        if path.name == ".out.partial":
            raise OSError("no luck")
        return rename(path, target)

    return renamed


def test_what_cannot_be_prepared_is_refused_and_leaves_what_was_there(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder of data"):
        prepare(IMAGES, tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match="has no option 'fsp' .did you mean 'fps'"):
        prepare(IMAGES | {"fsp": 3}, folder, tmp_path / "out")
    with pytest.raises(ValueError, match="root: none of 7 clips can be used; the first: kind 0/clip0: 4 frames"):
        prepare(IMAGES | {"min_frames": 99}, folder, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="mine: holds something that was not prepared here"):
        prepare(IMAGES, folder, tmp_path / "mine")
    for options, expected in (({"val_fraction": 1.0}, "val_fraction is 1.0"), ({"min_frames": 0}, "min_frames is 0"),
                              ({"fps": 0.0}, "fps is 0.0")):  # fmt: skip
        with pytest.raises(ValueError, match=expected):
            prepare(IMAGES | options, folder, tmp_path / "out")


def test_a_folder_that_only_says_how_its_frames_lie_is_not_replaced(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    for text in ('{"anchored": false}', "[]", "{"):
        (tmp_path / "mine" / "prepared.json").write_text(text)
        with pytest.raises(ValueError, match="mine: holds something that was not prepared here"):
            prepare(IMAGES, folder, tmp_path / "mine", overwrite=True, progress=False)
        assert (tmp_path / "mine" / "prepared.json").read_text() == text


def test_clips_with_bad_times_or_names_are_left_out(tmp_path, monkeypatch):
    from vsie.data.readers.images import Images

    times = np.arange(3.0)
    entries = [ClipEntry("good", video=tmp_path / "v.mp4", times=times), ClipEntry("good", video=tmp_path / "v.mp4", times=times),
               ClipEntry("../up", video=tmp_path / "v.mp4"), ClipEntry("back", video=tmp_path / "v.mp4", times=-times),
               LeftOut("gone", "it is gone")]  # fmt: skip
    monkeypatch.setattr(Images, "clips", lambda self, root: iter(entries))
    write_video(tmp_path / "v.mp4", moving_picture(2))
    table = load(prepare(IMAGES, tmp_path, tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["good"]
    with open(tmp_path / "out" / "left_out.csv", newline="") as file:
        rows = [(row["name"], row["reason"]) for row in csv.DictReader(file)]
    assert [name for name, _ in rows] == ["good", "../up", "back", "gone"] and rows[-1][1] == "it is gone"
    assert "times of its frames do not increase" in rows[2][1]


def test_the_command_prepares_and_training_opens_the_same(tools, folder, tmp_path, monkeypatch):
    result = run(tools, "prepare", "data=images", f"data.root={folder}", "data.reader.min_frames=2", "out=made", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "6 clips (5 train, 1 val), 6 objects, 0 with cameras" in result.stdout
    assert "1 of 7 clips cannot be used" in result.stderr
    from vsie.pipeline import open_data

    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    manifest, cache = open_data(compose("train", ["data=images", f"data.root={folder}", "data.reader.min_frames=2"]))
    assert cache is None and manifest.objects.tolist() == load(tmp_path / "made").objects.tolist()
    assert manifest.file.is_relative_to(tmp_path / "cache" / "prepared")
    with pytest.raises(ValueError, match="data.root is missing"):
        open_data(compose("train", ["data=images"]))
    refused = run(tools, "prepare", "data=videos", f"data.root={folder}", "out=made", cwd=tmp_path)
    assert refused.returncode == 2 and "data=co3d" in refused.stderr
    assert json.loads((tmp_path / "made" / "prepared.json").read_text())["root"] == str(folder)
