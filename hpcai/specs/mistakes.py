"""What is wrong in a file, each mistake with its place, and the one error that carries them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcai.errors import SpecError


@dataclass(frozen=True)
class Mistake:
    """One mistake; `line` and `column` count from 1 and are None when the value is in no file."""

    origin: str
    line: int | None
    column: int | None
    key: str
    message: str

    @property
    def place(self) -> str:
        return self.origin if self.line is None else f"{self.origin}:{self.line}:{self.column}"

    def __str__(self) -> str:
        return f"{self.place}: {self.key}: {self.message}" if self.key else f"{self.place}: {self.message}"


class SpecFileError(SpecError):
    """All mistakes of one file, one line each, in the file's order."""

    def __init__(self, mistakes: Sequence[Mistake], *, next_step: str | None = None) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.line or 0, mistake.column or 0)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes), next_step=next_step)


class UnknownNames(SpecFileError):
    """A file in which nothing is wrong but names that nothing has, such as a VM size without a profile."""

    exit_status = 5


@dataclass(frozen=True)
class Contradiction:
    """Fields that do not fit together; `keys` are the fields that were read, the one to change first.

    `at` is the way to the value inside the first one, where that can be told.
    """

    keys: tuple[str, ...]
    message: str
    at: tuple[str | int, ...] | None = None
