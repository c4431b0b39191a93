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
    context = find_context()
    runs_root = context.site.runs_root
    jobs = sorted(context.client.jobs(ended=False), key=_place)
    if not jobs:
        say("No job of yours waits or runs.")
    if quiet:
        for job in jobs:
            put(job.ident)
    elif jobs or output != "table":
        row = _for_people if output == "table" else _row
        rows = [row(job, runs_root, now) for job in jobs]
        emit_rows(rows, COLUMNS, output, kind="jobs", shown=SHOWN)


def _place(job: JobInfo) -> tuple[int, int]:
    return (_ORDER.index(job.state) if job.state in _ORDER else len(_ORDER), job.job_id)


def _row(job: JobInfo, runs_root: Path, now: float) -> dict[str, Any]:
    from hpcai.slurm.reasons import in_words

    run = run_of(job, runs_root)
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


def _for_people(job: JobInfo, runs_root: Path, now: float) -> dict[str, Any]:
    """The same as a person reads it."""
    from hpcai.cli.words import span

    elapsed_s = job.elapsed_s(now)
    return {
        **_row(job, runs_root, now),
        "nodes": job.node_list or job.nodes,
        "elapsed": span(elapsed_s) if elapsed_s else None,
    }


def run_of(job: JobInfo, runs_root: Path) -> Run | None:
    """The run that this job belongs to, or the task of a run; None for a job that hpcai did not submit."""
    from hpcai.runs.record import Run

    folder = _folder_of(job, runs_root)
    if folder is None or not (folder / "resolved.json").exists():
        return None
    # Tasks that wait together are the run's.
    return Run(folder, job.array_task_ids[0] if len(job.array_task_ids) == 1 else None)


def _folder_of(job: JobInfo, runs_root: Path) -> Path | None:
    """Where its record should be: beside its script, or, of a bare script, where its comment says."""
    from hpcai.slurm.submission import run_in

    if job.command is not None and Path(job.command).name == "script.sbatch":
        return Path(job.command).parent
    ident = run_in(job.comment)
    return None if ident is None else runs_root / ident
