"""What a set-up tells a person: a line per step with its seconds; what programs print goes to a log."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from hpcai import shell
from hpcai.errors import HpcaiError, StageError, ToolError, UnreachableError

# How pip, apt and npm say that nothing answered. pip goes on from there to a conflict of versions.
NO_ANSWER = re.compile(
    r"Could not fetch URL|NewConnectionError|NameResolutionError|Temporary failure|[Cc]ould not resolve|"
    r"Failed to establish|Max retries|ConnectTimeout|ReadTimeout|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED"
)
DISK_FULL = re.compile(r"No space left|ENOSPC|Disk quota exceeded")
# Of what a failed program printed: lines that name a cause, then the last lines.
CAUSE = re.compile(rf"\berror: |\*\*\* |\bfatal |^E: |Killed|{DISK_FULL.pattern}|{NO_ANSWER.pattern}")
CAUSE_LINES = 6
MORE_ROOM = "Free some there, or set XDG_CACHE_HOME to a folder on a larger disk, then try again."
TAIL_LINES = 6
LINE_CHARACTERS = 400


@dataclass(frozen=True)
class Steps:
    """Runs a set-up's steps; `words` is where a person reads, `log` keeps everything."""

    log: Path
    words: TextIO

    def say(self, line: str) -> None:
        """A line for the person, kept in the log too."""
        print(line, file=self.words, flush=True)
        self._note(line)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Times what the block does; the title stands on the terminal while it runs."""
        self._note(f"== {title}")
        self._begin(title)
        began = time.monotonic()
        try:
            yield
        except BaseException:
            print(f"failed after {time.monotonic() - began:.0f} s", file=self.words, flush=True)
            raise
        print(f"{time.monotonic() - began:5.1f} s", file=self.words, flush=True)

    def say_within(self, title: str, text: str) -> None:
        """Lines for the person in the middle of a step, whose title then stands anew."""
        print(file=self.words)
        self.say(text)
        self._begin(title)

    def _begin(self, title: str) -> None:
        print(f"  {title:<54}", end=" ", file=self.words, flush=True)

    def run(
        self, argv: Sequence[str | Path], *, next_step: str, env: Mapping[str, str] | None = None
    ) -> None:
        """A program run to its end, below the last lines it printed when it fails.

        Raises UnreachableError where nothing answered it, StageError where a disk was full, else ToolError;
        `next_step` is for what is not the disk's fault.
        """
        words = [os.fspath(word) for word in argv]
        self._note(f"$ {shlex.join(words)}")
        process = shell.start(words, env=env, stdout=shell.PIPE, stderr=shell.TO_STDOUT)
        try:
            printed = self._keep(process.stdout)
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if status != 0:
            unanswered = [line for line in printed if NO_ANSWER.search(line)]
            # What follows from it, such as pip's advice on versions, would mislead.
            self._show(unanswered[:1] or printed)
            raise self._failure(f"{Path(words[0]).name} ended with status {status}", printed, next_step)

    def _keep(self, stream: IO[bytes] | None) -> list[str]:
        """What a program printed: kept in the log, and here for the case that the log's disk is full."""
        assert stream is not None
        causes: list[str] = []
        last: deque[str] = deque(maxlen=TAIL_LINES)
        with stream, self.log.open("ab", buffering=0) as log:
            for raw in stream:
                with suppress(OSError):
                    log.write(raw)
                if len(last) == TAIL_LINES and len(causes) < CAUSE_LINES and CAUSE.search(last[0]):
                    causes.append(last[0])
                last.append(raw.decode(errors="replace").rstrip())
        return [*causes, *last]

    def _failure(self, what: str, printed: Sequence[str], next_step: str) -> HpcaiError:
        what = f"{what}; {str(self.log)!r} holds all that it printed"
        if any(DISK_FULL.search(line) for line in printed):
            return StageError(f"No space is left on a disk: {what}.", next_step=MORE_ROOM)
        if any(NO_ANSWER.search(line) for line in printed):
            return UnreachableError(f"Nothing answered: {what}.", next_step=next_step)
        return ToolError(f"{what}.", next_step=next_step)

    def _show(self, printed: Sequence[str]) -> None:
        print(file=self.words)
        for line in printed:
            print(f"    | {line[:LINE_CHARACTERS]}", file=self.words)

    def _note(self, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
