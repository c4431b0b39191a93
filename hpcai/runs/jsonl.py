"""Append-only JSON lines, one writer per file: safe to kill at any byte, safe to read while written.

No locks are taken and no file is kept open by a reader, so the same holds on NFS, where opening a
file is what brings its newest state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcai.errors import StageError

Record = dict[str, Any]

# The year 10000: no later instant can be written as a date.
_TOO_LATE_S = 253_402_300_800


def encode(record: Mapping[str, Any]) -> bytes:
    """One line with its newline, in ASCII.

    Raises ValueError for NaN and infinity, which JSON does not have, and TypeError for what it cannot say.
    """
    return json.dumps(record, separators=(", ", ": "), allow_nan=False).encode("ascii") + b"\n"


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record, as one write; a torn line that a killed writer left stays a line of its own.

    Raises StageError when the file cannot be written.
    """
    line = encode(record)
    try:
        descriptor = open_for_append(path)
        try:
            write_line(descriptor, line, torn=ends_torn(descriptor))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise cannot_write(path, error) from error


def open_for_append(path: Path) -> int:
    """A file descriptor whose writes go to the end of the file; the file's folder must exist."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def ends_torn(descriptor: int) -> bool:
    """Whether the file's last line lacks its newline."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def write_line(descriptor: int, line: bytes, *, torn: bool) -> None:
    """Write one encoded line, after a newline when what stands before it is torn.

    Raises OSError, also when a full disk takes only a part of the line.
    """
    data = b"\n" + line if torn else line
    written = os.write(descriptor, data)
    while written < len(data):
        # Writing on either finishes the line or says why the disk took only a part of it.
        written += os.write(descriptor, data[written:])


def cannot_write(path: Path, error: OSError) -> StageError:
    """The error for a record file that cannot be written."""
    return StageError(
        f"{str(path)!r} cannot be written: {error.strerror or error}.",
        next_step="Free space or correct the permissions; HPCAI_RUNS_ROOT names another place for runs.",
    )


def read(path: Path) -> list[Record]:
    """Every undamaged record of a file in the order written; no file is no records.

    Raises StageError when the file is there and cannot be read.
    """
    return _parse(_bytes_from(path, 0)[0])


def read_ends(path: Path, tail_bytes: int, head_bytes: int = 4096) -> tuple[list[Record], list[Record]]:
    """The first and the last records of a file; of one that is not larger than both, all are the last.

    Raises StageError when the file is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= head_bytes + tail_bytes:
                return [], _parse(file.read())
            head = file.read(head_bytes)
            file.seek(size - tail_bytes)
            # Where the reading begins, a part of a line stands.
            return _parse(head[: head.rfind(b"\n") + 1]), _parse(file.read().partition(b"\n")[2])
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise StageError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def instant_of(record: Record, key: str = "time") -> float | None:
    """The UTC seconds that a record holds; None when it has none, or a number that is no date."""
    value = record.get(key)
    return float(value) if isinstance(value, (int, float)) and 0 <= value < _TOO_LATE_S else None


class Follower:
    """Hands out each record of a growing file once; made for a reader that polls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def poll(self) -> list[Record]:
        """The records that were completed since the last poll; a line still being written waits.

        Raises StageError when the file is there and cannot be read.
        """
        data, self._offset = _bytes_from(self.path, self._offset)
        complete = data[: data.rfind(b"\n") + 1]
        records = _parse(complete)
        # A writer killed just before its newline left a whole record: only whole objects parse.
        last = _parse(data[len(complete) :])
        self._offset += len(data) if last else len(complete)
        return records + last


def _bytes_from(path: Path, offset: int) -> tuple[bytes, int]:
    """The bytes from `offset` on and the offset they begin at, which is 0 when the file has shrunk."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < offset:
                offset = 0
            file.seek(offset)
            return file.read(), offset
    except (FileNotFoundError, NotADirectoryError):
        return b"", 0
    except OSError as error:
        raise StageError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def _parse(data: bytes) -> list[Record]:
    records = []
    for line in data.split(b"\n"):
        record = _parse_line(line)
        if record is not None:
            records.append(record)
    return records


def _parse_line(line: bytes) -> Record | None:
    if not line.strip():
        return None
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
