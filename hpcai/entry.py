"""What lies at a path, as far as this user may look."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import NamedTuple

# Why a path cannot be there, whoever looks.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


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
        status = path.stat()
    except ValueError:
        return Entry()
    except OSError as error:
        return Entry() if error.errno in _ABSENT else Entry(refused=error.strerror or "no reason given")
    return Entry(status.st_mode, status.st_size)
