"""Marks in the comments of jobs, by which a job is known before its number is."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import SlurmError
from hpcai.slurm import parse

_MARK = re.compile(r"\bhpcai:([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*):[0-9a-f]{16}\b", re.ASCII)
_FIELDS = ("JobID", "ArrayJobID", "HetJobID", "SubmitTime", "Comment", "Command")
LISTING = (
    *("squeue", "--noheader", "--states=all", "--me"),
    f"--Format={','.join(f'{name}:{parse.SEPARATOR}' for name in _FIELDS)}",
)


def new_mark(run: str | None = None) -> str:
    """What tells one submission from all others: `hpcai:EXPERIMENT/RUN:1f0c...`, or without a run."""
    return ":".join(["hpcai", *([run] if run else []), secrets.token_hex(8)])


def run_in(comment: str | None) -> str | None:
    """The run, EXPERIMENT/RUN, that a mark in a job's comment names."""
    found = _MARK.search(comment or "")
    return found[1] if found else None


@dataclass(frozen=True)
class Listed:
    """One job in squeue's answer, by the id that sbatch told of it."""

    job_id: int
    submitted: float
    comment: str
    command: str


def listed(text: str) -> list[Listed]:
    """The jobs that `squeue --Format` lists with the fields that are asked for here.

    Raises SlurmError for what cannot be read.
    """
    found = []
    for line in text.split(parse.SEPARATOR + "\n"):
        if not line.strip():
            continue
        values = line.split(parse.SEPARATOR)
        if len(values) != len(_FIELDS):
            raise SlurmError(
                f"What squeue printed cannot be read: {len(values)} fields, not {len(_FIELDS)}: {values!r}."
            )
        job_id, array_id, first_id, submitted, comment, command = values
        # Of several parts of one job sbatch tells the first.
        ident = next(one for one in (first_id, array_id, job_id) if one.strip().isdecimal())
        path = "" if command in ("(null)", "N/A") else command
        found.append(Listed(int(ident), parse.instant(submitted) or 0.0, comment, path))
    return found


def seconds(text: str | None) -> int | None:
    """The number in `300 sec`."""
    number = re.match(r"\d+", text or "")
    return int(number[0]) if number else None


def is_same_script(command: str, script: Path) -> bool:
    """By whatever path: a link and an automount lead to the same file."""
    try:
        return Path(command).samefile(script)
    except OSError:
        return command == str(script)
