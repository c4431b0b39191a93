"""The hashes of 8 MiB chunks: of a stream while it is written, and of parts of a file."""

from __future__ import annotations

import os
from typing import BinaryIO

import xxhash

from hpcai.staging.manifest import CHUNK_BYTES

Buffer = bytes | bytearray | memoryview


def hash_chunk(data: Buffer) -> str:
    """xxh3-128 as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def read_chunk(descriptor: int, start: int, length: int) -> bytes:
    """The bytes of a file from `start`, fewer than `length` only at its end."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, length, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class HashingWriter:
    """Writes to a file and knows the hash of every 8 MiB of what went through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = xxhash.xxh3_128()
        self._open_bytes = 0
        self._done: list[str] = []
        self.bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.bytes += len(data)
        view = memoryview(data)
        while len(view):
            part = view[: CHUNK_BYTES - self._open_bytes]
            self._hasher.update(part)
            self._open_bytes += len(part)
            view = view[len(part) :]
            if self._open_bytes == CHUNK_BYTES:
                self._close_chunk()

    def chunks(self) -> tuple[str, ...]:
        """The hashes of everything written; nothing may be written afterwards."""
        if self._open_bytes:
            self._close_chunk()
        return tuple(self._done)

    def _close_chunk(self) -> None:
        self._done.append(self._hasher.hexdigest())
        self._hasher = xxhash.xxh3_128()
        self._open_bytes = 0
