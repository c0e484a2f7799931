from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, features, random_rotations
from tests.evaluation.table import R2_CONDITIONAL, R2_SHUFFLED, TABLE, World
from vsie import pose
from vsie.evaluation import ladder
from vsie.evaluation.moments import Moments
from vsie.evaluation.steering import Identity


@pytest.mark.parametrize("row", TABLE)
def test_every_row_of_the_validation_table(row):
    world = World()
    train, test = world.pairs(row, 4000), world.pairs(row, 8000)
    found = ladder.ladder(train[:2], test[:2], np.arange(8000) // 10)
    assert [found.scores[key] for key in ladder.RUNGS] == pytest.approx(TABLE[row][2:], abs=0.03)
    for key in ladder.RUNGS:
        low, high = found.intervals[key]
        assert low - 1e-9 <= found.scores[key] <= high + 1e-9
    if row != "mean shift":
        assert list(found.nulls.values()) == pytest.approx([0, 0, 0], abs=0.03)
    if row == "block rotation by a random angle":
        mixed = ladder.conditional(train, test, np.arange(8000) // 10)
        assert mixed.r2 == pytest.approx(R2_CONDITIONAL, abs=0.03)
        assert mixed.shuffled == pytest.approx(R2_SHUFFLED, abs=0.03)
        assert mixed.interval[0] <= mixed.r2 <= mixed.interval[1]


def test_the_scores_equal_the_formulas_written_out():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    x, u = rng.normal(size=(300, 6)) + 2, rng.normal(size=(200, 6)) + 2
    y, v = x @ mixing + rng.normal(size=x.shape) - 1, u @ mixing + rng.normal(size=u.shape) - 1
    found = ladder.ladder(
        (torch.from_numpy(x), torch.from_numpy(y)), (torch.from_numpy(u), torch.from_numpy(v)), np.arange(200) // 5
    ).scores
    mx, my = x.mean(0), y.mean(0)
    a, b, c, d = x - mx, y - my, u - mx, v - my
    power = (c**2).sum() + (d**2).sum()
    left, _, right = np.linalg.svd(a.T @ b)
    cxx = a.T @ a
    weights = np.linalg.solve(cxx + 1e-3 * np.trace(cxx) / 6 * np.eye(6), a.T @ b)
    assert found["identity"] == pytest.approx(1 - ((v - u) ** 2).sum() / power)
    assert found["isometry"] == pytest.approx(2 * ((c @ (left @ right)) * d).sum() / power)
    assert found["linear"] == pytest.approx(1 - ((d - c @ weights) ** 2).sum() / (d**2).sum())


def test_the_isometry_is_the_procrustes_solution_of_scipy():
    from scipy.linalg import orthogonal_procrustes

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(100, 5)), rng.normal(size=(100, 5))
    maps = ladder.fit(Moments.of(torch.from_numpy(x), torch.from_numpy(y)))
    expected, _ = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    np.testing.assert_allclose(maps.isometry.numpy(), expected, atol=1e-9)


def test_the_conditional_ridge_on_components_finds_a_whole_representation_of_rotations():
    """Vectors that turn with uniform rotations: R2 is 1 with the motion, 0 with another's."""
    generator = torch.Generator().manual_seed(0)
    turn = random_rotations(3000, generator)
    x = torch.randn(3000, 10, 3, generator=generator, dtype=torch.float64)
    y = (turn[:, None] @ x[..., None]).squeeze(-1)
    x, y = x.flatten(1), y.flatten(1)
    train, test = (x[:2000], y[:2000], pose.rigid(turn[:2000])), (x[2000:], y[2000:], pose.rigid(turn[2000:]))
    found = ladder.conditional(train, test, np.arange(1000) // 10)
    assert found.r2 > 0.99 and abs(found.shuffled) < 0.2
    fewer = ladder.conditional(train, test, np.arange(1000) // 10, components=15)
    assert fewer.r2 == pytest.approx(0.5, abs=0.1)


def test_an_exact_predictor_is_a_group_action_in_both_frames():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(50, 30, generator=generator, dtype=torch.float64)
    first, second = (pose.rigid(random_rotations(50, generator)) for _ in range(2))
    for similarity in ("cosine", "euclidean"):
        found = ladder.group_law(BlockSteering(similarity=similarity), latents, first, second)
        assert max(found["group_law"], found["inverse"], found["neutral"]) < 1e-9
        assert found["motion"] > 0.5 and found["group_law_null"] > 0.5
    wrong = ladder.group_law(BlockSteering(frame="camera"), latents, first, second)  # the order of composition matters
    assert wrong["group_law"] > 0.3 and wrong["inverse"] < 1e-9
    idle = ladder.group_law(Identity(), latents, first, second)
    assert idle["group_law"] == idle["inverse"] == idle["motion"] == idle["group_law_null"] == 0
    assert found["inverse_null"] > 0.5
    for name in ("group_law", "inverse", "motion", "inverse_null"):
        assert wrong[f"{name}/low"] <= wrong[name] <= wrong[f"{name}/high"]


def test_defects_are_the_lengths_they_say():
    """A predictor that doubles whatever comes: rho rho z = 4 z against 2 z, and back is 4 z against z."""

    class Double(Identity):
        def expand(self, embedded):
            return 2 * super().expand(embedded)

    latents = torch.randn(7, 5, dtype=torch.float64)
    motion = pose.rigid(torch.eye(3, dtype=torch.float64).expand(7, 3, 3))
    found = ladder.group_law(Double(similarity="euclidean"), latents, motion, motion)
    assert (found["group_law"], found["inverse"], found["neutral"], found["motion"]) == pytest.approx((2, 3, 1, 1))
    assert ladder.group_law(Double(similarity="cosine"), latents, motion, motion)["group_law"] == pytest.approx(0, abs=1e-12)


def test_the_unit_of_translations_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    turn = pose.from_quaternion(torch.randn(2400, 4, generator=generator, dtype=torch.float64))
    place = torch.randn(2400, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(2400, 4, 3, generator=generator, dtype=torch.float64)
    y = (turn[:, None] @ x[..., None]).squeeze(-1) + 0.2 * x * place[:, None]
    found = []
    for unit in (1e-4, 1, 1000):
        sets = [(x.flatten(1)[some], y.flatten(1)[some], pose.rigid(turn, unit * place)[some])
                for some in (slice(1800), slice(1800, None))]  # fmt: skip
        found.append(ladder.conditional(*sets, np.arange(600) // 10).r2)
    assert found[1] > 0.99 and found == pytest.approx([found[1]] * 3, abs=1e-9)


def test_orbit_share():
    generator = torch.Generator().manual_seed(0)
    objects = np.repeat(np.arange(300), 20)
    own = torch.randn(300, 8, generator=generator).repeat_interleave(20, 0)
    moved = torch.randn(6000, 8, generator=generator)
    found = ladder.orbit_share(own + 2 * moved, objects)
    within = 4 * 19 / 20  # views about their own mean
    assert found["share"] == pytest.approx(within / 5, abs=0.02)
    assert found["low"] <= found["share"] <= found["high"]
    assert found["null"] == pytest.approx(0.95, abs=0.01)
    assert ladder.orbit_share(own, objects)["share"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="the invariant part has collapsed"):
        ladder.orbit_share(torch.ones(40, 3), np.arange(40) // 2, name="the invariant part")


def test_pairs_of_one_motion_are_found_and_climb_the_ladder():
    """A turntable: the equivariant part turns, so only the upper rungs hold; the invariant part is on the lowest."""
    train = features(objects=60, clips=3, frames=10, noise=0.05, seed=1)
    test = features(objects=60, clips=3, frames=10, noise=0.05, seed=2, first_object=1000)
    pairs = {name: ladder.all_pairs(data) for name, data in (("train", train), ("test", test))}
    motions = {name: ladder.deltas(data, *pairs[name], "body") for name, data in (("train", train), ("test", test))}
    fixed = ladder.fixed_motions(motions["train"], wanted=500)
    assert 1 <= len(fixed) <= 3 and all(f.tolerance <= 5 for f in fixed)
    largest = fixed[-1]
    keep = {name: ladder.near(motions[name], largest) for name in motions}
    assert keep["train"].sum() >= 250
    angles = pose.geodesic(motions["train"][keep["train"]], largest.motion[None])
    assert float(torch.rad2deg(angles).max()) <= largest.tolerance

    def score(part):
        sets = []
        for name, data in (("train", train), ("test", test)):
            values = torch.from_numpy(data.part(part, "clip").reshape(data.poses.shape[0] * data.frames, -1))
            source, target = (index[keep[name]] for index in pairs[name])
            sets.append((values[source], values[target]))
        objects = np.repeat(test.objects, test.frames)[pairs["test"][0][keep["test"]].numpy()]
        return ladder.ladder(*sets, objects).scores

    equivariant, invariant = score("equi"), score("inv")
    assert equivariant["linear"] > 0.9 and equivariant["isometry"] > 0.9 > 0.5 > equivariant["identity"]
    assert invariant["identity"] > 0.9


def test_of_many_objects_the_pairs_of_some_are_taken():
    data = features(objects=40, clips=2, frames=3)
    source, target = ladder.all_pairs(data, most=310)
    objects = data.objects[(source // 3).numpy()]
    assert len(source) == 300 and (objects == data.objects[(target // 3).numpy()]).all() and bool((source != target).all())
    assert len(np.unique(objects)) == 10 and objects.min() == 0 and objects.max() == 39
    assert len(ladder.all_pairs(data)[0]) == 40 * 30


def test_sums_of_an_orbit_are_the_same_in_pieces(monkeypatch):
    x, objects = torch.randn(100, 5) + 3, np.random.default_rng(0).integers(0, 9, 100)
    whole = ladder.orbit_sums(x, objects)
    monkeypatch.setattr(ladder, "CHUNK", 7)
    np.testing.assert_allclose(ladder.orbit_sums(x, objects), whole, rtol=1e-9, atol=1e-9)
    within = sum(((x[objects == o] - x[objects == o].mean(0)).double() ** 2).sum() for o in range(9))
    assert whole[:, 0].sum() == pytest.approx(float(within), rel=1e-5)
