"""Processes of an embedded cluster: found by marks in their environment, ended without mistaking one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import ToolError

# Every daemon carries these. A slurmstepd does not: it keeps SLURM_CONF and its slurmd's working folder.
STATE_MARK = "HPCAI_LOCAL_STATE"
NODE_MARK = "HPCAI_LOCAL_NODE"
DEATH_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Process:
    """A process and when it began: together they are never reused."""

    pid: int
    started: int


@dataclass(frozen=True)
class _Seen:
    process: Process
    parent: int
    environ: Mapping[str, str]

    def node_of(self, state: Path, confs: Collection[str]) -> str | None:
        """The node of this cluster that the process belongs to, "" for the controller's side, else None."""
        if self.environ.get(STATE_MARK) == str(state):
            return self.environ.get(NODE_MARK, "")
        if self.environ.get("SLURM_CONF") not in confs:
            return None
        folder = _working_folder(self.process.pid)
        if folder is not None and folder.parent == spool(state).resolve():
            return folder.name
        # A task has it, a shell that was only given the cluster's environment has not.
        return self.environ.get("SLURMD_NODENAME")


def spool(state: Path) -> Path:
    """Holds a folder for each node: its slurmd's and slurmstepd's working folder."""
    return state / "spool"


def marked_states() -> set[Path]:
    """The state folders of all clusters that have a process, also of those whose folder was deleted."""
    return {Path(seen.environ[STATE_MARK]) for seen in _all() if STATE_MARK in seen.environ}


def find(pid: int) -> Process | None:
    """The living process with this number; None for a zombie, which only waits to be reaped."""
    seen = _stat(pid)
    return Process(pid, seen[1]) if seen else None


def is_alive(process: Process) -> bool:
    return find(process.pid) == process


def of_cluster(
    state: Path, confs: Collection[str], *, node: str | None = None, also: Collection[Process] = ()
) -> list[Process]:
    """The daemons, steps and job processes of a cluster, or of one of its nodes, and all their descendants.

    `confs` are the paths by which its slurm.conf is known; `also` are processes known to belong to it.
    A shell that only has the cluster's settings in its environment does not.
    """
    everything = _all()
    homes = {seen.process: seen.node_of(state, confs) for seen in everything}
    chosen = {
        one.pid for one, home in homes.items() if one in also or (home is not None and node in (None, home))
    }
    grown = True
    while grown:
        children = {seen.process.pid for seen in everything if seen.parent in chosen}
        grown = not children <= chosen
        chosen |= children
    return [one for one in homes if one.pid in chosen and one.pid != os.getpid()]


def send(process: Process, number: signal.Signals) -> None:
    """A signal to exactly this process; nothing happens when it has gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(process):
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def end(look: Callable[[Collection[Process]], Iterable[Process]], *, grace_s: float) -> None:
    """Ends what `look` finds: asked first, killed after the grace, until it finds nothing.

    `look` is told what it found before: a process whose parent has ended may show no other sign.
    Raises ToolError when something does not even end when killed.
    """
    deadline = time.monotonic() + grace_s
    known: set[Process] = set()
    while found := set(look(known)):
        if time.monotonic() >= deadline + DEATH_TIMEOUT_S:
            stuck = ",".join(str(process.pid) for process in found)
            raise ToolError(
                f"These processes do not end even when killed: {stuck}.", next_step=f"ps -lp {stuck}"
            )
        late = time.monotonic() >= deadline
        for process in found if late else found - known:
            send(process, signal.SIGKILL if late else signal.SIGTERM)
        known |= found
        time.sleep(0.01)


def _all() -> list[_Seen]:
    """Every process of this user that has not ended."""
    seen = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        stat = _stat(pid)
        if stat is not None:
            seen.append(_Seen(Process(pid, stat[1]), stat[0], _environ(pid)))
    return seen


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time in ticks since boot."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The program's name is in parentheses and may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


def _working_folder(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _environ(pid: int) -> dict[str, str]:
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
