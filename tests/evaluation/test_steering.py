from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, features, in_a_file
from vsie import pose
from vsie.evaluation import steering
from vsie.feature_set import flat


def slow_scores(predictor, embedded, data, cap):
    """Each query on its own, the steered latent built, candidates sorted one by one."""
    poses = torch.from_numpy(data.poses.reshape(-1, 4, 4))
    reciprocal, hits = [], []
    for group in data.views(cap):
        for i in group:
            for j in group:
                if i == j:
                    continue
                h = predictor.coefficients(pose.delta(poses[i], poses[j], predictor.frame).float())
                predicted = (h[:, None] * predictor.expand(embedded[i])).sum(0)
                scores = {}
                for m in group:
                    if m != i:
                        if predictor.similarity == "cosine":
                            scores[m] = float(torch.cosine_similarity(predicted, embedded[m], dim=0))
                        else:
                            scores[m] = -float((predicted - embedded[m]).norm())
                rank = 1 + sum(value > scores[j] for m, value in scores.items() if m != j)
                reciprocal.append(1 / rank)
                hits.append(rank <= 5)
    return np.mean(reciprocal), np.mean(hits)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("frame", ["body", "camera"])
def test_retrieval_equals_a_loop(similarity, frame):
    data = features(objects=3, clips=2, frames=5, noise=0.8, motion="tumble")
    predictor = BlockSteering(similarity=similarity, frame=frame)
    embedded = flat(data, "equi", "clip")
    found = steering.retrieve(predictor, embedded, data, cap=8).metrics()
    mrr, hit = slow_scores(predictor, embedded, data, 8)
    assert found["mrr"] == pytest.approx(mrr, abs=1e-9) and found["hit@5"] == pytest.approx(hit, abs=1e-9)


def test_chance_is_the_known_one():
    """31 candidates: MRR .130, H@1 .032 (DESIGN); 50: MRR .0900, H@1 .02, H@5 .10 (REFERENCE)."""
    chance = steering.chance(np.full(10, 31))
    assert chance["mrr"] == pytest.approx(0.130, abs=5e-4) and chance["hit@1"] == pytest.approx(0.032, abs=5e-4)
    chance = steering.chance(np.full(10, 50))
    assert chance["mrr"] == pytest.approx(0.0900, abs=5e-5)
    assert chance["hit@1"] == pytest.approx(0.02) and chance["hit@5"] == pytest.approx(0.10)


def test_who_ignores_the_delta_gets_chance():
    data = features(objects=6, clips=2, frames=6, noise=0.5)
    scores = steering.retrieve(steering.Identity(), flat(data, "equi", "clip"), data)
    for name, value in steering.chance(scores.candidates).items():
        assert scores.metrics()[name] == pytest.approx(value, abs=1e-6)


def test_a_collapsed_latent_gets_chance_and_not_rank_one():
    data = features(objects=4, clips=2, frames=6)
    scores = steering.retrieve(BlockSteering(), torch.ones(len(data.objects) * 6, 30), data)
    constant = steering.retrieve(steering.Identity(), torch.ones(len(data.objects) * 6, 30), data)
    for name, value in steering.chance(scores.candidates).items():
        assert constant.metrics()[name] == pytest.approx(value, abs=1e-9)
        assert scores.metrics()[name] == pytest.approx(value, abs=0.02)


def test_ties_are_scored_in_expectation():
    scores = steering.expected_scores(torch.tensor([0, 2, 0]), torch.tensor([0, 0, 3]))
    np.testing.assert_allclose(scores["mrr"], [1, 1 / 3, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4])
    np.testing.assert_allclose(scores["hit@1"], [1, 0, 1 / 4])
    np.testing.assert_allclose(scores["hit@5"], [1, 1, 1])


def test_the_exact_predictor_is_always_right():
    data = features(objects=8, clips=2, frames=6, noise=0.0, motion="tumble")
    scores, (errors, _), floors, _ = steering.evaluate(BlockSteering(), data, frame="body")
    assert scores.metrics() == pytest.approx({"mrr": 1, "hit@1": 1, "hit@5": 1})
    assert errors.mean() < 1e-6 < floors["identity"]["pre"]
    assert 0.2 < floors["chance"]["pre"] < 0.75


