"""The causes that `hpcai why` knows, read from the YAML files beside this module.

A text may hold values, `{partition}`, and parts that are left out where a value in them is not known:
`waits for nodes[ of {partition}]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hpcai.slurm.reasons import reasons_of
from hpcai.specs.yaml_text import parse

FILES = ("waiting", "states", "azure", "containers", "gpus", "ranks", "programs", "machines", "fallback")
# How much a line of a log tells: why its rank failed; that another one did; something that many programs get
# over, unless an exception of it ended one; that something failed.
STRENGTHS = ("cause", "symptom", "stumble", "wrapper")
WHEN = ("failed", "running", "time_limit", "completed")


@dataclass(frozen=True)
class Cause:
    """One case that can be told. What it matches is a reason, states, codes, or lines of logs."""

    id: str
    of: str
    """The file that it stands in."""
    says: str
    """To be read after the job's name."""
    next: tuple[str, ...]
    source: str
    reason: re.Pattern[str] | None = None
    """Fits the whole of Slurm's reason."""
    states: tuple[str, ...] = ()
    record: tuple[str, ...] = ()
    """End causes in the record."""
    exit: re.Pattern[str] | None = None
    """Fits the whole of `status:signal`."""
    requires: tuple[str, ...] = ()
    """Values that must be known."""
    codes: tuple[str, ...] = ()
    """Of the cluster status."""
    needs: tuple[str, ...] = ()
    """What Slurm is asked for besides."""
    has: tuple[str, ...] = ()
    """A line of a log that holds none of these is not looked at."""
    match: re.Pattern[str] | None = None
    strength: str = "cause"
    when: frozenset[str] = frozenset({"failed"})
    """How a job must stand for a line to tell of it."""
    failure: int | None = None
    """The number in docs/checks.md of the failure of containers that it is."""


@cache
def causes() -> Mapping[str, Cause]:
    """Every cause by its id, in the order in which they are tried."""
    found: dict[str, Cause] = {}
    for name in FILES:
        path = Path(__file__).with_name("causes") / f"{name}.yaml"
        for one in parse(path.read_text(encoding="utf-8"), str(path)).data:
            cause = _cause(one, name)
            assert cause.id not in found, cause.id
            found[cause.id] = cause
    return found


def _cause(one: Mapping[str, Any], of: str) -> Cause:
    given = {**one}
    for key in ("next", "states", "record", "requires", "codes", "needs", "has"):
        given[key] = tuple(given.get(key, ()))
    for key in ("reason", "exit", "match"):
        if key in given:
            given[key] = re.compile(given[key])
    if of == "waiting":
        # The queue's one line tells of the same reasons.
        given["reason"] = reasons_of(one["id"])
    if "when" in given:
        given["when"] = frozenset(given["when"])
    return Cause(of=of, **given)


def fill(text: str, values: Mapping[str, object]) -> str | None:
    """The text with its values; None where one outside brackets is not known."""

    def put(match: re.Match[str]) -> str:
        return str(values[match[1]])

    def part(match: re.Match[str]) -> str:
        inner = match[1]
        known = all(values.get(name) is not None for name in re.findall(r"\{(\w+)\}", inner))
        return re.sub(r"\{(\w+)\}", put, inner) if known else ""

    text = re.sub(r"\[([^\[\]]*\{\w+\}[^\[\]]*)\]", part, text)
    if any(values.get(name) is None for name in re.findall(r"\{(\w+)\}", text)):
        return None
    return re.sub(r"\{(\w+)\}", put, text)
