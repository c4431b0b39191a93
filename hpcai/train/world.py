"""Which process this is among how many, as the launcher that started it says.

The variables are those of Slurm's srun (`man srun`, OUTPUT ENVIRONMENT VARIABLES), Open MPI's mpirun, MPICH's
and Intel's Hydra, horovodrun and torchrun.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpcai.errors import UsageError
from hpcai.units import parse_hostlist

Environ = Mapping[str, str]


@dataclass(frozen=True)
class World:
    """One process's place in a job that has the same number of processes on every node."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    head_node: str
    launcher: str

    @property
    def num_nodes(self) -> int:
        return self.size // self.local_size

    def __post_init__(self) -> None:
        inside = 0 <= self.rank < self.size and 0 <= self.local_rank < self.local_size <= self.size
        if not inside:
            raise UsageError(
                f"{self.launcher} contradicts itself: rank {self.rank} of {self.size}, "
                f"local rank {self.local_rank} of {self.local_size}."
            )
        if self.size % self.local_size:
            raise unequal_tasks(f"{self.size} processes, {self.local_size} of them on this node")


ALONE = World(rank=0, size=1, local_rank=0, local_size=1, head_node="localhost", launcher="none")


def unequal_tasks(got: str) -> UsageError:
    """The error for nodes that do not all have the same number of processes."""
    return UsageError(
        f"The nodes do not all have the same number of processes: {got}.",
        allowed="Training needs as many processes on every node.",
        next_step="Under Slurm pass --ntasks-per-node (`ntasks_per_node` in the job file).",
    )


def read_world(environ: Environ = os.environ, *, alone_is_meant: bool = False) -> World:
    """The world that the launcher describes; `ALONE` without a launcher.

    The innermost launcher counts: mpirun or torchrun inside a Slurm job leave Slurm's variables standing.
    Raises UsageError, also for a lone process where several were asked for, unless `alone_is_meant`.
    """
    for marker, read in _LAUNCHERS:
        if marker in environ:
            return read(environ)
    if not alone_is_meant:
        _reject_lone_process(environ)
    return ALONE


def _horovod(environ: Environ) -> World:
    names = [f"HOROVOD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
    head = _slurm_head(environ) or environ.get("HOROVOD_GLOO_RENDEZVOUS_ADDR", "localhost")
    return _world("horovod", environ, names, head)


def _openmpi(environ: Environ) -> World:
    names = [f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
    return _world("openmpi", environ, names, _slurm_head(environ) or _openmpi_head(environ))


def _openmpi_head(environ: Environ) -> str:
    # mpirun tells its own address: 1030684672.0;tcp://192.0.2.2:38307;tcp6://...
    found = re.search(r"tcp://([^:,]+)", environ.get("OMPI_MCA_orte_hnp_uri", ""))
    return found[1] if found else "localhost"


def _torchrun(environ: Environ) -> World:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return _world("torchrun", environ, names, environ.get("MASTER_ADDR", "localhost"))


def _slurm(environ: Environ) -> World:
    tasks = _tasks_per_node(environ)
    if len(set(tasks)) != 1:
        raise unequal_tasks(f"Slurm placed {environ['SLURM_STEP_TASKS_PER_NODE']}")
    return World(
        rank=_number(environ, "SLURM_PROCID"),
        size=sum(tasks),
        local_rank=_number(environ, "SLURM_LOCALID"),
        local_size=tasks[0],
        head_node=_slurm_head(environ) or "localhost",
        launcher="slurm",
    )


def _hydra(environ: Environ) -> World:
    names = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    return _world("hydra", environ, names, "localhost")


def _world(launcher: str, environ: Environ, names: Sequence[str], head_node: str) -> World:
    """The world in these variables: rank, size, local rank, local size."""
    rank, size, local_rank, local_size = (_number(environ, name) for name in names)
    return World(rank, size, local_rank, local_size, head_node, launcher)


def _pmix_alone(environ: Environ) -> World:
    raise UsageError(
        f"PMIx started this process as rank {environ['PMIX_RANK']!r} without telling how many there are.",
        allowed="Slurm's srun, Open MPI's mpirun, horovodrun and torchrun tell it.",
    )


_LAUNCHERS: tuple[tuple[str, Callable[[Environ], World]], ...] = (
    ("HOROVOD_RANK", _horovod),
    ("OMPI_COMM_WORLD_RANK", _openmpi),
    ("LOCAL_WORLD_SIZE", _torchrun),
    ("SLURM_STEP_TASKS_PER_NODE", _slurm),
    ("PMI_RANK", _hydra),
    ("PMIX_RANK", _pmix_alone),
)


def _reject_lone_process(environ: Environ) -> None:
    asked = environ.get("SLURM_NTASKS", "1")
    if asked != "1":
        raise UsageError(
            f"Slurm was asked for {asked} tasks, but this process was not started by srun: it is alone.",
            next_step="Start it with `srun --mpi=pmix ...`, or with --comm single to train on one process.",
        )
    asked = environ.get("WORLD_SIZE", "1")
    if asked != "1":
        raise UsageError(
            f"WORLD_SIZE is {asked!r}, but LOCAL_WORLD_SIZE is not set: this is not all that torchrun sets.",
            next_step="Start with torchrun, or set RANK, LOCAL_RANK and LOCAL_WORLD_SIZE too.",
        )


def _number(environ: Environ, name: str) -> int:
    text = environ.get(name)
    if text is None:
        raise UsageError(f"The launcher set only some of its variables: {name} is missing.")
    if not re.fullmatch(r"[0-9]+", text):
        raise UsageError(f"{name} is {text!r}, not a whole number.")
    return int(text)


def _tasks_per_node(environ: Environ) -> list[int]:
    """Slurm's own short form, one number per node: `2(x3),1` is [2, 2, 2, 1]."""
    text = environ["SLURM_STEP_TASKS_PER_NODE"]
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if found is None or int(found[1]) == 0:
            raise UsageError(f"SLURM_STEP_TASKS_PER_NODE is {text!r}, which is not Slurm's list of counts.")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _slurm_head(environ: Environ) -> str | None:
    """The first node of the step, where rank 0 runs."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST")
    if not nodes:
        return None
    try:
        return parse_hostlist(nodes)[0]
    except ValueError as error:
        raise UsageError(f"Slurm's list of nodes cannot be read: {error}.") from error


def allotted_cpus(world: World, environ: Environ = os.environ) -> int:
    """How many CPUs this process may compute on, at least 1.

    torchrun's OMP_NUM_THREADS=1 is a precaution, not an allotment, so it does not count.
    """
    per_task = environ.get("SLURM_CPUS_PER_TASK")
    if per_task and per_task.isdecimal():
        return max(1, int(per_task))
    on_node = environ.get("SLURM_CPUS_ON_NODE")
    if on_node and on_node.isdecimal():
        return max(1, int(on_node) // world.local_size)
    mine, all_of_them = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    # A smaller mask than the machine is this process's own share already: somebody has bound it.
    return mine if mine < all_of_them else max(1, all_of_them // world.local_size)
