"""Which items make which global batch: the same whatever the number of processes, and from any step on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Batch sampler over a whole training: global batch k is a function of (length, batch, seed, k) alone.

    Gives lists of (epoch, index), as `WindowsDataset` takes them, so one loader and its workers live through all epochs.
    Rank r of W gets the r-th contiguous share of each global batch: ranks side by side give the batch in order. What is left
    over at the end of an epoch is dropped (an object must not be its own negative); each epoch drops others.

    Args:
        length: Number of items.
        batch: Items in a *global* batch; divisible by `world`.
        seed: Of the order.
        start: First step to give; for resuming.
        end: Step before which to stop.
        rank: Of this process.
        world: Number of processes.
    """

    def __init__(self, length: int, batch: int, *, seed: int = 0, start: int = 0, end: int, rank: int = 0, world: int = 1):
        if batch < 1 or batch % world:
            raise ValueError(f"the global batch is {batch}, expected a positive multiple of the {world} processes")
        if length < batch:
            raise ValueError(f"the data set has {length} objects, expected at least one global batch of {batch} (trainer.batch)")
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank}, expected 0 to {world - 1}")
        if not 0 <= start <= end:
            raise ValueError(f"start is {start}, expected 0 to the end {end}")
        self.length, self.batch, self.seed, self.rank, self.world = length, batch, seed, rank, world
        self.start, self.end = start, end

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch, share = self.length // self.batch, self.batch // self.world
        current, order = -1, np.empty(0, dtype=np.int64)
        for number in range(self.start, self.end):
            epoch, step = divmod(number, per_epoch)
            if epoch != current:
                # The spawn key keeps this stream apart from those of the items, SeedSequence((seed, epoch, i, attempt)).
                sequence = np.random.SeedSequence((self.seed, epoch), spawn_key=(1,))
                current, order = epoch, np.random.Generator(np.random.PCG64(sequence)).permutation(self.length)
            first = step * self.batch + self.rank * share
            yield [(epoch, int(index)) for index in order[first : first + share]]
