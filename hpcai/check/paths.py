"""Looking at paths: what is closed to this user is told, and what does not answer keeps nobody waiting."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from hpcai import entry
from hpcai.check.findings import Finding, Severity
from hpcai.errors import HpcaiError, UnreachableError

# A path of a share that is well answers in a millisecond.
ANSWERS_WITHIN_S = 1.0

T = TypeVar("T")


class PathSilent(UnreachableError):
    """A path did not answer."""

    def __init__(self, path: Path, limit_s: float) -> None:
        what = f"{str(path)!r} did not answer within {limit_s:.1f} s; its share may be away."
        super().__init__(what, next_step=f"timeout -s KILL 5 ls -d {shlex.quote(str(path))}  # tells")


def looked_at(path: Path) -> entry.Entry:
    """What lies at a path."""
    return entry.looked_at(path)


def answer_of(call: Callable[[], T], limit_s: float) -> T:
    """What a call answers, however long it computes.

    Raises PathSilent when it waits longer than that for one path; and what it raises of hpcai's own errors.
    """
    words: list[Path] = []
    answers: list[T] = []
    errors: list[HpcaiError] = []

    def run() -> None:
        entry.leave_word(words)
        try:
            answers.append(call())
        except HpcaiError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    before = None
    while thread.is_alive():
        thread.join(limit_s)
        now = words[-1] if words else None
        if thread.is_alive() and now is not None and now is before:
            raise PathSilent(now, limit_s)
        before = now
    if errors:
        raise errors[0]
    if not answers:
        raise RuntimeError("The call broke off, as told above.")
    return answers[0]


def in_time(parts: Mapping[str, Callable[[], Iterable[Finding]]], limit_s: float) -> list[Finding]:
    """The findings of all parts, which look beside each other; of one that waits for a path (a share whose
    server is away answers nobody, for ever), what it had found until then and that it waits."""
    found: dict[str, list[Finding]] = {name: [] for name in parts}
    looks: dict[str, list[Path]] = {name: [] for name in parts}
    ended: set[str] = set()

    def look(name: str) -> None:
        entry.leave_word(looks[name])
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
    return finding_of(PathSilent(looks[-1] if looks else Path("/"), limit_s), name)


def finding_of(error: PathSilent, where: str) -> Finding:
    return Finding("path-silent", "warning", where, f"{error.what} More was not looked at.", error.next_step)


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
