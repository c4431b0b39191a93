"""Times and ends in a person's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcai.runs import signals
from hpcai.units import clock, day, moment, span

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome

__all__ = ("cause", "clock", "day", "ended", "moment", "span")

_CAUSES = {
    "cancelled": "was cancelled",
    "time_limit": "reached its time limit",
    "preempted": "was preempted",
    "evicted": "was evicted",
    "node_failure": "lost a node",
    "out_of_memory": "ran out of memory",
    "stopped_early": "was stopped early",
    "requeued": "was requeued",
    "unknown": "ended in a way that nobody recorded",
}


def cause(name: str) -> str:
    """An end cause, to be read after a name: `lost a node`."""
    return _CAUSES.get(name, name)


def ended(outcome: Outcome) -> str:
    """How a job ended, to be read after its name."""
    if outcome.cause == "completed":
        return "completed"
    if outcome.cause != "failed":
        return cause(outcome.cause)
    if not outcome.status:
        return "failed"
    if outcome.exit_status:
        name = signals.of_status(outcome.exit_status)
        return f"failed with status {outcome.exit_status}" + (f" ({name})" if name else "")
    return f"failed: signal {outcome.signal} ({signals.of_status(outcome.status)})"
