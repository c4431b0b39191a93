"""Which samples each rank takes at each step: one shuffle of everything per epoch, split over the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Sampler:
    """The order of a training's samples, a pure function of seed, epoch and step.

    The samples of a step do not depend on how many ranks share its global batch. What is left of an epoch
    when no whole global batch remains is left out, another part each epoch, so that all ranks take the same
    number of steps.
    """

    samples: int
    batch_size: int
    rank: int
    size: int
    seed: int

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.size

    @property
    def steps_per_epoch(self) -> int:
        return self.samples // self.global_batch

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Indices]:
        """This rank's samples of each step of an epoch, from `first_step` on."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.samples)
        for step in range(first_step, self.steps_per_epoch):
            start = step * self.global_batch + self.rank * self.batch_size
            yield order[start : start + self.batch_size]


def held_out_batches(samples: int, batch_size: int, rank: int, size: int) -> Iterator[Indices]:
    """This rank's share of the held-out samples: over all ranks each sample comes exactly once."""
    mine = np.arange(rank, samples, size)
    for start in range(0, len(mine), batch_size):
        yield mine[start : start + batch_size]
