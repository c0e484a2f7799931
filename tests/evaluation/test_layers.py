"""Layer curves say where a network loses what: streamed figures equal those of whole arrays."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import BlockSteering, features
from vsie import pose
from vsie.encoders.base import Encoder
from vsie.evaluation import bootstrap, ladder, layers, seis, suite
from vsie.evaluation.inputs import Live
from vsie.report import figures
from vsie.told import marked


def turned(number: int, seed: int):
    """Objects on a turntable of 8 steps of 45 degrees: maps that turn by a shift, are kept, or are noise."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(8) * math.pi / 4
    poses = pose.rigid(pose.exp(angle[:, None].double() * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)))
    for item in range(number):
        base = torch.randn(3, 4, 8, generator=generator)
        moving = torch.stack([base.roll(step, -1) for step in range(8)])
        still = base[None].expand(8, -1, -1, -1) + 0.05 * torch.randn(8, 3, 4, 8, generator=generator)
        noise = torch.randn(8, 3, 4, 8, generator=generator)
        vectors = moving.flatten(1)[:, :24] + 0.01 * torch.randn(8, 24, generator=generator)
        yield layers.Seen({"a": still, "b": moving, "c": noise, "d:all": vectors}, poses, 100 * seed + item, item % 3)


FIXED = ladder.FixedMotion(pose.rigid(pose.exp(torch.tensor([0.0, 0.0, math.pi / 4], dtype=torch.float64))), 3.0)


@pytest.fixture(scope="module")
def found():
    return layers.curves(turned(60, 1), turned(30, 2), FIXED)[0]


def test_positions_tell_kept_from_moved_from_destroyed(found):
    """A shift is a permutation of positions: all of the information, none of it where it was; noise has neither."""
    assert found["a"]["seis_space_equiv"].value > 0.95 and found["a"]["seis_space_inv"].value > 0.9
    assert found["b"]["seis_space_equiv"].value > 0.999 and found["b"]["seis_space_inv"].value < 0.5
    assert abs(found["c"]["seis_space_equiv"].value) < 0.1
    for name in "abc":
        own = found[name]["seis_space_equiv"]
        assert own.interval[0] <= own.value <= own.interval[1] and abs(own.null) < 0.1
    assert "seis_space_equiv" not in found["d:all"]  # vectors have no positions


def test_streamed_figures_are_those_of_whole_arrays(found):
    """Against SEIS and the ladder on everything at once."""
    sets = []
    for seen in (list(turned(60, 1)), list(turned(30, 2))):
        pairs = [layers.pairs_of(one.poses, FIXED, "body") for one in seen]
        assert all(sorted(p[1].sub(p[0]).remainder(8).unique().tolist()) == [1] and p.shape[1] == 8 for p in pairs)
        sets.append((seen, pairs))

    def whole(name, part, function):
        seen, pairs = sets[part]
        both = list(zip(seen, pairs, strict=True))
        return tuple(torch.cat([function(one.activations[name][p[side]]) for one, p in both]) for side in (0, 1))

    objects = np.repeat([one.object for one in sets[1][0]], 8)
    maps = seis.held_out(whole("a", 0, seis.matricise), whole("a", 1, seis.matricise), np.repeat(objects, 3))
    assert found["a"]["seis_space_equiv"].value == pytest.approx(maps.equiv, abs=1e-6)
    assert found["a"]["seis_space_inv"].value == pytest.approx(maps.inv, abs=1e-6)
    assert found["a"]["seis_space_inv"].interval == pytest.approx(maps.inv_interval, abs=1e-6)
    vectors = ladder.ladder(whole("d:all", 0, torch.clone), whole("d:all", 1, torch.clone), objects)
    assert {rung: found["d:all"][rung].value for rung in ladder.RUNGS} == pytest.approx(vectors.scores, abs=1e-9)


def test_a_shared_motion_is_needed():
    other = ladder.FixedMotion(pose.rigid(pose.exp(torch.tensor([0.0, 0.0, 0.4], dtype=torch.float64))), 3.0)
    with pytest.raises(ValueError, match="0 train and 0 test pairs share the motion"):
        layers.curves(turned(4, 1), turned(4, 2), other)


class Pixels(Encoder):
    """A backbone that keeps the picture, a head that keeps some of its pixels."""

    dim, stride = 26, 1

    def __init__(self):
        super().__init__()
        second = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.Tanh())
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), second)
        self.head = torch.nn.Linear(4 * 64, self.dim)

    def forward(self, clip):
        count = len(clip)
        return self.head(self.backbone(clip.transpose(1, 2).flatten(0, 1)).flatten(1)).unflatten(0, (count, -1))


@pytest.fixture(scope="module")
def judged():
    torch.manual_seed(0)
    encoder = Pixels().eval()
    sets, clips = [], []
    for seed, first in ((1, 0), (2, 1000)):
        data = features(objects=16, clips=2, frames=6, first_object=first, seed=seed, noise=0.0)
        number = data.image.shape[:2]
        rng = np.random.default_rng(0)
        draw = rng.normal(size=(data.image.shape[-1], 8 * 8 * 3))  # pictures that show what the features know
        video = np.clip(60 * (data.image @ draw / 4 + 2), 0, 255).astype(np.uint8).reshape(*number, 8, 8, 3)
        with torch.no_grad():
            pixels = torch.from_numpy(video).permute(0, 4, 1, 2, 3).float() / 255
            latents = encoder(pixels).numpy()
        sets.append(dataclasses.replace(data, image=latents, clip=latents, invariant_dim=8))
        clips.append([{"frames": frames} for frames in video])
    live = Live(encoder=encoder, train=clips[0], test=clips[1], window=(1, 1))
    return suite.evaluate(*sets, live=live, protocols=["layers", "lie", "correlation", "position"], progress=False), sets


