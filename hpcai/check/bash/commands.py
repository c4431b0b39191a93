"""The commands of a bash text, word by word, as far as it tells. Pure.

Quotes, comments, here-documents, arrays and nesting are read as bash reads them; nothing is run or expanded.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field

from hpcai.check.bash.programs import begin_of_program
from hpcai.check.bash.words import ASSIGNS, UNKNOWN, Piece, Unclosed, Word, WordReader

DECLARES = ("export", "readonly", "declare", "typeset", "local")
_TESTS = ("[", "[[", "test")
_OPENS = ("if", "for", "while", "until", "case", "select", "{")
_CLOSES = ("fi", "done", "esac", "}")
# Behind these another command begins; for, case and select are words of their own commands.
_LEADS = ("if", "while", "until", "then", "else", "elif", "do", "!", "time", "{", "coproc", *_CLOSES)

_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_BLANK_LINES = re.compile(r"(?:[ \t\n]|\\\n|#[^\n]*)+")
_TOKEN = re.compile(
    r"(?:[ \t]|\\\n)+|(?P<comment>#[^\n]*)"
    r"|(?:\d+|\{\w+\})?(?P<redirection><<<|<<-?|&>>?|>>|>\||[<>]&|<>|[<>](?!\())"
    r"|(?P<operator>\n|;;&|;;|;&|&&|\|\||\|&|[;&|])"
    r"|(?P<bracket>[()])"
)
_IN_CONDITION = re.compile(r"(?:[ \t\n;&|()]|[<>](?!\()|\\\n|(?<=[ \t\n])#[^\n]*)+")
_IN_PATTERN = re.compile(r"(?:[ \t(|]|\\\n|#[^\n]*)+")
_ENDS_PATTERN = re.compile(r"\)|(?=esac\b)")
_CLOSES_NAME = re.compile(r"[ \t]*\)")
_CLOSES_ARRAY = re.compile(r"\)")
_POSIX_TIME = re.compile(r"[ \t]+-p(?=\s)")
_ELEMENT = re.compile(r"\[[^\]\n]*\]\+?=")
_LINE = re.compile(r"[^\n]*\n?")
_LINE_WITH_NEXT = re.compile(r"(?:[^\\\n]|\\.)*\\?\n?", re.DOTALL)


@dataclass(frozen=True)
class Assignment:
    """NAME=value, or NAME=(words); `adds` with `+=` and for one element of an array."""

    name: str
    value: Word | tuple[Word, ...]
    adds: bool = False


@dataclass
class Command:
    """One simple command."""

    before: str = ""
    """The operator that it stands behind: `&&`, `||`, `|`, `;`, `&`, a bracket or a line's end."""
    may_be_skipped: bool = False
    """Whether what stands before it in its line decides if it runs, other than by failing."""
    words: list[Word] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    written: list[Word] = field(default_factory=list)
    """The files that its output goes to."""
    behind: str = ""
    depth: int = 0
    """In how many compound commands and shells it stands: loops, conditions, groups, functions."""
    in_subshell: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the script's own shell runs it once, whatever happens."""
        is_joined = self.before in ("&&", "||", "|", "|&") or self.behind in ("&", "|", "|&")
        return self.depth == 0 and not is_joined

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words from its program's name on, without those of what only starts it."""
        words = [word.text for word in self.words]
        return tuple(words[begin_of_program(words) :])

    @property
    def program(self) -> str | None:
        """The program's name without its folder; None for assignments alone, or what only a shell knows."""
        name = next(iter(self.arguments), UNKNOWN)
        return None if UNKNOWN in name else name.rpartition("/")[2]


def read_commands(text: str) -> list[Command]:
    """All commands in the order of the text, up to where it can be read; those inside `$(...)` come before
    the one that they are a part of."""
    return _read(text).found


def lines_of_comments(text: str) -> set[int]:
    """The lines with a comment, up to where the text can be read."""
    return _read(text).comments


def _read(text: str) -> _Reader:
    reader = _Reader(text)
    with contextlib.suppress(Unclosed, RecursionError):
        reader.read()
    return reader


def _is_test(command: Command) -> bool:
    """Whether it is `[`, `[[` or `((`, which fails where nothing went wrong."""
    first = command.words[0].pieces if command.words else ()
    return bool(first) and (first[0].text in _TESTS or first[0].text.startswith("(("))


