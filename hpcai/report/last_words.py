"""What runs that did not complete wrote last: of the ranks, else of the batch part."""

from __future__ import annotations

from dataclasses import dataclass

from hpcai.runs import tails
from hpcai.runs.record import Run

_MOST_LINES = 12
_MOST_RANKS = 3


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
        lines = tails.reasons(path, _MOST_LINES)
        words = LastWords(str(path.relative_to(run.path)), "\n".join(lines))
        # Ranks that fall together say the same; one of them is enough.
        if lines and words.text not in [other.text for other in found] and len(found) < _MOST_RANKS:
            found.append(words)
    batch = tails.tail(run.paths.batch_log, _MOST_LINES)
    if batch:
        found.append(LastWords(str(run.paths.batch_log.relative_to(run.path)), "\n".join(batch)))
    return found
