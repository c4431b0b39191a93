"""What experience with training on Azure says about a job: nothing here keeps it from running."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcai.catalog.sizes import VmSize
from hpcai.check import places
from hpcai.check.findings import Finding
from hpcai.check.told import Told
from hpcai.render.resolved import ResolvedJob
from hpcai.specs.gpus import gpus_asked
from hpcai.specs.job import JobSpec

# A scale set of CycleCloud's Slurm has as many nodes; beyond it two InfiniBand networks meet.
_SCALE_SET = 100
_ABSOLUTE = re.compile(r"(?:^|(?<=[\s='\":]))/[^\s'\";|&<>()$`*?\[\]{}\\,:]+")


def advise(
    job: ResolvedJob, size: VmSize | None, told: Told, spot_partitions: Sequence[str] = ()
) -> Iterator[Finding]:
    """Findings of severity note or warning; each names its source in docs/checks.md."""
    spec = job.spec
    yield from _scale_up(spec, size)
    yield from _trials(spec)
    yield from _network(spec, size)
    yield from _whole_node(spec, size)
    yield from _time_limit(spec)
    yield from _losing_a_node(spec, told, spot_partitions)


def _scale_up(job: JobSpec, size: VmSize | None) -> Iterator[Finding]:
    each = gpus_asked(job).per_node
    if size is None or not size.gpus or job.nodes == 1 or not each:
        return
    # With the same GPUs on fewer nodes.
    wanted = job.nodes * each
    if each < size.gpus:
        nodes = -(-wanted // int(size.gpus))
        what = f"{wanted} GPUs on {job.nodes} nodes: {size.name} has {size.gpus:g} on one."
        fix = f"Set nodes to {nodes} and gpus_per_node to {min(wanted, int(size.gpus))}: scale up before out."
        yield Finding("scale-up-first", "warning", "nodes", what, fix)


def _trials(job: JobSpec) -> Iterator[Finding]:
    if job.array is None or job.nodes == 1:
        return
    what = f"Each task of the array takes {job.nodes} nodes: several trials on one node each get more done."
    yield Finding(
        "trials-of-many-nodes", "note", "array", what, "Set nodes to 1 if a trial fits on one node."
    )


def _network(job: JobSpec, size: VmSize | None) -> Iterator[Finding]:
    if size is None or job.nodes == 1 or job.array is not None:
        return
    if size.infiniband_rails == 0:
        what = f"{size.name} has no InfiniBand: {job.nodes} nodes talk by Ethernet."
        fix = "hpcai vm list  # shows sizes with InfiniBand"
        yield Finding("no-infiniband", "note", "nodes", what, fix)
    elif size.infiniband_rails and not job.exclusive and not _takes_whole(job, size):
        what = f"The job may share its nodes, and with them the InfiniBand of {size.name}."
        yield Finding("infiniband-shared", "note", "exclusive", what, "Set exclusive to true.")
    if size.infiniband_rails and job.nodes > _SCALE_SET:
        what = f"CycleCloud's Slurm has up to {_SCALE_SET} nodes in one InfiniBand network, not {job.nodes}."
        fix = "Ask who runs this cluster how large its scale sets are (MaxScalesetSize)."
        yield Finding("beyond-scale-set", "note", "nodes", what, fix)


def _takes_whole(job: JobSpec, size: VmSize) -> bool:
    cpus = (job.ntasks_per_node or 1) * (job.cpus_per_task or 1)
    return bool(size.gpus and (gpus_asked(job).per_node or 0) >= size.gpus) or cpus >= (
        size.vcpus or float("inf")
    )


def _whole_node(job: JobSpec, size: VmSize | None) -> Iterator[Finding]:
    each = gpus_asked(job).per_node
    if size is None or not size.gpus or not job.exclusive or not each:
        return
    if each < size.gpus:
        what = f"The job has each node to itself and uses {each} of its {size.gpus:g} GPUs."
        fix = f"Leave exclusive out, or set gpus_per_node to {size.gpus:g}."
        yield Finding("node-held-idle", "warning", "exclusive", what, fix)


def _time_limit(job: JobSpec) -> Iterator[Finding]:
    if job.time_min is not None:
        return
    what = "There is no time limit: Slurm takes the partition's, and cannot start the job in a gap."
    yield Finding("no-time-limit", "note", "time_min", what, "Set time_min to what it takes, and some more.")


def _losing_a_node(job: JobSpec, told: Told, spot_partitions: Sequence[str]) -> Iterator[Finding]:
    default = (told.config or {}).get("JobRequeue", "1")
    is_requeued = job.requeue if job.requeue is not None else default != "0"
    default_one = [one.name for one in told.partitions or () if one.is_default]
    names = job.partition.split(",") if job.partition is not None else default_one
    nodes = [node for node in told.nodes or () if set(names) & set(node.partitions)]
    words = [*names, *(feature for node in nodes for feature in node.features)]
    is_spot = bool(set(names) & set(spot_partitions)) or any("spot" in word.lower() for word in words)
    if is_spot and not is_requeued:
        what = "An evicted Spot node ends the job for good: it is not requeued."
        fix = "Set requeue to true, and let the command go on from its last checkpoint."
        yield Finding("spot-without-requeue", "warning", "requeue", what, fix)
    elif is_spot and not job.signal:
        what = "A Spot node may be taken away at any time: what was not saved is lost."
        fix = "Let the command save a checkpoint every few minutes and start from the last one."
        yield Finding("spot-needs-checkpoints", "note", "partition", what, fix)


def slow_mounts(job: ResolvedJob) -> Iterator[Finding]:
    """A warning for each path of the job that is too slow to train from."""
    spec = job.spec
    sources = [("workdir", job.workdir)]
    if spec.container is not None:
        for index, mount in enumerate(spec.container.mounts):
            source = mount.partition(":")[0]
            if source.startswith(("/", ".")):
                sources.append((f"container.mounts[{index}]", Path(job.workdir / source)))
    for index, data in enumerate(spec.data):
        if data.source.startswith("file:///"):
            sources.append((f"data[{index}].source", Path(data.source.removeprefix("file://"))))
    if spec.container is None:
        # Of a container's command, paths are those inside it.
        sources += [("command", Path(word)) for word in _ABSOLUTE.findall(spec.command)]
    for where, path in sources:
        found = places.azure_storage(path)
        if found is None or (found[0] == "files" and where == "workdir"):
            continue
        name = "mount of Blob storage" if found[0] == "blob" else "share of Azure Files or SMB"
        what = f"{str(path)!r} is a {name} ({found[1]}), too slow to train from."
        yield Finding("blob-mount", "warning", where, what, "Let data: bring it to the nodes' own disks.")
