"""COLMAP's models: quaternions by hand, by SciPy and by the format's own example; text and binary; MVImgNet's folders."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.data.conftest import moving_picture
from tests.data.readers.test_co3d import turned
from tests.data.test_image_sequence import write_images
from tests.data.test_prepare import left_out
from vsie import pipeline, pose
from vsie.config import compose
from vsie.data import ClipsDataset, load
from vsie.data.prepare import prepare
from vsie.data.readers.colmap import MODELS, read_model

COLMAP = {"name": "colmap", "val_fraction": 0.0, "min_frames": 2, "fps": 10.0}
EXAMPLE = """# Image list with two lines of data per image:
#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME
#   POINTS2D[] as (X, Y, POINT3D_ID)
# Number of images: 2, mean observations per image: 2
1 0.851773 0.0165051 0.503764 -0.142941 -0.737434 1.02973 3.74354 1 P1180141.JPG
2362.39 248.498 58396 1784.7 268.254 59027 1784.7 268.254 -1
2 0.851773 0.0165051 0.503764 -0.142941 -0.737434 1.02973 3.74354 1 holiday photos/P1180142.JPG

"""


def test_a_camera_worked_by_hand():
    """w = z = 1 / sqrt 2: a quarter turn about z takes the world's x axis to the camera's y, which points down."""
    half = 0.5**0.5
    found = pose.from_colmap(torch.tensor([half, 0, 0, half]).double(), torch.tensor([0.0, 1, 2]).double())
    expected = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 2], [0, 0, 0, 1]]).double()
    torch.testing.assert_close(found, expected)
    centre = -found[:3, :3].T @ found[:3, 3]  # -R^t T, as COLMAP's page says
    torch.testing.assert_close(found @ torch.cat([centre, torch.ones(1).double()]), torch.tensor([0.0, 0, 0, 1]).double())


def test_the_examples_of_the_formats_page(tmp_path):
    (tmp_path / "images.txt").write_text(EXAMPLE)
    (tmp_path / "cameras.txt").write_text("# Camera list\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n# Number of cameras: 3\n"
                                          "1 SIMPLE_PINHOLE 3072 2304 2559.81 1536 1152\n"
                                          "2 PINHOLE 3072 2304 2560.56 2560.57 1536 1153\n"
                                          "3 SIMPLE_RADIAL 3072 2304 2559.69 1536 1152 -0.0218531\n")  # fmt: skip
    cameras, images = read_model(tmp_path)
    assert [image[0] for image in images] == ["P1180141.JPG", "holiday photos/P1180142.JPG"]
    for key, focal, centre in ((1, (2559.81, 2559.81), (1536, 1152)), (2, (2560.56, 2560.57), (1536, 1153)),
                               (3, (2559.69, 2559.69), (1536, 1152))):  # fmt: skip
        assert cameras[key][:2] == (3072, 2304)
        assert (tuple(cameras[key][2]), tuple(cameras[key][3])) == (focal, centre)
    quaternion, translation = (torch.tensor(part, dtype=torch.float64) for part in images[0][2:])
    found = pose.from_colmap(quaternion, translation)
    np.testing.assert_allclose(found[:3, :3], Rotation.from_quat(quaternion.numpy(), scalar_first=True).as_matrix(), atol=1e-12)
    assert found[:3, 3].tolist() == [-0.737434, 1.02973, 3.74354]


def write_model(folder, cameras: np.ndarray, names: list[str], *, binary: bool, size=(32, 24), model: int = 1) -> None:
    folder.mkdir(parents=True)
    quaternions = Rotation.from_matrix(cameras[:, :3, :3]).as_quat(scalar_first=True)
    title, count, focals = MODELS[model]
    values = [*([40.0, 44.0][:focals]), size[0] / 2, size[1] / 2, *([0.01] * count)][:count]
    if binary:
        lines = [struct.pack("<Q", len(names))]
        for number, (name, quaternion, camera) in enumerate(zip(names, quaternions, cameras, strict=True)):
            lines.append(struct.pack("<i7di", number + 1, *quaternion, *camera[:3, 3], 7) + name.encode() + b"\0")
            lines.append(struct.pack("<Q", number) + b"".join(struct.pack("<ddq", 1.0, 2.0, -1) for _ in range(number)))
        (folder / "images.bin").write_bytes(b"".join(lines))
        (folder / "cameras.bin").write_bytes(struct.pack(f"<QiiQQ{count}d", 1, 7, model, *size, *values))
    else:
        lines = ["# Image list"]
        for number, (name, quaternion, camera) in enumerate(zip(names, quaternions, cameras, strict=True)):
            numbers = " ".join(map(repr, [*quaternion.tolist(), *camera[:3, 3].tolist()]))
            lines += [f"{number + 1} {numbers} 7 {name}", "1.5 2.5 -1" if number % 2 else ""]
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        (folder / "cameras.txt").write_text(f"7 {title} {size[0]} {size[1]} {' '.join(map(str, values))}\n")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("model", [0, 1, 2, 4])
def test_a_model_is_a_clip_in_the_order_of_its_images(tmp_path, binary, model):
    pictures, cameras = moving_picture(12, 24, 32), turned(12)
    write_images(tmp_path / "scenes" / "garden" / "images", pictures)
    chosen = [11, 2, 10, 3, 0]  # as COLMAP has them: in no order, and not all of them
    names = [f"frame{number}.png" for number in chosen]
    write_model(tmp_path / "scenes" / "garden" / "sparse" / "0", cameras[chosen], names, binary=binary, model=model)
    write_model(tmp_path / "scenes" / "garden" / "sparse" / "1", cameras[chosen], names, binary=binary, model=model)
    table = load(prepare(COLMAP, tmp_path / "scenes", tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["garden"] and table.label.tolist() == [-1]
    assert list(left_out(tmp_path / "out")) == ["garden/sparse/1"]
    times, poses = table.poses(0)
    order = sorted(chosen)
    np.testing.assert_allclose(times, np.array(order) / 10)
    np.testing.assert_allclose(poses, cameras[order], atol=1e-12)
    np.testing.assert_array_equal(ClipsDataset(table, None)[0]["frames"], pictures[order])
    with np.load(table.pose_file(0)) as archive:
        focal = (40, 40) if MODELS[model][2] == 1 else (40, 44)
        np.testing.assert_allclose(archive["intrinsics"], [[focal[0], 0, 16], [0, focal[1], 12], [0, 0, 1]])


def test_poses_of_reconstructions_are_told_in_the_cameras_frame_alone(tmp_path, monkeypatch):
    """Each model's world lies as it happened to: a delta in it says nothing that a picture shows."""
    for name in ("garden", "house", "tower"):
        write_images(tmp_path / "scenes" / name / "images", moving_picture(12, 24, 32))
        write_model(tmp_path / "scenes" / name / "sparse", turned(12), [f"frame{n}.png" for n in range(12)], binary=False)
    table = load(prepare(COLMAP, tmp_path / "scenes", tmp_path / "out", progress=False))
    assert not table.anchored and [int(ClipsDataset(table, None)[row]["orbit"]) for row in range(3)] == [0, 1, 2]
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    reader = ["data=colmap", f"data.root={tmp_path / 'scenes'}", "data.size=16", f"out={tmp_path / 'run'}"]
    assert compose("train", reader).conditioning.frame == "camera"
    for data in (reader, ["data=videos", f"data.root={tmp_path / 'out'}", f"out={tmp_path / 'run'}"]):
        with pytest.raises(ValueError, match=r"no picture tells motion in it.* expected conditioning.frame=camera"):
            pipeline.train(compose("train", [*data, "conditioning.frame=body", "trainer.batch=2"]))
    assert not (tmp_path / "run").exists()


