"""Reads the fenced blocks of a Markdown page and compares a console session with what really comes out.

In a `console` block a line `$ COMMAND` is run by bash, and the lines up to the next `$` are what it prints
(stdout and stderr together). `...` in the expected text stands for anything, as in doctest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^```(?P<language>\w+)(?: (?P<info>[^\n]*))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    language: str
    info: str
    text: str
    line: int


@dataclass(frozen=True)
class Step:
    command: str
    expected: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found["language"], found["info"] or "", found["text"], line)


def steps(block: Block) -> list[Step]:
    """The commands of a console block with what each prints; a trailing backslash joins lines.

    A recorded session is one command, which may print `$` lines of its own.
    """
    found: list[Step] = []
    text = block.text.replace("\\\n", "")
    most = 1 if block.info == "recorded" else 0
    for part in re.split(r"^\$ ", text, maxsplit=most, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        found.append(Step(command, expected))
    return found


def matches(expected: str, got: str) -> bool:
    """Whether the output is the expected one; `...` stands for anything, space at line ends for nothing."""
    pattern = ".*".join(re.escape(piece) for piece in _tidy(expected).split("..."))
    return re.fullmatch(pattern, _tidy(got), flags=re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
