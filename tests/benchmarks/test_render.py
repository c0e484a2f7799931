"""The benchmark's rows add up."""

from __future__ import annotations

import pytest

from vsie.benchmarks.render import measured


def test_shares_of_time_add_up_to_one_and_scaling_is_against_one_process():
    one, two = measured(sizes=(32,), seconds=0.3, processes=(1, 2), supersample=1)
    for row, processes in ((one, 1), (two, 2)):
        assert (row["size"], row["processes"]) == (32, processes)
        shares = [row[name] for name in ("mesh", "embree", "shade", "encode", "write")]
        assert min(shares) > 0 and 0.9 < sum(shares) <= 1.0
        assert 0 < row["cores"] < processes + 0.2
    assert one["scaling"] == 1 and two["scaling"] == pytest.approx(two["frames_per_second"] / one["frames_per_second"])
