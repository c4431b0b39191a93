"""A job spec becomes a run: resolved, rendered, recorded and handed to Slurm or to this machine."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hpcai.errors import HpcaiError, SlurmError, StageError, UsageError
from hpcai.launch import code, local, secrets
from hpcai.launch.data import refuse_missing_data
from hpcai.launch.resolve import resolve
from hpcai.render.job import render_job
from hpcai.render.resolved import ResolvedJob, Where
from hpcai.runs.record import Run, create_run
from hpcai.slurm.arrays import array_breaches
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.dependency import dependency_breach
from hpcai.slurm.gates import gate_breaches
from hpcai.slurm.limits import breaches
from hpcai.slurm.marks import new_mark
from hpcai.slurm.submission import IN_DOUBT, SubmissionCutOff, SubmissionInDoubt
from hpcai.specs.job import JobSpec, as_json
from hpcai.specs.site import Site, load_site

LOG = logging.getLogger(__name__)


class SubmissionInterrupted(KeyboardInterrupt):
    """Ctrl-C came while sbatch had the job, or when Slurm had just accepted it."""

    def __init__(self, run: Run, job_id: int | None) -> None:
        lines = [f"The submission of {run.name} was cut off.", *IN_DOUBT.values()]
        if job_id is not None:
            lines = [f"{run.name} is job {job_id}, which goes on.", f"hpcai cancel {job_id}"]
        super().__init__("\n".join(lines))


def submit(
    spec: JobSpec,
    *,
    where: Where = "slurm",
    site: Site | None = None,
    client: SlurmClient | None = None,
    spec_text: str | None = None,
    overrides: Sequence[str] = (),
    parent: Run | None = None,
) -> Run:
    """The record of a job that now waits in the queue, or, with where="local", that has ended.

    `spec_text` is what the record keeps as the author's own file, default: the spec itself; `overrides`
    are what the caller has laid over that text to get the spec; `parent` is the run that it repeats.
    When Slurm refuses, no record stays.
    Raises SlurmError, UnreachableError, NotFoundError, RenderError, StageError.
    """
    if where == "local":
        started = start_here(spec, site=site, spec_text=spec_text, overrides=overrides, parent=parent)
        with started:
            started.wait()
        return started.run
    client = client or SlurmClient()
    resolved = resolve(spec, site, client=client)
    refuse_hopeless(resolved.spec, client)
    return hand_over(resolved, client, site, spec_text, overrides, parent)


def hand_over(
    resolved: ResolvedJob,
    client: SlurmClient,
    site: Site | None = None,
    spec_text: str | None = None,
    overrides: Sequence[str] = (),
    parent: Run | None = None,
) -> Run:
    """The record of a job that Slurm has accepted; when Slurm refuses, no record stays."""
    secrets.sweep(resolved.own_secrets, client)
    run = create_record(resolved, "slurm", site, spec_text, overrides, parent)
    submit_run(run, resolved, client)
    return run


def start_here(
    spec: JobSpec,
    *,
    site: Site | None = None,
    spec_text: str | None = None,
    overrides: Sequence[str] = (),
    parent: Run | None = None,
) -> local.LocalJob:
    """The job as processes of this machine, running; the caller waits for its end or ends it."""
    resolved = resolve(spec, site, where="local")
    run = create_record(resolved, "local", site, spec_text, overrides, parent)
    try:
        return local.start(run, without=secrets.taken(spec))
    except HpcaiError:
        secrets.forget(resolved, run)
        _remove(run)
        raise


def refuse_hopeless(spec: JobSpec, client: SlurmClient) -> None:
    """Raises SlurmError for a job that would wait for ever, which Slurm itself may accept."""
    mpi_plugins = client.mpi_plugins() if spec.needs_pmix else None
    has_pyxis = client.has_pyxis() if spec.container is not None else None
    limits = breaches(spec, client.partitions(), client.nodes(), mpi_plugins, has_pyxis)
    never = dependency_breach(spec.dependency, client)
    found = [breach for breach in limits if breach.is_certain] + ([never] if never else [])
    found += gate_breaches(spec, client.version())
    found += array_breaches(spec, client.config()) if spec.array is not None else ()
    if found:
        raise SlurmError(
            " ".join(breach.what for breach in found),
            allowed=" ".join(dict.fromkeys(breach.fix for breach in found)),
            next_step="`hpcai check FILE` shows all findings.",
        )


def create_record(
    resolved: ResolvedJob,
    where: Where,
    site: Site | None = None,
    spec_text: str | None = None,
    overrides: Sequence[str] = (),
    parent: Run | None = None,
) -> Run:
    """The record of a job that is about to be submitted, its script in it.

    Raises NotFoundError for data and secrets that certainly are not there.
    """
    if resolved.spec.schedule is not None:
        raise UsageError(
            "A job with a schedule is submitted by its file, which Slurm reads anew each time.",
            next_step="Call `hpcai submit FILE`, or leave schedule out.",
        )
    refuse_missing_data(resolved, where)
    secrets.refuse_missing(resolved.spec)
    spec, root = resolved.spec, (site or load_site()).runs_root
    resolved, noted = code.kept(resolved, root.absolute() / spec.experiment, parent)

    def script(run_dir: Path) -> str:
        return render_job(resolved, run_dir, where=where)

    run = create_run(
        root,
        spec.experiment,
        spec.name,
        spec_text=spec_text or text_of(spec),
        overrides=overrides,
        resolved=resolved.to_json(),
        script=script,
        code=noted,
        parent=parent,
    )
    try:
        secrets.keep(resolved, run)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def text_of(spec: JobSpec) -> str:
    """The spec as a file, for one that was made in Python; JSON is YAML."""
    return json.dumps(as_json(spec), indent=2) + "\n"


def submit_run(
    run: Run,
    job: ResolvedJob,
    client: SlurmClient,
    *,
    when_accepted: Callable[[int], None] = lambda _: None,
) -> int:
    """The id of the run's job, which waits in the queue and is in the record.

    `when_accepted` gets the id first, also of a job that its record then cannot tell. A record whose job
    never came to be is taken away, so that no list shows a run that is none.
    """

    def ask(mark: str) -> int:
        return client.submit(run.paths.script, without=secrets.taken(job.spec), mark=mark)

    return submit_to(run, ask, when_accepted=when_accepted, forget=lambda: secrets.forget(job, run))


def submit_to(
    run: Run,
    ask: Callable[[str], int],
    *,
    when_accepted: Callable[[int], None] = lambda _: None,
    forget: Callable[[], None] = lambda: None,
) -> int:
    """The same for `ask`, which gets the mark of the submission; `forget` takes away what lies elsewhere."""
    job_id, mark = None, new_mark(run.ident)
    try:
        job_id = ask(mark)
        when_accepted(job_id)
        run.append_event("submitted", job_id=job_id, where="slurm", mark=mark)
    except SubmissionInDoubt:
        run.append_event("submission_in_doubt", mark=mark)
        raise
    except HpcaiError as error:
        if job_id is not None:
            what = f"{run.name} is job {job_id}, which its record does not tell: {error.what}"
            raise StageError(what, next_step=f"hpcai cancel {job_id}") from error
        forget()
        _remove(run)
        raise
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, SubmissionCutOff):
            job_id = interrupt.job_id
        # Nor may a second Ctrl-C hide that there is a job.
        with suppress(KeyboardInterrupt, HpcaiError):
            _note_interrupt(run, job_id, mark)
        raise SubmissionInterrupted(run, job_id) from interrupt
    return job_id


def _note_interrupt(run: Run, job_id: int | None, mark: str) -> None:
    if job_id is None:
        # sbatch was ended too, perhaps after Slurm had accepted the job.
        run.append_event("submission_in_doubt", mark=mark)
    else:
        run.append_event("submitted", job_id=job_id, where="slurm", mark=mark)


def _remove(run: Run) -> None:
    shutil.rmtree(run.path, ignore_errors=True)
    with suppress(OSError):
        run.path.parent.rmdir()
