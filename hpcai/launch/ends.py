"""How the attempts of a run ended: what Slurm says, joined with what the batch part left behind."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from hpcai.errors import NotFoundError, StageError, ToolError
from hpcai.runs.attempts import Cause, RunAttempt
from hpcai.runs.record import Run
from hpcai.runs.tails import end_of
from hpcai.runs.waterfall import submitted_at
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient, most_telling
from hpcai.slurm.failures import AccountingUnreachable

LOG = logging.getLogger(__name__)

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
# Between Slurm's time of a submission and the client's, in records that hold no mark.
SAME_SUBMISSION_S = 60.0
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
_STATE_OF_CAUSE = {"node_failure": "NODE_FAIL", "evicted": "NODE_FAIL", "preempted": "PREEMPTED"}
# Azure's notices of machines that it takes back; a node that only starts again has failed.
_EVICTIONS = ("Preempt", "Terminate")


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
    if run.task_ids():
        return outcome_of_tasks(outcomes_of_tasks(run))
    attempts = run.attempts()
    if not attempts or attempts[-1].cause is None:
        return None
    last = attempts[-1]
    state = last.state or ("COMPLETED" if last.cause == "completed" else "FAILED")
    return Outcome(state, str(last.cause), last.exit_status, last.signal)


def outcome_of_run(run: Run, job: JobInfo | None) -> Outcome | None:
    """How the run ended by Slurm, or by the record where Slurm does not know or forgets the first to end."""
    outcome = outcome_of_job(job) if job is not None else outcome_of_record(run)
    if job is None or outcome is None or not run.task_ids():
        return outcome
    return outcome_of_record(run) or outcome


@dataclass(frozen=True)
class TaskEnd:
    """How a task of an array stands."""

    task: int
    outcome: Outcome | None
    """None while it waits or runs."""
    start: float | None
    """When it first began; None while it waits."""
    end: float | None


def outcomes_of_tasks(run: Run) -> list[TaskEnd]:
    """How each task of an array stands, by its record alone."""
    found = []
    for number in run.task_ids():
        task = run.of_task(number)
        attempts = task.attempts()
        starts = [attempt.start for attempt in attempts if attempt.start is not None]
        end = attempts[-1].end if attempts else None
        found.append(TaskEnd(number, outcome_of_record(task), min(starts, default=None), end))
    return found


def outcome_of_tasks(ends: Sequence[TaskEnd]) -> Outcome | None:
    """How an array ended: as the first of its tasks that did not complete; None while one goes on."""
    told = [(end.end or math.inf, end.task, end.outcome) for end in ends if end.outcome is not None]
    if len(told) < len(ends):
        return None
    bad = [one for one in told if one[2].state != "COMPLETED"]
    return min(bad or told, key=lambda one: one[:2])[2]


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
    if run.task_ids():
        tasks = collect_tasks(run, client)
        return most_telling(tasks, str(run.slurm_id)) if tasks else None
    jobs = _told(run, client)
    if not jobs:
        if run.task is not None:
            # Perhaps cancelled before its start: only the whole array tells.
            collect_tasks(Run(run.path), client)
        return None
    job = most_telling(jobs, str(run.slurm_id))
    record(run, job, client)
    return job


def collect_tasks(run: Run, client: SlurmClient) -> list[JobInfo]:
    """What Slurm says of the tasks of an array now; ends that it tells of are added to their records."""
    tasks = _told(run, client)
    # An array of which nobody tells anything is forgotten, not cancelled.
    kept = _kept(run, tasks, client) if tasks else None
    tasks += kept or ()
    for task in tasks:
        # Those that wait together have nothing to tell, unless they were cancelled together.
        for number in task.array_task_ids if task.is_final or task.restarts else ():
            record(run.of_task(number), task, client)
    if kept is not None:
        _record_left_out(run, tasks)
    return tasks


def _kept(run: Run, tasks: Sequence[JobInfo], client: SlurmClient) -> list[JobInfo] | None:
    """The tasks that slurmctld has forgotten before others, as accounting keeps them.

    None when slurmdbd does not answer: then nobody knows whether a task that is not told of was cancelled.
    """
    told = {number for task in tasks for number in task.array_task_ids}
    missing = {number for number in {*run.task_ids()} - told if not run.of_task(number).ends()}
    if not missing or any(task.is_forgotten for task in tasks):
        return []
    try:
        kept = client.kept([str(run.slurm_id)])
    except AccountingUnreachable:
        return None
    except ToolError:
        return []
    ended = [job for job in kept if job.is_final and is_job_of(run, job)]
    return [job for job in ended if missing & {*job.array_task_ids}]


def _record_left_out(run: Run, tasks: Sequence[JobInfo]) -> None:
    """Slurm keeps nothing of a task that was cancelled before its start; it is just no part of its array."""
    told = [task.array_task_ids for task in tasks]
    if not all(told):
        return
    left_out = {*run.task_ids()} - {number for numbers in told for number in numbers}
    with suppress(StageError):
        for task in map(run.of_task, left_out):
            if not task.attempts():
                task.append_end(0, "CANCELLED", None, None, "cancelled")


def _told(run: Run, client: SlurmClient) -> list[JobInfo]:
    """What Slurm says of a run's jobs; nothing for a run that it never had or has forgotten."""
    if run.slurm_id is None:
        return []
    try:
        # Where Slurm began to count anew, this number is another job's.
        return client.tasks(run.slurm_id, lambda job: is_job_of(run, job))
    except NotFoundError:
        return []


