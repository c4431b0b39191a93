"""Looking at paths: what is closed to this user is told, and what does not answer keeps nobody waiting."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path

from hpcai import entry
from hpcai.check.findings import Finding, Severity

# A path of a share that is well answers in a millisecond.
ANSWERS_WITHIN_S = 1.0

# Where a thread that looks for others leaves what it looks at.
_looks: ContextVar[list[Path] | None] = ContextVar("_looks", default=None)


def looked_at(path: Path) -> entry.Entry:
    """What lies at a path; whoever waits for this thread is told which path it waits for."""
    going_to(path)
    return entry.looked_at(path)


def going_to(path: Path) -> None:
    """Leaves word of the path that is looked at next."""
    looks = _looks.get()
    if looks is not None:
        looks.append(path)


def in_time(parts: Mapping[str, Callable[[], Iterable[Finding]]], limit_s: float) -> list[Finding]:
    """The findings of all parts, which look beside each other; of one that waits for a path (a share whose
    server is away answers nobody, for ever), what it had found until then and that it waits."""
    found: dict[str, list[Finding]] = {name: [] for name in parts}
    looks: dict[str, list[Path]] = {name: [] for name in parts}
    ended: set[str] = set()

    def look(name: str) -> None:
        _looks.set(looks[name])
        for one in parts[name]():
            found[name].append(one)
        ended.add(name)

    # A thread that still waits must not keep this process from ending.
    threads = {name: threading.Thread(target=look, args=[name], daemon=True) for name in parts}
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + limit_s
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    every: list[Finding] = []
    for name, thread in threads.items():
        every += list(found[name])
        if name not in ended:
            if not thread.is_alive():
                raise RuntimeError(f"The look at {name} broke off, as told above.")
            every.append(_silent(name, looks[name], limit_s))
    return every


def _silent(name: str, looks: list[Path], limit_s: float) -> Finding:
    path = str(looks[-1]) if looks else "/"
    what = f"{path!r} did not answer within {limit_s:.1f} s; its share may be away. More was not looked at."
    return Finding(
        "path-silent", "warning", name, what, f"timeout -s KILL 5 ls -d {shlex.quote(path)}  # tells"
    )


def closed(path: Path, why: str, where: str, *, is_sure: bool) -> Finding:
    """For what may be there, and this user cannot tell; `is_sure` says that nodes see no more of it."""
    folder = next((one for one in path.parents if entry.looked_at(one).is_there), Path("/"))
    if why == "Permission denied":
        what = f"You may not look into {str(folder)!r}: whether there is {str(path)!r} is not known."
    else:
        what = f"{str(path)!r} cannot be looked at: {why}."
    severity: Severity = "error" if is_sure else "warning"
    return Finding(
        "path-closed", severity, where, what, f"namei -l {shlex.quote(str(path))}  # shows whose it is"
    )
