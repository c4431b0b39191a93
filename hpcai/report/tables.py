"""The tables of a report: cells are text, ready for both the page and Markdown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpcai.report.collect import RunFacts, Transfer
from hpcai.report.statistics import Estimate, Scaling, Throughput, figure_text, nodes_text, spread_word
from hpcai.runs import signals
from hpcai.runs.attempts import RunAttempt
from hpcai.runs.waterfall import STAGES, Course
from hpcai.units import about_bytes

NONE = "–"
# Whatever a job put there, its variables are not shown: people keep secrets in them.
_MOST_ITEMS = 16
_VARIABLES = frozenset({"env", "environ", "environment", "variables"})


@dataclass(frozen=True)
class Table:
    """Rows under columns; `numeric` holds the places of the columns that are aligned right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()


def results(facts: Sequence[RunFacts]) -> Table:
    """One row per run: where it ran, how it ended, what it reached."""
    measured = ("Held-out top-1", "Images/s", "Images/s end to end")
    columns = ("Run", "Nodes", "Job", "End", "Epochs", *measured, "Attempts", "Submission to end")
    rows = tuple(
        (
            run.label,
            str(run.nodes),
            NONE if run.job_id is None else str(run.job_id),
            end_text(run),
            epochs_text(run),
            top1_text(run),
            NONE if run.images_per_s is None else figure_text(run.images_per_s),
            NONE if run.end_to_end_images_per_s is None else figure_text(run.end_to_end_images_per_s),
            str(len(run.waterfall.courses)),
            seconds_text(_length_s(run)),
        )
        for run in facts
    )
    return _without_empty(Table(columns, rows, frozenset({1, 2, *range(4, 10)})))


