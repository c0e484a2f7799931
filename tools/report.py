"""Runs beside each other: one table with floors, a CSV, Top-1 against pose error, learning curves, a steering strip each.

    python tools/report.py runs/vsie-turntable64-T2-seed0 runs/sie-turntable64-T2-seed0 out=report/
    python tools/report.py 'runs/*-seed?' out=report/                # glob patterns; seeds of one method are one column
    python tools/report.py runs=[runs/A,runs/B] strips=false         # without checkpoints and data
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from vsie.config import hydra_main
from vsie.schemas import ReportConfig

VALUED = ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--info", "-i")


@hydra_main("report")
def main(config: ReportConfig) -> None:
    from vsie.study.comparison import compare_runs

    compare_runs(config.runs, config.out, strips=config.strips)


def with_runs(arguments: list[str]) -> list[str]:
    """Arguments as Hydra takes them: run folders, and what has no =, are added to ``runs=[...]``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    folders, overrides, options = [], [], []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("runs=["):
            with suppress(HydraException):  # Hydra says what is wrong with it
                folders += [str(entry) for entry in OverridesParser.create().parse_override(argument).value()]
                continue
        of_option = argument.startswith("-") or before in VALUED
        named = "=" in argument and not Path(argument).is_dir()
        (options if of_option else overrides if named else folders).append(argument)
    quoted = ",".join("'" + folder.replace("'", "\\'") + "'" for folder in folders)
    return overrides + ([f"runs=[{quoted}]"] if folders else []) + options


if __name__ == "__main__":
    sys.argv[1:] = with_runs(sys.argv[1:])
    main()
