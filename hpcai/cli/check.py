"""`hpcai check`: what is wrong, before the queue finds out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.context import Context, find_context
from hpcai.cli.output import emit_rows, output_option

if TYPE_CHECKING:
    from hpcai.check.findings import Finding
    from hpcai.check.job import Checked

COLUMNS = ("file", "severity", "where", "what", "fix")
_COLORS = {"error": "red", "warning": "yellow", "ok": "green"}
# An end of time that Slurm tells when a job without a time limit stands before this one.
_FAR_S = 365 * 86400


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. nodes=4.")
@output_option
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...], overrides: tuple[str, ...], output: str) -> None:
    """Tell what is wrong with this site or a file, before the queue does.

    Without FILE, this site: Slurm, its partitions, scratch, the runs folder, storage, the interpreter.
    With FILEs, each of them: mistakes, limits of the partition, data sets, and when Slurm would start it.
    Nothing is submitted or written.

    \b
    Exit status: 0 nothing keeps jobs from running, 3 errors were found, 4 there is no Slurm,
    5 there is no such file, 6 Slurm does not answer.
    """
    from hpcai.check.findings import has_errors

    context = find_context()
    if files:
        found = {str(file): _with_verdict(_check_file(file, overrides, context)) for file in files}
    else:
        found = {"": _check_site(context)}
    if output == "table":
        for name, findings in found.items():
            _print(name, findings)
    else:
        rows = [_row(name, one) for name, findings in found.items() for one in findings]
        emit_rows(rows, COLUMNS, output, kind="findings")
    ctx.exit(3 if any(map(has_errors, found.values())) else 0)


def _check_site(context: Context) -> list[Finding]:
    from hpcai.check.site import check_site

    return check_site(context.site, context.client, environ=os.environ)


def _check_file(file: Path, overrides: Sequence[str], context: Context) -> Checked:
    from hpcai.check.job import Checked, check_job, finding_of_error, findings_of_file
    from hpcai.errors import NotFoundError, RenderError
    from hpcai.launch.script import resolve
    from hpcai.specs.job import JobSpec
    from hpcai.specs.load import load
    from hpcai.specs.mistakes import SpecFileError

    try:
        spec = load(file, overrides)
    except SpecFileError as error:
        return Checked(tuple(findings_of_file(error)))
    if not isinstance(spec, JobSpec):
        return Checked(())
    try:
        job = resolve(spec, context.site, client=context.slurm)
        return check_job(job, context.slurm, runs_root=context.site.runs_root, environ=os.environ)
    except NotFoundError as error:
        return Checked((finding_of_error("profile", error),))
    except RenderError as error:
        return Checked((finding_of_error("file", error),))


def _row(name: str, finding: Finding) -> dict[str, Any]:
    return {
        "file": name or None,
        "severity": finding.severity,
        "where": finding.where,
        "what": finding.what,
        "fix": finding.fix,
    }


def _with_verdict(checked: Checked) -> list[Finding]:
    """The findings of a file, and at their end, when nothing speaks against it, when the job would start."""
    from hpcai.check.findings import Finding, has_errors

    if has_errors(checked.findings):
        return list(checked.findings)
    return [*checked.findings, Finding("ok", "start", _start(checked))]


def _start(checked: Checked) -> str:
    from hpcai.cli.words import moment

    if checked.expected is None:
        return "nothing wrong was found"
    now = time.time()
    start = checked.expected.start_time
    if start - now > _FAR_S:
        return f"in partition {checked.expected.partition}, and Slurm cannot tell when"
    return f"{moment(max(start, now), now)} on {checked.expected.node_list}, says Slurm"


def _print(name: str, findings: Sequence[Finding]) -> None:
    """One finding per line, its fix below it."""
    if name:
        click.secho(name, bold=True)
    for finding in findings:
        severity = click.style(f"{finding.severity:<8}", fg=_COLORS[finding.severity])
        click.echo(f"{severity} {finding.where}: {finding.what}")
        if finding.fix:
            click.echo(f"{'':<8} {finding.fix}")
