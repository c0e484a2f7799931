"""Errors, floors and the pair probe (`rotations.py`, `pose.py`)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sklearn.metrics import r2_score

from tests.evaluation.synthetic import features, random_rotations
from vsie import pose as geometry
from vsie.evaluation import pose, rotations
from vsie.evaluation.probes import Given
from vsie.evaluation.rotations import best_constants, constant_floor, errors_deg, summarise
from vsie.feature_set import flat


def euler_poses(number: int, seed: int) -> torch.Tensor:
    """Poses of simulated 3DIEBench latents: three Euler angles, uniform within +-90 degrees."""
    angles = torch.rand(number, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * math.pi - math.pi / 2
    return geometry.rigid(geometry.from_euler_xyz(angles))


def test_errors_are_scipys_angles():
    first, second = Rotation.random(500, rng=0), Rotation.random(500, rng=1)
    expected = np.degrees((first.inv() * second).magnitude())
    found = errors_deg(torch.from_numpy(first.as_matrix()), torch.from_numpy(second.as_matrix()))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_floor_of_uniform_rotations_is_the_known_one():
    """A constant against uniform rotations: median 132.4 degrees, Acc@15 .0008, Acc@30 .0073 (REFERENCE, section 4)."""
    generator = torch.Generator().manual_seed(0)
    true = random_rotations(200_000, generator)
    scores = summarise(errors_deg(random_rotations(1, generator).expand(true.shape), true))
    assert scores["geodesic_median_deg"] == pytest.approx(132.4, abs=0.3)
    assert scores["acc@15"] == pytest.approx(0.0008, abs=0.0002)
    assert scores["acc@30"] == pytest.approx(0.0073, abs=0.0006)
    floor = constant_floor(best_constants(random_rotations(4000, generator)), true)  # the best of 400 is no better
    assert floor["geodesic_median_deg"] == pytest.approx(132.4, abs=0.5)


def test_best_constants_are_better_than_identity_and_chance_where_there_is_a_mode():
    """Turns of 80 to 100 degrees about z: the best constant is about 90 degrees."""
    angle = torch.deg2rad(80 + 20 * torch.rand(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    deltas = geometry.exp(angle[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    floor = constant_floor(best_constants(deltas), deltas)
    assert floor["geodesic_median_deg"] == pytest.approx(5, abs=0.3)
    assert floor["geodesic_mean_deg"] == pytest.approx(5, abs=0.3)
    assert floor["acc@15"] == 1


def test_each_floor_has_the_constant_that_is_best_for_it():
    """A quarter of the deltas are near 0, the rest spread: for Acc@15 the mode wins, for the mean the middle."""
    spread = torch.deg2rad(torch.linspace(40, 140, 750, dtype=torch.float64))
    angle = torch.cat([torch.zeros(250, dtype=torch.float64), spread])
    deltas = geometry.exp(angle[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    constants = best_constants(deltas)
    assert float(torch.rad2deg(geometry.angle(constants["acc@15"]))) < 15
    assert 50 < float(torch.rad2deg(geometry.angle(constants["geodesic_mean_deg"]))) < 90


def test_r2_of_both_kinds():
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(400, 5, generator=generator, dtype=torch.float64) * torch.tensor([1, 2, 3, 0.5, 0]) + 1
    predicted = true + 0.3 * torch.randn(400, 5, generator=generator, dtype=torch.float64)
    sums = rotations.r2_sums(predicted, true).sum(0)
    expected = r2_score(true[:, :4], predicted[:, :4], multioutput="uniform_average")  # the fifth has no variance
    assert rotations.r2_per_dimension(sums) == pytest.approx(expected, rel=1e-9)
    by_hand = 1 - float((predicted - true).square().sum() / (true - true.mean()).square().sum())
    assert rotations.r2_sie(sums) == pytest.approx(by_hand, rel=1e-9)


def test_r2_sie_of_a_constant_is_the_known_one_on_3diebench_latents():
    """REFERENCE, section 1: a constant predictor scores 0.229; 4.4 % of the relative quaternions have w < 0."""
    poses = euler_poses(400_000, 0)
    reference = geometry.mean_quaternion(poses)
    targets = pose.Targets(poses=poses, quaternions=geometry.signed_quaternions(poses, reference), frame="body")
    index = torch.arange(200_000)
    numbers = targets.numbers(index, index + 200_000)[:, 9:]
    sums = rotations.r2_sums(numbers.mean(0).expand(numbers.shape), numbers).sum(0)
    assert rotations.r2_sie(sums) == pytest.approx(0.229, rel=0.01)
    assert float((numbers[:, 3] < 0).double().mean()) == pytest.approx(0.044, abs=0.003)
    assert rotations.r2_per_dimension(sums) == pytest.approx(0, abs=1e-6)


def test_quaternion_targets_are_those_that_sie_regresses():
    """scipy's R1^-1 R2 of Euler angles, not canonicalised; a camera that stands elsewhere changes nothing."""
    angles = np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (2000, 3))
    scipy = Rotation.from_euler("xyz", angles)
    expected = (scipy[:1000].inv() * scipy[1000:]).as_quat()
    poses = geometry.rigid(torch.from_numpy(scipy.as_matrix()))
    for camera in (torch.eye(4, dtype=torch.float64), euler_poses(1, 5)[0]):
        seen = camera @ poses
        targets = pose.Targets(seen, geometry.signed_quaternions(seen, geometry.mean_quaternion(seen)), "body")
        index = torch.arange(1000)
        found = targets.numbers(index, index + 1000)[:, 9:].numpy()
        same = np.abs(found - expected).max(1) < 1e-9
        # A handful of poses lie on the edge of the hemisphere, whose middle is estimated from the poses.
        assert same.mean() > 0.97 and np.allclose(np.abs((found * expected).sum(1)), 1)


