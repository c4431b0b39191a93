"""Files that grow while they are read, logs of many GB among them: what is new, and their last lines."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CHUNK = 1 << 18
# A longer line is taken for several: no line is kept in memory whole, however long it is.
LONGEST_LINE = 1 << 20
# A file that cannot be there now, but may come, or come back, on a network file system.
_NOT_NOW = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


class Growing:
    """A file that somebody writes, read once from its begin to its end, and on.

    It is opened for each look, which on NFS is what brings its newest state, and not kept open.
    """

    def __init__(self, path: Path, tell: Callable[[str], object] = lambda _: None) -> None:
        """`tell` is told in a sentence that the file was truncated or replaced, and is read anew."""
        self.path = path
        self.offset = 0
        self._tell = tell
        self._known: tuple[int, int] | None = None

    def news(self) -> Iterator[bytes]:
        """What was written since the last look, up to its size now; nothing where no file is.

        Raises OSError, such as PermissionError.
        """
        with _opened(self.path) as descriptor:
            if descriptor is None:
                return
            size = self._look(descriptor)
            while self.offset < size:
                chunk = os.pread(descriptor, min(_CHUNK, size - self.offset), self.offset)
                if not chunk:
                    return
                self.offset += len(chunk)
                yield chunk

    def last_lines(self, count: int, fits: Callable[[bytes], bool] = lambda _: True) -> list[bytes]:
        """The last lines as they are, of those that fit; `news` goes on behind them.

        A last line without a newline counts, and is left to `news`: more of it may come.
        Read from the end: of a large file only what holds them. `fits` is also asked of several lines
        together, whether one of them fits. Raises OSError.
        """
        with _opened(self.path) as descriptor:
            if descriptor is None:
                return []
            self.offset = size = self._look(descriptor)
            found: list[bytes] = []
            is_end = True
            for lines in filter(None, _backwards(descriptor, size)):
                if is_end and not lines[-1].endswith(b"\n"):
                    last = lines.pop()
                    self.offset -= len(last)
                    count -= fits(last)
                is_end = False
                if len(found) >= count:
                    break
                if fits(b"".join(lines)):
                    found += filter(fits, reversed(lines))
            return found[: max(0, count)][::-1]

    def _look(self, descriptor: int) -> int:
        """Its size, after a look at whether it is still the file that was read before."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            # A terminal or a pipe would be waited for, or its reader would lose what we take.
            return 0
        known, self._known = self._known, (status.st_dev, status.st_ino)
        if known not in (None, self._known):
            self._begin_anew("replaced by another file")
        elif status.st_size < self.offset:
            self._begin_anew("truncated")
        return status.st_size

    def _begin_anew(self, what: str) -> None:
        self.offset = 0
        self._tell(f"{str(self.path)!r} was {what}; it is read on from its begin.")


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        # A pipe without a writer would block here.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno not in _NOT_NOW:
            raise
        yield None
        return
    try:
        yield descriptor
    except OSError as error:
        # Removed on its server meanwhile.
        if error.errno != errno.ESTALE:
            raise
    finally:
        os.close(descriptor)


def _backwards(descriptor: int, size: int) -> Iterator[list[bytes]]:
    """The lines of the first `size` bytes of a file, those of the last block first, with their newlines."""
    end, rest = size, b""
    while end > 0:
        begin = max(0, end - _CHUNK)
        *whole, last = (os.pread(descriptor, end - begin, begin) + rest).split(b"\n")
        lines = [line + b"\n" for line in whole] + ([last] if last else [])
        # Its begin stands in the block before.
        rest = lines.pop(0) if begin and lines else b""
        yield lines
        if len(rest) > LONGEST_LINE:
            yield [rest]
            rest = b""
        end = begin
