"""Growing files, copied to stdout and stderr as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from hpcai.cli.output import put_bytes

_CHUNK = 1 << 16


class Pipe:
    """Copies a growing file to a stream, each byte once, whatever the bytes are."""

    def __init__(self, path: Path, stream: TextIO | None) -> None:
        self._path = path
        self._stream = stream
        self.offset = 0

    def copy(self) -> None:
        """Everything new; a file that has shrunk is read again from its begin."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self.offset:
                    self.offset = 0
                file.seek(self.offset)
                while chunk := file.read(_CHUNK):
                    put_bytes(self._stream, chunk)
                    self.offset += len(chunk)
        except FileNotFoundError:
            return
