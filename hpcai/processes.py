"""Processes that somebody else started: found, and ended without mistaking one for another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcai.errors import ToolError

DEATH_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Process:
    """A process and when it began: together they are never reused."""

    pid: int
    started: int


@dataclass(frozen=True)
class Seen:
    """A process as it stood at one moment; the environment of another user's is empty."""

    process: Process
    parent: int
    environ: Mapping[str, str]


def find(pid: int) -> Process | None:
    """The living process with this number; None for a zombie, which only waits to be reaped."""
    stat = _stat(pid)
    return Process(pid, stat[1]) if stat else None


def is_alive(process: Process) -> bool:
    return find(process.pid) == process


def everything() -> list[Seen]:
    """Every process that has not ended."""
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    stats = ((pid, _stat(pid)) for pid in pids)
    return [Seen(Process(pid, stat[1]), stat[0], _environ(pid)) for pid, stat in stats if stat is not None]


def ancestors() -> set[Process]:
    """This process, and all that started it: the shell in which it was typed, that shell's terminal, ..."""
    found, pid = set(), os.getpid()
    while (stat := _stat(pid)) is not None:
        found.add(Process(pid, stat[1]))
        pid = stat[0]
    return found


def with_variable(name: str, value: str) -> list[Process]:
    """Every living process but this one that was started with NAME=VALUE in its environment."""
    return [
        seen.process
        for seen in everything()
        if seen.environ.get(name) == value and seen.process.pid != os.getpid()
    ]


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


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time in ticks since boot."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The program's name is in parentheses and may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


def _environ(pid: int) -> dict[str, str]:
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
