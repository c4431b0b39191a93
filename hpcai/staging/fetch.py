"""A shard on its way to a folder: which of its chunks are still missing, and the writing of those that come.

No journal is kept: the manifest tells for every chunk whether what lies in `X.part` is right.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from hpcai.staging.chunks import Buffer, hash_chunk, read_chunk
from hpcai.staging.manifest import Shard
from hpcai.staging.node_cache import allocate


@dataclass(frozen=True)
class Piece:
    """One chunk that must come from the source."""

    part: PartFile
    index: int

    @property
    def start(self) -> int:
        return self.part.shard.chunk_range(self.index)[0]

    @property
    def length(self) -> int:
        return self.part.shard.chunk_range(self.index)[1]


class PartFile:
    """`X.part`, which becomes `X` in `destination` when its last chunk is written."""

    def __init__(self, shard: Shard, work: Path, destination: Path) -> None:
        self.shard = shard
        self._path = work / f"{shard.path}.part"
        self._final = destination / shard.path
        self._work = work
        self._lock = threading.Lock()
        self._missing: set[int] = set(range(len(shard.chunks)))

    def allocated_bytes(self) -> int:
        """What the file already takes on the disk."""
        try:
            return min(self._path.stat().st_blocks * 512, self.shard.bytes)
        except FileNotFoundError:
            return 0

    def prepare(self) -> list[Piece]:
        """The chunks to fetch, after the file has got its room and kept what was right of an earlier try.

        Chunks of a damaged `X` that are right are copied. Raises StageError when there is no room.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = self._open()
        try:
            if os.fstat(descriptor).st_size > self.shard.bytes:
                os.ftruncate(descriptor, self.shard.bytes)
            self._missing -= self._right_chunks(descriptor)
            allocate(descriptor, self.shard.bytes, self._work.parent)
            self._salvage(descriptor)
        finally:
            os.close(descriptor)
        if not self._missing:
            self._complete()
        return [Piece(self, index) for index in sorted(self._missing)]

    def write(self, index: int, data: Buffer) -> None:
        """Put a verified chunk in its place; the last one publishes the shard."""
        descriptor = self._open()
        try:
            _write_all(descriptor, data, self.shard.chunk_range(index)[0])
        finally:
            os.close(descriptor)
        with self._lock:
            self._missing.discard(index)
            done = not self._missing
        if done:
            self._complete()

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _complete(self) -> None:
        # The content must be on the disk before the name is: after a power cut the name is believed.
        descriptor = self._open()
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._final.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(self._final)

    def _right_chunks(self, descriptor: int) -> set[int]:
        return {
            index
            for index in self._missing
            if not _is_hole(descriptor, *self.shard.chunk_range(index))
            and _chunk_is_right(descriptor, self.shard, index)
        }

    def _salvage(self, descriptor: int) -> None:
        try:
            damaged = os.open(self._final, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            for index in sorted(self._missing):
                if _chunk_is_right(damaged, self.shard, index):
                    start, length = self.shard.chunk_range(index)
                    _write_all(descriptor, read_chunk(damaged, start, length), start)
                    self._missing.discard(index)
        finally:
            os.close(damaged)


def shard_is_right(path: Path, shard: Shard) -> bool:
    """True when a file of the shard's size has its content; one that may not be read has not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return False
    try:
        return all(_chunk_is_right(descriptor, shard, index) for index in range(len(shard.chunks)))
    finally:
        os.close(descriptor)


def _chunk_is_right(descriptor: int, shard: Shard, index: int) -> bool:
    start, length = shard.chunk_range(index)
    data = read_chunk(descriptor, start, length)
    return len(data) == length and hash_chunk(data) == shard.chunks[index]


def _is_hole(descriptor: int, start: int, length: int) -> bool:
    # Room that was reserved and never written need not be read to be known as wrong.
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) >= start + length
    except OSError as error:
        return error.errno == errno.ENXIO


def _write_all(descriptor: int, data: Buffer, start: int) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(descriptor, view, start)
        view = view[written:]
        start += written
