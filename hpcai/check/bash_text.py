"""The commands of a bash script, word by word, as far as its text tells. Pure.

Quotes, comments, here-documents, arrays and nesting are read as bash reads them; nothing is run or expanded.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field

from hpcai.check.bash_words import Piece, Unclosed, Word, WordReader

_DECLARES = ("export", "readonly", "declare", "typeset", "local")
_OPENS = ("if", "for", "while", "until", "case", "select", "{")
_CLOSES = ("fi", "done", "esac", "}")
# What these stand before is a command again; the others are words of their own commands.
_PASSED_OVER = ("if", "while", "until", "then", "else", "elif", "do", "!", "time", "{", *_CLOSES)
_ASSIGNS = re.compile(r"([A-Za-z_]\w*)(\[[^\]\n]*\])?(\+?)=")


@dataclass(frozen=True)
class Assignment:
    """NAME=value, or NAME=(words); `adds` with `+=` and for one element of an array."""

    name: str
    value: Word | tuple[Word, ...]
    adds: bool = False


@dataclass
class Command:
    """One simple command; `depth` is how many compound commands and shells it stands in."""

    depth: int = 0
    in_subshell: bool = False
    is_conditional: bool = False
    """Whether it hangs on the command before it, or is part of a pipe or in the background."""
    words: list[Word] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    written: list[Word] = field(default_factory=list)
    """The files that its output goes to."""

    @property
    def is_plain(self) -> bool:
        """Whether the script's own shell runs it once, whatever happens."""
        return self.depth == 0 and not self.is_conditional


def read_commands(text: str) -> list[Command]:
    """All commands in the order of the text, up to where it can be read; those inside `$(...)` come before
    the one that they are a part of."""
    reader = _Reader(text)
    with contextlib.suppress(Unclosed, RecursionError):
        reader.commands()
    return reader.found


class _Reader(WordReader):
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.found: list[Command] = []
        self._depth = 0
        self._shells = 0
        self._now = Command()
        self._before = ""
        self._cases = 0
        self._documents: list[tuple[str, bool]] = []

    def commands(self, closing: str = "") -> None:
        """Reads commands to the end of the text, or past the bracket that closes this shell."""
        kept = (self._now, self._before, self._cases)
        self._before, self._cases = "", 0
        self._begin()
        while self._at < len(self._text):
            letter = self._text[self._at]
            if self._passes_blank():
                continue
            if letter == ")" and closing and not self._cases:
                self._at += 1
                self._end(";")
                self._now, self._before, self._cases = kept
                return
            self._step(letter)
        if closing:
            raise Unclosed
        self._end(";")

    def _begin(self) -> None:
        self._now = Command(self._depth, self._shells > 0)

    def _end(self, operator: str) -> None:
        """What has been read is a command, if there is anything."""
        now = self._now
        if not (now.words or now.assignments or now.written):
            self._before = self._before if operator == "\n" else operator
            return
        piped = ("|", "|&")
        now.is_conditional = self._before in ("&&", "||", *piped) or operator in ("&", *piped)
        self.found.append(now)
        self._before = "" if operator == "\n" else operator
        self._begin()

    def _passes_blank(self) -> bool:
        found = re.compile(r"(?:[ \t\r]|\\\n)+").match(self._text, self._at)
        if found is None:
            return False
        self._at = found.end()
        return True

    def _step(self, letter: str) -> None:
        """One word, operator, comment or bracket."""
        if letter == "\n":
            self._at += 1
            self._end("\n")
            self._pass_documents()
        elif letter == "#":
            self._at = self._find("\n", or_end=True)
        elif self._redirects():
            return
        elif letter in ";&|":
            found = re.compile(r";;&|;;|;&|&&|\|\||\|&|[;&|]").match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            self._end(found[0])
        elif letter in "()":
            self._bracket(letter)
        else:
            self._next_word()

    def _bracket(self, letter: str) -> None:
        self._at += 1
        if letter == ")":
            # Of a pattern in `case`.
            self._begin()
        elif self._text.startswith("(", self._at):
            self._at -= 1
            self._now.words.append(self._word_of(self._arithmetic()))
        elif len(self._now.words) == 1 and re.compile(r"\s*\)").match(self._text, self._at):
            # A function begins.
            self._at = self._find(")") + 1
            self._begin()
        elif not self._now.words:
            self.shell()

    def shell(self) -> None:
        """Reads the commands of a shell of its own, and past its closing bracket."""
        depth = self._depth
        self._depth += 1
        self._shells += 1
        self.commands(closing=")")
        self._depth = depth
        self._shells -= 1

    def _next_word(self) -> None:
        now = self._now
        declares = bool(now.words) and now.words[0].bare in _DECLARES
        found = _ASSIGNS.match(self._text, self._at) if declares or not now.words else None
        if found is not None:
            now.assignments.append(self._assignment(found))
            return
        word = self.word()
        if now.words or now.assignments or not self._is_reserved(word.bare or ""):
            now.words.append(word)
        if len(now.words) == 1 and word.bare == "[[":
            self._pass_condition()

    def _pass_condition(self) -> None:
        found = re.compile(r"\s\]\]").search(self._text, self._at)
        if found is None:
            raise Unclosed
        self._at = found.end()

    def _is_reserved(self, word: str) -> bool:
        """Whether a word only begins, ends or parts a compound command; its depth is kept."""
        if word in _CLOSES:
            self._depth = max(self._shells, self._depth - 1)
            self._cases -= word == "esac" and self._cases > 0
        elif word in _OPENS:
            self._depth += 1
            self._cases += word == "case"
        elif word == "function":
            self._passes_blank()
            self.word()
            return True
        self._now.depth = self._depth
        return word in _PASSED_OVER

    def _assignment(self, found: re.Match[str]) -> Assignment:
        self._at = found.end()
        adds = bool(found[3] or found[2])
        if not self._text.startswith("(", self._at):
            return Assignment(found[1], self.word(is_value=True), adds)
        self._at += 1
        words: list[Word] = []
        while not self._text.startswith(")", self._at):
            if self._at >= len(self._text):
                raise Unclosed
            if self._passes_blank():
                continue
            if self._text[self._at] == "#":
                self._at = self._find("\n")
            elif self._text[self._at] in "\n;&|<>(":
                self._at += 1
            else:
                words.append(self.word())
        self._at += 1
        return Assignment(found[1], tuple(words), adds)

    def _redirects(self) -> bool:
        found = re.compile(r"\d*(<<<|<<-?|&>>?|[<>]\(|>>|>\||[<>]&|<>|<|>)").match(self._text, self._at)
        if found is None:
            return False
        self._at = found.end()
        if found[1] in ("<(", ">("):
            begin = self._at
            self.shell()
            self._now.words.append(self._word_of(Piece("unknown", self._text[begin : self._at])))
            return True
        self._passes_blank()
        word = self.word()
        if found[1] in ("<<", "<<-"):
            self._documents.append(("".join(one.text for one in word.pieces), found[1] == "<<-"))
        elif ">" in found[1] and found[1] != ">&":
            self._now.written.append(word)
        return True

    def _pass_documents(self) -> None:
        for word, is_indented in self._documents:
            while self._at < len(self._text):
                end = self._find("\n", or_end=True)
                line, self._at = self._text[self._at : end], end + 1
                if (line.lstrip("\t") if is_indented else line) == word:
                    break
        self._documents = []
