"""The lie predictor is a representation of the rotation group, trained or not."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from vsie import pose
from vsie.model import build_method
from vsie.predictors.lie import Lie, angular_momentum, coupling

OPTIONS = list(itertools.product(["body", "camera"], [True, False], [(1,), (1, 2), (2, 3, 4)]))


def build(frame: str, orthogonal: bool, degrees: tuple[int, ...], dim: int = 47) -> Lie:
    torch.manual_seed(0)
    predictor = Lie(dim, 9, frame=frame, orthogonal=orthogonal, degrees=degrees).double()
    torch.nn.init.normal_(predictor.basis, std=0.2)
    for degree in range(2, degrees[-1] + 1):
        setattr(predictor, f"coupling_{degree}", coupling(degree))  # kept in float32 otherwise
    return predictor


def matrix(predictor: Lie, rotation: torch.Tensor) -> torch.Tensor:
    """rho, (..., d, d), column by column."""
    columns = torch.eye(predictor.dim, dtype=rotation.dtype).expand(*rotation.shape[:-2], -1, -1)
    return predictor(columns, rotation.flatten(-2)[..., None, :]).mT


def draw(number: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(number, rng=seed).as_matrix())


@pytest.mark.parametrize("frame, orthogonal, degrees", OPTIONS)
def test_identity_inverse_and_composition_hold_for_all_rotations(frame, orthogonal, degrees):
    predictor = build(frame, orthogonal, degrees)
    first, second = draw(6, 0), draw(6, 1)
    eye = torch.eye(predictor.dim, dtype=torch.float64)
    assert (matrix(predictor, torch.eye(3, dtype=torch.float64)) - eye).abs().max() < 1e-10
    assert (matrix(predictor, first) @ matrix(predictor, first.mT) - eye).abs().max() < 1e-10
    both = first @ second if frame == "body" else second @ first  # moved by the first, and then by the second
    assert (matrix(predictor, second) @ matrix(predictor, first) - matrix(predictor, both)).abs().max() < 1e-10
    wrong = second @ first if frame == "body" else first @ second
    assert (matrix(predictor, second) @ matrix(predictor, first) - matrix(predictor, wrong)).abs().max() > 0.1


@pytest.mark.parametrize("frame, orthogonal, degrees", OPTIONS)
def test_it_is_the_exponential_of_its_generators(frame, orthogonal, degrees):
    predictor = build(frame, orthogonal, degrees)
    vectors = torch.from_numpy(Rotation.random(5, rng=2).as_rotvec())
    slow = torch.matrix_exp(torch.einsum("ni,ijk->njk", vectors, predictor.generators()))
    assert (matrix(predictor, pose.exp(vectors)) - slow).abs().max() < 1e-10
    generators = predictor.generators()
    if orthogonal:
        assert (generators + generators.mT).abs().max() < 1e-10
    x, y, z = generators if frame == "camera" else -generators
    assert (x @ y - y @ x - z).abs().max() < 1e-10  # the commutators of rotations
    eye = torch.eye(predictor.dim, dtype=torch.float64)
    assert (torch.matrix_exp(2 * math.pi * x) - eye).abs().max() < 1e-9  # one value per rotation


@pytest.mark.parametrize("frame", ["body", "camera"])
def test_predictions_follow_a_chain_of_poses_as_the_one_step_does(frame):
    predictor = build(frame, True, (1, 2))
    poses = pose.rigid(draw(5, 3))
    latent = torch.randn(47, dtype=torch.float64)
    walked = latent
    for i in range(4):
        walked = predictor(walked, pose.encode(pose.delta(poses[i], poses[i + 1], frame)))
    jumped = predictor(latent, pose.encode(pose.delta(poses[0], poses[4], frame)))
    assert (walked - jumped).abs().max() < 1e-10


def test_blocks_are_irreducible_and_the_first_is_the_rotation_itself():
    """The character of D^l at angle t is sin((2l + 1) t / 2) / sin(t / 2)."""
    predictor = build("camera", True, (1, 2, 3, 4))
    rotation = draw(20, 4)
    blocks = predictor.blocks(rotation)
    assert torch.equal(blocks[0], rotation)
    half = pose.angle(rotation) / 2
    for degree, block in zip(predictor.degrees, blocks, strict=True):
        character = block.diagonal(dim1=-2, dim2=-1).sum(-1)
        assert (character - torch.sin((2 * degree + 1) * half) / torch.sin(half)).abs().max() < 1e-10
    for axis in angular_momentum(4):
        for degree, momentum in axis.items():
            values = torch.linalg.eigvals(momentum).imag.sort().values
            assert (values - torch.arange(-degree, degree + 1)).abs().max() < 1e-8


def test_freely_learned_generators_would_not_compose_off_one_axis():
    """Why the blocks are fixed: exp(w . G) of any skew G composes about one axis, and not about two."""
    generators = torch.randn(3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    generators = generators - generators.mT

    def rho(vector):
        return torch.matrix_exp(torch.einsum("i,ijk->jk", vector, generators))

    x, y = torch.tensor([[0.5, 0, 0], [0, 0.7, 0]], dtype=torch.float64)
    assert (rho(0.5 * x) @ rho(x) - rho(1.5 * x)).abs().max() < 1e-12
    both = pose.log(pose.exp(x) @ pose.exp(y))
    assert (rho(x) @ rho(y) - rho(both)).abs().max() > 0.1


def test_lengths_are_kept_by_the_orthogonal_one_and_what_is_over_stands_still():
    predictor = build("body", True, (1, 2))  # 47 = 5 copies of 8, and 7 over
    assert (predictor.copies, predictor.still) == (5, 7)
    latent, delta = torch.randn(9, 47, dtype=torch.float64), draw(9).flatten(-2)
    assert (predictor(latent, delta).norm(dim=-1) - latent.norm(dim=-1)).abs().max() < 1e-10
    still = predictor.bases()[0][:, -7:]
    assert (predictor(latent, delta) @ still - latent @ still).abs().max() < 1e-10


@pytest.mark.parametrize("dim, delta_dim, options, told", [
    (47, 12, {}, "9 entries"), (47, 4, {}, "9 entries"), (47, 9, {"degrees": (0, 1)}, "degrees"), (7, 9, {}, "too narrow"),
    (47, 9, {"frame": "world"}, "world"), (47, 9, {"degrees": (1, 1)}, "degrees"),
])  # fmt: skip
def test_what_cannot_be_is_told(dim, delta_dim, options, told):
    with pytest.raises(ValueError, match=told):
        Lie(dim, delta_dim, **options)


def test_a_method_refuses_to_tell_it_another_thing_than_the_rotation():
    from tests.methods.test_methods import config

    base = config("vsie") | {"predictor": {"name": "lie"}}
    for conditioning in ({}, {"encoding": "matrix"}):
        with pytest.raises(ValueError, match="conditioning.encoding=matrix conditioning.centred=false"):
            build_method(base | {"conditioning": conditioning})
    told = {"encoding": "matrix", "centred": False}
    build_method(base | {"conditioning": told})
    with pytest.raises(ValueError, match="expected the same"):
        build_method(base | {"conditioning": told | {"frame": "camera"}})
