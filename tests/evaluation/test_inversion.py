from __future__ import annotations

import math

import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, all_deltas, features, random_rotations
from vsie import pose
from vsie.benchmarks.inversion import pairs_per_second
from vsie.evaluation import inversion
from vsie.evaluation.pose import fixed_pairs
from vsie.feature_set import flat

Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def problem(motion: str, noise: float, *, frame: str = "body", blocks: int = 10):
    """Latents, pairs, true rotations and training deltas of a known representation."""
    data = features(objects=12, clips=2, frames=6, motion=motion, noise=noise, blocks=blocks, seed=3)
    source, target = fixed_pairs(data, per_object=20)
    poses = torch.from_numpy(data.poses.reshape(-1, 4, 4))
    true = pose.delta(poses[source], poses[target], frame)[:, :3, :3]
    return flat(data, "equi", "clip"), source, target, true, all_deltas(data, frame=frame)


def scores(steering, z, y, rotation):
    """The similarity that is to be largest, with the steered latent built."""
    h = steering.coefficients(pose.rigid(rotation).float())
    predicted = torch.einsum("...k,...ke->...e", h, steering.expand(z))
    if steering.similarity == "cosine":
        return torch.cosine_similarity(predicted, y, dim=-1)
    return 1 - (predicted - y).square().sum(-1) / y.square().sum(-1)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("motion", ["turntable", "tumble"])
def test_at_least_as_good_as_an_exhaustive_fine_grid(motion, similarity):
    steering = BlockSteering(similarity=similarity)
    z, source, target, true, deltas = problem(motion, noise=0.4)
    if motion == "turntable":
        fine = pose.exp(torch.arange(1440)[:, None] * (2 * math.pi / 1440) * Z)  # a quarter of a degree
    else:
        fine = random_rotations(10_000, torch.Generator().manual_seed(9))
    best = torch.full((len(source),), -torch.inf)
    brute = torch.empty(len(source), 3, 3, dtype=torch.float64)
    for part in fine.split(2000):
        table = torch.stack([scores(steering, z[s], z[t], part) for s, t in zip(source, target, strict=True)])
        value, index = table.max(1)
        better = value > best
        best[better], brute[better] = value[better], part[index[better]]
    found, _ = inversion.invert(steering, z[source], z[target], deltas)
    assert bool(pose.is_rotation(found).all())
    reached = scores(steering, z[source], z[target], found)
    assert float((reached < best - 1e-3).double().mean()) <= 0.01
    error, slow = (pose.geodesic(r, true).rad2deg() for r in (found, brute))
    assert float(error.median()) <= float(slow.median()) + 0.3
    assert float(error.mean()) <= float(slow.mean()) + 0.5


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_without_noise_it_is_exact(frame):
    class Camera(BlockSteering):
        """Columns instead of rows: Z is (3, B) stacked so that a camera delta multiplies from the left."""

        def coefficients(self, delta):
            return super().coefficients(delta.mT)

    steering = BlockSteering() if frame == "body" else Camera(frame="camera")
    z, source, target, true, deltas = problem("tumble", noise=0.0, frame=frame)
    if frame == "camera":  # rows m R^T: then (m R_1^T) delta^T = m R_2^T
        data = features(objects=12, clips=2, frames=6, motion="tumble", noise=0.0, seed=3)
        rotation = torch.from_numpy(data.poses[..., :3, :3].reshape(-1, 3, 3))
        z = (torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).double() @ rotation.mT).flatten(1).float()
    found, confidence = inversion.invert(steering, z[source], z[target], deltas)
    assert float(pose.geodesic(found, true).rad2deg().max()) < 0.2
    assert float(confidence.min()) > 0.01


def test_the_answer_stays_on_the_axis_of_the_motion():
    z, source, target, _, deltas = problem("turntable", noise=1.0)
    found, _ = inversion.invert(BlockSteering(), z[source], z[target], deltas)
    axis_moved = (found @ Z - Z).norm(dim=-1)
    assert float(axis_moved.max()) < 1e-4


def test_shared_sources_change_nothing():
    z, source, target, _, deltas = problem("tumble", noise=0.3)
    grid = inversion.candidates(BlockSteering(), deltas)
    order = source.argsort(stable=True)
    apart = inversion.invert(BlockSteering(), z[source[order]], z[target[order]], deltas)
    together = inversion.invert_pairs(BlockSteering(), z, source[order], target[order], grid, chunk=37)
    assert float(pose.geodesic(apart[0], together[0]).rad2deg().median()) < 0.05
    torch.testing.assert_close(apart[1], together[1], atol=2e-3, rtol=0)


