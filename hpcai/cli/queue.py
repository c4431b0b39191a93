"""`hpcai queue`: what of yours waits and runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.context import find_context
from hpcai.cli.output import emit_rows, output_option, put, quiet_option, say

if TYPE_CHECKING:
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo

SHOWN = ("run", "job", "state", "partition", "nodes", "elapsed", "why")
COLUMNS = (
    *("run", "job", "job_id", "state", "partition", "nodes", "node_list", "elapsed_s", "why", "reason"),
    *("restarts", "record"),
)
_ORDER = ("RUNNING", "COMPLETING", "CONFIGURING", "PENDING")


@click.command()
@output_option
@quiet_option("the job ids")
def queue(output: str, quiet: bool) -> None:
    """List your jobs.

    Those that wait or run, from one question to Slurm; jobs that hpcai did not submit are listed by
    their own names. Exit status 0 also when there are none; 6 when Slurm does not answer.
    """
    now = time.time()
    jobs = sorted(find_context().client.jobs(ended=False), key=_place)
    if not jobs:
        say("No job of yours waits or runs.")
    if quiet:
        for job in jobs:
            put(job.ident)
    elif jobs or output != "table":
        rows = [_for_people(job, now) if output == "table" else _row(job, now) for job in jobs]
        emit_rows(rows, COLUMNS, output, kind="jobs", shown=SHOWN)


def _place(job: JobInfo) -> tuple[int, int]:
    return (_ORDER.index(job.state) if job.state in _ORDER else len(_ORDER), job.job_id)


def _row(job: JobInfo, now: float) -> dict[str, Any]:
    from hpcai.slurm.reasons import in_words

    run = run_of(job)
    return {
        "run": run.name if run else job.name,
        "job": job.ident,
        "job_id": job.job_id,
        "state": job.state,
        "partition": job.partition,
        "nodes": job.nodes,
        "node_list": job.node_list,
        "elapsed_s": round(job.elapsed_s(now), 1),
        "why": in_words(job),
        "reason": job.reason,
        "restarts": job.restarts,
        "record": str(run.paths.own) if run else None,
    }


def _for_people(job: JobInfo, now: float) -> dict[str, Any]:
    """The same as a person reads it."""
    from hpcai.cli.words import span

    elapsed_s = job.elapsed_s(now)
    return {
        **_row(job, now),
        "nodes": job.node_list or job.nodes,
        "elapsed": span(elapsed_s) if elapsed_s else None,
    }


def run_of(job: JobInfo) -> Run | None:
    """The run that this job belongs to, or the task of a run; None for a job that hpcai did not submit."""
    from hpcai.runs.record import Run

    if job.command is None:
        return None
    script = Path(job.command)
    if script.name != "script.sbatch" or not (script.parent / "resolved.json").exists():
        return None
    # Tasks that wait together are the run's.
    return Run(script.parent, job.array_task_ids[0] if len(job.array_task_ids) == 1 else None)
