"""Clips solved stretch by stretch: cuts, parts that go on where they end, trust between frames."""

from __future__ import annotations

import numpy as np
import torch

from tests.motion.scenes import moved, similarity, texture
from vsie import pose
from vsie.motion import solver
from vsie.motion.egomotion.auto import Auto
from vsie.motion.flow.dis import Dis
from vsie.motion.solver import clip_motion, known_pairs


def test_a_cut_is_not_bridged():
    before = moved([similarity(shift=(2.0 * t, 0)) for t in range(4)], background=texture(seed=3))
    after = moved([similarity(shift=(0, 2.0 * t)) for t in range(3)], background=255 - texture(seed=9) // 2)
    found = clip_motion(Dis(workers=1), Auto(), [np.concatenate([before, after])])[0]
    assert found["segment"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found["confidence"][3] == 0
    np.testing.assert_allclose(found["object_in_camera"][4], np.eye(4), atol=1e-12)
    parts = {name: torch.from_numpy(found[name]) for name in ("confidence", "segment", "covariance")}
    trust = known_pairs(**parts, poses=torch.from_numpy(found["object_in_camera"]))
    assert float(trust[:4, 4:].max()) == 0 == float(trust[4:, :4].max())
    assert trust.diagonal().tolist() == [1.0] * 7 and torch.equal(trust, trust.mT)


def test_trust_falls_with_the_way_and_with_the_weakest_step():
    confidence = torch.tensor([0.9, 0.2, 0.8]).double()
    covariance = 0.01**2 * torch.eye(3).repeat(3, 1, 1).double()
    poses = pose.rigid(pose.exp(torch.arange(4)[:, None] * torch.tensor([0.0, 0.2, 0.0]))).double()
    trust = known_pairs(confidence, torch.zeros(4), covariance, poses)
    assert float(trust[0, 1]) > 0.85 and float(trust[2, 3]) > 0.7
    assert float(trust[0, 2]) < 0.21 and float(trust[0, 3]) < 0.21


def test_a_long_clip_is_solved_in_parts_that_go_on_where_they_end(monkeypatch):
    scene = [moved([similarity(angle=0.03 * t, shift=(1.5 * t, 0)) for t in range(11)], background=texture(seed=3)),
             moved([similarity(shift=(0, 2.0 * t)) for t in range(6)], background=255 - texture(seed=9) // 2)]  # fmt: skip
    frames = np.concatenate(scene)
    flow, egomotion = solver.build({"name": "dis"}, {"name": "affine"})
    (whole,) = clip_motion(flow, egomotion, [frames])
    asked, original = [], egomotion._estimate
    monkeypatch.setattr(solver, "LONGEST", 6)
    monkeypatch.setattr(egomotion, "_estimate", lambda clips: asked.extend(map(len, clips)) or original(clips))
    (parts,) = clip_motion(flow, egomotion, [frames])
    assert asked == [6, 6, 6]  # eleven frames are two parts, which share one
    assert parts["segment"].tolist() == whole["segment"].tolist() == [0] * 11 + [1] * 6
    np.testing.assert_allclose(parts["object_in_camera"], whole["object_in_camera"], atol=2e-3)
    assert np.abs(whole["object_in_camera"][10] - np.eye(4)).max() > 0.1
    assert parts["confidence"][10] == 0 < parts["confidence"][np.arange(16) != 10].min()


def test_what_does_not_move_has_any_scale():
    assert clip_motion(Dis(workers=1), Auto(), [np.zeros((4, 64, 64, 3), np.uint8)])[0]["scale"] == ""
