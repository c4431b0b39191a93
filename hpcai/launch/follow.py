"""What is known of a run while it goes on, gathered from its record and from Slurm. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcai.launch.ends import Outcome
from hpcai.runs.jsonl import Record
from hpcai.runs.metrics import MARK_PREFIX, Value
from hpcai.slurm import reasons
from hpcai.slurm.answers import JobInfo

# How a step of the job's course is called once its mark has come.
_AFTER_MARK = {
    "started": "first step",
    "resumed": "first step",
    "first_step": "training",
    "evaluating": "evaluating",
    "evaluated": "training",
    "saving": "saving",
    "saved": "training",
    "trained": "saving",
}


@dataclass(frozen=True)
class Staged:
    """What one node brought to its scratch."""

    node: str
    data: str
    bytes: int
    seconds: float
    from_blob_bytes: int


@dataclass(frozen=True)
class AttemptSeen:
    """What the batch part wrote of one attempt."""

    number: int
    node_list: str
    start: float
    staged: float | None = None
    end: float | None = None
    exit_status: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """Everything that a view of a run shows, at one instant."""

    now: float
    phase: str = "submitted"
    """One of: submitted, waiting, starting, staging, first step, training, evaluating, saving, running,
    ending, ended."""
    words: str = ""
    """What Slurm says, in words; empty before its first answer."""
    state: str | None = None
    reason: str | None = None
    never_starts: bool = False
    since: float | None = None
    """When it was submitted, and once an attempt has started, when that was."""
    attempt: int = 0
    node_list: str = ""
    nodes: int = 1
    staged: tuple[Staged, ...] = ()
    wanted_data: int = 0
    """How many lines `staged` has when every node has every data set."""
    resumed_step: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    loss: float | None = None
    top1: float | None = None
    images_per_s: tuple[float, ...] = ()
    fraction: float | None = None
    left_s: float | None = None
    ended_attempts: tuple[tuple[int, str], ...] = ()
    """Number and end cause of the attempts before this one."""
    outcome: Outcome | None = None
    silent_s: float = 0.0
    """How long Slurm has not answered."""


@dataclass
class RunState:
    """A run as its records arrive; feed it, then look."""

    nodes: int = 1
    data_sets: int = 0
    epochs: int | None = None
    submitted: float | None = None
    job: JobInfo | None = None
    outcome: Outcome | None = None
    attempts: dict[int, AttemptSeen] = field(default_factory=dict)
    causes: dict[int, str] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    staged: dict[tuple[int, str, str], Staged] = field(default_factory=dict)

    @classmethod
    def of(cls, resolved: Mapping[str, Any]) -> RunState:
        """The state of a run that has just been submitted, from its resolved spec."""
        found = re.search(r"--epochs[= ](\d+)", str(resolved.get("command", "")))
        return cls(
            nodes=int(resolved.get("nodes", 1)),
            data_sets=len(resolved.get("data", ())),
            epochs=int(found[1]) if found else None,
        )

    def feed_attempts(self, records: Iterable[Record]) -> None:
        """Lines of attempts.jsonl."""
        for record in records:
            number, instant = record.get("attempt"), record.get("time")
            if isinstance(number, int) and isinstance(instant, (int, float)):
                self._feed_attempt(number, float(instant), record)

    def _feed_attempt(self, number: int, instant: float, record: Record) -> None:
        event = record.get("event")
        if event == "start":
            self.attempts[number] = AttemptSeen(number, str(record.get("node_list", "")), instant)
            return
        seen = self.attempts.get(number)
        if seen is None:
            return
        staged, end, status = seen.staged, seen.end, seen.exit_status
        if event == "staged":
            staged = instant
        elif event == "end":
            end, status = instant, record.get("exit_status")
        self.attempts[number] = AttemptSeen(number, seen.node_list, seen.start, staged, end, status)

    def feed_ends(self, records: Iterable[Record]) -> None:
        """Lines of ends.jsonl."""
        for record in records:
            if isinstance(record.get("attempt"), int):
                self.causes[record["attempt"]] = str(record.get("cause"))

    def feed_values(self, values: Iterable[Value]) -> None:
        """Metric lines of rank 0."""
        self.values += values

    def feed_data(self, node: str, records: Iterable[Record]) -> None:
        """Lines of data/<node>.jsonl."""
        for record in records:
            sources = record.get("bytes_from")
            name, attempt = str(record.get("data")), record.get("attempt")
            self.staged[int(attempt) if isinstance(attempt, int) else 0, node, name] = Staged(
                node,
                name,
                int(record.get("bytes", 0)),
                float(record.get("seconds", 0.0)),
                int(sources.get("blob", 0)) if isinstance(sources, dict) else 0,
            )

    @property
    def attempt(self) -> int:
        """The number of the attempt that runs or waits."""
        return max([self.job.restarts if self.job else 0, *self.attempts])

    def snapshot(self, now: float, *, silent_s: float = 0.0) -> Snapshot:
        """The run as it stands."""
        job, number = self.job, self.attempt
        seen = self.attempts.get(number)
        staged = tuple(one for (attempt, _, _), one in sorted(self.staged.items()) if attempt == number)
        values = [value for value in self.values if seen is not None and value.time >= seen.start]
        training = _Training.of(values, self.epochs)
        return Snapshot(
            now=now,
            phase=self._phase(seen, values),
            words=reasons.in_words(job) if job else "",
            state=job.state if job else None,
            reason=job.reason if job else None,
            never_starts=job is not None and reasons.never_starts(job),
            since=seen.start if seen else self.submitted,
            attempt=number,
            node_list=(seen.node_list if seen else (job.node_list if job else None)) or "",
            nodes=self.nodes,
            staged=staged,
            wanted_data=self.nodes * self.data_sets,
            resumed_step=next((one.step for one in values if one.name == MARK_PREFIX + "resumed"), None),
            epoch=training.epoch,
            epochs=training.epochs,
            step=training.step,
            loss=training.last("loss"),
            top1=training.last("top1"),
            images_per_s=tuple(one.value for one in values if one.name == "images_per_s"),
            fraction=training.fraction,
            left_s=training.left_s(now),
            ended_attempts=tuple((one, cause) for one, cause in sorted(self.causes.items()) if one < number),
            outcome=self.outcome,
            silent_s=silent_s,
        )

    def _phase(self, seen: AttemptSeen | None, values: Sequence[Value]) -> str:
        if self.outcome is not None:
            return "ended"
        state = self.job.state if self.job else None
        if state == "COMPLETING" or (seen is not None and seen.end is not None):
            return "ending"
        if seen is None:
            return {None: "submitted", "RUNNING": "starting", "CONFIGURING": "starting"}.get(state, "waiting")
        if self.data_sets and seen.staged is None:
            return "staging"
        return _course(values)


def _course(values: Sequence[Value]) -> str:
    """What a running command is doing, by the marks that it wrote last."""
    names = [value.name.removeprefix(MARK_PREFIX) for value in values if value.name.startswith(MARK_PREFIX)]
    known = [name for name in names if name in _AFTER_MARK]
    if not known:
        return "training" if values else "running"
    if known[-1] == "saved" and "trained" in known:
        return "ending"
    return _AFTER_MARK[known[-1]]


@dataclass(frozen=True)
class _Training:
    """Where training stands, from the metric lines of one attempt."""

    values: Sequence[Value]
    epochs: int | None

    @classmethod
    def of(cls, values: Sequence[Value], epochs: int | None) -> _Training:
        told = [value.value for value in values if value.name == "epochs"]
        return cls(values, int(told[-1]) if told else epochs)

    def last(self, name: str) -> float | None:
        return next((value.value for value in reversed(self.values) if value.name == name), None)

    @property
    def step(self) -> int | None:
        return max((value.step for value in self.values), default=None)

    @property
    def epoch(self) -> int | None:
        epoch = self.last("epoch")
        return None if epoch is None else int(epoch)

    @property
    def fraction(self) -> float | None:
        epoch = self.last("epoch")
        if epoch is None or not self.epochs:
            return None
        return min(1.0, epoch / self.epochs)

    def left_s(self, now: float) -> float | None:
        """Seconds to the end of training at the pace of this attempt's last epochs."""
        points = [(value.time, value.value) for value in self.values if value.name == "epoch"]
        if len(points) < 2 or not self.epochs:
            return None
        (begin, done_then), (end, done) = points[max(0, len(points) - 20)], points[-1]
        if done <= done_then or done >= self.epochs:
            return None
        pace_s = (end - begin) / (done - done_then)
        return max(0.0, end + (self.epochs - done) * pace_s - now)
