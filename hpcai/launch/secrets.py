"""What a job takes from its submitter's environment waits for it in files that only their owner may read."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hpcai.entry import looked_at
from hpcai.errors import HpcaiError, StageError
from hpcai.launch.ends import outcome_of_record
from hpcai.render.job import stash_of_job
from hpcai.render.resolved import ResolvedJob
from hpcai.runs.record import Run
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.secrets import Reference, parse_reference

_RUN = ".run"
# A submission that is under way has made its record long before.
_FRESH_S = 3600.0


def references(spec: JobSpec) -> dict[str, Reference]:
    """Where each secret lies, by its variable."""
    return {variable: parse_reference(text) for variable, text in spec.secrets.items()}


def taken(spec: JobSpec) -> frozenset[str]:
    """The submitter's variables that hold secrets: they go into no environment that Slurm keeps."""
    return frozenset(one.place for one in references(spec).values() if one.scheme == "env")


def refuse_missing(spec: JobSpec, environ: Mapping[str, str] | None = None) -> None:
    """Raises NotFoundError, UsageError for a secret that is not there or that others may read."""
    if spec.secrets:
        from hpcai.staging.secrets import read_here

        for variable, reference in references(spec).items():
            read_here(variable, reference, os.environ if environ is None else environ)


def keep(job: ResolvedJob, run: Run, environ: Mapping[str, str] | None = None) -> None:
    """Puts what the job takes from this environment where its script looks for it.

    Raises StageError when it cannot be written.
    """
    from hpcai.staging.secrets import read_here

    stash = stash_of_job(job, run.path)
    if stash is None:
        return
    try:
        for folder in (stash.parent, stash):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_own(folder)
        _write(stash / _RUN, str(run.path))
        for variable, reference in references(job.spec).items():
            value = read_here(variable, reference, os.environ if environ is None else environ)
            if reference.scheme == "env" and value is not None:
                _write(stash / variable, value.reveal())
    except BaseException as error:
        shutil.rmtree(stash, ignore_errors=True)
        if isinstance(error, OSError):
            raise StageError(
                f"The folder for secrets {str(stash.parent)!r} cannot be written: {error.strerror}.",
                next_step="Set HPCAI_SECRETS_FOLDER to a folder of your own that all nodes see.",
            ) from error
        raise


def _require_own(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise StageError(
            f"The folder for secrets {str(folder)!r} is not yours.",
            next_step="Set HPCAI_SECRETS_FOLDER to a folder of your own that all nodes see.",
        )
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def forget(job: ResolvedJob, run: Run) -> None:
    """Takes away what waits for a job that never came to be."""
    stash = stash_of_job(job, run.path)
    if stash is not None:
        shutil.rmtree(stash, ignore_errors=True)


def sweep(folder: Path | None, client: SlurmClient | None) -> None:
    """Takes away what waits for jobs that have ended; what cannot be told stays."""
    if folder is None or not looked_at(folder).is_folder:
        return
    with suppress(HpcaiError, OSError):
        _sweep([entry for entry in folder.iterdir() if entry.is_dir()], client)


def _sweep(stashes: Sequence[Path], client: SlurmClient | None) -> None:
    runs = {stash: run for stash in stashes if (run := _run_of(stash)) is not None}
    alive = _alive(runs.values(), client)
    for stash in stashes:
        if _is_stale(stash, runs.get(stash), alive):
            shutil.rmtree(stash, ignore_errors=True)


def _run_of(stash: Path) -> Run | None:
    try:
        return Run(Path((stash / _RUN).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return None


def _alive(runs: Iterable[Run], client: SlurmClient | None) -> set[Path]:
    """The runs whose jobs Slurm has and has not ended."""
    by_id = {run.job_id: run for run in runs if not run.is_local and run.job_id is not None}
    if client is None:
        return {run.path for run in by_id.values()}
    found = client.jobs(by_id)
    return {
        run.path
        for job in found
        if not job.is_final
        and (run := by_id.get(job.array_job_id or job.job_id) or by_id.get(job.job_id)) is not None
    }


def _is_stale(stash: Path, run: Run | None, alive: set[Path]) -> bool:
    is_fresh = time.time() - stash.stat().st_mtime < _FRESH_S
    if run is None or not run.paths.resolved.exists():
        # Without the whole runs root, as when it is not mounted, nothing can be told.
        return not is_fresh and (run is None or run.path.parents[1].is_dir())
    if run.is_local:
        return outcome_of_record(run) is not None
    return run.job_id is not None and run.path not in alive
