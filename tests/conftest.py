"""What the tests share: tiny rendered data sets, made once per session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# before torch is imported, here and in the processes that tests start: several at work with several threads each wait for each
# other most of the time
os.environ.setdefault("OMP_NUM_THREADS", "1")

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Random weights and data of a test do not depend on which tests ran before it."""
    import torch

    torch.manual_seed(0)


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
