"""`vsie.pose` against SciPy, and the properties that the rest of the house stands on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from vsie import pose

COUNT = 10_000


@pytest.fixture(scope="module")
def scipy_rotations() -> Rotation:
    rng = np.random.default_rng(0)
    rotations = Rotation.random(COUNT, random_state=rng).as_rotvec()
    rotations[:200] *= np.geomspace(1e-12, 1, 200)[:, None]  # near 0
    near_pi = rotations[200:400] / np.linalg.norm(rotations[200:400], axis=-1, keepdims=True)
    rotations[200:400] = near_pi * (math.pi - np.geomspace(1e-9, 1e-1, 200))[:, None]  # near pi
    return Rotation.from_rotvec(rotations)


def poses_of(rotations: Rotation, seed: int = 0) -> torch.Tensor:
    translation = np.random.default_rng(seed).normal(size=(len(rotations), 3))
    return pose.rigid(torch.from_numpy(rotations.as_matrix()), torch.from_numpy(translation))


def largest_angle(first: torch.Tensor, second: torch.Tensor) -> float:
    return pose.geodesic(first, second).max().item()


def test_log_and_exp_agree_with_scipy(scipy_rotations):
    matrices = torch.from_numpy(scipy_rotations.as_matrix())
    ours, theirs = pose.log(matrices), torch.from_numpy(scipy_rotations.as_rotvec())
    assert largest_angle(pose.exp(ours), pose.exp(theirs)) < 1e-6
    assert largest_angle(pose.exp(theirs), matrices) < 1e-6
    assert (ours.norm(dim=-1) - theirs.norm(dim=-1)).abs().max() < 1e-6


def test_angle_agrees_with_scipy_and_is_stable_at_both_ends(scipy_rotations):
    matrices = torch.from_numpy(scipy_rotations.as_matrix())
    assert (pose.angle(matrices) - torch.from_numpy(scipy_rotations.magnitude())).abs().max() < 1e-6
    for target in (0.0, 1e-9, 1e-5, math.pi - 1e-7, math.pi):
        rotation = pose.exp(torch.tensor([target, 0, 0], dtype=torch.float64))
        assert pose.angle(rotation).item() == pytest.approx(target, abs=1e-12)


def test_quaternion_agrees_with_scipy(scipy_rotations):
    ours = pose.canonical(pose.to_quaternion(torch.from_numpy(scipy_rotations.as_matrix())))
    theirs = torch.from_numpy(scipy_rotations.as_quat())
    assert ((ours * theirs).sum(-1).abs() - 1).abs().max() < 1e-12
    assert (ours[:, 3] >= 0).all()
    assert largest_angle(pose.from_quaternion(theirs), torch.from_numpy(scipy_rotations.as_matrix())) < 1e-6


def test_euler_is_scipys_extrinsic_xyz():
    angles = torch.rand(COUNT, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * math.pi - math.pi / 2
    expected = torch.from_numpy(Rotation.from_euler("xyz", angles.numpy()).as_matrix())
    assert largest_angle(pose.from_euler_xyz(angles), expected) < 1e-6
    assert (pose.to_euler_xyz(expected) - angles).abs().max() < 1e-6


@pytest.mark.parametrize("frame", pose.FRAMES)
def test_delta_agrees_with_scipy(scipy_rotations, frame):
    source, target = poses_of(scipy_rotations, 1), poses_of(scipy_rotations[::-1], 2)
    motion = pose.delta(source, target, frame)
    first, second = scipy_rotations, scipy_rotations[::-1]
    expected = first.inv() * second if frame == "body" else second * first.inv()
    assert largest_angle(motion[..., :3, :3], torch.from_numpy(expected.as_matrix())) < 1e-6
    moved = source @ motion if frame == "body" else motion @ source
    assert (moved - target).abs().max() < 1e-12


def test_frames_differ_in_axis_but_not_in_angle(scipy_rotations):
    source, target = poses_of(scipy_rotations, 1), poses_of(scipy_rotations[::-1], 2)
    body, camera = pose.delta(source, target, "body"), pose.delta(source, target, "camera")
    assert (pose.angle(body[..., :3, :3]) - pose.angle(camera[..., :3, :3])).abs().max() < 1e-6
    axes = [torch.nn.functional.normalize(pose.log(m[..., :3, :3]), dim=-1) for m in (body, camera)]
    assert torch.rad2deg((axes[0] * axes[1]).sum(-1).clamp(-1, 1).acos()).mean() > 45


@pytest.mark.parametrize("encoding", pose.WIDTHS)
@pytest.mark.parametrize("translation", [False, True])
def test_decode_undoes_encode(scipy_rotations, encoding, translation):
    motion = poses_of(scipy_rotations)
    numbers = pose.encode(motion, encoding, translation)
    assert numbers.shape == (COUNT, pose.width(encoding, translation))
    back = pose.decode(numbers, encoding, translation)
    assert largest_angle(back, motion) < 1e-6
    if translation:
        assert (back - motion)[..., :3, 3].abs().max() == 0


def test_harmonics_tell_what_goes_round_twice_in_a_turn():
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    motion = pose.rigid(pose.exp(angle[:, None] * torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)))
    wanted = torch.stack([(k * angle).cos() for k in (1, 2, 3)], 1)

    def missed(encoding):
        numbers = torch.cat([pose.encode(motion, encoding), torch.ones(100, 1, dtype=torch.float64)], 1)
        return (numbers @ torch.linalg.pinv(numbers, rtol=1e-9) @ wanted - wanted).square().mean(0) / wanted.square().mean(0)

    first, both = missed("matrix"), missed("harmonics")
    assert first[0] < 1e-9 and first[1] > 0.9 and both[:2].max() < 1e-9 and both[2] > 0.9


def test_raw_quaternion_keeps_the_sign_of_the_product_as_sie_does():
    angles = np.random.default_rng(0).uniform(-math.pi / 2, math.pi / 2, (2, 100_000, 3))
    first, second = (Rotation.from_euler("xyz", a) for a in angles)
    source, target = (pose.rigid(torch.from_numpy(r.as_matrix())) for r in (first, second))
    ours = pose.encode_pair(source, target, frame="body", encoding="quaternion_raw")
    theirs = torch.from_numpy((first.inv() * second).as_quat())
    assert (ours - theirs).abs().max() < 1e-6
    assert (ours[:, 3] < 0).double().mean().item() == pytest.approx(0.044, abs=0.003)
    canonical = pose.encode_pair(source, target, frame="body", encoding="quaternion")
    assert (canonical[:, 3] >= 0).all()


def test_interpolation_is_slerp_and_holds_at_the_ends():
    rotations = Rotation.random(5, random_state=np.random.default_rng(0))
    times = np.array([0.0, 0.5, 0.7, 1.5, 2.0])
    query = np.linspace(0, 2, 41)
    ours = pose.interpolate(torch.from_numpy(times), poses_of(rotations), torch.from_numpy(query))
    expected = torch.from_numpy(Slerp(times, rotations)(query).as_matrix())
    assert largest_angle(ours, expected) < 1e-6
    outside = pose.interpolate(torch.from_numpy(times), poses_of(rotations), torch.tensor([-1.0, 9.0]))
    assert (outside - poses_of(rotations)[[0, -1]]).abs().max() < 1e-12
    single = pose.interpolate(torch.zeros(2, 1), torch.eye(4).expand(2, 1, 4, 4), torch.rand(2, 7))
    assert single.shape == (2, 7, 4, 4)


def test_float32_stays_within_single_precision(scipy_rotations):
    rotations = torch.from_numpy(scipy_rotations.as_matrix()).float()
    assert pose.log(rotations).dtype == torch.float32
    assert largest_angle(pose.exp(pose.log(rotations)).double(), rotations.double()) < 2e-3
    assert (pose.angle(rotations).double() - torch.from_numpy(scipy_rotations.magnitude())).abs().max() < 2e-3


def test_gradients_are_right_and_finite_at_the_identity():
    vector = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(pose.exp, vector)
    assert torch.autograd.gradcheck(lambda v: pose.log(pose.exp(v)), vector)
    other = pose.exp(torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert torch.autograd.gradcheck(lambda v: pose.geodesic(pose.exp(v), other), vector)
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (pose.geodesic(pose.exp(zero), torch.eye(3, dtype=torch.float64)).sum() + pose.log(pose.exp(zero)).sum()).backward()
    assert zero.grad.isfinite().all()


def test_project_gives_the_nearest_rotation():
    matrices = torch.randn(100, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    nearest = pose.project(matrices)
    assert pose.is_rotation(nearest, 1e-9).all()
    others = torch.from_numpy(Rotation.random(500, random_state=np.random.default_rng(0)).as_matrix())
    distance = (matrices[:, None] - others).square().sum((-1, -2)).min(-1).values
    assert ((matrices - nearest).square().sum((-1, -2)) <= distance + 1e-12).all()


def test_is_rotation_refuses_reflections_scales_and_nan():
    bad = torch.stack([torch.diag(torch.tensor([1.0, 1, -1])), 1.01 * torch.eye(3), torch.full((3, 3), math.nan)])
    assert not pose.is_rotation(bad).any()
    assert pose.is_rotation(torch.eye(3))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="world"):
        pose.delta(torch.eye(4), torch.eye(4), "world")
    with pytest.raises(ValueError, match="euler"):
        pose.encode(torch.eye(4), "euler")
    with pytest.raises(ValueError, match="found 8"):
        pose.decode(torch.zeros(8), "matrix")
