"""What a check finds: how bad, where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note", "ok"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    An `ok` says what was looked at and is as it should be; a `note`, what could not be looked at from here.
    """

    severity: Severity
    where: str
    """A key of the file, `FILE:LINE:COLUMN`, or a part of the site."""
    what: str
    fix: str | None = None


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether something found keeps a job from running."""
    return any(finding.severity == "error" for finding in findings)
