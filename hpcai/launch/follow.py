"""What is known of a run while it goes on, gathered from its record and from Slurm. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcai.launch.ends import Outcome
from hpcai.runs.jsonl import Record, instant_of
from hpcai.runs.metrics import MARK_PREFIX, Value
from hpcai.runs.record import BARE
from hpcai.slurm import reasons
from hpcai.slurm.answers import JobInfo

# What a command does once it has written a mark.
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
_AFTER_LAST_STEP = _AFTER_MARK | {"trained": "saving", "evaluated": "saving", "saved": "ending"}


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
    node_list: str | None
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
    words: str | None = None
    """What Slurm says, in words; None before its first answer."""
    state: str | None = None
    reason: str | None = None
    never_starts: bool = False
    since: float | None = None
    """When it was submitted, and once an attempt has started, when that was."""
    attempt: int = 0
    node_list: str | None = None
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
    evaluations: int = 0
    """How often the model was evaluated."""
    images_per_s: tuple[float, ...] = ()
    fraction: float | None = None
    left_s: float | None = None
    ended_attempts: tuple[tuple[int, str], ...] = ()
    """Number and end cause of the attempts before this one."""
    outcome: Outcome | None = None
    silent_s: float = 0.0
    """How long Slurm has not answered."""


@dataclass
class _Training:
    """Where training stands, gathered from the metric lines of one attempt."""

    begun: float
    epochs: int | None = None
    last: dict[str, float] = field(default_factory=dict)
    step: int | None = None
    evaluations: int = 0
    resumed_step: int | None = None
    course: str | None = None
    is_trained: bool = False
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=60))
    points: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=20))

    def feed(self, value: Value) -> None:
        if value.time < self.begun:
            # Of an earlier attempt.
            return
        if value.name.startswith(MARK_PREFIX):
            self._feed_mark(value.name.removeprefix(MARK_PREFIX), value.step)
            return
        self.last[value.name] = value.value
        self.step = value.step if self.step is None else max(self.step, value.step)
        self.evaluations += value.name == "top1"
        if value.name == "images_per_s":
            self.rates.append(value.value)
        elif value.name == "epoch":
            self.points.append((value.time, value.value))
        elif value.name == "epochs":
            self.epochs = int(value.value)

    def _feed_mark(self, name: str, step: int) -> None:
        self.is_trained = self.is_trained or name == "trained"
        if name == "resumed":
            self.resumed_step = step
        if name in _AFTER_MARK:
            self.course = (_AFTER_LAST_STEP if self.is_trained else _AFTER_MARK).get(name, self.course)

    @property
    def phase(self) -> str:
        return self.course or ("training" if self.last else "running")

    @property
    def epoch(self) -> int | None:
        """The epoch that goes on or has just ended, from 1."""
        return max(1, math.ceil(self.points[-1][1])) if self.points else None

    @property
    def fraction(self) -> float | None:
        return min(1.0, self.points[-1][1] / self.epochs) if self.points and self.epochs else None

    def left_s(self, now: float) -> float | None:
        """Seconds to the end of training at the pace of the last lines."""
        if len(self.points) < 2 or not self.epochs:
            return None
        (begin, done_then), (end, done) = self.points[0], self.points[-1]
        if done <= done_then or done >= self.epochs:
            return None
        return max(0.0, end + (self.epochs - done) * (end - begin) / (done - done_then) - now)


@dataclass
class RunState:
    """A run as its records arrive; feed it, then look."""

    nodes: int = 1
    data_sets: int = 0
    is_bare: bool = False
    submitted: float | None = None
    job: JobInfo | None = None
    outcome: Outcome | None = None
    attempts: dict[int, AttemptSeen] = field(default_factory=dict)
    causes: dict[int, str] = field(default_factory=dict)
    training: _Training | None = None
    staged: dict[tuple[int, str, str], Staged] = field(default_factory=dict)

    @classmethod
    def of(cls, resolved: Mapping[str, Any]) -> RunState:
        """The state of a run that has just been submitted, from its resolved spec."""
        return cls(
            nodes=int(resolved.get("nodes", 1)),
            data_sets=len(resolved.get("data", ())),
            is_bare=resolved.get("kind") == BARE,
        )

    def feed_attempts(self, records: Iterable[Record]) -> None:
        """Lines of attempts.jsonl."""
        for record in records:
            number, instant = record.get("attempt"), instant_of(record)
            if isinstance(number, int) and instant is not None:
                self._feed_attempt(number, instant, record)

    def _feed_attempt(self, number: int, instant: float, record: Record) -> None:
        event = record.get("event")
        if event == "start":
            nodes = record.get("node_list")
            self.attempts[number] = AttemptSeen(number, nodes if isinstance(nodes, str) else None, instant)
            self.training = _Training(instant)
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
        for value in values:
            if self.training is not None:
                self.training.feed(value)

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
        # Slurm counts the restart while the nodes of the attempt before are still being cleaned.
        restarts = self.job.restarts if self.job and self.job.state != "COMPLETING" else 0
        return max([restarts, *self.attempts])

    @property
    def is_ending(self) -> bool:
        """Whether what ran has ended, by the batch part or by Slurm, and Slurm is still to say how."""
        seen = self.attempts.get(self.attempt)
        return (seen is not None and seen.end is not None) or self._state == "COMPLETING"

    @property
    def _state(self) -> str | None:
        return self.job.state if self.job else None

    def snapshot(self, now: float, *, silent_s: float = 0.0) -> Snapshot:
        """The run as it stands."""
        job, number = self.job, self.attempt
        seen = self.attempts.get(number)
        staged = tuple(one for (attempt, _, _), one in sorted(self.staged.items()) if attempt == number)
        training = self.training if seen and self.training else _Training(now)
        return Snapshot(
            now=now,
            phase=self._phase(seen, training),
            words=reasons.in_words(job) if job else None,
            state=self._state,
            reason=job.reason if job else None,
            never_starts=job is not None and reasons.never_starts(job),
            since=seen.start if seen else self._since,
            attempt=number,
            node_list=seen.node_list if seen else (job.node_list if job else None),
            nodes=self.nodes,
            staged=staged,
            wanted_data=self.nodes * self.data_sets,
            resumed_step=training.resumed_step,
            epoch=training.epoch,
            epochs=training.epochs,
            step=training.step,
            loss=training.last.get("loss"),
            top1=training.last.get("top1"),
            evaluations=training.evaluations,
            images_per_s=tuple(training.rates),
            fraction=training.fraction,
            left_s=training.left_s(now),
            ended_attempts=tuple((one, cause) for one, cause in sorted(self.causes.items()) if one < number),
            outcome=self.outcome,
            silent_s=silent_s,
        )

    @property
    def _since(self) -> float | None:
        is_running = self.is_bare and self.job is not None and self.job.state == "RUNNING"
        return self.job.start_time if is_running and self.job else self.submitted

    def _phase(self, seen: AttemptSeen | None, training: _Training) -> str:
        if self.outcome is not None:
            return "ended"
        if self.is_ending:
            return "ending"
        state = self._state
        if seen is None and self.is_bare and state == "RUNNING":
            # Nothing of ours runs there that would tell more.
            return "running"
        if seen is None:
            return {None: "submitted", "RUNNING": "starting", "CONFIGURING": "starting"}.get(state, "waiting")
        if self.data_sets and seen.staged is None:
            return "staging"
        return training.phase
