"""What a job asks for, held against what its partition has and allows. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from hpcai.errors import did_you_mean
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.specs.gpus import gpus_asked
from hpcai.specs.job import JobSpec
from hpcai.units import format_duration


@dataclass(frozen=True)
class Breach:
    """One thing that a partition does not have or allow."""

    id: str
    """Which of the known things it is: a finding's id."""
    key: str
    """The key of the job's file that asks for it."""
    what: str
    fix: str
    is_certain: bool = True
    """Whether the job would never start; else it may, later or by another's leave."""


def breaches(
    job: JobSpec,
    partitions: Sequence[PartitionInfo],
    nodes: Sequence[NodeInfo],
    mpi_plugins: Collection[str] | None = None,
    has_pyxis: bool | None = None,
) -> list[Breach]:
    """Everything that stands between a job and its start, most telling first.

    `mpi_plugins` are those of `srun --mpi=list`; they and `has_pyxis` are None where nobody asked.
    """
    if job.components:
        return [*_breaches_of_parts(job, partitions, nodes), *_launching(job, mpi_plugins, has_pyxis)]
    return [*_of_one(job, partitions, nodes), *_launching(job, mpi_plugins, has_pyxis)]


def _launching(job: JobSpec, mpi_plugins: Collection[str] | None, has_pyxis: bool | None) -> list[Breach]:
    return [*_launcher_breaches(job, mpi_plugins), *_container_breaches(job, has_pyxis)]


def _breaches_of_parts(
    job: JobSpec, partitions: Sequence[PartitionInfo], nodes: Sequence[NodeInfo]
) -> Iterator[Breach]:
    for number, part in enumerate(job.parts):
        for breach in _of_one(part, partitions, nodes):
            yield in_part(breach, number)


def in_part(breach: Breach, number: int) -> Breach:
    """The same, of one part of a heterogeneous job."""
    key = f"components[{number}].{breach.key}"
    return dataclasses.replace(breach, key=key, what=f"components[{number}]: {breach.what}")


def _of_one(job: JobSpec, partitions: Sequence[PartitionInfo], nodes: Sequence[NodeInfo]) -> list[Breach]:
    """Those of a job without parts, or of one part."""
    unknown = _unknown_partitions(job, partitions)
    if unknown:
        return unknown
    each = [_breaches_of(job, partition, nodes) for partition in partitions_of(job, partitions)]
    # The job starts in any of its partitions: the one that lets it counts.
    open_ones = [found for found in each if not any(breach.is_certain for breach in found)]
    return min(open_ones, key=len) if open_ones else [breach for found in each for breach in found]


def _breaches_of(job: JobSpec, partition: PartitionInfo, nodes: Sequence[NodeInfo]) -> list[Breach]:
    names = set(partition.node_names)
    members = [node for node in nodes if node.name in names]
    found = [*_partition_breaches(job, partition), *_node_breaches(job, partition, members)]
    if not any(breach.is_certain for breach in found):
        found += _availability_breaches(job, partition, members)
    return found


def partitions_of(job: JobSpec, partitions: Sequence[PartitionInfo]) -> list[PartitionInfo]:
    """The partitions that the job names, else the default one."""
    if job.partition is None:
        return [partition for partition in partitions if partition.is_default]
    wanted = job.partition.split(",")
    return [partition for partition in partitions if partition.name in wanted]


def _unknown_partitions(job: JobSpec, partitions: Sequence[PartitionInfo]) -> list[Breach]:
    """Slurm refuses a job when one of the partitions that it names is not there."""
    names = [partition.name for partition in partitions]
    listed = ", ".join(names) or "none that you may see"
    if job.partition is None:
        fix = f"Set partition to one of: {listed}."
        is_there = any(partition.is_default for partition in partitions)
        return (
            []
            if is_there
            else [Breach("no-partition", "partition", "This cluster has no default partition.", fix)]
        )
    return [_no_partition(name, names, listed) for name in job.partition.split(",") if name not in names]


