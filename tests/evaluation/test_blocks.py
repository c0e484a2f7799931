"""Blocks of networks of every family are found by their structure, and their activations have one form."""

from __future__ import annotations

import pytest
import torch

from vsie import judging
from vsie.components import build
from vsie.evaluation import blocks

FAMILIES = {
    "torchvision/resnet18": ["conv1", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))],
    "torchvision/vit_b_32": ["conv_proj", *(f"encoder.layers.encoder_layer_{i}" for i in range(12))],
    "torchvision/mobilenet_v2": [f"features.{i}" for i in range(19)],
    "torchvision/mc3_18": ["0", *(f"{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))],
    "pytorchvideo/x3d_xs": ["0", *(f"{i}.res_blocks.{j}" for i, n in ((1, 3), (2, 5), (3, 11), (4, 7)) for j in range(n))],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_are_what_the_network_repeats(name):
    with torch.device("meta"):  # names need no weights
        encoder = judging.build(name, "random") if "/x3d" not in name and "vit" not in name else None
    encoder = encoder or judging.build(name, "random")
    assert [key.removeprefix("backbone.") for key in blocks.of_encoder(encoder, most=99)] == FAMILIES[name]
    few = [key.removeprefix("backbone.") for key in blocks.of_encoder(encoder, most=4)]
    assert len(few) == 4 and few[0] == FAMILIES[name][0] and few[-1] == FAMILIES[name][-1]


def test_activations_are_those_of_the_modules_run_by_hand():
    torch.manual_seed(0)
    encoder = build("encoders", "frame", widths=(6, 10), depths=(1,), dim=8, mixing=1, heads=2).eval()
    torch.nn.init.normal_(encoder.mixing[0].out.weight)
    chosen = blocks.of_encoder(encoder)
    assert list(chosen) == ["backbone.stem", "backbone.stages.0.0", "head", "mixing.0"]
    clip = torch.rand(2, 3, 3, 16, 16)
    found = blocks.Taps(encoder, chosen, side=4)(clip)
    with torch.no_grad():
        images = clip.transpose(1, 2).flatten(0, 1)  # clips' frames in a row
        stem = encoder.backbone.stem((images - 0.5) / 0.25)
        stage = encoder.backbone.stages[0](stem)
        head = encoder.head(stage.mean((2, 3)))
    assert found["backbone.stem"].shape == (6, 6, 4, 4)
    assert torch.allclose(found["backbone.stem"], stem.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)), atol=1e-5)
    assert torch.allclose(found["backbone.stages.0.0"], stage, atol=1e-5)
    assert torch.allclose(found["head"], head, atol=1e-5)
    assert torch.allclose(found["mixing.0"], encoder(clip).flatten(0, 1), atol=1e-5)
    assert torch.equal(found["latent"], found["mixing.0"])
    assert not any(module._forward_hooks for module in encoder.modules())


def test_video_maps_have_a_row_a_step_and_tokens_are_a_map():
    encoder = build("encoders", "torchvision", backbone="r3d_18").eval()
    found = blocks.Taps(encoder, blocks.of_encoder(encoder, most=2))(torch.rand(1, 3, 16, 16, 16))
    assert [tuple(value.shape[:2]) for value in found.values()] == [(2, 64), (2, 512), (2, 512)]  # two steps of eight frames
    tokens = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    assert torch.equal(blocks._tokens(tokens)[0, :, 1, 0], tokens[0, 3])  # the class token is left out
    assert torch.equal(blocks._tokens(tokens[:, :3]), tokens[:, :3].mean(1))
    assert torch.equal(blocks.pooled(torch.ones(2, 3, 4, 4)), torch.ones(2, 3))
