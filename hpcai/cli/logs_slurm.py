"""`hpcai logs` of jobs whose output lies where Slurm puts it: the user's own scripts, and jobs of others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli.logs import READ_EVERY_S, follow_run, follower_of, state_of
from hpcai.cli.output import say
from hpcai.cli.pipes import Pipe
from hpcai.cli.target import Target, find_target

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.launch.watch import RunFollower
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo

_ASK_EVERY_S = 2.0


def print_job(
    ctx: click.Context, context: Context, target: Target, follow: bool, *, has_choice: bool
) -> None:
    """The output file of a job that hpcai did not submit."""
    from hpcai.errors import ToolError
    from hpcai.launch.bare import output_of_job

    job = target.job
    assert job is not None
    if has_choice:
        raise ToolError(
            f"Job {job.ident} has one output file and no run record that tells its ranks and attempts apart.",
            next_step=f"hpcai logs {job.ident}",
        )
    paths = output_of_job(job)
    if not paths and job.is_forgotten:
        raise ToolError(
            f"Slurm has forgotten job {job.ident}, and its accounting does not keep where its output went: "
            "that came with Slurm 24.05.",
            next_step=f"It ran in {job.workdir!r}: look there.",
        )
    if not follow and not any(path.exists() for path in paths):
        raise ToolError(
            f"Job {job.ident} has no output file that can be read here: {job.stdout!r}.",
            next_step=f"hpcai show {job.ident}",
        )
    pipes = _pipes_to(paths)
    if follow:
        _follow_job(ctx, context, job, pipes)
    for pipe in pipes:
        pipe.copy()


def _pipes_to(paths: Sequence[Path]) -> list[Pipe]:
    """Of a job's one or two output files the first is its stdout."""
    return [Pipe(path, stream) for path, stream in zip(paths, (sys.stdout, sys.stderr), strict=False)]


def print_bare(ctx: click.Context, context: Context, run: Run, follow: bool, *, has_choice: bool) -> None:
    """The output of a script of the user's own, where Slurm puts it."""
    from hpcai.errors import ToolError

    if has_choice:
        raise ToolError(
            f"{run.name} is a script of your own: nothing tells its ranks and attempts apart.",
            next_step=f"hpcai logs {run.name}",
        )
    if follow:
        follower = follower_of(context, run)
        follow_run(ctx, run, follower, _BareReader(context, run, follower))
    pipes = _pipes_to(_output_of(context, run))
    for pipe in pipes:
        pipe.copy()
    if not any(pipe.offset for pipe in pipes):
        say(f"{run.name} has printed nothing.")


def _output_of(context: Context, run: Run) -> list[Path]:
    from hpcai.errors import ToolError, UnreachableError
    from hpcai.launch.bare import output_of

    try:
        job = find_target(context, run.ident).job
    except UnreachableError:
        job = None
    paths = output_of(run, job)
    if not any(path.exists() for path in paths):
        where = f" ({', '.join(map(repr, map(str, paths)))})" if paths else ""
        raise ToolError(
            f"{run.name} has no output that can be read here{where}: {state_of(context, run)}.",
            next_step=f"hpcai logs -f {run.name}",
        )
    return paths


class _BareReader:
    """Prints what a script of the user's own writes, once Slurm tells where that is."""

    def __init__(self, context: Context, run: Run, follower: RunFollower) -> None:
        self._context = context
        self._run = run
        self._follower = follower
        self._pipes: list[Pipe] = []

    def read(self, current: int) -> None:  # noqa: ARG002 -- which attempt goes on nobody tells
        """Print what is new."""
        from hpcai.errors import UnreachableError
        from hpcai.launch.bare import output_of

        told = self._follower.state.job
        if not self._pipes and told is not None and told.state != "PENDING":
            # A list of many jobs, by which one is followed, does not tell where its stderr goes.
            with suppress(UnreachableError):
                job = find_target(self._context, self._run.ident).job
                self._pipes = _pipes_to(output_of(self._run, job))
        for pipe in self._pipes:
            pipe.copy()

    def end(self) -> None:
        """Say that nothing was printed."""
        if not any(pipe.offset for pipe in self._pipes):
            say(f"{self._run.name} has printed nothing.")


def _follow_job(ctx: click.Context, context: Context, job: JobInfo, pipes: Sequence[Pipe]) -> None:
    from hpcai.cli.following import DETACHED, tell_detached
    from hpcai.launch.ends import outcome_of_job

    next_ask = time.monotonic() + _ASK_EVERY_S
    try:
        while (outcome := outcome_of_job(job)) is None:
            for pipe in pipes:
                pipe.copy()
            time.sleep(READ_EVERY_S)
            if time.monotonic() >= next_ask:
                job = context.client.job(job.ident)
                next_ask = time.monotonic() + _ASK_EVERY_S
        for pipe in pipes:
            pipe.copy()
    except KeyboardInterrupt:
        tell_detached(f"job {job.ident}", job.ident, "following")
        ctx.exit(DETACHED)
    ctx.exit(outcome.status)