def test_pre_equals_a_loop():
    data = features(objects=4, clips=2, frames=4, noise=0.6, motion="tumble")
    predictor, embedded = BlockSteering(), flat(data, "equi", "clip")
    poses = torch.from_numpy(data.poses.reshape(-1, 4, 4))
    expected = []
    for group in data.views():
        for j in group[1:]:
            i = group[0]
            h = predictor.coefficients(pose.delta(poses[i], poses[j]).float())
            predicted = (h[:, None] * predictor.expand(embedded[i])).sum(0)
            cosine = torch.cosine_similarity(predicted[None], embedded, dim=1)
            cosine[i] = -2
            expected.append(float(torch.sin(pose.geodesic(poses[j], poses[cosine.argmax()]) / 2)) ** 2)
    errors, objects, _ = steering.pre(predictor, embedded, data, chunk=5)
    np.testing.assert_allclose(errors, expected, atol=1e-9)
    assert len(objects) == len(errors)


def test_floors_of_pre_on_uniform_rotations():
    """Random frame: mean sin^2(theta / 2) of uniform rotations is 3/4; so is that of any constant."""
    data = features(objects=800, clips=1, frames=3, motion="tumble")
    floor = steering.pre(steering.Identity(), flat(data, "equi", "clip"), data)[2]
    assert floor["random"] == pytest.approx(0.75, abs=0.03) and floor["constant"] == pytest.approx(0.75, abs=0.05)


def test_views_without_a_choice_and_nan_are_errors():
    data = features(objects=3, clips=1, frames=2)
    with pytest.raises(ValueError, match="three frames"):
        steering.retrieve(BlockSteering(), flat(data, "equi", "clip"), data)
    with pytest.raises(ValueError, match="not finite"):
        steering.embed(BlockSteering(), torch.full((3, 6), torch.nan))


