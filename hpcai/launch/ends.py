"""How the attempts of a run ended: what Slurm says, joined with what the batch part left behind."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpcai.errors import NotFoundError
from hpcai.runs.attempts import Cause, RunAttempt
from hpcai.runs.record import Run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient

# What waiting for a job answers when Slurm names neither a status nor a signal (a node failed).
NO_STATUS = 9

_CAUSES: dict[str, Cause] = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "LAUNCH_FAILED": "failed",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "time_limit",
    "DEADLINE": "time_limit",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "OUT_OF_MEMORY": "out_of_memory",
}
# What slurmstepd writes to the batch part's output when it ends a job before its time.
_LAST_WORD = re.compile(
    r"\*\*\* JOB (?P<job_id>\d+) ON \S+ CANCELLED AT (?P<at>\S+) DUE TO (?P<why>[A-Z ]+?)(,| \*\*\*)"
)
_WHYS: dict[str, Cause] = {
    "NODE FAILURE": "node_failure",
    "PREEMPTION": "preempted",
    "JOB REQUEUE": "requeued",
    "TIME LIMIT": "time_limit",
}
_STATE_OF_CAUSE = {"node_failure": "NODE_FAIL", "preempted": "PREEMPTED"}


def cause_of(state: str) -> Cause:
    """The end cause of a job that is in this final state."""
    return _CAUSES.get(state, "unknown")


@dataclass(frozen=True)
class Outcome:
    """How a job ended for good."""

    state: str
    cause: str
    exit_status: int | None
    signal: int | None

    @property
    def status(self) -> int:
        """The exit status of waiting for this job: 0 for COMPLETED only."""
        if self.state == "COMPLETED":
            return 0
        if self.exit_status:
            return self.exit_status
        return 128 + self.signal if self.signal else NO_STATUS


def outcome_of_job(job: JobInfo) -> Outcome | None:
    """How the job ended, None while it has not."""
    if not job.is_final:
        return None
    return Outcome(job.state, cause_of(job.state), job.exit_status, job.signal or None)


def outcome_of_record(run: Run) -> Outcome | None:
    """How the run ended by its record alone, None when the record does not tell."""
    attempts = run.attempts()
    if not attempts or attempts[-1].cause is None:
        return None
    last = attempts[-1]
    state = last.state or ("COMPLETED" if last.cause == "completed" else "FAILED")
    return Outcome(state, str(last.cause), last.exit_status, last.signal)


@dataclass(frozen=True)
class Evidence:
    """What tells why Slurm took an attempt's nodes away and started the job again."""

    last_word: Cause | None
    """What slurmstepd wrote during this attempt; None when it wrote nothing."""
    a_node_is_down: bool
    exit_status: int | None
    """What the batch part wrote at its end; None when it did not come to it."""
    noted: Cause | None = None
    """The cause that the batch part noted, when the job's retries are counted."""


def cause_of_requeue(evidence: Evidence) -> Cause:
    """Why an attempt ended that Slurm followed by another."""
    if evidence.noted is not None:
        return evidence.noted
    if evidence.last_word is not None:
        return evidence.last_word
    # A batch part that came to its own end was put back by somebody's requeue;
    # one that ended without any word went down with its node.
    if evidence.a_node_is_down or evidence.exit_status is None:
        return "node_failure"
    return "requeued"


def last_words(batch_log: str, job_id: int) -> list[tuple[float, Cause]]:
    """When and why slurmstepd ended attempts of a job; instants are read in this machine's time zone."""
    return [
        (datetime.fromisoformat(found["at"]).timestamp(), _WHYS.get(found["why"], "unknown"))
        for found in _LAST_WORD.finditer(batch_log)
        if int(found["job_id"]) == job_id
    ]


def words_by_attempt(
    words: Sequence[tuple[float, Cause]], starts: Mapping[int, float]
) -> dict[int, tuple[float, Cause]]:
    """The last word of each attempt, by the instants at which attempts started."""
    found = {}
    for instant, cause in words:
        # Slurm writes whole seconds.
        begun = [number for number, start in starts.items() if start < instant + 1]
        if begun:
            found[max(begun)] = (instant, cause)
    return found


def collect(run: Run, client: SlurmClient) -> JobInfo | None:
    """What Slurm says of the run's job now; ends that it tells of are added to the record.

    None for a run that Slurm never had or has forgotten.
    """
    job_id = run.job_id
    if job_id is None:
        return None
    try:
        job = client.job(job_id)
    except NotFoundError:
        return None
    if not job.is_of(run.paths.script):
        # Slurm began to count anew, and this number is another job's.
        return None
    record(run, job, client)
    return job


def record(run: Run, job: JobInfo, client: SlurmClient) -> None:
    """Add the ends of attempts that the record does not hold yet."""
    known = {(end.get("attempt"), end.get("cause")) for end in run.ends() if end.get("job_id") == job.job_id}
    ended = {attempt for attempt, _ in known}
    earlier = [number for number in range(job.restarts) if number not in ended]
    # While Slurm still ends an attempt, its last word may not be written yet.
    if earlier and job.state != "COMPLETING":
        _record_requeued(run, job, earlier, client)
    cause = cause_of(job.state)
    if job.is_final and (job.restarts, cause) not in known:
        run.append_end(job.restarts, job.state, job.exit_status, job.signal or None, cause, end=job.end_time)


def _record_requeued(run: Run, job: JobInfo, numbers: Sequence[int], client: SlurmClient) -> None:
    attempts = {attempt.number: attempt for attempt in run.attempts() if attempt.job_id == job.job_id}
    starts = {number: attempt.start for number, attempt in attempts.items() if attempt.start is not None}
    words = words_by_attempt(last_words(_tail(run.paths.batch_log), job.job_id), starts)
    for number in numbers:
        attempt = attempts.get(number, RunAttempt(number))
        said_at, last_word = words.get(number, (None, None))
        nodes = client.nodes(attempt.node_list) if attempt.node_list and last_word is None else []
        is_down = any(node.is_down for node in nodes)
        cause = cause_of_requeue(Evidence(last_word, is_down, attempt.exit_status, attempt.noted))
        # A requeue is a new submission for Slurm.
        end = said_at or (job.submit_time if number == job.restarts - 1 else None)
        run.append_end(
            number, _STATE_OF_CAUSE.get(cause, "REQUEUED"), attempt.exit_status, None, cause, end=end
        )


def _tail(path: Path, size: int = 1_000_000) -> str:
    """The last part of a text file; nothing when it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
