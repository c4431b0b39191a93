"""`hpcai queue`: what of yours waits and runs."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcai.cli.columns import Room
from hpcai.cli.context import find_context
from hpcai.cli.numbers import FiniteRange
from hpcai.cli.output import emit_rows, output_option, put, quiet_option, say

if TYPE_CHECKING:
    from hpcai.runs.record import Run
    from hpcai.slurm.answers import JobInfo
    from hpcai.slurm.client import SlurmClient

SHOWN = ("run", "job", "state", "partition", "nodes", "time", "since", "why")
ROOM = Room(least={"run": 16, "why": 20}, left_out=("since", "partition", "nodes", "time"), extra=("since",))
COLUMNS = (
    *("run", "job", "job_id", "state", "partition", "nodes", "node_list", "elapsed_s", "why", "reason"),
    *("restarts", "record"),
)
_ORDER = ("RUNNING", "COMPLETING", "CONFIGURING", "PENDING")
_COLORS = {"RUNNING": "green", "COMPLETED": "green", "PENDING": "yellow"}
_PASSING = ("COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED")


@click.command()
@click.option("--watch", is_flag=True, help="Show them again and again, with those that end, until Ctrl-C.")
@click.option(
    "--interval-s",
    type=FiniteRange(min=1.0),
    default=5.0,
    show_default=True,
    help="With --watch: how often Slurm is asked, in seconds.",
)
@output_option
@quiet_option("the job ids")
def queue(watch: bool, interval_s: float, output: str, quiet: bool) -> None:
    """List your jobs.

    Those that wait or run, from one question to Slurm, whose answer all your commands share for 5 s;
    jobs that hpcai did not submit are listed by their own names. --watch draws the list again in place
    on a terminal; elsewhere, and with -o jsonl, it prints one line per change.

    Exit status: 0, also when there are none; 2 --watch with -q, -o json or -o csv; 6 Slurm does not
    answer (with --watch not for 15 minutes); 130 no longer watching after Ctrl-C.
    """
    client = find_context().client
    if watch:
        from hpcai.cli.queue_watch import watch_queue

        if quiet or output in ("json", "csv"):
            form = "-q" if quiet else f"-o {output}"
            raise click.UsageError(f"--watch goes with a table or with -o jsonl, not with {form}.")
        watch_queue(client, interval_s, output)
    _print_once(client, output, quiet)


def _print_once(client: SlurmClient, output: str, quiet: bool) -> None:
    from hpcai.slurm.shared import MAX_AGE_S

    now = time.time()
    asked, jobs = client.my_jobs(since=now - MAX_AGE_S)
    jobs = sorted((job for job in jobs if not job.is_final), key=place)
    if now - asked >= 1:
        say(f"As Slurm told {now - asked:.0f} s ago.")
    if not jobs:
        say("No job of yours waits or runs.")
    if quiet:
        for job in jobs:
            put(job.ident)
    elif jobs or output != "table":
        rows = [for_people(job, now) if output == "table" else row_of(job, now) for job in jobs]
        emit_rows(rows, COLUMNS, output, kind="jobs", shown=SHOWN, color=colors_of, room=ROOM)
        if output == "table":
            _suggest(jobs)


def place(job: JobInfo) -> tuple[int, int]:
    """Where a job stands in the list: what runs before what waits."""
    return (_ORDER.index(job.state) if job.state in _ORDER else len(_ORDER), job.job_id)


def color_of(state: str) -> str:
    """The color of a job's state."""
    return _COLORS.get(state) or ("cyan" if state in _PASSING else "red")


def colors_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The colors of a job's cells."""
    found = {"state": color_of(row["state"])}
    return {**found, "why": "red"} if str(row["why"]).startswith("never starts") else found


def _suggest(jobs: Sequence[JobInfo]) -> None:
    """What to type next, to a person who looks at the list on a terminal."""
    if not sys.stderr.isatty():
        return
    from hpcai.cli.ending import suggest

    first = {job.state: job.ident for job in reversed(jobs)}
    waits = [f"hpcai why {ident}" for ident in (first.get("PENDING"),) if ident]
    runs = [f"hpcai logs -f {ident}" for ident in (first.get("RUNNING"),) if ident]
    suggest(*(waits + runs or ["hpcai queue --watch"]))


def row_of(job: JobInfo, now: float) -> dict[str, Any]:
    """What JSON and CSV say of a job."""
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


def for_people(job: JobInfo, now: float) -> dict[str, Any]:
    """The same as a person reads it: since when it runs, or waits, and how long that is."""
    from hpcai.cli.words import day, span

    began = job.submit_time if job.state == "PENDING" else job.start_time
    until = job.end_time if job.is_final and job.end_time is not None else now
    return {
        **row_of(job, now),
        "nodes": job.node_list or job.nodes,
        "time": None if began is None or began > until else span(until - began),
        "since": None if began is None or began > until else day(began, now),
    }


def run_of(job: JobInfo) -> Run | None:
    """The run that this job belongs to, or the task of a run; None for a job that hpcai did not submit."""
    from hpcai.runs.record import Run

    folder = _folder_of(job)
    if folder is None or not (folder / "resolved.json").exists():
        return None
    # Tasks that wait together are the run's.
    return Run(folder, job.array_task_ids[0] if len(job.array_task_ids) == 1 else None)


def _folder_of(job: JobInfo) -> Path | None:
    """Where its record should be: beside its script, or, of a bare script, where its comment says."""
    from hpcai.slurm.marks import run_in

    if job.command is not None and Path(job.command).name == "script.sbatch":
        return Path(job.command).parent
    ident = run_in(job.comment)
    return None if ident is None else _runs_root() / ident


@functools.cache
def _runs_root() -> Path:
    from hpcai.specs.site import load_site

    return load_site().runs_root
