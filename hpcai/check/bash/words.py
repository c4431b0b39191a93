"""The words of a bash text as they are written: quotes, variables and substitutions. Pure."""

from __future__ import annotations

import bisect
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

# Stands in a text for what only bash will know; no script can hold it.
UNKNOWN = "\0"

ASSIGNS = re.compile(r"([A-Za-z_]\w*)(\[(?:[^\[\]\n]|\[[^\[\]\n]*\])*\])?(\+?)=")
_ENDS_WORD = re.compile(r"[ \t\n;&|()]|[<>](?!\()")
_PLAIN = re.compile(r"[^ \t\n;&|<>()'\"\\`$~?*+@!:={]+|.", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\\(.?)", re.DOTALL)
_CLOSES_DOUBLE = re.compile('"')
_IN_DOUBLE = re.compile(r'(?:[^"\\$`]|\\.)+', re.DOTALL)
_ESCAPE_IN_DOUBLE = re.compile(r'\\(?:([$`"\\])|\n)')
_WITH_ESCAPES = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BACKQUOTED = re.compile(r"`(?:[^`\\]|\\.)*`", re.DOTALL)
_NAME = re.compile(r"\$([A-Za-z_]\w*)")
_SPECIAL = re.compile(r"\$[@*#?$!\d-]")
# Processes as files, and patterns of `shopt -s extglob`.
_BRACKETED = re.compile(r"[<>?*+@!]\(")
_BRACES = re.compile(r"\{[^{}]*(,|\.\.)[^{}]*\}")


@dataclass(frozen=True)
class Piece:
    """A part of a word: text as it stands, the value of a variable, all words of an array, or what only bash
    can know."""

    kind: Literal["text", "name", "array", "unknown"]
    text: str = ""
    """The text, or the name; of what is unknown, how it is written."""
    is_quoted: bool = False


@dataclass(frozen=True)
class Word:
    """One word as it is written; line and column count from 1."""

    pieces: tuple[Piece, ...]
    line: int
    column: int

    @property
    def bare(self) -> str | None:
        """A word without quotes or variables; None for another."""
        if any(piece.kind != "text" or piece.is_quoted for piece in self.pieces):
            return None
        return "".join(piece.text for piece in self.pieces)

    @property
    def text(self) -> str:
        """What it says without its quotes, with UNKNOWN for each variable and substitution."""
        return "".join(piece.text if piece.kind == "text" else UNKNOWN for piece in self.pieces)


class Unclosed(Exception):
    """A quote or bracket that nothing closes: what follows cannot be read."""


class WordReader(ABC):
    """Reads words of one text, from wherever it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._begins = [0, *(found.end() for found in re.finditer("\n", text))]

    @abstractmethod
    def shell(self) -> None:
        """Reads past the commands of a `$(...)`, whose opening bracket has been read."""

    def word(self, *, is_value: bool = False) -> Word:
        """The word that begins here; empty where none does. `is_value` with what is assigned."""
        begin, pieces = self._at, list[Piece]()
        while self._at < len(self._text) and not _ENDS_WORD.match(self._text, self._at):
            is_home = self._text[self._at] == "~" and self._may_be_home(begin, is_value)
            pieces += [self._home()] if is_home else self._piece()
        if not is_value:
            pieces = _up_to_braces(pieces)
        return Word(tuple(pieces), *self._place(begin))

    def _may_be_home(self, begin: int, is_value: bool) -> bool:
        """Whether bash takes a `~` here for a home: where a word or value begins, and behind its colons."""
        head = self._text[begin : self._at]
        assigned = ASSIGNS.match(head)
        if not head or (assigned is not None and assigned[0] == head):
            return True
        return head.endswith(":") and (is_value or assigned is not None)

    def _piece(self) -> list[Piece]:
        """The next part of a word, which of double quotes is several."""
        text, begin = self._text, self._at
        if text.startswith(('"', '$"'), begin):
            self._at = text.index('"', begin) + 1
            return self._double()
        if text[begin] in "$`":
            return [self._dollar(is_quoted=False)]
        if found := self._passes(_QUOTED):
            # A line's end that is escaped is no letter.
            return [] if found[2] == "\n" else [Piece("text", found[1] or found[2] or "", is_quoted=True)]
        if text[begin] == "'":
            raise Unclosed
        if found := self._passes(_BRACKETED):
            if found[0] in ("<(", ">("):
                self.shell()
            else:
                self._pass_to(")", opens="(")
            return [Piece("unknown", text[begin : self._at])]
        found = self._passes(_PLAIN)
        assert found is not None
        return [Piece("text", found[0])]

    def _home(self) -> Piece:
        self._at += 1
        following = self._text[self._at : self._at + 1]
        is_own = not following or following in "/:" or _ENDS_WORD.match(following) is not None
        return Piece("name", "HOME", is_quoted=True) if is_own else Piece("unknown", "~")

    def _double(self) -> list[Piece]:
        """What stands between double quotes, of which the first has been read; at least an empty text."""
        pieces = [Piece("text", "", is_quoted=True)]
        while not self._passes(_CLOSES_DOUBLE):
            if found := self._passes(_IN_DOUBLE):
                said = _ESCAPE_IN_DOUBLE.sub(lambda escape: escape[1] or "", found[0])
                pieces.append(Piece("text", said, is_quoted=True))
            elif self._text.startswith(("$", "`"), self._at):
                pieces.append(self._dollar(is_quoted=True))
            else:
                raise Unclosed
        return pieces

    def _dollar(self, *, is_quoted: bool) -> Piece:
        begin = self._at
        if found := self._passes(_NAME):
            return Piece("name", found[1], is_quoted)
        if self._text.startswith("${", begin):
            return self._parameter(is_quoted)
        if not is_quoted and self._text.startswith("$'", begin):
            return self._with_escapes()
        if self._text.startswith("$(", begin):
            self._at += 2
            if not self._passes_arithmetic():
                self.shell()
        elif self._text[begin] == "`":
            self._need(_BACKQUOTED)
        elif not self._passes(_SPECIAL):
            self._at += 1
            return Piece("text", "$", is_quoted)
        return Piece("unknown", self._text[begin : self._at], is_quoted)

    def _with_escapes(self) -> Piece:
        found = self._need(_WITH_ESCAPES)
        return Piece("unknown" if "\\" in found[1] else "text", found[1], is_quoted=True)

    def _parameter(self, is_quoted: bool) -> Piece:
        begin = self._at
        self._at += 2
        self._pass_to("}")
        whole = self._text[begin : self._at]
        found = re.fullmatch(r"\$\{([A-Za-z_]\w*)(\[@\])?\}", whole)
        if found is None:
            return Piece("unknown", whole, is_quoted)
        return Piece("array" if found[2] else "name", found[1], is_quoted)

    def _passes_arithmetic(self) -> bool:
        """Whether behind a bracket `(` stands another, up to `))`; reads past it then."""
        begin = self._at
        if not self._text.startswith("(", begin):
            return False
        self._at += 1
        self._pass_to(")", opens="(")
        if self._text.startswith(")", self._at):
            self._at += 1
            return True
        # Two shells, one in the other.
        self._at = begin
        return False

    def _pass_to(self, closing: str, *, opens: str = "") -> None:
        """Reads past the bracket that closes an expression, its quotes and substitutions as such."""
        depth = 1
        while depth:
            letter = self._text[self._at : self._at + 1]
            if not letter:
                raise Unclosed
            if letter in "\"'\\$`":
                self._piece()
                continue
            depth += (letter == opens) - (letter == closing)
            self._at += 1

    def _passes(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Reads past what a pattern fits, if it does here."""
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _need(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = self._passes(pattern)
        if found is None:
            raise Unclosed
        return found

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._begins, at)
        return line, at - self._begins[line - 1] + 1


def _up_to_braces(pieces: list[Piece]) -> list[Piece]:
    """The same, with one unknown piece from `{a,b}` on, of which bash makes several words."""
    letters = [piece.text if piece.kind == "text" and not piece.is_quoted else UNKNOWN for piece in pieces]
    for number, letter in enumerate(letters):
        if letter == "{" and _BRACES.match("".join(letters[number:])):
            # Of `$A{b,c}` bash makes `$Ab $Ac`.
            is_name = number > 0 and pieces[number - 1].kind == "name"
            return [*pieces[: number - is_name], Piece("unknown")]
    return pieces
