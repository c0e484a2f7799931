"""Every encoder keeps the contract: (B, 3, T, H, W) -> (B, S, D), a still is a clip with T = 1."""

from __future__ import annotations

import pytest
import torch

from vsie import components
from vsie.encoders.frame import Frame, torchvision_backbone

CASES = [
    ("frame", dict(widths=(8, 16), depths=(1,), dim=32)),
    ("frame", dict(widths=(8, 16), depths=(1,), dim=32, mixing=2, norm="group")),
    ("frame", dict(backbone="resnet18", dim=None)),
    ("frame", dict(backbone="mobilenet_v3_small", dim=64, mixing=1)),
    ("torchvision", dict(backbone="r3d_18")),
    ("torchvision", dict(backbone="s3d", dim=64)),
    ("torchvision", dict(backbone="mc3_18")),
    ("pytorchvideo", dict(backbone="x3d_xs")),
    ("pytorchvideo", dict(backbone="slow_r50", dim=32)),
]


@pytest.mark.parametrize("name, options", CASES, ids=[f"{n}-{o.get('backbone', 'small')}" for n, o in CASES])
def test_contract(name, options):
    torch.manual_seed(0)
    encoder = components.build("encoders", name, **options).eval()
    with torch.no_grad():
        for frames in (1, 8, 16):
            latents = encoder(torch.rand(2, 3, frames, 32, 32))
            assert latents.shape == (2, encoder.steps(frames), encoder.dim)
            assert encoder.step_times(torch.arange(frames).double()).shape == (encoder.steps(frames),)
            assert latents.isfinite().all()
    if encoder.stride > 1:
        with pytest.raises(ValueError, match=f"9 frames cannot be cut into steps of {encoder.stride}"):
            encoder(torch.rand(1, 3, 9, 32, 32))
    with pytest.raises(ValueError, match="found"):
        encoder(torch.rand(2, 3, 32, 32))


def test_step_times_are_the_middle_of_the_frames_of_a_step():
    encoder = components.build("encoders", "torchvision", backbone="r3d_18")
    assert encoder.step_times(torch.arange(16).double()).tolist() == [3.5, 11.5]


def test_mixing_starts_as_the_identity_and_then_sees_the_other_frames():
    torch.manual_seed(0)
    encoder = components.build("encoders", "frame", widths=(8, 16), depths=(1,), dim=32, mixing=1).eval()
    clip = torch.rand(1, 3, 4, 32, 32)
    with torch.no_grad():
        alone = torch.cat([encoder(clip[:, :, i : i + 1]) for i in range(4)], 1)
        assert (encoder(clip) - alone).abs().max() < 1e-5
        torch.nn.init.normal_(encoder.mixing[0].out.weight)
        changed = clip.clone()
        changed[:, :, 3] = 0
        assert (encoder(clip) - encoder(changed))[:, 0].abs().max() > 1e-3


def test_the_first_share_of_the_latent_is_each_frames_own():
    torch.manual_seed(0)
    encoder = components.build("encoders", "frame", widths=[4, 8], depths=[1], dim=8, mixing=2, heads=2, framewise=0.25).eval()
    for block in encoder.mixing:
        torch.nn.init.normal_(block.out.weight)
        torch.nn.init.normal_(block.feed[-1].weight)
    clip = torch.rand(2, 3, 4, 16, 16)
    together = encoder(clip)
    alone = torch.cat([encoder(clip[:, :, i : i + 1]) for i in range(4)], 1)
    assert (together - alone)[..., :2].abs().max() < 1e-5
    assert (together - alone)[..., 2:].abs().amin((0, 1)).max() > 1e-3
    with pytest.raises(ValueError, match="encoder.framewise is 1"):
        components.build("encoders", "frame", framewise=1.0)


def test_unknown_names_tell_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        components.build("encoders", "frame", backbone="resnet-18")
    with pytest.raises(ValueError, match="did you mean 'frame'"):
        components.build("encoders", "frames")
    with pytest.raises(ValueError, match="did you mean 'mixing'"):
        components.build("encoders", "frame", mixin=1)
    with pytest.raises(ValueError, match="did you mean 'r3d_18'"):
        components.build("encoders", "torchvision", backbone="r3d18")


def test_images_are_normalised_by_the_given_mean_and_std():
    torch.manual_seed(0)
    plain, other = Frame(dim=8), Frame(dim=8, mean=(0.5016, 0.5037, 0.5060), std=(0.1030, 0.0999, 0.0969))
    other.load_state_dict(plain.state_dict())  # neither is a weight
    clip = torch.rand(2, 3, 1, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ((0.5016, 0.5037, 0.5060), (0.1030, 0.0999, 0.0969)))
    same = (clip - mean) / std * 0.25 + 0.5
    torch.testing.assert_close(other.eval()(clip), plain.eval()(same), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="encoder.std is"):
        Frame(std=(0.1, 0.0, 0.1))


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("name", "size"), [("maxvit_t", 224), ("googlenet", 64), ("mobilenet_v3_small", 32), ("convnext_tiny", 32)]
)
def test_features_of_torchvisions_networks_are_pooled_and_as_wide_as_said(name, size):
    network, width = torchvision_backbone(name, None)
    for training in (False, True):
        with torch.no_grad():
            assert network.train(training)(torch.rand(2, 3, size, size)).shape == (2, width)
    assert not any(isinstance(layer, torch.nn.Dropout) for layer in list(network.children())[-1].modules())
