"""`hpcai rerun`: a run's job once more, from its record, or put back into the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpcai.cli.complete import complete_ident
from hpcai.cli.output import emit_object, output_option, put, quiet_option, say
from hpcai.cli.submit_steps import Manner
from hpcai.cli.target import Target, find_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpcai.cli.context import Context
    from hpcai.errors import ToolError
    from hpcai.launch.local import LocalJob
    from hpcai.render.resolved import Where
    from hpcai.runs.record import Run


@click.command()
@click.argument("ident", metavar="ID", shell_complete=complete_ident)
@click.option("--dry-run", is_flag=True, help="Print the script to stdout and do nothing else.")
@click.option("--follow", is_flag=True, help="Stay with the job until it ends; Ctrl-C leaves it running.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the job, e.g. nodes=4."
)
@click.option("--in-place", is_flag=True, help="Put the job itself back into Slurm's queue: no new run.")
@output_option
@quiet_option("the name of the run")
@click.pass_context
def rerun(
    ctx: click.Context,
    ident: str,
    dry_run: bool,
    follow: bool,
    overrides: tuple[str, ...],
    in_place: bool,
    output: str,
    quiet: bool,
) -> None:
    """Run a job once more, from its record.

    ID is a run's name, experiment/run, a Slurm job id of a run, or @last; with the number of a task behind
    it (12_3, @last_3) that task of an array. The new run has the resolved spec and the code of the
    old one, whatever has become of the files since, or the script as it was submitted. What ran on
    this machine (--where local) runs here again. A job that waited for others (dependency) no longer does.

    \b
    Exit status: 0 the job is in the queue (with --follow: it completed), 2 wrong usage, or --set for a
    script, 3 a key or value of --set is wrong, or a script, image or secret is not there any more, 4 Slurm
    refused, or what cannot be run again: a Python function, a job that has no record; with --in-place one
    that waits still, that Slurm has forgotten, or that may not be requeued; 5 no such job, 6 Slurm does
    not answer, 7 the record or its code is gone, 130 no longer followed. With --follow, a job that fails
    ends this command with its own status.
    """
    manner = Manner(dry_run, follow, output, quiet)
    _refuse_options(manner, overrides, in_place=in_place)
    from hpcai.cli.context import find_context

    context = find_context()
    if in_place:
        _put_back(ctx, context, find_target(context, ident), manner)
        return
    run = _run_of(find_target(context, ident, ask_slurm=False))
    if run.is_bare:
        _script_again(ctx, context, run, overrides, manner)
    else:
        _job_again(ctx, context, run, overrides, manner)


def _refuse_options(manner: Manner, overrides: Sequence[str], *, in_place: bool) -> None:
    for is_given, option in ((manner.follow, "--follow"), (manner.quiet, "--quiet")):
        if manner.dry_run and is_given:
            raise click.UsageError(f"--dry-run submits nothing: {option} does not go with it.")
    for is_given, option in ((manner.dry_run, "--dry-run"), (bool(overrides), "--set")):
        if in_place and is_given:
            raise click.UsageError(f"--in-place starts the same job anew: {option} does not go with it.")


def _run_of(target: Target) -> Run:
    from hpcai.errors import ToolError

    if target.run is None:
        raise ToolError(
            f"Job {target.ident} has no record to run it from once more: hpcai did not submit it.",
            next_step=f"hpcai rerun {target.ident} --in-place",
        )
    return target.run


def _script_again(
    ctx: click.Context, context: Context, run: Run, overrides: Sequence[str], manner: Manner
) -> None:
    from hpcai.cli.submit import interruptible, tell
    from hpcai.cli.submit_script import print_as_is
    from hpcai.launch import bare

    if overrides:
        raise click.UsageError(f"{run.name} is a script of your own, which has no keys for --set.")
    if manner.dry_run:
        print_as_is(bare.copy_of(run), manner.output)
        return
    new = interruptible(lambda: bare.submit_again(run, site=context.site, client=context.client))
    tell(ctx, context, new, manner.follow, manner.output, manner.quiet)


def _job_again(
    ctx: click.Context, context: Context, run: Run, overrides: Sequence[str], manner: Manner
) -> None:
    from hpcai.check import sure
    from hpcai.cli import submit
    from hpcai.launch.again import job_of

    again = job_of(run, overrides)
    where: Where = "local" if run.is_local else "slurm"
    if manner.dry_run:
        submit.print_script(again.spec, where, context, manner.output)
        return
    sure.refuse(sure.errors_of(again.spec, context.site, context.slurm, where))
    if run.is_local:
        from hpcai.cli.submit_local import run_here

        def start() -> LocalJob:
            return again.start_here(context.site)

        run_here(ctx, start, manner.output, manner.quiet)
    else:
        new = submit.interruptible(lambda: again.submit(context.site, context.client))
        submit.tell(ctx, context, new, manner.follow, manner.output, manner.quiet)


def _put_back(ctx: click.Context, context: Context, target: Target, manner: Manner) -> None:
    from hpcai.cli.submit import tell

    reason = _why_not(target)
    if reason is not None:
        raise _cannot(target, reason)
    job, run = target.job, target.run
    assert job is not None
    if run is not None:
        of_task = {} if run.task is None else {"task": run.task}
        run.append_event("requeue_requested", **of_task)
    context.client.requeue(job.ident)
    if run is not None:
        tell(ctx, context, run, manner.follow, manner.output, manner.quiet)
        return
    _tell_job(ctx, context, target, manner)


def _why_not(target: Target) -> str | None:
    """Why Slurm would not put it back; None when it would."""
    if target.run is not None and target.run.is_local:
        return "it ran as processes of a machine, of which Slurm knows nothing"
    if target.job is None:
        return "Slurm has forgotten it, or never had it"
    if target.job.state == "PENDING":
        return "it still waits in the queue"
    if target.job.requeue is False:
        return "it was submitted as one that may not be requeued (`requeue: false`, --no-requeue)"
    return None


def _cannot(target: Target, reason: str) -> ToolError:
    from hpcai.errors import ToolError

    is_ours = target.run is not None
    has_ended = target.job is None or target.job.state != "PENDING"
    return ToolError(
        f"{target.name} cannot be put back into the queue: {reason}.",
        next_step=f"hpcai rerun {target.ident}" if is_ours and has_ended else f"hpcai show {target.ident}",
    )


def _tell_job(ctx: click.Context, context: Context, target: Target, manner: Manner) -> None:
    """The same for a job without a record."""
    from hpcai.cli.following import wait_for_job

    job = target.job
    assert job is not None
    if manner.quiet:
        put(job.ident)
    elif manner.output != "table":
        emit_object({"run": None, "job_id": job.job_id, "job": job.ident}, manner.output)
    else:
        say(f"Job {job.ident} is back in the queue.")
    if manner.follow:
        ctx.exit(wait_for_job(context.client, job, None).status)
