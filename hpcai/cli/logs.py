"""`hpcai logs`: what the ranks of a job printed, as it is or as it comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.output import say
from hpcai.cli.pipes import Pipe
from hpcai.cli.target import client_to_wait_by, find_target

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.errors import ToolError
    from hpcai.launch.watch import RunFollower
    from hpcai.runs.record import Run

READ_EVERY_S = 0.2


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends, over all attempts that come.")
@click.option("--rank", type=click.IntRange(min=0), help="Which rank.  [default: 0]")
@click.option(
    "--attempt", type=click.IntRange(min=0), help="Which attempt, with -f the first.  [default: the last]"
)
@click.option("--batch", is_flag=True, help="What Slurm and the batch part printed, not a rank.")
@click.pass_context
def logs(
    ctx: click.Context, ident: str, follow: bool, rank: int | None, attempt: int | None, batch: bool
) -> None:
    """Print what a job printed.

    ID is a Slurm job id, a run's name, experiment/run, or @last; of an array with the number of
    one task behind it (12_3, @last_3). Of a script of your own, or a job that hpcai did not submit,
    the files that Slurm names. What a rank wrote to its stdout goes to stdout, what it wrote
    to its stderr to stderr. --batch is of all attempts.

    \b
    Exit status: 0, 2 the name fits two runs, or --batch with --rank or --attempt, 4 no such rank
    or attempt, no output yet, or an array without the number of a task, 5 no such job, 6 Slurm does
    not answer. With -f, as with `hpcai show --wait`: 0 the job completed, else its own status
    (128 + signal, or 9, when it has none), 4 also where there is no Slurm, 130 no longer following
    after Ctrl-C.
    """
    from hpcai.cli.context import find_context

    for given, option in ((rank, "--rank"), (attempt, "--attempt")):
        if batch and given is not None:
            raise click.UsageError(f"--batch and {option} both say what to print. Give one of them.")
    context = find_context()
    target = find_target(context, ident, ask_slurm=False)
    if target.run is not None and (tasks := target.run.task_ids()):
        raise _which_task(target.run, tasks)
    has_choice = (rank, attempt) != (None, None)
    if target.run is None:
        from hpcai.cli.logs_slurm import print_job

        print_job(ctx, context, target, follow, has_choice=has_choice)
    elif target.run.is_bare:
        from hpcai.cli.logs_slurm import print_bare

        print_bare(ctx, context, target.run, follow, has_choice=has_choice)
    elif follow:
        follower = follower_of(context, target.run)
        follow_run(ctx, target.run, follower, _Reader(context, target.run, rank or 0, attempt, batch))
    elif batch:
        _print_batch(context, target.run)
    else:
        _print(context, target.run, rank, attempt)


def _which_task(run: Run, tasks: tuple[int, ...]) -> ToolError:
    from hpcai.errors import ToolError
    from hpcai.units import format_array

    name = run.of_task(tasks[0]).name
    return ToolError(
        f"{run.name} is an array, and each of its tasks has logs of its own.",
        allowed=f"Its tasks are {format_array(tasks)}.",
        next_step=f"hpcai logs {name}",
    )


def _print(context: Context, run: Run, rank: int | None, attempt: int | None) -> None:
    numbers = _attempts(run)
    if not numbers:
        follow = f"`hpcai logs -f {run.name}` prints it as it comes, --batch what Slurm said."
        raise _nothing(context, run, f"{run.name} has printed nothing", follow)
    number = numbers[-1] if attempt is None else _require_attempt(run, numbers, attempt)
    ranks = _ranks(run, [number])
    if not ranks:
        batch = f"`hpcai logs --batch {run.name}` prints what Slurm and the batch part said."
        raise _nothing(context, run, f"No rank of {run.name} has printed anything in attempt {number}", batch)
    _require_rank(context, run, ranks, rank or 0)
    pipes = _pipes(run, number, rank or 0)
    for pipe in pipes:
        pipe.copy()
    if not any(pipe.offset for pipe in pipes):
        _say_silent(run, rank or 0)
    if rank is None and len(ranks) > 1:
        say(f"This was rank 0 of {len(ranks)}; --rank N prints another.")


def _print_batch(context: Context, run: Run) -> None:
    if not run.paths.batch_log.exists():
        follow = f"`hpcai logs --batch -f {run.name}` prints it as it comes."
        raise _nothing(context, run, f"The batch part of {run.name} has printed nothing", follow)
    Pipe(run.paths.batch_log, sys.stdout).copy()


def _attempts(run: Run) -> list[int]:
    """The numbers of the attempts that have begun."""
    return [one.number for one in run.attempts() if one.start is not None]


def _require_attempt(run: Run, numbers: list[int], attempt: int) -> int:
    from hpcai.errors import ToolError

    if attempt in numbers:
        return attempt
    made = f"its attempts are 0 to {numbers[-1]}" if numbers[-1] else "its only attempt is 0"
    raise ToolError(f"{run.name} has no attempt {attempt}: {made}.", next_step=f"hpcai show {run.name}")


def _ranks(run: Run, attempts: Iterable[int]) -> list[int]:
    """The ranks that printed something, or could, in any of these attempts."""
    return sorted({int(path.stem) for number in attempts for path in run.paths.logs(number)})


def _require_rank(context: Context, run: Run, ranks: list[int], rank: int) -> None:
    from hpcai.errors import ToolError

    if rank not in ranks:
        raise ToolError(
            f"{run.name} has no rank {rank}: {state_of(context, run)}.",
            allowed=f"Its ranks are 0 to {ranks[-1]}." if ranks[-1] else "Its only rank is 0.",
        )


def _nothing(context: Context, run: Run, what: str, next_step: str) -> ToolError:
    from hpcai.errors import ToolError

    return ToolError(f"{what}: {state_of(context, run)}.", next_step=next_step)


def _say_silent(run: Run, rank: int) -> None:
    say(f"Rank {rank} printed nothing. What Slurm and the batch part said:")
    say(f"hpcai logs --batch {run.name}")


def state_of(context: Context, run: Run) -> str:
    """How it stands with a run, after its name and a colon."""
    from hpcai.cli.words import ended
    from hpcai.errors import UnreachableError
    from hpcai.slurm.reasons import in_words

    try:
        target = find_target(context, run.ident)
    except UnreachableError:
        return "Slurm does not answer"
    if target.outcome is not None:
        return f"it {ended(target.outcome)}"
    return f"it {in_words(target.job)}" if target.job else "it has not started"


def follower_of(context: Context, run: Run) -> RunFollower:
    from hpcai.launch.watch import RunFollower

    return RunFollower(run, client_to_wait_by(context, run))


def follow_run(ctx: click.Context, run: Run, follower: RunFollower, reader: Reader) -> None:
    from hpcai.cli.following import DETACHED, Hopeless, Silence, tell_detached
    from hpcai.cli.words import ended

    hopeless, silence = Hopeless(run.name), Silence()
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
    ctx.exit(snapshot.outcome.status)


class Reader(Protocol):
    """Prints what a job writes, while it goes on."""

    def read(self, current: int) -> None:
        """Print what is new; `current` is the attempt that goes on."""

    def end(self) -> None:
        """Say what there is to say of a job that has ended."""


class _Reader:
    """Prints what one rank writes, attempt after attempt, or what the batch part writes."""

    def __init__(self, context: Context, run: Run, rank: int, attempt: int | None, batch: bool) -> None:
        """Begins at `attempt`, which must have begun, or be the first; default: the one that goes on."""
        self._context = context
        self._run = run
        self._rank = rank
        self._batch = batch
        self._first = attempt and _require_attempt(run, _attempts(run) or [0], attempt)
        self._pipes: dict[int, list[Pipe]] = {}

    def read(self, current: int) -> None:
        """Print what is new, of attempts before the current one to their last byte."""
        if not self._pipes:
            self._open(current if self._first is None else self._first)
        self._copy()
        while not self._batch and max(self._pipes) < current:
            say(f"==> attempt {max(self._pipes) + 1} <==")
            self._open(max(self._pipes) + 1)
            self._copy()

    def end(self) -> None:
        """Say that nothing was printed. Raises ToolError when there were ranks, and this is none of them."""
        if self._batch or any(pipe.offset for pipes in self._pipes.values() for pipe in pipes):
            return
        ranks = _ranks(self._run, self._pipes)
        if ranks:
            _require_rank(self._context, self._run, ranks, self._rank)
        _say_silent(self._run, self._rank)

    def _open(self, number: int) -> None:
        batch_log = [Pipe(self._run.paths.batch_log, sys.stdout)]
        self._pipes[number] = batch_log if self._batch else _pipes(self._run, number, self._rank)

    def _copy(self) -> None:
        for pipe in self._pipes[max(self._pipes)]:
            pipe.copy()


def _pipes(run: Run, number: int, rank: int) -> list[Pipe]:
    paths = run.paths
    return [
        Pipe(paths.log(number, rank, "out"), sys.stdout),
        Pipe(paths.log(number, rank, "err"), sys.stderr),
    ]
