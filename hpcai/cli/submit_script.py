"""`hpcai submit` of a script with #SBATCH lines: it goes to sbatch as it is, and gets a record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcai.cli.context import find_context
from hpcai.cli.output import emit_object, put_bytes
from hpcai.cli.submit_steps import Manner

if TYPE_CHECKING:
    from hpcai.render.resolved import Where

__all__ = ["Manner", "submit"]


def submit(
    ctx: click.Context, content: bytes, file: Path, overrides: Sequence[str], where: Where, manner: Manner
) -> None:
    """The whole command, for a script."""
    from hpcai.cli.submit import interruptible, tell
    from hpcai.launch.bare import submit_bare

    _refuse_options(file, overrides, where)
    if manner.dry_run:
        print_as_is(content, manner.output)
        return
    context = find_context()
    given = None if str(file) == "-" else file
    run = interruptible(lambda: submit_bare(content, given, site=context.site, client=context.client))
    tell(ctx, context, run, manner.follow, manner.output, manner.quiet)


def _refuse_options(file: Path, overrides: Sequence[str], where: Where) -> None:
    if overrides:
        raise click.UsageError(
            f"{str(file)!r} is a script, which goes to sbatch unchanged: --set sets keys of a YAML file."
        )
    if where == "local":
        raise click.UsageError(
            f"{str(file)!r} is a script for sbatch: --where local runs jobs of a YAML file. "
            "`bash SCRIPT` runs it here."
        )


def print_as_is(content: bytes, output: str) -> None:
    """What a dry run of a script leaves on stdout."""
    if output == "table":
        put_bytes(sys.stdout, content)
    else:
        emit_object({"script": content.decode(errors="replace")}, output)
