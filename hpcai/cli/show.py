"""`hpcai show`: one run or job in full, and waiting for its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.columns import cut
from hpcai.cli.complete import complete_ident
from hpcai.cli.numbers import FiniteRange
from hpcai.cli.output import emit_object, output_option, put, quiet_option, say
from hpcai.cli.target import Target, client_to_wait_by, find_target

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.launch.ends import Outcome
    from hpcai.runs.attempts import RunAttempt
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo

# More of a command stands in its record.
_MOST_OF_COMMAND = 200

# What a person reads in other lines, or not at all.
_TOLD_OTHERWISE = (
    *("attempts", "restarts", "tasks", "not_completed", "use", "transport", "warnings", "notices"),
    "is_forgotten",
)


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.option("--wait", "waits", is_flag=True, help="Wait until the job has ended, and end with its status.")
@click.option(
    "--timeout-s", type=FiniteRange(min=0), help="With --wait: wait no longer than so many seconds."
)
@output_option
@quiet_option("the run's name, or the job id where there is no run,")
@click.pass_context
def show(
    ctx: click.Context, ident: str, waits: bool, timeout_s: float | None, output: str, quiet: bool
) -> None:
    """Show one job in full.

    ID is a Slurm job id, a run's name, experiment/run, or @last; with the number of a task behind
    it (12_3, @last_3) one task of an array. Of a whole array its tasks are counted by how they ended.
    A job that slurmctld has forgotten comes from Slurm's accounting, where there is any; where slurmdbd
    does not answer within 10 s, the record tells.

    \b
    Exit status: 0, 2 the name fits two runs, 5 no such job, 6 Slurm or slurmdbd does not answer
    and no record tells. With --wait: 0 it completed,
    else the job's own status (128 + signal, or 9, when it has none or nobody recorded it),
    4 there is no Slurm here or no job of the run is known, 6 Slurm has not answered
    for 15 minutes, 8 --timeout-s is over, 130 no longer waiting after Ctrl-C.
    """
    if timeout_s is not None and not waits:
        raise click.UsageError("--timeout-s goes with --wait.")
    from hpcai.cli.context import find_context

    context = find_context()
    if waits:
        target = find_target(context, ident, ask_slurm=False)
        _wait_and_tell(ctx, context, target, timeout_s, output, quiet)
    else:
        _tell(_facts(_find(context, ident)), output, quiet)


def _wait_and_tell(
    ctx: click.Context, context: Context, target: Target, timeout_s: float | None, output: str, quiet: bool
) -> None:
    from hpcai.cli.following import Detached

    try:
        outcome = _wait(context, target, timeout_s)
    except Detached as left:
        if quiet or output != "table":
            _tell(_facts(target) | ({"state": left.state} if left.state else {}), output, quiet)
        raise
    _tell(_facts(_find(context, target.ident), outcome), output, quiet)
    ctx.exit(outcome.status)


def _tell(facts: dict[str, Any], output: str, quiet: bool) -> None:
    if quiet:
        put(facts.get("run") or facts["job"])
    else:
        emit_object(_for_people(facts) if output == "table" else facts, output, color=_colors(facts))
        if output == "table":
            # Completion imports this module, and nothing that it does not need.
            from hpcai.cli.ending import suggest

            suggest(_next_command(facts))


def _next_command(facts: dict[str, Any]) -> str:
    """What a person asks next: why it waits or has not completed, else what it printed."""
    name = facts.get("run") or facts["job"] or facts["job_id"]
    if facts["state"] == "PENDING" or (facts["cause"] and facts["cause"] != "completed"):
        return f"hpcai why {name}"
    if "tasks" in facts:
        # Its tasks have logs of their own.
        return f"hpcai report {name}" if facts["cause"] else f"hpcai show {name} --wait"
    return f"hpcai logs {name}" if facts["cause"] else f"hpcai logs -f {name}"


def _colors(facts: dict[str, Any]) -> dict[str, str]:
    from hpcai.cli.queue import color_of

    found = {"state": color_of(facts["state"])} if facts["state"] else {}
    return {**found, **dict.fromkeys(("warning", *(f"warning {n}" for n in range(2, 10))), "yellow")}


def _find(context: Context, ident: str) -> Target:
    """What `ident` names; when Slurm does not answer, what the record alone tells."""
    from hpcai.errors import UnreachableError

    try:
        target = find_target(context, ident)
        _say_forgotten(target)
        return target
    except UnreachableError as error:
        target = find_target(context, ident, ask_slurm=False)
        say(f"This is what the record tells. {error.what}")
        return target


def _say_forgotten(target: Target) -> None:
    if target.job is not None and target.job.is_forgotten:
        say("Slurm has forgotten the job by now; this is what its accounting keeps.")


def _wait(context: Context, target: Target, timeout_s: float | None) -> Outcome:
    from hpcai.cli import following

    if target.job is not None:
        return following.wait_for_job(context.client, target.job, timeout_s)
    assert target.run is not None
    return following.wait(target.run, client_to_wait_by(context, target.run), timeout_s)


def _facts(target: Target, outcome: Outcome | None = None) -> dict[str, Any]:
    """Everything that is known, as JSON's own types; `outcome` is what waiting has found out."""
    run, job, outcome = target.run, target.job, target.outcome or outcome
    facts: dict[str, Any] = {}
    if run is not None:
        facts |= {"run": run.name, "experiment": run.experiment, "record": str(run.paths.own)}
    facts |= {"job": job.ident if job else None, "job_id": target.job_id}
    facts |= {"state": None, "cause": None, "exit_status": None}
    if outcome is not None:
        facts |= {"state": outcome.state, "cause": outcome.cause, "exit_status": outcome.status}
    elif run is not None and run.is_local:
        facts |= {"state": "RUNNING", "why": "runs on the machine that started it"}
    facts |= _of_slurm(job) if job is not None else {}
    if run is not None:
        submitted = facts.get("submitted")
        facts |= _of_record(run)
        # What the client wrote down after sbatch's answer may be later than the start.
        facts["submitted"] = min((one for one in (submitted, facts["submitted"]) if one), default=None)
    return facts


