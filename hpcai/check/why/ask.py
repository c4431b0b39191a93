"""Finds out what can be known of a job: little is asked of Slurm, and only what its reason needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hpcai.check.why.facts import Facts, Log
from hpcai.check.why.table import causes
from hpcai.check.why.values import given, unavailable
from hpcai.cyclecloud.published import NotPublished, read_published
from hpcai.errors import HpcaiError, NotFoundError
from hpcai.runs.record import Run
from hpcai.runs.tails import end_of
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient

T = TypeVar("T")
# Logs are read of so many ranks: of those that fell silent first.
_MOST_RANKS = 16
_MOST_DEPENDENCIES = 5
# In these states what its nodes do tells more of a job.
_NODES_TELL = ("CONFIGURING", "RUNNING", "NODE_FAIL", "BOOT_FAIL")
_FAILED_TASK = re.compile(r"srun: error: \S+: tasks? (\d+)")


@dataclass(frozen=True)
class Asked:
    """What is asked about."""

    run: Run | None
    job: JobInfo | None
    client: SlurmClient | None
    cluster_status: Path | None
    now: float
    again: str | None = None


def gather(asked: Asked) -> Facts:
    """All that can be found out."""
    facts = _known(asked)
    facts = _with_published(facts, asked.cluster_status)
    if asked.client is not None and asked.job is not None:
        facts = _Asking(asked.client, asked.job).add_to(facts)
    return _with_logs(facts, asked)


def _known(asked: Asked) -> Facts:
    run, job = asked.run, asked.job
    ident = run.ident if run is not None else job.ident if job is not None else ""
    name = run.name if run is not None else f"Job {ident}"
    attempts = run.attempts() if run is not None else []
    last = attempts[-1] if attempts else None
    facts = Facts(name, ident, "UNKNOWN", asked.now, job=job, attempts=attempts, again=asked.again)
    if run is not None:
        facts = replace(facts, has_record=True, is_bare=run.is_bare, is_local=run.is_local)
        facts = replace(facts, asked_to_cancel=_asked_to_cancel(run))
    if job is not None:
        cause = last.cause if last is not None and job.is_final else None
        return replace(
            facts, state=job.state, exit_status=job.exit_status, signal=job.signal or None, cause=cause
        )
    if last is None or last.cause is None:
        return replace(facts, state="RUNNING" if last is not None and last.start is not None else "UNKNOWN")
    state = last.state or ("COMPLETED" if last.cause == "completed" else "FAILED")
    return replace(facts, state=state, exit_status=last.exit_status, signal=last.signal, cause=last.cause)


def _asked_to_cancel(run: Run) -> float | None:
    times = [
        event.get("time")
        for event in run.events()
        if event.get("event") == "cancel_requested" and event.get("task") in (None, run.task)
    ]
    return times[-1] if times and isinstance(times[-1], (int, float)) else None


def _with_published(facts: Facts, path: Path | None) -> Facts:
    if path is None:
        return facts
    try:
        return replace(facts, published=read_published(path))
    except NotPublished as error:
        return replace(facts, unpublished=str(error))


class _Asking:
    """Questions to Slurm about one job; what it does not tell is noted."""

    def __init__(self, client: SlurmClient, job: JobInfo) -> None:
        self._client = client
        self._job = job
        self._unasked: list[str] = []

    def add_to(self, facts: Facts) -> Facts:
        job, needs = self._job, self._needs()
        asked: dict[str, Any] = {}
        if "groups" in needs and job.partition:
            asked["groups"] = self._try(lambda: self._client.node_groups(job.partition)) or ()
        if "partition" in needs:
            partitions = self._try(self._client.partitions) or []
            asked["partition"] = next((one for one in partitions if one.name == job.partition), None)
        if "dependencies" in needs:
            asked["dependencies"] = list(self._dependencies())
        if "reservation" in needs and job.told.get("Reservation"):
            name = job.told["Reservation"]
            asked["reservation"] = self._try(lambda: self._client.reservation(name)) or {}
        if "limits" in needs:
            asked["bound"] = self._try(lambda: self._client.bound(job))
        if "canceller" in needs:
            asked["canceller"] = self._try(lambda: self._client.canceller(job.ident), optional=True)
        nodes = self._nodes_to_see(needs)
        if nodes:
            asked["nodes"] = self._try(lambda: self._client.nodes(nodes)) or ()
        return replace(facts, **asked, unasked=(*facts.unasked, *self._unasked))

    def _needs(self) -> set[str]:
        job = self._job
        if job.state == "PENDING":
            reason = job.reason or "None"
            rows = (row for row in causes().values() if row.of == "waiting" and row.reason is not None)
            return next(({*row.needs} for row in rows if row.reason and row.reason.fullmatch(reason)), set())
        if job.state == "CANCELLED":
            return {"canceller"}
        return {"nodes"} if job.state in _NODES_TELL else set()

    def _nodes_to_see(self, needs: set[str]) -> str | None:
        if "nodes" not in needs:
            return None
        if self._job.state != "PENDING":
            return self._job.node_list
        return unavailable(self._job.reason) or given(self._job.told, "ReqNodeList")

    def _dependencies(self) -> Iterator[JobInfo]:
        ids = dict.fromkeys(re.findall(r":(\d+(?:_\d+)?)", self._job.dependency or ""))
        for ident in list(ids)[:_MOST_DEPENDENCIES]:
            try:
                yield self._client.job(ident)
            except NotFoundError:
                self._unasked.append(f"Slurm no longer knows job {ident}, which it depends on.")
            except HpcaiError as error:
                self._unasked.append(error.what)

    def _try(self, call: Callable[[], T], *, optional: bool = False) -> T | None:
        try:
            return call()
        except HpcaiError as error:
            if not optional:
                self._unasked.append(error.what)
            return None


def _with_logs(facts: Facts, asked: Asked) -> Facts:
    if facts.stands in ("waiting", "other"):
        return facts
    missing: list[str] = []
    logs: list[Log] = []
    if asked.run is not None and not asked.run.is_bare:
        logs += _logs_of_run(asked.run)
    for path in _paths_told(asked):
        end = end_of(path)
        if end is None:
            missing.append(str(path))
        else:
            logs.append(Log(end, None))
    return replace(facts, logs=logs, silent_logs=missing)


def _logs_of_run(run: Run) -> Iterator[Log]:
    """The batch part's log, and those of the ranks that may tell most."""
    named: set[int] = set()
    batch = end_of(run.paths.batch_log)
    if batch is not None:
        named = {int(found[1]) for line in batch.lines if (found := _FAILED_TASK.match(line))}
        yield Log(batch, None)
    attempts = run.attempts()
    paths = run.paths.logs(attempts[-1].number if attempts else 0)
    # Who failed first fell silent first.
    silent = {path: moment for path in paths if (moment := _silent_since(path)) is not None}
    ranks = dict.fromkeys(int(path.stem) for path in sorted(silent, key=lambda path: silent[path]))
    chosen = sorted(ranks, key=lambda rank: rank not in named)[:_MOST_RANKS]
    for path in silent:
        end = end_of(path) if int(path.stem) in chosen else None
        if end is not None:
            yield Log(end, int(path.stem))


def _silent_since(path: Path) -> float | None:
    """When a log was last written to; None for one that is empty or not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime if facts.st_size else None


def _paths_told(asked: Asked) -> list[Path]:
    """Where a script of the user's own writes, as Slurm says, and once it has forgotten, the record."""
    run, job = asked.run, asked.job
    if run is not None and not run.is_bare:
        return []
    if job is not None:
        return _paths(job.told.get("StdErr"), job.stdout)
    end = next((one for one in reversed(run.ends()) if "stdout" in one), {}) if run is not None else {}
    return _paths(end.get("stderr"), end.get("stdout"))


def _paths(*told: object) -> list[Path]:
    return [
        Path(text)
        for text in dict.fromkeys(told)
        if isinstance(text, str) and text not in ("", "/dev/null", "(null)")
    ]