def _no_partition(name: str, names: Sequence[str], listed: str) -> Breach:
    hint = did_you_mean(name, names)
    fix = f"The partitions are: {listed}.{' ' + hint if hint else ''}"
    return Breach("no-partition", "partition", f"There is no partition {name!r}.", fix)


def _launcher_breaches(job: JobSpec, mpi_plugins: Collection[str] | None) -> list[Breach]:
    if mpi_plugins is None or not job.needs_pmix or "pmix" in mpi_plugins:
        return []
    listed = ", ".join(sorted(mpi_plugins))
    without = f"needs Slurm's PMIx plugin, and srun --mpi=list has only {listed}."
    if job.launcher == "horovod":
        return [
            Breach(
                "no-pmix",
                "horovod_controller",
                f"horovod_controller: mpi {without}",
                "Set horovod_controller to gloo, or leave it out.",
            )
        ]
    return [
        Breach(
            "no-pmix", "launcher", f"launcher: mpi {without}", "Ask who runs this Slurm for the PMIx plugin."
        )
    ]


def _container_breaches(job: JobSpec, has_pyxis: bool | None) -> list[Breach]:
    if job.container is None or has_pyxis is not False:
        return []
    what = "A container needs Pyxis, and srun --help of this Slurm has no --container-image."
    return [
        Breach(
            "no-pyxis",
            "container",
            what,
            "Ask who runs this Slurm for Pyxis and Enroot, or leave container out.",
        )
    ]


def _partition_breaches(job: JobSpec, partition: PartitionInfo) -> list[Breach]:
    found = [_closed(partition), _nodes_breach(job, partition), _time_breach(job, partition)]
    return [breach for breach in found if breach is not None]


def _closed(partition: PartitionInfo) -> Breach | None:
    if partition.state not in ("INACTIVE", "DRAIN"):
        return None
    what = f"Partition {partition.name!r} is {partition.state}: it takes no jobs."
    return Breach("partition-closed", "partition", what, "Name another.")


def _nodes_breach(job: JobSpec, partition: PartitionInfo) -> Breach | None:
    name, total = repr(partition.name), partition.total_nodes
    most, least = partition.max_nodes, partition.min_nodes
    lower = "Lower nodes to {} or less, or name another partition."
    # A QOS can lift a partition's limits; who has one is told by sbatch.
    is_certain = job.qos is None
    if job.nodes > total:
        what = f"Partition {name} has {_nodes(total)}, and the job asks for {job.nodes}."
        return Breach("partition-nodes", "nodes", what, lower.format(total))
    if most is not None and job.nodes > most:
        what = f"Partition {name} allows {_nodes(most)} per job, not {job.nodes}."
        return Breach("partition-nodes", "nodes", what, lower.format(most), is_certain)
    if job.nodes < least:
        what = f"Partition {name} takes jobs of {_nodes(least)} or more, not {job.nodes}."
        return Breach("partition-nodes", "nodes", what, "Raise nodes, or name another partition.", is_certain)
    return None


def _time_breach(job: JobSpec, partition: PartitionInfo) -> Breach | None:
    if partition.max_time_s is None or (job.time_min or 0) * 60 <= partition.max_time_s:
        return None
    return Breach(
        "partition-time",
        "time_min",
        f"Partition {partition.name!r} allows {format_duration(partition.max_time_s)}, "
        f"not {job.time_min} minutes.",
        f"Lower time_min to {partition.max_time_s // 60} or less, or name another partition.",
        is_certain=job.qos is None,
    )


@dataclass(frozen=True)
class _Need:
    """One thing of which a node must have enough."""

    key: str
    unit: str
    amount: float
    has: Callable[[NodeInfo], float]
    is_of_each: bool = True
    """Whether every node must have it; else it is what they need on average."""