def test_the_first_layer_once_per_frame_equals_it_on_the_pair():
    torch.manual_seed(0)
    probe = pose.PairProbe(Given(torch.zeros(4), torch.eye(4)), hidden=8)
    torch.nn.init.normal_(probe.output.weight)
    x = torch.randn(6, 4)
    source, target = torch.tensor([0, 1, 5]), torch.tensor([2, 2, 0])
    weight = torch.cat([probe.source.weight, probe.target.weight], 1)
    hidden = torch.nn.functional.gelu(torch.cat([x[source], x[target]], 1) @ weight.mT + probe.source.bias)
    expected = probe.output(torch.nn.functional.gelu(probe.middle(hidden)))
    torch.testing.assert_close(probe.predict(x, source, target, chunk=2), expected)


def test_fixed_pairs_are_of_one_object_and_reach_across_clips():
    data = features(objects=10, clips=3, frames=4)
    source, target = pose.fixed_pairs(data, per_object=20)
    assert len(source) == 200 and bool((source != target).all())
    clip_of = lambda index: (index // data.frames).numpy()  # noqa: E731
    np.testing.assert_array_equal(data.objects[clip_of(source)], data.objects[clip_of(target)])
    across = (clip_of(source) != clip_of(target)).mean()
    assert 0.5 < across < 0.95
    assert torch.equal(pose.fixed_pairs(data, per_object=20)[0], source)


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_the_probe_reads_the_pose_where_it_is_and_only_there(frame):
    train, test = (
        features(objects=60, frames=5, motion="tumble", noise=0.05, seed=s, first_object=1000 * s) for s in (1, 2)
    )
    reference = geometry.mean_quaternion(torch.from_numpy(train.poses))
    known, asked = (pose.Targets.of(f, reference=reference, frame=frame) for f in (train, test))
    source, target = pose.fixed_pairs(test, per_object=12)
    objects = test.objects[(source // test.frames).numpy()]
    floor = pose.floors(known, train.views(), asked, source, target)
    scores = {}
    for part in ("inv", "equi"):
        probe = pose.fit(flat(train, part, "clip"), known, train.views(), steps=220, objects=12)
        output = probe.predict(flat(test, part, "clip"), source, target)
        scores[part] = pose.score(output, asked, source, target, objects).metrics()
    constant = floor["constant"]["geodesic_median_deg"]
    assert scores["equi"]["geodesic_median_deg"] < 0.35 * constant
    assert scores["equi"]["r2"] > 0.6 and scores["equi"]["acc@30"] > 4 * floor["constant"]["acc@30"]
    assert scores["inv"]["geodesic_median_deg"] > 0.8 * constant and scores["inv"]["r2"] < 0.05
    assert floor["constant"]["r2"] == pytest.approx(0, abs=0.05)
    assert all(floor["floor"][name] == (min if "deg" in name else max)(value, floor["identity"][name])
               for name, value in floor["constant"].items())  # fmt: skip


def test_the_probe_is_the_same_twice():
    data = features(objects=12)
    targets = pose.Targets.of(data, reference=torch.tensor([0.0, 0, 0, 1], dtype=torch.float64), frame="body")
    first, second = (pose.fit(flat(data, "equi", "clip"), targets, data.views(), steps=20, seed=4) for _ in range(2))
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_no_pair_is_an_error():
    data = features(objects=3, clips=1, frames=1)
    with pytest.raises(ValueError, match="no object has two frames"):
        pose.fixed_pairs(data)
    targets = pose.Targets.of(data, reference=torch.tensor([0.0, 0, 0, 1], dtype=torch.float64), frame="body")
    with pytest.raises(ValueError, match="at least two frames"):
        pose.fit(flat(data, "equi", "clip"), targets, data.views())


def test_objects_with_few_frames_do_not_shrink_the_batch_of_all(monkeypatch):
    data, asked = features(objects=12, clips=1, frames=8), []
    targets = pose.Targets.of(data, reference=torch.tensor([0.0, 0, 0, 1], dtype=torch.float64), frame="body")
    original = pose._loss
    monkeypatch.setattr(pose, "_loss", lambda *given: asked.append((given[4], given[3])) or original(*given))
    for lengths, views in (([2] + [8] * 11, 6), ([2] * 6 + [8] * 6, 2), ([2] * 3 + [4] * 6 + [8] * 3, 4), ([8] * 12, 6)):
        groups = [group[:length] for group, length in zip(data.views(), lengths, strict=True)]
        pose.fit(flat(data, "equi", "clip"), targets, groups, steps=2)
        (drawn, _), fitted = asked[-1]
        assert drawn == views and min(len(group) for group in fitted) >= views and len(fitted) >= 6
