"""The commands of a bash script with the values that are plainly assigned in it; nothing is guessed. Pure.

Known is what the script's own shell assigns whatever happens, NAME=value or NAME=(words), before it is used.
"""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hpcai.check.bash.commands import DECLARES, Assignment, Command, read_commands
from hpcai.check.bash.words import UNKNOWN, Piece, Word

_PATTERN = re.compile(r"[*?\[]")
# While a word is split, letters that no text has stand for its quoted blanks, and one says: here is a word.
_KEPT = "\ud800"
_HIDDEN = str.maketrans(" \t\n", "\ud801\ud802\ud803")
_SHOWN = str.maketrans("\ud801\ud802\ud803", " \t\n", _KEPT)
_SAFE_FLAGS = re.compile(r"-[xrag]+")
# What assigns within `((...))` and `${...}`.
_CHANGES = re.compile(r"(\w+)(?:\[[^\]]*\])?\s*(?:(?:<<|>>|[-+*/%&|^:])?=(?!=)|\+\+|--)|(?:\+\+|--)\s*(\w+)")
# These run other text, which may assign and change anything.
_FOREIGN = ("source", ".", "eval")


@dataclass(frozen=True)
class Text:
    """A word as the command gets it, with UNKNOWN for what is not known."""

    text: str
    line: int
    column: int
    is_sure: bool = True
    """Whether nothing that the script runs could have changed what is known."""

    @property
    def is_known(self) -> bool:
        return UNKNOWN not in self.text

    @property
    def at(self) -> str:
        """Line and column."""
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Call:
    """One command of a script: what is known of its words, and of the shell that runs it."""

    words: tuple[Text, ...]
    written: tuple[Text, ...]
    exported: Mapping[str, Text]
    """The variables that the script exports to it."""
    folder: Path | None
    """Where it runs; None where that is not known."""
    depth: int
    is_surely_there: bool
    """Whether nothing foreign could have changed the folder."""


def calls_of(text: str, folder: Path | None, environ: Mapping[str, str]) -> list[Call]:
    """All commands of a script that begins in a folder, if that is known; `environ` tells the user's HOME."""
    commands = read_commands(text)
    values = _Values(commands, folder, environ)
    return [call for command in commands for call in values.call(command)]


@dataclass
class _Value:
    words: tuple[Text, ...]
    is_array: bool
    when: int


