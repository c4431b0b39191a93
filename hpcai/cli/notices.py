"""What Azure's Scheduled Events announced for the nodes of a run, as `show` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpcai.cli.words import moment

if TYPE_CHECKING:
    from hpcai.runs.record import Run


def facts_of_notices(run: Run) -> dict[str, Any]:
    """Each notice in its last state, in their order; {} for a job that did not watch."""
    found: dict[tuple[object, object, object], dict[str, Any]] = {}
    told = set()
    for node, lines in run.notices().items():
        for line in lines:
            attempt, ident = line.get("attempt"), line.get("id")
            if line.get("event") == "relayed":
                told.add((attempt, ident))
            elif line.get("event") == "notice":
                found[node, attempt, ident] = {
                    "node": node,
                    "attempt": attempt,
                    "id": ident,
                    "type": line.get("type"),
                    "status": line.get("status"),
                    "not_before": line.get("not_before"),
                    "time": line.get("time"),
                }
    # One node tells the job for all that a notice is about.
    notices = [{**one, "job_was_told": (one["attempt"], one["id"]) in told} for one in found.values()]
    return {"notices": sorted(notices, key=lambda one: one["time"] or 0.0)} if notices else {}


def lines_of_notices(facts: Mapping[str, Any], now: float) -> dict[str, str]:
    """The same as a person reads it."""
    notices = facts.get("notices", ())
    return {
        f"notice{f' {number}' if number > 1 else ''}": _line(one, now)
        for number, one in enumerate(notices, 1)
    }


def _line(one: Mapping[str, Any], now: float) -> str:
    words = f"{one['node']}: {one['type']} {str(one['status']).lower()}, seen {moment(one['time'], now)}"
    return words + (", and the job was told" if one["job_was_told"] else "")
