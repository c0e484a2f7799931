"""Noise of a known size, the same each time; deltas given to the wrong pairs; windows of few clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vsie import pose
from vsie.data import WindowsDataset
from vsie.data.pose_noise import PoseNoise


@pytest.mark.parametrize("degrees", [5, 10, 20, 40])
@pytest.mark.parametrize("frame", pose.FRAMES)
def test_a_delta_is_wrong_by_so_many_degrees_in_the_median(degrees, frame):
    noise, generator = PoseNoise(degrees, seed=1), torch.Generator().manual_seed(0)
    poses = pose.rigid(pose.from_quaternion(torch.randn(4000, 4, generator=generator, dtype=torch.float64)))
    noisy = torch.from_numpy(noise(7, poses.numpy()))
    true, told = (pose.delta(p[0::2], p[1::2], frame) for p in (poses, noisy))
    assert pose.geodesic(true, told).rad2deg().median().item() == pytest.approx(degrees, rel=0.05)
    axes = torch.nn.functional.normalize(pose.log((told @ pose.inverse(true))[:, :3, :3]), dim=-1)
    assert axes.mean(0).norm() < 0.06  # no axis is favoured


def test_noise_is_a_function_of_seed_and_clip_and_leaves_places_alone():
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, :3, 3] = 3
    one = PoseNoise(20, seed=1)(4, poses)
    np.testing.assert_array_equal(one, PoseNoise(20, seed=1)(4, poses))
    assert not np.allclose(one, PoseNoise(20, seed=2)(4, poses)) and not np.allclose(one, PoseNoise(20, seed=1)(5, poses))
    np.testing.assert_array_equal(one[:, :3, 3], poses[:, :3, 3])
    np.testing.assert_array_equal(PoseNoise(0)(4, poses), poses)
    with pytest.raises(ValueError, match="motion.noise_deg is 90, expected 0 to 60"):
        PoseNoise(90)


def test_noisy_windows_change_their_poses_alone_and_alike_in_every_epoch(manifest):
    settings = {"windows": 2, "frames": 2, "spacing": (1, 6), "seed": 5}
    plain, noisy = (
        WindowsDataset(manifest, "train", **settings),
        WindowsDataset(manifest, "train", noise=PoseNoise(20), **settings),
    )
    found: dict[tuple[int, int], torch.Tensor] = {}
    for epoch in range(12):
        one, other = plain[epoch, 1], noisy[epoch, 1]
        assert all(torch.equal(one[name], other[name]) for name in one if name != "poses")
        turn = other["poses"][..., :3, :3] @ one["poses"][..., :3, :3].mT
        for window in range(2):
            for step in range(2):
                key = int(one["clip"][window]), round(float(one["times"][window, step]) * 12)
                torch.testing.assert_close(turn[window, step], found.setdefault(key, turn[window, step]), atol=1e-5, rtol=0)
    assert pose.angle(torch.stack(list(found.values()))).rad2deg().median() > 5


def test_shuffled_windows_have_the_same_deltas_for_other_pairs(manifest):
    settings = {"windows": 2, "frames": 4, "spacing": (1, 3), "seed": 5}
    plain, mixed = WindowsDataset(manifest, "train", **settings), WindowsDataset(manifest, "train", shuffled=True, **settings)
    orders = set()
    for epoch in range(8):
        one, other = plain[epoch, 2], mixed[epoch, 2]
        assert all(torch.equal(one[name], other[name]) for name in one if name != "poses")
        first, second = (item["poses"].flatten(0, 1).flatten(1).tolist() for item in (one, other))
        assert sorted(first) == sorted(second)  # the very same poses, and their deltas with them
        orders.add(tuple(first.index(found) for found in second))
        assert torch.equal(other["poses"], WindowsDataset(manifest, "train", shuffled=True, **settings)[epoch, 2]["poses"])
    assert len(orders) == 8


def test_trust_goes_with_the_poses_that_are_shuffled(manifest):
    class Told:
        """Every frame has a turn of its own; trust says which two they are."""

        def poses(self, row, frames):
            return pose.rigid(pose.exp(torch.arange(frames)[:, None] * torch.tensor([0.1, 0, 0], dtype=torch.float64))).numpy()

        def trust(self, rows, first, last, rotations):
            return torch.from_numpy(first[:, :, None] + 100.0 * last[:, None, :])

    settings = {"windows": 2, "frames": 3, "spacing": (1, 3), "seed": 5, "clips_per_item": 1, "motion": Told()}
    for shuffled in (False, True):
        item = WindowsDataset(manifest, "train", shuffled=shuffled, **settings)[0, 3]
        numbers = (pose.angle(item["poses"][..., :3, :3].flatten(0, 1)) / 0.1).round()
        torch.testing.assert_close(item["trust"], (numbers[:, None] + 100 * numbers[None]).double(), check_dtype=False)


@pytest.mark.parametrize("clips", [1, 2])
def test_windows_come_from_as_many_clips_as_are_asked_for(manifest, clips):
    dataset = WindowsDataset(manifest, "train", windows=4, frames=2, spacing=(1, 6), clips_per_item=clips, seed=0)
    found = set()
    for epoch in range(20):
        item = dataset[epoch, 0]
        assert len(set(item["clip"].tolist())) == clips
        found |= set(item["clip"].tolist())
        for clip in set(item["clip"].tolist()):
            spans = sorted((row[0], row[-1]) for row in item["times"][item["clip"] == clip].tolist())
            assert all(before[1] < after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert found == {0, 1, 2}
    with pytest.raises(ValueError, match="clips_per_item is 0"):
        WindowsDataset(manifest, "train", clips_per_item=0)
