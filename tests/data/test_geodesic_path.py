"""Virtual clips: short paths through unordered views, against brute force and a slow reference."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vsie.data import geodesic_path


def views(objects: int, count: int, seed: int = 0) -> np.ndarray:
    """Rotations (objects, count, 3, 3) as 3DIEBench draws them."""
    angles = np.random.default_rng(seed).uniform(-np.pi / 2, np.pi / 2, (objects * count, 3))
    return Rotation.from_euler("xyz", angles).as_matrix().reshape(objects, count, 3, 3)


def slow_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float((Rotation.from_matrix(first).inv() * Rotation.from_matrix(second)).magnitude())


def slow_length(rotations: np.ndarray, order) -> float:
    return sum(slow_distance(rotations[a], rotations[b]) for a, b in itertools.pairwise(order))


def slow_two_opt(rotations: np.ndarray) -> list[int]:
    """Nearest neighbour from every start, the best of them, then best-improvement 2-opt: loops, one object."""
    count = len(rotations)
    table = [[slow_distance(a, b) for b in rotations] for a in rotations]

    def size(path):
        return sum(table[a][b] for a, b in itertools.pairwise(path))

    paths = []
    for start in range(count):
        path = [start]
        while len(path) < count:
            left = [view for view in range(count) if view not in path]
            path.append(min(left, key=lambda view: table[path[-1]][view]))
        paths.append(path)
    best = min(paths, key=size)
    while True:
        turned = [best[:i] + best[i : j + 1][::-1] + best[j + 1 :] for i in range(count) for j in range(i + 1, count)]
        found = min(turned, key=size)
        if size(found) > size(best) - 1e-9:
            return best if best[0] < best[-1] else best[::-1]
        best = found


def test_distances_are_the_angles_between_rotations():
    rotations = views(2, 6)
    found = geodesic_path.distances(rotations)
    for one in range(2):
        expected = [[slow_distance(a, b) for b in rotations[one]] for a in rotations[one]]
        np.testing.assert_allclose(found[one], expected, atol=5e-8)


def test_paths_are_those_of_the_slow_reference():
    rotations = views(6, 14, seed=1)
    assert [order.tolist() for order in geodesic_path.shortest(rotations)] == [slow_two_opt(one) for one in rotations]


def test_paths_of_seven_views_are_almost_the_shortest_there_are():
    rotations = views(40, 7, seed=2)
    distance, order = geodesic_path.distances(rotations), geodesic_path.shortest(rotations)
    every = np.array(list(itertools.permutations(range(7))))
    best = geodesic_path.length(distance, np.broadcast_to(every, (40, *every.shape))).min(-1)
    ratio = geodesic_path.length(distance, order) / best
    assert ratio.min() > 1 - 1e-12 and ratio.mean() < 1.01 and (ratio < 1 + 1e-9).mean() > 0.8


def test_every_view_is_there_once_and_neighbours_are_near():
    rotations = views(16, 50, seed=3)
    order = geodesic_path.shortest(rotations)
    assert (np.sort(order, 1) == np.arange(50)).all() and (order[:, 0] < order[:, -1]).all()
    distance = geodesic_path.distances(rotations)
    step = geodesic_path.length(distance, order) / 49
    drawn = geodesic_path.length(distance, np.broadcast_to(np.arange(50), (16, 50))) / 49
    assert np.degrees(step).mean() < 40 < 95 < np.degrees(drawn).mean()


def test_a_path_depends_on_its_object_alone():
    rotations = views(9, 20, seed=4)
    together = geodesic_path.shortest(rotations)
    for one in range(9):
        np.testing.assert_array_equal(geodesic_path.shortest(rotations[one : one + 1])[0], together[one])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_views_are_a_path_too(count):
    rotations = views(4, count)
    order = geodesic_path.shortest(rotations)
    assert (np.sort(order, 1) == np.arange(count)).all()


def test_equal_rotations_are_a_path_too():
    rotations = np.tile(np.eye(3), (2, 5, 1, 1))
    assert (np.sort(geodesic_path.shortest(rotations), 1) == np.arange(5)).all()


def test_a_turn_about_one_axis_comes_out_in_its_order():
    angles = np.random.default_rng(5).permutation(np.linspace(-1.5, 1.5, 30))
    order = geodesic_path.shortest(Rotation.from_euler("z", angles[:, None]).as_matrix()[None])[0]
    steps = np.diff(angles[order])
    assert (steps > 0).all() or (steps < 0).all()


def test_fifty_views_take_milliseconds():
    rotations = views(32, 50, seed=6)
    begun = time.perf_counter()
    geodesic_path.shortest(rotations)
    assert (time.perf_counter() - begun) / 32 < 0.03
