"""What the benchmarks share: the form of a figure, the clock, and their names.

A file `name.py` here has a function `rows(seconds)` that gives its figures: dicts of ``figure``, ``value``, ``unit``, and ``bar``
(it should be at least that) or ``most`` where something is promised. Comparisons measure both sides in the same run, in turn,
and quote the ratio of medians: machines are noisy.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
import time
from collections.abc import Callable
from typing import Any

from vsie import benchmarks
from vsie.components import nearest

Rows = list[dict[str, Any]]


def median_time(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call, after one that is not counted, over about `seconds` (three calls at least)."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def paired(first: Callable[[], Any], second: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Median seconds of two calls that take turns."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < 3 or sum(times[0]) + sum(times[1]) < seconds:
        for call, kept in zip((first, second), times, strict=True):
            begun = time.perf_counter()
            call()
            kept.append(time.perf_counter() - begun)
    return statistics.median(times[0]), statistics.median(times[1])


def names() -> list[str]:
    """What can be measured: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "base")


def run(what: str, seconds: float) -> Rows:
    """Measure one thing, or ``all``; its figures with ``what`` they belong to.

    Args:
        what: One of `names`, or ``all``.
        seconds: About how long each figure is measured.

    Raises:
        ValueError: There is no such benchmark.
    """
    known = names()
    if what != "all" and what not in known:
        raise ValueError(f"what is {what!r}, expected all or one of {', '.join(known)}{nearest(what, known)}")
    found: Rows = []
    for name in known if what == "all" else [what]:
        module = importlib.import_module(f"{benchmarks.__name__}.{name}")
        found += [{"what": name} | row for row in module.rows(seconds)]
    return found
