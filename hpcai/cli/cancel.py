"""`hpcai cancel`: end a job, and see that it ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.ending import suggest
from hpcai.cli.output import say
from hpcai.cli.target import Target, find_target

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.slurm.answers import JobInfo

WAIT_S = 60.0


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.pass_context
def cancel(ctx: click.Context, ident: str) -> None:
    """End a job.

    ID is a Slurm job id, a run's name, experiment/run, or @last.

    \b
    Waits until the job has really ended. Exit status: 0 it has, 2 the name fits two runs,
    4 it had ended before, 5 no such job, 6 Slurm does not answer, 8 it is still ending
    after a minute, 130 no longer waiting after Ctrl-C; it ends all the same.
    """
    from hpcai.cli.context import find_context

    context = find_context()
    target = find_target(context, ident)
    _require_alive(target)
    if target.job is None:
        _end_processes(target)
    else:
        if target.run is not None:
            target.run.append_event("cancel_requested")
        context.client.cancel(target.job.job_id)
        try:
            _wait_for_end(context, target.job)
        except KeyboardInterrupt:
            say(f"\nNo longer waiting; {target.name} was told to end.")
            suggest(f"hpcai show {target.job_id} --wait")
            ctx.exit(130)
        find_target(context, ident)
    say(f"{target.name} has ended.")


def _require_alive(target: Target) -> None:
    from hpcai.cli.words import ended
    from hpcai.errors import ToolError

    if target.outcome is not None:
        raise ToolError(
            f"{target.name} cannot be cancelled: it {ended(target.outcome)}.",
            next_step=f"hpcai show {target.run.name if target.run else target.job_id}",
        )


def _end_processes(target: Target) -> None:
    from hpcai.errors import ToolError
    from hpcai.launch import local

    if target.run is None or not local.stop(target.run):
        raise ToolError(
            f"{target.name} cannot be cancelled: Slurm knows no job of it, and no process of it runs here.",
            next_step=f"hpcai show {target.run.name if target.run else target.job_id}",
        )


def _wait_for_end(context: Context, job: JobInfo) -> None:
    from hpcai.errors import NotFoundError, WaitTimeout

    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if context.client.job(job.job_id).is_final:
                return
        except NotFoundError:
            return
        if time.monotonic() >= deadline:
            raise WaitTimeout(
                f"Job {job.job_id} was told to end and is still ending after {WAIT_S:g} s.",
                next_step=f"hpcai show {job.job_id} --wait",
            )
        time.sleep(0.3)
