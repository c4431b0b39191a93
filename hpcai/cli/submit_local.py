"""`hpcai submit --where local`: a job as processes of this machine, which end with this command."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from hpcai.cli.output import put, say
from hpcai.cli.submit import emit, tell_end

if TYPE_CHECKING:
    from hpcai.launch.local import LocalJob
    from hpcai.specs.job import JobSpec


_SLURMS = ("dependency", "begin", "deadline", "hold", "time_min", "signal")


class _Ended(Exception):
    """A signal has asked this command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Endings:
    """Takes Ctrl-C, SIGTERM and SIGHUP: kept until `heed`, then the first raises _Ended.

    In the middle of a start they would leave processes behind. One that was ignored before (nohup) stays so.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._is_heeding = False
        every = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        self._before = {one: handler for one, handler in every.items() if handler is not signal.SIG_IGN}

    def __enter__(self) -> _Endings:
        for number in self._before:
            signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def heed(self) -> None:
        """From here on, and for what came before."""
        self._is_heeding = True
        if self._asked is not None:
            raise _Ended(self._asked)

    def _take(self, number: int, _: object) -> None:
        # A terminal that closes may be followed by a SIGTERM: processes that are being ended need no more.
        if self._asked is None:
            self._asked = number
            if self._is_heeding:
                raise _Ended(number)


def tell_without_slurm(spec: JobSpec) -> None:
    """Say which of its keys about when it runs nobody heeds here."""
    given = [key for key in _SLURMS if getattr(spec, key) is not None]
    if given:
        say(f"Without Slurm these keys say nothing: {', '.join(given)}.")


def run_here(ctx: click.Context, start: Callable[[], LocalJob], output: str, quiet: bool) -> None:
    """A job as processes of this machine, until they end."""
    # Imported before the start: between the two, Ctrl-C would leave processes behind.
    from hpcai.cli import following

    with _Endings() as endings, start() as started:
        if quiet:
            put(started.run.name)
        try:
            endings.heed()
            outcome = following.follow_local(started)
        except _Ended as asked:
            started.stop()
            say(f"\n{started.run.name} was ended.")
            emit(started.run, output, quiet, state="CANCELLED", cause="cancelled")
            raise click.exceptions.Exit(128 + asked.number) from None
    tell_end(ctx, started.run, outcome, output, quiet)
