"""`hpcai submit --shell`: what a job's file asks for, and a shell instead of its command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli import submit_checks
from hpcai.cli.context import find_context
from hpcai.cli.output import put
from hpcai.cli.shell import become, require_terminal
from hpcai.cli.submit_steps import Manner

if TYPE_CHECKING:
    from hpcai.render.resolved import Where


def submit(file: Path, overrides: Sequence[str], where: Where, manner: Manner) -> None:
    """The whole command: an allocation that is given back when the shell ends; it has no record."""
    from hpcai.cli.submit import given_in
    from hpcai.launch.inside import alone
    from hpcai.slurm.sbatch_lines import is_script
    from hpcai.specs.load import read

    _refuse_options(where, manner)
    text = read(file)
    if is_script(file, text):
        raise click.UsageError(f"--shell takes what a YAML file asks for, and {str(file)!r} is a script.")
    if not manner.dry_run:
        require_terminal(f"hpcai submit {shlex.quote(str(file))}")
    given = given_in(text, file, overrides)
    context = find_context()
    if not manner.dry_run:
        submit_checks.refuse_errors([submit_checks.Given(given.spec, given.document)], file, context, where)
    opened = alone(given.spec, site=context.site, client=context.client)
    if manner.dry_run:
        put(shlex.join(opened.argv))
    else:
        become(opened)


def _refuse_options(where: Where, manner: Manner) -> None:
    given = {
        "--follow": manner.follow,
        "--quiet": manner.quiet,
        "--where": where != "slurm",
        "--output": manner.output != "table",
    }
    for option, is_given in given.items():
        if is_given:
            raise click.UsageError(f"--shell opens a shell and makes no run: {option} does not go with it.")
