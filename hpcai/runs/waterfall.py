"""Where the time of a run went: submitted, allocated, staged, first step, trained, saved, per attempt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hpcai.runs.attempts import RunAttempt
from hpcai.runs.jsonl import instant_of
from hpcai.runs.metrics import MARK_PREFIX, Mark, Value, marks_of, read_values
from hpcai.runs.record import Run

# What goes on while the instant on the right has not come yet.
STAGES = ("queued", "staging", "starting", "training", "evaluating", "saving", "ending")


@dataclass(frozen=True)
class Stage:
    """A named stretch of an attempt, `running` when a job says nothing about its course."""

    name: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Course:
    """The instants of one attempt in UTC seconds; None is what the record does not hold."""

    attempt: RunAttempt
    submitted: float | None
    allocated: float | None
    staged: float | None
    first_step: float | None
    trained: float | None
    evaluated: float | None
    saved: float | None
    end: float | None
    # Nobody has written the end (a dead node, or it goes on): `end` is the last metric line.
    end_is_last_sign: bool
    resumed_step: int | None
    # From the last step that a later attempt built upon to the moment when training went on.
    lost: Stage | None
    # Seconds of training that went into something else; waiting for data is what rank 0 tells of all ranks.
    evaluating_s: float | None = None
    saving_s: float | None = None
    data_wait_s: float | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stretches whose both ends are known, in order."""
        instants = (self.allocated, self.staged, self.first_step, self.trained, self.evaluated, self.saved)
        stages = []
        begin = self.submitted
        for name, instant in zip(STAGES[:-1], instants, strict=True):
            if instant is None:
                continue
            if begin is not None:
                stages.append(Stage(name, begin, max(begin, instant)))
            begin = instant if begin is None else max(begin, instant)
        if self.end is not None and self.allocated is not None and begin is not None:
            last = Stage(self._unfinished, begin, max(begin, self.end))
            if last.seconds > 0 or not self.end_is_last_sign:
                stages.append(last)
        return tuple(stages)

    @property
    def _unfinished(self) -> str:
        """What was going on when the attempt ended."""
        if self.saved is not None:
            return "ending"
        if self.trained is not None:
            return "saving" if self.evaluated is not None else "evaluating"
        return "running" if self.first_step is None else "training"


@dataclass(frozen=True)
class Waterfall:
    """The courses of all attempts of a run, and beside each its metric lines."""

    courses: tuple[Course, ...]
    lines: tuple[Sequence[Value], ...]

    @property
    def lost_s(self) -> float:
        """The time that failed attempts cost."""
        return sum(course.lost.seconds for course in self.courses if course.lost)

    @property
    def begin(self) -> float | None:
        """The earliest instant that is known."""
        return min((stage.begin for course in self.courses for stage in course.stages), default=None)

    @property
    def end(self) -> float | None:
        """The latest instant that is known."""
        return max((stage.end for course in self.courses for stage in course.stages), default=None)


def of_run(run: Run) -> Waterfall:
    """The waterfall of a run as its record stands now."""
    return build(submitted_at(run), run.attempts(), read_values(run.paths.metrics()))


def submitted_at(run: Run) -> float | None:
    """When the run was last submitted."""
    instants = [instant_of(event) for event in run.events() if event.get("event") == "submitted"]
    return next((instant for instant in reversed(instants) if instant is not None), None)


def build(submitted: float | None, attempts: Sequence[RunAttempt], values: Iterable[Value]) -> Waterfall:
    """The waterfall of attempts in the order of their starts and of the metric lines of rank 0."""
    split = _split_by_attempt(attempts, values)
    courses: list[Course] = []
    for attempt, lines in zip(attempts, split, strict=True):
        waits_from = courses[-1].end if courses else submitted
        courses.append(_course(attempt, waits_from, lines))
    return Waterfall(_with_losses(courses, split), split)


