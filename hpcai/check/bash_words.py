"""The words of a bash script as they are written: quotes, variables and substitutions. Pure."""

from __future__ import annotations

import bisect
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

_ENDS_WORD = " \t\n;&|<>()"
_BRACES = re.compile(r"\{[^{}\s'\"]*(,|\.\.)[^{}\s'\"]*\}")


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
        while self._at < len(self._text) and self._text[self._at] not in _ENDS_WORD:
            may_be_home = self._at == begin or (is_value and self._text[self._at - 1] == ":")
            self._piece(pieces, may_be_home=may_be_home)
        line, column = self._place(begin)
        return Word(tuple(pieces), line, column)

    def _piece(self, pieces: list[Piece], *, may_be_home: bool) -> None:
        letter, rest = self._text[self._at], self._text[self._at + 1 : self._at + 2]
        if letter == "\\":
            self._at += 2
            pieces += [] if rest == "\n" else [Piece("text", rest, is_quoted=True)]
        elif letter == "'":
            end = self._find("'", self._at + 1)
            pieces.append(Piece("text", self._text[self._at + 1 : end], is_quoted=True))
            self._at = end + 1
        elif letter == '"':
            pieces += self._double()
        elif letter in "$`":
            pieces.append(self._dollar(is_quoted=False))
        elif letter == "~" and may_be_home:
            self._at += 1
            is_own = not rest or rest in f"{_ENDS_WORD}/:"
            pieces.append(Piece("name", "HOME", is_quoted=True) if is_own else Piece("unknown", "~"))
        elif letter == "{" and (found := _BRACES.match(self._text, self._at)):
            self._at = found.end()
            pieces.append(Piece("unknown", found[0]))
        else:
            pieces.append(Piece("text", letter))
            self._at += 1

    def _double(self) -> list[Piece]:
        """What stands between double quotes; at least an empty text."""
        pieces = [Piece("text", "", is_quoted=True)]
        self._at += 1
        while not self._text.startswith('"', self._at):
            if self._at >= len(self._text):
                raise Unclosed
            letter, rest = self._text[self._at], self._text[self._at + 1 : self._at + 2]
            if letter in "$`":
                pieces.append(self._dollar(is_quoted=True))
                continue
            text = letter
            if letter == "\\" and rest and rest in '$`"\\\n':
                text = rest if rest != "\n" else ""
                self._at += 1
            pieces.append(Piece("text", text, is_quoted=True))
            self._at += 1
        self._at += 1
        return pieces

    def _dollar(self, *, is_quoted: bool) -> Piece:
        text, begin = self._text, self._at
        following = text[begin + 1 : begin + 2]
        if text.startswith("$((", begin):
            self._at += 1
            return self._arithmetic()
        if following == "(":
            self._at += 2
            self.shell()
            return Piece("unknown", text[begin : self._at], is_quoted)
        if following == "{":
            return self._parameter(is_quoted)
        if text[begin] == "`":
            self._at = self._find("`", begin + 1) + 1
            return Piece("unknown", text[begin : self._at], is_quoted)
        if following == "'" and not is_quoted:
            return self._with_escapes()
        name = re.compile(r"[A-Za-z_]\w*").match(text, begin + 1)
        if name is not None:
            self._at = name.end()
            return Piece("name", name[0], is_quoted)
        is_special = following != "" and following in "@*#?-$!0123456789"
        self._at += 1 + is_special
        return Piece("unknown" if is_special else "text", text[begin : self._at], is_quoted)

    def _with_escapes(self) -> Piece:
        found = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self._text, self._at)
        if found is None:
            raise Unclosed
        self._at = found.end()
        return Piece("unknown" if "\\" in found[1] else "text", found[1], is_quoted=True)

    def _parameter(self, is_quoted: bool) -> Piece:
        begin, depth = self._at, 0
        while True:
            found = re.compile(r"\\.|'[^']*'|[{}]", re.DOTALL).search(self._text, self._at)
            if found is None:
                raise Unclosed
            self._at = found.end()
            depth += {"{": 1, "}": -1}.get(found[0], 0)
            if depth == 0 and found[0] == "}":
                break
        inner = self._text[begin + 2 : self._at - 1]
        if re.fullmatch(r"[A-Za-z_]\w*", inner):
            return Piece("name", inner, is_quoted)
        array = re.fullmatch(r"([A-Za-z_]\w*)\[@\]", inner)
        return Piece("array", array[1], is_quoted) if array else Piece("unknown", inner, is_quoted)

    def _arithmetic(self) -> Piece:
        end = self._find("))") + 2
        piece = Piece("unknown", self._text[self._at : end], is_quoted=True)
        self._at = end
        return piece

    def _word_of(self, piece: Piece) -> Word:
        return Word((piece,), *self._place(self._at))

    def _find(self, text: str, begin: int | None = None, *, or_end: bool = False) -> int:
        found = self._text.find(text, self._at if begin is None else begin)
        if found < 0 and not or_end:
            raise Unclosed
        return found if found >= 0 else len(self._text)

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._begins, at)
        return line, at - self._begins[line - 1] + 1
