"""Slow things are looked at less often, and their motion is known all the same."""

from __future__ import annotations

import numpy as np
import torch

from vsie import pose
from vsie.benchmarks.motion import error, rendered
from vsie.motion import pace
from vsie.motion.egomotion.auto import Auto
from vsie.motion.egomotion.base import Motion
from vsie.motion.estimate import clip_motion
from vsie.motion.flow.dis import Dis
from vsie.motion.pace import Frames, at_its_pace, between, key_frames


def turning(angles: list[float], confidence: float) -> Motion:
    """About one axis, at these angles in degrees."""
    turn = torch.tensor(angles, dtype=torch.float64).deg2rad()[:, None] * torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    steps = len(angles) - 1
    variance = torch.arange(1, steps + 1)[:, None, None] * torch.eye(3, dtype=torch.float64)
    return Motion(pose.rigid(pose.exp(turn)), variance, torch.full((steps,), confidence, dtype=torch.float64), "centre", "orbit")


def test_between_key_frames_things_move_evenly_and_variances_add_up():
    found = between(turning([0, 6, 30], 0.7), np.array([0, 2, 5]))
    expected = turning([0, 3, 6, 14, 22, 30], 0.7)
    torch.testing.assert_close(found.poses, expected.poses)
    assert found.confidence.tolist() == [0.7] * 5 and found.estimator == "orbit"
    torch.testing.assert_close(found.covariance[:, 0, 0], torch.tensor([1 / 2, 1 / 2, 2 / 3, 2 / 3, 2 / 3]).double())


def test_key_frames_begin_and_end_the_stretch():
    assert key_frames(16, 3).tolist() == [0, 3, 6, 9, 12, 15]
    assert key_frames(48, 9).tolist() == [0, 9, 19, 28, 38, 47]
    assert key_frames(2, 1).tolist() == [0, 1] == key_frames(2, 27).tolist()


def test_a_clip_is_looked_at_the_less_often_the_less_is_believed_of_it():
    """What an estimator says of every frame, every third and every ninth; it is asked no more than it has to be."""
    said = {"fast": [0.6, 0.9], "slow": [0.1, 0.3, 0.8], "hard": [0.3, 0.2, 0.1], "short": [0.1]}
    lengths = {"fast": 46, "slow": 46, "hard": 46, "short": 12}
    clips = [Frames(np.full((length, 1, 1, 3), number, np.uint8), {"intrinsics": np.eye(3), "depth": np.arange(length)})
             for number, length in enumerate(lengths.values())]  # fmt: skip
    asked = []

    def estimate(some):
        motions = []
        for clip in some:
            name = list(said)[clip.frames[0, 0, 0, 0]]
            apart = int(np.diff(clip.facts["depth"]).max())
            assert len(clip.facts["depth"]) == len(clip.frames) and clip.facts["intrinsics"].shape == (3, 3)
            asked.append((name, apart))
            motions.append(turning(clip.facts["depth"].tolist(), said[name][round(np.log(apart) / np.log(pace.FACTOR))]))
        return motions

    found = dict(zip(said, at_its_pace(estimate, clips), strict=True))
    assert asked == [("fast", 1), ("slow", 1), ("hard", 1), ("short", 1), ("slow", 3), ("hard", 3), ("slow", 9), ("hard", 9)]
    assert {name: float(motion.confidence[0]) for name, motion in found.items()} == {
        "fast": 0.6, "slow": 0.8, "hard": 0.3, "short": 0.1}  # fmt: skip
    for name, motion in found.items():
        torch.testing.assert_close(motion.poses, turning(list(range(lengths[name])), 1).poses)


def test_the_motion_of_a_slow_clip_is_known_where_neighbours_tell_nothing(monkeypatch):
    """A turntable at one degree a frame, as real video has it."""
    (clip,) = rendered("turntable", ["headphones"], seed=3, frames=46, size=96, degrees=(0.9, 1.1))
    known, flow = [{"intrinsics": clip.intrinsics}], Dis(workers=1)
    (found,) = clip_motion(flow, Auto(), [clip.frames], known)
    monkeypatch.setattr(pace, "ENOUGH", 0)
    (neighbours,) = clip_motion(flow, Auto(), [clip.frames], known)
    off = []
    for motion in (found, neighbours):
        wrong, turn = error(torch.from_numpy(motion["object_in_camera"]), clip.poses, 9)
        off.append(float((wrong / turn).median()))
    assert off[0] < 0.25 and off[0] < 0.3 * off[1], off
    assert np.median(found["confidence"]) > 0.3 > np.median(neighbours["confidence"])
    rotation = torch.from_numpy(found["object_in_camera"])[:, :3, :3]
    turns = pose.angle(rotation[1:] @ rotation[:-1].mT)
    assert float(turns.min()) > 0.3 * float(turns.max()) > 0  # frames between key frames move too
    assert found["segment"].tolist() == [0] * 46 and np.isfinite(found["covariance"]).all()
