"""SIE's released definitions: the known floors come out of latents alone, heads do what a plain loop does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sklearn.metrics import r2_score

from tests.evaluation.synthetic import BlockSteering, features, three_die_bench
from vsie import pose
from vsie.data.three_die_bench import object_in_camera
from vsie.evaluation import classification, released, rotations, steering
from vsie.feature_set import flat


def poses_of(data):
    return torch.from_numpy(data.poses.reshape(-1, 4, 4))


def rotation_of(data, train):
    return released.rotation(poses_of(data), pose.mean_quaternion(poses_of(train)))


@pytest.fixture(scope="module")
def pairs():
    """Raw quaternions of 160,000 pairs of views with 3DIEBench's latents."""
    data = three_die_bench(objects=40_000, views=8)
    views, question = released.Views.of(data), rotation_of(data, data)
    generator = torch.Generator().manual_seed(1)
    return torch.cat([question.targets(*views.two(generator)) for _ in range(4)])


def test_a_constant_scores_0_229(pairs):
    """REFERENCE: 0.229, and exactly R2_sie = 1 - 0.771 (1 - R2_vw), R2_vw = sklearn's variance weighted."""
    assert released.constant_r2(pairs.mean(0), pairs) == pytest.approx(0.229, rel=0.01)
    guess = pairs + 0.3 * torch.randn(pairs.shape, generator=torch.Generator().manual_seed(0))
    weighted = r2_score(pairs.numpy(), guess.numpy(), multioutput="variance_weighted")
    assert float(rotations.r2_sie(rotations.r2_sums(guess, pairs).sum(0))) == pytest.approx(1 - 0.771 * (1 - weighted), abs=2e-3)
    assert float((pairs[:, 3] < 0).double().mean()) == pytest.approx(0.044, abs=0.002)


def test_floors_of_pre_are_0_627_and_0_446():
    data = three_die_bench(objects=2000)
    floors = steering.pre_floors(pose.to_quaternion(poses_of(data)[:, :3, :3]))
    assert floors["random"] == pytest.approx(0.627, rel=0.01) and floors["constant"] == pytest.approx(0.446, rel=0.01)
    small = dataclasses.replace(three_die_bench(objects=300, dim=16), invariant_dim=0)
    noise = torch.randn(15_000, 16, generator=torch.Generator().manual_seed(0))
    errors, _, _ = steering.pre(BlindSteering(), noise, small, cap=None, sources="released")
    assert len(errors) == 15_000 and errors.mean() == pytest.approx(0.627, rel=0.01)


class BlindSteering(steering.Identity):
    """Lands anywhere: the prediction has nothing to do with source or target."""

    def coefficients(self, delta):
        return delta[..., 0, :3]

    def expand(self, embedded):
        generator = torch.Generator().manual_seed(embedded.shape[0])
        return torch.randn(*embedded.shape[:-1], 3, embedded.shape[-1], generator=generator)


def test_who_ignores_the_delta_gets_0_0900_of_50():
    data = three_die_bench(objects=20, dim=12)
    scores = steering.retrieve(
        steering.Identity(), flat(data, "equi", "image"), data, cap=None, hits=(1, 5, 10, 20), released=True
    )
    found = scores.metrics()
    chance = steering.chance(scores.candidates, (1, 5, 10, 20))
    assert found == pytest.approx(chance, abs=1e-9)
    assert found["mrr"] == pytest.approx(0.0900, rel=0.01)
    assert [round(found[f"hit@{k}"], 9) for k in (1, 5, 10)] == [0.02, 0.10, 0.20]


def test_majority_class_is_the_floor_of_classification():
    """16.0 % of 3DIEBench's val objects are of the commonest class: 1,688 of 10,552 tables."""
    labels = np.concatenate([np.full(1688, 7), np.arange(10_552 - 1688) % 54 + (np.arange(10_552 - 1688) % 54 >= 7)])
    assert len(np.unique(labels)) == 55
    data = three_die_bench(objects=10_552, views=2)
    train = dataclasses.replace(data, labels=np.random.default_rng(0).permutation(labels))
    floors = classification.floors(train, dataclasses.replace(data, labels=labels))
    assert floors["top1"] == pytest.approx(0.160, rel=0.01)


