"""`hpcai submit`: a job file becomes a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from hpcai.cli.context import Context, find_context
from hpcai.cli.output import emit_object, emit_rows, output_option, quiet_option, say

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome
    from hpcai.launch.local import LocalJob
    from hpcai.runs.record import Run


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the script to stdout and do nothing else.")
@click.option("--follow", is_flag=True, help="Stay with the job until it ends; Ctrl-C leaves it running.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the file, e.g. nodes=4."
)
@click.option(
    "--where",
    type=click.Choice(("slurm", "local")),
    default="slurm",
    show_default=True,
    help="Through Slurm, or as processes of this machine until they end.",
)
@output_option
@quiet_option
@click.pass_context
def submit(
    ctx: click.Context,
    file: Path,
    dry_run: bool,
    follow: bool,
    overrides: tuple[str, ...],
    where: Literal["slurm", "local"],
    output: str,
    quiet: bool,
) -> None:
    """Submit a job from its YAML file.

    \b
    Exit status: 0 the job is in the queue (with --follow: it completed), 2 wrong usage,
    3 the file is wrong, 4 Slurm refused, 5 no such file or profile, 6 Slurm does not answer,
    130 no longer followed. With --follow, or --where local, a job that fails ends this
    command with the job's own status.
    """
    from hpcai.launch import script
    from hpcai.specs.job import JobSpec
    from hpcai.specs.load import load_as

    spec = load_as(JobSpec, file, overrides)
    context = find_context()
    if dry_run:
        rendered = script.preview(spec, where=where, site=context.site, client=context.slurm)
        if output == "table":
            click.echo(rendered, nl=False)
        else:
            emit_object({"script": rendered}, output)
        return
    text = file.read_text(encoding="utf-8")
    if where == "local":
        _run_here(ctx, lambda: script.start_here(spec, site=context.site, spec_text=text), output, quiet)
        return
    run = script.submit(spec, site=context.site, client=context.client, spec_text=text)
    if follow:
        _follow(ctx, context, run, output, quiet)
        return
    _tell_submitted(run, output, quiet)


def _tell_submitted(run: Run, output: str, quiet: bool) -> None:
    from hpcai.cli.ending import commands_after_submit, suggest

    if quiet:
        click.echo(run.name)
        return
    if output == "table":
        emit_rows(
            [{"run": run.name, "job": run.job_id, "record": str(run.path)}],
            ["run", "job", "record"],
            output,
            kind="runs",
        )
    else:
        emit_object(_facts(run), output)
    suggest(*commands_after_submit(run))


def _follow(ctx: click.Context, context: Context, run: Run, output: str, quiet: bool) -> None:
    from hpcai.cli import following

    if quiet:
        click.echo(run.name)
    else:
        say(f"{run.name} is job {run.job_id}.")
    _tell_end(ctx, run, following.follow(run, context.client), output)


def _run_here(ctx: click.Context, start: Callable[[], LocalJob], output: str, quiet: bool) -> None:
    # Imported before the start: between the two, Ctrl-C would leave processes behind.
    from hpcai.cli import following

    with start() as started:
        if quiet:
            click.echo(started.run.name)
        try:
            outcome = following.follow_local(started)
        except KeyboardInterrupt:
            started.stop()
            say(f"\n{started.run.name} was ended.")
            raise click.exceptions.Exit(following.DETACHED) from None
    _tell_end(ctx, started.run, outcome, output)


def _tell_end(ctx: click.Context, run: Run, outcome: Outcome, output: str) -> None:
    from hpcai.cli.ending import tell_end

    tell_end(run, outcome)
    if output != "table":
        emit_object(
            {**_facts(run), "state": outcome.state, "cause": outcome.cause, "exit_status": outcome.status},
            output,
        )
    ctx.exit(outcome.status)


def _facts(run: Run) -> dict[str, Any]:
    return {"run": run.name, "experiment": run.experiment, "job_id": run.job_id, "record": str(run.path)}
