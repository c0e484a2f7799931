"""Slow things are looked at less often, and their motion is known all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from vsie import pose
from vsie.benchmarks.motion import error, rendered
from vsie.motion import pace
from vsie.motion.egomotion.auto import Auto
from vsie.motion.egomotion.base import Motion, chain
from vsie.motion.flow.dis import Dis
from vsie.motion.pace import Frames, at_its_pace, between, key_frames
from vsie.motion.solver import clip_motion


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


def told(paces: dict[int, Motion], asked: list[int]):
    """An estimator that says this of clips whose key frames are so far apart, and notes when it is asked."""

    def estimate(clips):
        asked.extend(int(np.diff(clip.facts["depth"]).max()) for clip in clips)
        return [paces[apart] for apart in asked[-len(clips) :]]

    return estimate


def clip_of(frames: int) -> Frames:
    return Frames(np.zeros((frames, 1, 1, 3), np.uint8), {"depth": np.arange(frames)})


def test_what_turns_quickly_is_never_looked_at_less_often():
    """Every third frame would be further apart than any that confidence was measured on."""
    asked, every = [], turning([8.0 * n for n in range(31)], 0.2)
    (found,) = at_its_pace(told({1: every}, asked), [clip_of(31)])
    assert found is every and asked == [1]
    third = turning([12.0 * n for n in range(11)], 0.3)
    (found,) = at_its_pace(told({1: turning([4.0 * n for n in range(31)], 0.2), 3: third}, asked), [clip_of(31)])
    assert asked == [1, 1, 3] and found.confidence.unique().tolist() == [0.3]


def test_what_is_known_of_a_part_is_not_given_away_for_a_little_more_of_the_rest():
    every = turning(list(range(46)), 0.0)
    every.confidence[:] = torch.tensor([0.05] * 25 + [0.9] * 20)
    third, ninth = turning(list(range(0, 46, 3)), 0.06), turning(list(range(0, 46, 9)), 0.06)
    (found,) = at_its_pace(told({1: every, 3: third, 9: ninth}, []), [clip_of(46)])
    assert int((found.confidence > 0.8).sum()) == 20


def test_no_turn_is_not_taken_for_one_that_is_unsure():
    still = replace(turning([0] * 11, 0.3), scale="image", estimator="affine")
    for name in ("orbit", "affine"):
        every = replace(turning(list(range(31)), 0.2), estimator=name, scale="centre" if name == "orbit" else "image")
        (found,) = at_its_pace(told({1: every, 3: still}, []), [clip_of(31)])
        assert float(found.confidence[0]) == (0.2 if name == "orbit" else 0.3)


def test_between_key_frames_things_move_evenly_in_time():
    times = np.array([0, 0.1, 0.5, 0.6, 0.7, 1.5])
    found = between(turning([0, 5, 15], 0.7), np.array([0, 2, 5]), times)
    torch.testing.assert_close(found.poses, turning([0, 1, 5, 6, 7, 15], 1).poses)
    torch.testing.assert_close(found.covariance[:, 0, 0], torch.tensor([0.2, 0.8, 0.2, 0.2, 1.6]).double())
    frames = Frames(np.zeros((31, 1, 1, 3), np.uint8), {"depth": np.arange(31)}, np.append(np.arange(30) / 25, 5.0))
    paces = {1: turning(list(range(31)), 0.1), 3: turning([3.0 * n for n in range(11)], 0.6)}
    (found,) = at_its_pace(told(paces, []), [frames])
    last = frames.times[-4:]  # a key frame, the two after it, and another
    torch.testing.assert_close(found.poses[-4:], turning((27 + 3 * (last - last[0]) / (last[-1] - last[0])).tolist(), 1).poses)


def test_steps_whose_length_is_not_known_have_length_one_at_every_pace():
    turned = turning([0, 3, 6, 9], 0.7)
    steps = turned.poses[1:2].repeat(3, 1, 1)
    steps[:, :3, 3] = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])  # it does not move in the last
    motion, numbers = replace(turned, poses=chain(steps), scale="unit"), np.array([0, 3, 6, 9])
    found = between(motion, numbers)
    lengths = pose.delta(found.poses[:-1], found.poses[1:], "camera")[:, :3, 3].norm(dim=-1)
    torch.testing.assert_close(lengths[:6], torch.ones(6).double())
    torch.testing.assert_close(found.poses[:, :3, :3], turning(list(range(10)), 1).poses[:, :3, :3])
    torch.testing.assert_close(between(replace(motion, scale="metric"), numbers).poses[::3], motion.poses)


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