def _of_slurm(job: JobInfo) -> dict[str, Any]:
    from hpcai.slurm.reasons import in_words

    return {
        "state": job.state,
        "why": in_words(job),
        "reason": job.reason,
        "partition": job.partition,
        "nodes": job.nodes,
        "node_list": job.node_list,
        "submitted": job.submit_time,
        "started": job.start_time,
        "ended": job.end_time if job.is_final else None,
        "time_limit_s": job.time_limit_s,
        "restarts": job.restarts,
        "workdir": job.workdir,
        "script": job.command,
        "is_forgotten": job.is_forgotten,
    }


def _of_record(run: Run) -> dict[str, Any]:
    from hpcai.cli.arrays import facts_of_tasks
    from hpcai.cli.notices import facts_of_notices
    from hpcai.cli.transport import with_transport
    from hpcai.cli.use import facts_of_use

    resolved = run.resolved()
    return {
        **facts_of_tasks(run),
        "rerun_of": run.parent,
        "command": resolved.get("command"),
        "nodes": resolved.get("nodes"),
        "submitted": next((e["time"] for e in run.events() if e.get("event") == "submitted"), None),
        "script": str(run.paths.script),
        "attempts": [_attempt(attempt) for attempt in run.attempts()],
        **facts_of_notices(run),
        **with_transport(run, facts_of_use(run)),
    }


def _attempt(attempt: RunAttempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "node_list": attempt.node_list,
        "start": attempt.start,
        "end": attempt.end,
        "exit_status": attempt.exit_status,
        "signal": attempt.signal,
        "state": attempt.state,
        "cause": attempt.cause,
    }


def _for_people(facts: dict[str, Any]) -> dict[str, Any]:
    """The same facts as a person reads them."""
    from hpcai.cli.arrays import lines_of_tasks
    from hpcai.cli.notices import lines_of_notices
    from hpcai.cli.transport import lines_of_transport
    from hpcai.cli.use import lines_of_use, lines_of_warnings
    from hpcai.cli.words import moment, span

    now = time.time()
    shown = {key: value for key, value in facts.items() if value is not None and key not in _TOLD_OTHERWISE}
    # Only of a waiting job does Slurm say more than its state; its reason is part of it.
    if "reason" in facts and facts["state"] != "PENDING":
        shown.pop("why", None)
    if facts["job"] == str(facts["job_id"]):
        del shown["job"]
    if facts["state"] and facts["cause"] == facts["state"].lower():
        del shown["cause"]
    for key in ("submitted", "started", "ended"):
        if key in shown:
            shown[key] = moment(shown[key], now)
    if "time_limit_s" in shown:
        shown["time limit"] = span(shown.pop("time_limit_s"))
    if "command" in shown:
        shown["command"] = cut(" ".join(str(shown["command"]).split()), _MOST_OF_COMMAND)
    if facts.get("record") and str(shown.get("script", "")).startswith(facts["record"]):
        del shown["script"]
    if "tasks" in facts:
        shown |= lines_of_tasks(facts)
    for attempt in facts.get("attempts", ()):
        shown[f"attempt {attempt['attempt']}"] = _attempt_line(attempt, now)
    shown |= lines_of_notices(facts, now)
    shown |= lines_of_use(facts) | lines_of_transport(facts) | lines_of_warnings(facts)
    return {key.replace("_", " "): value for key, value in shown.items()}


def _attempt_line(attempt: dict[str, Any], now: float) -> str:
    from hpcai.cli.words import cause, span

    parts = [(attempt["cause"] and cause(attempt["cause"])) or "goes on"]
    if attempt["exit_status"]:
        parts.append(f"status {attempt['exit_status']}")
    if attempt["signal"]:
        parts.append(f"signal {attempt['signal']}")
    if attempt["node_list"]:
        parts.append(f"on {attempt['node_list']}")
    if attempt["start"] is not None:
        parts.append(span((attempt["end"] or now) - attempt["start"]))
    return ", ".join(parts)
