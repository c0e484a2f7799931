from __future__ import annotations

import math

import pytest
import torch

from tests.evaluation.synthetic import random_rotations
from vsie import pose
from vsie.synchronisation import synchronise

Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def pairs(rotation: torch.Tensor, frame: str) -> torch.Tensor:
    """All deltas (B, F, F, 3, 3) of rotations (B, F, 3, 3)."""
    return pose.delta(pose.rigid(rotation[:, :, None]), pose.rigid(rotation[:, None]), frame)[..., :3, :3]


def noisy(relative: torch.Tensor, degrees: float, seed: int = 0) -> torch.Tensor:
    turn = torch.randn(*relative.shape[:-2], 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return relative @ pose.exp(turn * math.radians(degrees))


def error(found: torch.Tensor, rotation: torch.Tensor, frame: str) -> torch.Tensor:
    return pose.geodesic(pairs(found, frame), pairs(rotation, frame)).rad2deg()


@pytest.mark.parametrize("frame", ["body", "camera"])
@pytest.mark.parametrize("motion", ["turntable", "any"])
def test_clean_pairs_give_the_trajectory(frame, motion):
    generator = torch.Generator().manual_seed(0)
    if motion == "any":
        rotation = random_rotations(3 * 7, generator).unflatten(0, (3, 7))
    else:
        rotation = pose.exp(torch.arange(7)[:, None] * 0.9 * Z).expand(3, -1, -1, -1)
    found = synchronise(pairs(rotation, frame), torch.ones(3, 7, 7), frame=frame)
    assert float(error(found, rotation, frame).max()) < 1e-4
    torch.testing.assert_close(found[:, 0], torch.eye(3, dtype=torch.float64).expand(3, 3, 3))


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_noise_averages_out(frame):
    rotation = random_rotations(8 * 16, torch.Generator().manual_seed(1)).unflatten(0, (8, 16))
    relative = noisy(pairs(rotation, frame), 10)
    single = pose.geodesic(relative, pairs(rotation, frame)).rad2deg().median()
    assert float(error(synchronise(relative, torch.ones(8, 16, 16), frame=frame), rotation, frame).median()) < 0.5 * float(single)


def test_a_fifth_of_wrong_pairs_is_seen_through():
    generator = torch.Generator().manual_seed(2)
    rotation = random_rotations(10 * 12, generator).unflatten(0, (10, 12))
    relative = noisy(pairs(rotation, "body"), 3)
    wrong = torch.rand(10, 12, 12, generator=generator) < 0.2
    relative[wrong] = random_rotations(int(wrong.sum()), generator)
    found = synchronise(relative, torch.ones(10, 12, 12), frame="body")
    assert float(error(found, rotation, "body").median()) < 3


@pytest.mark.parametrize("step", [5, 10, 20])
def test_a_wrong_neighbour_is_seen_through_where_few_pairs_are_observed(step):
    """Sixteen frames, neighbours and next ones alone: pairs that nothing is known of do not say how large errors are."""
    angle = math.radians(step) * torch.arange(16, dtype=torch.float64)
    rotation = pose.exp(angle[:, None] * Z)[None]
    relative = pairs(rotation, "camera")
    apart = (torch.arange(16)[:, None] - torch.arange(16)).abs()
    known = (apart > 0) & (apart <= 2)
    relative[0, ~known] = torch.eye(3, dtype=torch.float64)
    relative[0, 7, 8] = pose.exp(math.radians(30) * Z) @ relative[0, 7, 8]
    relative[0, 8, 7] = relative[0, 7, 8].mT
    found = synchronise(relative, known[None].double(), frame="camera")
    assert float(error(found, rotation, "camera")[0, 7, 8]) < 4
    assert torch.isfinite(synchronise(relative, torch.zeros(1, 16, 16), frame="camera")).all()


def test_trust_counts():
    generator = torch.Generator().manual_seed(3)
    rotation = random_rotations(6 * 8, generator).unflatten(0, (6, 8))
    relative = pairs(rotation, "body")
    wrong = torch.rand(6, 8, 8, generator=generator) < 0.6
    relative[wrong] = random_rotations(int(wrong.sum()), generator)
    known = synchronise(relative, torch.where(wrong, 0.01, 1.0), frame="body")
    unknown = synchronise(relative, torch.ones(6, 8, 8), frame="body")
    assert float(error(known, rotation, "body").median()) < 0.2 * float(error(unknown, rotation, "body").median()) + 1


def test_half_turns_are_no_trap():
    """A trajectory that passes through turns of 180 degrees, where rotation vectors flip."""
    rotation = pose.exp(torch.linspace(0, 2 * math.pi, 13, dtype=torch.float64)[:, None] * Z)[None]
    found = synchronise(noisy(pairs(rotation, "body"), 2), torch.ones(1, 13, 13), frame="body")
    assert float(error(found, rotation, "body").max()) < 5


def test_one_frame_and_a_wrong_frame_name():
    assert synchronise(torch.zeros(2, 1, 1, 3, 3), torch.ones(2, 1, 1), frame="body").shape == (2, 1, 3, 3)
    with pytest.raises(ValueError, match="body, camera"):
        synchronise(torch.zeros(2, 2, 2, 3, 3), torch.ones(2, 2, 2), frame="world")
