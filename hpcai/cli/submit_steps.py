"""`hpcai submit` of steps: every step becomes a run, and what each waits for is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from hpcai.cli import submit_checks, submit_schedule
from hpcai.cli.context import Context, find_context
from hpcai.cli.output import emit_object, emit_rows, put, say

if TYPE_CHECKING:
    from hpcai.render.resolved import Where
    from hpcai.runs.record import Run
    from hpcai.specs.steps import Step, Steps

_COLUMNS = ("step", "run", "job", "after", "when", "record")


class Manner(NamedTuple):
    """How the command was typed."""

    dry_run: bool
    follow: bool
    output: str
    quiet: bool


def submit(
    ctx: click.Context, text: str, file: Path, overrides: Sequence[str], where: Where, manner: Manner
) -> None:
    """The whole command, for a file of `kind: steps`."""
    from hpcai.specs.load_steps import load_steps
    from hpcai.specs.settings import load_settings

    if where == "local":
        raise click.UsageError("Steps run through Slurm; submit each job with --where local instead.")
    steps = load_steps(text, str(file), tuple(overrides), load_settings())
    if steps.schedule is not None:
        submit_schedule.refuse_options(file, where, follow=manner.follow)
        if manner.dry_run:
            submit_schedule.tell(steps.schedule)
    context = find_context()
    if manner.dry_run:
        _print_scripts(steps, context, manner.output)
        return
    given = [submit_checks.Given(one.job, one.document, one.name, bool(one.after)) for one in steps.steps]
    submit_checks.refuse_errors(given, file, context, where)
    if steps.schedule is not None:
        jobs = [step.job for step in steps.steps]
        submit_schedule.submit(
            file, steps.name, steps.experiment, steps.schedule, jobs, overrides, context, manner
        )
        return
    from hpcai.launch import chain

    runs = chain.submit(steps, site=context.site, client=context.client)
    _tell(steps, runs, manner)
    if manner.follow:
        _follow(ctx, steps, runs, context)


def _print_scripts(steps: Steps, context: Context, output: str) -> None:
    from hpcai.launch import chain

    scripts = {step.name: chain.preview_of(step, steps, context.site, context.slurm) for step in steps.steps}
    if output != "table":
        emit_object({"scripts": scripts}, output)
        return
    for step in steps.steps:
        put(f"# ---- step {step.name}, {_waits(step)}")
        if step.after:
            waits = chain.dependency_of(step, {name: f"<job of {name}>" for name in step.after})
            put(f"# ---- by hand: sbatch --dependency='{waits}' --kill-on-invalid-dep=yes script.sbatch")
        put(scripts[step.name])


def _waits(step: Step) -> str:
    """When it starts: `after prepare, train: when any of them failed`."""
    if not step.after:
        return "at once"
    which = {"completed": "all", "failed": "any", "ended": "all"}[step.when]
    subject = f"{which} of them" if len(step.after) > 1 else "it"
    return f"after {', '.join(step.after)}: when {subject} {step.when}"


def _tell(steps: Steps, runs: Sequence[Run], manner: Manner) -> None:
    if manner.quiet:
        for run in runs:
            put(run.name)
        return
    is_table = manner.output == "table"
    rows = [
        {
            "step": step.name,
            "run": run.name,
            "job": run.job_id,
            "after": ", ".join(step.after) or None if is_table else list(step.after),
            "when": step.when if step.after else None,
            "record": str(run.path),
        }
        for step, run in zip(steps.steps, runs, strict=True)
    ]
    emit_rows(rows, _COLUMNS, manner.output, kind="steps", shown=_COLUMNS[:-1])


def _follow(ctx: click.Context, steps: Steps, runs: Sequence[Run], context: Context) -> None:
    from hpcai.cli import arrays, ending
    from hpcai.cli.following import follow

    first_bad = 0
    for step, run in zip(steps.steps, runs, strict=True):
        say(f"{run.name} is job {run.job_id}.")
        outcome = follow(run, context.client)
        tasks = [run.of_task(task) for task in run.task_ids()] or [run]
        never_began = all(attempt.start is None for task in tasks for attempt in task.attempts())
        if step.after and outcome.state == "CANCELLED" and never_began:
            say(f"{run.name} was left out: it starts {_waits(step)}.")
            continue
        (arrays if run.task_ids() else ending).tell_end(run, outcome)
        first_bad = first_bad or outcome.status
    ctx.exit(first_bad)
