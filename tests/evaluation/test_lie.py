from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.evaluation.synthetic import BlockSteering, random_rotations
from vsie import pose
from vsie.evaluation import lie
from vsie.evaluation.steering import Identity


def pictures(count=6, size=16, smooth=1.0, seed=0):
    """Smooth periodic images (count, 2, size, size), float64."""
    noise = np.random.default_rng(seed).normal(size=(count, 2, size, size))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, smooth, smooth), mode="wrap"))


def circular(stride=1, seed=0):
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def function(x):
        x = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="circular")
        return torch.nn.functional.conv2d(x, weight, stride=stride).relu()

    return function


def pooled(x):
    return circular()(x).mean((2, 3))


@pytest.mark.parametrize("motion", ["translation_x", "translation_y"])
def test_a_circular_convolution_is_equivariant_to_whole_shifts(motion):
    found = lie.lie(circular(), pictures(), motion, step=1.0, periodic=True)
    assert found.lee < 1e-25


def test_a_linear_convolution_is_so_to_any_shift():
    """Resampling is a convolution itself, so the two commute; a nonlinearity between them does not quite."""
    kernel = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = pictures()

    def linear(y):
        return torch.nn.functional.conv2d(torch.nn.functional.pad(y, (1, 1, 1, 1), mode="circular"), kernel)

    for method in ("central", "forward"):
        assert lie.lie(linear, x, "translation_y", method=method, periodic=True).lee < 1e-25
    assert lie.lie(circular(), x, "translation_y", periodic=True).lee > 1e-12


def test_a_global_pool_is_invariant():
    for options in ({"step": 1.0}, {"step": 3.0}):
        assert lie.lie(pooled, pictures(), "translation_x", periodic=True, **options).lee < 1e-25
    assert lie.lie(lambda x: x.mean((2, 3)), pictures(), "translation_x", method="forward", periodic=True).lee < 1e-25


def test_a_stride_breaks_it_and_a_map_that_is_not_moved_back_does_too():
    rough = pictures(smooth=0.5)
    for method in ("central", "forward"):
        strided = lie.lie(circular(stride=2), rough, "translation_x", method=method, periodic=True)
        assert strided.lee > 1e-3 and strided.relative > 1e-2
        assert strided.interval[0] <= strided.lee <= strided.interval[1]
    flat = lie.lie(lambda x: circular()(x).flatten(1), pictures(), "translation_x", step=1.0, periodic=True)
    assert flat.lee > 1e-3


@pytest.mark.parametrize("method", ["central", "forward"])
def test_the_identity_map_gives_the_image_gradient(method):
    """Not moved back, the derivative of a shift is minus the gradient; moved back it is 0."""
    x = pictures()
    slope = lie.derivative(lambda y: y, x, "translation_x", method=method, step=1.0, periodic=True, moved_back=False)
    expected = -(x.roll(-1, -1) - x.roll(1, -1)) / 2
    torch.testing.assert_close(slope, expected)
    slope = lie.derivative(lambda y: y, x, "translation_y", method=method, step=1.0, moved_back=False)
    torch.testing.assert_close(slope[:, :, 1:-1], -torch.from_numpy(np.gradient(x.numpy(), axis=2))[:, :, 1:-1])
    flat = lie.lie(lambda y: y.flatten(1), x, "translation_x", method=method, periodic=True)
    assert flat.gain == pytest.approx(1)
    assert lie.lie(lambda y: y, x, "translation_x", method="forward", periodic=True).lee < 1e-25


@pytest.mark.parametrize("motion", lie.MOTIONS)
def test_forward_mode_and_small_central_differences_agree(motion):
    x = pictures(3, 12)

    def function(y):
        return torch.tanh(circular()(y)).mean(3).flatten(1)

    forward = lie.derivative(function, x, motion, method="forward")
    central = lie.derivative(function, x, motion, step=1e-4)
    torch.testing.assert_close(forward, central, atol=2e-3 * float(forward.abs().max()), rtol=1e-2)
    assert float(forward.abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("motion", "field"),
    [
        ("rotation", lambda x, y: (-y, x)), ("scale", lambda x, y: (x, y)),
        ("shear_x", lambda x, y: (y, 0 * y)), ("shear_y", lambda x, y: (0 * x, x)),
    ],
)  # fmt: skip
def test_motions_are_the_fields_that_they_say(motion, field):
    """d/dt of a moved image is minus the gradient along the field of the motion, x right and y down."""
    x = pictures(2, 24, smooth=3.0)
    slope = lie.derivative(lambda i: i, x, motion, method="forward", moved_back=False)
    gradient_y, gradient_x = (torch.from_numpy(np.gradient(x.numpy(), axis=a)) for a in (2, 3))
    place = torch.arange(24, dtype=torch.float64) - 11.5
    u, v = field(place[None, :], place[:, None])
    expected = -(u * gradient_x + v * gradient_y)
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(slope[inner], expected[inner], atol=1e-9, rtol=1e-6)


def test_moving_equals_scipy_and_feature_maps_move_in_their_own_pixels():
    x = pictures(1, 16)
    moved = lie.move(x, "translation_x", torch.tensor(3.0, dtype=torch.float64), periodic=True)
    torch.testing.assert_close(moved, x.roll(3, -1))
    half = lie.move(x[..., ::2, ::2], "translation_x", torch.tensor(4.0, dtype=torch.float64), periodic=True, reference=(16, 16))
    torch.testing.assert_close(half, x[..., ::2, ::2].roll(2, -1))
    angle = 0.3
    turned = lie.move(x, "rotation", torch.tensor(angle, dtype=torch.float64))[0, 0].numpy()
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])  # of (row, column)
    centre = np.array([7.5, 7.5])
    expected = ndimage.affine_transform(x[0, 0].numpy(), rotation, centre - rotation @ centre, order=3, mode="nearest")
    assert np.abs(turned - expected)[3:-3, 3:-3].max() < 0.1 * np.abs(expected).max()


