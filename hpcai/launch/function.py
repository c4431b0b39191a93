"""Python functions as jobs: a submitit executor whose script comes from the same template as every job's."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit
from submitit.core import core, utils

from hpcai.errors import SpecError, UnreachableError, UsageError
from hpcai.launch.resolve import resolve
from hpcai.launch.script import create_record, refuse_hopeless, submit_run
from hpcai.slurm.answers import is_final
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_text
from hpcai.specs.mistakes import SpecFileError
from hpcai.specs.site import Site, load_site

if TYPE_CHECKING:
    from hpcai.runs.record import Run

LOG = logging.getLogger(__name__)

# What submitit's own program in the job listens to, and how long before the time limit.
_CHECKPOINT_SIGNAL = "USR2@90"
# submitit reads the time limit only to tell a timeout from a preemption.
_NO_LIMIT_MIN = 366 * 24 * 60
_FORGOTTEN = "FORGOTTEN"


def executor(
    folder: Path | str, *, site: Site | None = None, client: SlurmClient | None = None, **fields: Any
) -> FunctionExecutor:
    """A submitit executor: `.submit(function, *args)`, `.map_array(function, values)`; jobs have `.result()`.

    `fields` are those of a job's file, such as nodes=2, time_min=30. `folder` gets a folder per submission
    with the pickled functions, results and output (`job.paths`), and must be seen by all nodes. Each
    submission has a run record too.
    Raises SpecError for a field that is wrong; `submit` raises what `hpcai.submit` raises.
    """
    return FunctionExecutor(folder, site=site, client=client, fields=fields)


class _JobStates(core.InfoWatcher):  # type: ignore[misc]
    """The states of all jobs of this process, from one question to slurmctld; accounting is not needed."""

    def __init__(self, client: SlurmClient | None = None) -> None:
        super().__init__(delay_s=30)
        self._client = client

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        return str(self.get_info(job_id, mode=mode).get("State", "UNKNOWN"))

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        state = self.get_state(job_id, mode=mode)
        return is_final(state) or state == _FORGOTTEN

    def update(self) -> None:
        waiting = self._registered - self._finished
        self._last_status_check = time.time()
        if not waiting:
            return
        self._num_calls += 1
        self._client = self._client or SlurmClient()
        try:
            jobs = self._client.jobs(int(job_id.partition("_")[0]) for job_id in waiting)
        except UnreachableError as error:
            # Whoever waits asks again; the last answer stays as it is.
            LOG.warning("%s States are those of its last answer.", error.what)
            return
        known = {job.ident: {"State": job.state, "NodeList": job.node_list or ""} for job in jobs}
        masters = {str(job.array_job_id): {"State": job.state} for job in jobs if job.array_job_id}
        for job_id in waiting:
            pending = masters.get(job_id.partition("_")[0])
            self._info_dict[job_id] = known.get(job_id) or pending or {"State": _FORGOTTEN}
        self._finished |= {job_id for job_id in waiting if self.is_done(job_id, mode="cache")}


class FunctionJob(submitit.SlurmJob[Any]):  # type: ignore[misc]
    """A function in Slurm: `.result()`, `.exception()`, `.stdout()`, `.state`, `.cancel()`."""

    watcher = _JobStates()


class FunctionExecutor(submitit.SlurmExecutor):  # type: ignore[misc]
    """submitit's executor for Slurm, with hpcai's fields, script and run records."""

    job_class = FunctionJob

    def __init__(
        self,
        folder: Path | str,
        *,
        site: Site | None = None,
        client: SlurmClient | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        # The part of SlurmExecutor that only looks for srun on PATH is left out.
        core.PicklingExecutor.__init__(self, Path(folder).absolute())
        self._site = site
        self._client = client or SlurmClient()
        self._fields: dict[str, Any] = {"name": "function"}
        self.python = shlex.quote(sys.executable)
        self.update_parameters(**(fields or {}))

    @property
    def spec(self) -> JobSpec:
        """The job that each submission is, but for its own folder below the executor's."""
        return self._spec

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        fields = {**self._fields, **kwargs}
        if "command" in fields:
            raise UsageError(
                "The function is the command here: `command` cannot be given.",
                next_step="`hpcai.submit` takes a job with a command.",
            )
        if "array" in fields:
            raise UsageError(
                "`array` cannot be given: functions that are submitted together are tasks of one array.",
                next_step="`map_array(function, values)` submits an array.",
            )
        if any("command" in part for part in fields.get("components", ()) if isinstance(part, dict)):
            raise UsageError(
                "A part of `components` has the same function as the others: `command` cannot be given."
            )
        self._spec = self._load(fields, self.folder)
        self._fields = fields
        self.parameters = {"time": self._spec.time_min or _NO_LIMIT_MIN}

    def _load(self, fields: dict[str, Any], folder: Path) -> JobSpec:
        whole = {"kind": "job", **fields, "command": self._command(folder)}
        if fields.get("time_min") != 1:
            # (In a job of one minute it would come at once.)
            whole.setdefault("signal", _CHECKPOINT_SIGNAL)
        env = fields.get("env", {})
        if isinstance(env, dict):
            whole["env"] = {**env, "SUBMITIT_EXECUTOR": "slurm"}
        try:
            text = json.dumps(whole)
        except TypeError as error:
            raise SpecError(
                f"hpcai.executor got what no file can hold: {error}.",
                allowed="Fields are those of a job's file.",
            ) from error
        try:
            spec = load_text(text, "hpcai.executor", settings=(self._site or load_site()).settings)
        except SpecFileError as error:
            # The text is our own: its lines say nothing to whoever gave the fields.
            raise type(error)(
                [dataclasses.replace(one, line=None, column=None) for one in error.mistakes]
            ) from error
        assert isinstance(spec, JobSpec)
        return spec

    def _command(self, folder: Path) -> str:
        """What each task runs: submitit's program, with its output where submitit looks for it."""
        quoted = shlex.quote(str(folder))
        log = f"{quoted}/${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}"
        log += "${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}_${SLURM_PROCID}_log"
        return f"exec >>{log}.out 2>>{log}.err; exec {self.python} -u -m submitit.core._submit {quoted}"

    def _num_tasks(self) -> int:
        return sum(part.ntasks or part.nodes * (part.ntasks_per_node or 1) for part in self._spec.parts)

    def _internal_process_submissions(
        self, delayed_submissions: list[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:
        """One job, or for several functions one array, in a folder of its own.

        Files there are named by job numbers, and a Slurm whose state was thrown away gives them out again.
        """
        folder = self._make_folder()
        jobs: list[FunctionJob] = []
        is_accepted = False

        def give(job_id: int) -> None:
            nonlocal is_accepted
            # From here on a job waits for its pickle.
            is_accepted = True
            jobs.extend(self._jobs(folder, job_id, pickles))

        try:
            pickles = [self._pickle(delayed, folder) for delayed in delayed_submissions]
            run = self._submit_script(folder, len(pickles), give)
        except BaseException:
            if not is_accepted:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        jobs[0].paths.submission_file.symlink_to(run.paths.script)
        return jobs

    def _make_folder(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        folder: Path = self.folder / f"{stamp}-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise self._cannot_write(error) from error
        return folder

    def _pickle(self, delayed: utils.DelayedSubmission, folder: Path) -> Path:
        path = folder / f"{uuid.uuid4().hex}.pkl"
        delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
        try:
            delayed.dump(path)
        except OSError as error:
            raise self._cannot_write(error) from error
        return path

    def _cannot_write(self, error: OSError) -> UsageError:
        return UsageError(
            f"The folder {str(self.folder)!r} of hpcai.executor cannot be written: {error.strerror}.",
            next_step="Give a folder that all nodes see and that you may write to.",
        )

    def _submit_script(self, folder: Path, functions: int, give: Callable[[int], None]) -> Run:
        """The run record of one sbatch; its job is given to `give`."""
        array = f"0-{functions - 1}" if functions > 1 else None
        spec = self._load(self._fields, folder).model_copy(update={"array": array})
        resolved = resolve(spec, self._site, client=self._client)
        refuse_hopeless(resolved.spec, self._client)
        run = create_record(resolved, "slurm", self._site)
        submit_run(run, resolved, self._client, when_accepted=give)
        return run

    def _jobs(self, folder: Path, job_id: int, pickles: Sequence[Path]) -> list[FunctionJob]:
        idents = [f"{job_id}_{index}" for index in range(len(pickles))] if len(pickles) > 1 else [str(job_id)]
        return [self._job(folder, ident, pickle) for ident, pickle in zip(idents, pickles, strict=True)]

    def _job(self, folder: Path, ident: str, pickle: Path) -> FunctionJob:
        job = FunctionJob(folder=folder, job_id=ident, tasks=list(range(self._num_tasks())))
        job.paths.move_temporary_file(pickle, "submitted_pickle")
        return job
