"""Hard cases as files, from decoding to estimated motion, windows and features: what must come out of each.

`test_egomotion` has many of them as frames; here they went through a codec, a container, the tool's archive and the loader.
"""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import torch

from tests.data.conftest import write_video
from tests.motion.scenes import SIZE, moved, observe, similarity, texture
from vsie import checkpoint, pose
from vsie.config import compose, to_plain
from vsie.data import WindowsDataset, load, probe
from vsie.extraction import extract
from vsie.model import build_method
from vsie.motion.estimate import estimate_manifest
from vsie.motion.estimated import RELIABLE
from vsie.motion.solver import known_pairs, lasts

STAMPS = [0, 40, 120, 160, 280, 320, 400]  # ms: steps of 40, 80 and 120
SHAKE = [math.radians(6 * math.sin(1.3 * t)) for t in range(7)]
FOCAL = 1.2 * SIZE  # what is taken where nobody says


def shifts(times, speed: float = 2.0) -> np.ndarray:
    """A disc that moves to the right by `speed` pixels for each unit of time."""
    return moved([similarity(shift=(speed * (t - times[-1] / 2), 0)) for t in times])


def write_cases(folder) -> None:
    right = shifts(np.arange(6))
    rng = np.random.default_rng(0)
    scene = moved([similarity()], background=texture(SIZE, 4))[0]
    noisy = np.clip(np.repeat(scene[None], 6, 0) + rng.normal(0, 3, (6, *scene.shape)), 0, 255).astype(np.uint8)
    first = moved([similarity(shift=(2.0 * t, 0)) for t in range(4)], background=texture(SIZE, 3))
    other = moved([similarity(angle=0.1 * t) for t in range(4)], background=255 - texture(SIZE, 9) // 2)
    cases = {
        "static.mp4": (np.repeat(scene[None], 6, 0), {}),
        "static_coarse.mp4": (noisy, {"options": {"crf": "28"}}),
        "static_grain.mp4": (noisy, {"options": {"crf": "10"}}),
        "black.mp4": (np.zeros((6, SIZE, SIZE, 3), np.uint8), {}),
        "cut.mp4": (np.concatenate([first, other]), {}),
        "right.mp4": (right, {}),
        "zoom.mp4": (moved([similarity(scale=1.04**t) for t in range(6)]), {}),
        "shake.mp4": (moved([similarity(angle=angle) for angle in SHAKE]), {}),
        "held.mp4": (moved([similarity(shift=(3.0 * t, 0)) for t in range(6)], background=texture(SIZE, 5), still=True), {}),
        "two.mp4": (right[2:4], {}),
        "one.mp4": (right[:1], {}),
        "variable.mkv": (shifts(np.array(STAMPS) / 40), {"stamps": STAMPS}),
        "turned.mp4": (np.rot90(right, -1, axes=(1, 2)), {"rotation": 90}),
        "odd.mkv": (right[:, :-3, :-1], {"pix_fmt": "yuv444p"}),
        "ten_bit.mp4": (right, {"pix_fmt": "yuv420p10le"}),
        "grey.mp4": (right, {"pix_fmt": "gray"}),
    }  # fmt: skip
    for name, (pictures, options) in cases.items():
        write_video(folder / name, np.ascontiguousarray(pictures), **options)
    (folder / "images").mkdir()  # and an image sequence among them
    for number, picture in enumerate(right):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture[..., ::-1])
    names = [f"images/{number}.png" for number in range(len(right))]
    (folder / "sequence.clip").write_text(json.dumps({"times": [0.1 * n for n in range(len(right))], "images": names}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard")
    write_cases(folder)
    return folder


@pytest.fixture(scope="module")
def estimated(folder, tmp_path_factory):
    """The manifest of estimated motion of all cases, no clip left out."""
    options = compose("estimate_motion", ["manifest=a", "out=b", "flow.workers=1"])
    out = tmp_path_factory.mktemp("motion")
    written = estimate_manifest(
        manifest=folder, out=out, flow=options.flow, egomotion=options.egomotion, allowed_skips=0.0, progress=False
    )
    table = load(written)
    assert len(table) == 17, "every case goes through"
    return table


@pytest.fixture(scope="module")
def motion(estimated):
    """The archive of a case by its name."""

    def archive(name: str) -> dict[str, np.ndarray]:
        (row,) = (row for row in range(len(estimated)) if estimated.video(row).stem == name)
        with np.load(estimated.pose_file(row)) as found:
            return {key: found[key] for key in found.files}

    return archive


def turns(found) -> np.ndarray:
    """Rotation vectors (T - 1, 3) in degrees between neighbours, camera frame."""
    rotation = torch.from_numpy(found["object_in_camera"][:, :3, :3])
    return pose.log(rotation[1:] @ rotation[:-1].mT).rad2deg().numpy()


def steps(found) -> np.ndarray:
    """Translations (T - 1, 3) between neighbours, as pixels at depth 1."""
    return np.diff(found["object_in_camera"][:, :3, 3], axis=0) * FOCAL


@pytest.mark.parametrize("name", ["static", "static_coarse", "static_grain", "black"])
def test_what_does_not_move_has_identity_deltas_of_low_confidence(motion, name):
    found = motion(name)
    assert np.linalg.norm(turns(found), axis=1).max() < 0.1
    assert np.abs(steps(found)).max() < 0.1
    assert found["confidence"].max() < 0.1 and found["segment"].tolist() == [0] * 6


def test_slow_motion_and_a_small_thing_last_and_grain_and_one_jump_do_not():
    ground, grain = texture(SIZE, 4), np.random.default_rng(0)
    for move in (dict(shift=(0.5, 0)), dict(shift=(0, 1.0), scale=0.3)):
        shift = np.array(move["shift"])
        frames = moved([similarity(**move | {"shift": tuple(shift * t)}) for t in range(5)], background=ground)
        assert lasts(observe(frames)), move
    scene = moved([similarity()], background=ground)[0]
    noisy = np.clip(np.repeat(scene[None], 5, 0) + grain.normal(0, 4, (5, *scene.shape)), 0, 255).astype(np.uint8)
    assert not lasts(observe(noisy))
    jump = np.concatenate([np.repeat(scene[None], 3, 0), np.repeat(np.roll(scene, 2, 1)[None], 3, 0)])
    assert not lasts(observe(jump))
    assert lasts(observe(noisy[:2])), "of two frames nothing can be said"


def test_a_cut_is_found_and_not_bridged(motion):
    found = motion("cut")
    assert found["segment"].tolist() == [0] * 4 + [1] * 4 and found["confidence"][3] == 0
    np.testing.assert_allclose(found["object_in_camera"][4], np.eye(4), atol=1e-8)
    parts = {name: torch.from_numpy(found[name]) for name in ("confidence", "segment", "covariance")}
    trust = known_pairs(**parts, poses=torch.from_numpy(found["object_in_camera"]))
    assert float(trust[:4, 4:].max()) == 0 and float(trust[0, 1]) > 0 and float(trust[4, 5]) > 0


@pytest.mark.parametrize("name", ["right", "turned", "odd", "ten_bit", "grey", "sequence"])
def test_a_shift_is_a_shift_in_every_format(motion, name):
    """Two pixels a frame to the right as it is *shown*: metadata turn the picture, and the motion with it."""
    found = motion(name)
    assert str(found["estimator"]) == "affine" and str(found["scale"]) == "image"
    assert np.linalg.norm(turns(found), axis=1).max() < 2
    np.testing.assert_allclose(np.median(steps(found), 0)[:2], [2.0, 0.0], atol=0.35)
    assert 0 < found["confidence"].min() and found["confidence"].max() < RELIABLE, "tilt is not seen; what is still has none"


def test_a_zoom_is_an_approach(motion):
    found = motion("zoom")
    assert np.linalg.norm(turns(found), axis=1).max() < 2
    approach = 1 + np.median(np.diff(found["object_in_camera"][:, 2, 3]))
    assert 0.94 < approach < 0.98  # 1 / 1.04


def test_a_rolling_shake_is_a_turn_about_the_axis_of_view_or_is_not_believed(motion):
    found, true = motion("shake"), np.rad2deg(np.diff(SHAKE))
    assert found["object_in_camera"].shape == (7, 4, 4) and np.isfinite(found["object_in_camera"]).all()
    wrong = np.abs(turns(found)[:, 2] - true) > 0.5 * np.abs(true).max()
    assert not wrong.any() or found["confidence"][wrong].max() < 0.5


def test_a_held_object_before_a_moving_background_does_not_move(motion):
    found = motion("held")
    assert np.linalg.norm(turns(found), axis=1).max() < 1.5 and np.abs(steps(found)).max() < 2


def test_two_frames_and_one(motion):
    found = motion("two")
    assert found["confidence"].shape == (1,) and np.linalg.norm(turns(found)) < 2
    np.testing.assert_allclose(steps(found)[0, :2], [2.0, 0.0], atol=0.5)
    alone = motion("one")
    assert alone["object_in_camera"].tolist() == [np.eye(4).tolist()] and alone["confidence"].shape == (0,)


def test_a_variable_frame_rate_keeps_its_times_and_moves_by_them(motion):
    found = motion("variable")
    np.testing.assert_allclose(found["times"], np.array(STAMPS) / 1000, atol=2e-3)
    expected = 2.0 * np.diff(STAMPS) / 40
    np.testing.assert_allclose(steps(found)[:, 0], expected, atol=0.25 * expected.max())
    assert np.corrcoef(steps(found)[:, 0], expected)[0, 1] > 0.9


def test_all_of_them_are_cut_into_windows_of_one_size_with_their_motion(estimated):
    rows = [row for row in range(len(estimated)) if estimated.video(row).stem != "one"]
    dataset = WindowsDataset(estimated, "train", windows=1, frames=1, size=32)
    assert dataset.posed and len(dataset) == 17
    assert dataset.__getitems__(list(range(17)))["clips"].shape == (17, 1, 1, 32, 32, 3)
    pairs = WindowsDataset(estimated, "train", windows=1, frames=2, size=32)
    batch = pairs.__getitems__(rows)
    assert batch["clips"].shape == (16, 1, 2, 32, 32, 3) and batch["poses"].shape == (16, 1, 2, 4, 4)
    assert bool(batch["poses"].isfinite().all())
    delta = pose.delta(batch["poses"][:, 0, 0], batch["poses"][:, 0, 1], "camera")
    names = [estimated.video(row).stem for row in rows]
    for name in ("static", "black"):
        torch.testing.assert_close(delta[names.index(name)], torch.eye(4), atol=1e-3, rtol=0)
    assert float(delta[names.index("right"), 0, 3]) * FOCAL == pytest.approx(2, abs=0.5)


@pytest.fixture(scope="module")
def features(folder, tmp_path_factory):
    """Features of all cases by an encoder with random weights: name -> invariant parts (windows, I), and the skipped."""
    run = tmp_path_factory.mktemp("run")
    config = compose("train", ["experiment=debug", "data=videos", f"data.root={folder}", "data.size=32"])
    plain = to_plain(config)
    torch.manual_seed(0)
    checkpoint.save(run, build_method(plain), plain, {})
    windows, skipped = extract(run, folder, run / "features.npz", frames=2, spacing=1, allowed_share=0.1)
    with np.load(run / "features.npz") as found:
        table = {key: found[key] for key in found.files}
    assert windows == len(table["label"]) and skipped == 1
    return table, (run / "features.npz.skipped.csv").read_text()


def test_all_of_them_but_a_single_frame_have_features(features, folder):
    table, skipped = features
    assert np.isfinite(table["invariant"]).all() and np.isfinite(table["equivariant"]).all()
    found = {path: int((table["path"] == path).sum()) for path in set(table["path"].tolist())}
    expected = {name: math.ceil(probe(folder / name).frames / 2) for name in found}
    assert found == expected and len(found) == 16
    assert "one.mp4" in skipped and "1 frames are too few" in skipped
    np.testing.assert_allclose(table["times"][table["path"] == "variable.mkv"][0], [0, 0.04], atol=2e-3)


def test_features_are_those_of_what_is_shown_whatever_the_format(features):
    """Ten bits, rotation metadata and an image sequence change the codec's noise and no more; another case changes more."""
    table, _ = features

    def distance(one: str, other: str) -> float:
        first, second = (table["invariant"][table["path"] == name] for name in (one, other))
        return float(np.linalg.norm(first[:3] - second[:3]))

    least = min(distance("right.mp4", other) for other in ("black.mp4", "static.mp4", "held.mp4"))
    for same in ("ten_bit.mp4", "turned.mp4", "sequence.clip"):
        assert distance("right.mp4", same) < 0.25 * least, same
