"""The same work on many items by a few threads; the first failure ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from hpcai.staging.retry import Stopped

T = TypeVar("T")


def for_each(items: Iterable[T], work: Callable[[T], None], *, threads: int, stop: threading.Event) -> None:
    """Do `work` on every item; items are taken one at a time, so that they may be an endless generator.

    `stop` is set when a thread fails or the caller is interrupted: the others finish the item they hold.
    Raises what `work` raised first.
    """
    queue = iter(items)
    lock = threading.Lock()
    end = object()

    def worker() -> None:
        while not stop.is_set():
            with lock:
                item = next(queue, end)
            if item is end:
                return
            try:
                work(item)  # type: ignore[arg-type]
            except BaseException:
                stop.set()
                raise

    with ThreadPoolExecutor(threads, thread_name_prefix="hpcai-staging") as pool:
        futures = [pool.submit(worker) for _ in range(threads)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            unfinished = not all(future.done() for future in futures)
            if unfinished:
                stop.set()
    failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        # A thread that was told to stop is not why it ended.
        raise next((error for error in failures if not isinstance(error, Stopped)), failures[0])
