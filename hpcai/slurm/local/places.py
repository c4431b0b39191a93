"""Where an embedded cluster keeps what: names, folders, locks; files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import UsageError

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Place:
    """The files of one cluster. Only this class knows their names."""

    cache: Path
    name: str

    @property
    def state(self) -> Path:
        return self.cache / "local" / self.name

    @property
    def lock(self) -> Path:
        return self.cache / "local" / f".{self.name}.lock"

    @property
    def shape(self) -> Path:
        """What was asked for: written by `up`, read by everything else."""
        return self.state / "cluster.json"

    @property
    def daemons(self) -> Path:
        """What runs: written by the supervisor only."""
        return self.state / "daemons.json"

    @property
    def ready(self) -> Path:
        """Exists from when the cluster has come up until it is taken down."""
        return self.state / "ready"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def blob_credentials(self) -> Path:
        return self.state / "secrets" / "blob.json"

    def killed_mark(self, node: str) -> Path:
        """Exists while a node is to stay dead."""
        return self.state / "killed" / node


def place(cache: Path, name: str) -> Place:
    """The place of a cluster. Raises UsageError when the name cannot be one."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a cluster.",
            allowed="A name is 1 to 32 of a-z, 0-9 and '-', and starts with a letter.",
        )
    return Place(cache, name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock while the block runs; waits for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    """`made` becomes `target` in one step; what was there before is removed."""
    if target.is_dir():
        with scratch_folder(target.parent) as old:
            target.rename(old / "old")
            made.rename(target)
    else:
        made.rename(target)


def write_whole(path: Path, text: str, *, mode: int = 0o644) -> None:
    """A file that appears with all its text, or stays as it was."""
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    Path(temporary).replace(path)
