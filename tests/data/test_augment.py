from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional

from vsie import pose
from vsie.data.augment import Augment, normalise, to_float

CHANGES = {
    "colour": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2},
    "gray": {"gray_probability": 1.0},
    "crop": {"crop": 0.3},
    "blur": {"blur": 2.0, "blur_probability": 1.0},
    "noise": {"noise": 0.1},
}
CHANGES["all"] = {name: value for change in CHANGES.values() for name, value in change.items()}


@pytest.fixture
def clips():
    """Six clips of three equal frames, all of the same picture."""
    picture = torch.rand(1, 3, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    return picture.expand(6, 3, 3, 24, 24).contiguous()


def test_everything_is_off_by_default(clips):
    assert not Augment().active
    assert Augment()(clips, 0) is clips


@pytest.mark.parametrize("name", CHANGES)
def test_frames_of_a_clip_change_alike_and_clips_apart(clips, name):
    changed = Augment(**CHANGES[name])(clips, 1)
    assert changed.shape == clips.shape and changed.dtype == clips.dtype
    assert 0 <= changed.min() and changed.max() <= 1
    assert (changed - clips).abs().mean() > 0.01
    torch.testing.assert_close(changed, changed[:, :, :1].expand_as(changed), atol=1e-6, rtol=0)
    if name != "gray":
        assert len({tuple(clip.flatten().tolist()) for clip in changed}) == 6


@pytest.mark.parametrize("name", CHANGES)
def test_draws_are_a_function_of_the_seed_and_leave_torch_alone(clips, name):
    augment = Augment(**CHANGES[name])
    state = torch.get_rng_state()
    first = augment(clips, 7)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(augment(clips, 7), first)
    assert torch.equal(Augment(**CHANGES[name])(clips, 7), first)
    if name != "gray":
        assert not torch.equal(augment(clips, 8), first)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    one, other = ([augment(clips, generator) for _ in range(2)] for generator in generators)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert name == "gray" or not torch.equal(one[0], one[1])


def test_colours_are_those_of_torchvision_one_by_one_and_hue_is_a_turn_about_grey(clips):
    """Slow reference: torchvision's functions clip by clip, then a turn about (1, 1, 1) by Rodrigues' formula."""
    clips = 0.4 + 0.2 * clips  # far from black and white, where colours are cut off
    changed = Augment(brightness=0.1, contrast=0.2, saturation=0.3, hue=0.25)(clips, 5)
    draws = 2 * torch.rand(6, len(clips), generator=torch.Generator().manual_seed(5)) - 1
    axis = torch.ones(3, dtype=torch.float64) / 3**0.5
    for clip, result, (brightness, contrast, saturation, hue, _, _) in zip(clips, changed, draws.T.tolist(), strict=True):
        picture = functional.adjust_brightness(clip[:, 0], 1 + 0.1 * brightness)
        picture = functional.adjust_contrast(picture, 1 + 0.2 * contrast)
        picture = functional.adjust_saturation(picture, 1 + 0.3 * saturation).double()
        angle = torch.tensor(2 * torch.pi * 0.25 * hue, dtype=torch.float64)
        along = torch.einsum("c,chw->hw", axis, picture) * axis[:, None, None]
        around = torch.linalg.cross(axis[:, None, None].expand_as(picture), picture, dim=0)
        expected = along + (picture - along) * angle.cos() + around * angle.sin()
        torch.testing.assert_close(result[:, 0].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["colour", "gray"])
def test_colours_change_by_the_strength_that_is_asked_for(clips, name):
    full, half = Augment(**CHANGES[name]), Augment(**{key: value / 2 for key, value in CHANGES[name].items()})
    assert torch.equal(full(clips, 1, strength=0.0), clips)
    assert torch.equal(full(clips, 1, strength=0.5), half(clips, 1))
    assert torch.equal(full(clips, 1, strength=1.0), full(clips, 1))


def test_only_the_share_of_clips_asked_for_is_jittered(clips):
    changed = Augment(brightness=0.5, jitter_probability=0.5)(clips, 1)
    same = torch.tensor([torch.allclose(a, b, atol=1e-6) for a, b in zip(changed, clips, strict=True)])
    assert same.any() and not same.all()


def test_gray_has_equal_channels_and_a_probability(clips):
    changed = Augment(gray_probability=0.5)(clips, 0)
    gray = (changed[:, 0] - changed[:, 1]).abs().amax((1, 2, 3)) < 1e-6
    assert gray.any() and not gray.all()
    torch.testing.assert_close(changed[~gray], clips[~gray], atol=1e-6, rtol=0)


def test_a_mirrored_object_has_the_poses_that_its_picture_shows():
    """The corners of a thing are projected; the picture is turned over, and so is the thing: the poses must agree."""
    generator = torch.Generator().manual_seed(0)
    poses = pose.rigid(pose.exp(torch.randn(8, 2, 3, 3, generator=generator)), torch.tensor([0.2, -0.1, 4.0]))
    corners = torch.rand(20, 3, generator=generator) - 0.5

    def project(poses, corners):
        seen = torch.einsum("...ij,nj->...ni", poses[..., :3, :3], corners) + poses[..., None, :3, 3]
        return seen[..., :2] / seen[..., 2:]

    clips = project(poses, corners)[..., None] * torch.tensor([1.0, -1.0])  # as if a picture's last dimension were its width
    seen, turned = Augment(mirror_probability=0.5).mirrored(clips, poses, 4)
    flags = ~(seen == clips).flatten(1).all(1)
    assert flags.any() and not flags.all() and torch.equal(seen[flags], clips[flags].flip(-1))
    assert torch.equal(turned[~flags], poses[~flags]) and pose.is_rotation(turned[..., :3, :3]).all()
    expected = project(poses, corners) * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(project(turned, corners * torch.tensor([1.0, -1.0, 1.0]))[flags], expected[flags])
    turn = pose.rigid(pose.exp(torch.tensor([0.0, 0.0, 0.4])))  # about the vertical: the other way round in a mirror
    delta = pose.delta(pose.mirrored(poses), pose.mirrored(poses @ turn))
    torch.testing.assert_close(delta, pose.inverse(turn).expand_as(delta), atol=1e-6, rtol=0)


def test_colours_of_a_view_stay_in_a_mirror_and_clips_need_no_poses():
    poses = pose.with_hues(torch.eye(4).expand(5, 2, 1, 4, 4), torch.rand(5, 2, 1, 2))
    clips = torch.rand(5, 2, 3, 1, 4, 6)
    seen, turned = Augment(mirror_probability=1.0).mirrored(clips, poses, 0)
    assert torch.equal(seen, clips.flip(-1)) and torch.equal(pose.hues(turned), pose.hues(poses))
    assert Augment(mirror_probability=1.0).mirrored(clips, None, 0)[1] is None
    assert Augment(hue=0.1).mirrored(clips, poses, 0) == (clips, poses)


def test_processes_side_by_side_draw_what_one_alone_would(clips):
    augment = Augment(hue=0.3, brightness=0.2, gray_probability=0.3, mirror_probability=0.5)
    halves = [augment(half, 4, (rank, 2)) for rank, half in enumerate(clips.chunk(2))]
    torch.testing.assert_close(torch.cat(halves), augment(clips, 4))
    objects, poses = clips.unflatten(0, (6, 1)), torch.eye(4).expand(6, 1, 3, 4, 4)
    both = zip(objects.chunk(2), poses.chunk(2), strict=True)
    halves = [augment.mirrored(*half, 4, (rank, 2)) for rank, half in enumerate(both)]
    for parts, whole in zip(zip(*halves, strict=True), augment.mirrored(objects, poses, 4), strict=True):
        assert torch.equal(torch.cat(parts), whole)


def test_blur_makes_smooth(clips):
    rough = (clips.diff(dim=-1)).abs().mean()
    assert Augment(blur=2.0, blur_probability=1.0)(clips, 0).diff(dim=-1).abs().mean() < 0.7 * rough


def test_clips_of_another_size_or_of_one_frame_pass(clips):
    augment = Augment(**CHANGES["all"])
    assert augment(clips[..., :16, :20], 0).shape == (6, 3, 3, 16, 20)
    assert augment(clips[:1, :, :1], 0).shape == (1, 3, 1, 24, 24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hue": 0.6}, "hue is 0.6, expected 0 to 0.5"),
        ({"brightness": -0.1}, "brightness is -0.1"),
        ({"crop": 0.0}, "crop is 0.0, expected 0 to 1.0, and not 0"),
        ({"blur_probability": 2}, "blur_probability is 2"),
        ({"crop_ratio": (2, 1)}, "crop_ratio is"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment(**settings)


def test_wrong_clips_are_refused(clips):
    for wrong in (clips[0], clips[:, :2], (clips * 255).byte()):
        with pytest.raises(ValueError, match="expected float"):
            Augment(noise=0.1)(wrong, 0)


def test_loaded_frames_become_what_encoders_take():
    frames = torch.randint(0, 256, (2, 3, 4, 8, 9, 3), dtype=torch.uint8)
    clips = to_float(frames)
    assert clips.shape == (2, 3, 3, 4, 8, 9) and clips.dtype == torch.float32 and clips.is_contiguous()
    assert torch.equal(clips[1, 2, 0, 3], frames[1, 2, 3, :, :, 0] / 255)
    flat = clips.flatten(0, 1)
    mean, std = flat.mean((0, 2, 3, 4)), flat.std((0, 2, 3, 4))
    normal = normalise(flat, mean.tolist(), std.tolist())
    torch.testing.assert_close(normal.mean((0, 2, 3, 4)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3, 4)), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_seed_decides_and_its_generator_is_left_alone(clips):
    augment, clips = Augment(**CHANGES["all"]), clips.cuda()
    state = torch.cuda.get_rng_state()
    first = augment(clips, 7)
    assert first.is_cuda and torch.equal(state, torch.cuda.get_rng_state()) and torch.equal(augment(clips, 7), first)
