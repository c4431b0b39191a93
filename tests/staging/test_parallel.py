from __future__ import annotations

import threading

import pytest

from hpcai.staging.parallel import for_each
from hpcai.staging.retry import Stopped


def test_every_item_is_done_once() -> None:
    done: list[int] = []
    for_each(range(100), done.append, threads=4, stop=threading.Event())
    assert sorted(done) == list(range(100))


def test_the_first_failure_ends_it_and_is_the_one_told() -> None:
    stop = threading.Event()
    begun = threading.Barrier(2)

    def work(item: int) -> None:
        begun.wait(5)
        if item == 0:
            raise ValueError("item 0")
        assert stop.wait(5)
        raise Stopped

    with pytest.raises(ValueError, match="item 0"):
        for_each(iter(range(10**9)), work, threads=2, stop=stop)


def test_a_generator_that_fails_is_told() -> None:
    def items():  # type: ignore[no-untyped-def]
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        for_each(items(), lambda _: None, threads=2, stop=threading.Event())
