"""Kinetics' lists, the lists of pytorchvideo, and folders of classes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.data.conftest import moving_picture, write_video
from tests.data.test_prepare import left_out
from vsie.data import load
from vsie.data.prepare import prepare

KINETICS = {"name": "kinetics", "val_fraction": 0.0}
HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("one") / "v.mp4", moving_picture(2))


def put(video, *places):
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, place)


def rows(table) -> dict[str, tuple[str, str]]:
    """Class and split by file name."""
    splits = np.array(["train", "val", "test"])[table.split]
    labels = [table.classes[label] if label >= 0 else "" for label in table.label]
    return {table.video(row).name: (labels[row], splits[row]) for row in range(len(table))}


def test_the_authors_lists_find_trimmed_videos_by_name(video, tmp_path):
    root = tmp_path / "k400"
    for place in ("train/-3B32lodo2M_000059_000069", "train/air drumming/_dbcJuKJQNs_000040_000050", "val/0347ZoDXyP0",
                  "test/zzzzzzzzzzz_000000_000010"):  # fmt: skip
        put(video, root / f"{place}.mp4")
    (root / "annotations").mkdir()
    (root / "annotations" / "train.csv").write_text(
        HEADER + 'abseiling,-3B32lodo2M,59,69,train,0\n"air drumming",_dbcJuKJQNs,40,50,train,0\n'
        "abseiling,goneGONEgon,1,11,train,0\n"
    )
    (root / "annotations" / "kinetics_400_val.csv").write_text(HEADER + "air drumming,0347ZoDXyP0,95,105,validate,1\n")
    (root / "annotations" / "test.csv").write_text("youtube_id,time_start,time_end,split\nzzzzzzzzzzz,0,10,test\n")
    table = load(prepare(KINETICS, root, tmp_path / "out", progress=False))
    assert rows(table) == {
        "-3B32lodo2M_000059_000069.mp4": ("abseiling", "train"), "_dbcJuKJQNs_000040_000050.mp4": ("air drumming", "train"),
        "0347ZoDXyP0.mp4": ("air drumming", "val"), "zzzzzzzzzzz_000000_000010.mp4": ("", "test"),
    }  # fmt: skip
    assert list(left_out(tmp_path / "out")) == ["goneGONEgon_000001_000011"]


def test_lists_of_path_and_number_are_those_of_pytorchvideo(video, tmp_path):
    put(video, tmp_path / "root" / "clips" / "a b.mp4", tmp_path / "else" / "c.mp4", tmp_path / "root" / "d.mp4")
    (tmp_path / "root" / "train.csv").write_text(f"clips/a b.mp4 1\n\n{tmp_path}/else/c.mp4 0\nnone.mp4 1\nclips/a b.mp4 1\n")
    (tmp_path / "root" / "val.txt").write_text("d.mp4 1\n")
    (tmp_path / "root" / "classes.txt").write_text("cup\nchair\n")
    table = load(prepare(KINETICS, tmp_path / "root", tmp_path / "out", progress=False))
    assert rows(table) == {"a b.mp4": ("chair", "train"), "c.mp4": ("cup", "train"), "d.mp4": ("chair", "val")}
    reasons = left_out(tmp_path / "out")
    assert "none.mp4 is not a file that exists" in reasons["none.mp4"] and "is there already, in" in reasons["clips/a b.mp4"]
    from pytorchvideo.data.labeled_video_paths import LabeledVideoPaths  # the same file as its owner reads it

    theirs = LabeledVideoPaths.from_csv(str(tmp_path / "root" / "val.txt"))
    assert theirs[0][1]["label"] == 1 and theirs[0][0].endswith("d.mp4")


def test_folders_are_classes(video, tmp_path):
    root = tmp_path / "folders"
    expected = {f"{split}{number}.mp4": (f"kind {number % 2}", split) for split in ("train", "val") for number in range(4)}
    put(video, *(root / split / label / name for name, (label, split) in expected.items()))
    table = load(prepare(KINETICS, root, tmp_path / "out", progress=False))
    assert table.classes == ("kind 0", "kind 1")
    assert rows(table) == expected
    flat = tmp_path / "flat"
    put(video, *(flat / f"kind {number % 2}" / f"{number}.mp4" for number in range(8)))
    table = load(prepare(KINETICS | {"val_fraction": 0.25}, flat, tmp_path / "flat_out", progress=False))
    assert len(table.rows("val")) == 2 and len(table.rows("train")) == 6 and table.classes == ("kind 0", "kind 1")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("train.csv", "label,youtube_id,time_start,split\na,b,1,train\n", "train.csv: column 'time_end' is missing"),
        ("train.csv", HEADER + "a,b,x,2,train,0\n", "train.csv: row 2, columns 'time_start' and 'time_end': found 'x' and '2'"),
        ("val.csv", HEADER + "a,b,1,2,held,0\n", "val.csv: row 2, column 'split': found 'held'"),
        ("train.csv", "a.mp4 0\nb.mp4 chair\n", "train.csv: row 2 is 'b.mp4 chair', expected a path and the number"),
    ],
)
def test_a_bad_list_is_named(video, tmp_path, name, text, expected):
    put(video, tmp_path / "a.mp4", tmp_path / "b.mp4")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=expected):
        prepare(KINETICS, tmp_path, tmp_path.parent / f"{tmp_path.name}_out", progress=False)


def test_names_and_numbers_of_classes_do_not_mix_and_an_empty_folder_is_named(video, tmp_path):
    put(video, tmp_path / "m" / "a.mp4", tmp_path / "m" / "b.mp4")
    (tmp_path / "m" / "train.csv").write_text("a.mp4 0\n")
    (tmp_path / "m" / "val.csv").write_text(HEADER + "cup,b,1,2,val,0\n")
    with pytest.raises(ValueError, match=r"by number in one list and by name \('cup'\)"):
        prepare(KINETICS, tmp_path / "m", tmp_path / "out", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: neither lists"):
        prepare(KINETICS, tmp_path / "empty", tmp_path / "out", progress=False)
