"""Run records: list them, find the one that a name means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hpcai.errors import NotFoundError, StageError, UsageError, nearest
from hpcai.runs.names import job_id_of, list_names, made_ns, stamp_of, unstamped
from hpcai.runs.record import Run
from hpcai.units import format_array

_TASK = re.compile(r"[0-9]{1,7}")


def list_runs(runs_root: Path) -> list[Run]:
    """Every run below the root that may be read, newest first; no root is no runs."""
    runs = (Run(runs_root / experiment / name) for experiment, name in list_names(runs_root))
    made = [(stamp_of(run.name) or ("", 0), at, run) for run in runs if (at := made_ns(run.path)) is not None]
    # Of one second, the time that its record came to stand tells which was first.
    made.sort(key=lambda one: (one[0][0], one[1]), reverse=True)
    return [run for *_, run in made]


def find_run(runs_root: Path, ident: str) -> Run:
    """The run that `ident` names: Slurm job id, run name, experiment/run, a beginning of either that
    fits one run only, or `@last`; with `_3` behind it task 3 of a run that is an array.

    A job id that Slurm has used again means its newest run, as in sacct.
    Raises NotFoundError with the nearest name, UsageError when two runs fit.
    """
    runs = list_runs(runs_root)
    if not runs:
        raise NotFoundError(
            f"There is no run {_in_short(ident)!r}: {str(runs_root)!r} holds no runs.",
            next_step="`hpcai submit FILE` makes one; HPCAI_RUNS_ROOT names another place to look.",
        )
    fitting = _fitting(runs, ident)
    if not fitting:
        raise _not_found(runs, ident)
    if len(fitting) > 1:
        raise _ambiguous(ident, fitting)
    return fitting[0]


def _fitting(runs: Sequence[Run], ident: str) -> list[Run]:
    named = _named(runs, ident) or _tasks_named(runs, ident)
    if named:
        return named
    return [run for run in runs if ident and (run.name.startswith(ident) or run.ident.startswith(ident))]


def _tasks_named(runs: Sequence[Run], ident: str) -> list[Run]:
    """The tasks of arrays that this is the name of. Raises NotFoundError for one that its array has not."""
    base, _, number = ident.rpartition("_")
    if not _TASK.fullmatch(number):
        return []
    arrays = [(run, ids) for run in _named(runs, base) if (ids := run.task_ids())]
    found = [run.of_task(int(number)) for run, ids in arrays if int(number) in ids]
    if arrays and not found:
        run, ids = arrays[0]
        raise NotFoundError(
            f"{run.name} has no task {number}.", allowed=f"Its tasks are {format_array(ids)}."
        )
    return found


def _named(runs: Sequence[Run], ident: str) -> list[Run]:
    """Those that this is the whole name of."""
    if ident == "@last":
        return list(runs[:1])
    exact = [run for run in runs if ident in (run.name, run.ident)]
    if exact:
        return exact
    job_id = job_id_of(ident)
    if job_id is not None:
        return next(([run] for run in runs if _job_id(run) == job_id), [])
    return [run for run in runs if unstamped(run.name) == ident]


def _job_id(run: Run) -> int | None:
    try:
        return run.job_id
    except StageError:
        # Another user's file that may not be read: not the run that is looked for.
        return None


def _not_found(runs: Sequence[Run], ident: str) -> NotFoundError:
    if job_id_of(ident) is not None:
        return NotFoundError(
            f"No run has the Slurm job id {ident}.",
            next_step=f"The newest run is {runs[0].ident!r}; @last names it.",
        )
    known = {name: run for run in reversed(runs) for name in (unstamped(run.name), run.name, run.ident)}
    near = nearest(ident, known)
    hint = f"Did you mean {known[near].name!r}?" if near else f"The newest run is {runs[0].ident!r}."
    return NotFoundError(f"There is no run {_in_short(ident)!r}.", next_step=hint)


def _in_short(ident: str, most: int = 80) -> str:
    return ident if len(ident) <= most else f"{ident[: most - 3]}..."


def _ambiguous(ident: str, fitting: Sequence[Run], shown: int = 4) -> UsageError:
    names = ", ".join(repr(run.ident) for run in fitting[:shown])
    more = f" and {len(fitting) - shown} more" if len(fitting) > shown else ""
    return UsageError(
        f"{ident!r} fits {len(fitting)} runs: {names}{more}.",
        next_step="Give the whole name; @last is the newest run of all.",
    )
