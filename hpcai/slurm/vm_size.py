"""Which VM size the nodes of a partition are: what the settings say, else what Slurm says of the nodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcai.catalog.profiles import profiles
from hpcai.catalog.sizes import VmSize, find_name, vm_sizes
from hpcai.errors import NotFoundError
from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.specs.job import JobSpec

LOG = logging.getLogger(__name__)

AUTO = "auto"
# cyclecloud-slurm keeps 5 % of a node's memory from Slurm, at least 1 GiB, and rounds (its README).
_KEPT, _KEPT_LEAST_GIB, _ROUNDED = 0.05, 1.0, 0.006
# Series without hyperthreading: their CPUs are cores.
_CORES = ("standard_hb", "standard_hc", "standard_hx", "standard_nd")


@dataclass(frozen=True)
class SizeOfNodes:
    """The sizes that nodes can be, and how that was found; one where it is known."""

    names: tuple[str, ...]
    how: str
    is_judged: bool = False
    """Whether it follows from the nodes' counts alone, and was told by nobody."""

    @property
    def name(self) -> str | None:
        return self.names[0] if len(self.names) == 1 else None


def is_auto(profile: str | None) -> bool:
    """Whether a profile is to be that of the partition's nodes: `auto`, `auto+sharp`."""
    return profile is not None and profile.split("+")[0].strip().lower() == AUTO


def with_profile(
    job: JobSpec,
    settings: Mapping[str, str],
    partitions: Sequence[PartitionInfo] | None,
    nodes: Sequence[NodeInfo] | None,
) -> JobSpec:
    """The job with the size of its partition's nodes for `profile: auto`; any other is as it was.

    `settings`: partition -> size; None is what Slurm did not tell. Raises NotFoundError.
    """
    if not is_auto(job.profile):
        return job
    found = size_of_job(job, settings, partitions, nodes)
    if found.name is not None and find_name(found.name, profiles()) is None:
        LOG.warning("The size %s has no run profile, and the job none of its settings.", found.name)
        return job.model_copy(update={"profile": None})
    if found.name is not None:
        _, plus, parts = str(job.profile).partition("+")
        return job.model_copy(update={"profile": f"{found.name}{plus}{parts}"})
    partition = job.partition or "your partition"
    looks = f"Its nodes look like {' or '.join(found.names[:4])}." if found.names else None
    raise NotFoundError(
        f"`profile: auto`: which VM size the nodes of {partition} are, nobody has told ({found.how}).",
        allowed=looks,
        next_step="Name the size in profile, or under `partitions:` in ~/.config/hpcai/config.yaml.",
    )


def size_of_job(
    job: JobSpec,
    settings: Mapping[str, str],
    partitions: Sequence[PartitionInfo] | None,
    nodes: Sequence[NodeInfo] | None,
) -> SizeOfNodes:
    """The size of the nodes that a job may get; of several partitions all must be of one."""
    names = _partition_names(job, settings, partitions)
    if not names:
        return SizeOfNodes((), "it names no partition, and the default one is not known")
    each = [size_of(name, settings, _members(name, partitions, nodes)) for name in names]
    found = tuple(dict.fromkeys(size for one in each for size in one.names))
    return SizeOfNodes(found, each[0].how, any(one.is_judged for one in each))


def size_of(partition: str, settings: Mapping[str, str], nodes: Sequence[NodeInfo]) -> SizeOfNodes:
    """The size of a partition's nodes: the settings', a feature's, or those whose counts fit."""
    if partition in settings:
        known = find_name(settings[partition], vm_sizes()) or settings[partition]
        return SizeOfNodes((known,), f"partitions.{partition} of the settings")
    if not nodes:
        return SizeOfNodes((), "Slurm told of no node in it")
    of_features = tuple(dict.fromkeys(name for node in nodes for name in _features(node)))
    if of_features:
        return SizeOfNodes(of_features, "a feature of its nodes")
    # Nodes of one shape are asked once.
    shapes = {(node.cpus, node.gpus, node.memory_mib) for node in nodes}
    fitting = tuple(dict.fromkeys(name for shape in sorted(shapes) for name in _fitting(*shape)))
    return SizeOfNodes(fitting, "their CPUs, GPUs and memory", is_judged=True)


def _partition_names(
    job: JobSpec, settings: Mapping[str, str], partitions: Sequence[PartitionInfo] | None
) -> list[str]:
    if job.partition is not None:
        return job.partition.split(",")
    if partitions is not None:
        return [partition.name for partition in partitions if partition.is_default]
    return list(settings) if len(settings) == 1 else []


def _members(
    name: str, partitions: Sequence[PartitionInfo] | None, nodes: Sequence[NodeInfo] | None
) -> list[NodeInfo]:
    listed = {each for one in partitions or () if one.name == name for each in one.node_names}
    return [node for node in nodes or () if node.name in listed or name in node.partitions]


def _features(node: NodeInfo) -> list[str]:
    known = vm_sizes()
    found = (find_name(feature, known) for feature in node.features)
    return [name for name in found if name is not None]


def _fitting(cpus: int, gpus: int, memory_mib: int) -> list[str]:
    return [size.name for size in vm_sizes().values() if _fits(size, cpus, gpus, memory_mib)]


def _fits(size: VmSize, cpus: int, gpus: int, memory_mib: int) -> bool:
    if size.vcpus is None or size.memory_gib is None or (size.gpus or 0) != gpus:
        return False
    # By its settings CycleCloud counts cores, or what hyperthreading makes of them.
    halves = () if size.name.lower().startswith(_CORES) else (size.vcpus // 2,)
    if cpus not in (size.vcpus, *halves):
        return False
    given_gib = size.memory_gib - max(_KEPT_LEAST_GIB, size.memory_gib * _KEPT)
    has_gib = memory_mib / 1024
    return any(abs(has_gib / known - 1) <= _ROUNDED for known in (given_gib, size.memory_gib))
