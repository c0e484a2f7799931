"""A program of torch.export is an encoder, and nothing in its file is run while it is read."""

from __future__ import annotations

import json
import os
import zipfile

import pytest
import torch
from torch import nn

from vsie.encoders.exported import Exported, arithmetic


def export(module, inputs, file, dynamic=None):
    torch.export.save(torch.export.export(module.eval(), (inputs,), dynamic_shapes=dynamic), file)
    return file


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.fixture(scope="module")
def images_file(network, tmp_path_factory):
    return export(network, torch.rand(4, 3, 16, 16), tmp_path_factory.mktemp("exported") / "images.pt2")


@pytest.mark.parametrize("open_shape", [False, True])
def test_images_are_encoded_frame_by_frame_as_by_the_network_itself(network, images_file, tmp_path, open_shape):
    if open_shape:
        auto = torch.export.Dim.AUTO
        images_file = export(network, torch.rand(4, 3, 16, 16), tmp_path / "open.pt2", ({0: auto, 2: auto, 3: auto},))
    encoder = Exported(file=str(images_file)).eval()
    clip = torch.rand(3, 3, 5, 16, 16)  # 15 images: no multiple of the exported batch of 4
    assert (encoder.dim, encoder.stride, encoder.clips) == (6, 1, False)
    with torch.no_grad():
        latents = encoder(clip)
        assert torch.allclose(latents[:, 2], network(clip[:, :, 2]), atol=1e-6)
        if not open_shape:
            with pytest.raises(ValueError, match="images.pt2 takes frames of 16 x 16, found 24 x 24; give size=16"):
                encoder(torch.rand(1, 3, 1, 24, 24))


def test_clips_of_a_fixed_length_give_steps_and_a_still_is_held(tmp_path):
    class Video(nn.Module):
        def forward(self, clip):
            return nn.functional.avg_pool3d(clip, (2, 8, 8)).flatten(3).mean(3).transpose(1, 2)  # (B, T / 2, 3)

    encoder = Exported(file=str(export(Video(), torch.rand(2, 3, 4, 8, 8), tmp_path / "video.pt2"))).eval()
    assert (encoder.dim, encoder.stride, encoder.frames) == (3, 2, 4)
    clip = torch.rand(3, 3, 6, 8, 8)
    means = clip.mean((3, 4)).transpose(1, 2)  # (B, 6, 3)
    assert torch.allclose(encoder(clip), means.unflatten(1, (3, 2)).mean(2), atol=1e-6)
    assert torch.allclose(encoder(clip[:, :, :1]), means[:, :1], atol=1e-6)


def test_sizes_that_are_open_in_a_range_are_kept_to(network, tmp_path):
    side, twice = torch.export.Dim("side", min=80, max=200), 2 * torch.export.Dim("half", min=2, max=5)
    images = export(network, torch.rand(4, 3, 96, 96), tmp_path / "images.pt2", ({2: side, 3: side},))
    assert Exported(file=str(images)).dim == 6

    class Steps(nn.Module):
        def forward(self, clip):
            return clip.mean((3, 4)).unflatten(2, (-1, 2)).mean(3).mT

    clips = export(Steps(), torch.rand(2, 3, 6, 8, 8), tmp_path / "clips.pt2", ({2: twice},))
    encoder = Exported(file=str(clips)).eval()
    assert (encoder.stride, encoder.frames) == (2, 8)  # of 4 to 10 frames; 16 would be too many
    clip = torch.rand(2, 3, 16, 8, 8)
    assert torch.allclose(encoder(clip)[:, 5], clip[:, :, 10:12].mean((2, 3, 4)), atol=1e-6)


