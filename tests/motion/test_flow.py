"""Flow of a known shift, of rendered clips, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.motion.scenes import rendered, texture
from vsie import components
from vsie.motion.fields import Fields, consistency, follow, neighbours, pixel_grid, sample
from vsie.motion.flow.dis import Dis
from vsie.motion.flow.farneback import Farneback
from vsie.motion.flow.raft import Raft


def shifted(x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    picture = texture(112)
    return picture[8:104, 8:104][None], picture[8 - y : 104 - y, 8 - x : 104 - x][None]


@pytest.mark.parametrize("estimator", [Dis(workers=1), Farneback(workers=1)], ids=["dis", "farneback"])
def test_a_shift_is_found(estimator):
    found = estimator.pairs(*shifted(3, -2))
    assert found.shape == (1, 96, 96, 2) and found.dtype == np.float32
    error = np.linalg.norm(found - np.array([3, -2]), axis=-1)[0, 12:-12, 12:-12]
    assert np.median(error) < 0.4 and np.quantile(error, 0.75) < 1


def test_threads_change_nothing():
    first, second = (np.concatenate(part) for part in zip(shifted(1, 2), shifted(-2, 0), shifted(0, 3), strict=True))
    np.testing.assert_array_equal(Dis(workers=1).pairs(first, second), Dis(workers=3).pairs(first, second))


def test_flow_inside_a_rendered_object():
    frames, arrays = rendered("turntable", "laptop")
    mask = arrays["mask"][:-1] & ~arrays["occlusion"]
    exact = arrays["flow"]
    found = Dis(workers=1).pairs(frames[:-1], frames[1:])
    error = np.linalg.norm(found - exact, axis=-1)[mask]
    assert np.median(error) < 0.5 * np.median(np.linalg.norm(exact, axis=-1)[mask])


def test_what_cannot_be_used_is_named():
    first, second = shifted(1, 1)
    with pytest.raises(ValueError, match="uint8, found .* float32"):
        Dis().pairs(first.astype(np.float32), second)
    with pytest.raises(ValueError, match="second: expected the shape of first"):
        Dis().pairs(first, second[:, :-2])
    with pytest.raises(ValueError, match="0 < stride < patch"):
        Dis(stride=8)
    with pytest.raises(ValueError, match="did you mean 'farneback'"):
        components.build("motion.flow", "farnback")
    assert Dis().pairs(first[:0], second[:0]).shape == (0, 96, 96, 2)


def test_raft_takes_local_weights_and_says_what_is_missing(tmp_path, monkeypatch):
    from torchvision.models import optical_flow

    torch.manual_seed(0)
    network = optical_flow.raft_small(weights=None)
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    estimator = Raft(model="small", weights=str(tmp_path / "raft.pth"), resolution=128, updates=1, device="cpu")
    found = estimator.pairs(*shifted(2, 1))
    assert found.shape == (1, 96, 96, 2) and np.isfinite(found).all()
    for name, value in network.state_dict().items():
        assert torch.equal(estimator.network().state_dict()[name], value)
    with pytest.raises(FileNotFoundError, match="nowhere.pth: no such file"):
        Raft(weights=str(tmp_path / "nowhere.pth")).network()
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth: not the weights of raft_small"):
        Raft(model="small", weights=str(tmp_path / "other.pth")).network()

    def offline(*, weights):
        raise OSError("no network")

    monkeypatch.setattr(optical_flow, "raft_large", offline)
    with pytest.raises(FileNotFoundError, match="cannot be downloaded .*flow.weights=FILE, or use flow=dis"):
        Raft().network()


def test_confidence_is_high_where_both_ways_agree_and_none_outside():
    first, second = shifted(5, 0)
    fields = neighbours(Dis(workers=1), np.concatenate([first, second]))
    assert float(fields.forward_confidence[0, 12:-12, 12:-12].median()) > 0.9
    there = torch.zeros(1, 8, 8, 2) + torch.tensor([6.0, 0.0])
    assert float(consistency(there, -there)[0, :, :2].min()) == 1 and float(consistency(there, -there)[0, :, 3:].max()) == 0
    assert float(consistency(there, torch.zeros_like(there))[0, :, 0].max()) < 0.05


def test_points_follow_a_turning_flow():
    """The flow of a turn of 0.1 radians about the middle: after three frames points have turned by 0.3."""
    grid = pixel_grid(64, 64)
    turn = torch.tensor([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]).float()
    flow = ((grid - 32) @ turn.mT + 32 - grid).expand(4, -1, -1, -1)
    back = ((grid - 32) @ turn + 32 - grid).expand(4, -1, -1, -1)
    fields = Fields(flow, back, torch.full((4, 64, 64), 0.5), torch.ones(4, 64, 64))
    start = torch.tensor([[[40.0, 30.0], [30.0, 20.0]]]).expand(2, -1, -1)
    places, trust = follow(fields, start, torch.tensor([0, 2]), 3, step=1)
    expected = (start[0] - 32) @ torch.linalg.matrix_power(turn, 3).mT + 32
    torch.testing.assert_close(places[0, 2], expected, atol=0.01, rtol=0)
    torch.testing.assert_close(trust[0, :, 0], torch.tensor([0.5, 0.25, 0.125]))
    assert trust[1, 2].max() == 0, "the clip has ended"
    behind, _ = follow(fields, places[:1, 2], torch.tensor([3]), 3, step=-1)
    torch.testing.assert_close(behind[0, 2], start[0], atol=0.02, rtol=0)


def test_sampling_is_at_pixel_centres_and_as_grid_sample_does_it():
    field = torch.arange(12.0).reshape(1, 3, 4, 1)
    found = sample(field, torch.zeros(1, dtype=torch.long), torch.tensor([[[0.5, 0.5], [3.5, 2.5], [2.0, 0.5]]]))[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 11.0, 1.5]), atol=1e-5, rtol=0)
    generator = torch.Generator().manual_seed(0)
    fields = torch.rand(3, 7, 9, 2, generator=generator)
    index, place = torch.tensor([[2, 0], [1, 1]]), torch.rand(2, 2, 50, 2, generator=generator) * 14 - 3  # some outside
    grid = (place / torch.tensor([9.0, 7.0]) * 2 - 1).flatten(0, 1)[:, None]
    expected = torch.nn.functional.grid_sample(
        fields[index.flatten()].permute(0, 3, 1, 2), grid, align_corners=False, padding_mode="border"
    )
    torch.testing.assert_close(sample(fields, index, place).flatten(0, 1), expected[:, :, 0].mT, atol=1e-5, rtol=0)
