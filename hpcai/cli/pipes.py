"""Growing files, copied to stdout and stderr: as they are, as a terminal may show them, or some lines."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TextIO

from hpcai.cli.output import put_bytes, say
from hpcai.cli.terminal import Screen, decoded, last_form, visible
from hpcai.errors import ToolError
from hpcai.runs.growing import LONGEST_LINE, Growing

# Of so many files each is looked at whenever there is time; of more, at most so often.
_FEW = 8
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Chosen:
    """Which lines are printed."""

    grep: re.Pattern[str] | None = None
    tail: int | None = None
    """So many of the last, of those that match."""

    def of(self, data: bytes) -> list[str]:
        """Those of these lines, which end with a newline; the last need not. A line that was written over,
        as a progress bar is, counts by its last form that matches."""
        if not data or (self._literal is not None and self._literal not in data):
            return []
        text = decoded(data).removesuffix("\n")
        lines = text.split("\n")
        if self.grep is None:
            return lines
        # Most lines of a large log do not match: what is done for each is little.
        if "\r" not in text:
            return list(filter(self.grep.search, lines))
        return [form for form in map(self._form, lines) if form is not None]

    @cached_property
    def _literal(self) -> bytes | None:
        """What stands in every line that matches; None where that is not plain to see."""
        if (
            self.grep is None
            or self.grep.flags != re.UNICODE
            or re.search(r"[\\^$.|?*+()[\]{}]", self.grep.pattern)
        ):
            return None
        return _encoded(self.grep.pattern)

    def _form(self, line: str) -> str | None:
        assert self.grep is not None
        forms = line.rstrip("\r").split("\r")
        return next((form for form in reversed(forms) if self.grep.search(form)), None)


class _Form(Protocol):
    """In what form bytes are printed."""

    def feed(self, data: bytes) -> bytes:
        """What is printed of these."""

    def finish(self) -> bytes:
        """What is printed of what was held back."""


class _AsIs:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _OnTerminal:
    def __init__(self, color: bool) -> None:
        self._screen = Screen(color=color)

    def feed(self, data: bytes) -> bytes:
        return _encoded(self._screen.feed(data))

    def finish(self) -> bytes:
        return _encoded(self._screen.finish())


class _Lines:
    """Whole lines: some of them, or each with its rank before it."""

    def __init__(self, chosen: Chosen, label: str, show: Callable[[str], str]) -> None:
        self._chosen = chosen
        self._label = label
        self._show = show
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > LONGEST_LINE:
            end = len(data)
        self._held = data[end:]
        return self._printed(data[:end])

    def finish(self) -> bytes:
        rest, self._held = self._held, b""
        return self._printed(rest)

    def _printed(self, data: bytes) -> bytes:
        return _encoded("".join(f"{self._label}{self._show(line)}\n" for line in self._chosen.of(data)))


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


class Pipe:
    """Copies a growing file to a stream, each byte once, or those of its lines that are chosen.

    On a terminal control characters are made visible; to a file or a pipe all bytes go as they are.
    """

    def __init__(
        self, path: Path, stream: TextIO | None, chosen: Chosen | None = None, label: str = ""
    ) -> None:
        """`label` stands before each line."""
        self._chosen = chosen or Chosen()
        self._file = Growing(path, self._tell)
        self._stream = stream
        self._form = _form(self._chosen, label, stream)
        self._tail = self._chosen.tail
        self._due = 0.0
        self.has_printed = False
        """Whether anything was printed."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found in the file."""
        return not self._file.offset

    def copy(self) -> None:
        """Everything new. Raises ToolError when this user may not read the file."""
        try:
            if self._tail is not None:
                tail, self._tail = self._tail, None
                lines = self._file.last_lines(tail, lambda line: bool(self._chosen.of(line)))
                self._put(self._form.feed(b"".join(lines)))
            for data in self._file.news():
                self._put(self._form.feed(data))
        except PermissionError as error:
            raise _refused(self._file.path) from error

    def copy_if_due(self, pause_s: float) -> None:
        """The same, unless that was done less than so long ago."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + pause_s
            self.copy()

    def finish(self) -> None:
        """What was held back: a last line that has no newline."""
        self._put(self._form.finish())

    def _put(self, data: bytes) -> None:
        if data:
            put_bytes(self._stream, data)
            self.has_printed = True

    def _tell(self, words: str) -> None:
        self.finish()
        say(words)


def _form(chosen: Chosen, label: str, stream: TextIO | None) -> _Form:
    is_terminal = stream is not None and stream.isatty()
    color = not os.environ.get("NO_COLOR")
    if chosen.grep is not None or label:
        show = (lambda line: visible(last_form(line), color=color)) if is_terminal else (lambda line: line)
        return _Lines(chosen, label, show)
    return _OnTerminal(color) if is_terminal else _AsIs()


def _refused(path: Path) -> ToolError:
    try:
        owner = f"it belongs to {path.owner()!r}"
    except (OSError, KeyError):
        owner = "its folder belongs to somebody else"
    return ToolError(
        f"{str(path)!r} may not be read by you: {owner}.", allowed="Its owner or an administrator may."
    )


def copy_all(pipes: Sequence[Pipe]) -> None:
    """Everything new of many files, each looked at often enough for a line to be seen within 1 s."""
    pause_s = 0.0 if len(pipes) <= _FEW else _PAUSE_S
    for pipe in pipes:
        pipe.copy_if_due(pause_s)


def finish_all(pipes: Sequence[Pipe]) -> None:
    """The rest of what their files hold, their last lines too."""
    for pipe in pipes:
        pipe.copy()
        pipe.finish()
