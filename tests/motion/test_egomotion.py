"""Motion from flow, on clips whose motion is known; and the hard cases, each with what must come out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.motion.scenes import SIZE, moved, observe, rendered, similarity, texture, true_poses
from vsie import pose
from vsie.motion.egomotion import orbit
from vsie.motion.egomotion.affine import Affine
from vsie.motion.egomotion.auto import Auto
from vsie.motion.egomotion.essential import Essential, eight_point, two_view
from vsie.motion.egomotion.kabsch import Kabsch, procrustes
from vsie.motion.egomotion.orbit import Orbit
from vsie.motion.egomotion.pnp import Pnp
from vsie.motion.estimated import RELIABLE


def share(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Error (T - 1,) of the turn between neighbours, as a share of the true turn."""
    first, second = (poses[1:, :3, :3] @ poses[:-1, :3, :3].mT for poses in (found.double(), true))
    return pose.geodesic(first, second) / pose.angle(second)


def angles_deg(poses: torch.Tensor) -> torch.Tensor:
    return pose.angle(poses[1:, :3, :3] @ poses[:-1, :3, :3].mT).rad2deg()


@pytest.mark.parametrize("kind", ["turntable", "orbit"])
def test_orbit_finds_the_turn_from_the_frames_alone(kind):
    frames, arrays = rendered(kind, "laptop")
    motion = Orbit()([observe(frames, intrinsics=arrays["intrinsics"])])[0]
    assert float(share(motion.poses, true_poses(arrays)).median()) < 0.2
    assert motion.scale == "centre" and motion.confidence.shape == (7,) and float(motion.confidence.min()) >= 0
    # the object's middle stays where it is: at distance 1
    middle = (motion.poses @ torch.tensor([0.0, 0.0, 1.0, 1.0]).double())[:, :3]
    torch.testing.assert_close(middle, middle[:1].expand_as(middle), atol=1e-3, rtol=0)


def test_known_depth_is_better():
    frames, arrays = rendered("turntable", "laptop")
    clip = observe(frames, intrinsics=arrays["intrinsics"], depth=arrays["depth"])
    true = true_poses(arrays)
    aligned, by_flow, cloud = (estimator([clip])[0] for estimator in (Pnp(), Pnp(refinements=0), Kabsch()))
    assert float(share(aligned.poses, true).median()) < 0.12
    assert float(share(by_flow.poses, true).median()) < 0.5 and float(share(cloud.poses, true).median()) < 0.5
    assert aligned.scale == "metric"
    assert float((aligned.poses[:, :3, 3] - true[:, :3, 3]).norm(dim=1).max()) < 0.1 * float(true[-1, :3, 3].norm())
    with pytest.raises(ValueError, match="egomotion=pnp needs depth"):
        Pnp()([observe(frames)])


@pytest.mark.parametrize("kind", ["turntable", "orbit"])
def test_of_what_turns_in_its_place_known_depth_tells_the_centre_and_its_distance(kind):
    frames, arrays = rendered(kind, "laptop")
    true = true_poses(arrays)
    clip, blind = (observe(frames, intrinsics=arrays["intrinsics"], depth=depth) for depth in (arrays["depth"], None))
    motion = Auto()([clip])[0]
    assert motion.estimator == "orbit" and motion.scale == "metric"
    assert float(share(motion.poses, true).median()) < 0.05
    assert float(share(motion.poses, true).median()) < float(share(Orbit()([blind])[0].poses, true).median())
    distance = float(arrays["object_in_camera"][0, 2, 3])
    torch.testing.assert_close(motion.poses[:, :3, 3], true[:, :3, 3], atol=0.03 * distance, rtol=0)
    # a thing beside the middle turns about a point that is not on the axis of view
    shifted = observe(np.roll(frames, 40, 2), intrinsics=arrays["intrinsics"], depth=np.roll(arrays["depth"], 40, 2))
    assert Auto().choice(shifted) == "pnp"


