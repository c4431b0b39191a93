"""The state of a folder of code at one instant, kept once: `<experiment>/snapshots/<tree hash>`."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import StageError
from hpcai.files import scratch_folder
from hpcai.runs.sources import sources_of

LOG = logging.getLogger(__name__)

WARN_BYTES = 300 * 2**20
_LARGEST = 10
_CHUNK = 2**20
FOLDER = "snapshots"
_TREE = re.compile(r"[0-9a-f]{64}")
_MODES = {"100644": 0o444, "100755": 0o555}


@dataclass(frozen=True)
class Snapshot:
    """One that stands; `tree` is the hash of all names, modes and contents."""

    path: Path
    tree: str
    files: int
    bytes: int


@dataclass(frozen=True)
class _Entry:
    """One file or link, as git has it: `mode` is 100644, 100755 or 120000."""

    name: str
    mode: str
    digest: str
    size: int


def take(folder: Path, experiment: Path) -> Snapshot:
    """The snapshot of a folder, made now or found; one that is a snapshot itself is taken as it is.

    Raises StageError for what cannot be read or written.
    """
    found = _taken(folder)
    if found is not None:
        return found
    try:
        names = sorted(set(sources_of(folder)))
        entries = [entry for name in names if (entry := _read(folder, name, None)) is not None]
        _warn_of_size(folder, entries)
        tree = _tree(entries)
        target = experiment / FOLDER / tree
        if not target.is_dir():
            tree, entries = _publish(folder, [entry.name for entry in entries], experiment / FOLDER)
    except OSError as error:
        raise StageError(
            f"The code in {str(folder)!r} cannot be kept: {error.strerror} ({str(error.filename)!r}).",
            next_step="Name what is not needed in .hpcaiignore, or make room below the runs root.",
        ) from error
    return Snapshot(experiment / FOLDER / tree, tree, len(entries), sum(entry.size for entry in entries))


def _taken(folder: Path) -> Snapshot | None:
    """The snapshot that the folder is, as when a run of another's record is made again."""
    path = folder.resolve()
    if path.parent.name != FOLDER or not _TREE.fullmatch(path.name):
        return None
    sizes = [one.lstat().st_size for one in path.rglob("*") if one.is_symlink() or not one.is_dir()]
    return Snapshot(path, path.name, len(sizes), sum(sizes))


def _publish(folder: Path, names: Sequence[str], snapshots: Path) -> tuple[str, list[_Entry]]:
    """The tree that now stands, by what was really copied: a file may change under the copying."""
    with scratch_folder(snapshots) as scratch:
        draft = scratch / "code"
        draft.mkdir()
        entries = [entry for name in names if (entry := _read(folder, name, draft)) is not None]
        tree = _tree(entries)
        for made, _, _ in os.walk(draft):
            if made != str(draft):
                Path(made).chmod(0o555)
        try:
            draft.rename(snapshots / tree)
        except OSError:
            # Another submission was first: its snapshot holds the same.
            if not (snapshots / tree).is_dir():
                raise
            _remove(draft)
        (snapshots / tree).chmod(0o555)
    return tree, entries


def _remove(draft: Path) -> None:
    for made, _, _ in os.walk(draft):
        Path(made).chmod(0o755)
    shutil.rmtree(draft)


def _read(folder: Path, name: str, draft: Path | None) -> _Entry | None:
    """What one name is, copied to the draft if there is one; None for what is no file any more."""
    source = folder / name
    target = None if draft is None else draft / name
    try:
        status = source.lstat()
    except FileNotFoundError:
        # Removed, and git still tracks it.
        return None
    if stat.S_ISLNK(status.st_mode):
        return _link(folder, name, target)
    if not stat.S_ISREG(status.st_mode):
        return None
    mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
    digest, size = _content(source, target, mode)
    return _Entry(name, mode, digest, size)


def _content(source: Path, target: Path | None, mode: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        if target is None:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
            return digest.hexdigest(), size
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += copy.write(chunk)
    target.chmod(_MODES[mode])
    return digest.hexdigest(), size


def _link(folder: Path, name: str, target: Path | None) -> _Entry:
    """A link as it is; one that leads out of the folder by a relative way goes on leading there."""
    aim = (folder / name).readlink()
    there = Path(os.path.normpath((folder / name).parent / aim))
    if not aim.is_absolute() and not there.is_relative_to(os.path.normpath(folder)):
        aim = there
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(aim)
    text = os.fsencode(aim)
    return _Entry(name, "120000", hashlib.sha256(text).hexdigest(), len(text))


def _tree(entries: Sequence[_Entry]) -> str:
    lines = (
        f"{entry.mode} {entry.digest} {entry.name}\0" for entry in sorted(entries, key=lambda one: one.name)
    )
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _warn_of_size(folder: Path, entries: Sequence[_Entry]) -> None:
    size = sum(entry.size for entry in entries)
    if size < WARN_BYTES:
        return
    largest = sorted(entries, key=lambda one: -one.size)[:_LARGEST]
    LOG.warning(
        "The code in %r is %d MB in %d files, and is kept once for each state of it. The largest, which "
        "lines of .hpcaiignore leave out:\n%s",
        str(folder),
        size // 2**20,
        len(entries),
        "\n".join(_size_lines(largest)),
    )


def _size_lines(entries: Sequence[_Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"  {entry.size / 2**20:8.1f} MB  {entry.name}"
