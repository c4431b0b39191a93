"""Run records: make one, read and extend one."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcai import __version__
from hpcai.errors import StageError, UsageError
from hpcai.runs import attempts as attempts_of_record
from hpcai.runs import files, jsonl, metrics
from hpcai.runs.attempts import CAUSES, RunAttempt
from hpcai.runs.jsonl import Record
from hpcai.runs.metrics import Mark, Series
from hpcai.runs.paths import RunPaths
from hpcai.units import parse_array

# The kind of a run whose job is a script of the user's own.
BARE = "script"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Run:
    """One run's record, or one task's of a run that is an array.

    Nothing is kept in memory: each call reads the files as they are now.
    """

    path: Path
    task: int | None = None

    @property
    def name(self) -> str:
        """The run's name; of a task of an array with its number behind it, `sweep-20261121-120000_3`."""
        return self.path.name if self.task is None else f"{self.path.name}_{self.task}"

    @property
    def experiment(self) -> str:
        return self.path.parent.name

    @property
    def ident(self) -> str:
        """The name that fits this run, or this task, only: experiment/run."""
        return f"{self.experiment}/{self.name}"

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.path, self.task)

    def task_ids(self) -> tuple[int, ...]:
        """The tasks of a run that is an array; none for one task, another run, and where nothing tells."""
        try:
            array = None if self.task is not None else self.resolved().get("array")
        except StageError:
            # Whoever needs more of a damaged record is told there.
            return ()
        return tuple(parse_array(array)[0]) if isinstance(array, str) else ()

    @property
    def is_bare(self) -> bool:
        """Whether its job is a script of the user's own: Slurm alone tells of its attempts and its output."""
        try:
            return self.resolved().get("kind") == BARE
        except StageError:
            return False

    def of_task(self, task: int) -> Run:
        """One task of this run, which is an array."""
        return Run(self.path, task)

    @property
    def slurm_id(self) -> str | None:
        """What Slurm's commands call it: `12`, or `12_3` for a task of an array."""
        job_id = self.job_id
        return None if job_id is None else str(job_id) if self.task is None else f"{job_id}_{self.task}"

    @property
    def job_id(self) -> int | None:
        """Slurm's id of the job, of a task that of its array; None before it was submitted.

        The batch part knows it too, should the client have been killed before it wrote it down.
        """
        submitted = [event.get("job_id") for event in self.events() if event.get("event") == "submitted"]
        # What a task writes down is its own number, not its array's.
        asks = not submitted and self.task is None
        started = [line.get("job_id") for line in jsonl.read(self.paths.attempts)] if asks else []
        known = [job_id for job_id in submitted or started if isinstance(job_id, int)]
        return known[-1] if known else None

    @property
    def mark(self) -> str | None:
        """What stands in its job's comment; None in older records."""
        marks = [event.get("mark") for event in self.events() if event.get("event") == "submitted"]
        return marks[-1] if marks and isinstance(marks[-1], str) else None

    @property
    def parent(self) -> str | None:
        """The run that it repeats, experiment/run; None for one that repeats none."""
        told = next(
            (event.get("parent") for event in self.events() if event.get("event") == "rerun_of"), None
        )
        return told if isinstance(told, str) else None

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

    def notices(self) -> dict[str, list[Record]]:
        """What each node read of Azure's Scheduled Events, and whether the job was told, by node."""
        return {path.stem: jsonl.read(path) for path in self.paths.notice_files()}

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
        job_id: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what Slurm says of an attempt's end; the last line of an attempt counts.

        `end` is when Slurm says it ended: an attempt whose node died did not write that itself.
        `job_id` is the number that the attempt knows itself by, default: the run's.
        `more` is what nobody else tells of a bare script's attempt.
        Raises StageError when it cannot be written, ValueError for a cause that is none.
        """
        if cause not in CAUSES:
            raise ValueError(f"{cause!r} is no end cause; they are {', '.join(CAUSES)}")
        self._make_own_folder()
        jsonl.append(
            self.paths.ends,
            {
                "attempt": attempt,
                "job_id": self.job_id if job_id is None else job_id,
                "state": state,
                "exit_status": exit_status,
                "signal": signal,
                "cause": cause,
                "end": end,
                **(more or {}),
                "time": time.time(),
            },
        )

    def _make_own_folder(self) -> None:
        # A task that ended before its start has made none.
        try:
            self.paths.own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise jsonl.cannot_write(self.paths.own, error) from error


def create_run(
    runs_root: Path,
    experiment: str,
    name: str,
    *,
    spec_text: str | None,
    overrides: Sequence[str] = (),
    resolved: Mapping[str, Any],
    script: str | bytes | Callable[[Path], str],
    code: Callable[[RunPaths], None] | None = None,
    parent: Run | None = None,
) -> Run:
    """A new run named <name>-<UTC time>; `script` may be a function of the run's folder.

    `spec_text` None: a bare script, whose job knows nothing of the record.
    `overrides` are what was laid over the spec's text, such as `nodes=4`; `code` notes what code it runs;
    `parent` is the run that it repeats.
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
        if parent is not None:
            run.append_event("rerun_of", parent=parent.ident)
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
    spec_text: str | None,
    overrides: Sequence[str],
    resolved: Mapping[str, Any],
    script: str | bytes | Callable[[Path], str],
) -> None:
    if spec_text is not None:
        try:
            for folder in run.paths.folders():
                folder.mkdir()
        except OSError as error:
            raise jsonl.cannot_write(run.path, error) from error
        files.write_text(run.paths.spec, spec_text)
    content = script(run.path) if callable(script) else script
    if isinstance(content, bytes):
        files.write_bytes(run.paths.script, content)
    else:
        files.write_text(run.paths.script, content)
    run.append_event("created", hpcai=__version__, overrides=list(overrides))
    # Last, because a folder is a run once this file stands.
    files.write_json(run.paths.resolved, resolved)
