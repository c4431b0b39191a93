"""`hpcai logs -f`: what a job prints, as it comes, until it has ended."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

import click

from hpcai.cli.logs import attempts_of, require_attempt, say_silent
from hpcai.cli.logs_ranks import RankPipes, ranks_of, require_ranks, say_nothing_matches
from hpcai.cli.output import say
from hpcai.cli.pipes import Pipe
from hpcai.cli.target import client_to_wait_by

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.cli.logs_ranks import Wanted
    from hpcai.launch.watch import RunFollower
    from hpcai.runs.record import Run

READ_EVERY_S = 0.2


class Reader(Protocol):
    """Prints what a job writes, while it goes on."""

    def read(self, current: int) -> None:
        """Print what is new; `current` is the attempt that goes on."""

    def end(self) -> None:
        """Print the rest, and say what there is to say of a job that has ended."""


def follow_ranks(ctx: click.Context, context: Context, run: Run, wanted: Wanted) -> None:
    """What the ranks of a run print, or its batch part; ends this command with the job's status."""
    follower = follower_of(context, run)
    reader = _BatchReader(run, wanted) if wanted.batch else _RankReader(context, run, wanted)
    follow_run(ctx, run, follower, reader)


def follower_of(context: Context, run: Run) -> RunFollower:
    from hpcai.launch.watch import RunFollower

    return RunFollower(run, client_to_wait_by(context, run))


def follow_run(ctx: click.Context, run: Run, follower: RunFollower, reader: Reader) -> None:
    """Prints what the reader reads until the run has ended, and ends this command with its status."""
    from hpcai.cli.following import DETACHED, Hopeless, Silence, tell_detached, tell_elsewhere
    from hpcai.cli.words import ended

    hopeless, silence = Hopeless(run.name), Silence()
    tell_elsewhere(run)
    try:
        snapshot = follower.poll()
        while snapshot.outcome is None:
            reader.read(snapshot.attempt)
            silence.tell(snapshot)
            if snapshot.never_starts:
                hopeless.tell(snapshot.words)
            time.sleep(READ_EVERY_S)
            snapshot = follower.poll()
        reader.read(snapshot.attempt)
    except KeyboardInterrupt:
        tell_detached(f"job {run.job_id}" if follower.is_in_slurm else run.name, run.name, "following")
        ctx.exit(DETACHED)
    reader.end()
    say(f"{run.name} {ended(snapshot.outcome)}.")
    if snapshot.outcome.state != "COMPLETED":
        from hpcai.cli.ending import say_why

        say_why(run)
    ctx.exit(snapshot.outcome.status)


class _RankReader:
    """Prints what ranks write, attempt after attempt."""

    def __init__(self, context: Context, run: Run, wanted: Wanted) -> None:
        """Begins at the wanted attempt, which must have begun, or be the first; else the one that goes on."""
        self._context = context
        self._run = run
        self._wanted = wanted
        first = wanted.attempt
        self._first = first and require_attempt(run, attempts_of(run) or [0], first)
        self._ranks: dict[int, RankPipes] = {}

    def read(self, current: int) -> None:
        """Print what is new, of attempts before the current one to their last byte."""
        if not self._ranks:
            self._open(current if self._first is None else self._first)
        self._ranks[max(self._ranks)].copy()
        while max(self._ranks) < current:
            self._ranks[max(self._ranks)].finish()
            say(f"==> attempt {max(self._ranks) + 1} <==")
            self._open(max(self._ranks) + 1)
            self._ranks[max(self._ranks)].copy()

    def end(self) -> None:
        """Print the rest, and say that nothing was printed.

        Raises ToolError when there were ranks, and one that is meant is none.
        """
        self._ranks[max(self._ranks)].finish()
        pipes = [pipe for ranks in self._ranks.values() for pipe in ranks.pipes]
        if all(pipe.is_empty for pipe in pipes):
            there = ranks_of(self._run, self._ranks)
            if there:
                require_ranks(self._context, self._run, there, self._wanted)
            say_silent(self._run, self._wanted)
        elif self._wanted.lines.grep is not None and not any(pipe.has_printed for pipe in pipes):
            say_nothing_matches(self._run.name, self._wanted.lines)

    def _open(self, number: int) -> None:
        # What comes while somebody follows is printed whole.
        wanted = self._wanted.without_tail() if self._ranks else self._wanted
        self._ranks[number] = RankPipes(self._run, number, wanted)


class _BatchReader:
    """Prints what the batch part writes, over all attempts."""

    def __init__(self, run: Run, wanted: Wanted) -> None:
        self._pipe = Pipe(run.paths.batch_log, sys.stdout, wanted.lines)

    def read(self, _: int) -> None:
        """Print what is new."""
        self._pipe.copy()

    def end(self) -> None:
        """Print the rest."""
        self._pipe.copy()
        self._pipe.finish()
