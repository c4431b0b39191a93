"""A data set from its source to this machine: downloaded once, verified chunk by chunk, published whole.

Killed at any moment it leaves nothing under the final name, and the next pull goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpcai.errors import NotFoundError, StageError
from hpcai.files import locked, sync_folder
from hpcai.staging.chunks import Buffer, hash_chunk
from hpcai.staging.fetch import PartFile, Piece, shard_is_right
from hpcai.staging.manifest import MANIFEST_NAME, Manifest
from hpcai.staging.node_cache import Place, cache_place, chosen_place, require_room
from hpcai.staging.parallel import for_each
from hpcai.staging.progress import Listener, Progress
from hpcai.staging.retry import FIRST_CONTACT, Retrier, RetryPolicy
from hpcai.staging.source import Source, open_source, read_manifest, require_version
from hpcai.staging.stamps import Stamp, stamp, verified_stamps, write_stamps
from hpcai.units import about_bytes

_THREADS = 8
_WRONG_BYTES_TRIES = 3


@dataclass(frozen=True)
class Pulled:
    """What a pull did. `bytes` is the data set's size, and the sum of those from Blob and from the cache."""

    name: str
    version: str
    path: Path
    event: Literal["done", "reused"]
    bytes: int
    from_source: int
    seconds: float

    def record(self, *, data: str, source: str, attempt: int) -> dict[str, object]:
        """The line of data/<node>.jsonl, but for its time."""
        return {
            "data": data,
            "source": source,
            "version": self.version,
            "event": self.event,
            "bytes": self.bytes,
            "bytes_from": {"blob": self.from_source, "cache": self.bytes - self.from_source},
            "seconds": round(self.seconds, 3),
            "path": str(self.path),
            "attempt": attempt,
        }


def pull(
    url: str,
    environ: Mapping[str, str],
    *,
    to: Path | None = None,
    scratch: Path | None = None,
    version: str | None = None,
    verify: bool = False,
    listener: Listener | None = None,
    policy: RetryPolicy | None = None,
) -> Pulled:
    """The data set at `url`, now whole in the folder `to`, or in the cache below `scratch`.

    What is there already is read again if it was written to since it was verified, with `verify` in any case,
    and only what is wrong is fetched.
    `version`, or its first 8 digits or more, must be the one at the source.

    Raises UsageError, NotFoundError, UnreachableError, ToolError and StageError.
    """
    listener = listener or Listener()
    started = time.monotonic()
    source = open_source(url, environ)
    manifest = read_manifest(source, Retrier(FIRST_CONTACT, say=listener.say).call)
    require_version(manifest, version, source)
    with _fillable(to or _given(scratch)):
        place = chosen_place(to, manifest) if to is not None else cache_place(_given(scratch), manifest)
        with _alone(place, manifest, listener):
            path, fetched = _bring(source, manifest, place, verify, listener, policy or RetryPolicy())
    return Pulled(
        name=manifest.name,
        version=manifest.version,
        path=path,
        event="done" if fetched else "reused",
        bytes=manifest.bytes,
        from_source=fetched,
        seconds=time.monotonic() - started,
    )


def _given(scratch: Path | None) -> Path:
    if scratch is None:
        raise ValueError("pull needs a folder: either `to` or `scratch`")
    return scratch


@contextmanager
def _alone(place: Place, manifest: Manifest, listener: Listener) -> Iterator[None]:
    """Only this process of the node fills the place while the block runs."""

    def waiting() -> None:
        listener.say(f"Another process of this node is bringing {manifest.name!r}; waiting for it.")

    # Every user of the node may be the one.
    with locked(place.lock, waiting=waiting, mode=0o666):
        yield


@contextmanager
def _fillable(folder: Path) -> Iterator[None]:
    """Inside, what the system refuses is a StageError: the data set cannot come to this folder."""
    try:
        yield
    except OSError as error:
        raise StageError(
            f"{str(folder)!r} cannot be filled: {error.strerror} ({error.filename or 'no file named'}).",
            next_step="Correct that, or name another folder with --scratch, --to or HPCAI_SCRATCH.",
        ) from error


