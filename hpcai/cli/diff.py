"""`hpcai diff`: what differs between two things of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.columns import cutting
from hpcai.cli.complete import complete_vm_size
from hpcai.cli.output import emit_rows, output_option, put, quiet_option, say

if TYPE_CHECKING:
    from hpcai.catalog.sizes import VmSize

DIFFERS = 10
COLUMNS = ("figure", "a", "b")


@click.command()
@click.argument("a", shell_complete=complete_vm_size)
@click.argument("b", shell_complete=complete_vm_size)
@output_option
@quiet_option("the names of what differs")
@click.pass_context
def diff(ctx: click.Context, a: str, b: str, output: str, quiet: bool) -> None:
    """Tell what differs between two VM sizes.

    Figures, run profile, health baseline and the lowest price known; what is the same in both is left out.
    A and B are names in any case, with or without `Standard_`.

    \b
    Exit status: 0 nothing differs, 10 something does, 2 wrong usage, 3 your file of sizes is wrong,
    5 A or B is no VM size, or HPCAI_VM_SIZES names no file.
    """
    from hpcai.catalog.sizes import vm_size
    from hpcai.cli.vm_facts import differing, lacking
    from hpcai.cli.vm_prices import lowest_price

    left, right = vm_size(a), vm_size(b)
    found = differing(left, right, lowest_price(left, right))
    if not found:
        say(_same(left, right))
    if quiet:
        for figure, _, _ in found:
            put(figure)
    elif output == "table":
        if found:
            # Else the names of the sizes would be told nowhere.
            names = (left.name, right.name)
            rows: list[dict[str, Any]] = [
                {"figure": figure}
                | {name: lacking(figure, value) for name, value in zip(names, both, strict=True)}
                for figure, *both in found
            ]
            emit_rows(rows, ("figure", *names), output, kind="differences", room=cutting(*names))
    else:
        rows = [{"figure": figure, "a": one, "b": other} for figure, one, other in found]
        emit_rows(rows, COLUMNS, output, kind="differences")
    ctx.exit(DIFFERS if found else 0)


def _same(left: VmSize, right: VmSize) -> str:
    if left.name == right.name:
        return f"Both are {left.name}."
    return f"Nothing that is known differs between {left.name} and {right.name}."
