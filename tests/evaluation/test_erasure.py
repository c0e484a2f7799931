from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression

from tests.evaluation.synthetic import features, random_rotations
from vsie import pose
from vsie.evaluation import erasure
from vsie.evaluation.audit import Audit
from vsie.evaluation.moments import Moments


def rotated(count=3000, dims=40, seed=0, harmonics=True):
    """Latents that hold a class direction, vec R and, where `harmonics`, the l = 2 block, all mixed; rotations; labels."""
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(77)
    turn = random_rotations(count, generator)
    labels = torch.randint(0, 4, (count,), generator=generator)
    pieces = [torch.nn.functional.one_hot(labels, 4).double() * 2, turn.flatten(1)]
    if harmonics:
        pieces.append(pose.quadratic_block(turn).flatten(1))
    clean = torch.cat(pieces, 1)
    mixing = torch.randn(clean.shape[1], dims, generator=fixed, dtype=torch.float64)
    return clean @ mixing + 0.3 * torch.randn(count, dims, generator=generator, dtype=torch.float64), turn, labels


def test_the_quadratic_block_is_a_representation_and_orthogonal():
    first, second = random_rotations(2 * 5, torch.Generator().manual_seed(0)).split(5)
    block = pose.quadratic_block
    torch.testing.assert_close(block(first @ second), block(first) @ block(second))
    torch.testing.assert_close(block(first).mT @ block(first), torch.eye(5, dtype=torch.float64).expand(5, 5, 5))
    # Its character is that of l = 2: 1 + 2 cos a + 2 cos 2a.
    angle = torch.acos((first.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2)
    trace = block(first).diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(trace, 1 + 2 * angle.cos() + 2 * (2 * angle).cos())


def test_leace_equals_the_formula_and_leaves_no_covariance():
    x, turn, _ = rotated(800, 12)
    z = turn.flatten(1)[:, :4]
    eraser = erasure.leace(Moments.of(x, z), shrink=False)
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    whitening = vectors @ np.diag(values**-0.5) @ vectors.T
    cross = (x - x.mean(0)).numpy().T @ (z - z.mean(0)).numpy() / len(x)
    basis = np.linalg.qr(whitening @ cross)[0]
    projector = basis @ basis.T
    centred = (x - x.mean(0)).numpy()
    expected = x.numpy() - centred @ (np.linalg.inv(whitening) @ projector @ whitening).T
    np.testing.assert_allclose(eraser(x).numpy(), expected, atol=1e-8)
    assert eraser.rank == 4
    left = (eraser(x) - x.mean(0)).mT @ (z - z.mean(0)) / len(x)
    assert float(left.abs().max()) < 1e-10


def test_leace_equals_the_published_package():
    package = pytest.importorskip("concept_erasure")
    x, turn, _ = rotated(1500, 20)
    z = erasure.independent(turn.flatten(1))  # standardised: the package's tolerance is absolute
    theirs = package.LeaceEraser.fit(x, z, shrinkage=False)(x)
    torch.testing.assert_close(erasure.leace(Moments.of(x, z), shrink=False)(x), theirs, atol=1e-6, rtol=1e-5)


def test_shrinkage_saves_held_out_frames_where_there_are_few_and_still_erases():
    from sklearn.covariance import OAS

    x, turn, _ = rotated(64, 60)
    u, _, _ = rotated(500, 60, seed=1)
    moments = Moments.of(x, turn.flatten(1))
    expected = OAS(store_precision=False).fit(x.numpy()).covariance_
    np.testing.assert_allclose(erasure.shrunk(moments.xx, 64).numpy(), expected, rtol=0.02, atol=0.02 * np.abs(expected).max())
    plain, careful = (erasure.leace(moments, shrink=shrink) for shrink in (False, True))
    assert erasure.change(careful, u) < 0.75 * erasure.change(plain, u)
    left = (careful(x) - x.mean(0)).mT @ (turn.flatten(1) - turn.flatten(1).mean(0))
    assert float(left.abs().max()) < 1e-8


def test_no_tolerance_depends_on_the_units():
    x, turn, _ = rotated(800, 16)
    z = turn.flatten(1)
    one = erasure.leace(Moments.of(x, z))
    other = erasure.leace(Moments.of(1e-4 * x, 1e-5 * z))
    assert one.rank == other.rank == 9
    torch.testing.assert_close(1e-4 * one(x), other(1e-4 * x), atol=1e-10, rtol=1e-6)
    assert erasure.independent(torch.cat([1e-5 * z + 3, z, torch.ones(800, 1)], 1)).shape == (800, 9)
    with pytest.raises(ValueError, match="all 3 functions that should be erased are constant"):
        erasure.independent(torch.ones(10, 3))


def r2(x, z, u, v, kernel=False):
    model = KernelRidge(kernel="rbf", gamma=0.5 / x.var(0).sum().item(), alpha=1.0) if kernel else LinearRegression()
    offset = z.mean(0)
    error = model.fit(x.numpy(), (z - offset).numpy()).predict(u.numpy()) - (v - offset).numpy()
    return 1 - np.square(error).sum() / np.square((v - v.mean(0)).numpy()).sum()


def test_a_linear_eraser_leaves_what_a_kernel_finds_and_a_function_basis_does_not():
    """The claim of the reference: LEACE(pose) fools every linear probe and no kernel, LEACE on a function basis both."""
    angle = 2 * math.pi * torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    waves = torch.stack([f(k * angle) for k in (1, 2, 3) for f in (torch.cos, torch.sin)], 1)
    mixing = torch.randn(6, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = waves @ mixing + 0.1 * torch.randn(4000, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pose, train, test = waves[:, :2], slice(0, 1500), slice(1500, 2500)

    def audit(eraser):
        clean = x if eraser is None else eraser(x)
        both = [r2(clean[train], pose[train], clean[test], pose[test], kernel) for kernel in (False, True)]
        return *both, 0.0 if eraser is None else erasure.change(eraser, x[test])

    fit = x[train]
    own, basis = Moments.of(fit, pose[train]), Moments.of(fit, waves[train])
    erasers = {"leace": erasure.leace(own), "basis": erasure.leace(basis), "inlp": erasure.inlp(own, rounds=1)}
    linear = {"none": audit(None)} | {name: audit(eraser) for name, eraser in erasers.items()}
    assert linear["none"][0] > 0.97 and linear["none"][1] > 0.97
    assert linear["leace"][0] == pytest.approx(0, abs=0.02) and linear["leace"][1] > 0.3
    assert linear["basis"][0] == pytest.approx(0, abs=0.02) and linear["basis"][1] == pytest.approx(0, abs=0.1)
    assert 0 < linear["leace"][2] < linear["basis"][2]
    assert linear["inlp"][0] > 0.1  # one projection leaves what other directions still tell


def test_leace_changes_least_among_what_erases():
    x, turn, _ = rotated(2000, 20, harmonics=False)
    moments = Moments.of(x, turn.flatten(1))
    one, other = erasure.leace(moments), erasure.inlp(moments, rounds=2)
    assert erasure.change(one, x) < erasure.change(other, x)
    assert erasure.change(erasure.random(moments, 5), x) == pytest.approx(5 / 20, abs=0.2)


def test_more_rounds_of_inlp_remove_more_and_never_the_same_direction():
    x, turn, _ = rotated(2000, 40)
    ranks, left = [], []
    for rounds in (1, 2, 3):
        eraser = erasure.inlp(Moments.of(x, turn.flatten(1)), rounds=rounds)
        torch.testing.assert_close(eraser.left.mT @ eraser.left, torch.eye(eraser.rank, dtype=torch.float64))
        ranks.append(eraser.rank)
        left.append(r2(eraser(x), turn.flatten(1), eraser(x), turn.flatten(1)))
    assert ranks == [9, 18, 27] and left[0] >= left[1] >= left[2]
    everything = erasure.inlp(Moments.of(x, turn.flatten(1)), rounds=20)
    assert everything.rank <= 40


def tokens(images=60, side=6, dims=24):
    """Patch tokens that hold their place in several nonlinear ways, and an image's own content."""
    generator = torch.Generator().manual_seed(0)
    place = erasure.positions(side, side)
    lifted = torch.cat([place, (3 * place).sin(), (5 * place).cos(), place.prod(1, keepdim=True)], 1)
    mixing = torch.randn(lifted.shape[1], dims, generator=generator, dtype=torch.float64)
    content = torch.randn(images, 1, dims, generator=generator, dtype=torch.float64)
    noise = 0.2 * torch.randn(images, side * side, dims, generator=generator, dtype=torch.float64)
    return (lifted @ mixing + content + noise).flatten(0, 1), place.repeat(images, 1)


def test_rasa_takes_the_position_out_of_patch_tokens():
    x, place = tokens()
    before = r2(x, place, x, place)
    eraser = erasure.rasa(x, place, rounds=6)
    after = r2(eraser(x), place, eraser(x), place)
    assert before > 0.8 and after < 0.1
    assert eraser.rank == 12
    torch.testing.assert_close(eraser.left.mT @ eraser.left, torch.eye(12, dtype=torch.float64))
    once = erasure.inlp(Moments.of(x, place), rounds=1)
    assert once.rank == 2 and r2(once(x), place, once(x), place) > after


def test_positions_and_rasa_targets():
    torch.testing.assert_close(erasure.positions(2, 3)[:, 0], torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(erasure.positions(2, 3)[:, 1], torch.tensor([0, 0.5, 1] * 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"RASA's targets are in \[-1, 1\], expected \[0, 1\]"):
        erasure.rasa(torch.randn(20, 4), torch.linspace(-1, 1, 20)[:, None])


def test_orbits_are_removed_without_a_label():
    generator = torch.Generator().manual_seed(0)
    objects = np.repeat(np.arange(200), 12)
    own = torch.randn(200, 30, generator=generator, dtype=torch.float64)
    plane = torch.linalg.qr(torch.randn(30, 4, generator=generator, dtype=torch.float64)).Q
    moved = 3 * torch.randn(2400, 4, generator=generator, dtype=torch.float64) @ plane.mT
    x = own.repeat_interleave(12, 0) + moved + 0.05 * torch.randn(2400, 30, generator=generator, dtype=torch.float64)
    within = erasure.within_covariance(x, objects)
    slow = sum(np.cov(x[objects == o].numpy().T, bias=True) * 12 for o in range(200)) / 2400
    np.testing.assert_allclose(within.numpy(), slow, atol=1e-10)
    eraser = erasure.orbit(x, objects, share=0.95)
    assert eraser.rank == 4
    assert float((eraser.left.mT @ plane).det().abs()) > 0.99
    assert float(erasure.within_covariance(eraser(x), objects).trace() / within.trace()) < 0.01
    with pytest.raises(ValueError, match="do not vary within objects"):
        erasure.orbit(own.repeat_interleave(12, 0), objects)


def test_functions_of_frames():
    data = features(objects=4, clips=2, frames=5)
    assert erasure.functions(data, ("rotation", "l2", "translation", "time")).shape == (40, 9 + 25 + 3 + 7)
    time = erasure.functions(data, ("time",))
    torch.testing.assert_close(time[:5], time[5:10])
    torch.testing.assert_close(time[:5, 0], torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64))
    with pytest.raises(ValueError, match="no function 'euler'"):
        erasure.functions(data, ("euler",))
    # About one axis vec R spans two functions and the l = 2 block four, two of which are new.
    assert erasure.independent(erasure.functions(data, ("rotation",))).shape[1] == 2
    assert erasure.independent(erasure.functions(data, ("rotation", "l2"))).shape[1] == 4
    poses = data.poses.copy()
    poses[..., :3, 3] = np.random.default_rng(0).normal(size=(8, 5, 3))
    for unit in (1e-8, 1, 1e7):
        own = dataclasses.replace(data, poses=poses * np.where(np.arange(4) == 3, [[unit], [unit], [unit], [1]], 1))
        assert erasure.independent(erasure.functions(own, ("rotation", "translation"))).shape[1] == 2 + 3


def test_the_whole_set_is_judged_before_and_after_with_controls():
    train = features(objects=50, clips=2, frames=6, blocks=24, motion="tumble", seed=1)
    test = features(objects=30, clips=2, frames=6, blocks=24, motion="tumble", seed=2, first_object=1000)
    audit = Audit(train, test, pair_steps=100)
    erasers = erasure.standard_set(train, rounds=1)
    assert {"leace-rotation", "leace-basis", "linear", "inlp", "rasa", "orbit"} == erasers.keys()
    chosen = {name: erasers[name] for name in ("leace-rotation", "leace-basis", "orbit")}
    found = erasure.judge(audit, audit.rows(train, test, "all"), chosen)
    before = found["none"].columns
    assert before["pose_linear"].value > 0.8 and before["class_linear"].value > 0.9
    assert before["pair"].value > 0.3
    for name in ("leace-rotation", "leace-basis"):
        after = found[name]
        assert after.columns["pose_linear"].value < 0.1
        assert after.columns["class_linear"].value > (0.9 if name == "leace-rotation" else 0.5)  # 44 functions cost something
        assert after.columns["pair"].beside["median_deg"] > before["pair"].beside["median_deg"]
        assert after.kept == 80 - after.eraser.rank
        assert after.control["pose_linear"].value > 0.5  # it is the aim that counts, not the rank
        assert 0 < after.change < 1 and 1 < after.rank <= after.kept
        low, high = after.columns["pose_linear"].interval()
        assert low <= after.columns["pose_linear"].value <= high
    assert found["orbit"].columns["pose_kernel"].value < 0.5 * before["pose_kernel"].value


def test_collapsed_latents_are_refused():
    x = torch.ones(30, 5, dtype=torch.float64)
    z = torch.randn(30, 2, dtype=torch.float64)
    for erase in (erasure.leace, erasure.inlp):
        with pytest.raises(ValueError, match="collapsed"):
            erase(Moments.of(x, z))
