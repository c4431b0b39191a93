"""How a run ended, its last words, and what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcai.cli import words
from hpcai.cli.output import say

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome
    from hpcai.runs.record import Run


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
            say(f"  | {line}")
        logs = f"hpcai logs {run.name}" + ("" if run.is_bare or _ranks_printed(run) else " --batch")
        again = submit_again(run)
        suggest(f"hpcai why {run.name}", logs, *([f"{again} --follow"] if again else []))
    else:
        report = [] if run.is_bare else [f"hpcai report {run.name}"]
        suggest(*report, f"hpcai logs {run.name}", f"hpcai show {run.name}")


def _last_words(run: Run) -> list[str]:
    """The end of what the last attempt wrote to stderr, else of the batch part's output."""
    from hpcai.runs.tails import reasons, tail

    if run.is_bare:
        from hpcai.launch.bare import output_of

        return next((lines for path in reversed(output_of(run, None)) if (lines := tail(path, 8))), [])
    attempts = run.attempts()
    number = attempts[-1].number if attempts else 0
    told = [reasons(path, 8) for path in run.paths.logs(number) if path.suffix == ".err"]
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
    tasks = run.task_ids()
    one = run.of_task(tasks[0]) if tasks else run
    return (f"hpcai logs -f {one.name}", f"hpcai show {run.name}", f"hpcai cancel {run.name}")