def test_the_target_is_scipys_quaternion_with_its_sign():
    data = three_die_bench(objects=400, views=2)
    angles = data.latents[..., :3]
    first, second = Rotation.from_euler("xyz", angles[:, 0]), Rotation.from_euler("xyz", angles[:, 1])
    expected = (first.inv() * second).as_quat()
    index = torch.arange(400) * 2
    found = rotation_of(data, data).targets(index, index + 1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (expected[:, 3] < 0).any()


def test_a_camera_changes_neither_the_sign_of_the_target_nor_the_floor():
    latents = np.zeros((60_000, 7))
    latents[:, :3] = np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (60_000, 3))
    turns = Rotation.from_euler("xyz", latents[:, :3])
    seen = torch.from_numpy(object_in_camera(latents))
    index = torch.arange(30_000)
    for known in (seen, seen[:500]):
        question = released.rotation(seen, pose.mean_quaternion(known))
        found = question.targets(index, index + 30_000)
        scalar = (found * torch.from_numpy((turns[:30_000].inv() * turns[30_000:]).as_quat())).sum(-1)
        assert (scalar > 0.999).double().mean() > 0.99
        assert released.constant_r2(found.mean(0), found) == pytest.approx(0.229, rel=0.03)


def test_hues_are_subtracted_plainly():
    data = three_die_bench(objects=3, views=2)
    question = released.colour(released.hues_of(data))
    found = question.targets(torch.tensor([0, 4]), torch.tensor([1, 5])).numpy()
    names = [data.latent_names.index(name) for name in ("floor_hue", "spot_hue")]
    np.testing.assert_allclose(found, (data.latents[[0, 2], 1] - data.latents[[0, 2], 0])[:, names], atol=1e-6)
    assert released.hues_of(dataclasses.replace(data, latents=None, latent_names=())) is None


def test_draws_are_pairs_of_different_views_of_one_object():
    data = features(objects=7, clips=3, frames=4)
    views = released.Views.of(data)
    owner = np.repeat(data.objects, data.frames)
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(200):
        first, second = views.two(generator)
        np.testing.assert_array_equal(owner[first.numpy()], views.objects)
        np.testing.assert_array_equal(owner[second.numpy()], views.objects)
        assert not bool((first == second).any())
        seen |= set(zip(first.tolist(), second.tolist(), strict=True))
    assert len({pair for pair in seen if owner[pair[0]] == 0}) > 0.7 * 12 * 11
    with pytest.raises(ValueError, match="object 0 has one view"):
        released.Views.of(features(objects=2, clips=1, frames=1)).two(generator)


