"""Reads the fenced blocks of a Markdown page and compares a console session with what really comes out.

In a `console` block a line `$ COMMAND` is run by bash, and the lines up to the next `$` are what it prints
(stdout and stderr together). A line `...` stands for any lines, also none; within a line it stands for
anything in that line. Numbers and durations stand for any others: a page can show what really came out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^```(?P<language>\w+)(?: (?P<info>[^\n]*))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)

VARIES = re.compile(r"(?P<duration>[\d.]+ (?:h|min|s)\b(?: \d+ (?:min|s)\b)?)|(?P<number>\d[\d.,:]*)")
ANY = {"duration": r"[\d.]+ (?:h|min|s)\b(?: \d+ (?:min|s)\b)?", "number": r"\d[\d.,:]*"}


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
    """Whether the output is the expected one, but for `...`, numbers, and the width of space."""
    pattern = "".join(map(_line_pattern, _tidy(expected)))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _tidy(got))) is not None


def _line_pattern(line: str) -> str:
    if line == "...":
        return r"(?:[^\n]*\n)*?"
    return r"[^\n]*".join(map(_words_pattern, line.split("..."))) + r"\n"


def _words_pattern(words: str) -> str:
    parts, at = [], 0
    for found in VARIES.finditer(words):
        parts += [_plain_pattern(words[at : found.start()]), ANY[str(found.lastgroup)]]
        at = found.end()
    return "".join([*parts, _plain_pattern(words[at:])])


def _plain_pattern(words: str) -> str:
    # Columns are as wide as what stands in them.
    return re.sub(r"(?:\\ )+", " +", re.escape(words))


def _tidy(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