def test_the_suite_names_every_layer_and_part_in_order(judged, tmp_path):
    result, _ = judged
    rows = figures.layer_rows({**result.metrics, **result.intervals})
    assert sorted({row["layer"] for row in rows}) == ["00-backbone.0", "01-backbone.1", "02-head"]
    assert {row["part"] for row in rows if row["layer"] == "02-head"} == {"inv", "equi", "all"}
    assert {row["part"] for row in rows if row["layer"] != "02-head"} == {"all"}
    assert {row["measure"] for row in rows if row["layer"] == "00-backbone.0"} == set(layers.MEASURES)
    for row in rows:
        if row["measure"] != "rank":
            assert math.isfinite(row["null"]) and row["low"] <= row["high"], row
    # averaged over positions a picture knows less of the pose than its pixels
    pose_of = {(row["layer"], row["part"]): row["value"] for row in rows if row["measure"] == "pose_linear"}
    assert pose_of["02-head", "all"] > pose_of["00-backbone.0", "all"] + 0.2
    file = figures.layer_curves({**result.metrics, **result.intervals}, tmp_path / "layers.png")
    assert file.stat().st_size > 10_000
    json.dumps(result.metrics)


def test_layers_against_estimated_motion_are_drawn_and_say_so(judged, tmp_path):
    told = marked(dataclasses.replace(judged[0], notes=[]), [])
    assert not any(key.startswith("layers/") for key in told.metrics)
    rows, known = (figures.layer_rows({**one.metrics, **one.intervals}) for one in (told, judged[0]))
    assert rows == [row | {"poses": "estimated"} for row in known]
    drawn = []
    save = figures._save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_save", lambda figure, out: drawn.append(figure) or save(figure, out))
        figures.layer_curves({**told.metrics, **told.intervals}, tmp_path / "layers.png")
    assert all(axes.get_title("left").endswith("against estimated motion") for axes in drawn[0].axes)


def test_where_clips_have_their_own_poses_sums_are_of_objects_and_a_stranger_is_another_object(found, monkeypatch):
    """Each object in two clips, one after the other: nothing is different but the number of clips."""

    def halves(stream):
        for seen in stream:
            for part in (slice(0, 4), slice(4, 8)):
                own = {name: values[part] for name, values in seen.activations.items()}
                yield dataclasses.replace(seen, activations=own, poses=seen.poses[part])

    space, shown = layers._Space(), []
    for seen in halves(turned(20, 1)):
        _, _, target, other = next(space._sides(seen, layers.pairs_of(seen.poses, FIXED, "body")))
        shown.append((target, other))
    for number, (_, other) in enumerate(shown):
        if number < 2:
            assert other is None
        else:
            torch.testing.assert_close(other, shown[number // 2 * 2 - 1][0])  # the last clip of the object before
    resampled, interval = [], bootstrap.sums_interval
    monkeypatch.setattr(bootstrap, "sums_interval", lambda sums, *a, **o: resampled.append(len(sums)) or interval(sums, *a, **o))
    split, _ = layers.curves(halves(turned(60, 1)), halves(turned(30, 2)), FIXED, anchored=False)
    assert set(resampled) == {30} and all(abs(split[name]["seis_space_equiv"].null) < 0.1 for name in "abc")
    assert all("pose_linear" not in own for own in split.values()) and "pose_linear" in found["d:all"]


def test_images_are_moved_in_the_plane_part_by_part(judged):
    result, sets = judged
    metrics = result.metrics
    for motion in ("translation_x", "rotation", "scale", "shear_y"):
        for part in ("inv", "equi", "all"):
            key = f"lie/plane/{motion}/{part}"
            assert metrics[key] > 0 and metrics[f"{key}/relative"] > 0 and metrics[f"{key}/gain"] > 0
        weighted = 8 * metrics[f"lie/plane/{motion}/inv"] + 18 * metrics[f"lie/plane/{motion}/equi"]
        assert metrics[f"lie/plane/{motion}/all"] == pytest.approx(weighted / 26)
    assert any("rendered turns skipped" in note for note in result.notes)
    # moved back, a 1 x 1 convolution has no derivative but what resampling twice costs
    assert metrics["lie/block/translation_x/backbone.0"] < 0.05 * metrics["lie/plane/translation_x/all"]
    # a 1 x 1 convolution commutes with any motion of the pixels
    moved = metrics["correlation/equivariance@translation_x/backbone.0"]
    assert moved > 0.99 and moved > metrics["correlation/invariance@translation_x/backbone.0"]


def test_without_the_encoder_a_line_says_what_is_left_out():
    sets = features(objects=6, frames=3, seed=1), features(objects=6, frames=3, first_object=100, seed=2)
    result = suite.evaluate(*sets, steering=BlockSteering(), protocols=["layers", "correlation", "lie"], progress=False)
    for name in ("layers skipped", "correlation skipped", "lie: the plane and small rendered turns are skipped"):
        assert any(name in note for note in result.notes), name
    assert "lie/ratio" in result.metrics
