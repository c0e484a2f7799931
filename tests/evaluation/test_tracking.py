from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, all_deltas, features, random_rotations
from vsie import pose
from vsie.evaluation import inversion, tracking
from vsie.feature_set import Features, flat

Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def tracked(data, *, frame: str = "body", error_deg: float = 0.0, seed: int = 0):
    """Tracks whose every pair is the truth times a random error."""
    clips = tracking.Clips.of(data)
    relative = pose.delta(clips.poses[:, :, None], clips.poses[:, None], frame)[..., :3, :3]
    noise = torch.randn(*relative.shape[:-2], 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    relative = relative @ pose.exp(noise * math.radians(error_deg))
    return tracking._assemble(relative, torch.ones(relative.shape[:3]), clips, frame), clips


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_the_truth_has_no_error_and_closes(frame):
    tracks, clips = tracked(features(objects=4, frames=10, motion="tumble"), frame=frame)
    scores = tracking.score(tracks, clips, frame)
    assert {"rpe_deg@1", "rpe_deg@8", "drift_deg", "closed_loop_deg", "pair_median_deg"} <= scores.errors.keys()
    for errors in scores.errors.values():
        assert errors.max() < 1e-3


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_errors_equal_a_loop(frame):
    tracks, clips = tracked(features(objects=3, clips=1, frames=6, motion="tumble"), frame=frame, error_deg=15)
    scores = tracking.score(tracks, clips, frame)
    rpe, drift, loop = [], [], []
    for b in range(3):
        truth, found = clips.poses[b, :, :3, :3], tracks.relative[b]
        def true_delta(i, j, truth=truth):
            return truth[i].mT @ truth[j] if frame == "body" else truth[j] @ truth[i].mT
        for t in range(4):
            rpe.append(float(pose.geodesic(found[t, t + 2], true_delta(t, t + 2)).rad2deg()))
        total = torch.eye(3, dtype=torch.float64)
        for t in range(5):
            total = total @ found[t, t + 1] if frame == "body" else found[t, t + 1] @ total
        drift.append(float(pose.geodesic(total, true_delta(0, 5)).rad2deg()))
        back = total @ found[5, 0] if frame == "body" else found[5, 0] @ total
        loop.append(float(pose.angle(back).rad2deg()))
    np.testing.assert_allclose(scores.errors["rpe_pair_deg@2"], rpe, atol=1e-6)
    np.testing.assert_allclose(scores.errors["drift_pair_deg"], drift, atol=1e-6)
    np.testing.assert_allclose(scores.errors["closed_loop_deg"], loop, atol=1e-6)


def test_the_whole_clip_beats_single_pairs_and_the_chain():
    tracks, clips = tracked(features(objects=20, frames=12, motion="tumble"), error_deg=10)
    scores = tracking.score(tracks, clips, "body").metrics()
    assert scores["rpe_deg@1"] < 0.6 * scores["rpe_pair_deg@1"]
    assert scores["drift_deg"] < 0.4 * scores["drift_pair_deg"]


def test_exponent_tells_a_bias_from_a_random_walk():
    horizons = np.arange(1, 16)
    assert tracking.exponent(2.0 * horizons) == pytest.approx(1)
    assert tracking.exponent(3.0 * horizons**0.5) == pytest.approx(0.5)
    assert math.isnan(tracking.exponent(np.full(5, 90.0)))
    tracks, clips = tracked(features(objects=60, frames=16, motion="tumble"), error_deg=3)
    assert tracking.score(tracks, clips, "body").metrics()["drift_exponent"] == pytest.approx(0.5, abs=0.12)
    exact, clips = tracked(features(objects=20, frames=16))  # about z, as the bias: it adds up
    biased = tracking._assemble(exact.relative @ pose.exp(math.radians(3) * Z), exact.trust, clips, "body")
    assert tracking.score(biased, clips, "body").metrics()["drift_exponent"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("motion", ["turntable", "tumble"])
def test_inversion_tracks_clips_without_a_label(motion):
    train, test = (features(objects=12, frames=8, motion=motion, noise=0.3, seed=s, first_object=100 * s) for s in (1, 2))
    clips = tracking.Clips.of(test)
    grid = inversion.candidates(BlockSteering(), all_deltas(train))
    tracks = tracking.by_inversion(BlockSteering(), flat(test, "equi", "clip"), clips, grid, total_frames=test.frames)
    scores = tracking.score(tracks, clips, "body").metrics()
    floors = tracking.floors(train, clips, "body")
    assert scores["drift_deg"] < 0.2 * floors["constant"]["drift_deg"]
    assert scores["rpe_deg@4"] < 0.35 * floors["constant"]["rpe_deg@4"]
    assert scores["closed_loop_deg"] < floors["constant"]["closed_loop_deg"]


def test_floors_are_what_a_constant_gets():
    """Clips that all turn 12 degrees a frame: the constant is exact, the identity is 12 h degrees off."""
    angle = torch.deg2rad(12.0 * torch.arange(9, dtype=torch.float64))
    rotation = random_rotations(20, torch.Generator().manual_seed(0))[:, None] @ pose.exp(angle[:, None] * Z)
    data = dataclasses.replace(features(objects=10, frames=9), poses=pose.rigid(rotation).numpy())
    floors = tracking.floors(data, tracking.Clips.of(data), "body")
    for horizon in (1, 2, 4, 8):
        assert floors["constant"][f"rpe_deg@{horizon}"] == pytest.approx(0, abs=1e-4)
        assert floors["identity"][f"rpe_deg@{horizon}"] == pytest.approx(12 * horizon, abs=1e-4)
    assert floors["identity"]["drift_deg"] == pytest.approx(96, abs=1e-4)
    assert floors["constant"]["closed_loop_deg"] == pytest.approx(0, abs=1e-4)  # all clips alike: any of them closes
    assert floors["floor"] == pytest.approx(floors["constant"])


def test_floor_of_clips_that_turn_either_way_is_never_above_no_motion():
    """Train clips mostly turn to the left, test clips mostly to the right: the constant is on the wrong side."""
    angle = torch.deg2rad(12.0 * torch.arange(9, dtype=torch.float64))

    def clips(left: int) -> Features:
        signs = torch.where(torch.arange(20) < left, 1.0, -1.0).double()
        rotation = pose.exp((signs[:, None] * angle)[..., None] * Z)
        return dataclasses.replace(features(objects=10, frames=9), poses=pose.rigid(rotation).numpy())

    floors = tracking.floors(clips(14), tracking.Clips.of(clips(6)), "body")
    for horizon in (1, 2, 4):
        assert floors["constant"][f"rpe_deg@{horizon}"] == pytest.approx(24 * horizon, abs=0.1)
        assert floors["floor"][f"rpe_deg@{horizon}"] == pytest.approx(12 * horizon, abs=1e-4)
    assert floors["floor"]["closed_loop_deg"] == floors["constant"]["closed_loop_deg"]


def test_many_clips_are_thinned_evenly_and_pairs_are_source_major():
    data = features(objects=30, clips=2, frames=4)
    clips = tracking.Clips.of(data)
    source, target = clips.pairs(4)
    assert source[:5].tolist() == [0, 0, 0, 0, 1] and target[:5].tolist() == [0, 1, 2, 3, 0]
    before = tracking.PAIRS
    try:
        tracking.PAIRS = 12 * 15
        thinned = tracking.Clips.of(data)
    finally:
        tracking.PAIRS = before
    assert len(thinned.index) == 15 and len(np.unique(thinned.objects)) == 15
