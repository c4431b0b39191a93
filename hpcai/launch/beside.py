"""What the small processes beside a job have in common: they end with it, and by no signal of its own."""

from __future__ import annotations

import signal
from collections.abc import Collection
from contextlib import suppress

# What says that the process itself is broken, and what it needs of its own children and pipes.
_KEPT: Collection[int] = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
}


def heed_only_the_end() -> None:
    """SIGTERM ends this process with status 0; any other signal is for the job's tasks, as `signal:` says."""
    for number in signal.valid_signals():
        if number not in _KEPT:
            # Some belong to the C library.
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def _leave(*_: object) -> None:
    raise SystemExit(0)
