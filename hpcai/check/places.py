"""The folders that jobs need: whether they are there, whether the nodes see them too, whether they can be
written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hpcai.check import exports, paths
from hpcai.check.findings import Finding
from hpcai.entry import looking_at
from hpcai.slurm.answers import NodeInfo

_SHARED = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "afs", "9p", "virtiofs", "fuse.sshfs", "fuse.blobfuse2"),
        *("lustre", "beegfs", "gpfs", "panfs", "wekafs", "orangefs"),
        *("ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs"),
    )
)
BLOB = ("fuse.blobfuse", "fuse.blobfuse2", "blobfuse", "blobfuse2")
FILES = ("cifs", "smb3")
# Where nodes of Azure have their own disks, and what every machine has for itself.
_OF_EACH_MACHINE = (
    *("/mnt/nvme", "/nvme", "/mnt/resource", "/mnt", "/tmp", "/var", "/dev", "/run", "/proc", "/sys"),
    *("/opt", "/usr", "/etc"),
)

RUNS = "runs folder"
# What a small job's record takes, without its output.
_RECORD_BYTES = 256 * 1024


@dataclass(frozen=True)
class Sight:
    """What this machine and the settings tell of who sees which folder."""

    nodes: Sequence[NodeInfo] = ()
    shared_folders: Sequence[str] = ()

    def away(self) -> list[NodeInfo]:
        """The nodes that are other machines than this one."""
        here = ("localhost", socket.gethostname())
        return [node for node in self.nodes if node.hostname and node.hostname not in here]

    def is_shared(self, path: Path) -> bool:
        """Whether the settings say that every node has what lies here."""
        real = Path(os.path.realpath(path))
        return any(
            real.is_relative_to(os.path.realpath(folder)) or path.is_relative_to(folder)
            for folder in self.shared_folders
        )

    def only_here(self, path: Path) -> str | None:
        """Why the nodes may not see a path; None when they surely or probably do."""
        with looking_at(path):
            return self._only_here(path)

    def _only_here(self, path: Path) -> str | None:
        if self.is_shared(path) or not self.away():
            return None
        kind = filesystem(path)
        if kind is None or kind in _SHARED or is_exported(path):
            return None
        node = min(node.hostname or node.name for node in self.away())
        # What kind it is was seen; that the nodes have no such folder of their own is a judgement.
        return f"{str(path)!r} lies on a disk of this machine ({kind}); {node} may not see it."

    def show(self, path: Path) -> str:
        """The command that tells."""
        away = self.away()
        name = min(away, key=lambda node: node.hostname or "").name if away else "NODE"
        return f"srun -w {name} ls {shlex.quote(str(path))}  # tells"

    def absent_for_sure(self, path: Path) -> bool:
        """Whether what is not here is not on the nodes either."""
        if self.is_shared(path) or (self.nodes and not self.away()):
            return True
        if any(path.is_relative_to(folder) for folder in _OF_EACH_MACHINE):
            return False
        # A home that is a disk of this machine alone tells nothing of the nodes'.
        is_home = path.is_relative_to(Path.home()) and not self.away()
        nearest = existing(path)
        return is_home or filesystem(nearest) in _SHARED or is_exported(nearest)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if paths.looked_at(folder).is_there)


def refuses_writing(root: Path) -> Finding | None:
    """An error when the runs folder can neither be written nor made, or has no room for a record."""
    folder = existing(root)
    if not paths.looked_at(folder).is_folder or not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        why = f"{str(folder)!r} is not a folder that you may write to"
    elif _free_bytes(folder) < _RECORD_BYTES:
        why = "its disk is full"
    else:
        return None
    what = f"{str(root)!r} cannot be written: {why}."
    fix = "export HPCAI_RUNS_ROOT=FOLDER names another place; all nodes must see it."
    return Finding("runs-not-writable", "error", RUNS, what, fix)


def _free_bytes(folder: Path) -> int:
    with looking_at(folder):
        told = os.statvfs(folder)
    # Some file systems count no files.
    return 0 if told.f_files and not told.f_favail else told.f_bavail * told.f_frsize


def scratch(place: str | None, nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    """What can be known from here of the nodes' own scratch, which only nodes on this machine show."""
    where = "scratch"
    if place is None:
        what = "HPCAI_SCRATCH is not set: each node takes the first of /mnt/nvme, /nvme, /mnt/resource, /mnt."
        yield Finding(
            "scratch-unseen", "note", where, what, "srun ls -ld /mnt/nvme /nvme /mnt/resource /mnt  # tells"
        )
        return
    here = [node.name for node in nodes if node.hostname in ("localhost", socket.gethostname())]
    elsewhere = [node.name for node in nodes if node.name not in here]
    folders = dict.fromkeys(place.replace("%n", name) for name in here)
    bad = [folder for folder in folders if not os.access(folder, os.W_OK | os.X_OK)]
    for folder in bad:
        yield Finding(
            "scratch-not-writable",
            "error",
            where,
            f"{folder!r} is not a folder that you may write to (HPCAI_SCRATCH).",
            f"mkdir -p {shlex.quote(folder)}",
        )
    if folders and not bad:
        free = min(shutil.disk_usage(folder).free for folder in folders)
        what = f"{place} can be written on {_names(here)}; {free / 1e9:.1f} GB are free."
        yield Finding("scratch", "ok", where, what)
    if elsewhere or not nodes:
        name = elsewhere[0] if elsewhere else "NODE"
        what = f"{place} (HPCAI_SCRATCH) was not looked at: it is on the nodes' own disks."
        show = f"srun -w {name} df -h {shlex.quote(place.replace('%n', name))}  # tells"
        yield Finding("scratch-unseen", "note", where, what, show)


