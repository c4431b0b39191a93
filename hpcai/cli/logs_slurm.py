"""`hpcai logs` of jobs whose output lies where Slurm puts it: the user's own scripts, and jobs of others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli.logs import state_of
from hpcai.cli.logs_follow import READ_EVERY_S, follow_run, follower_of
from hpcai.cli.logs_ranks import say_nothing_matches
from hpcai.cli.output import say
from hpcai.cli.pipes import Chosen, Pipe, finish_all
from hpcai.cli.target import Target, find_target
from hpcai.entry import looked_at

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.cli.logs_ranks import Wanted
    from hpcai.launch.ends import Outcome
    from hpcai.launch.watch import RunFollower
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo

_ASK_EVERY_S = 2.0


def print_job(ctx: click.Context, context: Context, target: Target, follow: bool, wanted: Wanted) -> None:
    """The output file of a job that hpcai did not submit."""
    from hpcai.errors import ToolError
    from hpcai.launch.bare import output_of_job

    job = target.job
    assert job is not None
    if (wanted.ranks, wanted.attempt) != (None, None):
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
    if not follow and not any(map(_may_be_there, paths)):
        raise ToolError(
            f"Job {job.ident} has no output file that can be read here: {job.stdout!r}.",
            next_step=f"hpcai show {job.ident}",
        )
    pipes = _pipes_to(paths, wanted.lines)
    if follow:
        _follow_job(ctx, context, job, pipes)
    _print_all(pipes, f"job {job.ident}", wanted.lines)


def _may_be_there(path: Path) -> bool:
    """Also of what this user may not see: reading it then tells so."""
    found = looked_at(path)
    return found.is_there or found.refused is not None


def _pipes_to(paths: Sequence[Path], lines: Chosen) -> list[Pipe]:
    """Of a job's one or two output files the first is its stdout."""
    return [Pipe(path, stream, lines) for path, stream in zip(paths, (sys.stdout, sys.stderr), strict=False)]


def _print_all(pipes: Sequence[Pipe], name: str, lines: Chosen) -> None:
    finish_all(pipes)
    if all(pipe.is_empty for pipe in pipes):
        say(f"{name[0].upper()}{name[1:]} has printed nothing.")
    elif lines.grep is not None and not any(pipe.has_printed for pipe in pipes):
        say_nothing_matches(name, lines)


def print_bare(ctx: click.Context, context: Context, run: Run, follow: bool, wanted: Wanted) -> None:
    """The output of a script of the user's own, where Slurm puts it."""
    from hpcai.errors import ToolError

    if (wanted.ranks, wanted.attempt) != (None, None):
        raise ToolError(
            f"{run.name} is a script of your own: nothing tells its ranks and attempts apart.",
            next_step=f"hpcai logs {run.name}",
        )
    if follow:
        follower = follower_of(context, run)
        follow_run(ctx, run, follower, _BareReader(context, run, follower, wanted.lines))
    _print_all(_pipes_to(_output_of(context, run), wanted.lines), run.name, wanted.lines)


def _output_of(context: Context, run: Run) -> list[Path]:
    from hpcai.errors import ToolError, UnreachableError
    from hpcai.launch.bare import output_of

    try:
        job = find_target(context, run.ident).job
    except UnreachableError:
        job = None
    paths = output_of(run, job)
    if not any(map(_may_be_there, paths)):
        where = f" ({', '.join(map(repr, map(str, paths)))})" if paths else ""
        raise ToolError(
            f"{run.name} has no output that can be read here{where}: {state_of(context, run)}.",
            next_step=f"hpcai logs -f {run.name}",
        )
    return paths


class _BareReader:
    """Prints what a script of the user's own writes, once Slurm tells where that is."""

    def __init__(self, context: Context, run: Run, follower: RunFollower, lines: Chosen) -> None:
        self._context = context
        self._run = run
        self._follower = follower
        self._lines = lines
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
                self._pipes = _pipes_to(output_of(self._run, job), self._lines)
        for pipe in self._pipes:
            pipe.copy()

    def end(self) -> None:
        """Print the rest, and say that nothing was printed."""
        _print_all(self._pipes, self._run.name, self._lines)


def _follow_job(ctx: click.Context, context: Context, job: JobInfo, pipes: Sequence[Pipe]) -> None:
    from hpcai.cli.following import DETACHED, tell_detached
    from hpcai.cli.words import ended

    try:
        outcome = _copy_until_end(context, job, pipes)
    except KeyboardInterrupt:
        tell_detached(f"job {job.ident}", job.ident, "following")
        ctx.exit(DETACHED)
    finish_all(pipes)
    say(f"Job {job.ident} {ended(outcome)}.")
    ctx.exit(outcome.status)


def _copy_until_end(context: Context, job: JobInfo, pipes: Sequence[Pipe]) -> Outcome:
    """How the job ended.

    Raises NotFoundError once Slurm has forgotten it, UnreachableError when it was silent for 15 minutes.
    """
    from hpcai.errors import UnreachableError
    from hpcai.launch.ends import outcome_of_job
    from hpcai.launch.watch import SILENCE_LIMIT_S, Question
    from hpcai.slurm.follower import FollowingClient

    client = FollowingClient(context.client.environ)
    # Slurm's answer may take long: what the job prints meanwhile does not wait for it.
    question = Question(lambda: client.job(job.ident))
    next_ask = time.monotonic() + _ASK_EVERY_S
    last_answer = time.monotonic()
    while (outcome := outcome_of_job(job)) is None:
        for pipe in pipes:
            pipe.copy()
        time.sleep(READ_EVERY_S)
        now = time.monotonic()
        if question.is_answered():
            try:
                job, last_answer = question.take() or job, now
            except UnreachableError:
                if now - last_answer > SILENCE_LIMIT_S:
                    raise
        elif not question.is_open() and now >= next_ask:
            question.ask()
            next_ask = now + _ASK_EVERY_S
    return outcome
