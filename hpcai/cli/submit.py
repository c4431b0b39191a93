"""`hpcai submit`: a file becomes a job, or several."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hpcai.cli import submit_checks
from hpcai.cli.context import Context, find_context
from hpcai.cli.findings import in_words
from hpcai.cli.output import OutputError, emit_object, emit_rows, output_option, put, quiet_option, say

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome
    from hpcai.launch.local import LocalJob
    from hpcai.render.resolved import Where
    from hpcai.runs.record import Run
    from hpcai.specs.job import JobSpec
    from hpcai.specs.yaml_text import Document


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
@click.option(
    "--shell",
    is_flag=True,
    help="Open a shell with the job's resources, container and environment instead of its command.",
)
@output_option
@quiet_option("the names of the runs")
@click.pass_context
def submit(
    ctx: click.Context,
    file: Path,
    dry_run: bool,
    follow: bool,
    overrides: tuple[str, ...],
    where: Where,
    shell: bool,
    output: str,
    quiet: bool,
) -> None:
    """Submit jobs from a YAML file, or a script with #SBATCH lines as it is.

    FILE is of `kind: job` or `kind: steps`, or a script with #SBATCH lines, which goes to sbatch unchanged
    and takes neither --set nor --where local; `-` is stdin. With steps, all are submitted at once and
    Slurm starts one after the other; --follow stays with each in turn and ends with the first
    bad status. A file with `schedule:` is not submitted now: Slurm's scrontab submits it anew at each
    of its times, until `hpcai cancel FILE`; submitted again, it replaces its schedule.

    \b
    Exit status: 0 the job is in the queue (with --follow: it completed), 2 wrong usage,
    3 the file is wrong, or its command, script, image or secret is, 4 Slurm refused, 5 no such file,
    profile or data set, 6 Slurm does not answer, 7 no record or nothing on stdout can be written,
    130 no longer followed, or Ctrl-C while it was being submitted. With --follow, or
    --where local, a job that fails ends this command with the job's own status. --where local: Ctrl-C,
    SIGTERM and SIGHUP end the job's processes, and this command with 128 + the signal.
    """
    for is_given, option in ((follow, "--follow"), (quiet, "--quiet")):
        if dry_run and is_given:
            raise click.UsageError(f"--dry-run submits nothing: {option} does not go with it.")
    if shell:
        from hpcai.cli import submit_shell
        from hpcai.cli.submit_steps import Manner

        submit_shell.submit(file, overrides, where, Manner(dry_run, follow, output, quiet))
        return
    from hpcai.slurm.sbatch_lines import is_script
    from hpcai.specs.load import kind_of, read_bytes, text_of

    # A pipe can be read once only, and a file that is read again may hold another text.
    content = read_bytes(file)
    if is_script(file, content[:2].decode("latin-1")):
        from hpcai.cli import submit_script

        submit_script.submit(
            ctx, content, file, overrides, where, submit_script.Manner(dry_run, follow, output, quiet)
        )
        return
    text = text_of(content, file)
    if kind_of(text, str(file)) == "steps":
        from hpcai.cli import submit_steps

        submit_steps.submit(
            ctx, text, file, overrides, where, submit_steps.Manner(dry_run, follow, output, quiet)
        )
        return
    given = given_in(text, file, overrides)
    if given.spec.schedule is not None:
        from hpcai.cli import submit_schedule

        submit_schedule.refuse_options(file, where, follow=follow)
        if dry_run:
            submit_schedule.tell(given.spec.schedule)
    context = find_context()
    if dry_run:
        print_script(given.spec, where, context, output)
        return
    submit_checks.refuse_errors([submit_checks.Given(given.spec, given.document)], file, context, where)
    if given.spec.schedule is not None:
        _schedule(given.spec, file, overrides, context, output, quiet)
    elif where == "local":
        from hpcai.cli.submit_local import run_here, tell_without_slurm

        tell_without_slurm(given.spec)
        run_here(ctx, lambda: given.start_here(context), output, quiet)
    else:
        tell(ctx, context, interruptible(lambda: _submit(given, context)), follow, output, quiet)


def tell(ctx: click.Context, context: Context, run: Run, follow: bool, output: str, quiet: bool) -> None:
    """What becomes of a job that is in the queue, as it was asked for."""
    with _named_anyway(run):
        if follow:
            _follow(ctx, context, run, output, quiet)
        else:
            _tell_submitted(run, output, quiet)


def _schedule(
    spec: JobSpec, file: Path, overrides: Sequence[str], context: Context, output: str, quiet: bool
) -> None:
    from hpcai.cli import submit_schedule
    from hpcai.cli.submit_steps import Manner

    assert spec.schedule is not None
    manner = Manner(dry_run=False, follow=False, output=output, quiet=quiet)
    submit_schedule.submit(
        file, spec.name, spec.experiment, spec.schedule, [spec], overrides, context, manner
    )


class _Given(NamedTuple):
    """What the caller gave: the spec, where it stands, the text that that was, and what was laid over it."""

    spec: JobSpec
    document: Document
    text: str
    overrides: Sequence[str]

    def submit(self, context: Context) -> Run:
        from hpcai.launch import script

        return script.submit(
            self.spec,
            site=context.site,
            client=context.client,
            spec_text=self.text,
            overrides=self.overrides,
        )

    def start_here(self, context: Context) -> LocalJob:
        from hpcai.launch import script

        return script.start_here(self.spec, site=context.site, spec_text=self.text, overrides=self.overrides)


def given_in(text: str, file: Path, overrides: Sequence[str]) -> _Given:
    """What the text holds; whoever puts a secret into it is warned."""
    from hpcai.check.marked import with_places
    from hpcai.check.secrets import secrets_in_sight
    from hpcai.specs.job import JobSpec
    from hpcai.specs.load import open_text
    from hpcai.specs.settings import load_settings

    base = file.absolute().parent
    opened = open_text(text, str(file), overrides, settings=load_settings(), base=base, only=JobSpec)
    spec = opened.spec
    assert isinstance(spec, JobSpec)
    for finding in with_places(secrets_in_sight(spec), opened.document):
        say(in_words(finding))
    return _Given(spec, opened.document, text, overrides)


def _submit(given: _Given, context: Context) -> Run:
    from hpcai.errors import SlurmError

    try:
        return given.submit(context)
    except SlurmError as error:
        if error.next_step is None and given.document.origin != "-":
            error.next_step = f"`hpcai check {shlex.quote(given.document.origin)}` tells where in the file."
        raise


def interruptible(submit: Callable[[], Run]) -> Run:
    """The run that was submitted; Ctrl-C ends this command with the job's number, if there is one."""
    from hpcai.launch.script import SubmissionInterrupted

    try:
        return submit()
    except SubmissionInterrupted as interrupted:
        say(f"\n{interrupted}")
    except KeyboardInterrupt:
        say("\nNothing was submitted.")
    raise click.exceptions.Exit(130)


