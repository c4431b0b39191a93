"""Follows one run: its record is read often, Slurm is asked seldom, and only one question at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from hpcai.errors import UnreachableError
from hpcai.launch import ends
from hpcai.launch.ends import Outcome
from hpcai.launch.follow import RunState, Snapshot
from hpcai.launch.local import LocalJob, settle
from hpcai.runs.jsonl import Follower
from hpcai.runs.metrics import parse_value
from hpcai.runs.record import Run
from hpcai.runs.waterfall import submitted_at
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient, most_telling
from hpcai.slurm.failures import AccountingUnreachable
from hpcai.slurm.follower import FollowingClient
from hpcai.slurm.shared import MAX_AGE_S

# Slurm is asked at this interval at first, and less and less often while nothing changes.
FIRST_INTERVAL_S = 1.0
LONGEST_INTERVAL_S = 10.0
# Once the batch part has ended, Slurm takes note within moments: then it is asked at this interval at first.
ENDING_INTERVAL_S = 0.25
# After so long without an answer, following ends: the job may go on.
SILENCE_LIMIT_S = 900.0


@dataclass
class _Files:
    """The growing files of a record, each read from where the last reading ended."""

    run: Run
    data: dict[str, Follower] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.attempts = Follower(self.run.paths.attempts)
        self.ends = Follower(self.run.paths.ends)
        self.metrics = Follower(self.run.paths.metrics())

    def feed(self, state: RunState) -> bool:
        """Whether the batch part wrote something: then Slurm has news too."""
        lines = self.attempts.poll()
        state.feed_attempts(lines)
        state.feed_ends(self.ends.poll())
        values = (parse_value(record) for record in self.metrics.poll())
        state.feed_values(value for value in values if value is not None)
        for path in self.run.paths.data_files():
            follower = self.data.setdefault(path.stem, Follower(path))
            state.feed_data(path.stem, follower.poll())
        return bool(lines)


class Question:
    """What Slurm says of the run's job, asked in the background: an answer can take 20 s."""

    def __init__(self, ask: Callable[[], JobInfo | None]) -> None:
        self._ask = ask
        self._answer: Future[JobInfo | None] | None = None

    def is_open(self) -> bool:
        return self._answer is not None

    def ask(self) -> None:
        self._answer = Future()
        # A daemon: Ctrl-C must not wait for an answer.
        thread = threading.Thread(target=self._run, args=(self._answer,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._answer.set_exception(UnreachableError(f"Slurm could not be asked: {error}."))

    def is_answered(self) -> bool:
        return self._answer is not None and self._answer.done()

    def take(self) -> JobInfo | None:
        """The answer. Raises whatever kept it from coming."""
        assert self._answer is not None
        answer, self._answer = self._answer, None
        return answer.result()

    def _run(self, answer: Future[JobInfo | None]) -> None:
        try:
            answer.set_result(self._ask())
        except BaseException as error:  # noqa: BLE001 -- raised by `take`, in the thread that follows
            answer.set_exception(error)


class RunFollower:
    """One run as it goes on; `poll` is cheap and may be called several times a second."""

    def __init__(self, run: Run, client: SlurmClient | None, *, local: LocalJob | None = None) -> None:
        """A run in Slurm needs a client; one of this machine's processes is `local`."""
        self.run = run
        self._local = local
        self._files = _Files(run)
        self.state = RunState.of(run.resolved())
        self.state.submitted = submitted_at(run)
        self._slurm = FollowingClient(client.environ) if client else None
        self._question = Question(self._collect) if self._slurm else None
        self._interval_s = FIRST_INTERVAL_S
        self._next_ask = 0.0
        self._last_answer = time.monotonic()

    @property
    def is_in_slurm(self) -> bool:
        return self._question is not None

    def poll(self) -> Snapshot:
        """The run as it stands.

        Raises UnreachableError when Slurm has not answered for 15 minutes, and what else Slurm said.
        """
        news = self._files.feed(self.state)
        if self._local is not None:
            if self._local.poll() is not None:
                self.state.outcome = ends.outcome_of_record(self.run)
        elif self._question is not None:
            self._ask_slurm(self._question, news)
        else:
            self._settle()
            self.state.outcome = ends.outcome_of_record(self.run)
        if self.state.outcome is not None:
            # The last lines were written before the end was known.
            self._files.feed(self.state)
        return self.state.snapshot(time.time(), silent_s=self._silent_s())

    def _settle(self) -> None:
        """Whoever would note the end of processes of this machine may have been killed."""
        now = time.monotonic()
        if self.run.is_local and now >= self._next_ask:
            self._next_ask = now + FIRST_INTERVAL_S
            settle(self.run)

    def _ask_slurm(self, question: Question, news: bool) -> None:
        assert self._slurm is not None
        if news:
            self._interval_s, self._next_ask = self._first_interval_s(), 0.0
            self._slurm.expect_news()
        if question.is_answered():
            self._take(question)
        now = time.monotonic()
        if not question.is_open() and now >= self._next_ask and self.state.outcome is None:
            # Less than has passed since this follower's own last question.
            self._slurm.max_age_s = min(MAX_AGE_S, 0.75 * self._interval_s)
            question.ask()
            self._next_ask = now + self._interval_s
            self._interval_s = min(LONGEST_INTERVAL_S, self._interval_s * 1.2)

    def _take(self, question: Question) -> None:
        try:
            answer = question.take()
        except UnreachableError as error:
            if isinstance(error, AccountingUnreachable):
                # slurmctld has forgotten the job: it has ended, and the record may tell how.
                self.state.outcome = ends.outcome_of_record(self.run)
            if self.state.outcome is None and self._silent_s() > SILENCE_LIMIT_S:
                raise
            return
        self._last_answer = time.monotonic()
        if answer is None:
            self.state.outcome = ends.outcome_of_record(self.run) or Outcome("UNKNOWN", "unknown", None, None)
            return
        is_new = self.state.job is None or answer.state != self.state.job.state
        self.state.job = answer
        if is_new:
            self._interval_s = self._first_interval_s()
        self.state.outcome = ends.outcome_of_run(self.run, answer)

    def _first_interval_s(self) -> float:
        return ENDING_INTERVAL_S if self.state.is_ending else FIRST_INTERVAL_S

    def _collect(self) -> JobInfo | None:
        assert self._slurm is not None
        return ends.collect(self.run, self._slurm)

    def _silent_s(self) -> float:
        silent_s = time.monotonic() - self._last_answer
        # One answer may take a while, and nobody was asked in the meantime.
        return silent_s if silent_s > LONGEST_INTERVAL_S + 2 and self.is_in_slurm else 0.0


class ArrayFollower(RunFollower):
    """An array as it goes on: beside what tells of all its tasks, each task as it ends."""

    def __init__(self, run: Run, client: SlurmClient) -> None:
        super().__init__(run, client)
        self._tasks: list[JobInfo] = []
        self._ended: set[int] = set()

    def new_ends(self) -> list[tuple[int, JobInfo]]:
        """The tasks that ended since this was last asked, in the order of their ends."""
        found = [(number, job) for job in self._tasks if job.is_final for number in job.array_task_ids]
        new = [one for one in found if one[0] not in self._ended]
        self._ended.update(number for number, _ in new)
        return sorted(new, key=lambda one: (one[1].end_time or 0.0, one[0]))

    def _collect(self) -> JobInfo | None:
        assert self._slurm is not None
        tasks = ends.collect_tasks(self.run, self._slurm)
        self._tasks = tasks or self._tasks
        return most_telling(tasks, str(self.run.slurm_id)) if tasks else None
