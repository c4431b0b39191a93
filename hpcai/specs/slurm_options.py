"""The long options of sbatch, as rows of a table: what each takes, which Slurm has it, which field gives it.

Made from the manual pages and the option tables of Slurm 20.11 to 26.05, and tried on three of them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Version = tuple[int, int]
Argument = Literal["none", "optional", "required"]
Value = Literal["", "text", "count", "size", "time", "nodelist", "list", "choice"]
Component = Literal["", "own", "carried"]


@dataclass(frozen=True)
class SlurmOption:
    """One long option of sbatch."""

    option: str
    argument: Argument
    value: Value
    """What its argument is; nothing for an option without one."""
    choices: tuple[str, ...]
    """The words that a choice has in the newest Slurm."""
    since: Version | None
    """The first Slurm that has it; None for one before 20.11."""
    until: Version | None
    """The last Slurm that has it; None while it is still there."""
    field: str | None
    """The field of a JobSpec that gives it."""
    component: Component
    """How a part of a heterogeneous job may have it: not at all, for itself, or for those behind it too."""
    repeats: bool
    """Whether it adds up when it is given again; else the last one wins."""
    why_not: str | None
    """Why no field gives it."""

    @property
    def in_component(self) -> bool:
        """Whether a part of a heterogeneous job may have one of its own."""
        return self.component != ""


@cache
def slurm_options() -> Mapping[str, SlurmOption]:
    """All options by name, in the order of the alphabet."""
    with Path(__file__).with_name("slurm_options.csv").open(encoding="utf-8", newline="") as file:
        rows = [_row(line) for line in csv.DictReader(file)]
    return MappingProxyType({row.option: row for row in rows})


def available(option: str, version: Version) -> bool:
    """Whether sbatch of a Slurm from 20.11 on has the option. Raises KeyError for one that no Slurm has."""
    row = slurm_options()[option]
    return (row.since is None or row.since <= version) and (row.until is None or version <= row.until)


def slurm_version(text: str) -> Version:
    """Year and month of the release in what Slurm calls itself: `slurm-wlm 22.05.8` is (22, 5).

    Raises ValueError.
    """
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None:
        raise ValueError(f"{text!r} holds no version")
    return int(found[1]), int(found[2])


def _row(line: Mapping[str, str]) -> SlurmOption:
    return SlurmOption(
        option=line["option"],
        argument=line["argument"],  # type: ignore[arg-type]
        value=line["value"],  # type: ignore[arg-type]
        choices=tuple(line["choices"].split()),
        since=slurm_version(line["since"]) if line["since"] else None,
        until=slurm_version(line["until"]) if line["until"] else None,
        field=line["field"] or None,
        component=line["component"],  # type: ignore[arg-type]
        repeats=line["repeats"] == "yes",
        why_not=line["why_not"] or None,
    )
