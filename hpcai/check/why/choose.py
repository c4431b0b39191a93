"""Which of many lines tells best why a job failed. docs/decisions/017-the-most-telling-line.md says how."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from hpcai.check.why.facts import Facts, Log
from hpcai.check.why.scan import Sign, of_last_attempt, signs
from hpcai.check.why.table import causes
from hpcai.check.why.tracebacks import bare

_TORCH_FACT = re.compile(r"^\s*(time|host|rank|exitcode)\s*: (\S+)")
# Of these, a line with a rank is mpirun's: it names the first that failed, and no other.
_OF_MPIRUN = ("rank-failed", "rank-killed", "rank-aborted", "segmentation-fault")
# Horovod tells of a stall every 60 s.
_LATE_S = 90.0
_ROOT = "Root Cause (first observed failure)"
_OF_SIGNAL = {"-9": "rank-killed", "-11": "segmentation-fault", "-7": "bus-error"}


@dataclass(frozen=True)
class FirstFailed:
    """The rank that was seen to fail before the others."""

    rank: int
    is_task: bool
    """Whether it is counted as Slurm's tasks are, and so as logs are; torchrun counts processes."""
    node: str | None
    sign: Sign

    def is_of(self, sign: Sign) -> bool:
        if self.is_task and sign.log.rank is not None:
            return sign.log.rank == self.rank
        return sign.rank == self.rank


@dataclass(frozen=True)
class Choice:
    """The line that tells most, and what else is known of the failure."""

    sign: Sign | None
    first: FirstFailed | None
    others: int = 0
    """How many other ranks tell of trouble."""


def choose(facts: Facts, only: Collection[str] = ()) -> Choice:
    """The most telling line of all logs; `only` are the ids of the causes that count, default: all."""
    when = facts.stands
    found = [sign for log in facts.logs for sign in _of_log(log, facts, when)]
    roots = [one for log in facts.logs for one in _torch_roots(log)] if when == "failed" else []
    found += [root.sign for _, root in roots]
    found = [sign for sign in found if not only or sign.cause.id in only]
    if when in ("running", "time_limit"):
        found = [sign for sign in found if _is_latest(sign, facts)]
    first = min(roots, key=lambda one: one[0])[1] if roots else _first_of_launcher(found)
    if not found:
        return Choice(None, None)
    best = min(found, key=lambda sign: _place(sign, first))
    ranks = {sign.rank for sign in found if sign.rank is not None} - {best.rank}
    return Choice(best, first, len(ranks))


def _of_log(log: Log, facts: Facts, when: str) -> list[Sign]:
    restarted = len(facts.attempts) > 1 or bool(facts.job and facts.job.restarts)
    shared = log.rank is None and restarted
    return signs(log, when, of_last_attempt(log.end.lines) if shared else 0)


def _is_latest(sign: Sign, facts: Facts) -> bool:
    """Whether no other rank has gone on since it was written."""
    newest = max((log.end.written for log in facts.logs if log.rank is not None), default=0.0)
    return sign.log.end.written >= newest - _LATE_S


def _place(sign: Sign, first: FirstFailed | None) -> tuple[float, ...]:
    """The least is best: a cause before a symptom, the first rank, who fell silent first, the first line."""
    is_first = first is not None and first.is_of(sign)
    # Where the rank that failed first stumbled, it fell.
    fell = is_first and sign.cause.strength == "stumble"
    return (
        0 if fell else sign.strength,
        not is_first,
        sign.log.end.written,
        sign.index,
    )


def _first_of_launcher(found: Iterable[Sign]) -> FirstFailed | None:
    for sign in found:
        task, node = sign.values.get("task"), sign.values.get("node")
        if task and node and sign.cause.of == "ranks":
            return FirstFailed(int(re.split(r"\D", task)[0]), True, node, sign)
        if sign.cause.id in _OF_MPIRUN and sign.values.get("rank"):
            return FirstFailed(int(sign.values["rank"]), False, sign.values.get("host"), sign)
    return None


def _torch_roots(log: Log) -> Iterator[tuple[str, FirstFailed]]:
    """What torchrun says that failed first, on one node, with the time of it."""
    lines = log.end.lines
    for index, line in enumerate(lines):
        if _ROOT not in line:
            continue
        facts = {
            found[1]: found[2]
            for near in lines[index : index + 9]
            if (found := _TORCH_FACT.match(bare(near)))
        }
        if facts.get("rank", "").isdecimal() and "exitcode" in facts:
            rank, status = int(facts["rank"]), facts["exitcode"]
            values = {"task": facts["rank"], "status": status}
            values |= {"node": facts["host"]} if "host" in facts else {}
            cause = causes()[_OF_SIGNAL.get(status, "rank-failed")]
            sign = Sign(cause, log, index, values, rank)
            yield facts.get("time", ""), FirstFailed(rank, False, facts.get("host"), sign)