def _without_empty(table: Table) -> Table:
    """The table without the columns that hold nothing in any row."""
    kept = [place for place in range(len(table.columns)) if any(row[place] != NONE for row in table.rows)]
    return Table(
        tuple(table.columns[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in table.rows),
        frozenset(new for new, old in enumerate(kept) if old in table.numeric),
    )


def end_text(run: RunFacts) -> str:
    """How the run ended, in words."""
    if run.cause is None:
        return "not ended yet" if run.waterfall.courses else "not started yet"
    last = run.waterfall.courses[-1].attempt
    if run.cause == "failed" and last.exit_status:
        return f"failed (exit status {status_text(last)})"
    return run.cause.replace("_", " ")


def status_text(attempt: RunAttempt) -> str:
    """The exit status, with the signal that it stands for."""
    if attempt.exit_status is None:
        return NONE
    name = signals.of_status(attempt.exit_status)
    return f"{attempt.exit_status}, {name}" if name else str(attempt.exit_status)


def epochs_text(run: RunFacts) -> str:
    """The epochs that the run reached, and of how many when it did not reach all."""
    reached, planned = run.series.get("epoch"), run.series.get("epochs")
    if not reached:
        return NONE
    text = f"{round(reached.values[-1], 2):g}"
    if planned and reached.values[-1] < planned.values[-1]:
        return f"{text} of {planned.values[-1]:g}"
    return text


def top1_text(run: RunFacts) -> str:
    """The last held-out accuracy in percent."""
    series = run.series.get("top1")
    return percent(series.values[-1], digits=2) if series else NONE


def _length_s(run: RunFacts) -> float | None:
    begin, end = run.waterfall.begin, run.waterfall.end
    return None if begin is None or end is None else end - begin


def throughput(points: Sequence[Throughput], scalings: Sequence[Scaling]) -> Table:
    """One row per number of nodes: images/s with its interval and, beyond the first, the scaling."""
    by_nodes = {scaling.nodes: scaling for scaling in scalings}
    base = f"{nodes_text(points[0].nodes)}" if points else ""
    measured = ("Nodes", "Runs", "Images/s, median", "95 % interval", "Spread within the run", "Values")
    scaled = (f"Speed-up over {base}", "Efficiency", "95 % interval of efficiency", "Range of efficiency")
    columns = (*measured, "Left out as warm-up", *scaled)
    rows = []
    for point in points:
        scaling = by_nodes.get(point.nodes)
        row = [
            str(point.nodes),
            ", ".join(point.labels),
            figure_text(point.estimate.median),
            *_interval_cells(point.estimate),
            str(point.estimate.n),
            str(point.left_out),
            f"{scaling.speedup:.3g}" if scaling else NONE,
            percent(scaling.efficiency.median) if scaling else NONE,
            *(_interval_cells(scaling.efficiency, as_percent=True) if scaling else (NONE, NONE)),
        ]
        rows.append(tuple(row))
    return _without_empty(Table(columns, tuple(rows), frozenset(range(len(columns))) - {1}))


def _interval_cells(estimate: Estimate, *, as_percent: bool = False) -> tuple[str, str]:
    """The interval under its own name: between runs, or within the one run that there is."""
    text = interval_text(estimate, as_percent=as_percent)
    return (text, NONE) if estimate.is_between_runs else (NONE, text)


def spread_text(estimate: Estimate, within: str, *, as_percent: bool = False) -> str:
    """The interval after what it is."""
    text = interval_text(estimate, as_percent=as_percent)
    return text if text == NONE else f"{spread_word(estimate, within)} {text}"


def percent(share: float, *, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def interval_text(estimate: Estimate, *, as_percent: bool = False) -> str:
    """The ends of the interval."""
    if estimate.interval is None:
        return NONE
    low, high = estimate.interval
    if as_percent:
        return f"{low * 100:.1f} to {percent(high)}"
    return f"{figure_text(low)} to {figure_text(high)}"


def waterfall(facts: Sequence[RunFacts]) -> Table:
    """One row per attempt: seconds in each stage."""
    before = STAGES[: STAGES.index("training") + 1]
    after = (*STAGES[len(before) :], "running")
    rows = [
        (run.label, str(course.attempt.number), *_stage_cells(course, before, after))
        for run in facts
        for course in run.waterfall.courses
    ]
    within = ("of which evaluating", "of which saving", "of which waiting for data")
    seconds = (f"{name} (s)" for name in (*before, *within, *after, "lost"))
    columns = ("Run", "Attempt", *seconds, "resumed at step")
    return _without_empty(Table(columns, tuple(rows), frozenset(range(1, len(columns)))))


def _stage_cells(course: Course, before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    seconds = {stage.name: f"{stage.seconds:.1f}" for stage in course.stages}
    cells = [seconds.get(name, NONE) for name in before]
    within = (course.evaluating_s, course.saving_s, course.data_wait_s)
    cells += [NONE if length is None else f"{length:.1f}" for length in within]
    cells += [seconds.get(name, NONE) for name in after]
    cells.append(f"{course.lost.seconds:.1f}" if course.lost else NONE)
    cells.append(NONE if course.resumed_step is None else str(course.resumed_step))
    return tuple(cells)


def transfers(facts: Sequence[RunFacts]) -> Table:
    """One row per node, data set and attempt: how many bytes came from where, and how fast."""
    what = ("Run", "Attempt", "Node", "Data set", "Version", "Size")
    columns = (*what, "From Blob", "From the node's cache", "Time", "MB/s from Blob")
    rows = [(run.label, *_transfer_cells(transfer)) for run in facts for transfer in run.transfers]
    return Table(columns, tuple(rows), frozenset({1, 5, 6, 7, 8, 9}))


def _transfer_cells(transfer: Transfer) -> tuple[str, ...]:
    return (
        NONE if transfer.attempt is None else str(transfer.attempt),
        transfer.node,
        transfer.data,
        NONE if transfer.version is None else transfer.version[:12],
        amount(transfer.total_bytes),
        amount(transfer.blob_bytes),
        amount(transfer.cache_bytes),
        NONE if transfer.seconds is None else f"{transfer.seconds:.2f} s",
        NONE if transfer.mb_per_s is None else f"{transfer.mb_per_s:,.3g}",
    )


def amount(count: int | None) -> str:
    return NONE if count is None else about_bytes(count)


def attempts(facts: Sequence[RunFacts]) -> Table:
    """One row per attempt: where, when and how it ended."""
    columns = (
        "Run",
        "Attempt",
        "Job",
        "Nodes",
        "Start (UTC)",
        "Length",
        "Cause",
        "Slurm's state",
        "Exit status",
        "Record",
    )
    rows = [
        (run.label, *_attempt_cells(course.attempt), run.run.ident)
        for run in facts
        for course in run.waterfall.courses
    ]
    return Table(columns, tuple(rows), frozenset({1, 2, 5, 8}))


def _attempt_cells(attempt: RunAttempt) -> tuple[str, ...]:
    known = attempt.start is not None and attempt.end is not None
    return (
        str(attempt.number),
        NONE if attempt.job_id is None else str(attempt.job_id),
        attempt.node_list or NONE,
        utc_text(attempt.start),
        seconds_text((attempt.end or 0) - (attempt.start or 0) if known else None),
        (attempt.cause or "not ended yet").replace("_", " "),
        attempt.state or NONE,
        status_text(attempt),
    )


def utc_text(instant: float | None) -> str:
    return NONE if instant is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(instant))


def seconds_text(seconds: float | None) -> str:
    """A length of time as people read it."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def environment(facts: Sequence[RunFacts]) -> Table:
    """One row per thing that was recorded of the environments, one column per run that has one."""
    shown = [run for run in facts if run.environment]
    flat = [_flattened(run.environment) for run in shown]
    keys = dict.fromkeys(key for cells in flat for key in cells)
    rows = [(key, *(cells.get(key, NONE) for cells in flat)) for key in keys]
    return Table(("", *(run.label for run in shown)), tuple(rows))


def _flattened(environment: dict[str, Any]) -> dict[str, str]:
    return {
        key.replace("_", " "): _value_text(value)
        for key, value in environment.items()
        if key != "schema_version" and not (key.lower() in _VARIABLES and isinstance(value, (dict, list)))
    }


def _value_text(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        inner = {key: item for key, item in value.items() if str(key).lower() not in _VARIABLES}
        return ", ".join(f"{key} {_value_text(item)}" for key, item in inner.items()) or NONE
    if isinstance(value, list):
        more = [f"{len(value) - _MOST_ITEMS} more"] if len(value) > _MOST_ITEMS else []
        return ", ".join([*map(_value_text, value[:_MOST_ITEMS]), *more]) or NONE
    return str(value)
