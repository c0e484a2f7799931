"""What each trajectory promises: speed, axis, ranges, a camera that looks at the object, latents that agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vsie.render import trajectories
from vsie.render.scene import FLOOR_Z

KINDS = trajectories.KINDS
SEEDS = range(40)


def draw(kind: str, frames: int = 16, seed: int = 0) -> trajectories.Trajectory:
    return trajectories.sample(kind, frames, np.random.default_rng(seed))


def steps(rotations: np.ndarray) -> np.ndarray:
    """Rotation vectors (T-1, 3), in the world, from each frame to the next."""
    return Rotation.from_matrix(rotations[1:] @ rotations[:-1].swapaxes(1, 2)).as_rotvec()


@pytest.mark.parametrize("kind", KINDS)
def test_angles_are_the_euler_angles_of_the_rotations(kind):
    for seed in SEEDS:
        trajectory = draw(kind, seed=seed)
        angles = trajectory.angles[..., None]
        x, y, z = (Rotation.from_euler(axis, angles[:, index]) for index, axis in enumerate("xyz"))
        np.testing.assert_allclose((z * y * x).as_matrix(), trajectory.rotations, atol=1e-12)
        assert (np.abs(trajectory.angles) <= math.pi).all()
        assert (np.abs(trajectory.angles[:, 1]) <= math.pi / 2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rotations_are_rotations_and_the_seed_decides(kind):
    first, again, other = draw(kind, seed=3), draw(kind, seed=3), draw(kind, seed=4)
    gram = first.rotations @ first.rotations.swapaxes(1, 2)
    np.testing.assert_allclose(gram, np.tile(np.eye(3), (16, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(first.rotations), 1, atol=1e-12)
    np.testing.assert_array_equal(first.object_in_camera, again.object_in_camera)
    assert not np.allclose(first.object_in_camera, other.object_in_camera)


def test_turntable_turns_upright_about_the_vertical_either_way_at_constant_speed():
    speeds, starts = [], []
    for seed in range(400):
        trajectory = draw("turntable", seed=seed)
        np.testing.assert_allclose(trajectory.rotations[:, 2], np.tile([0, 0, 1], (16, 1)), atol=1e-12)
        turn = steps(trajectory.rotations)
        np.testing.assert_allclose(turn, np.tile(turn[0], (15, 1)), atol=1e-12)
        speeds.append(turn[0, 2])
        starts.append(trajectory.angles[0, 2])
    sweep = 16 * np.abs(speeds)
    assert 2 * math.pi / 3 <= sweep.min() < 2 * math.pi * 0.37 and 2 * math.pi * 0.96 < sweep.max() <= 2 * math.pi
    assert 0.4 < np.mean(np.array(speeds) > 0) < 0.6
    assert abs(np.mean(np.exp(1j * np.array(starts)))) < 0.15  # uniform on the circle
    assert min(starts) < -3 and max(starts) > 3


def test_tumble_starts_in_the_euler_range_and_turns_about_one_axis_anywhere():
    axes = []
    for seed in range(400):
        trajectory = draw("tumble", seed=seed)
        assert (np.abs(trajectory.angles[0]) <= math.pi / 2 + 1e-9).all()
        turn = steps(trajectory.rotations)
        np.testing.assert_allclose(turn, np.tile(turn[0], (15, 1)), atol=1e-9)
        speed = np.linalg.norm(turn[0])
        assert trajectories.SPEED[0] <= speed <= trajectories.SPEED[1]
        axes.append(turn[0] / speed)
    axes = np.array(axes)
    assert np.abs(axes.mean(0)).max() < 0.12
    np.testing.assert_allclose(axes.T @ axes / len(axes), np.eye(3) / 3, atol=0.08)


def test_a_slow_camera_nods_slowly():
    """Ten times slower than the slowest of the default: the same nod, ten times longer."""
    quick, slow = (trajectories.sample("orbit", frames, np.random.default_rng(5), speed=(speed, speed)).viewpoints
                   for frames, speed in ((16, trajectories.SPEED[0]), (151, trajectories.SPEED[0] / 10)))  # fmt: skip
    np.testing.assert_allclose(slow[::10], quick, atol=1e-9)


def test_orbit_keeps_the_object_centred_and_the_camera_above_the_floor():
    for seed in SEEDS:
        trajectory = draw("orbit", seed=seed)
        np.testing.assert_array_equal(trajectory.rotations, np.tile(np.eye(3), (16, 1, 1)))
        poses = trajectory.object_in_camera
        np.testing.assert_allclose(poses[:, :3, 3], np.tile([0, 0, 2.5], (16, 1)), atol=1e-12)
        positions = np.array([camera.position for camera in trajectory.cameras])
        np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 2.5)
        assert positions[:, 2].min() > FLOOR_Z + 1
        low, high = trajectories.ELEVATION
        assert (low <= trajectory.viewpoints[:, 1]).all() and (trajectory.viewpoints[:, 1] <= high).all()
        np.testing.assert_allclose(np.diff(trajectory.viewpoints[:, 0], n=2), 0, atol=1e-12)
        assert np.abs(np.diff(trajectory.viewpoints[:, 1], n=2)).max() < 0.08  # smooth: no jerk in elevation
        assert len({camera.key for camera in trajectory.cameras}) == 16


def test_views_are_independent_and_fill_the_euler_range():
    trajectory = draw("views", frames=4000)
    assert trajectory.relit
    assert (np.abs(trajectory.angles) <= math.pi / 2).all()
    np.testing.assert_allclose(trajectory.angles.std(0), math.pi / math.sqrt(12), rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(trajectory.angles[1:, 0], trajectory.angles[:-1, 0])[0, 1], 0, atol=0.06)


def test_no_angles_in_the_range_of_views_give_a_rotation_of_ood():
    trajectory = draw("ood", frames=4000)
    assert trajectory.relit
    outside = np.abs(trajectories.euler_xyz(trajectory.rotations)) > math.pi / 2
    np.testing.assert_array_equal(outside, np.tile([True, False, True], (4000, 1)))
    # both triples of Euler angles that a rotation has, found by SciPy: none is in the range
    a, b, c = Rotation.from_matrix(trajectory.rotations).as_euler("xyz").T
    other = np.stack([a + math.pi, math.pi - b, c + math.pi], -1)
    np.testing.assert_allclose(Rotation.from_euler("xyz", other).as_matrix(), trajectory.rotations, atol=1e-9)
    for angles in (np.stack([a, b, c], -1), (other + math.pi) % (2 * math.pi) - math.pi):
        assert (np.abs(angles) > math.pi / 2).any(-1).all()


@pytest.mark.parametrize("kind", ["turntable", "tumble", "views", "ood"])
def test_fixed_camera_poses_are_camera_times_rotation(kind):
    trajectory = draw(kind, frames=3)
    camera = trajectory.cameras[0].world_in_camera
    np.testing.assert_allclose(camera[:3, :3] @ trajectory.rotations, trajectory.object_in_camera[:, :3, :3])
    np.testing.assert_allclose(trajectory.object_in_camera[:, :3, 3], np.tile(camera[:3, 3], (3, 1)))


def test_a_longer_clip_continues_a_shorter_one():
    for kind in ("turntable", "tumble", "orbit"):
        np.testing.assert_allclose(draw(kind, 40).object_in_camera[:16], draw(kind, 16).object_in_camera, atol=1e-12)


def test_euler_angles_at_the_gimbal_lock_still_give_the_rotation():
    for b in (math.pi / 2, -math.pi / 2):
        rotation = Rotation.from_euler("xyz", [0.3, b, -1.1]).as_matrix()
        found = trajectories.euler_xyz(rotation)
        np.testing.assert_allclose(Rotation.from_euler("xyz", found).as_matrix(), rotation, atol=1e-7)


def test_light_is_drawn_from_the_ranges_of_3diebench():
    rng = np.random.default_rng(0)
    lights = np.array([trajectories.sample_light(rng) for _ in range(2000)])
    upper = np.array([1, math.pi / 4, 2 * math.pi, 1])
    assert (lights >= 0).all() and (lights <= upper).all()
    np.testing.assert_allclose(lights.mean(0) / upper, 0.5, atol=0.03)


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="'spin'.*turntable"):
        draw("spin")
    with pytest.raises(ValueError, match="frames=0"):
        draw("tumble", frames=0)
