"""`hpcai check`: what is wrong, before the queue finds out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hpcai.cli.context import Context, find_context
from hpcai.cli.findings import in_words
from hpcai.cli.output import emit_rows, output_option, put, quiet_option

if TYPE_CHECKING:
    from hpcai.check.findings import Finding
    from hpcai.check.job import Checked
    from hpcai.slurm.answers import ExpectedStart
    from hpcai.specs.load import Spec
    from hpcai.specs.steps import Steps

COLUMNS = ("file", "severity", "where", "what", "fix")
# An end of time that Slurm tells when a job without a time limit stands before this one.
_FAR_S = 365 * 86400


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. nodes=4.")
@output_option
@quiet_option("the files (without FILE: the parts of the site) that have errors")
@click.pass_context
def check(
    ctx: click.Context, files: tuple[Path, ...], overrides: tuple[str, ...], output: str, quiet: bool
) -> None:
    """Tell what is wrong with this site or a file, before the queue does.

    Without FILE, this site: Slurm, its partitions, scratch, the runs folder, storage, the interpreter.
    With FILEs, each of them: mistakes, limits of the partition, data sets, and when Slurm would start it.
    Nothing is submitted or written. A note says what could not be looked at from here.

    \b
    Exit status: 0 nothing keeps jobs from running, 2 a FILE cannot be read or --set is wrong,
    3 errors were found, 4 there is no Slurm (without FILE), 5 a FILE does not exist, 6 Slurm does not answer.
    """
    context = find_context()
    if files:
        looks = {str(file): _look_at(file, overrides, context) for file in files}
    else:
        looks = {"": _check_site(context)}
    if quiet:
        for word in _ids_of_errors(looks):
            put(word)
    elif output == "table":
        for name, look in looks.items():
            _print(name, look.findings)
    else:
        rows = [_row(name, one) for name, look in looks.items() for one in look.findings]
        emit_rows(rows, COLUMNS, output, kind="findings")
    # What the caller typed wrong goes before what an author wrote wrong.
    ctx.exit(
        next((status for status in (5, 2, 4, 3) if status in {look.status for look in looks.values()}), 0)
    )


class _Look(NamedTuple):
    """What was found, and the exit status that it alone would give."""

    findings: Sequence[Finding]
    status: int


def _look(findings: Sequence[Finding]) -> _Look:
    from hpcai.check.findings import has_errors

    return _Look(findings, 3 if has_errors(findings) else 0)


def _ids_of_errors(looks: Mapping[str, _Look]) -> Iterator[str]:
    for name, look in looks.items():
        wrong = [finding.where for finding in look.findings if finding.severity == "error"]
        yield from [name] if name and wrong else dict.fromkeys(wrong)


def _check_site(context: Context) -> _Look:
    from hpcai.check.job import finding_of_error
    from hpcai.check.site import check_site, check_without_slurm
    from hpcai.errors import ToolError

    try:
        client = context.client
    except ToolError as error:
        rest = check_without_slurm(context.site, environ=os.environ)
        return _Look([finding_of_error("slurm", error), *rest], error.exit_status)
    return _look(check_site(context.site, client, environ=os.environ))


def _look_at(file: Path, overrides: tuple[str, ...], context: Context) -> _Look:
    """The findings of one file. What keeps it from being read hides no other file's findings."""
    from hpcai.check.job import finding_of_error, findings_of_file
    from hpcai.errors import NotFoundError, RenderError, UsageError
    from hpcai.specs.load import kind_of, load_text, read
    from hpcai.specs.load_steps import load_steps
    from hpcai.specs.mistakes import SpecFileError

    settings = context.site.settings
    try:
        text = read(file)
        if kind_of(text, str(file)) == "steps":
            return _look(_check_steps(load_steps(text, str(file), overrides, settings), context))
        base = file.absolute().parent
        return _look(
            _check_spec(load_text(text, str(file), overrides, settings=settings, base=base), context)
        )
    except SpecFileError as error:
        return _look(findings_of_file(error))
    except RenderError as error:
        return _look([finding_of_error("file", error)])
    except (NotFoundError, UsageError) as error:
        return _Look([finding_of_error("file", error)], error.exit_status)


def _check_steps(steps: Steps, context: Context) -> list[Finding]:
    """What is found for the schedule, and for the job of each step, which is named."""
    from hpcai.check.job import schedule_findings

    return schedule_findings(steps.schedule, context.slurm) + [
        dataclasses.replace(finding, where=f"{step.name}: {finding.where}")
        for step in steps.steps
        for finding in _check_spec(step.job, context)
    ]


def _check_spec(spec: Spec, context: Context) -> list[Finding]:
    from hpcai.check.cluster import check_cluster
    from hpcai.check.job import check_job
    from hpcai.launch.script import resolve
    from hpcai.specs.cluster import ClusterSpec
    from hpcai.specs.job import JobSpec

    if isinstance(spec, ClusterSpec):
        return check_cluster(spec)
    assert isinstance(spec, JobSpec)
    job = resolve(spec, context.site, client=context.slurm)
    return _with_start(check_job(job, context.slurm, runs_root=context.site.runs_root, environ=os.environ))


def _row(name: str, finding: Finding) -> dict[str, Any]:
    return {
        "file": name or None,
        "severity": finding.severity,
        "where": finding.where,
        "what": finding.what,
        "fix": finding.fix,
    }


def _with_start(checked: Checked) -> list[Finding]:
    """The findings of a job, and at their end, when nothing speaks against it, when it would start."""
    from hpcai.check.findings import Finding, has_errors

    if has_errors(checked.findings):
        return list(checked.findings)
    if checked.expected is None:
        return [
            *checked.findings,
            Finding("ok", "script", "Renders; when it would start only Slurm can tell."),
        ]
    return [*checked.findings, Finding("ok", "start", _start(checked.expected))]


def _start(expected: ExpectedStart) -> str:
    from hpcai.cli.words import moment

    now = time.time()
    if expected.start_time - now > _FAR_S:
        where = f"In partition {expected.partition}, and" if expected.partition else "It could start, and"
        return f"{where} Slurm cannot tell when."
    return f"{moment(max(expected.start_time, now), now)} on {expected.node_list}, says Slurm."


def _print(name: str, findings: Sequence[Finding]) -> None:
    """One finding per line, its fix below it."""
    if name:
        put(click.style(name, bold=True))
    for finding in findings:
        put(in_words(finding))
