"""`hpcai cancel`: end a job, and see that it ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.ending import suggest
from hpcai.cli.output import say
from hpcai.cli.target import Target, client_of, find_target

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.errors import ToolError
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo
    from hpcai.slurm.client import SlurmClient

WAIT_S = 60.0


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.pass_context
def cancel(ctx: click.Context, ident: str) -> None:
    """End a job, or the schedule of a file.

    ID is a Slurm job id, a run's name, experiment/run, or @last; of an array all its tasks, or with the
    number of one behind it that task (12_3, @last_3); or the file whose schedule is to end.

    \b
    Waits until the job has really ended. Exit status: 0 it has, 2 the name fits two runs,
    4 it had ended before, or there is no Slurm or scrontab here, 5 no such job or schedule,
    6 Slurm does not answer, 8 it is still ending after a minute, 130 no longer waiting after
    Ctrl-C; it ends all the same.
    """
    from hpcai.cli.context import find_context

    context = find_context()
    if _is_file(ident):
        _end_schedule(Path(ident), context)
        return
    target = find_target(context, ident)
    _require_alive(target)
    client = client_of(context, target.run)
    if client is not None:
        _cancel_job(ctx, client, target)
    elif target.run is not None:
        _end_processes(target.run)
    say(f"{target.name} has ended.")


def _is_file(ident: str) -> bool:
    """Whether a file is meant, which may be gone, and no run, whose name may hold a slash or a dot too."""
    try:
        return ident.endswith((".yaml", ".yml")) or Path(ident).is_file()
    except OSError:
        # Too long for a name, or of a folder that may not be looked into.
        return False


def _end_schedule(file: Path, context: Context) -> None:
    from hpcai.launch import schedule

    schedule.remove(file.absolute(), context.client)
    say(f"{file} is no longer submitted; what it has submitted goes on.")


def _require_alive(target: Target) -> None:
    from hpcai.cli.words import ended

    if target.outcome is not None:
        raise _cannot_be_cancelled(target, f"it {ended(target.outcome)}")


def _cannot_be_cancelled(target: Target, why: str) -> ToolError:
    from hpcai.errors import ToolError

    return ToolError(f"{target.name} cannot be cancelled: {why}.", next_step=f"hpcai show {target.ident}")


def _end_processes(run: Run) -> None:
    from hpcai.launch import local

    if not local.stop(run):
        raise _cannot_be_cancelled(Target(run, None), "no process of it runs on this machine")


def _cancel_job(ctx: click.Context, client: SlurmClient, target: Target) -> None:
    from hpcai.launch import ends

    if target.job is None:
        raise _cannot_be_cancelled(target, "Slurm knows no job of it")
    if target.run is not None:
        of_task = {} if target.run.task is None else {"task": target.run.task}
        target.run.append_event("cancel_requested", **of_task)
    client.cancel(target.job.ident)
    try:
        _wait_for_end(client, target.job)
    except KeyboardInterrupt:
        say(f"\nNo longer waiting; {target.name} was told to end.")
        suggest(f"hpcai show {target.ident} --wait")
        ctx.exit(130)
    if target.run is not None:
        ends.collect(target.run, client)


def _wait_for_end(client: SlurmClient, job: JobInfo) -> None:
    from hpcai.errors import NotFoundError, WaitTimeout

    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if client.job(job.ident).is_final:
                return
        except NotFoundError:
            return
        if time.monotonic() >= deadline:
            raise WaitTimeout(
                f"Job {job.ident} was told to end and is still ending after {WAIT_S:g} s.",
                next_step=f"hpcai show {job.ident} --wait",
            )
        time.sleep(0.3)
