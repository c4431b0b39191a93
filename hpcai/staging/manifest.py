"""What a data set consists of, byte for byte: the manifest, and its reader that believes nothing.

A manifest is `manifest.json` beside the shards that it names. Its version is a hash of everything in it
but the ETags, so the same data has the same version wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcai.errors import NotFoundError, StageError
from hpcai.files import readable
from hpcai.staging.fields import Fields, Malformed

SCHEMA_VERSION = 1
CHUNK_BYTES = 8 * 1024 * 1024
MANIFEST_NAME = "manifest.json"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


SHORTEST_VERSION = 8


class ManifestError(StageError):
    """A manifest is damaged, contradicts itself or is of a later hpcai."""


@dataclass(frozen=True)
class Shard:
    """One tar file of a split. `chunks` holds an xxh3-128 as 32 hex digits per 8 MiB."""

    path: str
    bytes: int
    samples: int
    chunks: tuple[str, ...]
    etag: str | None = None

    def chunk_range(self, index: int) -> tuple[int, int]:
        """Start and length, in bytes, of a chunk."""
        start = index * CHUNK_BYTES
        return start, min(CHUNK_BYTES, self.bytes - start)

    @property
    def digest(self) -> str:
        """32 hex digits that stand for the whole content."""
        return hashlib.sha256("".join(self.chunks).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Split:
    """One part of a data set, such as train or val. `class_counts` goes with the class names."""

    samples: int
    class_counts: tuple[int, ...]
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Manifest:
    """A data set: its classes and, per split, its shards. A label is an index into `class_names`."""

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]

    @property
    def version(self) -> str:
        """32 hex digits that change when any byte of the data or any count changes; ETags do not matter."""
        canonical = json.dumps(self._content(etags=False), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    def has_version(self, digits: str) -> bool:
        """Whether this is the version of these digits: all 32, or the first 8 or more."""
        return len(digits) >= SHORTEST_VERSION and self.version.startswith(digits)

    @property
    def samples(self) -> int:
        return sum(split.samples for split in self.splits.values())

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards())

    def shards(self, split: str | None = None) -> tuple[Shard, ...]:
        """The shards of one split, or of all of them, in the manifest's order.

        Raises NotFoundError for a split that the data set lacks.
        """
        if split is None:
            return tuple(shard for part in self.splits.values() for shard in part.shards)
        if split not in self.splits:
            raise NotFoundError(
                f"Data set {self.name!r} has no split {split!r}.", allowed=f"It has {', '.join(self.splits)}."
            )
        return self.splits[split].shards

    def with_etags(self, etags: Mapping[str, str]) -> Manifest:
        """The same data set with the ETags that its shards, by path, have got."""
        splits = {
            name: replace(part, shards=tuple(replace(s, etag=etags.get(s.path, s.etag)) for s in part.shards))
            for name, part in self.splits.items()
        }
        return replace(self, splits=splits)

    def to_text(self) -> str:
        """The text of manifest.json; `parse_manifest` is the inverse."""
        head = {"schema_version": SCHEMA_VERSION, "kind": "manifest", "version": self.version}
        return json.dumps({**head, **self._content(etags=True)}, indent=1) + "\n"

    @staticmethod
    def read(folder: Path) -> Manifest:
        """The manifest of the data set in `folder`.

        Raises NotFoundError, ManifestError, and StageError when it cannot be read.
        """
        path = folder / MANIFEST_NAME
        with readable(path):
            try:
                text = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFoundError(
                    f"{str(folder)!r} holds no data set: there is no {MANIFEST_NAME} in it.",
                    next_step="`hpcai data pack SRC DST --name NAME` makes one from folders of images.",
                ) from error
        return parse_manifest(text, str(path))

    def _content(self, *, etags: bool) -> dict[str, Any]:
        def shard(item: Shard) -> dict[str, Any]:
            record: dict[str, Any] = {"path": item.path, "bytes": item.bytes, "samples": item.samples}
            if etags:
                record["etag"] = item.etag
            record["chunks"] = list(item.chunks)
            return record

        def split(item: Split) -> dict[str, Any]:
            shards = [shard(each) for each in item.shards]
            return {"samples": item.samples, "class_counts": list(item.class_counts), "shards": shards}

        splits = {name: split(part) for name, part in self.splits.items()}
        return {"name": self.name, "class_names": list(self.class_names), "splits": splits}


def parse_manifest(text: str | bytes, origin: str) -> Manifest:
    """The manifest that a text holds; `origin` names it in errors.

    Raises ManifestError when anything in it is not as `Manifest.to_text` writes it.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _damaged(origin, f"it is not JSON ({error})") from error
    try:
        return _manifest(Fields(document, ""))
    except Malformed as error:
        raise _damaged(origin, str(error)) from error
    except _Newer as error:
        # A push would destroy what a later hpcai can read.
        raise ManifestError(
            f"The manifest {origin!r} was written by a later hpcai: {error}.",
            next_step="pip install --upgrade hpcai",
        ) from error


