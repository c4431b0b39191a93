"""An array as a person and a program read it: its tasks counted by how they ended, and each as it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpcai.cli import words
from hpcai.cli.ending import suggest
from hpcai.cli.output import say

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome, TaskEnd
    from hpcai.launch.follow import Snapshot
    from hpcai.launch.watch import ArrayFollower
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo

# So many of those that did not complete are told one by one.
_MOST_NAMED = 10


def facts_of_tasks(run: Run) -> dict[str, Any]:
    """How many tasks of an array ended how, and each that did not complete; nothing for another run.

    Also what Slurm tells of one task only, for all of them.
    """
    from hpcai.launch.ends import outcomes_of_tasks

    ends = outcomes_of_tasks(run)
    if not ends:
        return {}
    bad = [(end.task, end.outcome) for end in ends if end.outcome and end.outcome.state != "COMPLETED"]
    over = all(end.outcome is not None for end in ends)
    return {
        "node_list": None,
        "started": min((end.start for end in ends if end.start is not None), default=None),
        "ended": max((end.end for end in ends if end.end is not None), default=None) if over else None,
        "tasks": {"total": len(ends), **_counts(ends)},
        "not_completed": [
            {"task": task, "state": outcome.state, "cause": outcome.cause, "exit_status": outcome.status}
            for task, outcome in bad
        ],
    }


def _counts(ends: Sequence[TaskEnd]) -> dict[str, int]:
    """The most telling first."""
    counted = Counter(
        end.outcome.cause if end.outcome else "waiting" if end.start is None else "running" for end in ends
    )
    order = ("completed", "failed")
    return {cause: counted[cause] for cause in (*order, *sorted(counted.keys() - {*order})) if counted[cause]}


def lines_of_tasks(facts: Mapping[str, Any]) -> dict[str, str]:
    """The same as a person reads it."""
    counts = dict(facts["tasks"])
    total = counts.pop("total")
    shown = {"tasks": f"{total}: " + ", ".join(f"{count} {cause}" for cause, count in counts.items())}
    bad = facts["not_completed"]
    for one in bad[:_MOST_NAMED]:
        status = f", status {one['exit_status']}" if one["cause"] == "failed" else ""
        shown[f"task {one['task']}"] = f"{words.cause(one['cause'])}{status}"
    if len(bad) > _MOST_NAMED:
        shown["and"] = f"{len(bad) - _MOST_NAMED} more that did not complete; -o json names them all"
    return shown


def teller(follower: ArrayFollower) -> Callable[[Snapshot], None]:
    """Prints what is new of an array that is followed: why it waits, and each task as it ends."""
    total = len(follower.run.task_ids())
    said: set[str] = set()
    ended = 0

    def once(now: Snapshot, line: str | None) -> None:
        if line and line not in said:
            said.add(line)
            say(f"{words.clock(now.now)}  {line}")

    def tell(now: Snapshot) -> None:
        nonlocal ended
        if now.state == "PENDING" and not ended:
            once(now, f"the array {now.words}")
        if now.never_starts and "cancel" not in said:
            said.add("cancel")
            suggest(f"hpcai cancel {follower.run.name}")
        if now.silent_s:
            once(now, "Slurm has not answered for a while; asking on")
        for task, job in follower.new_ends():
            ended += 1
            once(now, f"task {task} {_end_of(job)} ({ended} of {total})")

    return tell


def _end_of(job: JobInfo) -> str:
    from hpcai.launch.ends import outcome_of_job

    outcome = outcome_of_job(job)
    assert outcome is not None
    ran_s = job.elapsed_s(job.end_time or 0.0)
    return words.ended(outcome) + (f" after {words.span(ran_s)}" if ran_s else "")


def tell_end(run: Run, outcome: Outcome) -> None:
    """How many tasks completed, those that did not, and what to type next; to stderr."""
    facts = facts_of_tasks(run)
    tasks, bad = facts["tasks"], facts["not_completed"]
    say(f"{run.name}: {tasks.get('completed', 0)} of {tasks['total']} tasks completed.")
    for name, line in list(lines_of_tasks(facts).items())[1:]:
        say(f"  {name} {line}")
    first = next((one["task"] for one in bad if one["exit_status"] == outcome.status), run.task_ids()[0])
    name = run.of_task(first).name
    suggest(f"hpcai logs {name}", f"hpcai show {run.name}")
