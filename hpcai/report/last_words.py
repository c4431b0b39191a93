"""What runs that did not complete wrote last: of the ranks, else of the batch part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.runs.record import Run

_MOST_LINES = 12
_MOST_RANKS = 3
_TAIL_BYTES = 20_000
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*(\x07|\x1b\\)|\x1b.")
# That Slurm ended the other ranks tells nobody why.
_ENDED_BY_SLURM = re.compile(r"\*\*\* (STEP|JOB) \S+ ON \S+ CANCELLED")


@dataclass(frozen=True)
class LastWords:
    """The last lines of one file of a run; `origin` is its place within the record."""

    origin: str
    text: str


def of_run(run: Run, attempt: int) -> list[LastWords]:
    """The last lines that ranks of the attempt wrote to stderr, and those of the batch part."""
    found: list[LastWords] = []
    errors = [path for path in run.paths.logs(attempt) if path.suffix == ".err"]
    for path in sorted(errors, key=lambda path: (len(path.stem), path.stem)):
        lines = [line for line in _tail(path) if not _ENDED_BY_SLURM.search(line)]
        words = LastWords(str(path.relative_to(run.path)), "\n".join(lines))
        # Ranks that fall together say the same; one of them is enough.
        if lines and words.text not in [other.text for other in found] and len(found) < _MOST_RANKS:
            found.append(words)
    batch = _tail(run.paths.batch_log)
    if batch:
        found.append(LastWords(str(run.paths.batch_log.relative_to(run.path)), "\n".join(batch)))
    return found


def _tail(path: Path) -> Sequence[str]:
    """The last lines of a log file without what only a terminal understands; none when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [_printable(line) for line in text.split("\n")]
    return [line for line in lines if line.strip()][-_MOST_LINES:]


def _printable(line: str) -> str:
    line = _ESCAPE.sub("", line).rstrip("\r").rpartition("\r")[2]
    return "".join(char if char.isprintable() else " " for char in line)
