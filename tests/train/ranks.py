"""Trains a small network on this rank's half of fixed data, and evaluates: run by test_ranks.py."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from hpcai.train.comm import Communicator, connect
from hpcai.train.world import read_world
from tests.train.test_evaluate import accuracy, held_out

STEPS = 3
HELD_OUT = (5, 1)
"""An odd number, and one that leaves the second rank without any."""


def trained_weights(comm: Communicator) -> list[float]:
    """The weights after a few steps; without norms, so that they do not depend on how a batch is split."""
    rank, size = comm.world.rank, comm.world.size
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    if size == 1:
        torch.manual_seed(0)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = comm.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        pictures, labels = torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4
        mine = slice(rank * 8 // size, (rank + 1) * 8 // size)
        nn.functional.cross_entropy(trained(pictures[mine]), labels[mine]).backward()
        comm.finish_gradients()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist()


def main() -> None:
    comm = connect(sys.argv[1], read_world(), torch.device("cpu"))
    # To a file each: mpirun mixes long lines of the ranks.
    path = Path(sys.argv[2]) / f"{comm.world.rank}.json"
    found = [asdict(accuracy(comm, held_out(count)[comm.world.rank :: 2])) for count in HELD_OUT]
    path.write_text(json.dumps({"weights": trained_weights(comm), "accuracies": found}))
    comm.close()


if __name__ == "__main__":
    main()
