"""The data goes one way, and so do the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import vsie

PACKAGE = Path(vsie.__file__).parent
ROOMS = ("data", "encoders", "predictors", "methods", "training", "features", "evaluation", "report")  # upstream first


def imported(file: Path) -> set[str]:
    """The modules that a file imports, by their full names."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_nothing_upstream_imports_what_is_downstream():
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if room in ROOMS:
            downstream = tuple(f"vsie.{name}" for name in ROOMS[ROOMS.index(room) + 1 :])
            wrong += [f"{file.relative_to(PACKAGE)}: {name}" for name in imported(file) if f"{name}.".startswith(
                tuple(f"{name}." for name in downstream))]  # fmt: skip
    assert wrong == []


def test_only_the_configs_know_hydra():
    knowing = {file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py")
               if any(name.split(".")[0] in ("hydra", "omegaconf") for name in imported(file))}  # fmt: skip
    assert knowing == {"config.py"}
