"""Python tracebacks in a log: the exception that ended it, and the last line of the user's own code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HEADER = "Traceback (most recent call last)"
_FRAME = re.compile(r'\s*File "(?P<path>[^"]+)", line (?P<line>\d+)')
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:_*[A-Z]\w*|\w*error)(?:: .*|:)?$")
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|^<frozen|^<string>|/hpcai/train/")
_CHAIN = re.compile(
    r"During handling of the above exception|The above exception was the direct cause|^Original Traceback"
)
# Python tells of these and goes on.
_HARMLESS = ("Exception ignored in", "--- Logging error ---", "Exception in thread")
# Before a line: PyTorch's `[rank3]: `, torchrun's `[default3]:`, mpirun's and horovodrun's `<stderr>`.
PREFIX = re.compile(
    r"^(?:\[(?:rank|default)(?P<torch>\d+)\]:|\[\d+,(?P<mpi>\d+)\]<std\w+>:|\[(?P<hvd>\d+)\]<std\w+>:) ?"
)
_MOST_LINES = 400


@dataclass(frozen=True)
class Traceback:
    """One traceback; indices count the lines that were given."""

    first: int
    last: int
    """The line of the exception."""
    exception: str
    code: str | None
    """`FILE:LINE` of the user's own code that was last in it; None where only libraries are."""
    is_chained: bool
    """Whether another exception followed from it."""


def rank_of(line: str) -> int | None:
    """The rank whose line it is, by what stands before it."""
    found = PREFIX.match(line)
    return int(next(number for number in found.groups() if number)) if found else None


def bare(line: str) -> str:
    """The line without the rank before it."""
    return PREFIX.sub("", line, count=1)


def tracebacks(lines: Sequence[str]) -> Iterator[Traceback]:
    """Every traceback that ended something, in order."""
    found = [one for index, line in enumerate(lines) if _HEADER in line and (one := _read(lines, index))]
    for one in found:
        if not any(sign in line for sign in _HARMLESS for line in lines[max(0, one.first - 2) : one.first]):
            yield one


def _read(lines: Sequence[str], first: int) -> Traceback | None:
    rank, code = rank_of(lines[first]), None
    for index in range(first + 1, min(len(lines), first + _MOST_LINES)):
        # Ranks that write to one file mix their lines.
        if rank_of(lines[index]) != rank:
            continue
        line = bare(lines[index])
        frame = _FRAME.match(line)
        if frame:
            if not _LIBRARY.search(frame["path"]):
                code = f"{frame['path']}:{frame['line']}"
        # Another line that is not indented is another program's, in between.
        elif line[:1] not in ("", " ", "\t") and _EXCEPTION.match(line):
            return Traceback(first, index, line, code, _is_chained(lines, index, rank))
    return None


def _is_chained(lines: Sequence[str], last: int, rank: int | None) -> bool:
    """Whether `During handling ...` comes next, behind what is left of the message."""
    following = (bare(line) for line in lines[last + 1 : last + 12] if rank_of(line) == rank)
    for line in following:
        if _CHAIN.search(line):
            return True
        if _HEADER in line:
            return False
    return False
