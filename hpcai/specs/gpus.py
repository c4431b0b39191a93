"""How many GPUs of a node a job asks for, in any of the ways that Slurm has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpcai.specs.slurm_fields import ComponentFields

# Of --gres and --tres-per-task: gpu, gpu:2, gpu:h100:2, gres/gpu:2, gres/gpu=2.
_GPU = re.compile(r"(?:gres[/:])?gpu(?:[:/][A-Za-z][\w.-]*)?(?:[:=](\d+))?(?:\(\S*\))?", re.IGNORECASE)


@dataclass(frozen=True)
class GpusAsked:
    """GPUs per node, and the field that asks for them."""

    key: str | None
    """None: no field does."""
    per_node: int | None
    """None where Slurm lays them out over the nodes, or nobody asks."""


def gpus_asked(job: ComponentFields) -> GpusAsked:
    """What the fields of a job, or of one part of it, ask for."""
    if job.gpus_per_node is not None:
        return GpusAsked("gpus_per_node", job.gpus_per_node)
    if job.gres is not None and _in_list(job.gres):
        return GpusAsked("gres", _in_list(job.gres))
    if job.gpus is not None:
        each, rest = divmod(_number(job.gpus), job.nodes)
        return GpusAsked("gpus", None if rest else each)
    for key, per_task in (("gpus_per_task", job.gpus_per_task), ("tres_per_task", job.tres_per_task)):
        number = 0 if per_task is None else _in_list(per_task) or _number(per_task)
        if number:
            tasks = _tasks_per_node(job)
            return GpusAsked(key, None if tasks is None else tasks * number)
    is_untold = job.gpus_per_socket is not None
    return GpusAsked("gpus_per_socket" if is_untold else None, None)


def _in_list(text: str) -> int:
    """The GPUs in a list such as `gpu:h100:2,license:1`."""
    found = (_GPU.fullmatch(word.strip()) for word in text.split(","))
    return sum(int(one[1] or 1) for one in found if one)


def _number(text: str) -> int:
    """Of `4` or `h100:4`; 0 for what is no number of GPUs."""
    last = text.rpartition(":")[2]
    return int(last) if last.isdecimal() else 0


def _tasks_per_node(job: ComponentFields) -> int | None:
    if job.ntasks_per_node is not None:
        return job.ntasks_per_node
    return None if job.ntasks is None or job.ntasks % job.nodes else job.ntasks // job.nodes
