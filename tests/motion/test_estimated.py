"""Estimated motion as training takes it: trust against `known_pairs`, cuts, other clips, stretches worth judging by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.conftest import moving_picture, write_video
from vsie import pose
from vsie.data import ClipsDataset, VideoError, WindowsDataset, collate, load
from vsie.motion.archives import archive
from vsie.motion.estimated import EstimatedClips, EstimatedMotion, common_length
from vsie.motion.solver import known_pairs

LENGTHS = (9, 16, 5, 1, 12)


def invented(frames: int, seed: int) -> dict[str, np.ndarray]:
    """An archive's fields for a clip of `frames` frames with a cut in the middle of every second one."""
    generator = torch.Generator().manual_seed(seed)
    turns = 0.3 * torch.randn(frames, 3, generator=generator, dtype=torch.float64)
    segment = (np.arange(frames) >= frames // 2).astype(np.int64) * (seed % 2)
    steps = max(frames - 1, 0)
    confidence = torch.rand(steps, generator=generator, dtype=torch.float64).numpy()
    root = 0.1 * torch.randn(steps, 3, 3, generator=generator, dtype=torch.float64)
    cut = np.flatnonzero(np.diff(segment))
    confidence[cut] = 0
    return {
        "object_in_camera": pose.rigid(pose.exp(turns)).numpy(), "segment": segment, "confidence": confidence,
        "covariance": (root @ root.mT).numpy(), "scale": np.array("centre"), "times": np.arange(frames) / 12,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five videos and the archives of four of them."""
    folder = tmp_path_factory.mktemp("estimated")
    for number, frames in enumerate(LENGTHS):
        write_video(folder / "videos" / f"{number}.mp4", moving_picture(frames, seed=number))
    manifest = load(folder / "videos")
    for row, frames in enumerate(LENGTHS[:4]):
        file = archive(folder, manifest, row)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, **invented(frames, row))
    return folder, manifest


@pytest.fixture(scope="module")
def motion(folder):
    return EstimatedMotion(folder[1], np.arange(5), folder[0], progress=False)


def test_trust_between_steps_is_that_of_all_pairs_of_the_clip(motion):
    rng = np.random.default_rng(0)
    rows = np.repeat([[0, 0, 1, 1]] * 6, 3, 1)  # [6, 12]
    frames = np.stack([rng.integers(0, np.array(LENGTHS)[row]) for row in rows])
    poses = torch.stack([torch.from_numpy(np.stack([motion.poses(r)[f] for r, f in zip(*pair, strict=True)]))
                         for pair in zip(rows.tolist(), frames.tolist(), strict=True)])  # fmt: skip
    found = motion.trust(rows, frames, frames, poses[..., :3, :3])
    assert found.shape == (6, 12, 12) and found.dtype == torch.float32
    slow = {}
    for row in (0, 1):
        fields = invented(LENGTHS[row], row)
        parts = {name: torch.from_numpy(fields[name]) for name in ("confidence", "segment", "covariance")}
        slow[row] = known_pairs(**parts, poses=torch.from_numpy(motion.poses(row)))
    for b in range(6):
        for i in range(12):
            for j in range(12):
                known = rows[b, i] == rows[b, j]
                expected = slow[rows[b, i]][frames[b, i], frames[b, j]].item() if known else 0.0
                assert found[b, i, j].item() == pytest.approx(expected, abs=1e-6), (b, i, j)
    assert (found == 0).any() and ((found > 0) & (found < 1)).any()


def test_without_weights_what_is_known_counts_whole(folder):
    motion = EstimatedMotion(folder[1], np.arange(5), folder[0], weighted=False, progress=False)
    frames = np.arange(16)[None]
    found = motion.trust(np.ones_like(frames), frames, frames, torch.from_numpy(motion.poses(1))[None, :, :3, :3])[0]
    side = np.arange(16) >= 8
    assert torch.equal(found, torch.from_numpy(side[:, None] == side[None]).float())


def test_a_step_between_frames_is_trusted_as_the_stretch_that_holds_it(motion):
    """A step on the far side of a cut, in part, is known to nobody."""
    rows = np.ones((1, 4), int)
    first, last = np.array([[2, 6, 7, 9]]), np.array([[3, 7, 8, 10]])
    found = motion.trust(rows, first, last, torch.eye(3).expand(1, 4, 3, 3))[0]
    assert found[0, 1] > 0 and (found[2] == 0).all() and (found[:, 2] == 0).all() and found[0, 3] == 0 and found[3, 3] == 1
    wide = motion.trust(rows[:, :2], np.array([[2, 7]]), np.array([[2, 7]]), torch.eye(3).expand(1, 2, 3, 3))[0]
    assert found[0, 1] == pytest.approx(wide[0, 1].item(), abs=1e-6)


def test_windows_carry_poses_and_trust(folder, motion):
    manifest = folder[1]
    dataset = WindowsDataset(manifest, "train", windows=2, frames=2, spacing=(1, 2), motion=motion, seed=3, allowed_share=1)
    batch = dataset.__getitems__([1, 2, 0])
    assert batch["poses"].shape == (3, 2, 2, 4, 4) and batch["trust"].shape == (3, 4, 4)
    numbers = (batch["times"][0] * 12).round().long().flatten()
    np.testing.assert_allclose(batch["poses"][0].flatten(0, 1), motion.poses(1)[numbers], atol=1e-6)
    rotation = torch.from_numpy(motion.poses(1))[numbers][None, :, :3, :3]
    expected = motion.trust(np.ones((1, 4), int), numbers[None].numpy(), numbers[None].numpy(), rotation)
    torch.testing.assert_close(batch["trust"][:1], expected)
    with pytest.raises(ValueError, match=r"3\.mp4: 1 frames are too few"):
        dataset[3]
    assert dataset[4]["object"] == 0  # the motion of the last one is not known: the next object takes its place


def test_a_worker_process_has_the_same_motion(folder, motion):
    dataset = WindowsDataset(folder[1], "train", windows=2, frames=2, spacing=(1, 2), motion=motion, allowed_share=1)
    sampler = [[(0, 1), (0, 0)]]
    (batch,) = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=1, multiprocessing_context="spawn")
    expected = dataset.__getitems__(sampler[0])
    assert batch.keys() == expected.keys() and all(torch.equal(batch[name], expected[name]) for name in batch)


def test_a_clip_of_other_length_than_its_motion_is_refused_by_name(folder, motion):
    with pytest.raises(ValueError, match=r"0\.mp4\.npz: motion of 9 frames, expected 10"):
        motion.poses(0, 10)
    with pytest.raises(VideoError, match="4.mp4"):
        motion.poses(4)
    with pytest.raises(ValueError, match="no motion of any of 1 clips"):
        EstimatedMotion(folder[1], np.array([4]), folder[0], progress=False)


def test_the_stretch_that_is_judged_has_no_cut_and_no_doubtful_step(folder, tmp_path):
    manifest = folder[1]
    fields = invented(16, 1)
    fields["confidence"] = np.array([0.9] * 4 + [0.1] + [0.9] * 2 + [0.0] + [0.9] * 7)  # cut after frame 7
    for row, frames in enumerate(LENGTHS):
        file = archive(tmp_path, manifest, row)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, **(fields if row == 1 else invented(frames, 0) | {"confidence": np.full(max(frames - 1, 0), 0.2)}))
    motion = EstimatedMotion(manifest, np.arange(5), tmp_path, progress=False)
    assert [motion.reliable(row) for row in range(5)] == [(0, 0), (8, 8), (0, 0), (0, 0), (0, 0)]
    assert common_length(motion, np.arange(5)) == 8 and common_length(motion, np.array([0, 2, 3])) == 0
    clips = EstimatedClips(ClipsDataset(manifest, None), motion, frames=4, widest=3)
    assert len(clips) == 1 and clips.left_out == 4
    item = clips[0]
    assert item["orbit"] == 1 and item["object"] == manifest.object[1] and item["frames"].shape[0] == 4
    np.testing.assert_allclose(item["poses"], motion.poses(1)[[8, 10, 12, 14]], atol=1e-6)
    np.testing.assert_array_equal(item["frames"], ClipsDataset(manifest, None)[1]["frames"][[8, 10, 12, 14]])
