"""Times and ends in a person's words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hpcai.runs import signals

if TYPE_CHECKING:
    from hpcai.launch.ends import Outcome

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
_UNITS = (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1))


def span(seconds: float) -> str:
    """`4.2 s`, `37 s`, `2 min 11 s`, `3 h 5 min`, `2 d 4 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, unit_s, rest_s = next(unit for unit in _UNITS if whole >= unit[2])
    count, rest = divmod(whole, unit_s)
    rest //= rest_s
    return f"{count} {large} {rest} {small}" if rest else f"{count} {large}"


def clock(instant: float) -> str:
    """The time of day here, `11:50:37`."""
    return time.strftime("%H:%M:%S", time.localtime(instant))


def moment(instant: float | None, now: float) -> str | None:
    """When, absolute and relative: `2026-11-20 11:50:37 (2 min 11 s ago)`."""
    if instant is None:
        return None
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))
    distance_s = abs(now - instant)
    # Slurm tells whole seconds.
    if distance_s < 2:
        return f"{at} (now)"
    how_far = span(distance_s) if distance_s >= 10 else f"{distance_s:.0f} s"
    return f"{at} ({how_far} ago)" if instant <= now else f"{at} (in {how_far})"


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
