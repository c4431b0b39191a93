"""Where pulled data sets lie on a node, who may work on them, and the room that they need.

<scratch>/hpcai/data/<name>/<version>/            whole and verified, never anything else
<scratch>/hpcai/data/<name>/<version>/.verified.json    what its shards looked like then
<scratch>/hpcai/data/<name>/<version>.<uid>/      the same of one user, for whom another's cannot be used
<scratch>/hpcai/data/<name>/.<version>.<uid>.part/      on its way
<scratch>/hpcai/jobs/<job id>/<name>              a job's link to what it uses
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import StageError, UsageError
from hpcai.files import NO_ROOM
from hpcai.staging.manifest import MANIFEST_NAME, Manifest

_SHARED_MODE = 0o1777
_ROOM_MARGIN = 1.05
_LINKS_KEPT_S = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Place:
    """The folder where a version of a data set appears, and those beside it that it is made with.

    `own` takes its place where `final` is another user's and damaged; None where a person named the folder.
    """

    final: Path
    own: Place | None = None

    @property
    def work(self) -> Path:
        # Each user's own: what another's pull left can be neither gone on with nor removed.
        return self.final.with_name(f".{self.final.name}.{os.getuid()}.part")

    @property
    def lock(self) -> Path:
        return self.final.with_name(f".{self.final.name}.lock")


def cache_place(scratch: Path, manifest: Manifest) -> Place:
    """Where a data set lies below a node's scratch; makes the folders that all users of the node share.

    Raises StageError when the scratch cannot be written.
    """
    folder = scratch
    if not scratch.is_dir():
        raise StageError(
            f"The scratch {str(scratch)!r} is not a folder.",
            next_step="Set HPCAI_SCRATCH to a folder of the node's own disk; by hand, --to DIR does too.",
        )
    for part in ("hpcai", "data", manifest.name):
        folder = folder / part
        make_shared_folder(folder)
    own = Place(folder / f"{manifest.version}.{os.getuid()}")
    return own if own.final.is_dir() else Place(folder / manifest.version, own)


def make_shared_folder(folder: Path) -> None:
    """A folder like /tmp: every user of the node may add to it, nobody may remove what others put there.

    Raises StageError.
    """
    try:
        folder.mkdir()
        folder.chmod(_SHARED_MODE)
    except FileExistsError:
        return
    except OSError as error:
        raise StageError(f"{str(folder)!r} cannot be made: {error.strerror}.") from error


def chosen_place(target: Path, manifest: Manifest) -> Place:
    """The folder that a person named, if it is free for this data set.

    Raises UsageError when it holds something else.
    """
    final = target.absolute()
    held = "something else"
    if (final / MANIFEST_NAME).is_file():
        there = Manifest.read(final)
        if there.version == manifest.version:
            return Place(final)
        held = f"{there.name!r} of version {there.version[:12]}"
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        raise UsageError(
            f"{str(target)!r} already holds {held}.",
            allowed="--to takes a new or an empty folder, or one that holds the same data set.",
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    return Place(final)


def require_room(folder: Path, needed_bytes: int) -> None:
    """Raises StageError unless the file system of `folder` has room for `needed_bytes` and 5 % more."""
    state = os.statvfs(folder)
    available = state.f_bavail * state.f_frsize
    if needed_bytes * _ROOM_MARGIN > available:
        raise no_room(folder, int(needed_bytes * _ROOM_MARGIN), available)


def no_room(folder: Path, needed_bytes: int, available_bytes: int) -> StageError:
    return StageError(
        f"No space in {str(folder)!r}: {needed_bytes:,} bytes needed, {available_bytes:,} available.",
        allowed="Needed is what is still missing of the data set, and 5 % more.",
        next_step="Remove what is not used, or name a larger disk with --scratch, --to or HPCAI_SCRATCH.",
    )


def allocate(descriptor: int, length: int, folder: Path) -> None:
    """Reserve room for a file's whole content now. Raises StageError when there is none."""
    if length == 0:
        return
    before = os.fstat(descriptor).st_size
    try:
        os.posix_fallocate(descriptor, 0, length)
    except OSError as error:
        if error.errno in NO_ROOM:
            # What was reserved until the disk was full would keep everybody else from writing.
            os.ftruncate(descriptor, before)
            state = os.statvfs(folder)
            raise no_room(folder, length, state.f_bavail * state.f_frsize) from error
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, length)


def link(path: Path, target: Path, *, now: float | None = None) -> None:
    """`path` points to `target`, from one moment to the next; links of jobs long gone are removed.

    Raises StageError, also when something that is no link stands at `path`.
    """
    try:
        _make_link_folder(path.parent)
        if path.exists() and not path.is_symlink():
            raise StageError(
                f"{str(path)!r} is not a link.", allowed="--link takes a new name or a link to replace."
            )
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.symlink_to(target)
        fresh.replace(path)
    except OSError as error:
        raise StageError(f"The link {str(path)!r} cannot be made: {error.strerror}.") from error
    if path.parent.parent.name == "jobs":
        _prune_links(path.parent.parent, keep=path.parent, before=(now or time.time()) - _LINKS_KEPT_S)


def _make_link_folder(folder: Path) -> None:
    jobs = folder.parent
    if jobs.name == "jobs" and jobs.parent.parent.is_dir():
        make_shared_folder(jobs.parent)
        make_shared_folder(jobs)
    folder.mkdir(parents=True, exist_ok=True)


def _prune_links(jobs: Path, *, keep: Path, before: float) -> None:
    for folder in jobs.iterdir():
        # Someone else's folder, or one that holds more than links, stays: these calls then fail.
        with suppress(OSError):
            if folder != keep and folder.stat().st_mtime < before:
                for each in folder.iterdir():
                    if each.is_symlink():
                        each.unlink()
                folder.rmdir()
