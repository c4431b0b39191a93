"""Stays with a run until it has ended: a live view on a terminal, else one plain line per change."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from hpcai.cli import narrate
from hpcai.cli.ending import suggest, tail
from hpcai.cli.output import say
from hpcai.errors import WaitTimeout
from hpcai.launch.ends import Outcome, outcome_of_job
from hpcai.launch.follow import Snapshot
from hpcai.launch.local import LocalJob
from hpcai.launch.watch import LONGEST_INTERVAL_S, RunFollower
from hpcai.runs.record import Run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient

DETACHED = 130
_DRAW_EVERY_S = 0.25


def follow(run: Run, client: SlurmClient) -> Outcome:
    """How the run's job ended, told while it goes on.

    Ctrl-C leaves it running and exits with 130.
    """
    try:
        return _watch(RunFollower(run, client), run)
    except KeyboardInterrupt:
        say(f"\nNo longer following; job {run.job_id} goes on.")
        suggest(f"hpcai show {run.name} --wait", f"hpcai logs -f {run.name}", f"hpcai cancel {run.name}")
        raise click.exceptions.Exit(DETACHED) from None


def follow_local(started: LocalJob) -> Outcome:
    """How processes of this machine ended, told while they go on. Ctrl-C ends them."""
    return _watch(RunFollower(started.run, None, local=started), started.run)


def wait(run: Run, client: SlurmClient | None, timeout_s: float | None) -> Outcome:
    """How the run's job ended, without a word until then.

    Raises WaitTimeout. Ctrl-C leaves the job running and exits with 130.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    follower = RunFollower(run, client)

    def is_late(snapshot: Snapshot) -> None:
        if deadline is not None and snapshot.outcome is None and time.monotonic() >= deadline:
            raise WaitTimeout(
                f"{run.name} has not ended within {timeout_s:g} s: it {snapshot.words or 'goes on'}",
                next_step=f"hpcai show {run.name} --wait",
            )

    try:
        return _until_end(follower, is_late)
    except KeyboardInterrupt:
        say(f"\nNo longer waiting; job {run.job_id} goes on.")
        raise click.exceptions.Exit(DETACHED) from None


def _watch(follower: RunFollower, run: Run) -> Outcome:
    from hpcai.cli import live

    screen = live.console()
    job_id = run.job_id if follower.is_in_slurm else None
    if not live.can_draw(screen):
        return _until_end(follower, _teller())
    with live.View(screen, run.name, job_id) as view:
        return _until_end(follower, lambda snapshot: view.show(snapshot, _tail(run, snapshot)))


def _teller() -> Callable[[Snapshot], None]:
    """Prints what is new."""
    narrator = narrate.Narrator()

    def tell(snapshot: Snapshot) -> None:
        for line in narrator.tell(snapshot):
            say(line)

    return tell


def _until_end(follower: RunFollower, show: Callable[[Snapshot], None]) -> Outcome:
    while True:
        snapshot = follower.poll()
        show(snapshot)
        if snapshot.outcome is not None:
            return snapshot.outcome
        time.sleep(_DRAW_EVERY_S)


def _tail(run: Run, snapshot: Snapshot) -> list[str]:
    """The last lines of rank 0, for a job that writes no metrics."""
    return tail(run.paths.log(snapshot.attempt, 0), 6) or tail(run.paths.batch_log, 6)


def wait_for_job(client: SlurmClient, job: JobInfo, timeout_s: float | None) -> Outcome:
    """How a job ended that has no record. Raises WaitTimeout, NotFoundError once Slurm has forgotten it."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s = 0.5
    try:
        while True:
            outcome = outcome_of_job(client.job(job.job_id))
            if outcome is not None:
                return outcome
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"Job {job.job_id} has not ended within {timeout_s:g} s")
            time.sleep(pause_s)
            pause_s = min(LONGEST_INTERVAL_S, pause_s * 1.2)
    except KeyboardInterrupt:
        say(f"\nNo longer waiting; job {job.job_id} goes on.")
        raise click.exceptions.Exit(DETACHED) from None
