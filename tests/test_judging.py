"""Any encoder, and features made elsewhere, are judged by the same measures as a run of ours."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import features
from tests.test_config import run
from vsie import judging
from vsie.config import compose
from vsie.encoders.frame import load_network
from vsie.evaluation import suite
from vsie.features import Backbone, Whole


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A file of features, and the same as `Features`."""
    sets = features(objects=14, clips=1, frames=4, seed=1), features(objects=8, clips=1, frames=4, first_object=14, seed=2)
    file = tmp_path_factory.mktemp("elsewhere") / "made.npz"
    columns = {"features": "image", "poses": "poses", "times": "times", "labels": "labels", "objects": "objects"}
    arrays = {key: np.concatenate([getattr(part, name) for part in sets]) for key, name in columns.items()}
    np.savez(file, **arrays, split=np.array(["train"] * 14 + ["val"] * 8))
    return file, sets


def test_a_features_file_gets_the_numbers_of_the_suite_and_lines_for_what_it_lacks(elsewhere, tmp_path, capsys):
    file, sets = elsewhere
    protocols = ["classification", "ladder", "lie"]
    metrics = judging.judge_features(file, out=tmp_path / "judged", protocols=protocols)
    whole = [type(part)(**{**vars(part), "invariant_dim": 0}) for part in sets]
    wanted = suite.evaluate(*whole, protocols=protocols, progress=False).metrics
    assert metrics == pytest.approx(wanted, nan_ok=True) and "ladder/conditional/all" in metrics
    assert not any(key.split("/")[-1] in ("inv", "equi") for key in metrics)
    kept = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert kept["classification/top1/all"] == metrics["classification/top1/all"]
    said = capsys.readouterr().out
    for line in ("no predictor; what needs one is left out", "group-law and inverse defects skipped", "lie skipped"):
        assert line in said


def test_what_a_file_does_not_know_is_not_asked(elsewhere, tmp_path, capsys):
    with np.load(elsewhere[0]) as stored:
        columns = {name: stored[name] for name in stored.files if name not in ("poses", "labels")}
    np.savez(tmp_path / "bare.npz", **columns)
    assert judging.judge_features(tmp_path / "bare.npz", out=tmp_path / "judged", protocols=["classification", "pose"]) == {}
    said = capsys.readouterr().out
    assert "no classification: " in said and "no pose: " in said and "bare.npz has clips without poses" in said


def test_the_tool_judges_an_untrained_network_of_torchvision(clips, tools, tmp_path):
    arguments = ("encoder=torchvision/resnet18", "weights=random", f"data={clips}", "out=judged", "protocol=classification")
    result = run(tools, "evaluate", *arguments, cwd=tmp_path, env=os.environ | {"VSIE_DATA": str(tmp_path / "cache")})
    assert result.returncode == 0, result.stderr[-3000:]
    metrics = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert 0 < metrics["classification/top1/all"] <= 1 and "classification/top1/inv" not in metrics
    assert "weights are random (seed 0), nothing was learned" in result.stdout
    assert "no split and no predictor" in result.stdout


def test_weights_come_from_a_local_file_without_its_classifier(tmp_path):
    torch.manual_seed(3)
    network = load_network("resnet18", None)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    encoder = judging.build("torchvision/resnet18", str(tmp_path / "weights.pth"))
    own = encoder.backbone.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())
    assert encoder.dim == 512 and encoder.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    state.pop("conv1.weight")
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="weights.pth holds weights of another network than ResNet: conv1.weight is missing"):
        judging.build("torchvision/resnet18", str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    "name, weights, said",
    [
        ("torchvison/resnet18", "random", "expected torchvision/NETWORK.*did you mean 'torchvision'"),
        ("resnet18", "random", "expected torchvision/NETWORK"),
        ("torchvision/resnet19", "random", "did you mean 'resnet18'|did you mean 'resnet1"),
        ("pytorchvideo/x3d_xs", None, "give weights=FILE .* or weights=random"),
        ("pytorchvideo/x3d_zz", "random", "is not one of x3d_xs"),
        ("torchvision/resnet18", "NOT_A_NAME", "could not be loaded .*or weights=random to judge the untrained network"),
    ],
)
def test_a_wrong_encoder_says_what_would_be_right(name, weights, said):
    with pytest.raises(ValueError, match=said):
        judging.build(name, weights)
    with pytest.raises(FileNotFoundError, match="none.pth is not there"):
        judging.build("torchvision/resnet18", "none.pth")


def test_options_called_like_a_folder_of_configs_are_words_here():
    config = compose("evaluate", ["encoder=torchvision/resnet18", "data=clips/manifest.csv", "out=x"])
    assert config.manifest == "clips/manifest.csv"
    assert config.network == "torchvision/resnet18" and config.checkpoint is None


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "give one of checkpoint=RUN, encoder=NAME, features=FILE.npz; found none"),
        (("features=a.npz", "encoder=b.pt2"), "found encoder, features"),
        (("features=a.npz", "out=x", "size=224"), "size=224 does not go with features="),
        (("features=a.npz",), "out is missing"),
    ],
)
def test_the_tool_refuses_what_does_not_go_together(tools, arguments, said, capsys, monkeypatch):
    import runpy

    monkeypatch.setattr("sys.argv", ["evaluate.py", *arguments])
    with pytest.raises(SystemExit):
        runpy.run_path(str(tools / "evaluate.py"), run_name="__main__")
    assert said in capsys.readouterr().err


def test_networks_see_together_what_they_can():
    image, video = judging.build("torchvision/resnet18", "random"), judging.build("torchvision/mc3_18", "random")
    assert judging.together(image, None, 40) == 1 and judging.together(video, None, 40) == 16
    assert judging.together(video, 4, 40) == 4
    video.stride = 8
    assert judging.together(video, None, 12) == 8 and judging.together(video, None, 40) == 16
    video.stride = 1
    with pytest.raises(ValueError, match="sees single images"):
        judging.together(image, 4, 40)


def test_the_raw_backbone_is_what_comes_before_head_and_mixing():
    from vsie.components import build

    torch.manual_seed(0)
    encoder = build("encoders", "frame", widths=(8, 16), depths=(1,), dim=12, mixing=1).eval()
    clip = torch.rand(2, 3, 4, 16, 16)
    raw = Whole(Backbone(encoder)).eval().encoder(clip)
    slow = torch.stack([encoder.backbone((clip[:, :, t] - 0.5) / 0.25).mean((2, 3)) for t in range(4)], 1)
    assert raw.shape == (2, 4, 16) and torch.allclose(raw, slow, atol=1e-6)
    assert Backbone.differs(encoder) and not Backbone.differs(judging.build("torchvision/resnet18", "random"))


def test_a_video_network_is_judged_layer_by_layer(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))
    torch.manual_seed(0)
    options = {"weights": "random", "data": str(clips), "protocols": ["layers"], "out": tmp_path / "judged", "frames": 4}
    metrics = judging.judge_encoder("pytorchvideo/x3d_xs", **options)
    assert metrics["layers/class_linear/00-backbone.0/all/null"] > 0
    assert sum(key.startswith("layers/identity/") and key.endswith("/all") for key in metrics) == 13  # twelve blocks, the latent
    assert (tmp_path / "judged" / "layers.png").is_file() and (tmp_path / "judged" / "layers.csv").is_file()
