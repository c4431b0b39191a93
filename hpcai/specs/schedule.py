"""When a file is submitted anew, in the words of cron: five fields, or @hourly and its like.

Of these words the part that Slurm's scrontab takes and reads alike (tried on 26.05): names of months and days
stand alone, and a step goes with `*` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator

from hpcai.specs.fields import wrong

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Every date comes within 8 years, also 29 February around a year like 2100.
_MOST_DAYS = 8 * 366


@dataclass(frozen=True)
class _Field:
    """One of the five: what it is called, its numbers, and the words for some of them."""

    name: str
    first: int
    last: int
    words: Sequence[str] = ()

    def numbers(self, text: str) -> frozenset[int]:
        """The numbers that it stands for. Raises ValueError."""
        if text.lower() in self.words:
            return frozenset([self.words.index(text.lower()) + self.first])
        if text == "*":
            return frozenset(range(self.first, self.last + 1))
        if step := re.fullmatch(r"\*/([0-9]{1,2})", text):
            if not 2 <= int(step[1]) <= self.last:
                raise self._error(text)
            return frozenset(range(self.first, self.last + 1, int(step[1])))
        return frozenset(number for part in text.split(",") for number in self._range(part))

    def _range(self, text: str) -> range:
        found = re.fullmatch(r"([0-9]{1,2})(?:-([0-9]{1,2}))?", text)
        if found is None:
            raise self._error(text)
        low, high = int(found[1]), int(found[2] or found[1])
        if not self.first <= low <= high <= self.last:
            raise self._error(text)
        return range(low, high + 1)

    def _error(self, text: str) -> ValueError:
        words = f", {self.words[0]} to {self.words[-1]} alone" if self.words else ""
        allowed = f"numbers from {self.first} to {self.last} such as 1,3 or 1-5, *, */2{words}"
        return ValueError(f"{text!r} is no {self.name}; {allowed}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    # 7 is Sunday too.
    _Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Times:
    """When it is time, as cron has it: where both kinds of days are restricted, either is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def after(self, now: datetime) -> Iterator[datetime]:
        """The times after `now`, by a clock that is never put forward or back; none when none ever comes."""
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for _ in range(_MOST_DAYS):
            for minute in self._minutes() if self._is_on(day) else ():
                if day + minute > now:
                    yield day + minute
            day += timedelta(days=1)

    def _minutes(self) -> Iterator[timedelta]:
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                yield timedelta(hours=hour, minutes=minute)

    def _is_on(self, day: datetime) -> bool:
        by_month = day.day in self.days
        by_week = day.isoweekday() % 7 in self.weekdays
        on_day = (by_month or by_week) if self.either_day else (by_month and by_week)
        return day.month in self.months and on_day


def parse_schedule(text: str) -> Times:
    """What a schedule says. Raises ValueError for one that is none, or whose time never comes."""
    if text.startswith("@") and text.lower() not in NICKNAMES:
        raise ValueError(f"{text!r} is none of {', '.join(NICKNAMES)}")
    words = NICKNAMES.get(text.lower(), text).split()
    if len(words) != len(_FIELDS):
        raise ValueError(
            f"got {text!r}; five fields (minute, hour, day of the month, month, day of the week) such as "
            "'30 3 * * 1-5', or @hourly, @daily, @weekly, @monthly"
        )
    minutes, hours, days, months, weekdays = (
        field.numbers(word) for field, word in zip(_FIELDS, words, strict=True)
    )
    either = words[2] != "*" and words[4] != "*"
    times = Times(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)
    if next(times.after(datetime(2024, 1, 1)), None) is None:
        raise ValueError(f"got {text!r}; that day never comes")
    return times


def next_times(text: str, now: datetime, count: int) -> list[datetime]:
    """The next times of a valid schedule."""
    return [time for time, _ in zip(parse_schedule(text).after(now), range(count), strict=False)]


def _schedule(text: str) -> str:
    try:
        parse_schedule(text)
    except ValueError as error:
        raise wrong(str(error)) from None
    return " ".join(text.split())


Schedule = Annotated[str, AfterValidator(_schedule)]
