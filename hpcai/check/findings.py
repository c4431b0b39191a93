"""What a check finds: which of the known things, how bad, where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note", "ok"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    An `ok` says what was looked at and is as it should be; a `note`, what could not be looked at from here,
    or what a person may want to know.
    """

    id: str
    """One of `known()`."""
    severity: Severity
    where: str
    """A key of the file, an option of a script, or a part of the site."""
    what: str
    fix: str | None = None
    place: str | None = None
    """`FILE:LINE:COLUMN` of what it is about; None outside files."""


@dataclass(frozen=True)
class Known:
    """One id, whatever job it is found in."""

    id: str
    of: str
    """What is looked at: a file, a job, a script, steps or this site."""
    severity: str
    """How bad it can be: one or more severities."""
    failure: int | None
    """The number in docs/checks.md of the failure of containers that it tells beforehand."""
    what: str
    source: str


@cache
def known() -> Mapping[str, Known]:
    """Every id that a finding can have."""
    # Who only has findings to tell reads no table.
    import csv

    with Path(__file__).with_name("findings.csv").open(encoding="utf-8", newline="") as file:
        rows = [_known(line) for line in csv.DictReader(file)]
    return {row.id: row for row in rows}


def _known(line: Mapping[str, str]) -> Known:
    return Known(
        id=line["id"],
        of=line["of"],
        severity=line["severity"],
        failure=int(line["failure"]) if line["failure"] else None,
        what=line["what"],
        source=line["source"],
    )


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether something found keeps a job from running."""
    return any(finding.severity == "error" for finding in findings)
