"""The output of a run's ranks: of one as it is, of several with the rank before each line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpcai.cli.output import say
from hpcai.cli.pipes import Chosen, Pipe, copy_all, finish_all

if TYPE_CHECKING:
    from pathlib import Path

    from hpcai.cli.context import Context
    from hpcai.runs.record import Run

# Ranks that begin later are looked for at this interval.
_LIST_EVERY_S = 0.5


@dataclass(frozen=True)
class Wanted:
    """What of a job's output is printed."""

    ranks: tuple[int, ...] | None
    """None where nobody said: rank 0, or all where lines are looked for; () is all."""
    attempt: int | None
    batch: bool
    lines: Chosen

    @property
    def are_all(self) -> bool:
        return self.ranks == () or (self.ranks is None and self.lines.grep is not None)

    @property
    def named(self) -> tuple[int, ...]:
        """The ranks that are meant, where not all are."""
        return () if self.are_all else self.ranks or (0,)

    def without_tail(self) -> Wanted:
        """The same from the begin on."""
        return replace(self, lines=replace(self.lines, tail=None))


class RankPipes:
    """The output of an attempt's ranks, those too that begin later."""

    def __init__(self, run: Run, number: int, wanted: Wanted) -> None:
        self._run = run
        self._number = number
        self._wanted = wanted
        self._next_list = 0.0
        self._width = self._label_width()
        self._pipes: dict[Path, Pipe] = {}
        for rank in wanted.named:
            for path in (run.paths.log(number, rank, "out"), run.paths.log(number, rank, "err")):
                self._add(path, rank)
        self._list()
        # What begins while somebody follows is printed from its begin.
        self._wanted = wanted.without_tail()

    @property
    def pipes(self) -> list[Pipe]:
        return [*self._pipes.values()]

    def copy(self) -> None:
        """Everything new."""
        self._list()
        copy_all(self.pipes)

    def finish(self) -> None:
        """The rest."""
        self._next_list = 0.0
        self._list()
        finish_all(self.pipes)

    def _list(self) -> None:
        now = time.monotonic()
        if not self._wanted.are_all or now < self._next_list:
            return
        self._next_list = now + _LIST_EVERY_S
        # Of each rank what it printed to its stdout before what it printed to its stderr.
        found = sorted(
            self._run.paths.logs(self._number), key=lambda path: (int(path.stem), path.suffix != ".out")
        )
        for path in found:
            if path not in self._pipes:
                self._add(path, int(path.stem))

    def _add(self, path: Path, rank: int) -> None:
        stream = sys.stdout if path.suffix == ".out" else sys.stderr
        label = f"{rank:{self._width}}: " if self._width else ""
        self._pipes[path] = Pipe(path, stream, self._wanted.lines, label)

    def _label_width(self) -> int:
        """How wide the numbers of ranks are; 0 where only one is printed."""
        begun = ranks_of(self._run, [self._number])
        ranks = range(max(_expected(self._run), *begun, 1)) if self._wanted.are_all else self._wanted.named
        return len(str(max(ranks))) if len(ranks) > 1 else 0


def ranks_of(run: Run, attempts: Iterable[int]) -> list[int]:
    """The ranks that printed something, or could, in any of these attempts."""
    return sorted({int(path.stem) for number in attempts for path in run.paths.logs(number)})


def _expected(run: Run) -> int:
    """How many ranks the job's spec tells of."""
    resolved = run.resolved()
    parts = resolved.get("components") or [resolved]
    counts = (
        part.get("ntasks") or (part.get("nodes") or 1) * (part.get("ntasks_per_node") or 1) for part in parts
    )
    return sum(count for count in counts if isinstance(count, int))


def require_ranks(context: Context, run: Run, there: list[int], wanted: Wanted) -> None:
    """Raises ToolError for the first that is meant, and is none of those that are there."""
    from hpcai.cli.logs import state_of
    from hpcai.errors import ToolError

    for rank in wanted.named:
        if rank not in there:
            raise ToolError(
                f"{run.name} has no rank {rank}: {state_of(context, run)}.",
                allowed=f"Its ranks are 0 to {there[-1]}." if there[-1] else "Its only rank is 0.",
            )


def say_nothing_matches(name: str, wanted: Chosen) -> None:
    """That the job printed no line that is looked for: nothing selected is no error."""
    assert wanted.grep is not None
    say(f"Nothing that {name} printed matches {wanted.grep.pattern!r}.")
