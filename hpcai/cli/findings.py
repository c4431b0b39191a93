"""A finding as a person reads it: `hpcai check` prints it to stdout, other commands to stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hpcai.check.findings import Finding

_COLORS = {"error": "red", "warning": "yellow", "note": "cyan", "ok": "green"}


def in_words(finding: Finding) -> str:
    """One line that ends with its id, and its fix on a second one."""
    severity = click.style(f"{finding.severity:<8}", fg=_COLORS[finding.severity])
    fix = f"\n{'':<8} {finding.fix}" if finding.fix else ""
    where = f"{finding.place}: {finding.where}" if finding.place else finding.where
    ident = click.style(f"[{finding.id}]", dim=True)
    return f"{severity} {where}: {finding.what} {ident}{fix}"
