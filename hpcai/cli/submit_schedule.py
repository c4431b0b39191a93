"""`hpcai submit` of a file with `schedule:`: Slurm submits it anew each time, and the next times are told."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli.context import Context
from hpcai.cli.output import emit_object, emit_rows, put, say

if TYPE_CHECKING:
    from hpcai.cli.submit_steps import Manner
    from hpcai.render.resolved import Where
    from hpcai.specs.job import JobSpec

_SHOWN = 3


def refuse_options(file: Path, where: Where, *, follow: bool) -> None:
    """Raises UsageError for what does not go with a schedule."""
    if where == "local":
        raise click.UsageError(
            "A schedule is Slurm's: --where local does not go with it. --set schedule=null submits it once."
        )
    if follow:
        raise click.UsageError(
            "With a schedule nothing runs yet to be followed. --set schedule=null submits it once."
        )
    if str(file) == "-":
        raise click.UsageError(
            "A schedule submits a file each time, and stdin is none. --set schedule=null submits it once."
        )


def submit(
    file: Path,
    name: str,
    experiment: str,
    schedule: str,
    jobs: Sequence[JobSpec],
    overrides: Sequence[str],
    context: Context,
    manner: Manner,
) -> None:
    """Put the block in place, once all of its jobs could run."""
    from hpcai.cli.ending import suggest
    from hpcai.launch import schedule as schedules
    from hpcai.launch import script
    from hpcai.launch.resolve import resolve

    file = file.absolute()
    for job in jobs:
        resolved = resolve(job, context.site, client=context.client)
        script.refuse_hopeless(resolved.spec, context.client)
    replaced = schedules.put(
        file,
        name,
        experiment,
        schedule,
        jobs[0],
        overrides=overrides,
        site=context.site,
        client=context.client,
    )
    times = _next(schedule)
    row = {"file": str(file), "schedule": schedule, "next": times, "replaced": replaced}
    if manner.quiet:
        put(file)
    elif manner.output == "table":
        emit_rows([{**row, "next": ", ".join(times)}], ("schedule", "next"), "table", kind="schedules")
    else:
        emit_object(row, manner.output)
    if not manner.quiet:
        say(f"{'Replaced' if replaced else 'Put'} in your scrontab; times are by this machine's clock.")
        suggest(f"hpcai cancel {shlex.quote(str(file))}")


def tell(schedule: str) -> None:
    """When it would be submitted, to whoever only looks at its script."""
    say(f"`hpcai submit` without --dry-run lets Slurm submit it anew, next at {', '.join(_next(schedule))}.")


def _next(schedule: str) -> list[str]:
    from hpcai.specs.schedule import next_times

    return [f"{time:%Y-%m-%d %H:%M}" for time in next_times(schedule, datetime.now(), _SHOWN)]
