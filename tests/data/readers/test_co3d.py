"""CO3D: PyTorch3D's cameras, by hand and by projection, and the layout of a release."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import torch

from tests.data.conftest import moving_picture
from tests.data.test_image_sequence import write_images
from tests.data.test_prepare import left_out
from vsie import pose
from vsie.data import ClipsDataset, WindowsDataset, load
from vsie.data.prepare import prepare
from vsie.data.readers.base import ndc_intrinsics

CO3D = {"name": "co3d", "val_fraction": 0.5, "min_frames": 2}


def test_a_camera_worked_by_hand():
    """PyTorch3D's R = I, T = (0, 0, 5): x left and y up in the camera are the world's x and y.

    A point one unit along the world's x axis is then left of the middle, one along y above it: in our camera (x right, y down)
    it is at x = -1 and at y = -1, 5 units ahead.
    """
    found = pose.from_pytorch3d(torch.eye(3).double(), torch.tensor([0.0, 0.0, 5.0]).double())
    assert found.tolist() == [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]]
    # A quarter turn about the world's y axis by rows: x_camera = x_world R sends (1, 0, 0) to R's first row, ahead.
    rows = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]).double()
    found = pose.from_pytorch3d(rows, torch.tensor([0.5, 0.25, 2.0]).double())
    ahead = found @ torch.tensor([1.0, 0, 0, 1]).double()
    assert ahead.tolist() == [-0.5, -0.25, 3, 1]
    left = found @ torch.tensor([0.0, 0, 1, 1]).double()  # (0, 0, 1) goes to the last row, (-1, 0, 0): in PyTorch3D to the right
    assert left.tolist() == [0.5, -0.25, 2, 1]


def test_conversion_there_and_back_and_that_it_stays_a_rotation():
    generator = torch.Generator().manual_seed(0)
    rotation = pose.exp(torch.randn(20, 3, generator=generator).double())
    translation = torch.randn(20, 3, generator=generator).double()
    found = pose.from_pytorch3d(rotation, translation)
    assert pose.is_rotation(found[:, :3, :3], 1e-12).all()
    for one, other in zip(pose.to_pytorch3d(found), (rotation, translation), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["ndc_isotropic", "ndc_norm_image_bounds"])
def test_pixels_are_those_that_pytorch3d_would_draw(kind):
    """Slow reference: PyTorch3D's own chain, by points: rows times R plus T, perspective, NDC (x left, y up), screen."""
    rng = np.random.default_rng(0)
    height, width, focal, centre = 60, 100, np.array([2.1, 2.3]), np.array([0.1, -0.2])
    rotation, translation = pose.exp(torch.tensor([0.2, -0.5, 0.1]).double()).numpy(), np.array([0.1, 0.2, 4.0])
    ours = pose.from_pytorch3d(torch.from_numpy(rotation), torch.from_numpy(translation)).numpy()
    camera = ndc_intrinsics([focal], [centre], [[height, width]], kind)
    for point in rng.uniform(-1, 1, (10, 3)):
        x, y, z = point @ rotation + translation
        ndc = focal * (x / z, y / z) + centre
        unit = min(height, width) / 2
        scale = (unit, unit) if kind == "ndc_isotropic" else (width / 2, height / 2)
        expected = (width / 2 - scale[0] * ndc[0], height / 2 - scale[1] * ndc[1])
        found = camera @ (ours @ np.append(point, 1))[:3]
        np.testing.assert_allclose(found[:2] / found[2], expected, atol=1e-9)
    with pytest.raises(ValueError, match="intrinsics_format is 'pixels'"):
        ndc_intrinsics([focal], [centre], [[height, width]], "pixels")


def turned(count: int, start: float = 0.0) -> np.ndarray:
    """World-in-camera poses of a walk round the origin, 3 away."""
    angles = torch.zeros(count, 3, dtype=torch.float64)
    angles[:, 1] = start + 0.1 * torch.arange(count)
    return pose.rigid(pose.exp(angles), torch.tensor([0.0, 0, 3]).double().expand(count, 3)).numpy()


def annotation(sequence: str, number: int, path: str, camera: np.ndarray, stamp: float) -> dict:
    rotation, translation = pose.to_pytorch3d(torch.from_numpy(camera).float())  # released as float32
    return {
        "sequence_name": sequence, "frame_number": number, "frame_timestamp": stamp,
        "image": {"path": path, "size": [24, 32]}, "depth": None, "mask": None,
        "viewpoint": {"R": rotation.tolist(), "T": translation.tolist(), "focal_length": [2.0, 2.0],
                      "principal_point": [0.0, 0.0], "intrinsics_format": "ndc_isotropic"},
    }  # fmt: skip


def write_category(root, category: str, sequences: dict[str, int], **changes) -> None:
    """`changes`: sequence=function that spoils its annotations."""
    rows = []
    for place, (sequence, count) in enumerate(sequences.items()):
        write_images(root / category / sequence / "images", moving_picture(count, 24, 32, place), "frame{:06d}.jpg")
        mine = [annotation(sequence, n, f"{category}/{sequence}/images/frame{n:06d}.jpg", camera, 0.2 * n)
                for n, camera in enumerate(turned(count, place))]  # fmt: skip
        rows += changes.get(sequence, lambda mine: mine)(mine)
    with gzip.open(root / category / "frame_annotations.jgz", "wt") as file:
        json.dump(rows[::-1], file)  # in any order
    (root / category / "set_lists").mkdir()
    lists = {"train": [["s1", 0, "x"]], "val": [["s2", 0, "x"], ["s1", 1, "x"]], "test": []}
    (root / category / "set_lists" / "set_lists_fewview_dev.json").write_text(json.dumps(lists))