def _names(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more nodes" if len(names) > most else "")


def mounts() -> list[tuple[str, str, str]]:
    """Source, target and kind of every mounted file system; none where /proc does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        source, target, kind, *_ = line.split(" ")
        # A space in a mount point is written as \040.
        target = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), target)
        found.append((source, target, kind))
    return found


def shared_mounts() -> dict[str, str]:
    """Where this machine has mounted, or exports, what other machines can mount too -> what it is."""
    own = {folder: f"{socket.gethostname()}:{folder}" for folder in exports.exports()}
    found = {target: source for source, target, kind in mounts() if kind in _SHARED and kind not in BLOB}
    return own | found


def is_exported(path: Path) -> bool:
    """Whether other machines can mount what lies here, from this one."""
    real = os.path.realpath(path)
    return any(
        # Of a mount below an export, others see an empty folder.
        Path(real).is_relative_to(folder) and _mount_of(real).target in (_mount_of(folder).target, folder)
        for folder in map(os.path.realpath, exports.exports())
    )


def filesystem(path: Path) -> str | None:
    """The kind of file system that holds a path, such as `nfs4`; None where /proc does not tell."""
    return _mounted(path).kind


def azure_storage(path: Path) -> tuple[str, str] | None:
    """`blob` or `files`, and how it is mounted, where a path lies in Azure's storage or on an SMB share."""
    source, _, kind = _mounted(path)
    # Both can be mounted by NFS too; then only the server's name tells.
    server = re.search(r"\.(blob|file)\.(core|storage)\.", source.partition(":")[0])
    if kind in BLOB or (server and server[1] == "blob"):
        return "blob", str(kind)
    return ("files", str(kind)) if kind in FILES or server else None


class _Mount(NamedTuple):
    source: str = ""
    target: str = "/"
    kind: str | None = None


def _mounted(path: Path) -> _Mount:
    with looking_at(path):
        return _mount_of(os.path.realpath(path))


def _mount_of(real: str) -> _Mount:
    """What is mounted where a path without links lies; of nothing, where /proc does not tell."""
    found, longest = _Mount(), 0
    for source, target, kind in mounts():
        holds = real == target or real.startswith(target.rstrip("/") + "/")
        if holds and len(target) >= longest:
            longest, found = len(target), _Mount(source, target, kind)
    return found
