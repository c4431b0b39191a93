"""How a run ended, its last words, and what to type next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpcai.cli import words
from hpcai.cli.output import say

# For so long Slurm is asked for more of a job that has ended.
_ASK_S = 5.0
# Cases that say no more than how a job ended.
_NO_MORE = ("failed", "failed-without-a-log", "cancelled", "unknown")

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
        say_why(run)
        for line in _last_words(run):
            say(f"  | {line}")
        logs = f"hpcai logs {run.name}" + ("" if run.is_bare or _ranks_printed(run) else " --batch")
        again = submit_again(run)
        suggest(f"hpcai why {run.name}", logs, *([f"{again} --follow"] if again else []))
    else:
        report = [] if run.is_bare else [f"hpcai report {run.name}"]
        suggest(*report, f"hpcai logs {run.name}", f"hpcai show {run.name}")


def say_why(run: Run) -> None:
    """Why it did not complete, in the sentence of `hpcai why`; nothing where that tells no more."""
    sentence = _sentence(run)
    if sentence is not None:
        say(sentence)


def _sentence(run: Run) -> str | None:
    from hpcai.check.why.answer import answer
    from hpcai.check.why.ask import Asked, gather
    from hpcai.cli.context import find_context
    from hpcai.errors import HpcaiError
    from hpcai.launch import ends

    context = find_context()
    slurm = None if run.is_local or context.slurm is None else context.slurm.within(_ASK_S)
    try:
        job = None if slurm is None else ends.collect(run, slurm)
        told = answer(gather(Asked(run, job, slurm, context.site.cluster_status, time.time())))
    except HpcaiError:
        # How it ended is known; more is not worth another failure.
        return None
    return None if told.case in _NO_MORE else told.sentence


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
