"""The last lines of a log, as a person may read them."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_TAIL_BYTES = 20_000
_MOST_BYTES = 1 << 20
# Counting the lines before the part that is read takes a second per GB.
_COUNTED_BYTES = 256 << 20
_LONGEST_LINE = 4000
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*(\x07|\x1b\\)|\x1b.")
_ENDED_BY_SLURM = re.compile(r"\*\*\* (STEP|JOB) \S+ ON \S+ CANCELLED")


def tail(path: Path, count: int) -> list[str]:
    """The last printable lines of a log file; none when it is not there or cannot be read."""
    return _end(path)[-count:]


def reasons(path: Path, count: int) -> list[str]:
    """Its last lines but those in which Slurm tells that it ended a step: they tell nobody why."""
    return [line for line in _end(path) if not _ENDED_BY_SLURM.search(line)][-count:]


def _end(path: Path) -> list[str]:
    end = end_of(path, _TAIL_BYTES)
    return [line for line in map(printable, end.lines) if line.strip()] if end else []


@dataclass(frozen=True)
class End:
    """The last part of a log, its lines without escapes and without what was overwritten."""

    path: Path
    lines: tuple[str, ...]
    skipped_bytes: int
    """What stands before it in the file."""
    written: float
    """When the file was last written to, in UTC seconds."""

    def place(self, index: int) -> str:
        """`FILE:LINE` of a line; in a file that is too long to count, its number from the end."""
        if self._first is None:
            return f"{self.path} (line {len(self.lines) - index} from the end)"
        return f"{self.path}:{self._first + index}"

    @cached_property
    def _first(self) -> int | None:
        """The number of the first line of this part."""
        if self.skipped_bytes > _COUNTED_BYTES:
            return None
        count, left = 1, self.skipped_bytes
        try:
            with self.path.open("rb") as file:
                while left > 0 and (chunk := file.read(min(left, _MOST_BYTES))):
                    count += chunk.count(b"\n")
                    left -= len(chunk)
        except OSError:
            return None
        return count


def end_of(path: Path, most_bytes: int = _MOST_BYTES) -> End | None:
    """The last part of a log; None when it is not there, cannot be read, or is no file."""
    try:
        # Reading a pipe would wait for whoever writes it.
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            size = file.seek(0, 2)
            skipped = file.seek(max(0, size - most_bytes))
            text = file.read(most_bytes).decode(errors="replace")
            written = path.stat().st_mtime
    except OSError:
        return None
    return End(path, tuple(_plain(line) for line in text.split("\n")), skipped, written)


def _plain(line: str) -> str:
    if "\x1b" in line:
        line = _ESCAPE.sub("", line)
    if "\r" in line:
        line = line.rstrip("\r").rpartition("\r")[2]
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def printable(line: str) -> str:
    """A log line without what would move the cursor: escapes, control characters, overwritten parts."""
    line = _ESCAPE.sub("", line).rstrip("\r").rpartition("\r")[2]
    return "".join(char if char.isprintable() else " " for char in line)
