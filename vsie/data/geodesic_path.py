"""Unordered views of an object in an order in which it turns little from one to the next: a virtual clip.

The shortest path through all rotations is a travelling salesman's. What is found here is near it (of seven views within 1 % on
average) and always the same: the nearest neighbour from every start, the shortest of these, then 2-opt until no reversal of a
stretch makes the path shorter. With 50 of 3DIEBench's views a step is 34 degrees instead of 110. All objects of a batch go
together; one takes 2 ms of one core.
"""

from __future__ import annotations

import numpy as np
import torch

from vsie import pose


def distances(rotations: np.ndarray) -> np.ndarray:
    """Geodesic distances (B, n, n) in radians between rotations (B, n, 3, 3), float64."""
    quaternions = pose.to_quaternion(torch.from_numpy(np.asarray(rotations, dtype=np.float64))).numpy()
    cosine = np.abs(quaternions @ quaternions.swapaxes(1, 2))
    return 2 * np.arccos(np.minimum(cosine, 1))


def length(distance: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Lengths (B, ...) of paths `order` (B, ..., n) through points with distances (B, n, n)."""
    batch = np.arange(len(distance)).reshape(-1, *[1] * (order.ndim - 1))
    return distance[batch, order[..., :-1], order[..., 1:]].sum(-1)


def shortest(rotations: np.ndarray) -> np.ndarray:
    """Short paths through rotations (B, n, 3, 3): orders int64 (B, n), each beginning at that end with the lower number."""
    distance = distances(rotations)
    order = two_opt(distance, nearest_neighbour(distance))
    backward = order[:, 0] > order[:, -1]
    order[backward] = order[backward, ::-1]
    return order


def nearest_neighbour(distance: np.ndarray) -> np.ndarray:
    """For distances (B, n, n) the shortest (B, n) of the n paths that always go on to the nearest point not yet seen."""
    count, points = distance.shape[:2]
    batch, starts = np.arange(count)[:, None], np.arange(points)[None]
    paths = np.empty((count, points, points), dtype=np.int64)
    closed = np.zeros((count, points, points))  # infinite where a path has been
    current = np.broadcast_to(starts, (count, points))
    for step in range(points):
        paths[..., step] = current
        closed[batch, starts, current] = np.inf
        if step < points - 1:
            current = (distance[batch, current] + closed).argmin(-1)
    return paths[np.arange(count), length(distance, paths).argmin(-1)]


def two_opt(distance: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Paths (B, n) after reversing, as long as there is one, the stretch whose reversal shortens the path most."""
    count, points = order.shape
    # A point at no distance from all others, before the path and after it, makes its ends stretches like any other.
    padded = np.zeros((count, points + 1, points + 1))
    padded[:, 1:, 1:] = distance
    tours = np.concatenate([np.zeros((count, 1), dtype=np.int64), order + 1, np.zeros((count, 1), dtype=np.int64)], 1)
    before_start = np.triu(np.ones((points, points), dtype=bool), 1)  # [i, j]: the stretch of places i + 1 .. j + 1
    active = np.arange(count)
    while len(active):
        tour = tours[active]
        along = padded[active[:, None, None], tour[:, :, None], tour[:, None, :]]  # [A, n + 2, n + 2] by place
        edges = along[:, np.arange(points + 1), np.arange(1, points + 2)]
        gain = edges[:, :-1, None] + edges[:, None, 1:] - along[:, :-2, 1:-1] - along[:, 1:-1, 2:]
        gain = np.where(before_start, gain, -np.inf).reshape(len(active), -1)
        best = gain.argmax(1)
        better = gain[np.arange(len(active)), best] > 1e-12
        active, best = active[better], best[better]
        first, last = best[:, None] // points + 1, best[:, None] % points + 1
        places = np.arange(points + 2)[None]
        turned = np.where((places >= first) & (places <= last), first + last - places, places)
        tours[active] = np.take_along_axis(tours[active], turned, 1)
    return tours[:, 1:-1] - 1