def test_a_pair_may_have_its_own_coefficients():
    """SIE's raw quaternions have a sign that belongs to the pair: then the steering is asked with both poses."""

    class Paired(BlockSteering):
        def pair_coefficients(self, source, target):
            return super().coefficients(pose.delta(source, target))

        def coefficients(self, delta):
            return -super().coefficients(delta)

    data = features(objects=4, clips=2, frames=4, noise=0.0)
    embedded = flat(data, "equi", "clip")
    assert steering.retrieve(Paired(), embedded, data).metrics()["hit@1"] == 1
    data = dataclasses.replace(data)
    assert steering.pre(Paired(), embedded, data)[0].max() < 1e-6


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_pieces_of_a_file_give_what_one_table_gives(monkeypatch, similarity):
    """Embedded latents in a memory-mapped file, read 5 rows at once, against one table of all similarities."""
    data = features(objects=6, clips=2, frames=4, noise=0.6, motion="tumble")
    predictor = BlockSteering(similarity=similarity)
    embedded = steering.embed(predictor, flat(data, "equi", "clip"))
    monkeypatch.setattr(steering, "LARGE", 10)
    file = steering.embed(predictor, flat(data, "equi", "clip"), chunk=7)
    assert in_a_file(file) and not in_a_file(embedded) and torch.equal(file, embedded)
    whole = steering.retrieve(predictor, embedded, data, cap=None).metrics()
    assert steering.retrieve(predictor, file, data, cap=None).metrics() == whole
    poses = torch.from_numpy(data.poses.reshape(-1, 4, 4))
    for sources in ("first", "every", "released"):
        errors, objects, _ = steering.pre(predictor, file, data, cap=None, sources=sources, chunk=5)
        source, target = steering.queries(data.views(), sources)
        steered = steering.steered(predictor, embedded[source], poses[source], poses[target])
        form = BlockSteering(similarity="cosine") if sources == "released" else predictor
        near = steering.nearest(form, steered, embedded, exclude=None if sources == "released" else source)
        expected = torch.sin(pose.geodesic(poses[target], poses[near]) / 2).square()
        np.testing.assert_allclose(errors, expected, atol=1e-9)
        np.testing.assert_array_equal(objects, data.objects[source // data.frames])


def test_every_view_is_a_source_once_and_never_its_own_target():
    data = features(objects=5, clips=2, frames=6)
    groups = data.views()
    source, target = steering.queries(groups, "every", seed=3)
    assert sorted(source.tolist()) == list(range(60)) and not bool((source == target).any())
    owner = np.repeat(data.objects, data.frames)
    np.testing.assert_array_equal(owner[source], owner[target])
    assert len(steering.queries(groups, "every", limit=20)[0]) == 20
    source, target = steering.queries(groups, "released")
    assert source[:12].tolist() == [groups[0][0]] * 12 and target[:12].tolist() == groups[0].tolist()


def test_a_predictor_that_can_only_be_evaluated_scores_the_same():
    class Direct(BlockSteering):
        linear = False

        def steer(self, embedded, delta):
            return (embedded.unflatten(-1, (-1, 3)) @ delta[..., :3, :3]).flatten(-2)

    class Paired(Direct):
        def pair_steer(self, embedded, source, target):
            return super().steer(embedded, pose.delta(source, target))

        def steer(self, embedded, delta):
            return -super().steer(embedded, delta)

    data = features(objects=6, clips=2, frames=5, noise=0.5, motion="tumble")
    for similarity in ("cosine", "euclidean"):
        expected = steering.evaluate(BlockSteering(similarity=similarity), data, frame="body")
        for predictor in (Direct(similarity=similarity), Paired(similarity=similarity)):
            scores, (errors, _), floors, _ = steering.evaluate(predictor, data, frame="body")
            assert scores.metrics() == pytest.approx(expected[0].metrics())
            np.testing.assert_allclose(errors, expected[1][0], atol=1e-9)
            assert floors["chance"] == expected[2]["chance"]


def test_a_steering_may_read_the_whole_latent():
    class Whole(BlockSteering):
        part = "all"

        def embed(self, latents):
            assert latents.shape[-1] == 38
            return latents[..., 8:]

    data = features(objects=6, clips=2, frames=5, noise=0.0, motion="tumble")
    assert steering.evaluate(Whole(), data, frame="body")[0].metrics()["hit@1"] == 1


@pytest.mark.parametrize("sources", ["first", "released"])
def test_sources_that_are_steered_often_cost_their_products(monkeypatch, sources):
    """Queries as sums of K products of their source give what the steered latents themselves give; objects of unequal size."""
    data = features(objects=7, clips=2, frames=9, noise=0.7, motion="tumble")
    keep = np.array([clip for clip in range(14) if clip not in (3, 8)])
    columns = ("image", "clip", "poses", "times", "labels", "objects", "clips")
    paths = [data.paths[i] for i in keep]
    data = dataclasses.replace(data, paths=paths, **{name: getattr(data, name)[keep] for name in columns})
    for similarity in ("cosine", "euclidean"):
        predictor = BlockSteering(similarity=similarity)
        embedded = steering.embed(predictor, flat(data, "equi", "clip"))
        options = dict(cap=None, sources=sources, chunk=24)
        found, objects, _ = steering.pre(predictor, embedded, data, **options)
        with monkeypatch.context() as patch:
            patch.setattr(steering, "_find_by_source", steering._find)
            slow, slow_objects, _ = steering.pre(predictor, embedded, data, **options)
        np.testing.assert_allclose(found, slow, atol=1e-9)
        np.testing.assert_array_equal(objects, slow_objects)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_an_object_with_very_many_views_is_ranked_in_blocks(monkeypatch, similarity):
    data, tables = features(objects=2, clips=2, frames=10, noise=0.7, motion="tumble"), []
    predictor = BlockSteering(similarity=similarity)
    embedded, original = steering.embed(predictor, flat(data, "equi", "clip")), steering._object_similarities
    monkeypatch.setattr(steering, "_object_similarities", lambda *given: tables.append(original(*given)) or tables[-1])
    for released in (False, True):
        whole = steering.retrieve(predictor, embedded, data, cap=None, released=released)
        with monkeypatch.context() as patch:
            patch.setattr(steering, "TABLE", 3 * 20 * 20)
            tables.clear()
            found = steering.retrieve(predictor, embedded, data, cap=None, released=released)
        assert max(table.numel() for table in tables) <= 3 * 20 * 20 and len(tables) == (2 if released else 14)
        for name, values in whole.values.items():
            np.testing.assert_allclose(found.values[name], values, atol=1e-9)
        np.testing.assert_array_equal(found.objects, whole.objects)
        np.testing.assert_array_equal(found.candidates, whole.candidates)