@pytest.mark.parametrize("frames", [1, 8, 12, 16, 24])
def test_a_program_that_pools_over_any_length_is_given_spans(tmp_path, frames):
    class Pooled(nn.Module):
        def forward(self, clip):
            return clip.mean((2, 3, 4))

    auto = torch.export.Dim.AUTO
    file = export(Pooled(), torch.rand(2, 3, 8, 8, 8), tmp_path / "pooled.pt2", ({0: auto, 2: auto},))
    encoder = Exported(file=str(file)).eval()
    assert (encoder.stride, encoder.frames) == (8, 8)
    clip = torch.rand(2, 3, frames // 8 * 8 or 1, 8, 8)
    latents = encoder(clip)
    assert latents.shape == (2, encoder.steps(clip.shape[2]), 3)
    assert torch.allclose(latents[:, 0], clip[:, :, :8].mean((2, 3, 4)), atol=1e-6)


def test_what_is_no_encoder_is_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)), x

    with pytest.raises(ValueError, match="two.pt2 gives tuple for .*expected one tensor"):
        Exported(file=str(export(Two(), torch.rand(2, 3, 8, 8), tmp_path / "two.pt2")))
    with pytest.raises(ValueError, match=r"flat.pt2 takes torch.float32 \(2, 5\), expected float32 images"):
        Exported(file=str(export(nn.Linear(5, 2), torch.rand(2, 5), tmp_path / "flat.pt2")))
    with pytest.raises(FileNotFoundError, match="nothing.pt2 is not there"):
        Exported(file=str(tmp_path / "nothing.pt2"))
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(ValueError, match="text.pt2 is not an exported program"):
        Exported(file=str(tmp_path / "text.pt2"))


class Payload:
    """What an attacker would pickle."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def rewritten(source, target, change):
    """A copy of an archive in which `change(name, data)` gives each member's bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), change(name, old.read(name)))
    return target


def test_pickled_code_is_never_run(images_file, tmp_path):
    marker = tmp_path / "marker"
    torch.save({"x": Payload(marker)}, tmp_path / "payload.pt")
    payload, hit = (tmp_path / "payload.pt").read_bytes(), []

    def change(name, data):
        pickled = "/data/" in name and data[:2] == b"PK"  # the sample inputs are always pickled
        hit.append(pickled)
        return payload if pickled else data

    file = rewritten(images_file, tmp_path / "evil.pt2", change)
    assert any(hit)
    with pytest.raises(ValueError, match="evil.pt2 could not be read"):
        Exported(file=str(file))
    assert not marker.exists() and "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("torch.ops.aten.relu.default", "torch.serialization.os.system", "calls 'torch.serialization.os.system'"),
        ("torch.ops.aten.relu.default", "builtins.eval", "expected operators of torch"),
    ],
)
def test_functions_that_are_no_operators_are_refused(images_file, tmp_path, old, new, said):
    file = rewritten(images_file, tmp_path / "evil.pt2", lambda _, data: data.replace(old.encode(), new.encode()))
    with pytest.raises(ValueError, match=said):
        Exported(file=str(file))


def test_compiled_code_and_expressions_that_call_are_refused(images_file, tmp_path):
    with zipfile.ZipFile(rewritten(images_file, tmp_path / "library.pt2", lambda _, data: data), "a") as archive:
        archive.writestr("images/data/aotinductor/model/x.so", b"")
    with pytest.raises(ValueError, match="holds compiled code"):
        Exported(file=str(tmp_path / "library.pt2"))

    def change(name, data):
        if not name.endswith("models/model.json"):
            return data
        document = json.loads(data)
        document["range_constraints"] = {"__import__('os').mkdir('x')": {"min_val": 0, "max_val": 1}}
        return json.dumps(document).encode()

    with pytest.raises(ValueError, match="expected arithmetic"):
        Exported(file=str(rewritten(images_file, tmp_path / "size.pt2", change)))


def test_arithmetic_knows_what_torch_writes_from_what_could_be_called():
    good = ("s31", "Symbol('s16', positive=True, integer=True)", "2*s0 + 1", "Max(1, s0) <= 8",
            "Add(FloorDiv(Add(Symbol('s1', integer=True), Integer(-1)), 2), 1)")  # fmt: skip
    bad = ("eval('1')", "().__class__", "Symbol('s1').evalf()", "[x for x in y]", "Integer(open('f'))", "Symbol('__x__ y')",
           "a;b", "lambda: 1", "f'{x}'", "s0.shape")  # fmt: skip
    assert all(arithmetic(text) for text in good) and not any(arithmetic(text) for text in bad)
