from __future__ import annotations

import threading
import time

import pytest

from hpcai.errors import NotFoundError, UnreachableError
from hpcai.staging.retry import BusyError, Retrier, RetryPolicy, Stopped

QUICK = RetryPolicy(attempts=4, base_s=0.001, cap_s=0.002)


class Flaky:
    """Fails with the given errors, one call after the other, then answers 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7


def test_what_passes_is_tried_again_and_said() -> None:
    lines: list[str] = []
    flaky = Flaky(UnreachableError("No answer."), BusyError("Busy."))
    assert Retrier(QUICK, say=lines.append).call("shard 1", flaky) == 7
    assert flaky.calls == 3
    assert [line.split(" in ")[0] for line in lines] == [
        "shard 1: No answer. Try 2 of 4",
        "shard 1: Busy. Try 3 of 4",
    ]


def test_what_the_error_names_itself_is_said_once() -> None:
    lines: list[str] = []
    Retrier(QUICK, say=lines.append).call("azure://c", Flaky(UnreachableError("No answer for azure://c.")))
    assert lines[0].startswith("No answer for azure://c. Try 2 of 4 in ")


def test_what_does_not_pass_is_not_tried_again() -> None:
    flaky = Flaky(NotFoundError("gone"))
    with pytest.raises(NotFoundError):
        Retrier(QUICK, say=lambda _: None).call("x", flaky)
    assert flaky.calls == 1


def test_tries_are_bounded_and_the_last_error_is_told() -> None:
    flaky = Flaky(*(UnreachableError(str(number)) for number in range(9)))
    with pytest.raises(UnreachableError, match="3"):
        Retrier(QUICK, say=lambda _: None).call("x", flaky)
    assert flaky.calls == 4


def test_a_pause_that_the_service_asks_for_is_kept_by_all() -> None:
    retrier = Retrier(QUICK, say=lambda _: None)
    started = time.monotonic()
    retrier.call("x", Flaky(BusyError("Busy.", retry_after_s=0.2)))
    assert time.monotonic() - started >= 0.2
    retrier._quiet_until = time.monotonic() + 0.2
    started = time.monotonic()
    retrier.call("y", Flaky())
    assert time.monotonic() - started >= 0.19


def test_waiting_ends_at_once_when_told_to_stop() -> None:
    stop = threading.Event()
    retrier = Retrier(RetryPolicy(attempts=2, base_s=1e6, cap_s=1e6), say=lambda _: stop.set(), stop=stop)
    with pytest.raises(Stopped):
        retrier.call("x", Flaky(UnreachableError("No answer.")))
