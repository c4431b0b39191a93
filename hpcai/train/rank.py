"""One rank of a training: what it was asked for, and what it has at hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hpcai.train.comm import Communicator
from hpcai.train.options import Options
from hpcai.train.records import Records
from hpcai.train.stopping import StopSignal, Watchdog


@dataclass(frozen=True)
class Rank:
    """Stays the same from the first collective call to the last."""

    options: Options
    comm: Communicator
    device: torch.device
    threads: int
    records: Records
    stop: StopSignal
    watchdog: Watchdog

    @property
    def number(self) -> int:
        return self.comm.world.rank

    @property
    def size(self) -> int:
        return self.comm.world.size
