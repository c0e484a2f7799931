"""Light and floor of rendered clips are those that their archives hold."""

from __future__ import annotations

import dataclasses

import numpy as np

from vsie.data import ClipsDataset, manifest, scene


def test_latents_are_the_archives_own_in_the_order_of_the_rows(clips):
    loaded = manifest.load(clips)
    rows = loaded.rows("val")[::-1]
    found = scene.latents(loaded, rows)
    assert found.shape == (len(rows), 8, 7) and scene.NAMES[3:] == ("floor_hue", "spot_theta", "spot_phi", "spot_hue")
    with np.load(loaded.pose_file(int(rows[2]))) as archive:
        assert np.array_equal(found[2], archive["latents"])
    assert (found[:, :, 3] == found[:, :1, 3]).all()  # one floor a clip
    assert len(ClipsDataset(loaded, "val").rows) == len(rows)


def test_without_them_there_is_nothing(clips, tmp_path):
    loaded = manifest.load(clips)
    bare = dataclasses.replace(loaded, pose_path=np.full(len(loaded), "", dtype=np.str_))
    assert scene.latents(bare, np.arange(2)) is None
    np.savez(tmp_path / "other.npz", times=np.arange(8))
    other = dataclasses.replace(loaded, root=tmp_path, pose_path=np.full(len(loaded), "other.npz", dtype=np.str_))
    assert scene.latents(other, np.arange(2)) is None
