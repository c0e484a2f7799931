from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vsie.data import load
from vsie.data.manifest import load_poses

HEADER = "path,label,object,clip,split,poses\n"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """Files with the names of videos: a manifest looks at names only."""
    for name in ("a.mp4", "b.mp4", "sub dir/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "p.npz").write_bytes(b"x")
    return tmp_path


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_csv_becomes_columns(folder):
    (folder / "classes.txt").write_text("cup\nchair\n")
    rows = "a.mp4,1,thing,0,train,p.npz\nb.mp4,1,thing,4,train,\nsub dir/c.mp4,,,,val,\n"
    manifest = load(write(folder, HEADER + rows))
    assert manifest.path.tolist() == ["a.mp4", "b.mp4", "sub dir/c.mp4"]
    assert manifest.label.tolist() == [1, 1, -1]
    assert manifest.object.tolist() == [0, 0, 1]
    assert manifest.clip.tolist() == [0, 4, 0]
    assert manifest.objects.tolist() == ["thing", "sub dir/c.mp4"]
    assert manifest.posed.tolist() == [True, False, False]
    assert manifest.classes == ("cup", "chair")
    assert manifest.rows("train").tolist() == [0, 1] and manifest.rows("val").tolist() == [2]
    assert manifest.video(2) == folder / "sub dir/c.mp4" and manifest.pose_file(0) == folder / "p.npz"


def test_columns_may_come_in_another_order_with_others_between(folder):
    manifest = load(write(folder, "split,note,path,poses,clip,object,label\ntrain,hello,a.mp4,,7,o,2\n"))
    assert (manifest.path[0], manifest.clip[0], manifest.label[0]) == ("a.mp4", 7, 2)


def test_two_columns_are_a_path_that_may_have_spaces_and_a_label(folder):
    manifest = load(write(folder, f"a.mp4 3\n{folder / 'sub dir/c.mp4'} 11\n", "kinetics.csv"), split="val")
    assert manifest.path.tolist() == ["a.mp4", str(folder / "sub dir/c.mp4")]
    assert manifest.label.tolist() == [3, 11]
    assert manifest.rows("val").tolist() == [0, 1]
    assert manifest.video(1) == folder / "sub dir/c.mp4"


def test_a_folder_is_a_manifest_of_its_videos(folder):
    (folder / "notes.txt").write_text("not a video")
    manifest = load(folder)
    assert manifest.path.tolist() == ["a.mp4", "b.mp4", "sub dir/c.mp4"]
    assert manifest.object.tolist() == [0, 1, 2] and manifest.label.tolist() == [-1, -1, -1]
    assert not manifest.posed.any()


def test_one_video_is_a_manifest(folder):
    assert load(folder / "b.mp4").path.tolist() == ["b.mp4"]


def test_the_example_in_data_manifests_loads(tmp_path):
    example = REPOSITORY / "data_manifests" / "example.csv"
    for line in example.read_text().splitlines()[1:]:
        for name in (line.split(",")[0], line.split(",")[-1]):
            if name:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(b"x")
    manifest = load(write(tmp_path, example.read_text()))
    assert set(manifest.split.tolist()) == {0, 1, 2}
    assert manifest.posed.any() and not manifest.posed.all() and (manifest.label == -1).any()
    assert len(manifest.objects) < len(manifest)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", "no rows"),
        ("a.mp4,0,o,0,trian,\n", "row 2, column 'split': found 'trian', expected one of train, val, test"),
        ("a.mp4,0,o,0,,\n", "row 2, column 'split'"),
        ("a.mp4,0,o,0,train,\na.mp4,0,p,0,train,\n", "row 3, column 'path': 'a.mp4' is there already in row 2"),
        ("a.mp4,0,o,0,train,\nb.mp4,0,o,0,train,\n", "row 3, column 'clip': clip 0 of object 'o' is there already"),
        ("a.mp4,zero,o,0,train,\n", "row 2, column 'label': found 'zero', expected an integer"),
        ("a.mp4,-1,o,0,train,\n", "row 2, column 'label': found '-1'"),
        ("a.mp4,2,o,0,train,\n", "row 2, column 'label': found 2, expected 0 to 1, as .*classes.txt has 2 names"),
        ("a.mp4,0,o,x,train,\n", "row 2, column 'clip': found 'x'"),
        ("\na.mp4,0,o,0,train,\nz.mp4,0,p,0,train,\n", r"row 4, column 'path': .*z.mp4 is not a file that exists"),
        ("../a.mp4,0,o,0,train,\n", "row 2, column 'path': '../a.mp4' leaves the manifest's folder"),
        (",0,o,0,train,\n", "row 2, column 'path': found nothing"),
        ("a.mp4,0,o,0,train,q.npz\n", r"row 2, column 'poses': .*q.npz is not a file that exists"),
        ("a.mp4,0,o,0,train,\nb.mp4,0,o,1,val,\n", "row 3, column 'split': found val where an earlier row of object 'o'"),
        ("a.mp4,0,o,0,train,\nb.mp4,1,o,1,train,\n", "row 3, column 'label': found 1 where an earlier row of object 'o' has 0"),
        ("a.mp4,0,o,0\n", "row 2 has 4 cells, expected 6"),
    ],
)
def test_a_bad_row_is_named(folder, rows, expected):
    (folder / "classes.txt").write_text("cup\nchair\n")
    path = write(folder, HEADER + rows)
    with pytest.raises(ValueError, match=expected) as error:
        load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("column", ["path", "label", "object", "clip", "split", "poses"])
