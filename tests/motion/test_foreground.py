"""Texture, background, foreground."""

from __future__ import annotations

import numpy as np
import torch

from tests.motion.scenes import SIZE, disc, moved, observe, similarity, texture
from vsie.motion.foreground import fit_affine, full, information, reversed_affine, structure, weighted_median


def test_an_edge_tells_of_motion_across_it_only():
    image = np.zeros((1, 32, 32), np.float32)
    image[..., 16:] = 200
    factor = full(information(structure(image)))[0, 16, 16]
    across, along = ((factor @ torch.tensor(e)).norm() for e in ([1.0, 0.0], [0.0, 1.0]))
    assert float(across) > 0.95 and float(along) < 0.05
    assert float(information(structure(np.zeros((1, 8, 8), np.float32))).abs().max()) == 0


def test_weights_are_those_of_the_eigenvalues():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(50, 2, 2, generator=generator).double() * torch.logspace(-1, 2, 50)[:, None, None].double()
    tensor, error = root @ root.mT, torch.randn(50, 2, generator=generator).double()
    values, vectors = torch.linalg.eigh(tensor)
    expected = (values / (values + 100) * torch.einsum("nij,ni->nj", vectors, error).square()).sum(-1)
    found = (full(information(tensor.flatten(1).mT[[0, 1, 3]])) @ error[..., None]).square().sum((-1, -2))
    torch.testing.assert_close(found, expected)


def test_the_way_back_of_an_affine_motion():
    motion, place = 0.2 * torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)), torch.rand(3, 8, 2)
    there = place + place @ motion[:, :, :2].mT + motion[:, None, :, 2]
    back = reversed_affine(motion)
    torch.testing.assert_close(there + there @ back[:, :, :2].mT + back[:, None, :, 2], place, atol=1e-5, rtol=0)


def test_the_affine_fit_sees_through_a_third_of_outliers():
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(2, 200, 2, generator=generator) * 50
    true = torch.tensor([[[0.1, -0.2, 3.0], [0.2, 0.1, -1.0]]], dtype=torch.float64).repeat(2, 1, 1)
    motion = torch.cat([place, torch.ones(2, 200, 1)], -1).double() @ true.mT
    motion[:, :66] += 20 * torch.randn(2, 66, 2, generator=generator)
    found = fit_affine(place, motion, torch.ones(2, 200))
    torch.testing.assert_close(found, true, atol=0.02, rtol=0)


def test_the_weighted_median_of_equal_weights_is_the_median():
    values = torch.rand(4, 101, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(weighted_median(values, torch.ones(4, 101)), values.median(-1).values)
    assert float(weighted_median(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.1, 0.1, 5.0]]))) == 9


def test_the_motion_gives_the_mask():
    frames = moved([similarity(shift=(2.0 * t, 0)) for t in range(4)])
    region = observe(frames).region[0].numpy()
    true = disc() > 0
    assert (region & true).sum() / (region | true).sum() > 0.6


def test_a_still_thing_before_a_moving_ground_is_the_foreground():
    ground = texture(SIZE, 5)
    frames = moved([similarity(shift=(3.0 * t, 0)) for t in range(4)], background=ground, still=True)
    region, true = observe(frames).region[1].numpy(), disc() > 0
    assert (region & true).sum() / (region | true).sum() > 0.5
