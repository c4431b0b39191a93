"""What lies at a path, as far as this user may look."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

# Why a path cannot be there, whoever looks.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


# Where a thread that looks for others leaves word of the path that it waits for, the innermost last.
_words: ContextVar[list[Path] | None] = ContextVar("_words", default=None)


def leave_word(words: list[Path]) -> None:
    """From now on, this thread's looks stand in the list while they last."""
    _words.set(words)


@contextmanager
def looking_at(path: Path) -> Iterator[None]:
    """Within the block this thread waits for a path: a share whose server is away never answers."""
    words = _words.get()
    if words is None:
        yield
        return
    words.append(path)
    try:
        yield
    finally:
        words.pop()


class Entry(NamedTuple):
    """Nothing, unless it is said."""

    mode: int = 0
    size: int = 0
    refused: str | None = None
    """Why this user cannot tell, such as `Permission denied`."""

    @property
    def is_there(self) -> bool:
        return self.mode != 0

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


def looked_at(path: Path) -> Entry:
    """What lies at a path, links followed; raises nothing."""
    try:
        with looking_at(path):
            status = path.stat()
    except ValueError:
        return Entry()
    except OSError as error:
        return Entry() if error.errno in _ABSENT else Entry(refused=error.strerror or "no reason given")
    return Entry(status.st_mode, status.st_size)
