"""Stays with a run until it has ended: a live view on a terminal, else one plain line per change."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from hpcai.cli import arrays, narrate
from hpcai.cli.ending import suggest
from hpcai.cli.output import say
from hpcai.cli.words import span
from hpcai.errors import WaitTimeout
from hpcai.launch.ends import Outcome, outcome_of_job
from hpcai.launch.follow import Snapshot
from hpcai.launch.local import LocalJob, is_elsewhere
from hpcai.launch.watch import LONGEST_INTERVAL_S, ArrayFollower, RunFollower
from hpcai.runs.record import Run
from hpcai.runs.tails import tail
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.reasons import in_words, never_starts

DETACHED = 130
_DRAW_EVERY_S = 0.25


class Detached(click.exceptions.Exit):
    """Ctrl-C while a job goes on; `state` is the last that Slurm told."""

    def __init__(self, state: str | None) -> None:
        super().__init__(DETACHED)
        self.state = state


def follow(run: Run, client: SlurmClient) -> Outcome:
    """How the run's job ended, told while it goes on, of an array task by task.

    Ctrl-C leaves it running and raises Detached.
    """
    follower: RunFollower = RunFollower(run, client)
    try:
        if run.task_ids():
            follower = ArrayFollower(run, client)
            return _until_end(follower, arrays.teller(follower))
        return _watch(follower, run)
    except KeyboardInterrupt:
        tasks = run.task_ids()
        tell_detached(
            f"job {run.job_id}", run.name, "following", run.of_task(tasks[0]).name if tasks else None
        )
        # That Slurm has taken the job is known before its first answer to a question.
        raise Detached(_state(follower) or "PENDING") from None


def _state(follower: RunFollower) -> str | None:
    return follower.state.job.state if follower.state.job else None


def follow_local(started: LocalJob) -> Outcome:
    """How processes of this machine ended, told while they go on. Ctrl-C ends them."""
    return _watch(RunFollower(started.run, None, local=started), started.run)


def wait(run: Run, client: SlurmClient | None, timeout_s: float | None) -> Outcome:
    """How the run's job ended, without a word until then.

    Raises WaitTimeout. Ctrl-C leaves the job running and raises Detached.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    tell_elsewhere(run)
    follower = RunFollower(run, client)
    hopeless, silence = Hopeless(run.name), Silence()

    def is_late(snapshot: Snapshot) -> None:
        silence.tell(snapshot)
        if snapshot.never_starts:
            hopeless.tell(snapshot.words)
        if deadline is not None and snapshot.outcome is None and time.monotonic() >= deadline:
            raise WaitTimeout(
                f"{run.name} has not ended within {timeout_s:g} s: it {snapshot.words or 'goes on'}.",
                next_step=hopeless.next_step,
            )

    try:
        return _until_end(follower, is_late)
    except KeyboardInterrupt:
        # A run without a job is of another process of this machine.
        job = f"job {run.job_id}" if follower.is_in_slurm else run.name
        tasks = run.task_ids()
        tell_detached(job, run.name, logs_of=run.of_task(tasks[0]).name if tasks else None)
        raise Detached(_state(follower)) from None


def tell_elsewhere(run: Run) -> None:
    """That the processes of another machine are waited for, whose death nobody here can see."""
    host = is_elsewhere(run) if run.is_local else None
    if host is not None:
        say(f"{run.name} runs on {host!r}: from here only its record tells of its end.")


def _watch(follower: RunFollower, run: Run) -> Outcome:
    from hpcai.cli import live

    screen = live.console()
    job_id = run.job_id if follower.is_in_slurm else None
    if not live.can_draw(screen):
        return _until_end(follower, _teller(run.name))
    with live.View(screen, run.name, job_id) as view:
        return _until_end(follower, lambda snapshot: view.show(snapshot, _tail(run, snapshot)))


def _teller(name: str) -> Callable[[Snapshot], None]:
    """Prints what is new."""
    narrator = narrate.Narrator()
    hopeless = Hopeless(name)

    def tell(snapshot: Snapshot) -> None:
        for line in narrator.tell(snapshot):
            say(line)
        if snapshot.never_starts:
            hopeless.tell()

    return tell


class Hopeless:
    """Tells once that a job never starts as it is, and what takes it out of the queue."""

    def __init__(self, ident: str, name: str | None = None) -> None:
        self._ident = ident
        self._name = name or ident
        self._told = False

    def tell(self, words: str | None = None) -> None:
        """`words` is what Slurm says, where that has not been told."""
        if not self._told:
            if words:
                say(f"{self._name} {words}.")
            suggest(f"hpcai cancel {self._ident}")
        self._told = True

    @property
    def next_step(self) -> str:
        """What to type when waiting was too long."""
        return f"hpcai cancel {self._ident}" if self._told else f"hpcai show {self._ident} --wait"


class Silence:
    """Tells once, to whoever waits without another word, that Slurm does not answer."""

    def __init__(self) -> None:
        self._told = False

    def tell(self, snapshot: Snapshot) -> None:
        if snapshot.silent_s and not self._told:
            say(f"Slurm has not answered for {span(snapshot.silent_s)}; asking on.")
        self._told = bool(snapshot.silent_s)


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
    """How a job ended that has no record.

    Raises WaitTimeout, NotFoundError once Slurm has forgotten it, and Detached after Ctrl-C.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s = 0.5
    hopeless = Hopeless(job.ident, f"Job {job.ident}")
    try:
        while True:
            job = client.job(job.ident)
            outcome = outcome_of_job(job)
            if outcome is not None:
                return outcome
            if never_starts(job):
                hopeless.tell(in_words(job))
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"Job {job.ident} has not ended within {timeout_s:g} s: it {in_words(job)}.",
                    next_step=hopeless.next_step,
                )
            time.sleep(pause_s)
            pause_s = min(LONGEST_INTERVAL_S, pause_s * 1.2)
    except KeyboardInterrupt:
        tell_detached(f"job {job.ident}", job.ident)
        raise Detached(job.state) from None


def tell_detached(what: str, ident: str, doing: str = "waiting", logs_of: str | None = None) -> None:
    """That a job goes on without whoever stayed with it, and what to type next.

    `logs_of` is what has logs, default: `ident`.
    """
    name = logs_of or ident
    say(f"\nNo longer {doing}; {what} goes on.")
    suggest(f"hpcai show {ident} --wait", f"hpcai logs -f {name}", f"hpcai cancel {ident}")
