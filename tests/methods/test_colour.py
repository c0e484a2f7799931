"""Conditioning on rotation and colour (SIE's ablation): from the files on disk to the loss and to steering."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from tests.evaluation.synthetic import three_die_bench
from tests.methods.common import build, random_poses
from vsie import components, pipeline, pose
from vsie.config import compose
from vsie.data import WindowsDataset, load
from vsie.evaluation import steering
from vsie.evaluation.inputs import view_poses
from vsie.methods.conditioning import Conditioning


def coloured(*shape: int, seed: int = 1) -> torch.Tensor:
    hues = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(seed))
    return pose.with_hues(random_poses(*shape, seed=seed), hues)


@pytest.mark.parametrize("colour", ["difference", "circle"])
@pytest.mark.parametrize("frame", ["body", "camera"])
def test_what_is_told_is_the_rotation_and_behind_it_how_the_hues_differ(frame, colour):
    source, target = coloured(20), coloured(20, seed=2)
    conditioning = Conditioning(encoding="quaternion_raw", frame=frame, centred=False, colour=colour)
    found, plain = conditioning(source, target), Conditioning(encoding="quaternion_raw", frame=frame, centred=False)
    assert found.shape == (20, conditioning.width)
    assert torch.equal(found[:, :4], plain(source[..., :4], target[..., :4]))
    for row in range(20):
        for hue in range(2):
            turn = target[row, hue, 4] - source[row, hue, 4]
            if colour == "difference":
                wanted = turn[None]
            else:
                wanted = torch.stack([torch.cos(2 * torch.pi * turn), torch.sin(2 * torch.pi * turn)])
            assert torch.allclose(found[row, 4 + hue :: 2], wanted, atol=1e-6)
    motion = pose.delta(source, target, frame)
    assert torch.allclose(motion[..., :4], pose.delta(source[..., :4], target[..., :4], frame))
    assert torch.allclose(conditioning.of_motion(motion)[:, 4:], found[:, 4:], atol=1e-6)
    stays = pose.with_hues(target[..., :4], pose.hues(source))  # a motion without hues leaves them
    assert torch.allclose(conditioning.of_motion(motion[..., :4])[:, 4:], conditioning(source, stays)[:, 4:], atol=1e-6)


def test_sie_on_rotation_and_colour_is_a_matrix_of_six_numbers():
    method = build("sie", "conditioning.colour=difference")
    latents, poses = torch.randn(6, 3, 32), coloured(6, 3)
    torch.manual_seed(3)
    terms = method.terms(latents, poses)
    torch.manual_seed(3)
    source, target = (index[:, 0] for index in method.draw_pairs(latents))  # of 3 views one pair
    errors, predictions = [], []
    for row, (i, j) in enumerate(zip(source, target, strict=True)):
        quaternion = pose.encode_pair(poses[row, i], poses[row, j], frame="body", encoding="quaternion_raw")
        numbers = [*quaternion, poses[row, j, 0, 4] - poses[row, i, 0, 4], poses[row, j, 1, 4] - poses[row, i, 1, 4]]
        matrix = sum(number * matrix for number, matrix in zip(numbers, method.predictor.matrices, strict=True))
        embedded = [method.equivariant_projector(latents[row, view][None, 16:])[0] for view in (i, j)]
        predictions.append(matrix @ embedded[0])
        errors.append((predictions[-1] - embedded[1]).square().mean())
    assert terms["equivariance"].item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)
    deviation = (torch.stack(predictions).var(0) + 1e-4).sqrt()
    assert terms["predicted_variance"].item() == pytest.approx((torch.relu(1 - deviation).mean() / 2).item(), rel=1e-4)


@pytest.mark.parametrize("name", [n for n in components.names("methods") if n != "trajectory"])
def test_a_step_with_hues_runs_in_every_method(name):
    method = build(name, "conditioning.colour=circle")
    poses, other = coloured(40), coloured(40, seed=2)
    method.fit(poses, other)
    outputs = method(torch.rand(4, 4, 3, 1, 16, 16), coloured(4, 4, 1), *([torch.arange(4) % 3] if method.needs_labels else []))
    assert outputs.loss.isfinite()


def test_windows_bring_the_hues_that_rendered_clips_keep(clips):
    manifest = load(clips)
    options = dict(windows=3, frames=2, spacing=(1, 2))
    dataset, plain = WindowsDataset(manifest, "train", hues=True, **options), WindowsDataset(manifest, "train", **options)
    batch, without = dataset.__getitems__([0, 3]), plain.__getitems__([0, 3])
    assert batch["poses"].shape == (2, 3, 2, 4, 5) and torch.equal(batch["poses"][..., :4], without["poses"])
    assert "latents" not in without  # what is not asked for is not read
    for item, window in itertools.product(range(2), range(3)):
        mine = (manifest.object == int(batch["object"][item])) & (manifest.clip == int(batch["clip"][item, window]))
        kept = np.load(manifest.pose_file(int(np.flatnonzero(mine)[0])))
        frames = np.searchsorted(kept["times"], batch["times"][item, window].numpy())
        np.testing.assert_allclose(batch["poses"][item, window, :, :2, 4], kept["latents"][frames][:, [3, 6]], atol=1e-6)


def test_data_that_does_not_know_its_hues_is_refused(clips):
    manifest = dataclasses.replace(load(clips), latent_names=())
    with pytest.raises(ValueError, match="manifest.csv: the frames' floor_hue, spot_hue are not known"):
        WindowsDataset(manifest, "train", hues=True)


class Hue(steering.Identity):
    """Two dimensions that turn with the floor's hue, told of nothing else."""

    uses_colour = True

    def expand(self, embedded):
        x, y = embedded.unbind(-1)
        return torch.stack([embedded, torch.stack([-y, x], -1)], -2)

    def pair_coefficients(self, source, target):
        turn = 2 * torch.pi * (pose.hues(target) - pose.hues(source))[..., 0]
        return torch.stack([turn.cos(), turn.sin()], -1)


def test_steering_is_told_the_hues_of_both_views():
    data = three_die_bench(objects=4, views=6)
    turn = 2 * np.pi * data.latent("floor_hue")
    embedded = torch.from_numpy(np.stack([np.cos(turn), np.sin(turn)], -1)).float()
    poses = view_poses(Hue(), data)
    assert poses.shape == (len(embedded), 4, 5) and view_poses(steering.Identity(), data).shape[-1] == 4
    found = steering.retrieve(Hue(), embedded, data).metrics()
    ignored = steering.retrieve(steering.Identity(), embedded, data).metrics()
    assert found["hit@1"] > 0.999 and ignored["hit@1"] < 0.5
    with pytest.raises(ValueError, match="the features have no floor_hue and spot_hue"):
        view_poses(Hue(), dataclasses.replace(data, latents=None, latent_names=()))


def test_hues_that_are_told_are_not_changed_in_the_pictures(tmp_path):
    with pytest.raises(ValueError, match="tells hues that data.augment.hue"):
        pipeline.train(compose("train", ["conditioning.colour=difference", f"out={tmp_path / 'run'}"]))
    assert not (tmp_path / "run" / "checkpoint").exists()
