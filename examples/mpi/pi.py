"""Pi by throwing darts, the throws shared by all MPI ranks.

mpirun -n 4 python pi.py 1000000
"""

from __future__ import annotations

import random
import sys

from mpi4py import MPI


def hits(throws: int, seed: int) -> int:
    """How many of the throws into the unit square land in the quarter circle."""
    dice = random.Random(seed)
    return sum(dice.random() ** 2 + dice.random() ** 2 <= 1 for _ in range(throws))


def main() -> None:
    world = MPI.COMM_WORLD
    throws = int(sys.argv[1]) // world.size
    inside = world.reduce(hits(throws, seed=world.rank))
    if world.rank == 0:
        print(f"pi is about {4 * inside / (throws * world.size):.4f} by {world.size} ranks")


if __name__ == "__main__":
    main()
