"""Metrics of a run: written by one rank to one file, read as one series per name."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from hpcai.runs import jsonl

MARK_PREFIX = "mark/"
_BEYOND_SCALES = 1e300


class MetricWriter:
    """Appends metric lines to one file and keeps it open; a value is safe once `log` has returned."""

    def __init__(self, path: Path) -> None:
        """Opens the file and its folder. Raises StageError when that cannot be done."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = jsonl.open_for_append(path)
            self._torn = jsonl.ends_torn(self._descriptor)
        except OSError as error:
            raise jsonl.cannot_write(path, error) from error

    def log(self, name: str, value: float, step: int) -> None:
        """Add one value. NaN and infinity are kept.

        Raises StageError when the file cannot be written.
        """
        record = {"name": name, "value": to_json(float(value)), "step": int(step), "time": time.time()}
        try:
            jsonl.write_line(self._descriptor, jsonl.encode(record), torn=self._torn)
        except OSError as error:
            self._torn = True
            raise jsonl.cannot_write(self.path, error) from error
        self._torn = False

    def mark(self, name: str, attempt: int, step: int) -> None:
        """Add an instant of the run's course, such as `first_step`, for the waterfall."""
        self.log(MARK_PREFIX + name, attempt, step)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_json(value: float) -> float | str:
    """The value as JSON can carry it: NaN and infinities become the words that `float` takes back."""
    return value if math.isfinite(value) else str(value)


@dataclass(frozen=True)
class Series:
    """One metric in the order of steps: a value and its instant per step."""

    name: str
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def finite(self) -> Series:
        """The same series without NaN, infinities and what is so near them that no scale reaches it."""
        kept = [index for index, value in enumerate(self.values) if abs(value) < _BEYOND_SCALES]
        return Series(
            self.name,
            [self.steps[index] for index in kept],
            [self.values[index] for index in kept],
            [self.times[index] for index in kept],
        )

    @property
    def last(self) -> float | None:
        return self.values[-1] if self.values else None


@dataclass(frozen=True)
class Mark:
    """An instant of the run's course, such as `first_step`."""

    name: str
    attempt: int
    step: int
    time: float


@dataclass(frozen=True)
class Value:
    """One metric line."""

    name: str
    value: float
    step: int
    time: float


def parse_value(record: dict[str, Any]) -> Value | None:
    """The metric of a line, or None when a field is missing or of another type."""
    name, step = record.get("name"), record.get("step")
    number, instant = _number(record.get("value")), jsonl.instant_of(record)
    if not isinstance(name, str) or not isinstance(step, int) or number is None or instant is None:
        return None
    return Value(name, number, step, instant)


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)):
        return float(value) if value in ("nan", "inf", "-inf") else None
    try:
        return float(value)
    except OverflowError:
        # JSON's whole numbers have no end.
        return None


def read_values(path: Path) -> list[Value]:
    """Every undamaged metric line of a file in the order written, marks among them.

    Raises StageError when the file is there and cannot be read.
    """
    values = (parse_value(record) for record in jsonl.read(path))
    return [value for value in values if value is not None]


def series_of(values: Iterable[Value]) -> dict[str, Series]:
    """One series per metric name; a resumed attempt repeats steps, and the last value of a step counts."""
    by_name: dict[str, dict[int, Value]] = {}
    for value in values:
        if not value.name.startswith(MARK_PREFIX):
            by_name.setdefault(value.name, {})[value.step] = value
    return {name: _series(name, by_step) for name, by_step in by_name.items()}


def _series(name: str, by_step: dict[int, Value]) -> Series:
    ordered = [by_step[step] for step in sorted(by_step)]
    return Series(
        name,
        [value.step for value in ordered],
        [value.value for value in ordered],
        [value.time for value in ordered],
    )


def marks_of(values: Iterable[Value]) -> list[Mark]:
    """Every mark in the order written."""
    return [
        Mark(value.name[len(MARK_PREFIX) :], int(value.value), value.step, value.time)
        for value in values
        if value.name.startswith(MARK_PREFIX) and math.isfinite(value.value)
    ]
