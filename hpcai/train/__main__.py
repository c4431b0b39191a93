"""`python -m hpcai.train`: trains, and ends with the exit status of the contract."""

from __future__ import annotations

import sys
import traceback

from hpcai.errors import HpcaiError
from hpcai.train.options import Options, parse_options
from hpcai.train.records import Records
from hpcai.train.stopping import end_at_once
from hpcai.train.world import ALONE, World, read_world


def main() -> None:
    """Runs one training on this rank; never returns to a process that could wait for a lost rank."""
    options = parse_options(sys.argv[1:])
    world = ALONE
    try:
        world = read_world(alone_is_meant=options.comm == "single")
        status = _train(options, world)
    except HpcaiError as error:
        sys.stderr.write(f"hpcai.train: {_who(world)}{error}\n")
        status = error.exit_status
    except Exception as error:  # noqa: BLE001 -- the last door
        traceback.print_exception(error)
        sys.stderr.write(
            f"hpcai.train: {_who(world)}this is a defect in hpcai, or in the model. See above.\n"
        )
        status = 1
    if status and world.size > 1:
        end_at_once(status)
    sys.exit(status)


def _train(options: Options, world: World) -> int:
    records = Records(options.run_dir, world.rank, options.attempt)
    try:
        records.mark("started", 0)
        # torch takes seconds to import, which belong to the time from `started` to the first step.
        from hpcai.train.run import run

        run(options, world, records)
    finally:
        records.close()
    return 0


def _who(world: World) -> str:
    return f"rank {world.rank}: " if world.size > 1 else ""


if __name__ == "__main__":
    main()