def slow_probe(encoder, images, poses, objects, test_images, test_poses, test_objects, epochs, hidden, seed):
    """The released loop, written out: every drawn image is encoded again in each epoch, one head, one optimiser."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    dim = encoder(images[:1]).shape[1]
    head = torch.nn.Sequential(
        torch.nn.Linear(2 * dim, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, hidden), torch.nn.ReLU(),
        torch.nn.Linear(hidden, 4),
    )  # fmt: skip
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)

    def quaternions(poses, first, second):
        rotation = [Rotation.from_matrix(poses[i, :3, :3]) for i in (first, second)]
        turn = [Rotation.from_quat(r.as_quat(canonical=True)) for r in rotation]
        return torch.from_numpy((turn[0].inv() * turn[1]).as_quat()).float()

    def draw(objects):
        picked = [rng.choice(np.flatnonzero(objects == name), 2, replace=False) for name in np.unique(objects)]
        return np.array(picked).T

    for _ in range(epochs):
        first, second = draw(objects)
        order = rng.permutation(len(first))
        for some in np.split(order, range(256, len(order), 256)):
            with torch.no_grad():
                pair = torch.cat([encoder(images[first[some]]), encoder(images[second[some]])], 1)
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(head(pair), quaternions(poses, first[some], second[some])).backward()
            optimiser.step()
    residual, total = 0.0, []
    for _ in range(20):
        first, second = draw(test_objects)
        with torch.no_grad():
            output = head(torch.cat([encoder(test_images[first]), encoder(test_images[second])], 1))
        wanted = quaternions(test_poses, first, second)
        residual += float((output - wanted).square().sum())
        total.append(wanted)
    total = torch.cat(total)
    return 1 - residual / float((total - total.mean()).square().sum())


def test_the_head_is_2d_1024_1024_4():
    assert [tuple(p.shape) for p in released.pair_head(512, 4).parameters()][::2] == [(1024, 1024), (1024, 1024), (4, 1024)]
    assert [tuple(p.shape) for p in released.linear_head(512, 55).parameters()] == [(55, 512), (55,)]
    assert (released.EPOCHS, released.BATCH, released.RATE) == (300, 256, 1e-3)


def test_cached_probes_and_a_loop_that_encodes_again_give_the_same_figure(monkeypatch):
    monkeypatch.setattr(released, "HIDDEN", 256)
    torch.manual_seed(0)
    sets = [features(objects=64, clips=1, frames=8, blocks=4, motion="tumble", first_object=f, seed=f) for f in (0, 500)]
    mixing = torch.randn(20, 40) / 4
    images = [torch.from_numpy(data.image.reshape(-1, data.image.shape[-1])) @ mixing for data in sets]
    encoder = torch.nn.Sequential(torch.nn.Linear(40, 24), torch.nn.Tanh()).eval().requires_grad_(False)
    latents = [encoder(x).unflatten(0, data.image.shape[:2]).numpy() for data, x in zip(sets, images, strict=True)]
    cached = [dataclasses.replace(data, image=z, clip=z, invariant_dim=0) for data, z in zip(sets, latents, strict=True)]
    views = [released.Views.of(data) for data in cached]
    upright = torch.tensor([0.0, 0, 0, 1])  # the half of all turns that the loop takes
    questions = [released.rotation(poses_of(data), upright) for data in sets]
    parts = released.widths(cached[0])
    figures = {}
    for name, encode in (("cached", (None, None)), ("again", [lambda *f, x=x: [encoder(x[i]) for i in f] for x in images])):
        heads = released.fit(questions[0], views[0], parts, epochs=90, seed=3, encode=encode[0])
        scores = [
            released.ask(heads, questions[1], views[1], parts, constant=torch.zeros(4), seed=s, encode=encode[1]).r2("all")
            for s in range(20)
        ]
        figures[name] = float(rotations.r2_sie(np.concatenate(scores).sum(0)))
    assert figures["cached"] == pytest.approx(figures["again"], abs=5e-3)  # the same draws: only rounding differs
    arrays = [(x, data.poses.reshape(-1, 4, 4), np.repeat(data.objects, 8)) for x, data in zip(images, sets, strict=True)]
    slow = [slow_probe(encoder, *arrays[0], *arrays[1], epochs=90, hidden=256, seed=seed) for seed in (0, 1)]
    assert figures["cached"] == pytest.approx(np.mean(slow), abs=0.06)  # other draws, other weights at the start
    nothing = released.constant_r2(torch.zeros(4), questions[1].targets(*views[1].two(torch.Generator())))
    assert figures["cached"] > 0.25 > 0.1 > abs(nothing)


def test_heads_that_share_batches_are_trained_as_if_alone():
    data = features(objects=20, clips=1, frames=4)
    views, parts = released.Views.of(data), released.widths(data)
    question = released.classification(torch.from_numpy(np.repeat(data.labels, data.frames)), 4)
    together = released.fit(question, views, parts, epochs=4, batch=7)
    for part in ("inv", "all"):
        first, last = parts[part]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = {name: torch.nn.Linear(b - a, 4) for name, (a, b) in parts.items()}[part]
        optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            (frames,) = views.one(generator)
            for some in torch.randperm(20, generator=generator).split(7):
                x = torch.from_numpy(data.image.reshape(-1, data.image.shape[-1])[frames[some]][:, first:last].copy())
                loss = torch.nn.functional.cross_entropy(head(x), torch.from_numpy(data.labels[frames[some].numpy() // 4]))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        assert float((head.weight - together[part].weight).detach().abs().max()) < 1e-5


def test_released_retrieval_equals_a_loop():
    """Source view 0, all views as targets and as candidates, the source and the identity query among them, by cosine."""
    data = features(objects=4, clips=2, frames=5, noise=0.8, motion="tumble")
    predictor, embedded = BlockSteering(similarity="euclidean"), flat(data, "equi", "clip")
    poses = poses_of(data)
    reciprocal, hits, errors = [], [], []
    for group in data.views():
        for j in group:
            h = predictor.coefficients(pose.delta(poses[group[0]], poses[j]).float())
            predicted = (h[:, None] * predictor.expand(embedded[group[0]])).sum(0)
            cosine = torch.cosine_similarity(predicted[None], embedded, dim=1)
            rank = 1 + int((cosine[group] > cosine[j]).sum())
            reciprocal.append(1 / rank)
            hits.append(rank <= 10)
            q_true, q_near = (pose.to_quaternion(poses[i, :3, :3]) for i in (j, int(cosine.argmax())))
            errors.append(float(1 - (q_true @ q_near) ** 2))
    found = steering.retrieve(predictor, embedded, data, cap=None, hits=(10,), released=True)
    assert found.metrics() == pytest.approx({"mrr": np.mean(reciprocal), "hit@10": np.mean(hits)})
    assert set(found.candidates) == {10}
    streamed, objects, _ = steering.pre(predictor, embedded, data, cap=None, sources="released", chunk=7)
    np.testing.assert_allclose(streamed, errors, atol=1e-9)
    np.testing.assert_array_equal(np.unique(objects), data.objects[::2])


def test_view_0_is_the_one_of_that_number_on_disk():
    """Virtual clips hold an object's views in another order; the released measures start from image_0."""
    data = features(objects=3, clips=1, frames=5, noise=0.5, motion="tumble")
    order = np.array([3, 1, 4, 0, 2])
    moved = dataclasses.replace(data, clip=data.clip[:, order], poses=data.poses[:, order])
    object.__setattr__(moved, "frame_numbers", np.tile(order, (3, 1)))
    scores = [steering.retrieve(BlockSteering(), flat(d, "equi", "clip"), d, cap=None, released=True) for d in (data, moved)]
    np.testing.assert_allclose(scores[0].values["mrr"], scores[1].values["mrr"])
    errors = [steering.pre(BlockSteering(), flat(d, "equi", "clip"), d, cap=None, sources="released")[0] for d in (data, moved)]
    np.testing.assert_allclose(*errors, atol=1e-9)