class _Newer(Exception):
    """Part of a sentence: which version was got, and which are read."""


def _damaged(origin: str, why: str) -> ManifestError:
    return ManifestError(
        f"The manifest {origin!r} cannot be used: {why}.",
        next_step="`hpcai data push DIR URL --replace` writes it again from the packed data set.",
    )


def _manifest(document: Fields) -> Manifest:
    schema = document.count("schema_version")
    if schema > SCHEMA_VERSION:
        raise _Newer(f"its schema_version is {schema}, and this one reads {SCHEMA_VERSION}")
    if schema != SCHEMA_VERSION:
        raise Malformed(f"schema_version is {schema}, and this hpcai reads {SCHEMA_VERSION}")
    document.only("schema_version", "kind", "version", "name", "class_names", "splits")
    if document.text("kind") != "manifest":
        raise Malformed(f"kind is {document.text('kind')!r}, not 'manifest'")
    name = document.text("name")
    if not re.fullmatch(NAME_PATTERN, name):
        raise Malformed(f"name is {name!r}, which is not {NAME_PATTERN}")
    class_names = tuple(document.texts("class_names"))
    if not class_names or len(set(class_names)) != len(class_names):
        raise Malformed("class_names must hold each class once")
    splits = {key: _split(part, len(class_names)) for key, part in document.objects("splits")}
    if not splits:
        raise Malformed("splits is empty")
    manifest = Manifest(name, class_names, splits)
    _check_paths(manifest)
    if document.text("version") != manifest.version:
        raise Malformed(f"its content hashes to {manifest.version}, but it says {document.text('version')!r}")
    return manifest


def _split(fields: Fields, classes: int) -> Split:
    fields.only("samples", "class_counts", "shards")
    shards = tuple(_shard(item) for item in fields.object_list("shards"))
    split = Split(fields.count("samples"), tuple(fields.counts("class_counts")), shards)
    if len(split.class_counts) != classes:
        raise Malformed(f"{fields.at('class_counts')} has {len(split.class_counts)} counts, not {classes}")
    for what, total in (
        ("class_counts", sum(split.class_counts)),
        ("shards", sum(shard.samples for shard in shards)),
    ):
        if total != split.samples:
            raise Malformed(f"{fields.at(what)} adds up to {total} samples, not {split.samples}")
    return split


def _shard(fields: Fields) -> Shard:
    fields.only("path", "bytes", "samples", "etag", "chunks")
    chunks = tuple(fields.texts("chunks"))
    shard = Shard(
        fields.text("path"),
        fields.count("bytes"),
        fields.count("samples"),
        chunks,
        fields.text_or_none("etag"),
    )
    if not is_safe_path(shard.path):
        raise Malformed(f"{fields.at('path')} is {shard.path!r}, not a plain path inside the data set")
    if len(chunks) != -(-shard.bytes // CHUNK_BYTES):
        raise Malformed(f"{fields.at('chunks')} has {len(chunks)} hashes for {shard.bytes} bytes")
    if not all(re.fullmatch(r"[0-9a-f]{32}", chunk) for chunk in chunks):
        raise Malformed(f"{fields.at('chunks')} holds something that is not 32 hex digits")
    return shard


def _check_paths(manifest: Manifest) -> None:
    seen: set[str] = set()
    for shard in manifest.shards():
        if shard.path in seen:
            raise Malformed(f"the path {shard.path!r} is used twice")
        seen.add(shard.path)
    for path in seen:
        for above in _folders_above(path):
            if above in seen:
                raise Malformed(f"the path {path!r} lies inside the file {above!r}")


def _folders_above(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def is_safe_path(path: str) -> bool:
    """True when `path` is relative, stays inside its folder, and is no name that hpcai uses itself."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.startswith(".") or part.endswith(".part") for part in parts):
        return False
    return path != MANIFEST_NAME and path.isprintable() and "\\" not in path
