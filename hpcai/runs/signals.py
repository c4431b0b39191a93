"""Signals by the exit status that a shell gives a process which one has ended."""

from __future__ import annotations

import signal

_FIRST = 128


def of_status(status: int | None) -> str | None:
    """The signal's name, `SIGKILL` for 137; None for a status that stands for none."""
    if status is None or status <= _FIRST:
        return None
    try:
        return signal.Signals(status - _FIRST).name
    except ValueError:
        return None