def test_depth_that_a_sensor_did_not_see_is_no_depth():
    frames, arrays = rendered("turntable", "laptop")
    depth, intrinsics = arrays["depth"].astype(np.float64), arrays["intrinsics"]
    seen = np.isfinite(depth)
    for nothing in (np.nan, np.inf, 0.0, -1.0):  # 0 is how most sensors say it
        clip = observe(frames, intrinsics=intrinsics, depth=np.full_like(depth, nothing))
        assert not clip.depth_known and Auto()([clip])[0].scale == Orbit()([clip])[0].scale == "centre"
        assert not Pnp()([clip])[0].confidence.any()  # one stretch that the sensor missed does not stop the others
    whole = Auto()([observe(frames, intrinsics=intrinsics, depth=depth)])[0]
    zero = Auto()([observe(frames, intrinsics=intrinsics, depth=np.where(seen, depth, 0.0))])[0]
    torch.testing.assert_close(zero.poses, whole.poses)
    depth[3] = 0  # a frame that is missing
    assert float(share(Auto()([observe(frames, intrinsics=intrinsics, depth=depth)])[0].poses, true_poses(arrays)).median()) < 0.1
    motion = Orbit()([observe(frames, intrinsics=intrinsics, depth=np.where(seen, 0.0, 3.0), mask=seen)])[0]  # known elsewhere
    assert motion.poses.isfinite().all() and not motion.confidence.any() and motion.note == "no point to follow"


def test_procrustes_is_exact():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(3, 20, 3, generator=generator).double()
    true = pose.rigid(pose.exp(torch.randn(3, 3, generator=generator)).double(), torch.randn(3, 3, generator=generator).double())
    target = source @ true[:, :3, :3].mT + true[:, None, :3, 3]
    torch.testing.assert_close(procrustes(source, target, torch.rand(3, 20, generator=generator).double()), true)


