"""One line on a terminal that says how far a transfer is; nothing in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hpcai.cli.output import say

_PERIOD_S = 0.2


@contextmanager
def transfer_line(unit: str) -> Iterator[TransferLine]:
    """The line, for as long as the transfer takes; `unit` is `bytes`, shown as MB, or a plural."""
    line = TransferLine(unit, drawn=sys.stderr.isatty())
    try:
        yield line
    finally:
        line.clear()


class TransferLine:
    """What is done of how much, redrawn in place, and lines of words that do not collide with it."""

    def __init__(self, unit: str, *, drawn: bool) -> None:
        self._unit = unit
        self._drawn = drawn
        self._started = time.monotonic()
        self._first: int | None = None
        self._shown = 0.0

    def say(self, words: str) -> None:
        self.clear()
        say(words)

    def told(self, done: int, total: int) -> None:
        if not self._drawn:
            return
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done, now
        if now - self._shown >= _PERIOD_S or done == total:
            self._shown = now
            text = progress_text(done, total, done - self._first, now - self._started, self._unit)
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            self._shown = 0.0
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def progress_text(done: int, total: int, moved: int, elapsed_s: float, unit: str) -> str:
    """`42 %  52.4 of 124.8 MB  31.2 MB/s  2 s left`; rate and time left once something has moved."""
    percent = 100 * done // total if total else 100
    scale, name = (1e6, "MB") if unit == "bytes" else (1, unit)
    digits = 1 if unit == "bytes" else 0
    text = f"{percent:3d} %  {done / scale:,.{digits}f} of {total / scale:,.{digits}f} {name}"
    if moved <= 0 or elapsed_s <= 0:
        return text
    rate = moved / elapsed_s
    text += f"  {rate / scale:,.{digits}f} {name}/s"
    return text if done == total else f"{text}  {(total - done) / rate:,.0f} s left"