def print_script(spec: JobSpec, where: Where, context: Context, output: str) -> None:
    """What a dry run leaves on stdout."""
    from hpcai.launch.resolve import preview

    rendered = preview(spec, where=where, site=context.site, client=context.slurm)
    if output == "table":
        put(rendered, end="")
    else:
        emit_object({"script": rendered}, output)


@contextmanager
def _named_anyway(run: Run) -> Iterator[None]:
    """Inside, a stdout that cannot be written hides no job that is in the queue: stderr names it."""
    try:
        yield
    except OutputError:
        say(f"{run.name} is job {run.job_id}.")
        raise


def _tell_submitted(run: Run, output: str, quiet: bool) -> None:
    from hpcai.cli.ending import commands_after_submit, suggest

    if quiet:
        put(run.name)
        return
    if output == "table":
        row = {"run": run.name, "job": run.job_id, "record": str(run.path)}
        emit_rows([row], list(row), output, kind="runs")
    else:
        emit_object(_facts(run), output)
    suggest(*commands_after_submit(run))


def _follow(ctx: click.Context, context: Context, run: Run, output: str, quiet: bool) -> None:
    from hpcai.cli import following

    if quiet:
        put(run.name)
    else:
        say(f"{run.name} is job {run.job_id}.")
    try:
        outcome = following.follow(run, context.client)
    except following.Detached as left:
        emit(run, output, quiet, state=left.state)
        raise
    tell_end(ctx, run, outcome, output, quiet)


def tell_end(ctx: click.Context, run: Run, outcome: Outcome, output: str, quiet: bool) -> None:
    from hpcai.cli import arrays, ending

    (arrays if run.task_ids() else ending).tell_end(run, outcome)
    emit(run, output, quiet, state=outcome.state, cause=outcome.cause, exit_status=outcome.status)
    ctx.exit(outcome.status)


def emit(
    run: Run,
    output: str,
    quiet: bool,
    *,
    state: str | None,
    cause: str | None = None,
    exit_status: int | None = None,
) -> None:
    """What a program is told at the end of following; a person has been told in words."""
    if output != "table" and not quiet:
        emit_object({**_facts(run), "state": state, "cause": cause, "exit_status": exit_status}, output)


def _facts(run: Run) -> dict[str, Any]:
    return {"run": run.name, "experiment": run.experiment, "job_id": run.job_id, "record": str(run.path)}