def _split_by_attempt(attempts: Sequence[RunAttempt], values: Iterable[Value]) -> tuple[Sequence[Value], ...]:
    """The metric lines of each attempt, told apart by their instants."""
    split: tuple[list[Value], ...] = tuple([] for _ in attempts)
    starts = [attempt.start for attempt in attempts]
    for value in values:
        begun = [index for index, start in enumerate(starts) if start is not None and start <= value.time]
        if begun:
            split[begun[-1]].append(value)
        elif split:
            split[0].append(value)
    return split


def _course(attempt: RunAttempt, waits_from: float | None, lines: Sequence[Value]) -> Course:
    marks = marks_of(lines)
    last_sign = max((line.time for line in lines), default=attempt.staged or attempt.start)
    trained = _last(marks, "trained")
    # Training evaluates and saves on its way, too: that belongs to training.
    at_the_end = [mark for mark in marks if trained is not None and mark.time >= trained]
    resumed = [mark.step for mark in marks if mark.name == "resumed"]
    return Course(
        attempt=attempt,
        submitted=waits_from,
        allocated=attempt.start,
        staged=attempt.staged,
        first_step=_first(marks, "first_step"),
        trained=trained,
        evaluated=_last(at_the_end, "evaluated"),
        saved=_last(at_the_end, "saved"),
        end=last_sign if attempt.end is None else attempt.end,
        end_is_last_sign=attempt.end is None,
        resumed_step=resumed[0] if resumed else None,
        lost=None,
        evaluating_s=_within_training(marks, trained, "evaluating", "evaluated"),
        saving_s=_within_training(marks, trained, "saving", "saved"),
        data_wait_s=_sum_of(lines, "data_wait_s"),
    )


def _within_training(marks: Sequence[Mark], trained: float | None, begun: str, done: str) -> float | None:
    """The seconds between each pair of these marks up to the end of training; None without any."""
    seconds: list[float] = []
    begin: float | None = None
    for mark in marks:
        if trained is not None and mark.time >= trained:
            break
        if mark.name == begun:
            begin = mark.time
        elif mark.name == done and begin is not None:
            seconds.append(max(0.0, mark.time - begin))
            begin = None
    return sum(seconds) if seconds else None


def _sum_of(lines: Sequence[Value], name: str) -> float | None:
    values = [line.value for line in lines if line.name == name and math.isfinite(line.value)]
    return sum(values) if values else None


def _first(marks: Iterable[Mark], name: str) -> float | None:
    return next((mark.time for mark in marks if mark.name == name), None)


def _last(marks: Sequence[Mark], name: str) -> float | None:
    return _first(reversed(marks), name)


def _with_losses(courses: Sequence[Course], split: Sequence[Sequence[Value]]) -> tuple[Course, ...]:
    return tuple(
        replace(course, lost=_lost(course, courses[index + 1 :], split[index]))
        for index, course in enumerate(courses)
    )


def _lost(course: Course, later: Sequence[Course], lines: Sequence[Value]) -> Stage | None:
    if not later or course.attempt.cause == "completed":
        return None
    went_on = later[0].first_step or later[0].allocated
    useful = _last_useful(course, later, lines)
    return None if went_on is None or useful is None else Stage("lost", useful, max(useful, went_on))


def _last_useful(course: Course, later: Sequence[Course], lines: Sequence[Value]) -> float | None:
    """When this attempt reached the step from which a later one went on, or had it all."""
    step = next((other.resumed_step for other in later if _went_on(other)), None)
    reached = [
        line.time
        for line in lines
        if step is not None and line.step <= step and not line.name.startswith(MARK_PREFIX)
    ]
    if reached:
        return max(reached)
    return course.first_step or course.allocated


def _went_on(course: Course) -> bool:
    """Whether an attempt built upon a checkpoint, were it by finding that nothing is left to train."""
    nothing_left = course.resumed_step is not None and course.attempt.cause == "completed"
    return course.first_step is not None or nothing_left