def two_views(flat: bool, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(300, 3, generator=generator).double() * torch.tensor([2.0, 2.0, 0.0 if flat else 2.0])
    points = points + torch.tensor([-1.0, -1.0, 4.0]) + (points[:, :1] * torch.tensor([0.0, 0.0, 0.3]) if flat else 0)
    true = pose.rigid(pose.exp(torch.tensor([0.03, 0.12, -0.05]).double()), torch.tensor([-0.6, 0.1, 0.1]).double())
    after = points @ true[:3, :3].mT + true[:3, 3]
    first, second = (part[:, :2] / part[:, 2:] for part in (points, after))
    second = second + noise * torch.randn(second.shape, generator=generator)
    return first.numpy(), second.numpy(), true


def test_essential_is_exact_on_exact_matches_and_stands_outliers():
    first, second, true = two_views(flat=False)
    second[:60] += np.random.default_rng(0).uniform(-0.2, 0.2, (60, 2))
    found, inliers = two_view(first, second, 1e-3)
    assert math.degrees(pose.geodesic(torch.from_numpy(found), true)) < 0.1 and 0.75 < inliers < 0.9
    assert float(torch.from_numpy(found[:3, 3]) @ torch.nn.functional.normalize(true[:3, 3], dim=0)) > 0.999
    both = [torch.from_numpy(part)[None] for part in (first, second)]
    matrix = eight_point(*both, torch.ones(1, 300).double(), 1e-3)[0].numpy()
    found, _ = two_view(first, second, 1e-3, matrix)
    assert math.degrees(pose.geodesic(torch.from_numpy(found), true)) < 0.2


def test_a_plane_is_taken_for_a_plane():
    first, second, true = two_views(flat=True, noise=1e-4)
    found, _ = two_view(first, second, 1e-3)
    assert math.degrees(pose.geodesic(torch.from_numpy(found), true)) < 1
    assert two_view(first[:5], second[:5], 1e-3)[1] == 0


# The hard cases. Each must go through, and must not be believed more than it deserves.


def test_a_static_video_has_identity_deltas_of_no_confidence():
    frames = np.repeat(moved([similarity()], background=texture(SIZE, 4)), 5, axis=0)
    for estimator in (Auto(), Orbit(), Affine(), Essential()):
        motion = estimator([observe(frames)])[0]
        assert float(angles_deg(motion.poses).max()) < 0.1 and float(motion.confidence.max()) < 0.1


def test_a_black_clip_is_a_static_one():
    motion = Auto()([observe(np.zeros((4, 64, 64, 3), np.uint8))])[0]
    assert float(angles_deg(motion.poses).max()) < 0.1 and float(motion.confidence.max()) < 0.1
    assert motion.note == "nothing moves" and motion.poses.isfinite().all()


def test_pure_translation_is_no_turn():
    frames = moved([similarity(shift=(2.0 * t - 4, 1.0 * t - 2)) for t in range(5)])
    clip = observe(frames)
    motion = Auto()([clip])[0]
    assert motion.estimator == "affine" and motion.scale == "image"
    assert float(angles_deg(motion.poses).max()) < 2
    assert 0 < float(motion.confidence.max()) < RELIABLE  # a plain thing that turns looks like one that shifts
    steps = (motion.poses[1:, :3, 3] - motion.poses[:-1, :3, 3])[:, :2] * clip.camera[0]
    torch.testing.assert_close(steps.median(0).values, torch.tensor([2.0, 1.0]).double(), atol=0.35, rtol=0)


def test_pure_zoom_is_an_approach():
    frames = moved([similarity(scale=1.04**t) for t in range(5)])
    motion = Auto()([observe(frames)])[0]
    assert motion.estimator == "affine" and float(angles_deg(motion.poses).max()) < 2
    approach = 1 + (motion.poses[1:, 2, 3] - motion.poses[:-1, 2, 3])
    assert 0.94 < float(approach.median()) < 0.98  # 1 / 1.04 = 0.962


def test_rolling_shake_is_a_turn_about_the_axis_of_view():
    angles = [math.radians(6 * math.sin(1.3 * t)) for t in range(7)]
    frames = moved([similarity(angle=angle) for angle in angles])
    motion = Affine()([observe(frames)])[0]
    found = pose.log(motion.poses[1:, :3, :3] @ motion.poses[:-1, :3, :3].mT).rad2deg()
    true = np.rad2deg(np.diff(angles))
    assert np.abs(found[:, 2].numpy() - true).mean() < 0.25 * np.abs(true).mean()
    assert float(motion.confidence[np.abs(true) > 6].min()) > RELIABLE  # it is what most of the motion is
    assert Auto()([observe(frames)])[0].poses.isfinite().all()


def test_a_still_object_before_a_moving_background_does_not_move_in_the_camera():
    frames = moved([similarity(shift=(3.0 * t, 0)) for t in range(5)], background=texture(SIZE, 5), still=True)
    motion = Auto()([observe(frames)])[0]
    assert float(angles_deg(motion.poses).max()) < 1.5
    assert float((motion.poses[1:, :3, 3] - motion.poses[:-1, :3, 3]).norm(dim=1).max()) < 0.02


@pytest.mark.parametrize("estimator", [Auto(), Orbit(), Affine(), Essential()], ids=lambda e: type(e).__name__)
def test_two_frames_are_enough(estimator):
    frames, arrays = rendered("turntable", "laptop")
    motion = estimator([observe(frames[:2], intrinsics=arrays["intrinsics"])])[0]
    assert motion.poses.shape == (2, 4, 4) and motion.confidence.shape == (1,) and motion.covariance.shape == (1, 3, 3)
    assert bool(pose.is_rotation(motion.poses[:, :3, :3]).all()) and 0 <= float(motion.confidence[0]) <= 1


def test_one_frame_has_no_motion():
    with pytest.raises(ValueError, match="at least 2 frames"):
        Orbit()([observe(np.zeros((1, 64, 64, 3), np.uint8))])


def test_an_object_that_fills_a_picture_has_its_edge_there():
    """Else it would be endlessly thick, and one noisy clip the end of an estimation of many."""
    whole = orbit._inward(np.ones((8, 10), np.uint8))
    assert whole.shape == (8, 10) and whole.min() > 0 and whole.max() <= 5
    frames, arrays = rendered("turntable", "laptop")
    (motion,) = Orbit()([observe(frames, intrinsics=arrays["intrinsics"], mask=np.ones(frames.shape[:3], bool))])
    assert motion.poses.isfinite().all() and motion.confidence.isfinite().all()
