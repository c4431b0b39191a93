"""One interface to every place that a data set can be read from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from hpcai.errors import HpcaiError, NotFoundError, StageError, did_you_mean
from hpcai.files import readable
from hpcai.staging.chunks import Buffer, read_chunk
from hpcai.staging.location import FolderLocation, Location, parse_location
from hpcai.staging.manifest import MANIFEST_NAME, SHORTEST_VERSION, Manifest, parse_manifest


class NoSuchBlob(NotFoundError):
    """The container or folder is there, the file in it is not."""


class ChangedError(StageError):
    """What lies at the source is no longer what its manifest describes."""


@dataclass(frozen=True)
class Entries:
    """What lies directly below a place: folders by name, files with their bytes."""

    folders: tuple[str, ...]
    files: Mapping[str, int]


class Source(Protocol):
    """A readable folder, wherever it is. Every call is one attempt; what may pass is marked transient."""

    @property
    def url(self) -> str: ...

    def read(self, path: str) -> bytes:
        """All bytes of a small file. Raises NotFoundError, UnreachableError, ToolError."""

    def read_range(self, path: str, start: int, length: int, etag: str | None) -> Buffer:
        """Exactly `length` bytes of a file that still has `etag`; raises ChangedError when it has not."""

    def entries(self) -> Entries:
        """What lies directly below. Raises NotFoundError, UnreachableError, ToolError."""

    def below(self, name: str) -> Source:
        """The folder `name` inside this one."""

    def above(self) -> Source | None:
        """The folder around this one, or None at the top."""


def open_source(url: str, environ: Mapping[str, str]) -> Source:
    """The source at azure://container/prefix, an https Blob URL or file:///folder.

    Raises UsageError for another URL, and what `find_credentials` raises.
    """
    return source_at(parse_location(url, environ), environ)


def source_at(location: Location, environ: Mapping[str, str]) -> Source:
    if isinstance(location, FolderLocation):
        return FolderSource(location.path)
    from hpcai.staging.blob import BlobSource
    from hpcai.staging.credentials import find_credentials

    return BlobSource(location, find_credentials(environ))


def read_manifest(source: Source, call: Callable[[str, Callable[[], bytes]], bytes]) -> Manifest:
    """As `bare_manifest`, but a missing manifest is told with what is there instead."""
    try:
        return bare_manifest(source, call)
    except NoSuchBlob as error:
        raise _no_data_set(source) from error


def bare_manifest(source: Source, call: Callable[[str, Callable[[], bytes]], bytes]) -> Manifest:
    """The manifest at a source, read through `call(what, read)`, which may try again.

    Raises NotFoundError and ManifestError.
    """
    text = call(f"The manifest of {source.url}", lambda: source.read(MANIFEST_NAME))
    return parse_manifest(text, f"{source.url}/{MANIFEST_NAME}")


def require_version(manifest: Manifest, version: str | None, source: Source) -> None:
    """Raises NotFoundError when another version than the one that was asked for lies at a source."""
    if version is not None and not manifest.has_version(version):
        raise NotFoundError(
            f"{source.url} holds version {manifest.version} of {manifest.name!r}, not {version!r}.",
            allowed=f"A version is given by its 32 digits, or the first {SHORTEST_VERSION} or more of them.",
        )


def _no_data_set(source: Source) -> NotFoundError:
    what = f"There is no data set at {source.url}: it has no {MANIFEST_NAME}."
    try:
        entries = source.entries()
        above = source.above()
        beside = above.entries().folders if above is not None else ()
    except HpcaiError:
        # The look around is a courtesy; what was asked for is missing either way.
        return NotFoundError(what)
    name = unquote(source.url.rpartition("/")[2])
    return NotFoundError(
        what,
        allowed=_there(entries),
        next_step=did_you_mean(name, set(beside) - {name})
        or f"hpcai data ls {shlex.quote((above or source).url)}",
    )


def _there(entries: Entries, most: int = 5) -> str:
    names = [f"{folder}/" for folder in entries.folders] + list(entries.files)
    if not names:
        return "Nothing at all is there."
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"There is: {', '.join(names[:most])}{more}."


class FolderSource:
    """A data set in a folder of this machine or of a share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def url(self) -> str:
        return self._folder.as_uri()

    def read(self, path: str) -> bytes:
        with self._reading(path):
            return (self._folder / path).read_bytes()

    def read_range(self, path: str, start: int, length: int, etag: str | None) -> Buffer:  # noqa: ARG002
        with self._reading(path):
            descriptor = os.open(self._folder / path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = read_chunk(descriptor, start, length)
            finally:
                os.close(descriptor)
        if len(data) != length:
            raise ChangedError(f"{path!r} in {str(self._folder)!r} is shorter than its manifest says.")
        return data

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        with readable(self._folder / path):
            try:
                yield
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NoSuchBlob(f"There is no {path!r} in {str(self._folder)!r}.") from error

    def entries(self) -> Entries:
        with readable(self._folder):
            try:
                below = sorted(self._folder.iterdir())
            except (FileNotFoundError, NotADirectoryError) as error:
                raise self._no_folder() from error
            shown = [each for each in below if not each.name.startswith(".")]
            folders = tuple(each.name for each in shown if each.is_dir())
            return Entries(folders, {each.name: each.stat().st_size for each in shown if each.is_file()})

    def _no_folder(self) -> NotFoundError:
        """With the nearest name beside it, or the nearest folder above it that is there."""
        there = next((folder for folder in self._folder.parents if folder.is_dir()), Path("/"))
        name = self._folder.relative_to(there).parts[0]
        beside: list[str] = []
        with suppress(PermissionError):
            beside = [each.name for each in there.iterdir() if each.is_dir()]
        near = did_you_mean(name, beside)
        return NotFoundError(
            f"There is no folder {str(self._folder)!r}.",
            next_step=near or f"hpcai data ls {shlex.quote(there.as_uri())}",
        )

    def below(self, name: str) -> FolderSource:
        return FolderSource(self._folder / name)

    def above(self) -> FolderSource | None:
        return FolderSource(self._folder.parent)
