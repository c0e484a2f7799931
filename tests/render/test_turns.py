"""Small turns are what they say: the poses' angle and axis, the same light, and the pictures move a little."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vsie import pose
from vsie.render import turns

SMALL = dict(families=["car", "mug"], size=24, objects=2, views=2, supersample=2, progress=False)


@pytest.mark.parametrize("trajectory", ["turntable", "tumble", "orbit"])
def test_the_middle_is_halfway_between_two_views_a_small_angle_apart(trajectory):
    found = turns.render_turns(trajectory=trajectory, angle_deg=3.0, **SMALL)
    assert found.images.shape == (4, 3, 24, 24, 3) and found.objects.tolist() == [0, 0, 1, 1]
    before, middle, after = torch.from_numpy(found.poses).unbind(1)
    angles = torch.rad2deg(torch.stack([pose.geodesic(before, middle), pose.geodesic(middle, after)]))
    assert torch.allclose(angles, torch.full_like(angles, 3.0), atol=1e-4)
    assert torch.allclose(pose.delta(before, middle), pose.delta(middle, after), atol=1e-12)  # one axis
    if trajectory == "turntable":
        axis = pose.log(pose.delta(before, after)[:, :3, :3])
        assert float(axis[:, :2].abs().max()) < 1e-6
    values = found.images.astype(float)
    step, other = np.abs(values[:, 0] - values[:, 1]).mean(), np.abs(values[0, 1] - values[2, 1]).mean()
    assert 0 < step < 0.5 * other


def test_they_are_rendered_once_and_not_of_the_data_sets_own_objects(tmp_path, monkeypatch):
    options = {"trajectory": "turntable", **SMALL}
    first = turns.cached(tmp_path, **options)
    monkeypatch.setattr(turns, "render_turns", lambda **_: pytest.fail("rendered again"))
    again = turns.cached(tmp_path, **options)
    assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in ("images", "poses", "objects"))
    assert len(list(tmp_path.glob("turns-turntable-24px-*.npz"))) == 1


def test_an_angle_that_is_not_small_is_refused():
    with pytest.raises(ValueError, match="angle_deg is 40"):
        turns.render_turns(trajectory="turntable", angle_deg=40, **SMALL)
