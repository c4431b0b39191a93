"""What an ID on the command line means: a run of ours, or any job that Slurm knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcai.cli.context import Context
    from hpcai.launch.ends import Outcome
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo
    from hpcai.slurm.client import SlurmClient


@dataclass(frozen=True)
class Target:
    """A run, a job, or both. One of them is there."""

    run: Run | None
    job: JobInfo | None

    @property
    def name(self) -> str:
        return self.run.name if self.run else f"job {self.ident}"

    @property
    def ident(self) -> str:
        """What to type for it: experiment/run, else the id of the job."""
        if self.run is not None:
            return self.run.ident
        assert self.job is not None
        return self.job.ident

    @property
    def job_id(self) -> int | None:
        if self.job is not None:
            return self.job.job_id
        return self.run.job_id if self.run and not self.run.is_local else None

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, None while it goes on."""
        from hpcai.launch import ends

        if self.run is not None:
            return ends.outcome_of_run(self.run, self.job)
        return ends.outcome_of_job(self.job) if self.job is not None else None


def client_of(context: Context, run: Run | None) -> SlurmClient | None:
    """Slurm, which alone tells of a job; None for a run that is processes of a machine.

    Raises ToolError where there is no Slurm, and for a run whose job is not known.
    """
    from hpcai.errors import ToolError
    from hpcai.slurm.submission import IN_DOUBT

    if run is not None and run.is_local:
        return None
    if run is not None and run.job_id is None:
        raise ToolError(f"No job of {run.name} is known: its submission was cut off.", **IN_DOUBT)
    return context.client


def client_to_wait_by(context: Context, run: Run) -> SlurmClient | None:
    """As `client_of`; None, too, for a run whose end the record tells where there is no Slurm.

    Another attempt may have followed that end: Slurm decides where it can be asked.
    """
    from hpcai.launch import ends

    if context.slurm is None and ends.outcome_of_record(run) is not None:
        return None
    return client_of(context, run)


def find_target(context: Context, ident: str, *, ask_slurm: bool = True) -> Target:
    """The run and the job that `ident` names; ends that Slurm tells of are added to the run's record.

    Without `ask_slurm`, a run comes without its job. Raises NotFoundError when there is neither,
    UsageError when two runs fit, UnreachableError when Slurm is asked and does not answer.
    """
    from hpcai.errors import NotFoundError
    from hpcai.launch import ends
    from hpcai.runs.find import find_run
    from hpcai.runs.names import slurm_id_of

    try:
        run = find_run(context.site.runs_root, ident)
    except NotFoundError:
        slurm_id = slurm_id_of(ident)
        if slurm_id is None or context.slurm is None:
            raise
        return Target(None, context.slurm.job(slurm_id))
    if run.is_local:
        from hpcai.launch import local

        local.settle(run)
    if not ask_slurm or run.is_local or context.slurm is None:
        return Target(run, None)
    return Target(run, ends.collect(run, context.slurm))
