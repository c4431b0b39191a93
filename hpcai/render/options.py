"""A job's fields as Slurm's long options."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hpcai.errors import RenderError
from hpcai.specs.job import JobSpec

# In the order in which a person looks for them.  The value is the field; `_` becomes `-`.
_PLAIN = ("account", "partition", "qos", "reservation", "constraint", "dependency", "nodes")
_PLAIN_LAST = ("nodelist", "exclude", "signal", "comment", "mail_type", "mail_user")


def tasks_per_node(job: JobSpec) -> int:
    """How many tasks Slurm starts on a node; torchrun starts its ranks itself, from one task."""
    return 1 if job.launcher == "torchrun" else job.ntasks_per_node or 1


def cpus_per_task(job: JobSpec) -> int | None:
    """How many CPUs Slurm gives to a task."""
    if job.cpus_per_task is None or job.launcher != "torchrun":
        return job.cpus_per_task
    return job.cpus_per_task * (job.ntasks_per_node or 1)


def sbatch_options(job: JobSpec, run_dir: Path | None) -> Iterator[tuple[str, str | None]]:
    """Each option of the #SBATCH lines with its value; None for an option that takes none.

    Without a run's folder the output goes to a file in the folder that sbatch is called from.
    """
    yield "job-name", job.name
    yield from _fields(job, _PLAIN)
    if job.kill_on_invalid_dep is not None:
        yield "kill-on-invalid-dep", "yes" if job.kill_on_invalid_dep else "no"
    yield "ntasks-per-node", str(tasks_per_node(job))
    cpus = cpus_per_task(job)
    if cpus is not None:
        yield "cpus-per-task", str(cpus)
    if job.gpus_per_node:
        yield "gpus-per-node", str(job.gpus_per_node)
    if job.mem_gib is not None:
        yield "mem", memory(job.mem_gib)
    if job.time_min is not None:
        yield "time", str(job.time_min)
    if job.exclusive:
        yield "exclusive", None
    if job.requeue is not None:
        yield ("requeue" if job.requeue else "no-requeue"), None
    yield from _fields(job, _PLAIN_LAST)
    yield "output", f"{job.name}-%j.out" if run_dir is None else f"{log_path(run_dir)}/logs/batch.out"
    yield "open-mode", "append"


def _fields(job: JobSpec, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        value = getattr(job, name)
        if value is not None:
            yield name.replace("_", "-"), str(value)


def memory(mem_gib: float) -> str:
    """The size as Slurm reads it: `64G`, `1536M`; `0` asks for all memory of the node."""
    if mem_gib == 0:
        return "0"
    if mem_gib == int(mem_gib):
        return f"{int(mem_gib)}G"
    return f"{math.ceil(mem_gib * 1024)}M"


def log_path(path: Path) -> str:
    """The path as Slurm's --output must be told it.

    A backslash anywhere switches Slurm's patterns off and is taken away; `%%`, the other way to write a
    percent sign, is not read alike in all places.  Raises RenderError for a path that holds a backslash.
    """
    text = str(path)
    if "\\" in text:
        raise RenderError(
            f"{text!r} holds a backslash, which Slurm takes away from the names of log files.",
            next_step="Choose another runs folder: export HPCAI_RUNS_ROOT=...",
        )
    return f"/\\{text[1:]}" if "%" in text else text