def test_reduced_images_reduce_the_camera_and_another_shape_is_left_out(tmp_path):
    for name, shape in (("half", (24, 32)), ("turned", (32, 24))):
        write_images(tmp_path / "scenes" / name / "images", moving_picture(3, *shape), "{}.png")
        names = [f"{number}.png" for number in range(3)]
        write_model(tmp_path / "scenes" / name / "sparse", turned(3), names, binary=False, size=(64, 48))
    table = load(prepare(COLMAP, tmp_path / "scenes", tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["half"]
    with np.load(table.pose_file(0)) as archive:
        np.testing.assert_allclose(archive["intrinsics"], [[20, 0, 16], [0, 22, 12], [0, 0, 1]])
    assert "24 x 32 pixels, its camera 64 x 48: another shape" in left_out(tmp_path / "out")["turned"]


def test_mvimgnet_has_classes_by_number_and_failed_reconstructions(tmp_path):
    root = tmp_path / "mvimgnet"
    names = [f"{number:03d}.jpg" for number in range(4)]
    for place, (label, instance) in enumerate((("7", "1b00a8"), ("7", "23010a"), ("203", "0000ab"))):
        write_images(root / label / instance / "images", moving_picture(4, 24, 32, place), "{:03d}.jpg")
        (root / label / instance / "sparse").mkdir()
        if instance != "23010a":  # COLMAP failed: the folder is empty
            write_model(root / label / instance / "sparse" / "0", turned(4), names, binary=True)
    options = {"name": "mvimgnet", "val_fraction": 0.0, "min_frames": 2}
    assert load(prepare(options, root, tmp_path / "out", progress=False)).classes == ("7", "203")
    (root / "mvimgnet_category.txt").write_text("7,stove\n203,Toy butterfly \n")
    table = load(prepare(options, root, tmp_path / "out", progress=False))
    assert table.classes == ("Toy butterfly", "stove") and table.label.tolist() == [1, 0]
    assert table.objects.tolist() == ["7/1b00a8", "203/0000ab"]
    np.testing.assert_allclose(table.poses(1)[1], turned(4), atol=1e-12)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model of COLMAP"):
        prepare(COLMAP, tmp_path, tmp_path / "out", progress=False)
    root = tmp_path / "scenes"
    write_images(root / "images", moving_picture(2), "{}.png")
    write_model(root / "sparse", turned(2), ["0.png", "1.png"], binary=False, size=(32, 32))
    good = {name: (root / "sparse" / name).read_text() for name in ("cameras.txt", "images.txt")}
    for name, text, expected in (
        ("cameras.txt", "7 PINHOLE 32 32 1 2 3\n", "cameras.txt: row 1: 3 parameters, expected 4 of PINHOLE"),
        ("cameras.txt", "7 PINBALL 32 32 1 2 3\n", "cameras.txt: row 1: camera model 'PINBALL'"),
        ("cameras.txt", "seven\n", "cameras.txt: row 1 is 'seven'"),
        ("cameras.txt", good["cameras.txt"].replace("7 P", "8 P"), "image '0.png' is of camera 7, found cameras .8."),
        ("images.txt", "# x\n1 2 3\n\n", "images.txt: row 2 is '1 2 3'"),
    ):
        (root / "sparse" / name).write_text(text)
        with pytest.raises(ValueError, match=expected):
            prepare(COLMAP, root, tmp_path / "out", progress=False)
        (root / "sparse" / name).write_text(good[name])
    table = load(prepare(COLMAP, root, tmp_path / "out", progress=False))
    assert table.objects.tolist() == ["scenes"]
    write_model(tmp_path / "binary" / "sparse", turned(2), ["0.png", "1.png"], binary=True)
    file = tmp_path / "binary" / "sparse" / "images.bin"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(ValueError, match="cameras.bin or images.bin is cut off"):
        prepare(COLMAP, tmp_path / "binary", tmp_path / "other", progress=False)