def test_confidence_tells_right_from_wrong():
    """The quarter trusted most is seldom far off, that trusted least often; of two equally good answers none is trusted."""
    z, source, target, true, deltas = problem("turntable", noise=1.5)
    found, confidence = inversion.invert(BlockSteering(), z[source], z[target], deltas)
    error = pose.geodesic(found, true).rad2deg()
    lost = error > 60
    low, high = confidence <= confidence.quantile(0.25), confidence >= confidence.quantile(0.75)
    assert float(lost[high].double().mean()) < 0.4 * float(lost[low].double().mean())

    class Half(BlockSteering):
        """Sees the square of the turn only: an object that looks the same after half a turn."""

        def coefficients(self, delta):
            return super().coefficients(delta @ delta)

    angles = torch.rand(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 6.28
    rotation = pose.exp(angles[:, None] * Z)
    latents = (torch.randn(10, 3, generator=torch.Generator().manual_seed(1)).double() @ rotation @ rotation).flatten(1)
    start = latents[:1].expand(60, -1).float()
    _, doubtful = inversion.invert(Half(), start, latents.float(), rotation)
    _, sure = inversion.invert(BlockSteering(), start, latents.float(), rotation)
    assert float(doubtful.max()) < 0.02 < 0.08 < float(sure.min())


def test_a_sign_free_predictor_is_inverted_with_both_signs():
    class Raw(BlockSteering):
        """As with raw quaternions: h of half of the deltas, by a rule that the search does not know, has the other sign."""

        sign_free = True

    z, source, target, true, deltas = problem("turntable", noise=0.2)
    flipped = torch.where(torch.arange(len(source)) % 2 == 0, -1.0, 1.0)[:, None]
    found, _ = inversion.invert(Raw(), z[source], z[target] * flipped, deltas)
    plain, _ = inversion.invert(BlockSteering(), z[source], z[target] * flipped, deltas)
    assert float(pose.geodesic(found, true).rad2deg().quantile(0.9)) < 15
    assert float(pose.geodesic(plain, true).rad2deg().quantile(0.9)) > 90


def test_the_grid_covers_the_arc_of_the_deltas_and_no_more():
    angles = torch.deg2rad(torch.linspace(150, 230, 50, dtype=torch.float64))
    grid = torch.rad2deg(inversion.arc(angles, 9))
    torch.testing.assert_close(grid, torch.linspace(150, 230, 9, dtype=torch.float64))
    circle = inversion.arc(torch.linspace(-3, 3, 100, dtype=torch.float64), 72)
    assert len(circle) == 72 and float(circle[1] - circle[0]) == pytest.approx(2 * math.pi / 72)


def test_spread_takes_far_rotations():
    rotations = random_rotations(3000, torch.Generator().manual_seed(0))
    index = inversion.spread(rotations, 200)
    assert len(index.unique()) == 200
    quaternion = pose.to_quaternion(rotations)
    table = 2 * torch.acos((quaternion @ quaternion[index].mT).abs().clamp_max(1)).rad2deg()
    assert float(table.min(1).values.max()) < 50  # covers: nobody is farther than this from the grid
    near = 2 * torch.acos((quaternion[index] @ quaternion[index].mT).abs().clamp_max(1)).rad2deg()
    near.fill_diagonal_(180)
    assert float(near.min()) > 25  # and no two are near each other


def test_small_motions_have_modes_of_their_own_size():
    angles = torch.deg2rad(torch.linspace(-8, 8, 60, dtype=torch.float64))
    grid = inversion.candidates(BlockSteering(), pose.exp(angles[:, None] * Z))
    assert not bool(grid.near.all(1).any())  # every first mode leaves a second one


def test_bad_deltas_are_named():
    steering = BlockSteering()
    with pytest.raises(ValueError, match=r"expected \(M, 4, 4\)"):
        inversion.candidates(steering, torch.zeros(5, 2, 2))
    with pytest.raises(ValueError, match="no rotations"):
        inversion.candidates(steering, 2 * torch.eye(3).expand(5, 3, 3))
    with pytest.raises(ValueError, match="no motion"):
        inversion.candidates(steering, torch.eye(3).expand(5, 3, 3))
    with pytest.raises(ValueError, match=r"should both be \(N, e\)"):
        inversion.invert(steering, torch.zeros(3, 6), torch.zeros(2, 6), torch.eye(3)[None])

    class Translated(BlockSteering):
        def coefficients(self, delta):
            return torch.cat([super().coefficients(delta), delta[..., :3, 3]], -1)

    moved = pose.rigid(random_rotations(20, torch.Generator().manual_seed(0)), torch.ones(20, 3).double())
    with pytest.raises(ValueError, match="translation"):
        inversion.candidates(Translated(), moved)
    assert len(inversion.candidates(steering, moved).rotations) == 20  # a rotation-only steering does not mind


class Direct(BlockSteering):
    """The same predictor, but it can only be evaluated."""

    linear = False

    def steer(self, embedded, delta):
        return (embedded.unflatten(-1, (-1, 3)) @ delta[..., :3, :3]).flatten(-2)

    def expand(self, embedded):
        raise AssertionError("there is no such thing")

    coefficients = expand


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("motion", ["turntable", "tumble"])
def test_a_predictor_that_can_only_be_evaluated_is_inverted_as_well_as_the_factorised_one(motion, similarity):
    z, source, target, _, deltas = problem(motion, noise=0.4)
    order = source.argsort(stable=True)
    source, target = source[order], target[order]
    linear, direct = BlockSteering(similarity=similarity), Direct(similarity=similarity)
    expected, margin = inversion.invert_pairs(linear, z, source, target, inversion.candidates(linear, deltas))
    found, confidence = inversion.invert_pairs(direct, z, source, target, inversion.candidates(direct, deltas), chunk=50)
    apart = pose.geodesic(found, expected).rad2deg()
    assert float(apart.median()) < 0.2 and float(apart.quantile(0.95)) < 1
    assert float((confidence - margin).abs().median()) < 2e-3
    reached, best = (scores(linear, z[source], z[target], r) for r in (found, expected))
    assert float((reached < best - 1e-3).double().mean()) <= 0.02


def test_a_curved_predictor_is_inverted_exactly():
    """A bend of every number of the latent, undone after the motion: not linear, and exact on what it made itself."""

    class Bent(Direct):
        def steer(self, embedded, delta):
            return torch.sinh(super().steer(torch.asinh(embedded), delta))

    data = features(objects=12, clips=2, frames=6, motion="tumble", noise=0.0, seed=3)
    source, target = fixed_pairs(data, per_object=20)
    poses = torch.from_numpy(data.poses.reshape(-1, 4, 4))
    latents = torch.sinh(flat(data, "equi", "clip"))
    found, _ = inversion.invert(Bent(), latents[source], latents[target], all_deltas(data))
    assert float(pose.geodesic(found, pose.delta(poses[source], poses[target])[:, :3, :3]).rad2deg().max()) < 0.3
    straight, _ = inversion.invert(BlockSteering(), latents[source], latents[target], all_deltas(data))
    assert float(pose.geodesic(straight, pose.delta(poses[source], poses[target])[:, :3, :3]).rad2deg().median()) > 1


def test_the_direct_inversion_refuses_to_solve_for_a_translation():
    class Translated(Direct):
        uses_translation = True

    moved = pose.rigid(random_rotations(20, torch.Generator().manual_seed(0)), torch.ones(20, 3).double())
    with pytest.raises(ValueError, match="translation"):
        inversion.candidates(Translated(), moved)
    assert inversion.candidates(Direct(), moved).coefficients is None


def test_speed_at_full_size():
    """The bar is 2,000 pairs/s at e = 256, K = 9 on two cores; a loaded machine is given a tenth of it."""

    class Dense(BlockSteering):
        def __init__(self):
            super().__init__()
            self.weights = torch.randn(256, 9 * 256, generator=torch.Generator().manual_seed(0)) / 16

        def expand(self, embedded):
            return (embedded @ self.weights).unflatten(-1, (9, 256))

    latents = torch.randn(500, 256, generator=torch.Generator().manual_seed(1))
    deltas = pose.rigid(random_rotations(3000, torch.Generator().manual_seed(2)))
    assert pairs_per_second(Dense(), latents, deltas, seconds=0.0, pairs=2048) > 200


def test_turns_about_one_axis_have_it_however_they_are_rounded():
    """The two small eigenvalues are zeros that rounding puts on either side."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator, dtype=torch.float64), dim=1)
    for axis in axes:
        turns = (4 * torch.rand(300, 1, generator=generator, dtype=torch.float64) - 2) * axis
        found = inversion.main_axis(turns)
        assert found is not None and abs(float(found @ axis)) > 1 - 1e-9
