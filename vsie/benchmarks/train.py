"""Images per second of the default training step on random frames, in float32 and in bfloat16."""

from __future__ import annotations

import torch

from vsie import pose
from vsie.benchmarks.base import Rows, median_time
from vsie.config import compose, to_plain
from vsie.model import build_method


def rows(seconds: float) -> Rows:
    """Its figures, each measured for about `seconds`."""
    config = compose("train", [])
    data, rows = config.data, []
    clips = torch.rand(config.trainer.batch, data.windows, 3, data.frames, data.render.size, data.render.size)
    poses = pose.rigid(pose.exp(torch.rand(*clips.shape[:2], data.frames, 1) * torch.tensor([0.0, 0.0, 6.0])))
    times = {}
    for precision in ("32-true", "bf16-mixed"):
        method = build_method(to_plain(config))
        method.mixed = precision == "bf16-mixed"
        optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)

        def step(method=method, optimiser=optimiser) -> None:
            optimiser.zero_grad(set_to_none=True)
            method(clips, poses).loss.backward()
            optimiser.step()

        times[precision] = median_time(step, seconds)
        images = clips.shape[0] * clips.shape[1] * clips.shape[3]
        speed = images / times[precision]
        rows.append({"figure": f"default step, {precision}", "value": speed, "unit": "images/s"})
    return rows
