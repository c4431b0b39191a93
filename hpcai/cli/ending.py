"""How a run ended, its last words, and what to type next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hpcai.cli import words
from hpcai.cli.output import say

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome
    from hpcai.runs.record import Run

_TAIL_BYTES = 20_000
_CANCELLED = re.compile(r"\*\*\* (STEP|JOB) \S+ ON \S+ CANCELLED")


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log file; none when it is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return []
    return [line for line in lines if line.strip()][-count:]


def tell_end(run: Run, outcome: Outcome) -> None:
    """How it ended, the last words of a job that failed, and what to type next; to stderr."""
    from hpcai.launch.again import submit_again

    attempts = run.attempts()
    begin = next((attempt.start for attempt in attempts if attempt.start is not None), None)
    end = attempts[-1].end if attempts else None
    took = f" after {words.span(end - begin)}" if begin is not None and end is not None else ""
    several = f" in {len(attempts)} attempts" if len(attempts) > 1 else ""
    say(f"{run.name} {words.ended(outcome)}{took}{several}.")
    if outcome.state != "COMPLETED":
        for line in _last_words(run):
            say(f"  | {words.printable(line)}")
        logs = f"hpcai logs {run.name}" + ("" if _ranks_printed(run) else " --batch")
        again = submit_again(run)
        suggest(logs, f"hpcai show {run.name}", *([f"{again} --follow"] if again else []))
    else:
        suggest(f"hpcai report {run.name}", f"hpcai logs {run.name}", f"hpcai show {run.name}")


def _last_words(run: Run) -> list[str]:
    """The end of what the last attempt wrote to stderr, else of the batch part's output."""
    attempts = run.attempts()
    number = attempts[-1].number if attempts else 0
    errors = [tail(path, 8) for path in run.paths.logs(number) if path.suffix == ".err"]
    # That Slurm ended a step tells nobody why.
    told = [[line for line in lines if not _CANCELLED.search(line)] for lines in errors]
    return next((lines for lines in told if lines), tail(run.paths.batch_log, 8))


def _ranks_printed(run: Run) -> bool:
    return any(
        path.stat().st_size
        for attempt in run.attempts()
        for path in run.paths.logs(attempt.number)
        if path.exists()
    )


def suggest(*commands: str) -> None:
    """The next commands to type, to stderr."""
    say("Next:")
    for command in commands:
        say(f"  {command}")


def commands_after_submit(run: Run) -> tuple[str, ...]:
    """What to type next about a job that waits or runs."""
    return (f"hpcai logs -f {run.name}", f"hpcai show {run.name}", f"hpcai cancel {run.name}")
