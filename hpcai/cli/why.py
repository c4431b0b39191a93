"""`hpcai why`: why a job waits, is not running as wished, or how it ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.columns import wrapped
from hpcai.cli.complete import complete_ident
from hpcai.cli.output import emit_object, output_option, put, quiet_option, say, styled
from hpcai.cli.target import Target, find_target

if TYPE_CHECKING:
    from hpcai.check.why.facts import Answer, Facts
    from hpcai.cli.context import Context

_WIDEST = 110


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@output_option
@quiet_option("the id of the case")
def why(ident: str, output: str, quiet: bool) -> None:
    """Tell why a job waits, or how it ended.

    ID is a Slurm job id, a run's name, experiment/run, or @last; with the number of a task behind
    it (12_3, @last_3) one task of an array. It may be somebody else's job, or one that hpcai did not
    submit. One sentence tells why; then stands what it is known from, and what to do next. Of logs the
    ends are read. docs/why.md lists every case by its id.

    \b
    Exit status: 0, 2 the name fits two runs, 5 no such job, 6 Slurm does not answer and no record tells.
    """
    from hpcai.check.why.answer import answer
    from hpcai.cli.context import find_context

    facts = _facts(find_context(), ident)
    told = answer(facts)
    if quiet:
        put(told.case)
    elif output == "table":
        _print(told)
    else:
        emit_object(_as_json(told, facts), output)


def _facts(context: Context, ident: str) -> Facts:
    from hpcai.check.why.ask import Asked, gather
    from hpcai.launch.again import submit_again

    target, is_reached = _find(context, ident)
    client = context.slurm if is_reached else None
    again = submit_again(target.run) if target.run is not None else None
    return gather(Asked(target.run, target.job, client, context.site.cluster_status, time.time(), again))


def _find(context: Context, ident: str) -> tuple[Target, bool]:
    """What `ident` names, of an array the task that tells most; whether Slurm could be asked."""
    from hpcai.errors import UnreachableError

    try:
        return _one_task(find_target(context, ident)), True
    except UnreachableError as error:
        target = _one_task(find_target(context, ident, ask_slurm=False))
        say(f"This is what the record tells. {error.what}")
        return target, False


def _one_task(target: Target) -> Target:
    from hpcai.launch.ends import outcomes_of_tasks

    if target.run is None or not target.run.task_ids():
        return target
    ends = outcomes_of_tasks(target.run)
    ended = [one for one in ends if one.outcome is not None and one.outcome.state != "COMPLETED"]
    if not ended:
        return target
    first = min(ended, key=lambda one: (one.end or float("inf"), one.task))
    say(f"{len(ended)} of {len(ends)} tasks did not complete; this is the first of them, task {first.task}.")
    return Target(target.run.of_task(first.task), None)


def _as_json(told: Answer, facts: Facts) -> dict[str, Any]:
    return {
        "id": facts.ident,
        "job": facts.job.ident if facts.job else None,
        "state": facts.state,
        "case": told.case,
        "sentence": told.sentence,
        "evidence": [{"where": one.where, "what": one.what} for one in told.evidence],
        "next": list(told.next),
    }


def _print(told: Answer) -> None:
    """For people: the sentence, each piece of evidence below where it stands, the next steps as typed."""
    import shutil

    width = min(_WIDEST, shutil.get_terminal_size().columns)
    _put_wrapped("", told.sentence, width, "bold")
    if told.evidence:
        put("")
    narrow = [one for one in told.evidence if _is_short(one.where)]
    column = max((len(one.where) for one in narrow), default=0) + 2
    for one in told.evidence:
        if _is_short(one.where):
            _put_wrapped(f"  {one.where:{column}}", one.what, width)
        else:
            put(f"  {one.where}")
            _put_wrapped("      ", one.what, width)
    if told.next:
        put("\nNext:")
    for step in told.next:
        _put_step(step, width)


def _put_step(step: str, width: int) -> None:
    """A command as one line; its comment goes above where both do not fit."""
    command, _, comment = step.partition("  # ")
    if comment and len(step) + 2 > width:
        put(f"  # {comment}")
        step = command
    is_command = comment or step.startswith(("hpcai ", "srun ", "scontrol "))
    if is_command or len(step) + 2 <= width:
        put(f"  {step}")
    else:
        _put_wrapped("  ", step, width)


def _is_short(where: str) -> bool:
    return len(where) <= 28


def _put_wrapped(begin: str, text: str, width: int, style: str = "") -> None:
    lines = wrapped(" ".join(text.split()), width, len(begin))
    put(begin + (styled(lines, style) if style else lines))
