"""Every error that hpcai raises on purpose, as one tree that is split by who must act.

    HpcaiError
    ├── UsageError         2  the caller typed something that cannot be meant
    ├── SpecError          3  the author of a file must correct it
    ├── RenderError        3  a template and a spec do not fit
    ├── ToolError          4  a program or service answered no
    │   ├── SlurmError
    │   └── CycleCloudError
    ├── NotFoundError      5  no such run, job, cluster, node, VM size, data set, blob
    ├── UnreachableError   6  nothing answered; the same call may work later
    ├── StageError         7  data could not be copied, verified or stored
    └── WaitTimeout        8  waiting ended, the job goes on

The number is the exit status of the command line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class HpcaiError(Exception):
    """One to three lines for a person: what was got, what is allowed, what to type next."""

    exit_status: ClassVar[int] = 1
    transient: ClassVar[bool] = False

    def __init__(self, what: str, *, allowed: str | None = None, next_step: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.allowed = allowed
        self.next_step = next_step

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.allowed, self.next_step) if line)


class UsageError(HpcaiError):
    """The command or call itself is wrong."""

    exit_status = 2


class SpecError(HpcaiError):
    """A file that a person wrote is wrong."""

    exit_status = 3


class RenderError(HpcaiError):
    """A spec cannot be turned into text; `key` is the one that it is about, as far as that is known."""

    exit_status = 3

    def __init__(
        self, what: str, *, allowed: str | None = None, next_step: str | None = None, key: str | None = None
    ) -> None:
        super().__init__(what, allowed=allowed, next_step=next_step)
        self.key = key


class ToolError(HpcaiError):
    """A program or service was reached and refused."""

    exit_status = 4


class SlurmError(ToolError):
    """Slurm refused."""


class CycleCloudError(ToolError):
    """CycleCloud refused."""


class NotFoundError(HpcaiError):
    """Nothing has the name that was asked for."""

    exit_status = 5


class UnreachableError(HpcaiError):
    """Nothing answered; the same call may succeed later."""

    exit_status = 6
    transient = True


class StageError(HpcaiError):
    """Data could not be copied, verified or stored."""

    exit_status = 7


class WaitTimeout(HpcaiError):
    """The time to wait is over; what was waited for goes on."""

    exit_status = 8


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like `word`, or None when nothing is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The line that offers the nearest known word, or None when nothing is near."""
    near = nearest(word, known)
    return f"Did you mean {near!r}?" if near else None
