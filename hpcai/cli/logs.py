"""`hpcai logs`: what the ranks of a job printed, as it is or as it comes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.output import put_bytes, say
from hpcai.cli.target import Target, find_target

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.launch.follow import Snapshot
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo

_CHUNK = 1 << 16
_READ_EVERY_S = 0.2
_ASK_EVERY_S = 2.0


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends, over all its attempts.")
@click.option("--rank", type=click.IntRange(min=0), help="Which rank.  [default: 0]")
@click.option("--attempt", type=click.IntRange(min=0), help="Which attempt.  [default: the last]")
@click.option("--batch", is_flag=True, help="What Slurm and the batch part printed, not a rank.")
@click.pass_context
def logs(
    ctx: click.Context, ident: str, follow: bool, rank: int | None, attempt: int | None, batch: bool
) -> None:
    """Print what a job printed.

    ID is a Slurm job id, a run's name, experiment/run, or @last. What a rank wrote to its stdout
    goes to stdout, what it wrote to its stderr to stderr.

    \b
    Exit status: 0, 2 the name fits two runs, or --batch with --rank, 4 no such rank or attempt,
    or no output yet, 5 no such job, 6 Slurm does not answer. With -f, as with
    `hpcai show --wait`: 0 the job completed, else its own status (128 + signal, or 9, when it
    has none), 130 no longer following after Ctrl-C.
    """
    from hpcai.cli.context import find_context

    if batch and rank is not None:
        raise click.UsageError("--batch and --rank both say what to print. Give one of them.")
    context = find_context()
    target = find_target(context, ident, ask_slurm=False)
    if target.run is None:
        _print_job(ctx, context, target, follow)
    elif follow:
        _follow(ctx, context, target.run, rank or 0, attempt, batch)
    else:
        _print(context, target.run, rank, attempt, batch)


def _print(context: Context, run: Run, rank: int | None, attempt: int | None, batch: bool) -> None:
    if batch:
        _Pipe(run.paths.batch_log, sys.stdout).copy()
        return
    number = _attempt(context, run, attempt)
    ranks = _require_rank(context, run, number, rank or 0)
    pipes = [_Pipe(run.paths.log(number, rank or 0, "out"), sys.stdout)]
    pipes.append(_Pipe(run.paths.log(number, rank or 0, "err"), sys.stderr))
    for pipe in pipes:
        pipe.copy()
    if not any(pipe.offset for pipe in pipes):
        say(f"Rank {rank or 0} printed nothing. What Slurm and the batch part said:")
        say(f"hpcai logs --batch {run.name}")
    if rank is None and len(ranks) > 1:
        say(f"This was rank 0 of {len(ranks)}; --rank N prints another.")


def _attempt(context: Context, run: Run, attempt: int | None) -> int:
    """The number of the attempt that is meant. Raises ToolError when it has not been made."""
    from hpcai.errors import ToolError

    numbers = [one.number for one in run.attempts() if one.start is not None]
    if not numbers:
        raise ToolError(
            f"{run.name} has printed nothing: {_state(context, run)}.",
            next_step=f"`hpcai logs -f {run.name}` prints it as it comes, --batch what Slurm said.",
        )
    if attempt is None:
        return numbers[-1]
    if attempt not in numbers:
        made = f"its attempts are 0 to {numbers[-1]}" if numbers[-1] else "its only attempt is 0"
        raise ToolError(f"{run.name} has no attempt {attempt}: {made}.", next_step=f"hpcai show {run.name}")
    return attempt


def _require_rank(context: Context, run: Run, number: int, rank: int) -> list[int]:
    """The ranks that printed something or could. Raises ToolError when `rank` is none of them."""
    from hpcai.errors import ToolError

    ranks = sorted({int(path.stem) for path in run.paths.logs(number)})
    if rank in ranks:
        return ranks
    if not ranks:
        raise ToolError(
            f"No rank of {run.name} has printed anything in attempt {number}: {_state(context, run)}.",
            next_step=f"`hpcai logs --batch {run.name}` prints what Slurm and the batch part said.",
        )
    raise ToolError(
        f"{run.name} has no rank {rank} in attempt {number}: {_state(context, run)}.",
        allowed=f"Its ranks are 0 to {ranks[-1]}." if ranks[-1] else "Its only rank is 0.",
    )


def _state(context: Context, run: Run) -> str:
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


def _follow(
    ctx: click.Context, context: Context, run: Run, rank: int, attempt: int | None, batch: bool
) -> None:
    from hpcai.cli.following import DETACHED, Hopeless, tell_detached
    from hpcai.cli.words import ended
    from hpcai.launch.watch import RunFollower

    follower = RunFollower(run, None if run.is_local else context.slurm)
    reader = _Reader(run, rank, attempt, batch)
    hopeless = Hopeless(run.name)
    try:
        snapshot = follower.poll()
        while snapshot.outcome is None:
            reader.read(snapshot)
            if snapshot.never_starts:
                hopeless.tell(snapshot.words)
            time.sleep(_READ_EVERY_S)
            snapshot = follower.poll()
        reader.read(snapshot)
    except KeyboardInterrupt:
        tell_detached(f"job {run.job_id}" if follower.is_in_slurm else run.name, run.name, "following")
        ctx.exit(DETACHED)
    if not batch and not reader.has_read:
        _require_rank(context, run, snapshot.attempt, rank)
    say(f"{run.name} {ended(snapshot.outcome)}.")
    ctx.exit(snapshot.outcome.status)


class _Reader:
    """Prints what one rank writes, attempt after attempt."""

    def __init__(self, run: Run, rank: int, attempt: int | None, batch: bool) -> None:
        self._run = run
        self._rank = rank
        self._first = attempt
        self._batch = batch
        self._number: int | None = None
        self._pipes: list[_Pipe] = []

    @property
    def has_read(self) -> bool:
        return any(pipe.offset for pipe in self._pipes)

    def read(self, snapshot: Snapshot) -> None:
        """Print what is new, of an attempt that has just ended to its last byte."""
        number = snapshot.attempt if self._first is None else max(self._first, snapshot.attempt)
        if self._number is None or (number > self._number and not self._batch):
            self._copy()
            self._open(number)
        self._copy()

    def _open(self, number: int) -> None:
        if self._number is not None:
            say(f"==> attempt {number} <==")
        self._number = number
        if self._batch:
            self._pipes = [_Pipe(self._run.paths.batch_log, sys.stdout)]
            return
        paths = self._run.paths
        self._pipes = [
            _Pipe(paths.log(number, self._rank, "out"), sys.stdout),
            _Pipe(paths.log(number, self._rank, "err"), sys.stderr),
        ]

    def _copy(self) -> None:
        for pipe in self._pipes:
            pipe.copy()


class _Pipe:
    """Copies a growing file to a stream, each byte once, whatever the bytes are."""

    def __init__(self, path: Path, stream: TextIO | None) -> None:
        self._path = path
        self._stream = stream
        self.offset = 0

    def copy(self) -> None:
        """Everything new; a file that has shrunk is read again from its begin."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self.offset:
                    self.offset = 0
                file.seek(self.offset)
                while chunk := file.read(_CHUNK):
                    put_bytes(self._stream, chunk)
                    self.offset += len(chunk)
        except FileNotFoundError:
            return