def test_what_cannot_be_scored_is_named():
    with pytest.raises(ValueError, match="the features have collapsed"):
        lie.lie(lambda x: torch.ones(len(x), 3, dtype=x.dtype), pictures(), "rotation")
    with pytest.raises(ValueError, match="motion is 'flip', expected one of translation_x"):
        lie.lie(pooled, pictures(), "flip")
    with pytest.raises(ValueError, match="method is 'reverse'"):
        lie.derivative(pooled, pictures(), "scale", method="reverse")


def triples(angle, count=40, noise=0.0):
    """Latents and poses of three views, `angle` apart, of latents that turn as `BlockSteering` says."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(count, 6, 3, generator=generator, dtype=torch.float64)
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=1)
    start = random_rotations(count, generator)
    turns = [start @ pose.exp(k * angle * axis) for k in (-1, 0, 1)]
    latents = [(own @ turn).flatten(1) for turn in turns]
    latents = [z + noise * torch.randn(z.shape, generator=generator, dtype=torch.float64) for z in latents]
    return latents, tuple(pose.rigid(turn) for turn in turns), np.arange(count) // 4


def test_out_of_the_plane_an_exact_predictor_leaves_nothing():
    (before, middle, after), poses, objects = triples(0.05)
    for similarity in ("cosine", "euclidean"):
        found = lie.out_of_plane(BlockSteering(similarity=similarity), before, after, middle, poses, objects)
        assert found.lee < 1e-20 and found.unmoved > 1e-2 and found.ratio < 1e-12
        assert found.angle_deg == pytest.approx(math.degrees(0.1))
    idle = lie.out_of_plane(Identity(), before, after, middle, poses, objects)
    assert idle.ratio == pytest.approx(1) and idle.interval == pytest.approx((1, 1))
    wrong = lie.out_of_plane(BlockSteering(frame="camera"), before, after, middle, poses, objects)
    assert wrong.ratio > 0.3


def test_out_of_the_plane_the_slope_is_per_radian():
    """|d/dt M R exp(t w)|^2 for unit axes is |M R [w]x|^2, whatever the step."""
    found = []
    for angle in (0.01, 0.02):
        (before, middle, after), poses, objects = triples(angle)
        found.append(lie.out_of_plane(Identity(similarity="euclidean"), before, after, middle, poses, objects).lee)
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[0] == pytest.approx(2 / 3, abs=0.1)  # two of three components of a unit normal vector turn
    (before, middle, after), poses, objects = triples(0.01)
    with pytest.raises(ValueError, match="40 of 40 triples do not turn"):
        lie.out_of_plane(BlockSteering(), before, after, middle, (poses[0], poses[1], poses[0]), objects)


def test_several_functions_at_once_are_each_what_it_is_alone():
    x = pictures()
    both = lie.lies(lambda batch: {"map": circular()(batch), "vector": circular()(batch).mean((2, 3))}, x, "rotation", batch=4)
    assert both["map"].lee == pytest.approx(lie.lie(circular(), x, "rotation").lee)
    assert both["vector"].relative == pytest.approx(lie.lie(pooled, x, "rotation").relative)


def test_rendered_turns_are_judged_by_the_predictor_and_part_by_part():
    """An encoder that knows the rotation from the picture: the exact predictor leaves nothing, the identity leaves all."""
    from tests.evaluation.synthetic import features
    from vsie.evaluation import suite
    from vsie.evaluation.inputs import Live
    from vsie.render.turns import Turns

    generator = torch.Generator().manual_seed(0)
    start = random_rotations(40, generator)
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    steps = pose.exp(torch.tensor([-0.04, 0.0, 0.04], dtype=torch.float64)[:, None] * axis)
    rotation = start[:, None] @ steps
    pixels = ((rotation + 1) * 127).round().byte().numpy()[..., None].repeat(3, -1)  # a picture 3 x 3 that shows R

    class Reader(torch.nn.Module):
        """Latents like those of `features`: 8 numbers of the class, then 10 rows of 3, the first three of them R."""

        stride = 1

        def forward(self, clip):
            shown = (clip[:, 0, 0] * 255 / 127 - 1).flatten(1)
            return torch.cat([1 + 0.01 * shown[:, :8], shown, shown, shown, shown[:, :3]], 1)[:, None]

    turns = Turns(pixels, pose.rigid(rotation).numpy(), np.repeat(np.arange(10), 4))
    sets = features(seed=1, frames=3), features(seed=2, frames=3, first_object=100)
    assert sets[0].image.shape[-1] == 38 and sets[0].invariant_dim == 8
    clips = [{"frames": np.random.default_rng(i).integers(0, 255, (3, 3, 3, 3), dtype=np.uint8)} for i in range(40)]
    live = Live(encoder=Reader(), train=clips, test=clips, window=(1, 1), turns=lambda: turns)
    steering = BlockSteering()
    metrics = suite.evaluate(*sets, steering=steering, live=live, protocols=["lie"], progress=False).metrics
    assert metrics["lie/rendered/angle_deg"] == pytest.approx(math.degrees(0.08), rel=1e-3)
    assert metrics["lie/rendered/ratio"] < 0.05 and metrics["lie/rendered/ratio/floor"] == 1  # what the pixels are rounded by
    assert metrics["lie/rendered/relative/equi"] > 5 * metrics["lie/rendered/relative"]
    assert set(metrics) >= {f"lie/rendered/relative/{part}" for part in ("inv", "equi", "all")}
