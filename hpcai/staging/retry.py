"""Trying again: bounded, with full jitter, said aloud, and one pause for all when a service asks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hpcai.errors import HpcaiError, UnreachableError

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently: the wait before try k is random, up to min(cap_s, base_s * 2^k)."""

    attempts: int = 8
    base_s: float = 0.5
    cap_s: float = 20.0


# A service that does not answer its first call at all is more likely named wrongly than busy.
FIRST_CONTACT = RetryPolicy(attempts=4, base_s=0.5, cap_s=4.0)


class BusyError(UnreachableError):
    """The service answers that it is too busy; `retry_after_s` is the pause it asks for, if it does."""

    def __init__(self, what: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class Stopped(Exception):
    """The work was told to stop while it waited."""


class Retrier:
    """Calls things again that failed in passing. One object serves all threads of a transfer."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        say: Callable[[str], None],
        stop: threading.Event | None = None,
    ) -> None:
        self._policy = policy
        self._say = say
        self._stop = stop or threading.Event()
        self._quiet_until = 0.0

    def call(self, what: str, function: Callable[[], T]) -> T:
        """The result of `function`; an error that is not transient goes through, and so does the last one."""
        for attempt in range(self._policy.attempts):
            self._wait(self._quiet_until - time.monotonic())
            try:
                return function()
            except HpcaiError as error:
                if not error.transient or attempt + 1 == self._policy.attempts:
                    raise
                self._pause(what, error, attempt)
        raise AssertionError("a policy has at least one attempt")

    def _pause(self, what: str, error: HpcaiError, attempt: int) -> None:
        wait_s = random.uniform(0, min(self._policy.cap_s, self._policy.base_s * 2**attempt))
        asked_s = error.retry_after_s if isinstance(error, BusyError) else None
        if asked_s is not None:
            wait_s += min(asked_s, 60.0)
            self._quiet_until = max(self._quiet_until, time.monotonic() + min(asked_s, 60.0))
        tries = f"Try {attempt + 2} of {self._policy.attempts} in {wait_s:.1f} s."
        about = "" if what in error.what else f"{what}: "
        self._say(f"{about}{error.what} {tries}")
        self._wait(wait_s)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise Stopped
