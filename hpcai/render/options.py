"""A job's fields as Slurm's long options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hpcai.errors import RenderError
from hpcai.specs.job import JobSpec
from hpcai.specs.slurm_fields import ComponentFields
from hpcai.specs.slurm_options import slurm_options

# What a person looks for first, in that order; everything else follows in the order of the fields.
_FIRST = (
    *("name", "account", "partition", "qos", "reservation", "constraint", "array", "dependency"),
    *("nodes", "ntasks", "ntasks_per_node", "cpus_per_task", "gpus", "gpus_per_node", "mem_gib", "time_min"),
    *("exclusive", "requeue"),
)
# The line between the parts of a heterogeneous job; it is no option.
HETJOB = "hetjob"
_YES_NO = {"kill_on_invalid_dep": ("no", "yes"), "oom_kill_step": ("0", "1"), "wait_all_nodes": ("0", "1")}


def tasks_per_node(job: JobSpec) -> int | None:
    """How many tasks Slurm starts on a node; torchrun starts its ranks itself, from one task.

    None where `ntasks` is no whole number per node, and with `ntasks_per_gpu`: then Slurm lays them out.
    """
    if job.launcher == "torchrun":
        return 1
    if job.ntasks_per_gpu is not None:
        return None
    return job.ntasks_per_node or (None if job.ntasks is not None else 1)


def tasks(job: JobSpec) -> int:
    """How many tasks Slurm starts in all."""
    per_node = tasks_per_node(job)
    if per_node is not None:
        return job.nodes * per_node
    if job.ntasks is None and job.gpus is not None and job.ntasks_per_gpu is not None:
        return int(job.gpus.rpartition(":")[2]) * job.ntasks_per_gpu
    return job.ntasks or 1


def cpus_per_task(job: JobSpec) -> int | None:
    """How many CPUs Slurm gives to a task."""
    if job.cpus_per_task is None or job.launcher != "torchrun":
        return job.cpus_per_task
    return job.cpus_per_task * (job.ntasks_per_node or 1)


def mincpus(job: JobSpec) -> int | None:
    """The least CPUs of a node: one for each rank where Slurm sees torchrun's one task alone.

    Not as cpus_per_task, which would take the place of what a partition gives with each GPU.
    """
    is_told = job.cpus_per_task is not None or job.cpus_per_gpu is not None
    if job.mincpus is not None or job.launcher != "torchrun" or is_told:
        return job.mincpus
    ranks = job.ntasks_per_node or 1
    return ranks if ranks > 1 else None


def gpus_per_task(job: JobSpec) -> str | None:
    """How many GPUs Slurm gives to a task, as `4` or `h100:4`."""
    if job.gpus_per_task is None or job.launcher != "torchrun":
        return job.gpus_per_task
    kind, colon, number = job.gpus_per_task.rpartition(":")
    return f"{kind}{colon}{int(number) * (job.ntasks_per_node or 1)}"


def sbatch_options(job: JobSpec, run_dir: Path | None) -> Iterator[tuple[str, str | None]]:
    """Each option of the #SBATCH lines with its value; None for an option that takes none.

    Of a heterogeneous job those of each part follow, with HETJOB between them.
    Without a run's folder the output goes to a file in the folder that sbatch is called from.
    """
    of_parts = ComponentFields.model_fields if job.components else {}
    for field in fields_in_order():
        if field not in of_parts:
            yield from option_of(job, field)
    yield "output", _output(job, run_dir)
    yield "open-mode", "append"
    for number, part in enumerate(job.parts if job.components else ()):
        if number:
            yield HETJOB, None
        for field in fields_in_order():
            if field in of_parts:
                yield from option_of(part, field)


def _output(job: JobSpec, run_dir: Path | None) -> str:
    """Where Slurm writes what the batch part prints; each task of an array has a file of its own."""
    if run_dir is None:
        return f"{job.name}-{'%j' if job.array is None else '%A_%a'}.out"
    if job.array is None:
        return f"{log_path(run_dir)}/logs/batch.out"
    if "%" in str(run_dir):
        # The backslash that saves this sign would take the meaning of %a away, too.
        raise RenderError(
            f"{str(run_dir)!r} holds '%': there Slurm cannot give each task of an array a file of its own.",
            next_step="Choose another runs folder: export HPCAI_RUNS_ROOT=...",
        )
    return f"{log_path(run_dir)}/logs/batch-%a.out"


@cache
def fields_in_order() -> tuple[str, ...]:
    """The fields that become an option of sbatch, in the order of a script."""
    of_slurm = {row.field for row in slurm_options().values()}
    rest = [field for field in JobSpec.model_fields if field in of_slurm and field not in _FIRST]
    return (*_FIRST, *rest)


@cache
def option_names() -> Mapping[str, str]:
    """Field -> the long option that it becomes."""
    named = {row.field: option for option, row in slurm_options().items() if row.field}
    # Of the two that this field becomes, the one that says yes.
    return {**named, "requeue": "requeue"}


def option_of(job: JobSpec, field: str) -> Iterator[tuple[str, str | None]]:
    """The option that a field becomes, with its value; nothing where it is left out."""
    value = _VALUES[field](job) if field in _VALUES else getattr(job, field)
    option = option_names()[field]
    if value is None:
        return
    if field in _YES_NO:
        yield option, _YES_NO[field][value]
    elif field.endswith("_gib"):
        yield option, memory(value)
    elif value is False:
        # The two options that have a word for it.
        yield ("no-requeue", None) if field == "requeue" else (option, "off")
    else:
        yield option, None if value is True else str(value)


_VALUES: Mapping[str, Callable[[JobSpec], Any]] = {
    # Of torchrun, ranks; Slurm starts one task on each node.
    "ntasks": lambda job: None if job.launcher == "torchrun" else job.ntasks,
    "ntasks_per_node": lambda job: tasks_per_node(job),
    "cpus_per_task": lambda job: cpus_per_task(job),
    "mincpus": lambda job: mincpus(job),
    "gpus_per_task": lambda job: gpus_per_task(job),
    "gpus_per_node": lambda job: job.gpus_per_node or None,
}


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