def test_of_the_views_that_a_validation_draws_the_answers_are_the_same():
    data = features(objects=9, clips=2, frames=4, noise=0.4, motion="tumble")
    shuffled = np.random.default_rng(0).permutation(len(data.objects))  # clips of an object need not stand together
    columns = ("image", "clip", "poses", "times", "labels", "objects", "clips")
    data = dataclasses.replace(data, **{name: getattr(data, name)[shuffled] for name in columns})
    few = data.frames_of(released.validation(data, 5))
    assert few.image.shape[:2] == (9, 3) and (few.objects == np.unique(data.objects)).all()
    parts = released.widths(data)
    for question_of in (lambda f: rotation_of(f, data),
                        lambda f: released.classification(torch.from_numpy(np.repeat(f.labels, f.frames)), 8)):  # fmt: skip
        heads = released.fit(question_of(data), released.Views.of(data), parts, epochs=1)
        whole = released.ask(heads, question_of(data), released.Views.of(data), parts, seed=5)
        drawn = released.ask(heads, question_of(few), released.Views.of(few), parts, drawn=True)
        for part in parts:
            assert torch.allclose(whole.outputs[part], drawn.outputs[part], atol=1e-6)
        assert torch.equal(whole.targets, drawn.targets) and (whole.objects == drawn.objects).all()
