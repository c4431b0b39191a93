"""Files and folders that appear whole or not at all, or cannot be read; locks between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpcai.errors import StageError

# The disk is full, or its owner's share of it.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, text: str, *, mode: int | None = None) -> None:
    """A file that appears with all its text, or stays as it was; without `mode` the umask says who may read.

    Raises OSError, and leaves nothing beside the file then.
    """
    # Beside its target, because only a rename within one folder is atomic, on NFS too.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # Not tempfile: its 0600 would take a team's permissions away.
    asked = 0o666 if mode is None else mode
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, asked)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder beside what is to be published; gone after the block."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(made: Path, target: Path) -> None:
    """`made` becomes `target`; what was there before is removed.

    A folder is replaced by two renames: a reader may find none between them, and a failure there leaves none.
    """
    if target.is_dir():
        with scratch_folder(target.parent) as old:
            target.rename(old / "old")
            made.rename(target)
    else:
        made.rename(target)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, what the system refuses is a StageError: that file, or `path`, cannot be read."""
    try:
        yield
    except OSError as error:
        raise StageError(f"{str(error.filename or path)!r} cannot be read: {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """The folder's names are on the disk, so that a rename outlasts a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, waiting: Callable[[], object] = lambda: None, mode: int = 0o600) -> Iterator[None]:
    """Holds `path` against other processes of this machine; the kernel lets go when the holder dies.

    `waiting` is called once when another holds it, and may raise instead of waiting. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, waiting, mode)
    try:
        yield
    finally:
        # Another user's file in a folder like /tmp cannot be removed, and need not be.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _lock(path: Path, waiting: Callable[[], object], mode: int) -> int:
    how = fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        descriptor = _open_lock(path, mode)
        is_ours = False
        try:
            fcntl.flock(descriptor, how)
            # The holder before us removes the file: a lock on what has no name excludes nobody.
            is_ours = _is_still(path, descriptor)
        except BlockingIOError:
            waiting()
            how = fcntl.LOCK_EX
        finally:
            if not is_ours:
                os.close(descriptor)
        if is_ours:
            return descriptor


def _open_lock(path: Path, mode: int) -> int:
    # Without O_CREAT first: Linux refuses O_CREAT on another user's file in a folder like /tmp.
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    with suppress(PermissionError):
        os.fchmod(descriptor, mode)
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
