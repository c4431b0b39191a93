"""The last lines of a log, as a person may read them."""

from __future__ import annotations

import re
from pathlib import Path

_TAIL_BYTES = 20_000
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*(\x07|\x1b\\)|\x1b.")
_ENDED_BY_SLURM = re.compile(r"\*\*\* (STEP|JOB) \S+ ON \S+ CANCELLED")


def tail(path: Path, count: int) -> list[str]:
    """The last printable lines of a log file; none when it is not there or cannot be read."""
    return _end(path)[-count:]


def reasons(path: Path, count: int) -> list[str]:
    """Its last lines but those in which Slurm tells that it ended a step: they tell nobody why."""
    return [line for line in _end(path) if not _ENDED_BY_SLURM.search(line)][-count:]


def _end(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in map(printable, text.split("\n")) if line.strip()]


def printable(line: str) -> str:
    """A log line without what would move the cursor: escapes, control characters, overwritten parts."""
    line = _ESCAPE.sub("", line).rstrip("\r").rpartition("\r")[2]
    return "".join(char if char.isprintable() else " " for char in line)
