"""`hpcai queue --watch`: the list drawn again in place, or one line per change where nothing can be drawn."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hpcai.cli.columns import cut, fitted, padded, width_of
from hpcai.cli.following import DETACHED
from hpcai.cli.output import SCHEMA_VERSION, put, say, table_cells
from hpcai.cli.queue import COLUMNS, ROOM, SHOWN, colors_of, for_people, place, row_of
from hpcai.cli.words import clock, span
from hpcai.errors import ToolError, UnreachableError

if TYPE_CHECKING:
    from rich.text import Text

    from hpcai.slurm.answers import JobInfo
    from hpcai.slurm.client import SlurmClient

# After so long without an answer, watching ends.
_SILENCE_LIMIT_S = 900.0
_LINES_BESIDE = 4


class Watched:
    """The jobs as they stand, and those that ended since watching began."""

    def __init__(self) -> None:
        self.jobs: list[JobInfo] = []
        self.asked = 0.0
        self._seen: set[str] = set()
        self._forgotten: list[JobInfo] = []

    def feed(self, asked: float, jobs: Sequence[JobInfo]) -> list[JobInfo]:
        """The jobs that are new or whose state has changed since the last answer."""
        before = {job.ident: job for job in self.jobs}
        known = {job.ident for job in jobs}
        jobs = [*jobs, *(job for job in self._forgotten if job.ident not in known)]
        is_first, self.asked = not self.asked, asked
        # What had ended before anybody watched is no news.
        shown = [job for job in jobs if not job.is_final or job.ident in self._seen]
        self._seen.update(job.ident for job in shown)
        self.jobs = sorted(shown, key=lambda job: (job.is_final, *place(job)))
        changed = [job for job in self.jobs if _told(job) != _told(before.get(job.ident))]
        return changed if not is_first else self.jobs

    def feed_forgotten(self, jobs: Sequence[JobInfo], client: SlurmClient) -> None:
        """Asks accounting of jobs that have gone from the list before anybody saw their end."""
        known = {job.ident for job in jobs} | {job.ident for job in self._forgotten}
        gone = {job.ident for job in self.jobs if not job.is_final and job.ident.isdecimal()} - known
        if gone:
            # Without accounting they are just gone.
            with suppress(ToolError, UnreachableError):
                last = {job.ident: job for job in client.kept(sorted(gone))}
                self._forgotten += [job for job in last.values() if job.is_final]


def _told(job: JobInfo | None) -> tuple[object, ...]:
    return () if job is None else (job.state, job.reason, job.node_list, job.restarts)


def watch_queue(client: SlurmClient, interval_s: float, output: str) -> NoReturn:
    """Shows the queue until Ctrl-C, which ends with 130.

    Raises UnreachableError when Slurm has not answered for 15 minutes.
    """
    from hpcai.cli import live

    screen = live.console(stderr=False)
    watched = Watched()
    try:
        if output == "table" and live.can_draw(screen):
            _draw_on(screen, watched, client, interval_s)
        _tell(watched, client, interval_s, output)
    except KeyboardInterrupt:
        say("\nNo longer watching; jobs go on.")
        raise click.exceptions.Exit(DETACHED) from None


def _ask(watched: Watched, client: SlurmClient, interval_s: float) -> list[JobInfo] | None:
    """What has changed; None where Slurm did not answer."""
    try:
        asked, jobs = client.my_jobs(since=time.time() - interval_s / 2)
        watched.feed_forgotten(jobs, client)
        return watched.feed(asked, jobs)
    except UnreachableError:
        if not watched.asked or time.time() - watched.asked > _SILENCE_LIMIT_S:
            raise
        return None


def _tell(watched: Watched, client: SlurmClient, interval_s: float, output: str) -> NoReturn:
    while True:
        changed = _ask(watched, client, interval_s)
        if changed is None:
            say(f"{clock(time.time())}  Slurm has not answered for {span(time.time() - watched.asked)}")
        for job in changed or ():
            put(_line(job, watched.asked, output))
        time.sleep(interval_s)


def _line(job: JobInfo, now: float, output: str) -> str:
    row = row_of(job, now)
    if output == "jsonl":
        kept = {column: row[column] for column in COLUMNS}
        return json.dumps({"schema_version": SCHEMA_VERSION, "time": now, **kept})
    nodes = f" on {job.node_list}" if job.node_list and not job.is_final else ""
    return f"{clock(now)}  {row['run']}  job {job.ident}  {row['why']}{nodes}"


def _draw_on(screen: Any, watched: Watched, client: SlurmClient, interval_s: float) -> NoReturn:
    from rich.console import Group
    from rich.live import Live

    with Live(console=screen, auto_refresh=False, screen=False, transient=False) as drawn:
        while True:
            _ask(watched, client, interval_s)
            lines = view(watched, time.time(), screen.width, screen.height)
            drawn.update(Group(*lines), refresh=True)
            time.sleep(interval_s)


def view(watched: Watched, now: float, width: int, height: int) -> list[Text]:
    """The lines of the view, none longer than `width`, and no more than fit into `height`."""
    from rich.text import Text

    rows = [for_people(job, now) for job in watched.jobs]
    room = max(1, height - _LINES_BESIDE)
    lines = [_head(watched, now)]
    if rows:
        lines += _table(rows[:room], width)
    if len(rows) > room:
        lines.append(Text(f"and {len(rows) - room} more", style="dim"))
    lines.append(Text("Ctrl-C leaves this view; jobs go on.", style="dim"))
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="crop")
    return lines


def _head(watched: Watched, now: float) -> Text:
    from rich.text import Text

    counts = [
        (sum(job.state == "RUNNING" for job in watched.jobs), "run"),
        (sum(job.state == "PENDING" for job in watched.jobs), "wait"),
        (sum(job.is_final for job in watched.jobs), "ended meanwhile"),
    ]
    told = ", ".join(f"{count} {word}" for count, word in counts if count)
    head = Text(clock(watched.asked), style="bold").append(
        f"  {told or 'No job of yours waits or runs.'}", style="not bold"
    )
    silent_s = now - watched.asked
    if silent_s > 30:
        head.append(f"  Slurm has not answered for {span(silent_s)}", style="red")
    return head


def _table(rows: Sequence[Mapping[str, Any]], width: int) -> list[Text]:
    cells = [[column.upper() for column in SHOWN], *table_cells(rows, SHOWN)]
    found = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
    widths = fitted(dict(zip(SHOWN, found, strict=True)), width, ROOM)
    styles = [dict.fromkeys(SHOWN, "bold"), *map(colors_of, rows)]
    return [_row(words, widths, style) for words, style in zip(cells, styles, strict=True)]


def _row(words: Sequence[str], widths: Mapping[str, int], styles: Mapping[str, str]) -> Text:
    from rich.text import Text

    line, by_column = Text(), dict(zip(SHOWN, words, strict=True))
    for column, width in widths.items():
        line.append(padded(cut(by_column[column], width), width), style=styles.get(column)).append("  ")
    return line