@dataclass
class _Values:
    """What is known at one place of a script, which goes from command to command."""

    commands: Sequence[Command]
    folder: Path | None
    environ: Mapping[str, str]
    known: dict[str, _Value] = field(default_factory=dict)
    exported: dict[str, Text] = field(default_factory=dict)
    now: int = 0
    foreign: int = -1

    def __post_init__(self) -> None:
        self.begin = self.folder
        writes = [write for command in self.commands for write in _writes(command)]
        self.times = Counter(name for name, _ in writes)
        self.shaky = {name for name, is_plain in writes if not is_plain}
        moves = [number for number, one in enumerate(self.commands, 1) if _moves(one)]
        self.last_move = max(moves, default=0)

    def call(self, command: Command) -> Iterator[Call]:
        """The command as it is called, if it is one; what it assigns is known from here on."""
        self.now += 1
        words = tuple(text for word in command.words for text in self._texts(word, command))
        own = {one.name: self._one(one.value, command) for one in command.assignments}
        if words and words[0].text not in DECLARES:
            written = tuple(self._one(word, command) for word in command.written)
            folder = self._folder_of(command)
            sure = self.foreign < 0
            yield Call(words, written, {**self.exported, **own}, folder, command.depth, sure)
            self._run(words, command)
        elif words:
            self._declare(words, own, command)
        else:
            for one in command.assignments:
                self._keep({one.name: self._assigned(one, command)})
                if one.name in self.exported:
                    self._export(one.name, own[one.name], command)

    def _declare(self, words: tuple[Text, ...], own: Mapping[str, Text], command: Command) -> None:
        # All words of a command are expanded before it runs.
        self._keep({one.name: self._assigned(one, command) for one in command.assignments})
        flags = "".join(word.text for word in words[1:] if word.text.startswith("-"))
        if words[0].text == "export" or "x" in flags:
            for word in words[1:]:
                self._export(word.text, Text(UNKNOWN, word.line, word.column), command)
            for name, value in own.items():
                self._export(name, value, command)

    def _keep(self, values: Mapping[str, _Value | None]) -> None:
        self.known |= {name: value for name, value in values.items() if value is not None}

    def _export(self, name: str, otherwise: Text, command: Command) -> None:
        known = self.known.get(name)
        value = known.words[0] if known is not None and known.words else otherwise
        if re.fullmatch(r"[A-Za-z_]\w*", name):
            self.exported[name] = replace(value, is_sure=value.is_sure and command.is_plain)

    def _run(self, words: tuple[Text, ...], command: Command) -> None:
        name = words[0].text
        if name in _FOREIGN:
            self.foreign = self.now
        elif name == "unset":
            for word in words[1:]:
                self.exported.pop(word.text, None)
        elif _moves(command):
            self.folder = self._after_cd(words, command)

    def _folder_of(self, command: Command) -> Path | None:
        """Where a command runs: a loop or function may come back to it from another folder."""
        may_come_back = command.depth > 0 and self.now <= self.last_move
        return None if command.in_subshell or may_come_back else self.folder

    def _after_cd(self, words: tuple[Text, ...], command: Command) -> Path | None:
        to = [word for word in words[1:] if word.text != "--"]
        if words[0].text != "cd" or not command.is_plain or len(to) != 1 or not to[0].is_known:
            return None
        path = to[0].text
        if path.startswith("-") or not (path.startswith("/") or self.folder):
            return None
        return Path(os.path.normpath((self.folder or Path("/")) / path))

    def _assigned(self, one: Assignment, command: Command) -> _Value | None:
        """What a variable holds after it is assigned; None where nobody knows."""
        if one.name in self.shaky:
            return None
        if isinstance(one.value, Word):
            words: tuple[Text, ...] = (self._one(one.value, command),)
        else:
            words = tuple(text for word in one.value for text in self._texts(word, command))
        is_array = not isinstance(one.value, Word)
        before = self.known.get(one.name)
        if one.adds and before is not None and before.is_array == is_array:
            words = (*before.words, *words) if is_array else (_joined([*before.words, *words], words[0]),)
        elif one.adds:
            words = (Text(UNKNOWN, 0, 0),)
        return _Value(words, is_array, self.now)

    def _value(self, name: str, command: Command) -> _Value | None:
        """What a variable holds; None where it is not known."""
        if self.times[name] > 1 and command.depth:
            # What a loop or function sees of a variable that changes is not read off its place.
            return None
        if name in self.known or self.times[name]:
            return self.known.get(name)
        folder = {"SLURM_SUBMIT_DIR": self.begin, "PWD": self._folder_of(command)}
        text = str(folder[name]) if folder.get(name) else None
        if name in ("HOME", "USER"):
            text = self.environ.get(name)
        return None if text is None else _Value((Text(text, 0, 0),), False, self.now)

    def _one(self, value: Word | tuple[Word, ...], command: Command) -> Text:
        """The value without splitting it into words, as in an assignment."""
        if isinstance(value, tuple):
            return Text(UNKNOWN, 0, 0)
        # An array becomes one text there, with a blank between its words.
        pieces = [self._piece(piece, command) for piece in value.pieces]
        text = "".join(" ".join(one.text for one in each) for each in pieces)
        return Text(text, value.line, value.column, all(one.is_sure for each in pieces for one in each))

    def _piece(self, piece: Piece, command: Command) -> tuple[Text, ...]:
        if piece.kind == "text":
            return (Text(piece.text, 0, 0),)
        value = self._value(piece.text, command) if piece.kind != "unknown" else None
        if value is None or (piece.kind == "array" and not value.is_array):
            return (Text(UNKNOWN, 0, 0),)
        sure = value.when > self.foreign
        words = value.words if piece.kind == "array" else value.words[:1]
        return tuple(Text(one.text, one.line, one.column, one.is_sure and sure) for one in words)

    def _texts(self, word: Word, command: Command) -> list[Text]:
        """The words that one becomes: arrays and unquoted values are split."""
        unknown = [Text(UNKNOWN, word.line, word.column)]
        *before, last = word.pieces or (Piece("text"),)
        # Double quotes begin with an empty text.
        if last.kind == "array" and before in ([], [Piece("text", is_quoted=True)]):
            elements = self._piece(last, command)
            if last.is_quoted:
                return list(elements)
            are_patterns = any(_PATTERN.search(one.text) for one in elements)
            return (
                unknown
                if are_patterns or self.times["IFS"]
                else [each for one in elements for each in _split(one)]
            )
        whole, is_sure = "", True
        for piece in word.pieces:
            [value, *more] = self._piece(piece, command) or (Text("", 0, 0),)
            splits = piece.kind != "text" and not piece.is_quoted
            if more or (splits and (_PATTERN.search(value.text) or self.times["IFS"])):
                # Of an array inside a word, and of a pattern, bash may make several.
                return unknown
            whole += value.text if splits else _KEPT + value.text.translate(_HIDDEN)
            is_sure = is_sure and value.is_sure
        return _split(Text(whole, word.line, word.column, is_sure))


