"""A packed data set to a container: shards first, in blocks of 8 MiB, and the manifest when all are there.

Blocks lie in Blob unseen until a blob is put together from them. So everything is read, verified and sent
before an older version has to go, and one that cannot be replaced stays.
"""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hpcai.errors import NotFoundError, StageError, UsageError
from hpcai.files import readable
from hpcai.staging.chunks import hash_chunk, read_chunk
from hpcai.staging.credentials import find_credentials
from hpcai.staging.location import BlobLocation, parse_location
from hpcai.staging.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestError,
    Shard,
    is_safe_path,
    parse_manifest,
)
from hpcai.staging.parallel import for_each
from hpcai.staging.progress import Listener, Progress
from hpcai.staging.retry import FIRST_CONTACT, Retrier, RetryPolicy
from hpcai.units import about_bytes

if TYPE_CHECKING:
    from hpcai.staging.control import Container

T = TypeVar("T")

_THREADS = 8
# The paths that a replacement may leave behind if it is interrupted; a dotted name is no shard's.
_NOTE_NAME = ".replaced.json"


@dataclass(frozen=True)
class Pushed:
    """What a push did; `sent_bytes` excludes what lay there already."""

    manifest: Manifest
    url: str
    sent_bytes: int


def push(
    folder: Path,
    url: str,
    environ: Mapping[str, str],
    *,
    replace: bool = False,
    listener: Listener | None = None,
) -> Pushed:
    """The packed data set of `folder`, now at `url`; shards that lie there already are not sent again.

    A container that is missing is made. Another data set at `url` stays, unless `replace`: then its manifest
    goes, once all of this one has been sent, and before any of it is seen: no reader mixes two versions.

    Raises UsageError, NotFoundError, UnreachableError, ToolError and StageError.
    """
    manifest = Manifest.read(folder)
    location = parse_location(url, environ)
    if not isinstance(location, BlobLocation):
        raise UsageError(
            f"{url!r} is not in Blob storage.",
            allowed="A push takes azure://CONTAINER/PREFIX or an https Blob URL.",
        )
    _require_folder(folder, location, manifest)
    with readable(folder):
        _require_shards(folder, manifest)
    # The SDK takes longer to import than the mistakes above take to find.
    from hpcai.staging.control import Container

    container = Container(location, find_credentials(environ))
    return _Push(folder, manifest, location, container, listener or Listener()).run(replace)


def _require_folder(folder: Path, location: BlobLocation, manifest: Manifest) -> None:
    if not location.prefix:
        raise UsageError(
            f"{location.url} is a whole container: a data set there would mix with those in its folders.",
            allowed="A data set has a folder of its own, azure://CONTAINER/PREFIX.",
            next_step=shlex.join(["hpcai", "data", "push", str(folder), f"{location.url}/{manifest.name}"]),
        )


def _require_shards(folder: Path, manifest: Manifest) -> None:
    for shard in manifest.shards():
        path = folder / shard.path
        try:
            # Opened, so that one that cannot be read is found before any is sent.
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
        except (FileNotFoundError, NotADirectoryError):
            size = None
        if size != shard.bytes:
            raise StageError(
                f"The shard {str(path)!r} has {size} bytes, its manifest says {shard.bytes}."
                if size is not None
                else f"The shard {str(path)!r} of the manifest is missing.",
                next_step="Pack the data set again into a new folder.",
            )


class _Upload:
    """A shard on its way: its blocks in any order, and when all are there the blob."""

    def __init__(self, folder: Path, shard: Shard, container: Container) -> None:
        self.shard = shard
        self._path = folder / shard.path
        self._container = container

    def missing(self) -> list[int]:
        """The blocks that no earlier try has sent."""
        staged = self._container.staged_blocks(self.shard.path)
        return [index for index in range(len(self.shard.chunks)) if self._block_id(index) not in staged]

    def send(self, index: int) -> None:
        self._container.stage_block(self.shard.path, self._block_id(index), self._read(index))

    def commit(self) -> str:
        ids = [self._block_id(index) for index in range(len(self.shard.chunks))]
        return self._container.commit(self.shard.path, ids, self.shard.digest)

    def _block_id(self, index: int) -> str:
        # The hash is part of the name, so a block left by another version is never taken for ours.
        return f"{index:05d}-{self.shard.chunks[index]}"

    def _read(self, index: int) -> bytes:
        start, length = self.shard.chunk_range(index)
        with readable(self._path), self._path.open("rb") as file:
            data = read_chunk(file.fileno(), start, length)
        if hash_chunk(data) != self.shard.chunks[index]:
            raise StageError(
                f"The shard {str(self._path)!r} is damaged: its bytes from {start:,} on have another hash.",
                next_step="Pack the data set again into a new folder.",
            )
        return data


