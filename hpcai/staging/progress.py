"""How a transfer tells what it does, without knowing who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


def _nobody(*_: object) -> None:
    return


@dataclass(frozen=True)
class Listener:
    """Who listens: `say` gets lines for a person, `told` the bytes done and the bytes in all."""

    say: Callable[[str], None] = _nobody
    told: Callable[[int, int], None] = _nobody


class Progress:
    """A count of bytes that many threads add to."""

    def __init__(self, done: int, total: int, told: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._done = done
        self._total = total
        self._told = told
        told(done, total)

    def add(self, length: int) -> None:
        with self._lock:
            self._done += length
            self._told(self._done, self._total)