def test_a_missing_column_is_named(folder, column):
    names = [name for name in HEADER.strip().split(",") if name != column]
    with pytest.raises(ValueError, match=f"manifest.csv: column '{column}' is missing"):
        load(write(folder, ",".join(names) + "\n"))


def test_what_is_missing_or_empty_is_named(folder, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="nowhere.csv: no such manifest"):
        load(folder / "nowhere.csv")
    with pytest.raises(ValueError, match="the manifest is empty"):
        load(write(folder, "\n \n"))
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match=f"{empty}: no video in this folder"):
        load(empty)
    with pytest.raises(ValueError, match="row 2, column 'label': found 'four'"):
        load(write(folder, "a.mp4 3\nb.mp4 four\n", "pairs.txt"))
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00 1")
    with pytest.raises(ValueError, match="binary.csv: not a text file"):
        load(folder / "binary.csv")
    with pytest.raises(ValueError, match="no row of split 'val', found train"):
        load(write(folder, "a.mp4 3\n", "pairs.txt")).rows("val")


def test_poses_are_read_as_float64(manifest):
    times, poses = manifest.poses(0)
    assert times.dtype == poses.dtype == np.float64
    assert times.shape == (16,) and poses.shape == (16, 4, 4)


def _pose_fields(case: str) -> dict[str, np.ndarray]:
    times, poses = np.arange(5) / 10, np.tile(np.eye(4), (5, 1, 1))
    if case == "mirror":
        poses[3, 0, 0] = -1
    elif case == "scaled":
        poses[3, :3, :3] *= 1.01
    elif case == "nan":
        poses[3, 0, 0] = np.nan
    elif case == "last row":
        poses[3, 3, 0] = 0.5
    elif case == "short":
        poses = poses[:4]
    elif case == "three by four":
        poses = poses[:, :3]
    elif case == "time stands":
        times[2] = times[1]
    elif case == "no frames":
        times, poses = times[:0], poses[:0]
    fields = {"times": times, "object_in_camera": poses}
    if case == "no times":
        del fields["times"]
    return fields


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("mirror", "'object_in_camera' is not a rigid motion at frame 3"),
        ("scaled", "'object_in_camera' is not a rigid motion at frame 3"),
        ("last row", "'object_in_camera' is not a rigid motion at frame 3"),
        ("nan", "'object_in_camera' holds values that are not finite"),
        ("short", r"'object_in_camera' has shape \(4, 4, 4\), expected \(5, 4, 4\)"),
        ("three by four", r"'object_in_camera' has shape \(5, 3, 4\), expected \(5, 4, 4\)"),
        ("time stands", "'times' does not increase at frame 2"),
        ("no times", "'times' is missing"),
        ("no frames", "'times' has shape"),
    ],
)
def test_a_wrong_pose_file_is_named_with_its_field(tmp_path, case, expected):
    file = tmp_path / "p.npz"
    np.savez(file, **_pose_fields(case))
    with pytest.raises(ValueError, match=expected) as error:
        load_poses(file)
    assert str(file) in str(error.value)


def test_a_pose_file_that_is_no_npz_or_holds_objects_is_refused(tmp_path):
    file = tmp_path / "p.npz"
    file.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="p.npz: cannot be read as .npz"):
        load_poses(file)
    np.savez(file, times=np.array([None, 1], dtype=object), object_in_camera=np.eye(4))
    with pytest.raises(ValueError, match="p.npz: cannot be read as .npz"):
        load_poses(file)


def test_frames_that_no_picture_tells_are_said_beside_the_manifest(folder):
    file = write(folder, "path,label,object,clip,split,poses\na.mp4,,a,0,train,\n")
    assert load(file).anchored
    for text, anchored in (('{"anchored": false}', False), ('{"anchored": true}', True), ("{}", False)):
        (folder / "prepared.json").write_text(text)
        assert load(file).anchored is anchored
    for text, said in (("{", "cannot be read as JSON"), ("[]", "'anchored' is None"), ('{"anchored": 1}', "'anchored' is 1")):
        (folder / "prepared.json").write_text(text)
        with pytest.raises(ValueError, match=f"prepared.json: .*{said}"):
            load(file)
