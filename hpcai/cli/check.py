"""`hpcai check`: what is wrong, before the queue finds out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hpcai.cli.context import find_context
from hpcai.cli.findings import in_words
from hpcai.cli.numbers import FiniteRange
from hpcai.cli.output import emit_rows, output_option, put, quiet_option

if TYPE_CHECKING:
    from hpcai.check.findings import Finding

# What is closed is told of each file; click would end with the first.
_FILE: Any = click.Path(path_type=Path, readable=False)
COLUMNS = ("file", "id", "severity", "place", "where", "what", "fix")


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_FILE)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. nodes=4.")
@click.option(
    "--timeout-s",
    type=FiniteRange(min=0.1),
    default=None,
    help="With FILE: how long Slurm and storage may take.  [default: 2]",
)
@click.option(
    "--nodes",
    "on_nodes",
    is_flag=True,
    help="Without FILE: run a small task on an idle node of each partition.",
)
@click.option(
    "--write", "writes", is_flag=True, help="Without FILE: keep what was found in site.yaml of your settings."
)
@output_option
@quiet_option("the files (without FILE: the parts of the site) that have errors")
@click.pass_context
def check(
    ctx: click.Context,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    timeout_s: float | None,
    on_nodes: bool,
    writes: bool,
    output: str,
    quiet: bool,
) -> None:
    """Tell what is wrong with this site or a file, before the queue does.

    Without FILE, this site: Slurm, its partitions and their VM sizes, containers, scratch, the runs folder,
    storage, the interpreter. With FILEs (jobs, steps, clusters, scripts with #SBATCH lines), each of them:
    mistakes, limits of partition and VM size, images and data, advice, when it would start, its price.
    Nothing is submitted or written, but with --nodes one small step per partition and with --write the
    site's facts, which other commands then use. docs/checks.md lists every finding by its id.

    \b
    Exit status: 0 nothing keeps jobs from running, 2 a FILE cannot be read or an option is wrong,
    3 errors were found, 4 there is no Slurm (without FILE), 5 a FILE does not exist, 6 Slurm or a path does
    not answer, 7 site.yaml cannot be written.
    """
    _refuse_what_does_not_fit(bool(files), overrides, timeout_s, on_nodes or writes)
    context = find_context()
    if files:
        from hpcai.cli.check_files import look_at_all

        looks = look_at_all(files, overrides, context, timeout_s)
    else:
        from hpcai.cli.check_site import look_at_site

        looks = {"": look_at_site(context, on_nodes=on_nodes, writes=writes)}
    _emit(looks, output, quiet)
    # What the caller typed wrong goes before what an author wrote wrong.
    found = {look.status for look in looks.values()}
    ctx.exit(next((status for status in (5, 2, 4, 7, 3, 6) if status in found), 0))


class Look(NamedTuple):
    """What was found, and the exit status that it alone would give."""

    findings: Sequence[Finding]
    status: int


def look(findings: Sequence[Finding]) -> Look:
    """Findings with the status that they give."""
    from hpcai.check.findings import has_errors

    if has_errors(findings):
        return Look(findings, 3)
    is_silent = any(finding.id in ("slurm-slow", "start-unknown", "path-silent") for finding in findings)
    return Look(findings, 6 if is_silent else 0)


def _refuse_what_does_not_fit(
    has_files: bool, overrides: Sequence[str], timeout_s: float | None, of_site: bool
) -> None:
    if has_files and of_site:
        raise click.UsageError("--nodes and --write are for the site: they go without FILE.")
    if not has_files and (overrides or timeout_s is not None):
        raise click.UsageError("--set and --timeout-s go with a FILE.")


def _emit(looks: Mapping[str, Look], output: str, quiet: bool) -> None:
    if quiet:
        for word in _ids_of_errors(looks):
            put(word)
    elif output == "table":
        for name, one in looks.items():
            _print(name, one.findings)
    else:
        rows = [_row(name, finding) for name, one in looks.items() for finding in one.findings]
        emit_rows(rows, COLUMNS, output, kind="findings")


def _ids_of_errors(looks: Mapping[str, Look]) -> Iterator[str]:
    for name, one in looks.items():
        wrong = [finding.where for finding in one.findings if finding.severity == "error"]
        yield from [name] if name and wrong else dict.fromkeys(wrong)


def _row(name: str, finding: Finding) -> dict[str, Any]:
    return {"file": name or None, **dataclasses.asdict(finding)}


def _print(name: str, findings: Sequence[Finding]) -> None:
    """One finding per line, its fix below it."""
    if name:
        put(click.style(name, bold=True))
    for finding in findings:
        put(in_words(finding))
