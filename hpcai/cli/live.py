"""The live view of one run on a terminal: a few lines that are drawn again in place."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hpcai.cli import narrate, words
from hpcai.launch.follow import Snapshot
from hpcai.runs.tails import printable

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-=*#"
_SHORTEST_NAME = 12
_DOING = {
    "submitted": "submitted; Slurm has not answered yet",
    "starting": "starting",
    "staging": "staging the data",
    "first step": "preparing the first step",
    "training": "training",
    "evaluating": "evaluating",
    "saving": "saving",
    "running": "running",
    "ending": "ending",
    "ended": "ended",
}


def console(*, stderr: bool = True) -> Console:
    """The terminal that words for people, or data, go to; NO_COLOR, TERM=dumb and COLUMNS are respected."""
    return Console(stderr=stderr, highlight=False)


def can_draw(screen: Console) -> bool:
    """Whether lines can be drawn again in place."""
    return screen.is_terminal and not screen.is_dumb_terminal


class View:
    """The view of one run, drawn on `screen` while its `with` block lasts."""

    def __init__(self, screen: Console, name: str, job_id: int | None) -> None:
        self._screen = screen
        self._name = name
        self._job_id = job_id
        self._live = Live(console=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def show(self, snapshot: Snapshot, log_tail: Sequence[str] = ()) -> None:
        """Draw the run as it stands; `log_tail` is shown for a job that writes no metrics."""
        pretty = (self._screen.encoding or "").lower().startswith("utf")
        lines = draw(snapshot, self._name, self._job_id, log_tail, self._screen.width, pretty=pretty)
        self._live.update(Group(*lines), refresh=True)

    def __enter__(self) -> View:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def draw(
    now: Snapshot, name: str, job_id: int | None, log_tail: Sequence[str], width: int, *, pretty: bool = True
) -> list[Text]:
    """The lines of the view, none longer than `width`."""
    marks = _PRETTY if pretty else _PLAIN
    lines = [_title(now, name, job_id, width, pretty=pretty)]
    lines += [
        _line(marks.bad, f"attempt {number} {words.cause(cause)}") for number, cause in now.ended_attempts
    ]
    lines += _staging(now, marks)
    if now.resumed_step is not None:
        lines.append(_line(marks.done, f"goes on from step {now.resumed_step}"))
    lines.append(_now(now, marks))
    if now.never_starts:
        lines.append(_line(marks.bad, f"hpcai cancel {name}"))
    if now.epoch is not None or now.loss is not None:
        lines += _numbers(now, width, pretty=pretty)
    elif now.outcome is None:
        lines += [Text("    " + printable(line), style="dim") for line in log_tail[-6:]]
    if now.silent_s:
        lines.append(_line(marks.bad, f"Slurm has not answered for {words.span(now.silent_s)}"))
    if now.outcome is None:
        lines.append(
            Text("Ctrl-C leaves this view; the job goes on." if job_id else "Ctrl-C ends the job.", "dim")
        )
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis" if pretty else "crop")
    return lines


class _Marks(NamedTuple):
    """A sign and its color for what is done, goes on, or went wrong."""

    done: tuple[str, str]
    active: tuple[str, str]
    bad: tuple[str, str]


_PRETTY = _Marks(("✔", "green"), ("●", "cyan"), ("✖", "red"))
_PLAIN = _Marks(("+", "green"), ("*", "cyan"), ("x", "red"))


def _line(mark: tuple[str, str], text: str) -> Text:
    return Text("  ").append(mark[0], style=mark[1]).append(f" {text}")


def _staging(now: Snapshot, marks: _Marks, shown: int = 4) -> list[Text]:
    mark = marks.done if len(now.staged) >= now.wanted_data else marks.active
    lines = [_line(mark, narrate.staging(one)) for one in now.staged[:shown]]
    if len(now.staged) > shown:
        lines.append(_line(mark, f"and {len(now.staged) - shown} more of {now.wanted_data}"))
    return lines


def _now(now: Snapshot, marks: _Marks) -> Text:
    if now.outcome is None:
        return _line(marks.active, _doing(now))
    mark = marks.done if now.outcome.state == "COMPLETED" else marks.bad
    return _line(mark, words.ended(now.outcome))


def _title(now: Snapshot, name: str, job_id: int | None, width: int, *, pretty: bool) -> Text:
    """The name and the facts beside it; a long name gives way, because only it is known already."""
    facts = [f"job {job_id}"] if job_id else ["on this machine"]
    if now.attempt:
        facts.append(f"attempt {now.attempt}")
    if now.node_list and job_id:
        facts.append(now.node_list)
    if now.since is not None:
        facts.append(words.span(now.now - now.since))
    beside = "  " + "  ".join(facts)
    title = Text(name, style="bold")
    title.truncate(max(_SHORTEST_NAME, width - len(beside)), overflow="ellipsis" if pretty else "crop")
    return title.append(beside, style="not bold dim")


def _doing(now: Snapshot) -> str:
    if now.phase == "waiting" and now.words:
        return now.words + (f" ({now.reason})" if now.reason else "")
    if now.phase == "starting" and now.state == "CONFIGURING" and now.words:
        return now.words
    return _DOING[now.phase]


def _numbers(now: Snapshot, width: int, *, pretty: bool) -> list[Text]:
    lines = [] if now.epoch is None else [_epoch(now, width, pretty=pretty)]
    facts = (("step {}", now.step), ("loss {:.4f}", now.loss), ("top-1 {:.4f}", now.top1))
    lines.append(Text("    " + "  ".join(form.format(value) for form, value in facts if value is not None)))
    if now.images_per_s:
        rate = f"    {now.images_per_s[-1]:.1f} images/s  "
        line = sparkline(now.images_per_s, min(30, width - len(rate)), pretty=pretty)
        lines.append(Text(rate).append(line, style="cyan"))
    return lines


def _epoch(now: Snapshot, width: int, *, pretty: bool) -> Text:
    line = Text(f"    epoch {now.epoch}/{now.epochs}" if now.epochs else f"    epoch {now.epoch}")
    left = f"  {words.span(now.left_s)} left" if now.left_s is not None and now.outcome is None else ""
    room = min(30, width - len(line) - len(left) - 2)
    if now.fraction is not None and room >= 8:
        line.append("  ").append_text(_bar(now.fraction, room, pretty=pretty))
    return line.append(left, style="dim")


def _bar(fraction: float, width: int, *, pretty: bool) -> Text:
    full = round(fraction * width)
    filled, empty = ("━", "─") if pretty else ("#", ".")
    return Text(filled * full, style="cyan").append(empty * (width - full), style="bright_black")


def sparkline(values: Sequence[float], width: int, *, pretty: bool = True) -> str:
    """The last values as blocks of a height from 0 to their largest; at most `width` of them."""
    blocks = _BLOCKS if pretty else _ASCII_BLOCKS
    shown = list(values)[-max(0, width) :] if width > 0 else []
    top = max(shown, default=0.0)
    if top <= 0:
        return ""
    return "".join(blocks[round(max(0.0, value) / top * (len(blocks) - 1))] for value in shown)
