"""Run records: make one, find one, list them, read and extend one."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcai import __version__
from hpcai.errors import NotFoundError, StageError, UsageError, nearest
from hpcai.runs import attempts as attempts_of_record
from hpcai.runs import files, jsonl, metrics
from hpcai.runs.attempts import CAUSES, RunAttempt
from hpcai.runs.jsonl import Record
from hpcai.runs.metrics import Mark, Series
from hpcai.runs.names import job_id_of, list_names, made_ns, stamp_of, unstamped
from hpcai.runs.paths import RunPaths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Run:
    """One run's record. Nothing is kept in memory: each call reads the files as they are now."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def experiment(self) -> str:
        return self.path.parent.name

    @property
    def ident(self) -> str:
        """The name that fits this run only: experiment/run."""
        return f"{self.experiment}/{self.name}"

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.path)

    @property
    def job_id(self) -> int | None:
        """Slurm's id of the job, None before it was submitted.

        The batch part knows it too, should the client have been killed before it wrote it down.
        """
        submitted = [event.get("job_id") for event in self.events() if event.get("event") == "submitted"]
        started = [] if submitted else [line.get("job_id") for line in jsonl.read(self.paths.attempts)]
        known = [job_id for job_id in submitted or started if isinstance(job_id, int)]
        return known[-1] if known else None

    @property
    def is_local(self) -> bool:
        """Whether the run's processes are of the machine that submitted it."""
        return any(
            event.get("event") == "submitted" and event.get("where") == "local" for event in self.events()
        )

    def resolved(self) -> dict[str, Any]:
        """The spec with every default filled in.

        Raises StageError when the file is damaged or newer than this hpcai.
        """
        return files.read_json(self.paths.resolved)

    def environment(self) -> dict[str, Any]:
        """What the job found itself in (versions, host names); {} when nobody has written it.

        Raises StageError when the file is damaged or newer than this hpcai.
        """
        found = files.read_json(self.paths.environment)
        # Older records tell what started the ranks under the job's word for how they are to be started.
        older = "launcher" in found and "started_by" not in found
        return {"started_by" if older and key == "launcher" else key: value for key, value in found.items()}

    def events(self) -> list[Record]:
        """What the owner's client did, in order."""
        return jsonl.read(self.paths.events)

    def ends(self) -> list[Record]:
        """What Slurm said about the ends of attempts, in the order it was asked."""
        return jsonl.read(self.paths.ends)

    def attempts(self) -> list[RunAttempt]:
        """The attempts in the order of their starts, each joined with its last known end."""
        return attempts_of_record.join(jsonl.read(self.paths.attempts), self.ends())

    def metrics(self, rank: int = 0) -> dict[str, Series]:
        """One series per metric name that a rank wrote."""
        return metrics.series_of(metrics.read_values(self.paths.metrics(rank)))

    def marks(self, rank: int = 0) -> list[Mark]:
        """The instants of the run's course that a rank wrote, in order."""
        return metrics.marks_of(metrics.read_values(self.paths.metrics(rank)))

    def data(self) -> dict[str, list[Record]]:
        """What each node brought to its scratch, by node."""
        return {path.stem: jsonl.read(path) for path in self.paths.data_files()}

    def append_event(self, name: str, **fields: Any) -> None:
        """Note what the client did. Raises StageError when it cannot be written."""
        jsonl.append(self.paths.events, {"event": name, **fields, "time": time.time()})

    def append_end(
        self,
        attempt: int,
        state: str,
        exit_status: int | None,
        signal: int | None,
        cause: str,
        *,
        end: float | None = None,
    ) -> None:
        """Note what Slurm says of an attempt's end; the last line of an attempt counts.

        `end` is when Slurm says it ended: an attempt whose node died did not write that itself.
        Raises StageError when it cannot be written, ValueError for a cause that is none.
        """
        if cause not in CAUSES:
            raise ValueError(f"{cause!r} is no end cause; they are {', '.join(CAUSES)}")
        jsonl.append(
            self.paths.ends,
            {
                "attempt": attempt,
                "job_id": self.job_id,
                "state": state,
                "exit_status": exit_status,
                "signal": signal,
                "cause": cause,
                "end": end,
                "time": time.time(),
            },
        )


