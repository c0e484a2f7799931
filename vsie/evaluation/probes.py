"""Probes that are learned by gradient descent: how one is trained, and which of several is kept.

Notable: what a probe is given matters more than how long it learns (`moments.conditioning`). `best` therefore starts one probe
per way to give it the latents, lets all of them learn for an eighth of the steps, and goes on with the one that judges like
best. The judges are train objects that no probe is fitted to; they choose among snapshots of it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

TRIAL = 8  # of the steps, one part is for finding out which probe to go on with


class Given(nn.Module):
    """Latents (..., d) as a probe is given them: centred by `mean` (d,), then mapped by `lift` (d, l). Nothing is learned."""

    def __init__(self, mean: Tensor, lift: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("lift", lift)

    def forward(self, latents: Tensor) -> Tensor:
        return (latents - self.mean) @ self.lift


class Training:
    """A probe on its way: AdamW, a warm-up of a twentieth of the steps, then a cosine.

    Args:
        probe: What is trained, in place.
        loss: Draws a batch and gives the loss (a scalar tensor).
        judge: The error of the probe as it is on data that it is not fitted to; None: the last weights are the best.
        steps: Of the optimiser.
        rate: Peak learning rate.
        snapshots: Times that the probe is judged before the last; the first time it is untrained.
    """

    def __init__(
        self, probe: nn.Module, loss: Callable[[], Tensor], judge: Callable[[], float] | None, *, steps: int, rate: float = 2e-3,
        snapshots: int = 12,
    ):  # fmt: skip
        self.probe, self.loss, self.judge, self.steps, self.step = probe, loss, judge, steps, 0
        self.every, self.lowest, self.weights = max(1, steps // snapshots), math.inf, None
        self.optimiser = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=1e-2, fused=True)
        warm = max(1, steps // 20)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda t: min(1.0, (t + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, t / steps)))
        )

    def run(self, until: int) -> None:
        """Train up to step `until` of all, and judge."""
        with torch.enable_grad():
            while self.step < until:
                if self.step % self.every == 0:
                    self._look()
                loss = self.loss()
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                self.optimiser.step()
                self.schedule.step()
                self.step += 1
        self._look()

    @torch.no_grad()
    def _look(self) -> None:
        if self.judge is not None and (error := self.judge()) < self.lowest:
            self.lowest = error
            self.weights = {name: value.clone() for name, value in self.probe.state_dict().items()}

    def finished(self) -> nn.Module:
        """The probe with its best weights, all steps done."""
        self.run(self.steps)
        if self.weights is not None:
            self.probe.load_state_dict(self.weights)
        return self.probe.eval().requires_grad_(False)


def best(trainings: Sequence[Training]) -> nn.Module:
    """Train the most promising of several probes, all alike but in what they are given; without judges the first."""
    if trainings[0].judge is None:
        return trainings[0].finished()
    for training in trainings:
        training.run(training.steps // TRIAL)
    return min(trainings, key=lambda training: training.lowest).finished()
