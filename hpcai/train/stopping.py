"""Signals that ask a training to save or to end, and the end of one that stands still."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from hpcai.errors import HpcaiError


class Stopped(HpcaiError):
    """SIGTERM came, and everything is saved; the exit status is the signal's."""

    exit_status = 128 + signal.SIGTERM


class StopSignal:
    """Remembers while it is entered SIGTERM (Slurm's cancel, requeue, preemption and time limit) as `came`,
    and SIGUSR1 (what `signal:` in a job file asks for ahead of that) as `save_came`."""

    def __init__(self) -> None:
        self.came = False
        self.save_came = False

    def __enter__(self) -> StopSignal:
        self._before = {
            number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGUSR1)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGTERM:
            self.came = True
        else:
            self.save_came = True


class Watchdog:
    """Ends the process when `beat` has not been called for `timeout_s`: a lost peer may never answer.

    Open MPI, for one, waits for ever for a rank of the same node that was killed.
    """

    def __init__(self, timeout_s: float, who: str, end: Callable[[], None], *, alone: bool = False) -> None:
        self._timeout_s = timeout_s
        self._alone = alone
        self._who = who
        self._end = end
        self._beaten = threading.Event()
        self._over = threading.Event()
        self._doing = "starting"
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._beaten.set()
        self._thread.join()

    def beat(self, doing: str) -> None:
        """Says that the process lives and what it begins."""
        self._doing = doing
        self._beaten.set()

    def _watch(self) -> None:
        while self._beaten.wait(self._timeout_s):
            if self._over.is_set():
                return
            self._beaten.clear()
        why = "" if self._alone else ": another rank was lost or hangs"
        sys.stderr.write(
            f"hpcai.train: {self._who} has stood still for {self._timeout_s:g} s while {self._doing}{why}. "
            "Every thread's place:\n"
        )
        faulthandler.dump_traceback(all_threads=True)
        self._end()


def end_at_once(status: int) -> None:
    """Ends the process without leaving the ranks in order, which could wait for a lost one for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
