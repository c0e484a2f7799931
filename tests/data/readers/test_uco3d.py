"""uCO3D: its data base, frames cut out of videos by time, the alignment of objects."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing

import numpy as np
import pytest
import torch

from tests.data.conftest import moving_picture, write_video
from tests.data.readers.test_co3d import turned
from tests.data.test_prepare import left_out
from vsie import pose
from vsie.data import ClipsDataset, decode, load, probe
from vsie.data.prepare import prepare

UCO3D = {"name": "uco3d", "val_fraction": 0.0, "min_frames": 2}
TURN = pose.exp(torch.tensor([0.3, -0.2, 0.5]).double()).numpy()
SHIFT, SCALE = np.array([0.5, -0.1, 0.2]), 2.5


def packed(values, kind: str = "f") -> bytes:
    """As the authors' data base types pack tuples: float32 or int32, one after the other."""
    values = np.asarray(values).reshape(-1).tolist()
    return struct.pack(f"{len(values)}{kind}", *values)


def write_release(root, *, columns=("_alignment_R", "_alignment_T", "_alignment_scale"), frames: int = 5):
    """Two sequences with videos of 24 frames at 12 a second, cameras for every fourth; and one without its video."""
    root.mkdir()
    with closing(sqlite3.connect(root / "metadata.sqlite")) as base:
        base.execute("CREATE TABLE frame_annots (sequence_name TEXT, frame_number INT, frame_timestamp REAL, _image_path TEXT, "
                     "_image_size BLOB, _viewpoint_R BLOB, _viewpoint_T BLOB, _viewpoint_focal_length BLOB, "
                     "_viewpoint_principal_point BLOB, _viewpoint_intrinsics_format TEXT, "
                     "PRIMARY KEY (sequence_name, frame_number))")  # fmt: skip
        base.execute("CREATE TABLE sequence_annots (sequence_name TEXT PRIMARY KEY, category TEXT, super_category TEXT, "
                     f"_video_path TEXT, {columns[0]} BLOB, {columns[1]} BLOB, {columns[2]} REAL)")  # fmt: skip
        for place, (sequence, category) in enumerate((("1-1-1", "mug"), ("2-2-2", "sofa"), ("3-3-3", "mug"))):
            path = f"household/{category}/{sequence}/rgb_video.mp4"
            if sequence != "3-3-3":
                write_video(root / path, moving_picture(24, 24, 32, place))
            align = (packed(TURN), packed(SHIFT), SCALE) if sequence == "1-1-1" else (None, None, None)
            row = (sequence, category, "household", path, *align)
            base.execute("INSERT INTO sequence_annots VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for number, camera in enumerate(turned(frames, place)):
                rotation, translation = pose.to_pytorch3d(torch.from_numpy(camera))
                base.execute("INSERT INTO frame_annots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
                    sequence, number, number * 4 / 12, "x.jpg", packed([24, 32], "i"), packed(rotation), packed(translation),
                    packed([2.0, 2.0]), packed([0.25, 0.0]), "ndc_isotropic"))  # fmt: skip
            base.execute("INSERT INTO frame_annots (sequence_name, frame_number) VALUES (?, 99)", (sequence,))
        base.commit()
    (root / "set_lists").mkdir()
    with closing(sqlite3.connect(root / "set_lists" / "set_lists_small.sqlite")) as lists:
        lists.execute("CREATE TABLE set_lists (sequence_name TEXT, frame_number INT, subset TEXT)")
        lists.executemany("INSERT INTO set_lists VALUES (?, ?, ?)",
                          [("2-2-2", n, "train") for n in range(3)] + [("1-1-1", n, "val") for n in range(3)])  # fmt: skip
        lists.commit()
    return root


def test_a_release_is_read_and_frames_are_those_of_their_times(tmp_path):
    root = write_release(tmp_path / "uco3d")
    table = load(prepare(UCO3D | {"aligned": False}, root, tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["household/mug/1-1-1", "household/sofa/2-2-2"] and table.classes == ("mug", "sofa")
    assert "rgb_video.mp4 is not there" in left_out(tmp_path / "out")["household/mug/3-3-3"]
    times, poses = table.poses(1)
    np.testing.assert_allclose(times, np.arange(5) / 3)
    np.testing.assert_allclose(poses, turned(5, 1), atol=1e-6)
    with np.load(table.pose_file(1)) as archive:
        np.testing.assert_allclose(archive["intrinsics"], [[24, 0, 13], [0, 24, 12], [0, 0, 1]])
    video = root / "household/sofa/2-2-2/rgb_video.mp4"
    every = decode(video, probe(video).times)
    np.testing.assert_array_equal(ClipsDataset(table, None)[1]["frames"], every[[0, 4, 8, 12, 16]])


@pytest.mark.parametrize("columns", [("_alignment_R", "_alignment_T", "_alignment_scale"),
                                     ("alignment_rotation", "alignment_translation", "alignment_scale")])  # fmt: skip
def test_aligned_points_are_seen_where_the_points_themselves_are(tmp_path, columns):
    """x_aligned = scale (x R + T): projected with the aligned camera it falls on the same pixel, at scale times the depth."""
    table = load(prepare(UCO3D, write_release(tmp_path / "uco3d", columns=columns), tmp_path / "out", progress=False))
    _, poses = table.poses(0)
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    aligned = SCALE * (points @ TURN + SHIFT)
    for found, plain in zip(poses, turned(5, 0), strict=True):
        ours = aligned @ found[:3, :3].T + found[:3, 3]
        np.testing.assert_allclose(ours, SCALE * (points @ plain[:3, :3].T + plain[:3, 3]), atol=1e-5)
    assert "it has no alignment; reader.aligned=false" in left_out(tmp_path / "out")["household/sofa/2-2-2"]
    assert table.objects.tolist() == ["household/mug/1-1-1"] and table.anchored


def test_a_set_list_chooses_and_splits_and_labels_may_be_coarse(tmp_path):
    root = write_release(tmp_path / "uco3d")
    options = UCO3D | {"subset": "small", "labels": "super_category", "aligned": False}
    table = load(prepare(options, root, tmp_path / "out", progress=False))
    assert table.split.tolist() == [1, 0] and table.classes == ("household",)
    with pytest.raises(FileNotFoundError, match="set_lists_large.sqlite"):
        prepare(UCO3D | {"subset": "large"}, root, tmp_path / "other", progress=False)
    with pytest.raises(FileNotFoundError, match="metadata.sqlite"):
        prepare(UCO3D, tmp_path, tmp_path / "other", progress=False)
    with pytest.raises(ValueError, match="labels is 'kind', expected one of category, super_category"):
        prepare(UCO3D | {"labels": "kind"}, root, tmp_path / "other", progress=False)


def test_a_field_of_a_wrong_length_is_named(tmp_path):
    root = write_release(tmp_path / "uco3d")
    with closing(sqlite3.connect(root / "metadata.sqlite")) as base:
        base.execute("UPDATE frame_annots SET _viewpoint_T = x'00000000' WHERE sequence_name = '2-2-2' AND frame_number = 3")
        base.commit()
    with pytest.raises(ValueError, match="metadata.sqlite: 2-2-2: found 4 bytes in a field, expected 12"):
        prepare(UCO3D, root, tmp_path / "out", progress=False)