def is_job_of(run: Run, job: JobInfo) -> bool:
    """Whether this is the run's job, by its script or its mark; in accounting, without both, by its time."""
    mark = run.mark
    if job.is_of(run.paths.script) or (mark is not None and mark in (job.comment or "")):
        return True
    # Accounting that missed a job's start (slurmdbd was away, or new) does not tell how it was submitted.
    if not job.is_forgotten or (mark is not None and job.told.get("SubmitLine")):
        return False
    told = (submitted_at(run), job.submit_time)
    return None not in told and abs((told[0] or 0.0) - (told[1] or 0.0)) < SAME_SUBMISSION_S


def record(run: Run, job: JobInfo, client: SlurmClient) -> None:
    """Add the ends of attempts that the record does not hold yet, where it can be written."""
    try:
        _add_ends(run, job, client)
    except StageError as error:
        # What Slurm says is known all the same: a full disk must not hide it.
        _warn_once(error.what)


@cache
def _warn_once(what: str) -> None:
    LOG.warning("%s How the job ended is told by Slurm, for as long as that remembers it.", what)


def _add_ends(run: Run, job: JobInfo, client: SlurmClient) -> None:
    known = {(end.get("attempt"), end.get("cause")) for end in run.ends() if end.get("job_id") == job.job_id}
    ended = {attempt for attempt, _ in known}
    earlier = [number for number in range(job.restarts) if number not in ended]
    # While Slurm still ends an attempt, its last word may not be written yet.
    if earlier and job.state != "COMPLETING":
        _record_requeued(run, job, earlier, client)
    cause = _or_evicted(run, job.restarts, cause_of(job.state))
    if job.is_final and (job.restarts, cause) not in known:
        run.append_end(
            job.restarts,
            job.state,
            job.exit_status,
            job.signal or None,
            cause,
            end=job.end_time,
            job_id=job.job_id,
            more=_told_by_slurm_alone(run, job),
        )


def _or_evicted(run: Run, attempt: int, cause: Cause) -> Cause:
    """`evicted` for an attempt that lost a node of which Azure had given notice."""
    if cause not in ("node_failure", "requeued"):
        return cause
    lines = (line for lines in run.notices().values() for line in lines)
    told = (line for line in lines if line.get("attempt") == attempt and line.get("event") == "notice")
    return "evicted" if any(line.get("type") in _EVICTIONS for line in told) else cause


def _told_by_slurm_alone(run: Run, job: JobInfo) -> dict[str, object]:
    """Of a bare script: when and where it ran, and where its output lies."""
    if not run.is_bare:
        return {}
    where = {"start": job.start_time, "node_list": job.node_list}
    return {**where, "stdout": job.stdout, "stderr": job.stderr}


def _record_requeued(run: Run, job: JobInfo, numbers: Sequence[int], client: SlurmClient) -> None:
    attempts = {attempt.number: attempt for attempt in run.attempts() if attempt.job_id == job.job_id}
    starts = {number: attempt.start for number, attempt in attempts.items() if attempt.start is not None}
    log = end_of(Path(job.stderr or job.stdout or os.devnull) if run.is_bare else run.paths.batch_log)
    words = words_by_attempt(last_words("\n".join(log.lines) if log else "", job.job_id), starts)
    for number in numbers:
        attempt = attempts.get(number, RunAttempt(number))
        said_at, last_word = words.get(number, (None, None))
        nodes = client.nodes(attempt.node_list) if attempt.node_list and last_word is None else []
        is_down = any(node.is_down for node in nodes)
        evidence = Evidence(last_word, is_down, attempt.exit_status, attempt.noted)
        # The output of a bare script begins anew with each attempt: there, all that is known is that.
        told = (last_word or "requeued") if run.is_bare else cause_of_requeue(evidence)
        cause = _or_evicted(run, number, told)
        # A requeue is a new submission for Slurm.
        end = said_at or (job.submit_time if number == job.restarts - 1 else None)
        run.append_end(
            number,
            _STATE_OF_CAUSE.get(cause, "REQUEUED"),
            attempt.exit_status,
            None,
            cause,
            end=end,
            job_id=job.job_id,
        )
