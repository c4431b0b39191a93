"""Sizes, durations and Slurm host lists: parsing and formatting are exact inverses; times in words."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence

_BYTES: dict[str, int] = {"B": 1}
for _base, _suffix in ((1024, "iB"), (1000, "B")):
    _BYTES |= {_prefix + _suffix: _base**_power for _power, _prefix in enumerate("KMGTP", start=1)}
_BINARY = [unit for unit in _BYTES if unit.endswith("iB")]
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_MAX_HOSTS = 100_000
_SPANS = (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1))


def parse_bytes(text: str) -> int:
    """Bytes of a size such as `10GiB`, `10 GB` (powers of 1000) or `512B`.

    Raises ValueError, also for a number without a unit.
    """
    found = re.fullmatch(r"(\d+)(?:\.(\d+))?\s*([A-Za-z]+)", text.strip(), re.ASCII)
    if found is None or found[3] not in _BYTES:
        raise ValueError(f"{text!r} is not a size; write e.g. '10GiB'; units are {', '.join(_BYTES)}")
    whole, fraction, unit = found[1], found[2] or "", _BYTES[found[3]]
    scale = int("1" + "0" * len(fraction))
    size, remainder = divmod(int(whole + fraction) * unit, scale)
    if remainder:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return size


def format_bytes(size_bytes: int) -> str:
    """The size with the largest binary unit that divides it: `10GiB`, `1500B`."""
    if size_bytes < 0:
        raise ValueError(f"{size_bytes!r} is not a size: it is negative")
    for unit in reversed(_BINARY):
        if size_bytes and size_bytes % _BYTES[unit] == 0:
            return f"{size_bytes // _BYTES[unit]}{unit}"
    return f"{size_bytes}B"


def about_bytes(size_bytes: float) -> str:
    """The size for a person to read, in decimal units as storage is sold: `5.54 MB`, `125 MB`, `0 B`."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        # 999.6 would be shown as 1000.
        if amount < 999.5 or unit == "TB":
            break
        amount /= 1000
    digits = 0 if amount >= 99.95 or unit == "B" else 1 if amount >= 9.995 else 2
    return f"{amount:,.{digits}f} {unit}"


def parse_duration_s(text: str) -> int:
    """Seconds of a duration, as Slurm reads it or with units.

    `90` (minutes), `90:30` (minutes:seconds), `2:00:00`, `1-12`, `1-12:30`, `1-02:03:04`,
    `20min`, `1h30min`, `45s`, `2d`. Raises ValueError.
    """
    duration_s = _slurm_duration_s(text.strip())
    if duration_s is None:
        duration_s = _unit_duration_s(text.strip())
    if duration_s is None:
        raise ValueError(
            f"{text!r} is not a duration; write minutes ('90'), 'D-HH:MM:SS' or units ('1h30min')"
        )
    return duration_s


def _slurm_duration_s(text: str) -> int | None:
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if found is None:
        return None
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    scale = (60, 1) if days is None and len(numbers) < 3 else (3600, 60, 1)
    return int(days or 0) * 86400 + sum(number * unit for number, unit in zip(numbers, scale, strict=False))


def _unit_duration_s(text: str) -> int | None:
    if re.fullmatch(r"(\d+d)?\s*(\d+h)?\s*(\d+min)?\s*(\d+s)?", text, re.ASCII) is None or not text:
        return None
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)(d|h|min|s)", text))


