"""A shell text as its simple commands: enough to see which programs it starts, one after the other.

What a substitution or a quoted text holds is not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# What may stand before a program's name: the shell's own words, and programs that start another one.
_WRAPPERS = frozenset(
    ("env", "time", "nice", "nohup", "numactl", "taskset", "stdbuf", "timeout", "exec", "command", "setsid")
)
_ASSIGNMENT = re.compile(r"\w+\+?=.*", re.DOTALL)
_TESTS = frozenset(("[", "[[", "test", "(("))
_OPENS = frozenset(("if", "for", "while", "until", "case", "select", "{", "("))
_CLOSES = frozenset(("fi", "done", "esac", "}", ")"))
# Behind these another command begins.
_LEADS = frozenset(("then", "do", "else", "elif", "!", "time", "{", "if", "while", "until", "coproc"))

_SPACE = re.compile(r"(?:[ \t\r]|\\\n)+")
_OPERATOR = re.compile(r"\n|&&|\|\||\|&|;;&|;;|;&|[;|&()]")
_REDIRECTION = re.compile(r"\d*(?:&>>|&>|<<<|<<-|<<|>>|<>|>&|<&|>\||[<>])")
_PLAIN = re.compile(r"[^\s;&|()<>'\"\\`$]+|\$(?![({'\"])")
_PIECES = (
    _PLAIN,
    re.compile(r"'[^']*'"),
    re.compile(r"\$?\"(?:[^\"\\]|\\.)*\"", re.DOTALL),
    re.compile(r"\$'(?:[^'\\]|\\.)*'", re.DOTALL),
    re.compile(r"\\.", re.DOTALL),
    re.compile(r"`(?:[^`\\]|\\.)*`", re.DOTALL),
)


@dataclass(frozen=True)
class Simple:
    """One simple command."""

    words: tuple[str, ...]
    """As they stand there, without the quotes around a whole word."""
    depth: int
    """In how many compound commands it lies: loops, conditions, groups, functions."""
    is_conditional: bool
    """Whether what stands before it in its line decides if it runs, other than by failing."""
    line: int
    behind: str = ""
    """What follows it: `&&`, `||`, `|`, `;`, `&`, a line's end, or nothing."""

    @property
    def program(self) -> str | None:
        """The program's name without its folder; None for assignments alone, or what only a shell knows."""
        found = next(iter(self.arguments), None)
        return None if found is None or "$" in found or "`" in found else found.rpartition("/")[2]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words from the program's name on."""
        words, wrapped = list(self.words), False
        while words:
            if _ASSIGNMENT.fullmatch(words[0]) or (wrapped and re.fullmatch(r"-.*|[\d.]+[smhd]?", words[0])):
                words = words[1:]
            elif words[0].rpartition("/")[2] in _WRAPPERS:
                words, wrapped = words[1:], True
            else:
                break
        return tuple(words)


def simple_commands(text: str) -> list[Simple]:
    """All simple commands of a text in their order; none of a text that is cut off in the middle."""
    try:
        return list(_Reader(text).commands())
    except _Unreadable:
        return []


class _Unreadable(Exception):
    """The text ends within quotes or brackets; `bash -n` has words for that."""


@dataclass
class _Reader:
    text: str
    at: int = 0
    open: list[str] = field(default_factory=list)
    """What began the compound commands that are not yet closed."""
    words: list[str] = field(default_factory=list)
    documents: list[tuple[str, bool]] = field(default_factory=list)
    """Here-documents that begin behind this line: the word that ends each, and whether tabs are cut off."""
    is_conditional: bool = False

    def commands(self) -> Iterator[Simple]:
        while self.at < len(self.text):
            space = _SPACE.match(self.text, self.at)
            if space:
                self.at = space.end()
            elif self.text[self.at] == "#":
                self.at = (self.text + "\n").index("\n", self.at)
            elif redirection := _REDIRECTION.match(self.text, self.at):
                self._redirect(redirection)
            elif operator := _OPERATOR.match(self.text, self.at):
                self.at = operator.end()
                yield from self._operator(operator[0])
            else:
                self._word()
        yield from self._end("")

    def _redirect(self, found: re.Match[str]) -> None:
        self.at = found.end()
        kind = found[0].lstrip("0123456789")
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        if self.text.startswith("(", self.at):
            # <(a process)
            self.at = self._balanced(self.at, "(", ")")
            self.words.append("<()")
            return
        target = self._piece()
        if kind in ("<<", "<<-"):
            self.documents.append((re.sub(r"['\"\\]", "", target), kind == "<<-"))

    def _word(self) -> None:
        word = self._piece()
        if self.words and self.words[0] == "[[":
            self.words.append(word)
            return
        if not self.words and word in _OPENS:
            self.open.append(word)
        elif not self.words and word in _CLOSES:
            self._close()
        if not self.words and (word in _LEADS or word in _CLOSES):
            return
        quoted = len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" and word[0] not in word[1:-1]
        self.words.append(word[1:-1] if quoted else word)

    def _piece(self) -> str:
        """The next word, with its quotes."""
        begin = self.at
        while self.at < len(self.text):
            if self.text.startswith(("$(", "${"), self.at):
                closes = {"(": ")", "{": "}"}[self.text[self.at + 1]]
                self.at = self._balanced(self.at + 1, self.text[self.at + 1], closes)
                continue
            found = next((one for piece in _PIECES if (one := piece.match(self.text, self.at))), None)
            if found is None:
                break
            self.at = found.end()
        if self.at == begin:
            raise _Unreadable
        return self.text[begin : self.at]

    def _balanced(self, begin: int, opens: str, closes: str) -> int:
        """Where the bracket that opens at `begin` is closed."""
        depth, at = 0, begin
        while at < len(self.text):
            quoted = next((one for piece in _PIECES[1:] if (one := piece.match(self.text, at))), None)
            if quoted:
                at = quoted.end()
                continue
            depth += {opens: 1, closes: -1}.get(self.text[at], 0)
            at += 1
            if depth == 0:
                return at
        raise _Unreadable

    def _operator(self, operator: str) -> Iterator[Simple]:
        if self.words and self.words[0] == "[[" and self.words[-1] != "]]" and operator != "\n":
            self.words.append(operator)
            return
        if operator == "(":
            self.open.append(operator)
            # A function's name, or nothing.
            self.words.clear()
            return
        yield from self._end(operator)
        if operator == ")" and self.open[-1:] != ["case"]:
            self._close()
        elif operator == "\n":
            self._skip_documents()

    def _end(self, operator: str) -> Iterator[Simple]:
        line = self.text.count("\n", 0, self.at - (operator == "\n")) + 1
        words, self.words = tuple(self.words), []
        if words:
            yield Simple(words, len(self.open), self.is_conditional, line, operator)
        if operator == "||" or (operator == "&&" and words[:1] and words[0] in _TESTS):
            self.is_conditional = True
        elif operator not in ("&&", "|", "|&") and (words or operator != "\n"):
            self.is_conditional = False

    def _close(self) -> None:
        if self.open:
            self.open.pop()

    def _skip_documents(self) -> None:
        for word, cuts_tabs in self.documents:
            while self.at < len(self.text):
                end = (self.text + "\n").index("\n", self.at)
                line = self.text[self.at : end]
                self.at = end + 1
                if (line.lstrip("\t") if cuts_tabs else line) == word:
                    break
        self.documents.clear()
