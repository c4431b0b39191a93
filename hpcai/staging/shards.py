"""Samples in a tar shard of the WebDataset layout: members `KEY.jpg` and `KEY.cls` beside each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import NotFoundError, StageError

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png")
LABEL_EXTENSION = "cls"
_BLOCK = 512


@dataclass(frozen=True)
class SampleEntry:
    """Where in its shard a sample's image lies, and its label."""

    key: str
    offset: int
    size: int
    label: int


@dataclass(frozen=True)
class _Member:
    name: str
    offset: int
    size: int


def iter_samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a shard in their order: key, and the bytes of each member by extension.

    Raises NotFoundError, and StageError when the tar is damaged.
    """
    descriptor = open_shard(path)
    try:
        for key, members in _grouped(_members(descriptor, path), path):
            yield key, {ext: _payload(descriptor, member, path) for ext, member in members.items()}
    finally:
        os.close(descriptor)


def index_shard(path: Path) -> list[SampleEntry]:
    """The place of every sample's image, for random reading; reads headers and labels only.

    Raises NotFoundError, and StageError when the tar is damaged or a sample lacks its image or label.
    """
    descriptor = open_shard(path)
    try:
        return [
            _entry(descriptor, key, members, path)
            for key, members in _grouped(_members(descriptor, path), path)
        ]
    finally:
        os.close(descriptor)


def open_shard(path: Path) -> int:
    """The descriptor of a shard to read from.

    Raises NotFoundError, and StageError when it is there and cannot be opened.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no shard {str(path)!r}.") from error
    except OSError as error:
        raise StageError(f"The shard {str(path)!r} cannot be opened: {error.strerror}.") from error


def _entry(descriptor: int, key: str, members: dict[str, _Member], path: Path) -> SampleEntry:
    image = next((members[ext] for ext in IMAGE_EXTENSIONS if ext in members), None)
    label = members.get(LABEL_EXTENSION)
    if image is None or label is None:
        raise _damaged(path, f"sample {key!r} has {', '.join(sorted(members))}, not an image and a label")
    text = _payload(descriptor, label, path)
    if not text.isdigit():
        raise _damaged(path, f"sample {key!r} has the label {text!r}, not a number")
    return SampleEntry(key, image.offset, image.size, int(text))


def _grouped(members: Iterator[_Member], path: Path) -> Iterator[tuple[str, dict[str, _Member]]]:
    open_key: str | None = None
    group: dict[str, _Member] = {}
    for member in members:
        folder, slash, base = member.name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not dot:
            raise _damaged(path, f"member {member.name!r} has no extension")
        key = folder + slash + stem
        if open_key is not None and key != open_key:
            yield open_key, group
            group = {}
        open_key = key
        group[extension.lower()] = member
    if open_key is not None:
        yield open_key, group


def _members(descriptor: int, path: Path) -> Iterator[_Member]:
    # Read by hand: tarfile spends most of its time per member on fields that no shard of ours uses.
    size = os.fstat(descriptor).st_size
    position = 0
    while True:
        header = os.pread(descriptor, _BLOCK, position)
        if len(header) < _BLOCK:
            raise _damaged(path, f"it ends at byte {size} without the end mark of a tar file")
        if header[0] == 0:
            return
        try:
            name = header[:100].rstrip(b"\0").decode()
            length = int(header[124:136].rstrip(b" \0"), 8)
        except ValueError as error:
            raise _damaged(path, f"there is no tar header at byte {position}") from error
        if header[257:262] != b"ustar" or header[156:157] not in (b"0", b"\0"):
            raise _damaged(path, f"member {name!r} is not a plain file of the USTAR format")
        start = position + _BLOCK
        yield _Member(name, start, length)
        position = start + -(-length // _BLOCK) * _BLOCK


def _payload(descriptor: int, member: _Member, path: Path) -> bytes:
    data = os.pread(descriptor, member.size, member.offset)
    if len(data) != member.size:
        raise _damaged(path, f"member {member.name!r} is cut off")
    return data


def _damaged(path: Path, why: str) -> StageError:
    return StageError(
        f"The shard {str(path)!r} is damaged: {why}.",
        next_step="`hpcai data pull URL --verify` repairs a pulled data set.",
    )