def _print_job(ctx: click.Context, context: Context, target: Target, follow: bool) -> None:
    """The output file of a job that hpcai did not submit."""
    from hpcai.errors import ToolError

    job = target.job
    assert job is not None
    path = Path(job.stdout) if job.stdout else None
    if path is None or not (path.exists() or follow):
        raise ToolError(
            f"Job {job.job_id} has no output file that can be read here: {job.stdout!r}.",
            next_step=f"hpcai show {job.job_id}",
        )
    pipe = _Pipe(path, sys.stdout)
    if follow:
        _follow_job(ctx, context, job, pipe)
    pipe.copy()


def _follow_job(ctx: click.Context, context: Context, job: JobInfo, pipe: _Pipe) -> None:
    from hpcai.cli.following import DETACHED, tell_detached
    from hpcai.launch.ends import outcome_of_job

    next_ask = time.monotonic() + _ASK_EVERY_S
    try:
        while (outcome := outcome_of_job(job)) is None:
            pipe.copy()
            time.sleep(_READ_EVERY_S)
            if time.monotonic() >= next_ask:
                job = context.client.job(job.job_id)
                next_ask = time.monotonic() + _ASK_EVERY_S
        pipe.copy()
    except KeyboardInterrupt:
        tell_detached(f"job {job.job_id}", str(job.job_id), "following")
        ctx.exit(DETACHED)
    ctx.exit(outcome.status)
