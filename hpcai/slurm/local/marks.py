"""Which processes belong to an embedded cluster, by the marks that their environment carries."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hpcai import processes
from hpcai.processes import Process, Seen

# Every daemon carries these. A slurmstepd does not: it keeps its slurmd's working folder, and SLURM_CONF in
# older versions; newer ones show nothing of their environment.
STATE_MARK = "HPCAI_LOCAL_STATE"
NODE_MARK = "HPCAI_LOCAL_NODE"


@dataclass(frozen=True)
class _Home:
    """Where in a cluster a process runs; the controller's side is no node."""

    node: str | None


def spool(state: Path) -> Path:
    """Holds a folder for each node: its slurmd's and slurmstepd's working folder."""
    return state / "spool"


def marked_states() -> set[Path]:
    """The state folders of all clusters that have a process, also of those whose folder was deleted."""
    return {Path(seen.environ[STATE_MARK]) for seen in processes.everything() if STATE_MARK in seen.environ}


def of_cluster(
    state: Path, confs: Collection[str], *, node: str | None = None, also: Collection[Process] = ()
) -> list[Process]:
    """The daemons, steps and job processes of a cluster, or of one of its nodes, and all their descendants.

    `confs` are the paths by which its slurm.conf is known; `also` are processes known to belong to it.
    A shell that only has the cluster's settings in its environment does not.
    """
    everything = processes.everything()
    homes = {seen.process: _home(seen, state, confs) for seen in everything}
    chosen = {
        one.pid
        for one, home in homes.items()
        if one in also or (home is not None and (node is None or home.node == node))
    }
    grown = True
    while grown:
        children = {seen.process.pid for seen in everything if seen.parent in chosen}
        grown = not children <= chosen
        chosen |= children
    return [one for one in homes if one.pid in chosen and one.pid != os.getpid()]


def _home(seen: Seen, state: Path, confs: Collection[str]) -> _Home | None:
    """None for a process that does not belong to the cluster."""
    if seen.environ.get(STATE_MARK) == str(state):
        return _Home(seen.environ.get(NODE_MARK))
    knows_cluster = seen.environ.get("SLURM_CONF") in confs
    if not knows_cluster and not _is_slurmstepd(seen.process.pid):
        return None
    folder = _link(seen.process.pid, "cwd")
    if folder is not None and folder.parent == spool(state).resolve():
        return _Home(folder.name)
    if not knows_cluster:
        return None
    # A task has it, a shell that was only given the cluster's environment has not.
    node = seen.environ.get("SLURMD_NODENAME")
    return None if node is None else _Home(node)


def _is_slurmstepd(pid: int) -> bool:
    program = _link(pid, "exe")
    return program is not None and program.name == "slurmstepd"


def _link(pid: int, name: str) -> Path | None:
    try:
        return Path(f"/proc/{pid}/{name}").readlink()
    except OSError:
        return None
