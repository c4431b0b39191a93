"""Lines of logs that tell why a job failed or hangs."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hpcai.check.why.facts import Log
from hpcai.check.why.table import STRENGTHS, Cause, causes
from hpcai.check.why.tracebacks import Traceback, bare, rank_of, tracebacks

# A process that prints so many ordinary lines after an error has got over it.
_SURVIVED = 60
# And one of a job that still runs, or was ended from outside, after so few.
_GOES_ON = 5
_MOST_HITS = 1000
# Lines that follow an error without being news: stacks, libraries' chatter, Slurm's and MPI's words.
_CHATTER = re.compile(
    r"^\s|^[=\-*|#~^]|NCCL (?:INFO|WARN|TRACE)|frame #\d|^\[\S+:\d+[\]:]|^\[\d{10}\.\d+\]|slurmstepd|srun: |"
    r"^Exception raised from|backtrace|^\d+ +[0-9/(]|WARNING|UCX +(?:WARN|ERROR|INFO)|^[EWI]\d{4} |"
    r"^(?:MPI|PMIX)|^\[[EWIF]\d{3,4} "
)
_CANCELLED = re.compile(r"\*\*\* (?:STEP|JOB) \S+ ON \S+ CANCELLED|srun: .*Terminating (?:StepId|job step)")
# Slurm's last word on an attempt, and the first word of one that is tried again.
_NEXT_ATTEMPT = re.compile(
    r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+ DUE TO |^hpcai: job \d+ begins attempt \d"
)


@dataclass(frozen=True)
class Sign:
    """A line that one of the known causes matches."""

    cause: Cause
    log: Log
    index: int
    values: Mapping[str, str]
    rank: int | None
    """Whose it is, as far as the line or its file tells."""
    code: str | None = None
    """`FILE:LINE` of the user's own code, where a traceback tells it."""
    is_exception: bool = False
    """Whether it is the last line of a traceback."""

    @property
    def line(self) -> str:
        return bare(self.log.end.lines[self.index]).strip()

    @property
    def strength(self) -> int:
        is_over = self.cause.strength == "stumble" and self.is_exception
        return STRENGTHS.index("cause" if is_over else self.cause.strength)


def of_last_attempt(lines: Sequence[str]) -> int:
    """The index of the first line that the last attempt wrote to a log that all attempts share."""
    ends = [index for index, line in enumerate(lines[:-1]) if _NEXT_ATTEMPT.search(line)]
    return ends[-1] + 1 if ends else 0


def signs(log: Log, when: str, first: int = 0) -> list[Sign]:
    """What a log tells of a job that stands so, in its order, from line `first` on."""
    lines = log.end.lines
    blocks = [block for block in tracebacks(lines) if block.first >= first]
    rows = [cause for cause in causes().values() if cause.match and when in cause.when]
    found = {index: sign for index, sign in _matches(log, rows) if index >= first}
    if when == "failed":
        _add_exceptions(found, log, blocks)
    ordered = [_in_traceback(found[index], blocks) for index in sorted(found)]
    ordered = _not_survived(ordered, lines, blocks, _SURVIVED if when == "failed" else _GOES_ON)
    return _first_exit_alone(ordered, lines, first)


def _matches(log: Log, rows: Iterable[Cause]) -> Iterator[tuple[int, Sign]]:
    """The first cause of the table that each line matches."""
    lines = log.end.lines
    text = "\n".join(lines)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line) + 1)
    taken: set[int] = set()
    for cause in rows:
        assert cause.match is not None
        for index in sorted({at for word in cause.has for at in _lines_with(text, word, begins)}):
            found = cause.match.search(lines[index]) if index not in taken else None
            if found:
                taken.add(index)
                yield index, Sign(cause, log, index, _values(found), _rank(lines[index], found, log))


def _lines_with(text: str, word: str, begins: Sequence[int]) -> Iterator[int]:
    """The numbers of the lines that hold a word; of very many, the last ones."""
    at = len(text)
    for _ in range(_MOST_HITS):
        at = text.rfind(word, 0, at)
        if at < 0:
            return
        line = bisect.bisect_right(begins, at) - 1
        yield line
        at = begins[line]


def _values(found: re.Match[str]) -> dict[str, str]:
    return {name: value.strip() for name, value in found.groupdict().items() if value and value.strip()}


def _rank(line: str, found: re.Match[str], log: Log) -> int | None:
    told = found.groupdict()
    number = re.match(r"\d+", told.get("rank") or told.get("task") or "")
    if number:
        return int(number[0])
    by_prefix = rank_of(line)
    return by_prefix if by_prefix is not None else log.rank


def _add_exceptions(found: dict[int, Sign], log: Log, blocks: Iterable[Traceback]) -> None:
    """A traceback that no cause knows tells its own last line."""
    generic = causes()["python-exception"]
    for block in blocks:
        if block.last in found or block.is_chained:
            continue
        kind, _, message = block.exception.partition(":")
        values = {"exception": kind.rpartition(".")[2], "message": message.strip()}
        rank = rank_of(log.end.lines[block.last])
        given = {key: value for key, value in values.items() if value}
        found[block.last] = Sign(
            generic, log, block.last, given, log.rank if rank is None else rank, block.code
        )


def _in_traceback(sign: Sign, blocks: Iterable[Traceback]) -> Sign:
    block = next((one for one in blocks if one.first <= sign.index <= one.last), None)
    if block is None:
        return sign
    return replace(sign, code=block.code, is_exception=sign.index == block.last)


def _not_survived(
    ordered: Sequence[Sign], lines: Sequence[str], blocks: Sequence[Traceback], most: int
) -> list[Sign]:
    """The signs after which the log does not go on as if nothing had been."""
    inside = {index for block in blocks for index in range(block.first, block.last + 1)}
    kept: list[Sign] = []
    since, at = 0, len(lines)
    for sign in reversed(ordered):
        between = range(sign.index + 1, at)
        since += sum(_is_ordinary(lines[index]) for index in between if index not in inside)
        if since > most:
            break
        since, at = 0, sign.index
        kept.append(sign)
    return kept[::-1]


def _is_ordinary(line: str) -> bool:
    return bool(line.strip()) and not _CHATTER.search(bare(line))


def _first_exit_alone(ordered: Sequence[Sign], lines: Sequence[str], first: int) -> list[Sign]:
    """Of the lines in which srun tells how tasks ended only the first: the others were ended after it."""
    kept: list[Sign] = []
    had_exit = False
    for sign in ordered:
        if "task" in sign.values and "node" in sign.values and sign.cause.of == "ranks":
            ended_before = any(_CANCELLED.search(line) for line in lines[first : sign.index])
            if had_exit or ended_before:
                continue
            had_exit = True
        kept.append(sign)
    return kept
