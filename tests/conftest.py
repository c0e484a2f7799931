"""What the tests share: tiny rendered data sets, made once per session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before torch is imported: cores are shared by the processes that pytest runs, as threads that wait for each other cost far more
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(2, (os.cpu_count() or 1) // _processes))))

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the command-line tools."""
    return TOOLS


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Manifest of 24 objects x 2 turntable clips x 8 frames at 32 px, four families."""
    from vsie.render.dataset import render_dataset

    return render_dataset(
        out=tmp_path_factory.mktemp("clips") / "turntable", objects=24, clips_per_object=2, frames=8, size=32,
        trajectory="turntable", seed=0, workers=1, families=["car", "chair", "mug", "sofa"], val_fraction=0.25, progress=False,
    )  # fmt: skip
