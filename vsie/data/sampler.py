"""Which items make which global batch: the same whatever the number of processes, and from any step on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[list[int]]):
    """Batch sampler: global batch k of epoch e is a function of (length, batch, seed, e, k) alone.

    Rank r of W gets the r-th contiguous share of each global batch, so ranks side by side give the batch in order. What is
    left over at the end of an epoch is dropped: each epoch drops others.

    Args:
        length: Number of items.
        batch: Items in a *global* batch; divisible by `world`.
        seed: Of the order.
        epoch: First epoch.
        rank: Of this process.
        world: Number of processes.
        start_step: First step to give, within `epoch`; for resuming.
    """

    def __init__(
        self, length: int, batch: int, seed: int = 0, epoch: int = 0, rank: int = 0, world: int = 1, start_step: int = 0
    ) -> None:
        if batch < 1 or batch % world:
            raise ValueError(f"the global batch is {batch}, expected a positive multiple of the {world} processes")
        if length < batch:
            raise ValueError(f"the data set has {length} items, expected at least one global batch of {batch}")
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank}, expected 0 to {world - 1}")
        self.length, self.batch, self.seed, self.rank, self.world = length, batch, seed, rank, world
        self.steps = length // batch
        self.set_epoch(epoch, start_step)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """Give the steps of `epoch` from `start_step` on; `start_step` equal to `steps` gives none."""
        if not 0 <= start_step <= self.steps:
            raise ValueError(f"start_step is {start_step}, expected 0 to {self.steps}, the steps of an epoch")
        self.epoch, self.start_step = epoch, start_step

    def __len__(self) -> int:
        return self.steps - self.start_step

    def __iter__(self) -> Iterator[list[int]]:
        # The spawn key keeps this stream apart from those of the items, SeedSequence((seed, epoch, i, attempt)).
        sequence = np.random.SeedSequence((self.seed, self.epoch), spawn_key=(1,))
        order = np.random.Generator(np.random.PCG64(sequence)).permutation(self.length)
        share = self.batch // self.world
        for step in range(self.start_step, self.steps):
            first = step * self.batch + self.rank * share
            yield order[first : first + share].tolist()
