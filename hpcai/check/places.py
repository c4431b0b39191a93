"""Whether a folder of this machine is one that the cluster's nodes see too."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
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


def seen_by_nodes(what: str, path: Path, nodes: Sequence[NodeInfo]) -> Finding | None:
    """A warning when `path` lies on a disk of this machine alone and the nodes are other machines."""
    elsewhere = sorted(
        {node.hostname for node in nodes if node.hostname} - {"localhost", socket.gethostname()}
    )
    kind = filesystem(path)
    if not elsewhere or kind is None or kind in _SHARED:
        return None
    return Finding(
        "warning",
        what,
        f"{str(path)!r} lies on a disk of this machine ({kind}); {elsewhere[0]} may not see it.",
        f"srun -w {next(node.name for node in nodes if node.hostname == elsewhere[0])} ls {path}  # tells",
    )


def filesystem(path: Path) -> str | None:
    """The kind of file system that holds a path, such as `nfs4`; None where /proc does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    longest, found = 0, None
    for line in lines:
        _, target, kind, *_ = line.split(" ")
        # A space in a mount point is written as \040.
        target = target.encode().decode("unicode_escape")
        holds = real == target or real.startswith(target.rstrip("/") + "/")
        if holds and len(target) >= longest:
            longest, found = len(target), kind
    return found
