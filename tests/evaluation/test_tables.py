from __future__ import annotations

import math

import pytest

from vsie.report import tables
from vsie.report.write import plain

METRICS = {
    "classification/top1/inv": 0.84, "classification/top1/equi": 0.5, "classification/top1/all": 0.942,
    "classification/top1/all/floor": 0.08, "classification/top1/all/random_init": 0.3,
    "pose/geodesic_median_deg/inv": 66.61, "pose/geodesic_median_deg/equi": 15.52, "pose/geodesic_median_deg/all": 15.4,
    "pose/geodesic_median_deg/equi/floor": 66.6, "pose/geodesic_median_deg/inversion": 11.8,
    "pose/geodesic_median_deg/inversion/floor": 66.6, "steering/mrr": 0.394, "steering/mrr/floor": 0.13,
    "tracking/inversion/drift_deg": 9.9, "tracking/inversion/drift_deg/floor": 90.0, "collapse/rankme/all": 51.0,
}  # fmt: skip


def test_the_terminal_table_has_each_number_in_its_column():
    lines = tables.terminal(METRICS).splitlines()
    assert lines[0].split() == ["measure", "inv", "equi", "all", "floor", "random", "init"]
    row = next(line for line in lines if line.startswith("Top-1, single frame"))
    assert row.split()[-5:] == ["0.840", "0.500", "0.942", "0.080", "0.300"]
    row = next(line for line in lines if line.startswith("rotation of a pair, median deg"))
    assert row.split()[-5:] == ["66.6", "15.5", "15.4", "66.6", "-"]
    inverted = lines[lines.index(row) + 1]
    assert "predictor inverted" in inverted and inverted.split()[-5:] == ["-", "11.8", "-", "66.6", "-"]
    assert next(line for line in lines if line.startswith("MRR")).split()[-4:] == ["0.394", "-", "0.130", "-"]
    widths = {len(line) for line in lines if line.split()[-1:] and ("0." in line or "." in line)}
    assert len(widths) == 1  # aligned


def test_markdown_has_the_same_rows():
    text = tables.markdown(METRICS)
    assert "| rotation of a pair, median deg | 66.6 | 15.5 | 15.4 | 66.6 | - |" in text
    assert all(line.count("|") == 7 for line in text.splitlines())


def test_nothing_measured_is_said():
    assert "nothing" in tables.terminal({})


def test_comparison_prints_median_and_range():
    seeds = [{"steering/mrr": value, "steering/mrr/floor": 0.13} for value in (0.39, 0.35, 0.41)]
    control = [{"steering/mrr": 0.13, "pose/geodesic_median_deg/equi": 40.0}]
    text = tables.compare({"vsie": seeds, "vicreg": control})
    assert "| MRR among the object's views | 0.390 (0.350-0.410) | 0.130 | 0.130 |" in text
    assert "| rotation of a pair, median deg, equi (lower is better) | - | 40.0 | - |" in text
    assert "Top-1" not in text  # nobody has it
    other = [{"steering/mrr": 0.3, "steering/mrr/floor": 0.25}]  # judged on other clips
    assert "| 0.390 (0.350-0.410) | 0.300 | 0.130 to 0.250 |" in tables.compare({"vsie": seeds, "other": other})
    assert len(set(map(len, tables.compare({"vsie": seeds}, form="terminal").splitlines()))) == 1
    with pytest.raises(ValueError, match="at least one run"):
        tables.compare({"vsie": []})
    with pytest.raises(ValueError, match="markdown or terminal"):
        tables.compare({"vsie": seeds}, form="html")


def test_lower_is_better():
    better = {key: tables.lower_is_better(key) for key in ("pose/acc@15/equi", "steering/pre", "tracking/probe/rpe_deg@1")}
    assert better == {"pose/acc@15/equi": False, "steering/pre": True, "tracking/probe/rpe_deg@1": True}


def test_nan_is_a_dash_and_null():
    assert tables.number("steering/mrr", math.nan) == "-" == tables.spread("steering/mrr", [math.nan])
    assert plain({"a": math.nan, "b": 1.0}) == {"a": None, "b": 1.0}