def test_a_release_is_read(tmp_path):
    def without_stamps(rows):
        return [row | {"frame_timestamp": -1.0} for row in rows]

    def lost(rows):
        return [row | {"viewpoint": row["viewpoint"] | {"T": [1e9, 0, 0]}} for row in rows]

    def mirrored(rows):
        rows[2]["viewpoint"]["R"][0] = [-value for value in rows[2]["viewpoint"]["R"][0]]
        return rows

    root = tmp_path / "co3d"
    write_category(root, "apple", {"s1": 5, "s2": 4, "s3": 4, "s4": 3}, s2=without_stamps, s3=lost, s4=mirrored)
    def blind(rows):
        return [row | {"viewpoint": None} for row in rows]

    write_category(root, "chair", {"s1": 4, "gone": 3, "blind": 3}, blind=blind)
    for image in (root / "chair" / "gone" / "images").iterdir():
        image.unlink()
    (root / "apple" / "s1" / "images" / "frame000002.jpg").unlink()
    table = load(prepare(CO3D, root, tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["apple/s1", "apple/s2", "chair/s1"] and table.classes == ("apple", "chair")
    assert table.label.tolist() == [0, 0, 1] and len(table.rows("val")) == 2
    reasons = left_out(tmp_path / "out")
    assert "frame 0 is not finite or more than 100000 away" in reasons["apple/s3"]
    assert "the pose of its frame 2 is no rotation" == reasons["apple/s4"]
    assert "none of its 3 images" in reasons["chair/gone"] and "no viewpoints" in reasons["chair/blind"]
    times, poses = table.poses(0)
    np.testing.assert_allclose(times, [0, 0.2, 0.6, 0.8])
    np.testing.assert_allclose(poses, turned(5, 0)[[0, 1, 3, 4]], atol=1e-6)
    assert pose.is_rotation(torch.from_numpy(poses[:, :3, :3]), 1e-12).all(), "exact, though float32 was written"
    np.testing.assert_allclose(table.poses(1)[0], np.arange(4) / 10)
    with np.load(table.pose_file(0)) as archive:
        np.testing.assert_allclose(archive["intrinsics"], [[24, 0, 16], [0, 24, 12], [0, 0, 1]])
    clip = ClipsDataset(table, None)[0]
    assert clip["frames"].shape == (4, 24, 32, 3) and clip["poses"].shape == (4, 4, 4)
    assert np.abs(clip["frames"].numpy().astype(int) - moving_picture(5, 24, 32, 0)[[0, 1, 3, 4]]).mean() < 8
    everything = load(prepare(CO3D | {"val_fraction": 0.0}, root, tmp_path / "all", progress=False))
    item = WindowsDataset(everything, "train", windows=2, frames=2, size=16)[0]
    assert item["clips"].shape == (2, 2, 16, 16, 3) and item["poses"].shape == (2, 2, 4, 4)


def test_a_set_list_chooses_and_splits(tmp_path):
    write_category(tmp_path / "co3d", "apple", {"s1": 4, "s2": 4, "s3": 4})
    table = load(prepare(CO3D | {"subset": "fewview_dev"}, tmp_path / "co3d", tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["apple/s1", "apple/s2"] and table.split.tolist() == [0, 1]
    for options, expected in (
        ({"subset": "manyview"}, "set_lists_manyview.json: no such set list, found fewview_dev"),
        ({"categories": ["pear"]}, "pear/frame_annotations.jgz: this category is not there, found apple"),
    ):
        with pytest.raises(FileNotFoundError, match=expected):
            prepare(CO3D | options, tmp_path / "co3d", tmp_path / "other", progress=False)


def test_bad_annotations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no category with a frame_annotations.jgz"):
        prepare(CO3D, tmp_path, tmp_path / "out", progress=False)
    (tmp_path / "apple").mkdir()
    file = tmp_path / "apple" / "frame_annotations.jgz"
    file.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="frame_annotations.jgz: cannot be read as gzipped JSON"):
        prepare(CO3D, tmp_path, tmp_path / "out", progress=False)
    with gzip.open(file, "wt") as stream:
        json.dump([{"sequence_name": "a", "image": {}}], stream)
    with pytest.raises(ValueError, match="entry 0 has no field 'frame_number'"):
        prepare(CO3D, tmp_path, tmp_path / "out", progress=False)
    for field, broken in (("image", {"path": "apple/s1/images/a.jpg"}), ("viewpoint", {"R": 1, "T": 1, "focal_length": [1, 1]})):
        row = {"sequence_name": "s1", "frame_number": 4, "image": {"path": "a", "size": [8, 8]},
               "viewpoint": {"R": 1, "T": 1, "focal_length": [1, 1], "principal_point": [0, 0]}} | {field: broken}  # fmt: skip
        with gzip.open(file, "wt") as stream:
            json.dump([row], stream)
        with pytest.raises(ValueError, match=f"sequence s1, frame 4: {field} has no field '(size|principal_point)'"):
            prepare(CO3D, tmp_path, tmp_path / "out", progress=False)
