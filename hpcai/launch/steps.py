"""What a set-up tells a person: a line per step with its seconds; what programs print goes to a log."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hpcai import shell
from hpcai.errors import ToolError

# Of what a failed program printed: lines that name a cause, then the last lines.
CAUSE = re.compile(r"\berror: |\*\*\* |\bfatal |^E: |Killed|No space left")
CAUSE_LINES = 6
TAIL_LINES = 6
LINE_CHARACTERS = 200


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
        print(f"  {title:<54}", end=" ", file=self.words, flush=True)
        began = time.monotonic()
        try:
            yield
        except BaseException:
            print(f"failed after {time.monotonic() - began:.0f} s", file=self.words, flush=True)
            raise
        print(f"{time.monotonic() - began:5.1f} s", file=self.words, flush=True)

    def run(
        self, argv: Sequence[str | Path], *, next_step: str, env: Mapping[str, str] | None = None
    ) -> None:
        """A program run to its end. Raises ToolError with `next_step`, below the last lines it printed."""
        words = [os.fspath(word) for word in argv]
        self._note(f"$ {shlex.join(words)}")
        with self.log.open("ab") as log:
            begins_at = log.tell()
            process = shell.start(words, env=env, stdout=log, stderr=log)
            try:
                status = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if status != 0:
            self._show_tail(begins_at)
            raise ToolError(
                f"{Path(words[0]).name} ended with status {status}; all it printed: {self.log}",
                next_step=next_step,
            )

    def _show_tail(self, begins_at: int) -> None:
        with self.log.open("rb") as log:
            log.seek(begins_at)
            lines = log.read().decode(errors="replace").splitlines()
        causes = [line for line in lines[:-TAIL_LINES] if CAUSE.search(line)]
        print(file=self.words)
        for line in [*causes[:CAUSE_LINES], *lines[-TAIL_LINES:]]:
            print(f"    | {line[:LINE_CHARACTERS]}", file=self.words)

    def _note(self, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
