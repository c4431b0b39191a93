"""The #SBATCH lines of a script, read as sbatch reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hpcai.specs.slurm_options import slurm_options

# sbatch's letters, as its manual page has them.
LETTERS = {
    "A": "account",
    "a": "array",
    "B": "extra-node-info",
    "b": "begin",
    "C": "constraint",
    "c": "cpus-per-task",
    "D": "chdir",
    "d": "dependency",
    "e": "error",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "h": "help",
    "I": "immediate",
    "i": "input",
    "J": "job-name",
    "k": "no-kill",
    "L": "licenses",
    "M": "clusters",
    "m": "distribution",
    "N": "nodes",
    "n": "ntasks",
    "O": "overcommit",
    "o": "output",
    "p": "partition",
    "Q": "quiet",
    "q": "qos",
    "S": "core-spec",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "V": "version",
    "W": "wait",
    "w": "nodelist",
    "x": "exclude",
}
_WITHOUT_VALUE = frozenset("HhkOQsvVW")
PREFIX = "#SBATCH"


@dataclass(frozen=True)
class Word:
    """One word of a line; `column` counts from 1."""

    text: str
    line: int
    column: int
    cut_at: int | None = None
    """The column of a raw `#` at which sbatch stops reading the line."""


@dataclass(frozen=True)
class Option:
    """One option of a script, by its long name; `value` None where it has none."""

    name: str
    value: str | None
    word: Word
    is_known: bool = True
    part: int = 0
    """Which part of a heterogeneous job it is of: `#SBATCH hetjob` begins the next."""

    @property
    def at(self) -> str:
        """Line and column."""
        return f"{self.word.line}:{self.word.column}"


@dataclass(frozen=True)
class Script:
    """The #SBATCH lines of a batch script."""

    options: tuple[Option, ...]
    cuts: tuple[Word, ...] = ()
    late: tuple[int, ...] = ()
    """Lines with #SBATCH that sbatch does not read, since a command comes before them."""

    def value(self, name: str) -> str | None:
        """The value of an option, the last one if it is given twice; of several parts, the first one's."""
        option = self.option(name)
        return None if option is None else option.value

    def option(self, name: str) -> Option | None:
        found = [one for one in self.options if one.name == name]
        return next((one for one in reversed(found) if one.part == found[0].part), None)

    @property
    def parts(self) -> tuple[Script, ...]:
        """The parts of a heterogeneous job, each with what it has from those before it; else the script."""
        last = max((one.part for one in self.options), default=0)
        return tuple(self._part(number) for number in range(last + 1)) if last else (self,)

    def _part(self, number: int) -> Script:
        rows = slurm_options()
        carried = {name for name in rows if rows[name].component == "carried"}
        own = tuple(
            replace(one, part=number)
            for one in self.options
            if one.part == number or (one.part < number and one.name in carried)
        )
        return Script(own)


def is_script(file: Path, text: str) -> bool:
    """Whether a file is a script for sbatch and no YAML."""
    return text.startswith("#!") or file.suffix in (".sh", ".sbatch", ".slurm", ".bash")


def read_script(text: str) -> Script:
    """What sbatch takes of a script."""
    options: list[Option] = []
    cuts: list[Word] = []
    late: list[int] = []
    is_over, part = False, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(PREFIX) and not is_over:
            words = list(words_of(line, number))
            cuts += [word for word in words if word.cut_at is not None]
            part += bool(words) and words[0].text in ("hetjob", "packjob")
            options += [replace(option, part=part) for option in _options(words)]
        elif line.startswith(PREFIX):
            late.append(number)
        elif line.strip() and not line.lstrip().startswith("#"):
            is_over = True
    return Script(tuple(options), tuple(cuts), tuple(late))


def words_of(line: str, number: int) -> Iterator[Word]:
    """The words of an #SBATCH line; quotes and backslashes guard, an unguarded `#` ends the line."""
    text, quote, begin = "", "", None
    position = len(PREFIX)
    while position < len(line):
        letter = line[position]
        if letter == "\\" and quote != "'" and position + 1 < len(line):
            begin = begin if begin is not None else position
            position += 1
            text += line[position]
        elif quote:
            quote, text = ("", text) if letter == quote else (quote, text + letter)
        elif letter in "\"'":
            begin, quote = (begin if begin is not None else position), letter
        elif letter == "#":
            if begin is not None:
                yield Word(text, number, begin + 1, cut_at=position + 1)
            return
        elif letter.isspace():
            if begin is not None:
                yield Word(text, number, begin + 1)
            text, begin = "", None
        else:
            begin = begin if begin is not None else position
            text += letter
        position += 1
    if begin is not None:
        yield Word(text, number, begin + 1)


def _options(words: list[Word]) -> Iterator[Option]:
    rest = iter(words)
    for word in rest:
        if word.text.startswith("--"):
            name, equals, value = word.text[2:].partition("=")
            known = meant(name, {*slurm_options(), *PYXIS})
            if equals or known is None or not _needs_value(known):
                yield Option(known or name, value if equals else None, word, known is not None)
            else:
                following = next(rest, None)
                yield Option(known, following.text if following else None, word)
        elif re.match(r"-[A-Za-z]", word.text):
            yield from _letters(word, rest)
        else:
            # sbatch takes no words beside options in these lines; what it makes of them it says itself.
            return


def _letters(word: Word, rest: Iterator[Word]) -> Iterator[Option]:
    letters = word.text[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        name = LETTERS.get(letter)
        if name is None:
            yield Option(letter, None, word, is_known=False)
            return
        if letter in _WITHOUT_VALUE:
            yield Option(name, None, word)
            continue
        if not letters:
            following = next(rest, None)
            letters = following.text if following else ""
        yield Option(name, letters or None, word)
        return


def meant(name: str, known: Collection[str]) -> str | None:
    """The option that a name or its unambiguous beginning means, as getopt reads it."""
    if name in known:
        return name
    found = [one for one in known if one.startswith(name)] if name else []
    return found[0] if len(found) == 1 else None


def _needs_value(name: str) -> bool:
    return PYXIS[name] if name in PYXIS else slurm_options()[name].argument == "required"


# Pyxis's options, and whether each takes a value.
PYXIS = {
    **dict.fromkeys(
        (
            *("container-image", "container-mounts", "container-workdir", "container-name"),
            *("container-save", "container-env", "container-unshare"),
        ),
        True,
    ),
    **dict.fromkeys(
        (
            *("container-mount-home", "no-container-mount-home", "container-remap-root"),
            *("no-container-remap-root", "container-entrypoint", "no-container-entrypoint"),
            *("container-entrypoint-log", "container-writable", "container-readonly"),
        ),
        False,
    ),
}