def _bring(
    source: Source, manifest: Manifest, place: Place, verify: bool, listener: Listener, policy: RetryPolicy
) -> tuple[Path, int]:
    """Where the data set lies now, and the bytes that had to come from the source."""
    published = _is_published(place.final)
    # A published folder is repaired file by file, because jobs may be reading the others.
    destination = place.final if published else place.work
    # Another user's files, and another's note on them, are not believed.
    is_ours = not published or place.final.stat().st_uid == os.getuid()
    right = _right_shards(destination, manifest, deep=verify or not is_ours)
    missing = [shard for shard in manifest.shards() if shard.path not in right]
    is_fixed = published and not os.access(place.final, os.W_OK)
    if is_fixed and place.own is not None and (missing or not _describes(place.final, manifest)):
        listener.say(f"{place.final} is another user's, and damaged or closed: you get a copy of your own.")
        return _bring(source, manifest, place.own, verify, listener, policy)
    parts = [PartFile(shard, place.work, destination) for shard in missing]
    _require_room(parts, place)
    if parts or not published:
        place.work.mkdir(exist_ok=True)
    pieces = [piece for part in parts for piece in part.prepare()]
    fetched = sum(piece.length for piece in pieces)
    listener.say(_opening(source, manifest, place, fetched))
    _fetch(source, pieces, manifest.bytes - fetched, manifest.bytes, listener, policy)
    if is_ours:
        _note(destination, manifest, right)
    _publish(manifest, place, published)
    return place.final, fetched


def _is_published(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        # Another user's, who shows it to nobody.
        return True


def _right_shards(folder: Path, manifest: Manifest, *, deep: bool) -> dict[str, Stamp]:
    """The shards whose content is right, with what each looked like before it was looked at.

    Without `deep`, what looks as it did when it was last verified is not read.
    """
    believed = {} if deep else verified_stamps(folder, manifest)
    right = {}
    for shard in manifest.shards():
        now = stamp(folder / shard.path)
        if now is None or now[0] != shard.bytes:
            continue
        if believed.get(shard.path) == now or shard_is_right(folder / shard.path, shard):
            right[shard.path] = now
    return right


def _note(folder: Path, manifest: Manifest, right: Mapping[str, Stamp]) -> None:
    """Remember what is verified: the shards that were `right`, and those that have come since."""
    stamps = {shard.path: right.get(shard.path) or stamp(folder / shard.path) for shard in manifest.shards()}
    known = {path: each for path, each in stamps.items() if each is not None}
    if known != verified_stamps(folder, manifest):
        write_stamps(folder, manifest, known)


def _opening(source: Source, manifest: Manifest, place: Place, fetched: int) -> str:
    what = f"{manifest.name} {manifest.version[:12]}"
    if fetched == 0:
        return f"{what}: {about_bytes(manifest.bytes)} are in {place.final} already."
    share = f"{about_bytes(fetched)} of {about_bytes(manifest.bytes)}"
    return f"{what}: {share} come from {source.url} to {place.final}."


def _require_room(parts: list[PartFile], place: Place) -> None:
    if parts:
        require_room(place.final.parent, sum(part.shard.bytes - part.allocated_bytes() for part in parts))


def _fetch(
    source: Source, pieces: list[Piece], done: int, total: int, listener: Listener, policy: RetryPolicy
) -> None:
    stop = threading.Event()
    retrier = Retrier(policy, say=listener.say, stop=stop)
    progress = Progress(done, total, listener.told)

    def work(piece: Piece) -> None:
        piece.part.write(piece.index, _verified(source, piece, retrier, listener))
        progress.add(piece.length)

    for_each(pieces, work, threads=_THREADS, stop=stop)


def _verified(source: Source, piece: Piece, retrier: Retrier, listener: Listener) -> Buffer:
    """The right bytes of a chunk. Raises StageError when the source keeps giving wrong ones."""
    shard = piece.part.shard
    for attempt in range(_WRONG_BYTES_TRIES):
        data = retrier.call(
            shard.path, lambda: source.read_range(shard.path, piece.start, piece.length, shard.etag)
        )
        if hash_chunk(data) == shard.chunks[piece.index]:
            return data
        listener.say(
            f"{shard.path}: wrong bytes from {piece.start:,}, try {attempt + 1} of {_WRONG_BYTES_TRIES}."
        )
    raise StageError(
        f"The shard {shard.path!r} at {source.url} is damaged: wrong bytes from {piece.start:,} on.",
        allowed="Nothing of it was published.",
        next_step="`hpcai data push DIR URL` from the packed data set sends that shard again.",
    )


def _publish(manifest: Manifest, place: Place, published: bool) -> None:
    folder = place.final if published else place.work
    if not _describes(folder, manifest):
        _write_durably(folder / MANIFEST_NAME, manifest.to_text())
    if not published:
        place.work.rename(place.final)
        sync_folder(place.final.parent)
    else:
        shutil.rmtree(place.work, ignore_errors=True)


def _describes(folder: Path, manifest: Manifest) -> bool:
    try:
        return Manifest.read(folder).version == manifest.version
    except (NotFoundError, StageError):
        return False


def _write_durably(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
