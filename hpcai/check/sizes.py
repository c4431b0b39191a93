"""A job's nodes, tasks, GPUs, CPUs and memory, held against the VM size that it runs on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from hpcai.catalog.share import memory_gib
from hpcai.catalog.sizes import VmSize, find_name, vm_sizes
from hpcai.check.findings import Finding, Severity
from hpcai.check.told import Told
from hpcai.render.options import tasks_per_node
from hpcai.slurm.vm_size import SizeOfNodes, size_of_job
from hpcai.specs.gpus import gpus_asked
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site


@dataclass(frozen=True)
class SizeOfJob:
    """The size that a job is taken to run on, None where nobody knows, and what its partition's nodes are."""

    size: VmSize | None
    of_nodes: SizeOfNodes


def size_of(job: JobSpec, told: Told, site: Site) -> SizeOfJob:
    """By the job's profile, else by its partition."""
    of_nodes = size_of_job(job, site.partitions, told.partitions, told.nodes)
    known = vm_sizes()
    name = job.profile.partition("+")[0] if job.profile is not None else of_nodes.name
    found = find_name(name, known) if name is not None else None
    return SizeOfJob(known[found] if found is not None else None, of_nodes)


def check_size(job: JobSpec, found: SizeOfJob, *, nodes_told: bool) -> Iterator[Finding]:
    """Findings about a job and its VM size; what Slurm tells of the nodes is held against them elsewhere."""
    size = found.size
    if size is None:
        return
    yield from _of_partition(job, found.of_nodes, size)
    if size.has_retired(time.strftime("%Y-%m-%d")):
        what = f"Azure has retired {size.name} ({size.retires})."
        yield Finding("size-retired", "warning", "profile", what, "hpcai vm list")
    if not nodes_told:
        yield from _too_small(job, size)
    yield from _idle(job, size)


def _of_partition(job: JobSpec, of_nodes: SizeOfNodes, size: VmSize) -> Iterator[Finding]:
    names = of_nodes.names
    if job.profile is None or not names or size.name in names:
        return
    what = f"profile is {size.name}, and by {of_nodes.how} the nodes are {' or '.join(names[:3])}."
    severity: Severity = "warning" if of_nodes.is_judged else "error"
    yield Finding(
        "size-not-of-partition", severity, "profile", what, "Set profile to auto, or name another partition."
    )


def _tasks(job: JobSpec) -> int:
    """Per node, at least: where Slurm lays them out, some nodes may have more."""
    return tasks_per_node(job) or max(1, (job.ntasks or 1) // job.nodes)


def _too_small(job: JobSpec, size: VmSize) -> Iterator[Finding]:
    cpus, gpus = _tasks(job) * (job.cpus_per_task or 1), gpus_asked(job)
    needs = (
        (gpus.key or "gpus_per_node", "GPUs", gpus.per_node, size.gpus),
        ("cpus_per_task" if job.cpus_per_task else "ntasks_per_node", "CPUs", cpus, size.vcpus),
        ("mem_gib", "GiB of memory that Slurm has to give", job.mem_gib, memory_gib(size, 1, 1)),
    )
    for key, unit, asked, has in needs:
        if asked and has is not None and asked > has:
            what = f"The job asks for {asked:g} per node, and {size.name} has {has:g} {unit}."
            yield Finding("size-too-small", "error", key, what, "Ask for less, or name another size.")


def _idle(job: JobSpec, size: VmSize) -> Iterator[Finding]:
    asked, tasks = gpus_asked(job), job.ntasks_per_node or 1
    gpus = asked.per_node or 0
    if size.gpus and job.profile is not None and asked.key is not None and asked.per_node is None:
        what = f"{asked.key} leaves to Slurm how many GPUs each node gives: CPUs and memory are those of all."
        fix = "Set gpus_per_node in its place, or ntasks_per_node, cpus_per_task and mem_gib too."
        yield Finding("gpus-untold", "warning", asked.key, what, fix)
    if job.ntasks is not None:
        tasks = max(1, job.ntasks // job.nodes)
    if job.launcher != "srun" and gpus > tasks:
        what = (
            f"{gpus} GPUs per node and {tasks} {'task' if tasks == 1 else 'tasks'}: each rank uses one GPU."
        )
        fix = f"Set ntasks_per_node to {gpus}, or gpus_per_node to {tasks}."
        yield Finding("gpus-without-tasks", "warning", "ntasks_per_node", what, fix)
    if size.vcpus and job.exclusive and not gpus:
        used = _tasks(job) * (job.cpus_per_task or 1)
        if used * 2 <= size.vcpus:
            what = (
                f"The job uses {used} of the {size.vcpus} CPUs of {size.name}, and has each node to itself."
            )
            fix = "Leave exclusive out, or raise ntasks_per_node or cpus_per_task."
            yield Finding("cpus-idle", "note", "exclusive", what, fix)