class _Push:
    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        location: BlobLocation,
        container: Container,
        listener: Listener,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._location = location
        self._container = container
        self._listener = listener
        self._stop = threading.Event()
        self._first = Retrier(FIRST_CONTACT, say=listener.say)
        self._retry = Retrier(RetryPolicy(), say=listener.say, stop=self._stop)
        self._etags: dict[str, str] = {}

    def run(self, replace: bool) -> Pushed:
        before = self._manifest_there()
        replaced = self._replaced(before, replace)
        left_over = self._paths_left_over(replaced)
        self._each(self._manifest.shards(), self._look)
        todo = [shard for shard in self._manifest.shards() if shard.path not in self._etags]
        sent = self._stage(todo)
        if left_over:
            self._put(_NOTE_NAME, _note(left_over | self._paths()))
        if replaced is not None:
            self._delete(MANIFEST_NAME)
        self._each(todo, self._commit)
        finished = self._manifest.with_etags(self._etags)
        text = finished.to_text().encode()
        if text != before:
            self._put(MANIFEST_NAME, text)
        self._each(sorted(left_over - self._paths()), self._delete)
        if left_over:
            self._delete(_NOTE_NAME)
        return Pushed(finished, self._location.url, sent)

    def _paths(self) -> set[str]:
        return {shard.path for shard in self._manifest.shards()}

    def _put(self, path: str, data: bytes) -> None:
        self._retry.call(path, lambda: self._container.put(path, data))

    def _delete(self, path: str) -> None:
        self._retry.call(path, lambda: self._container.delete(path))

    def _each(self, items: Iterable[T], work: Callable[[T], None]) -> None:
        for_each(items, work, threads=_THREADS, stop=self._stop)

    def _manifest_there(self) -> bytes | None:
        try:
            return self._first.call(self._location.url, lambda: self._container.read(MANIFEST_NAME))
        except NotFoundError:
            self._first.call(self._location.url, self._container.create)
            self._listener.say(f"Made the container {self._location.container!r}.")
            return None

    def _replaced(self, before: bytes | None, replace: bool) -> Manifest | None:
        """The other version that this one takes the place of; one whose manifest is damaged tells nothing."""
        if before is None:
            return None
        try:
            there = parse_manifest(before, f"{self._location.url}/{MANIFEST_NAME}")
        except ManifestError:
            if not replace:
                raise
            return None
        if there.version == self._manifest.version:
            return None
        if not replace:
            raise UsageError(
                f"{self._location.url} holds {there.name!r} of version {there.version[:12]} already.",
                allowed="A push goes to a new URL, or to one that holds the same data set.",
                next_step="Choose another URL, or replace what is there with --replace.",
            )
        return there

    def _paths_left_over(self, replaced: Manifest | None) -> set[str]:
        """Where blobs of another version may lie: of the replaced one, or of an interrupted replacement."""
        noted = _paths_of(self._retry.call(_NOTE_NAME, lambda: self._container.read(_NOTE_NAME)))
        return noted | ({shard.path for shard in replaced.shards()} if replaced is not None else set())

    def _look(self, shard: Shard) -> None:
        state = self._retry.call(shard.path, lambda: self._container.state(shard.path))
        if state is not None and (state.bytes, state.digest) == (shard.bytes, shard.digest):
            self._etags[shard.path] = state.etag

    def _stage(self, todo: list[Shard]) -> int:
        """The bytes sent, all blocks of these shards now being in Blob."""
        blocks = self._missing_blocks(todo)
        total = sum(upload.shard.chunk_range(index)[1] for upload, index in blocks)
        what = f"{self._manifest.name} {self._manifest.version[:12]}"
        self._listener.say(
            f"{what}: {about_bytes(total)} of {about_bytes(self._manifest.bytes)} go to {self._location.url}."
        )
        progress = Progress(0, total, self._listener.told)

        def work(block: tuple[_Upload, int]) -> None:
            upload, index = block
            self._retry.call(upload.shard.path, lambda: upload.send(index))
            progress.add(upload.shard.chunk_range(index)[1])

        self._each(blocks, work)
        return total

    def _missing_blocks(self, todo: list[Shard]) -> list[tuple[_Upload, int]]:
        missing: dict[str, list[int]] = {}

        def look(upload: _Upload) -> None:
            missing[upload.shard.path] = self._retry.call(upload.shard.path, upload.missing)

        uploads = [_Upload(self._folder, shard, self._container) for shard in todo]
        self._each(uploads, look)
        return [(upload, index) for upload in uploads for index in missing[upload.shard.path]]

    def _commit(self, shard: Shard) -> None:
        upload = _Upload(self._folder, shard, self._container)
        self._etags[shard.path] = self._retry.call(shard.path, upload.commit)


def _note(paths: set[str]) -> bytes:
    return json.dumps({"schema_version": 1, "paths": sorted(paths)}).encode()


def _paths_of(note: bytes | None) -> set[str]:
    """The paths that a note tells; none when it is damaged, which costs room in Blob and no more."""
    try:
        paths = json.loads(note or b"{}").get("paths", [])
        return {path for path in paths if is_safe_path(path)}
    except (ValueError, TypeError, AttributeError):
        return set()
