"""One answer of Slurm's for all commands of a user: who asks within seconds reads what the last was told."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from hpcai.files import locked, write_whole
from hpcai.specs.site import cache_dir

# For so long an answer is good enough for the next who asks.
MAX_AGE_S = 5.0
# What tells one Slurm from another.
_OF_SITE = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")


@dataclass(frozen=True)
class Told:
    """What a question was answered, and when it was put, in UTC seconds."""

    asked: float
    text: str


class SharedAnswer:
    """The answer to one question, in a file that only this user reads.

    Where that folder cannot be written, every command asks by itself.
    """

    def __init__(self, environ: Mapping[str, str], question: str) -> None:
        site = [environ.get(name, "") for name in _OF_SITE]
        program = shutil.which(question.split()[0], path=environ.get("PATH")) or ""
        key = hashlib.sha256("\0".join([question, program, *site]).encode()).hexdigest()[:16]
        self._file = cache_dir(environ) / "slurm-answers" / key
        self._changed = self._file.with_suffix(".changed")

    def told(self, ask: Callable[[], str], *, since: float) -> Told:
        """An answer to the question as it was put at `since` or later; it is put by one process at a time.

        Raises what `ask` raises.
        """
        with suppress(OSError):
            since = max(since, self._changed.stat().st_mtime)
        found = self._read(since)
        if found is not None:
            return found
        with ExitStack() as held:
            with suppress(OSError):
                held.enter_context(locked(self._file.with_suffix(".lock")))
            # Whoever held the lock may have been told meanwhile.
            return self._read(since) or self._ask(ask)

    def forget(self) -> None:
        """From now on answers to earlier questions are no good: something was changed."""
        with suppress(OSError):
            self._changed.parent.mkdir(parents=True, exist_ok=True)
            self._changed.touch(mode=0o600)
            now = time.time()
            os.utime(self._changed, (now, now))

    def _ask(self, ask: Callable[[], str]) -> Told:
        told = Told(time.time(), ask())
        with suppress(OSError):
            write_whole(self._file, f"{told.asked!r}\n{told.text}", mode=0o600)
        return told

    def _read(self, since: float) -> Told | None:
        try:
            asked, _, text = self._file.read_text(encoding="utf-8").partition("\n")
            told = Told(float(asked), text)
        except (OSError, ValueError):
            return None
        # A clock that was set back makes an answer of the future.
        return told if since <= told.asked <= time.time() else None
