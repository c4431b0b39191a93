"""An interactive shell: in a job that runs, or with what a job's file asks for and no other command."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from hpcai.launch.again import job_of
from hpcai.launch.resolve import resolve
from hpcai.launch.script import refuse_hopeless
from hpcai.render.resolved import ResolvedJob
from hpcai.render.shell import STEP, render_shell, salloc_options
from hpcai.runs.record import Run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.environment import outside_a_job
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shell:
    """A program that takes over this terminal, and its environment."""

    argv: list[str]
    environ: dict[str, str]


def in_job(job: JobInfo, node: str, run: Run | None, *, site: Site, client: SlurmClient, shell: str) -> Shell:
    """A shell on a node of a job that runs: of ours in its container and environment, else `shell`."""
    environ = outside_a_job(client.environ)
    words = [f"--jobid={job.job_id}", f"--nodelist={node}", *_unbound(client)]
    if run is None or run.is_bare:
        folder = [f"--chdir={job.workdir}"] if job.workdir else []
        return Shell(["srun", *words, *STEP, *folder, shell], environ)
    text = render_shell(_resolved(run, site, client), run.path, step=words, inside=True)
    return Shell(["bash", "-c", text], environ | _of_job(job, run))


def _unbound(client: SlurmClient) -> list[str]:
    """One task would be bound to few of the job's CPUs, where Slurm binds tasks at all."""
    plugins = client.config().get("TaskPlugin", "")
    return ["--cpu-bind=none"] if "affinity" in plugins or "cgroup" in plugins else []


def _of_job(job: JobInfo, run: Run) -> dict[str, str]:
    """What the rendered lines read of Slurm's variables."""
    found = {"SLURM_JOB_ID": str(job.job_id), "SLURM_RESTART_COUNT": str(job.restarts)}
    if run.task is not None:
        found |= {"SLURM_ARRAY_JOB_ID": str(job.array_job_id), "SLURM_ARRAY_TASK_ID": str(run.task)}
    return found


def _resolved(run: Run, site: Site, client: SlurmClient) -> ResolvedJob:
    return resolve(job_of(Run(run.path)).spec, site, client=client)


def alone(spec: JobSpec, *, site: Site, client: SlurmClient) -> Shell:
    """A shell in an allocation of its own, with a job's resources, container, data and environment.

    Raises RenderError, and SlurmError for a job that would wait for ever.
    """
    if spec.secrets:
        LOG.warning("The shell gets none of the job's secrets: %s", ", ".join(spec.secrets))
    resolved = resolve(spec.model_copy(update={"secrets": {}, "schedule": None}), site, client=client)
    refuse_hopeless(resolved.spec, client)
    text = render_shell(resolved, None, step=_unbound(client), inside=False)
    return Shell(["salloc", *salloc_options(resolved), "bash", "-c", text], outside_a_job(client.environ))


def user_shell(environ: Mapping[str, str] = os.environ) -> str:
    """The user's own shell, for jobs of which nothing more is known."""
    return environ.get("SHELL") or "bash"
