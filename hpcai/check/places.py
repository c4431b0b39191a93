"""The folders that jobs need: whether the nodes see them too, and whether they can be written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcai.check.findings import Finding
from hpcai.slurm.answers import NodeInfo

_SHARED = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "afs", "9p", "virtiofs", "fuse.sshfs", "fuse.blobfuse2"),
        *("lustre", "beegfs", "gpfs", "panfs", "wekafs", "orangefs"),
        *("ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs"),
    )
)


RUNS = "runs folder"


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def refuses_writing(root: Path) -> Finding | None:
    """An error when the runs folder can neither be written nor made."""
    folder = existing(root)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return Finding(
        "error",
        RUNS,
        f"{str(root)!r} cannot be written: {str(folder)!r} is not a folder that you may write to.",
        "export HPCAI_RUNS_ROOT=FOLDER names another place; all nodes must see it.",
    )


def scratch(place: str | None, nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    """What can be known from here of the nodes' own scratch, which only nodes on this machine show."""
    where = "scratch"
    if place is None:
        what = "HPCAI_SCRATCH is not set: each node takes the first of /mnt/nvme, /nvme, /mnt/resource, /mnt."
        yield Finding("note", where, what, "srun ls -ld /mnt/nvme /nvme /mnt/resource /mnt  # tells")
        return
    here = [node.name for node in nodes if node.hostname in ("localhost", socket.gethostname())]
    elsewhere = [node.name for node in nodes if node.name not in here]
    folders = dict.fromkeys(place.replace("%n", name) for name in here)
    bad = [folder for folder in folders if not os.access(folder, os.W_OK | os.X_OK)]
    for folder in bad:
        yield Finding(
            "error",
            where,
            f"{folder!r} is not a folder that you may write to (HPCAI_SCRATCH).",
            f"mkdir -p {shlex.quote(folder)}",
        )
    if folders and not bad:
        free = min(shutil.disk_usage(folder).free for folder in folders)
        yield Finding("ok", where, f"{place} can be written on {_names(here)}; {free / 1e9:.1f} GB are free.")
    if elsewhere or not nodes:
        name = elsewhere[0] if elsewhere else "NODE"
        what = f"{place} (HPCAI_SCRATCH) was not looked at: it is on the nodes' own disks."
        show = f"srun -w {name} df -h {shlex.quote(place.replace('%n', name))}  # tells"
        yield Finding("note", where, what, show)


def _names(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more nodes" if len(names) > most else "")


def seen_by_nodes(what: str, path: Path, nodes: Sequence[NodeInfo]) -> Finding | None:
    """A warning when `path` lies on a disk of this machine alone and the nodes are other machines."""
    elsewhere = sorted(
        {node.hostname for node in nodes if node.hostname} - {"localhost", socket.gethostname()}
    )
    kind = filesystem(path)
    if not elsewhere or kind is None or kind in _SHARED:
        return None
    name = next(node.name for node in nodes if node.hostname == elsewhere[0])
    return Finding(
        "warning",
        what,
        f"{str(path)!r} lies on a disk of this machine ({kind}); {elsewhere[0]} may not see it.",
        f"srun -w {name} ls {shlex.quote(str(path))}  # tells",
    )


def filesystem(path: Path) -> str | None:
    """The kind of file system that holds a path, such as `nfs4`; None where /proc does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    longest, found = 0, None
    for line in lines:
        _, target, kind, *_ = line.split(" ")
        # A space in a mount point is written as \040.
        target = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), target)
        holds = real == target or real.startswith(target.rstrip("/") + "/")
        if holds and len(target) >= longest:
            longest, found = len(target), kind
    return found
