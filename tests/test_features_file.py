"""Features made elsewhere are read as what they are, and every bad key is one clear error."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.synthetic import features
from vsie import features_file

ROWS = 24  # 6 objects x 4 frames


def columns(**changes):
    """A small file of frames; a change of None leaves a key out."""
    rng = np.random.default_rng(0)
    found = {
        "features": rng.normal(size=(ROWS, 5)), "objects": np.repeat(np.arange(6), 4), "labels": np.repeat([7, 9, 7, 9, 7, 9], 4),
        "poses": np.broadcast_to(np.eye(4), (ROWS, 4, 4)), "split": np.repeat(["train"] * 4 + ["val"] * 2, 4),
        "clips": np.tile([0, 0, 1, 1], 6), "times": np.tile([0.0, 0.5, 0.0, 0.5], 6),
    } | changes  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def save(folder, **changes):
    np.savez(folder / "made.npz", **columns(**changes))
    return folder / "made.npz"


def test_shuffled_frames_come_back_as_the_clips_they_were(tmp_path):
    whole = features(objects=10, clips=2, frames=3)
    names = np.array([f"thing {number:02d}" for number in whole.objects])
    split = np.where(whole.objects < 7, "train", "test")
    order = np.random.default_rng(0).permutation(60)
    dim = whole.invariant_dim
    rows = {
        "invariant": whole.image[..., :dim].reshape(60, -1), "equivariant": whole.image[..., dim:].reshape(60, -1),
        "poses": whole.poses.reshape(60, 4, 4), "times": whole.times.reshape(60), "objects": np.repeat(names, 3),
        "clips": np.repeat(whole.clips, 3), "labels": np.repeat(whole.labels, 3), "split": np.repeat(split, 3),
    }  # fmt: skip
    np.savez(tmp_path / "made.npz", **{name: values[order] for name, values in rows.items()})
    found = features_file.read(tmp_path / "made.npz")
    assert found.posed and found.notes == () and found.classes == ("0", "1", "2", "3")
    for part, keep in ((found.train, whole.objects < 7), (found.test, whole.objects >= 7)):
        assert part.invariant_dim == dim and part.parts() == ("inv", "equi", "all")
        for name in ("image", "clip", "poses", "times", "labels", "objects", "clips"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[keep]), name


def test_what_extract_writes_is_read_too(tmp_path):
    """One invariant vector for a window, names in the singular, no split: a fifth of the objects is held out."""
    rng = np.random.default_rng(0)
    invariant, equivariant = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(20, 3, 6)).astype(np.float32)
    np.savez(tmp_path / "made.npz", invariant=invariant, equivariant=equivariant, times=np.tile([0.0, 1, 2], (20, 1)),
             label=np.arange(20) % 2, object=np.repeat([f"o{i}" for i in range(10)], 2), clip=np.tile([0, 1], 10),
             path=np.array(["x.mp4"] * 20))  # fmt: skip
    found = features_file.read(tmp_path / "made.npz", seed=1)
    assert not found.posed and found.test.image.shape == (4, 3, 10) and found.train.image.shape == (16, 3, 10)
    assert not np.intersect1d(found.train.objects, found.test.objects).size
    assert "2 of its 10 objects, drawn by seed 1, are held out" in found.notes[0]
    row = found.train.image[0]
    assert (row[:, :4] == row[0, :4]).all() and any(np.array_equal(row[0, :4], values) for values in invariant)


def test_without_a_split_of_the_latent_there_is_one_part(tmp_path):
    found = features_file.read(save(tmp_path, clips=None, times=None, labels=None, poses=columns()["poses"][:, :3, :3]))
    assert found.train.parts() == ("all",) and found.train.image.shape == (16, 1, 5)
    assert (found.train.labels == -1).all() and found.train.poses.shape == (16, 1, 4, 4) and found.classes == ()


def test_names_in_bytes_are_names(tmp_path):
    named = {"labels": np.repeat([b"cup", b"car"] * 3, 4), "objects": np.repeat([b"a", b"b", b"c", b"d", b"e", b"f"], 4)}
    found = features_file.read(save(tmp_path, **named, split=columns()["split"].astype("S")))
    assert found.classes == ("car", "cup") and found.train.labels.tolist() == [1, 1, 0, 0] * 2 and len(found.test.labels) == 4


BAD = [
    (dict(objects=None), "key 'objects' is missing"),
    (dict(features=None), "has none of them; expected either the key 'features'"),
    (dict(invariant=np.ones((ROWS, 2))), "has 'features', 'invariant'; expected either"),
    (dict(features=None, invariant=np.ones((ROWS, 2))), "has 'invariant'; expected either"),
    (dict(features=None, invariant=np.ones((ROWS, 2)), equivariant=np.ones((3, 2))), r"'equivariant' has shape \(3, 2\)"),
    (dict(features=np.ones((ROWS, 2, 2, 2))), r"'features' is float64 \(24, 2, 2, 2\)"),
    (dict(features=np.where(np.arange(ROWS)[:, None] == 3, np.nan, np.ones((ROWS, 5)))), "'features' has 1 of 24 rows with NaN"),
    (dict(features=np.array([["a"] * 5] * ROWS)), "'features' is <U1"),
    (dict(labels=np.zeros(3, int)), r"'labels' has shape \(3,\); expected \(24,\), as the features are \(24, 5\)"),
    (dict(labels=np.linspace(0, 1, ROWS)), "'labels' is float64"),
    (dict(labels=np.arange(ROWS)), "'labels' differs within a clip"),
    (dict(poses=np.zeros((ROWS, 4))), r"'poses' is float64 \(24, 4\)"),
    (dict(poses=np.broadcast_to(2 * np.eye(4), (ROWS, 4, 4))), r"'poses' is no rotation in row 0 \(and 23 more\)"),
    (dict(poses=np.broadcast_to(np.diag([1, 1, -1.0]), (ROWS, 3, 3))), "'poses' is no rotation in row 0"),
    (dict(poses=np.tile([[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], (ROWS, 1, 1))),
     r"'poses' has NaN or infinite numbers in row 0 \(and 23 more\); expected finite numbers"),
    (dict(labels=np.array([b"\xff"] * ROWS)), "key 'labels' cannot be read .*codec"),
    (dict(labels=np.zeros(ROWS, "V2")), r"'labels' is \|V2; expected whole numbers from -1"),
    (dict(split=np.array(["train"] * 20 + ["tset"] * 4)), "'split' holds train, tset; expected train, val or test"),
    (dict(split=np.tile(["train", "train", "val", "val"], 6)), "'split' has 6 objects in train and in test, such as 0"),
    (dict(split=np.array(["train"] * ROWS)), "'split' leaves 0 of 12 clips for test"),
    (dict(clips=np.tile([0, 0, 0, 1], 6)), "'clips' makes clips of 1 to 3 rows"),
    (dict(clips=np.zeros(ROWS)), "'clips' is float64; expected whole numbers"),
    (dict(times=np.full(ROWS, np.inf)), "'times' is float64, or not finite"),
    (dict(latents=np.zeros((ROWS, 2))), "'latent_names' is missing"),
    (dict(latents=np.zeros((ROWS, 2)), latent_names=np.array(["floor_hue"])), r"'latents' is float64 \(24, 2\)"),
    (dict(lables=np.zeros(ROWS)), r"key 'lables' is not known \(did you mean 'labels'\?\)"),
    (dict(label=np.zeros(ROWS)), "key 'label' is there twice, as 'labels' too"),
    (dict(paths=np.array([object()] * ROWS)), "key 'paths' cannot be read .*no Python objects"),
]  # fmt: skip


@pytest.mark.parametrize("changes, said", BAD, ids=[said[:40] for _, said in BAD])
def test_every_bad_key_is_one_error_with_file_and_key(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said) as error:
        features_file.read(save(tmp_path, **changes))
    assert "made.npz" in str(error.value)


def test_what_is_no_npz_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz is not there"):
        features_file.read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match="text.npz is no .npz"):
        features_file.read(tmp_path / "text.npz")
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(ValueError, match="bare.npy holds one bare array"):
        features_file.read(tmp_path / "bare.npy")


def test_clips_whose_times_go_back_are_refused(tmp_path):
    clips = dict(features=np.random.default_rng(0).normal(size=(6, 4, 5)), objects=np.arange(6), labels=np.arange(6) % 2)
    times = np.tile(np.arange(4.0), (6, 1))
    np.savez(tmp_path / "made.npz", times=times, **clips)
    assert features_file.read(tmp_path / "made.npz").train.frames == 4
    times[3] = times[3, ::-1]
    np.savez(tmp_path / "made.npz", times=times, **clips)
    with pytest.raises(ValueError, match="made.npz, key 'times' goes back in clip 3; expected the frames of a clip in"):
        features_file.read(tmp_path / "made.npz")
