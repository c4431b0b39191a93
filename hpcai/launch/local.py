"""A rendered job as plain processes of this machine, which end with the one who waits for them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import Any

from hpcai import processes, shell
from hpcai.errors import StageError
from hpcai.launch.ends import cause_of, outcome_of_record
from hpcai.runs.record import Run

# How long processes that were asked to end may take.
GRACE_S = 10.0


class LocalJob:
    """The processes of one run. Leaving the `with` block ends what still runs and records the end."""

    def __init__(self, run: Run, process: shell.Running) -> None:
        self.run = run
        self._process = process
        self._is_recorded = False

    def poll(self) -> int | None:
        """The exit status, None while it runs; 128 + signal when a signal ended it."""
        status = self._process.poll()
        if status is None:
            return None
        self._record("COMPLETED" if status == 0 else "FAILED", status)
        return status if status >= 0 else 128 - status

    def wait(self) -> int:
        """The exit status, once it has ended."""
        self._process.wait()
        status = self.poll()
        assert status is not None
        return status

    def stop(self) -> None:
        """End all processes of the run: asked first, killed after the grace."""
        if self.poll() is None:
            processes.end(lambda _: _processes_of(self.run), grace_s=GRACE_S)
            self._record("CANCELLED", self._process.wait())

    def __enter__(self) -> LocalJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # What a job leaves behind in the background would live on without anybody to end it.
        processes.end(lambda _: _processes_of(self.run), grace_s=GRACE_S)

    def _record(self, state: str, status: int) -> None:
        if self._is_recorded:
            return
        self._is_recorded = True
        if any(event.get("event") == "cancel_requested" for event in self.run.events()):
            state = "CANCELLED"
        exit_status, number = (status, None) if status >= 0 else (None, -status)
        self.run.append_end(0, state, exit_status, number, cause_of(state), end=time.time())


def start(run: Run, *, without: Collection[str] = ()) -> LocalJob:
    """The run's script, running, and none of the variables `without`.

    The caller must leave the job's `with` block.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "PMI")) and name not in without
    }
    with run.paths.batch_log.open("ab") as log:
        # A session of its own: Ctrl-C is for hpcai, which then ends the processes in their order.
        process = shell.start(
            ["bash", run.paths.script],
            env={**environ, "HPCAI_RUN_DIR": str(run.path)},
            stdout=log,
            stderr=log,
            new_session=True,
        )
    job = LocalJob(run, process)
    try:
        both = [[one.pid, one.started] for one in map(processes.find, (process.pid, os.getpid())) if one]
        run.append_event(
            "submitted", where="local", pid=process.pid, host=socket.gethostname(), processes=both
        )
    except BaseException:
        job.stop()
        raise
    return job


def stop(run: Run) -> bool:
    """Whether processes of a run that another hpcai of this machine started were there to be ended."""
    if not _processes_of(run):
        return False
    run.append_event("cancel_requested")
    processes.end(lambda _: _processes_of(run), grace_s=GRACE_S)
    run.append_end(0, "CANCELLED", None, signal.SIGTERM, cause_of("CANCELLED"), end=time.time())
    return True


def settle(run: Run) -> None:
    """Note the end of a run of this machine whose processes have gone, as has the hpcai that began it.

    Nothing is noted of a run whose processes cannot be seen from here.
    """
    # Whoever goes on may note the end between two looks.
    if outcome_of_record(run) is not None or not _is_gone(run) or outcome_of_record(run) is not None:
        return
    found = (run.paths.batch_log, *run.paths.logs(0), *run.paths.sample_files())
    written = [path.stat().st_mtime for path in found if path.exists()]
    # What is another user's is told, and not noted.
    with suppress(StageError):
        run.append_end(0, "UNKNOWN", None, None, "unknown", end=max(written, default=None))


def is_elsewhere(run: Run) -> str | None:
    """The machine whose processes a run is, when that is not this one."""
    host = _started(run).get("host")
    return host if isinstance(host, str) and host != socket.gethostname() else None


def _is_gone(run: Run) -> bool:
    started = _started(run)
    if started.get("host") != socket.gethostname():
        return False
    known = [processes.Process(*one) for one in started.get("processes", ())]
    return not any(map(processes.is_alive, known)) and not _processes_of(run)


def _started(run: Run) -> dict[str, Any]:
    """What was noted when its processes were started."""
    return next((event for event in run.events() if event.get("where") == "local"), {})


def _processes_of(run: Run) -> list[processes.Process]:
    """The living processes that inherited the run's folder from its script."""
    return processes.with_variable("HPCAI_RUN_DIR", str(run.path))
