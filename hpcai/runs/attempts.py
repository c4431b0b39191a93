"""The attempts of a run: what the batch part wrote, joined with what Slurm said about their ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from hpcai.runs.jsonl import Record, instant_of

Cause = Literal[
    "completed",
    "failed",
    "cancelled",
    "time_limit",
    "preempted",
    "evicted",
    "node_failure",
    "out_of_memory",
    "stopped_early",
    "requeued",
    "unknown",
]
CAUSES: tuple[str, ...] = get_args(Cause)


@dataclass(frozen=True)
class RunAttempt:
    """One start of the job by Slurm. Instants are UTC seconds; None is what the record does not hold."""

    number: int
    job_id: int | None = None
    node_list: str | None = None
    start: float | None = None
    staged: float | None = None
    end: float | None = None
    exit_status: int | None = None
    signal: int | None = None
    state: str | None = None
    cause: str | None = None
    noted: Cause | None = None
    """The cause by which the batch part itself says that it was put back into the queue."""


def join(attempts: Iterable[Record], ends: Iterable[Record]) -> list[RunAttempt]:
    """The attempts in the order of their starts, each with its last known end.

    An attempt that has no end line gets its cause from its exit status; `requeued` when Slurm started
    the job again after it, `unknown` when it did not even come to an exit status before that. A job
    that ended before it started is an attempt without a start.
    """
    found: dict[tuple[int | None, int], RunAttempt] = {}
    for record in attempts:
        _add_line(found, record)
    for record in ends:
        _add_end(found, record)
    ordered = sorted(found.values(), key=_place)
    last_of_job = {attempt.job_id: attempt for attempt in ordered}
    return [_with_cause(attempt, attempt is last_of_job[attempt.job_id]) for attempt in ordered]


def _place(attempt: RunAttempt) -> tuple[float, int]:
    begun = attempt.start if attempt.start is not None else attempt.end
    return (begun if begun is not None else float("inf"), attempt.number)


def _add_line(found: dict[tuple[int | None, int], RunAttempt], record: Record) -> None:
    number, event, instant = record.get("attempt"), record.get("event"), instant_of(record)
    if not isinstance(number, int):
        return
    # The script can be run again by hand under a new job id, which counts attempts from 0 again.
    key = (_integer(record, "job_id"), number)
    attempt = found.setdefault(key, RunAttempt(number, job_id=key[0]))
    if event == "start":
        node_list = record.get("node_list")
        attempt = replace(attempt, start=instant, node_list=node_list if isinstance(node_list, str) else None)
    elif event == "staged":
        attempt = replace(attempt, staged=instant)
    elif event == "requeue" and record.get("cause") in CAUSES:
        attempt = replace(attempt, noted=record["cause"])
    elif event == "end":
        attempt = replace(attempt, end=instant, exit_status=_integer(record, "exit_status"))
    found[key] = attempt


def _add_end(found: dict[tuple[int | None, int], RunAttempt], record: Record) -> None:
    number, job_id = record.get("attempt"), _integer(record, "job_id")
    if not isinstance(number, int):
        return
    fitting = [key for key in found if key[1] == number and (job_id is None or key[0] in (None, job_id))]
    key = fitting[0] if fitting else (job_id, number)
    attempt = found.get(key) or RunAttempt(number, job_id=job_id)
    state, cause = record.get("state"), record.get("cause")
    exit_status, nodes = _integer(record, "exit_status"), record.get("node_list")
    found[key] = replace(
        attempt,
        state=state if isinstance(state, str) else None,
        cause=cause if cause in CAUSES else "unknown",
        exit_status=exit_status if exit_status is not None else attempt.exit_status,
        signal=_integer(record, "signal"),
        end=attempt.end if attempt.end is not None else instant_of(record, "end"),
        start=attempt.start if attempt.start is not None else instant_of(record, "start"),
        node_list=attempt.node_list or (nodes if isinstance(nodes, str) else None),
    )


def _with_cause(attempt: RunAttempt, is_last: bool) -> RunAttempt:
    if attempt.cause is not None:
        return attempt
    if attempt.noted is not None:
        return replace(attempt, cause=attempt.noted)
    if not is_last:
        return replace(attempt, cause="unknown" if attempt.exit_status is None else "requeued")
    if attempt.exit_status is None:
        return attempt
    return replace(attempt, cause="completed" if attempt.exit_status == 0 else "failed")


def _integer(record: Record, key: str) -> int | None:
    value = record.get(key)
    return value if isinstance(value, int) else None