class _Reader(WordReader):
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.found: list[Command] = []
        self.comments: set[int] = set()
        self._now = Command()
        self._open: list[str] = []
        """What began the compound commands and shells that are not yet closed."""
        self._documents: list[tuple[Word, bool]] = []
        """Here-documents that begin behind this line, and whether tabs are cut off."""

    def read(self) -> None:
        while self._at < len(self._text):
            self._step()
        self._end("")

    def shell(self) -> None:
        kept, self._now = self._now, Command()
        self._open.append("(")
        depth = len(self._open)
        while len(self._open) >= depth:
            if self._at >= len(self._text):
                raise Unclosed
            self._step()
        self._now = kept

    def _step(self) -> None:
        """One word, operator, comment or bracket."""
        found = self._passes(_TOKEN)
        if found is None:
            self._next_word()
        elif found["redirection"]:
            self._redirect(found["redirection"])
        elif found["operator"]:
            self._operator(found["operator"])
        elif found["comment"]:
            self.comments.add(self._place(found.start())[0])
        elif found["bracket"] == "(":
            self._open_bracket()
        elif found["bracket"]:
            self._close_bracket()

    def _operator(self, operator: str) -> None:
        self._end(operator)
        if operator == "\n":
            self._pass_documents()
        elif operator in (";;", ";&", ";;&") and self._open[-1:] == ["case"]:
            self._pass_pattern()

    def _end(self, operator: str) -> None:
        """What has been read is a command, if there is anything."""
        now = self._now
        if now.words or now.assignments or now.written:
            now.behind, now.depth, now.in_subshell = operator, len(self._open), "(" in self._open
            self.found.append(now)
        elif operator == "\n":
            # A line may go on behind an operator at its end.
            return
        decides = operator == "||" or (operator == "&&" and _is_test(now))
        goes_on = operator in ("&&", "|", "|&")
        self._now = Command(operator, decides or (goes_on and now.may_be_skipped))

    def _open_bracket(self) -> None:
        begin = self._at - 1
        words = self._now.words
        if self._passes_arithmetic():
            place = self._place(begin)
            words.append(Word((Piece("unknown", self._text[begin : self._at]),), *place))
        elif len(words) == 1 and self._passes(_CLOSES_NAME):
            # A function begins.
            words.clear()
        else:
            self._open.append("(")

    def _close_bracket(self) -> None:
        self._end(")")
        while self._open and self._open.pop() != "(":
            pass

    def _next_word(self) -> None:
        now = self._now
        declares = bool(now.words) and now.words[0].bare in DECLARES
        if (declares or not now.words) and (found := self._passes(ASSIGNS)):
            now.assignments.append(self._assignment(found))
            return
        word = self.word()
        if now.words or now.assignments or not self._is_reserved(word.bare or ""):
            now.words.append(word)
        if len(now.words) == 1 and word.bare == "[[":
            self._read_condition()
        elif len(now.words) == 3 and (now.words[0].bare, word.bare) == ("case", "in"):
            self._end("")
            self._pass_pattern()

    def _is_reserved(self, word: str) -> bool:
        """Whether a word only begins, ends or parts a compound command."""
        if word in _OPENS:
            self._open.append(word)
        elif word in _CLOSES and self._open[-1:] not in ([], ["("]):
            self._open.pop()
        elif word == "function":
            self._passes(_BLANK)
            self.word()
            return True
        elif word == "time":
            self._passes(_POSIX_TIME)
        return word in _LEADS

    def _read_condition(self) -> None:
        """Reads the words of `[[`, between which brackets and operators mean something else."""
        while self._now.words[-1].bare != "]]":
            self._passes(_IN_CONDITION)
            self._now.words.append(self._some_word())

    def _pass_pattern(self) -> None:
        """Reads past a pattern of `case` and its bracket, or to the `esac`."""
        while not self._passes(_ENDS_PATTERN):
            if self._text.startswith("\n", self._at):
                self._at += 1
                self._pass_documents()
            elif not self._passes(_IN_PATTERN):
                self._some_word()

    def _some_word(self) -> Word:
        begin, word = self._at, self.word()
        if self._at == begin:
            raise Unclosed
        return word

    def _assignment(self, found: re.Match[str]) -> Assignment:
        adds = bool(found[3] or found[2])
        if not self._text.startswith("(", self._at):
            return Assignment(found[1], self.word(is_value=True), adds)
        self._at += 1
        words: list[Word] = []
        while not self._passes(_CLOSES_ARRAY):
            if not self._passes(_BLANK_LINES):
                is_placed = _ELEMENT.match(self._text, self._at) is not None
                word = self._some_word()
                words.append(Word((Piece("unknown"),), word.line, word.column) if is_placed else word)
        return Assignment(found[1], tuple(words), adds)

    def _redirect(self, operator: str) -> None:
        self._passes(_BLANK)
        word = self.word()
        if operator in ("<<", "<<-"):
            self._documents.append((word, operator == "<<-"))
        elif ">" in operator and not (operator == ">&" and re.fullmatch(r"[\d-]*", word.text)):
            self._now.written.append(word)

    def _pass_documents(self) -> None:
        for word, cuts_tabs in self._documents:
            is_quoted = any(piece.is_quoted for piece in word.pieces)
            ends = "".join(piece.text for piece in word.pieces)
            while self._at < len(self._text):
                found = self._need(_LINE if is_quoted else _LINE_WITH_NEXT)
                line = (found[0] if is_quoted else found[0].replace("\\\n", "")).removesuffix("\n")
                if (line.lstrip("\t") if cuts_tabs else line) == ends:
                    break
        self._documents = []