def _needs(job: JobSpec, partition: PartitionInfo) -> list[_Need]:
    # What is no whole number per node Slurm lays out; a node holds at least so many on average.
    ntasks = job.ntasks_per_node or max(1, job.ntasks // job.nodes if job.ntasks else 1)
    cpus = ntasks * (job.cpus_per_task or 1)
    most, gpus = partition.max_cpus_per_node, gpus_asked(job)
    of_each = job.ntasks_per_node is not None or job.nodes == 1 or ntasks == 1
    # Slurm counts no more where memory is nothing that it hands out.
    least = (job.ntasks_per_node or 1) * (job.cpus_per_task or 1)
    tasks = "ntasks" if job.ntasks and not job.ntasks_per_node else "ntasks_per_node"
    return [
        _Need(
            "cpus_per_task" if job.cpus_per_task else tasks,
            "CPUs",
            cpus,
            lambda node: node.cpus if most is None else min(node.cpus, most),
            of_each,
        ),
        _Need(gpus.key or "gpus_per_node", "GPUs", gpus.per_node or 0, lambda node: node.gpus),
        _Need("mem_gib", "GiB of memory", job.mem_gib or 0, _memory_gib),
        _Need("mem_per_cpu_gib", "GiB of memory", (job.mem_per_cpu_gib or 0) * least, _memory_gib),
        _Need("mem_per_gpu_gib", "GiB of memory", job.mem_per_gpu_gib or 0, _memory_gib),
    ]


def _memory_gib(node: NodeInfo) -> float:
    return node.memory_mib / 1024


def _node_breaches(job: JobSpec, partition: PartitionInfo, nodes: Sequence[NodeInfo]) -> list[Breach]:
    return [
        Breach(
            "node-too-small",
            need.key,
            _too_little(need, job, partition, nodes),
            "Ask for less, or name another partition.",
            is_certain=need.is_of_each or _fitting(need, nodes) == 0,
        )
        for need in _needs(job, partition)
        if nodes and _fitting(need, nodes) < min(job.nodes, len(nodes))
    ]


def _fitting(need: _Need, nodes: Sequence[NodeInfo]) -> int:
    return sum(need.has(node) >= need.amount for node in nodes)


def _too_little(need: _Need, job: JobSpec, partition: PartitionInfo, nodes: Sequence[NodeInfo]) -> str:
    where, asked = f"partition {partition.name!r}", f"{_number(need.amount)} {need.unit}"
    fitting = _fitting(need, nodes)
    if fitting == 0:
        most = _number(max(need.has(node) for node in nodes))
        return f"The job asks for {asked} per node, and the largest node of {where} has {most} {need.unit}."
    asking = f"The job asks for {_nodes(job.nodes)} with {asked} each"
    least = _number(min(need.has(node) for node in nodes))
    return (
        f"{asking}, and only {fitting} of the {_nodes(len(nodes))} of {where} "
        f"{'has' if fitting == 1 else 'have'} that; the smallest has {least} {need.unit}."
    )


def _availability_breaches(job: JobSpec, partition: PartitionInfo, nodes: Sequence[NodeInfo]) -> list[Breach]:
    away = [node for node in nodes if node.is_down or "DRAIN" in node.flags]
    # Nothing is known of nodes that nobody has told of.
    if not nodes or len(nodes) - len(away) >= job.nodes:
        return []
    why = "; ".join(f"{node.name} is {_state(node)}" for node in away[:3])
    return [
        Breach(
            "nodes-away",
            "nodes",
            f"Only {len(nodes) - len(away)} of the {_nodes(len(nodes))} of partition {partition.name!r} "
            f"can take jobs now ({why}).",
            "The job would wait; `sinfo -R` tells why they are away.",
            False,
        )
    ]


def _state(node: NodeInfo) -> str:
    state = "drained" if "DRAIN" in node.flags else "down"
    return f"{state}: {node.reason}" if node.reason else state


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _number(amount: float) -> str:
    return f"{amount:g}" if amount < 1000 else f"{amount:.0f}"
