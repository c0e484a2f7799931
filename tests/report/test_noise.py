"""The noise study's page and plot: shares of the gain, intervals, what estimated deltas are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from vsie.report import noise

MRR, POSE, TOP1 = "steering/mrr", "pose/geodesic_median_deg/equi", "classification/top1/all"


def run(mrr: float, pose: float, top1: float = 0.9) -> dict[str, float]:
    """Metrics with intervals of +-.02 and +-2 degrees, floors .13 and 80 degrees."""
    return {
        MRR: mrr, f"{MRR}/low": mrr - 0.02, f"{MRR}/high": mrr + 0.02, f"{MRR}/floor": 0.13,
        POSE: pose, f"{POSE}/low": pose - 2, f"{POSE}/high": pose + 2, f"{POSE}/floor": 80.0, TOP1: top1, f"{TOP1}/floor": 0.08,
    }  # fmt: skip


def options(**told) -> dict[str, object]:
    return {"motion.source": "known", "motion.noise_deg": 0.0, "motion.shuffled": False, "trainer.images": 300} | {
        f"motion.{key}": value for key, value in told.items()
    }


STUDY = [
    (options(), run(0.53, 20)), (options(), run(0.55, 18)), (options(), run(0.51, 22)),
    (options(noise_deg=5.0), run(0.50, 24)), (options(noise_deg=10), run(0.45, 28)), (options(noise_deg=20), run(0.35, 40)),
    (options(noise_deg=40), run(0.20, 60)), (options(source="estimated"), run(0.40, 34, 0.894)),
    (options(shuffled=True), run(0.142, 79, 0.91)),
]  # fmt: skip


def test_the_page_says_what_share_of_the_gain_is_kept(tmp_path):
    page, picture = noise.write(STUDY, tmp_path, "noise-vsie")
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
             for line in page.read_text().splitlines() if line.startswith("|")}  # fmt: skip
    assert list(lines) == ["deltas", "---", "known", "known + 5 deg", "known + 10 deg", "known + 20 deg", "known + 40 deg",
                           "estimated", "shuffled", "floor"]  # fmt: skip
    assert lines["known"][:3] == ["3", "0.530 (0.490-0.570)", "100% (82%-122%)"]  # of .51, .53 and .55, each .02 either way
    # (.40 - .13) / (.53 - .13), and between .25 / .44 and .29 / .36; (80 - 34) / (80 - 20), between 44 / 64 and 48 / 56
    assert lines["estimated"] == [
        "1",
        "0.400 (0.380-0.420)",
        "68% (57%-81%)",
        "34.0 (32.0-36.0)",
        "77% (69%-86%)",
        "0.894",
        "-0.6",
    ]
    assert lines["shuffled"][2] == "3% (-2%-9%)" and lines["shuffled"][-1] == "+1.0"
    assert lines["floor"] == ["", "0.130", "0%", "80.0", "0%", "0.080", ""]
    text = page.read_text()
    assert "MRR among the object's views: estimated deltas are worth known ones with 15 degrees of noise." in text
    assert "median error in degrees: estimated deltas are worth known ones with 15 degrees of noise." in text
    assert "Not at equal terms" not in text
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert min(pixels.shape[:2]) > 300 and 0.005 < (pixels.min(-1) < 200).mean() < 0.95


def test_what_a_value_is_worth_is_read_off_a_curve_that_never_rises():
    curve = [(0.0, 0.5), (10.0, 0.3), (5.0, 0.4), (20.0, 0.32)]  # 20 degrees better than 10: chance
    assert noise.worth(MRR, 0.45, curve) == "2" and noise.worth(MRR, 0.6, curve) == "at most 0"
    assert noise.worth(MRR, 0.2, curve) == "more than 20"
    assert noise.worth(POSE, 25.0, [(0.0, 20.0), (10.0, 30.0)]) == "5"


def test_no_gain_has_no_share():
    assert all(math.isnan(value) for value in noise.kept(MRR, run(0.2, 50), run(0.10, 90)))
    share, low, high = noise.kept(POSE, run(0.2, 20), run(0.2, 20))
    assert share == 1 and low < 1 < high


def test_a_gain_that_may_be_none_bounds_nothing(tmp_path):
    page, _ = noise.write([(options(), run(0.14, 79)), STUDY[7]], tmp_path, "noise")
    assert "| 0.400 (0.380-0.420) | 2700% (known deltas may give no gain) |" in page.read_text()


def test_other_differences_between_the_runs_are_told(tmp_path):
    other = options(source="estimated") | {"trainer.images": 600, "flow.name": "dis", "data.held_out": 0.2}
    page, _ = noise.write([STUDY[0], (other, run(0.4, 30))], tmp_path, "noise")
    assert "Not at equal terms: the runs also differ in trainer.images." in page.read_text()


@pytest.mark.parametrize("runs", [STUDY[:3], STUDY[7:], [(options(), {}), STUDY[7]]])
def test_without_known_runs_to_compare_with_nothing_is_written(runs, tmp_path):
    assert noise.write(runs, tmp_path, "noise") == [] and list(tmp_path.iterdir()) == []