def format_duration(duration_s: int) -> str:
    """The duration as Slurm writes it: `D-HH:MM:SS`."""
    if duration_s < 0:
        raise ValueError(f"{duration_s!r} is not a duration: it is negative")
    minutes, seconds = divmod(duration_s, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{seconds:02}"


def span(seconds: float) -> str:
    """`4.2 s`, `37 s`, `2 min 11 s`, `3 h 5 min`, `2 d 4 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, unit_s, rest_s = next(unit for unit in _SPANS if whole >= unit[2])
    count, rest = divmod(whole, unit_s)
    rest //= rest_s
    return f"{count} {large} {rest} {small}" if rest else f"{count} {large}"


def clock(instant: float) -> str:
    """The time of day here, `11:50:37`."""
    return time.strftime("%H:%M:%S", time.localtime(instant))


def day(instant: float, now: float) -> str:
    """When, in short: `11:50:37` of today, else `11-20 11:50`, of another year `2025-11-20`."""
    at, today = time.localtime(instant), time.localtime(now)
    if at[:3] == today[:3]:
        return clock(instant)
    return time.strftime("%m-%d %H:%M" if at[0] == today[0] else "%Y-%m-%d", at)


def moment(instant: float | None, now: float) -> str | None:
    """When, absolute and relative: `2026-11-20 11:50:37 (2 min 11 s ago)`."""
    if instant is None:
        return None
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))
    distance_s = abs(now - instant)
    # Slurm tells whole seconds.
    if distance_s < 2:
        return f"{at} (now)"
    how_far = span(distance_s) if distance_s >= 10 else f"{distance_s:.0f} s"
    return f"{at} ({how_far} ago)" if instant <= now else f"{at} (in {how_far})"


def parse_hostlist(text: str) -> list[str]:
    """The host names of a Slurm host list, in its order: `n[01-03,7],m1` -> n01 n02 n03 n7 m1.

    Raises ValueError, also for more than 100,000 names.
    """
    hosts: list[str] = []
    for word in _split_outside_brackets(text):
        for host in _expand(word, text):
            hosts.append(host)
            if len(hosts) > _MAX_HOSTS:
                raise ValueError(f"{text!r} names more than {_MAX_HOSTS} hosts")
    return hosts


def _split_outside_brackets(text: str) -> list[str]:
    if not text:
        return []
    words = re.findall(r"(?:\[[^][]*\]|[^][,])+", text)
    if ",".join(words) != text:
        raise ValueError(f"{text!r} is not a host list; write names and ranges, e.g. 'n[1-3,7],m1'")
    return words


def _expand(word: str, text: str) -> Iterator[str]:
    pieces = re.split(r"\[([^][]*)\]", word)
    if any(re.search(r"[\s\"'\\\x00-\x1f\x7f]", piece) for piece in pieces[::2]):
        what = "holds white space, a quote, a backslash or a control character"
        raise ValueError(f"{text!r} is not a host list: {word!r} {what}")
    choices = [_ranges(piece, text) if index % 2 else [piece] for index, piece in enumerate(pieces)]
    for parts in itertools.product(*choices):
        yield "".join(parts)


def _ranges(text: str, whole: str) -> list[str]:
    numbers: list[str] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part, re.ASCII)
        first, last = (found[1], found[2] or found[1]) if found else ("1", "0")
        if int(last) < int(first):
            raise ValueError(f"{whole!r} is not a host list: [{text}] is no list of ranges as [1-3,7]")
        if int(last) - int(first) >= _MAX_HOSTS:
            raise ValueError(f"{whole!r} names more than {_MAX_HOSTS} hosts")
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers


def format_hostlist(hosts: Iterable[str]) -> str:
    """The host list that names these hosts in this order: `n[01-03,7],m1`.

    Raises ValueError for a name that a host list cannot hold.
    """
    names = list(hosts)
    for name in names:
        if not re.fullmatch(r"[^\s,\[\]\"'\\\x00-\x1f\x7f]+", name):
            raise ValueError(f"{name!r} is not a host name")
    words = []
    for prefix, group in itertools.groupby(map(_split_number, names), key=lambda split: split[0]):
        numbers = [number for _, number in group]
        if numbers == [""]:
            words.append(prefix)
        elif "" in numbers:
            words += [prefix + number for number in numbers]
        else:
            words.append(prefix + _fold(numbers))
    return ",".join(words)


def _split_number(name: str) -> tuple[str, str]:
    number = re.search(r"[0-9]*$", name)
    digits = number[0][-18:] if number else ""
    return name[: len(name) - len(digits)], digits


def _fold(numbers: Sequence[str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    runs: list[list[str]] = []
    for number in numbers:
        if runs and str(int(runs[-1][-1]) + 1).zfill(len(runs[-1][0])) == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "[" + ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"


def parse_array(text: str) -> tuple[list[int], int | None]:
    """The task ids of a Slurm array in order, and how many may run at once: `0-6:2%3` -> [0, 2, 4, 6], 3.

    Raises ValueError, also for more than 100,000 tasks.
    """
    found = re.fullmatch(r"([\d:,-]+)(?:%([1-9]\d{0,5}))?", text, re.ASCII)
    words = found[1].split(",") if found else [""]
    ids: set[int] = set()
    for word in words:
        part = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7})(?::([1-9]\d{0,6}))?)?", word, re.ASCII)
        if found is None or part is None or int(part[2] or part[1]) < int(part[1]):
            raise ValueError(f"got {text!r}; task ids such as '0-9', '1,3,5' or '0-99:2%4'")
        ids.update(range(int(part[1]), int(part[2] or part[1]) + 1, int(part[3] or 1)))
        if len(ids) > _MAX_HOSTS:
            raise ValueError(f"{text!r} has more than {_MAX_HOSTS} tasks")
    return sorted(ids), int(found[2]) if found and found[2] else None


def format_array(ids: Iterable[int], limit: int | None = None) -> str:
    """The shortest ranges of these task ids: [0, 1, 2, 5], 2 -> `0-2,5%2`. The inverse of `parse_array`."""
    ranges: list[list[int]] = []
    for number in sorted(set(ids)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    words = [f"{first}-{last}" if last > first else str(first) for first, last in ranges]
    return ",".join(words) + (f"%{limit}" if limit else "")


def utc_now() -> float:
    """Seconds since 1970-01-01 UTC."""
    return time.time()