def create_run(
    runs_root: Path,
    experiment: str,
    name: str,
    *,
    spec_text: str,
    overrides: Sequence[str] = (),
    resolved: Mapping[str, Any],
    script: str | Callable[[Path], str],
    code: Callable[[RunPaths], None] | None = None,
) -> Run:
    """A new run named <name>-<UTC time>; `script` may be a function of the run's folder.

    `overrides` are what was laid over the spec's text, such as `nodes=4`; `code` notes what code it runs.
    Either the whole record stands or nothing of it.
    Raises UsageError for a name that cannot be a folder, StageError when the folder cannot be written,
    and what `script` raises.
    """
    for what, value in (("experiment", experiment), ("run", name)):
        _require_folder_name(what, value)
    run = Run(_make_folder(runs_root.absolute() / experiment, name))
    try:
        if code is not None:
            code(run.paths)
        _fill(run, spec_text, overrides, resolved, script)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def _require_folder_name(what: str, value: str) -> None:
    if not _NAME.fullmatch(value) or len(value) > 200:
        raise UsageError(
            f"{value!r} cannot be the name of {'an' if what == 'experiment' else 'a'} {what}.",
            allowed="Letters, digits, '.', '_' and '-' are allowed, a letter or digit first.",
        )


def _make_folder(parent: Path, name: str) -> Path:
    """A folder that no other process has made: mkdir is exclusive on NFS too."""
    stamped = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    number = 1
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = parent / (stamped if number == 1 else f"{stamped}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return path
    except OSError as error:
        raise jsonl.cannot_write(parent, error) from error


def _fill(
    run: Run,
    spec_text: str,
    overrides: Sequence[str],
    resolved: Mapping[str, Any],
    script: str | Callable[[Path], str],
) -> None:
    try:
        for folder in run.paths.folders():
            folder.mkdir()
    except OSError as error:
        raise jsonl.cannot_write(run.path, error) from error
    files.write_text(run.paths.spec, spec_text)
    files.write_text(run.paths.script, script if isinstance(script, str) else script(run.path))
    run.append_event("created", hpcai=__version__, overrides=list(overrides))
    # Last, because a folder is a run once this file stands.
    files.write_json(run.paths.resolved, resolved)


def list_runs(runs_root: Path) -> list[Run]:
    """Every run below the root that may be read, newest first; no root is no runs."""
    runs = (Run(runs_root / experiment / name) for experiment, name in list_names(runs_root))
    made = [(stamp_of(run.name) or ("", 0), at, run) for run in runs if (at := made_ns(run.path)) is not None]
    # Of one second, the time that its record came to stand tells which was first.
    made.sort(key=lambda one: (one[0][0], one[1]), reverse=True)
    return [run for *_, run in made]


def find_run(runs_root: Path, ident: str) -> Run:
    """The run that `ident` names: Slurm job id, run name, experiment/run, a beginning of either that
    fits one run only, or `@last`.

    A job id that Slurm has used again means its newest run, as in sacct.
    Raises NotFoundError with the nearest name, UsageError when two runs fit.
    """
    runs = list_runs(runs_root)
    if not runs:
        raise NotFoundError(
            f"There is no run {_in_short(ident)!r}: {str(runs_root)!r} holds no runs.",
            next_step="`hpcai submit FILE` makes one; HPCAI_RUNS_ROOT names another place to look.",
        )
    if ident == "@last":
        return runs[0]
    fitting = _fitting(runs, ident)
    if not fitting:
        raise _not_found(runs, ident)
    if len(fitting) > 1:
        raise _ambiguous(ident, fitting)
    return fitting[0]


def _fitting(runs: Sequence[Run], ident: str) -> list[Run]:
    exact = [run for run in runs if ident in (run.name, run.ident)]
    if exact:
        return exact
    job_id = job_id_of(ident)
    if job_id is not None:
        return next(([run] for run in runs if _job_id(run) == job_id), [])
    of_name = [run for run in runs if unstamped(run.name) == ident]
    if of_name:
        return of_name
    return [run for run in runs if ident and (run.name.startswith(ident) or run.ident.startswith(ident))]


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
