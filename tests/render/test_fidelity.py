"""The twelve Cycles renders of tests/render/cycles_reference: how far ours are from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from vsie.render import Light, Mesh, render_frame
from vsie.render.scene import tone_curve

REFERENCE = Path(__file__).parent / "cycles_reference"


@pytest.fixture(scope="module")
def errors() -> dict[str, tuple[float, float]]:
    """Mean absolute error in levels of 255 per scene: over the whole picture, and over the object's pixels."""
    found = {}
    for scene in json.loads((REFERENCE / "scenes.json").read_text()):
        arrays = np.load(REFERENCE / f"{scene['id']}.npz")
        mesh = Mesh(**{name: arrays[name] for name in ("vertices", "faces", "normals", "colors")})
        light = Light(*(scene[name] for name in ("floor_hue", "spot_theta", "spot_phi", "spot_hue")))
        rotation = Rotation.from_euler("xyz", scene["rotation_xyz"]).as_matrix()
        frame = render_frame(mesh, rotation, light=light, size=256, supersample=3)
        reference = np.asarray(Image.open(REFERENCE / f"{scene['id']}.png").convert("RGB"), dtype=np.float64)
        error = np.abs(frame.rgb - reference)
        found[scene["id"]] = (error.mean(), error[frame.mask].mean())
    return found


def test_whole_pictures(errors: dict[str, tuple[float, float]]) -> None:
    whole = {name: error[0] for name, error in errors.items()}
    assert len(whole) == 12
    assert np.mean(list(whole.values())) <= 0.8, whole  # the bar is 1.6
    assert max(whole.values()) <= 1.2, whole  # and 2.6


def test_object_pixels(errors: dict[str, tuple[float, float]]) -> None:
    on_object = {name: error[1] for name, error in errors.items()}
    # without ambient occlusion, interreflection and gloss: 4.3 (5.2 in the first trial)
    assert np.mean(list(on_object.values())) <= 3.2, on_object


def test_tone_curve_against_measured_points() -> None:
    points = np.loadtxt(REFERENCE / "filmic.csv", delimiter=",", skiprows=1)
    assert np.abs(tone_curve(points[:, 0]) - points[:, 1]).max() < 0.004