def _moves(command: Command) -> bool:
    first = command.words[0].bare if command.words else None
    return first in ("cd", "pushd", "popd") and not command.in_subshell


def _split(text: Text) -> list[Text]:
    """The words that an unquoted value becomes, where $IFS is what it is at first."""
    words = [one for one in re.split(r"[ \t\n]+", text.text) if one]
    return [replace(text, text=one.translate(_SHOWN)) for one in words]


def _joined(parts: Sequence[Text], place: Text) -> Text:
    text = "".join(one.text for one in parts)
    return Text(text, place.line, place.column, all(one.is_sure for one in parts))


def _writes(command: Command) -> Iterator[tuple[str, bool]]:
    """The variables that a command may assign, and whether it does so plainly."""
    first, *names = [word.bare or "" for word in command.words] or [""]
    flags = [name for name in names if name.startswith("-")]
    if not command.words or first in DECLARES:
        is_safe = first in ("", "export", "readonly") or (
            first in ("declare", "typeset") and all(_SAFE_FLAGS.fullmatch(flag) for flag in flags)
        )
        yield from ((one.name, command.is_plain and is_safe) for one in command.assignments)
        if "n" in "".join(flags):
            # Who assigns to such a name assigns to the variable that it is for.
            yield from ((one.value.text, False) for one in command.assignments if isinstance(one.value, Word))
    if first in ("read", "mapfile", "readarray", "for", "select", "unset", "getopts", "let", "printf"):
        yield from ((name, False) for each in names for name in re.findall(r"^[A-Za-z_]\w*", each))
    for piece in _unknown_of(command):
        # A shell of its own changes nothing in this one.
        if piece.text.startswith("$((") or not piece.text.startswith(("$(", "`", "<(", ">(")):
            yield from ((found[1] or found[2], False) for found in _CHANGES.finditer(piece.text))


def _unknown_of(command: Command) -> Iterator[Piece]:
    """What only bash can know of a command's words, of what it assigns and of the files that it writes."""
    values = [one.value if isinstance(one.value, tuple) else (one.value,) for one in command.assignments]
    for word in (*command.words, *command.written, *(word for value in values for word in value)):
        yield from (piece for piece in word.pieces if piece.kind == "unknown")
