"""What a job gets of a node that it does not take whole."""

from __future__ import annotations

from dataclasses import replace

from hpcai.catalog.profiles import Profile
from hpcai.catalog.sizes import VmSize

# cyclecloud-slurm keeps 5 % of a node's memory from Slurm, at least 1 GiB (its README, "Dampening Memory").
_KEPT = 0.05
_KEPT_LEAST_GIB = 1


def share(profile: Profile, size: VmSize | None, gpus: int | None) -> Profile:
    """The profile for `gpus` of the node's GPUs: their part of its tasks, cores and memory, rounded down.

    All of them, or None, is the profile as it is. A part has no masks: which cores Slurm gives it is not
    known before, and a mask that lies outside them fails. `size` None: its memory is not known.
    """
    whole = profile.gpus_per_node
    if not gpus or whole is None or gpus >= whole:
        return profile
    ntasks = max(1, profile.ntasks_per_node * gpus // whole) if profile.ntasks_per_node else None
    return replace(
        profile,
        ntasks_per_node=ntasks,
        cpus_per_task=_cpus(profile, size, ntasks, gpus, whole),
        gpus_per_node=gpus,
        mem_gib=memory_gib(size, gpus, whole),
        cpu_bind=profile.cpu_bind if profile.cpu_bind == "none" else None,
    )


def memory_gib(size: VmSize | None, part: int, whole: int) -> int | None:
    """`part` of `whole` of the memory that Slurm has to give on a node; None where it is not known."""
    if size is None or size.memory_gib is None:
        return None
    given_gib = size.memory_gib - max(_KEPT_LEAST_GIB, size.memory_gib * _KEPT)
    return max(1, int(given_gib * part / whole))


def _cpus(profile: Profile, size: VmSize | None, ntasks: int | None, gpus: int, whole: int) -> int | None:
    """The profile's own for each task, as long as they are not more than the part's."""
    if profile.cpus_per_task is None or ntasks is None or size is None or size.vcpus is None:
        return profile.cpus_per_task
    return max(1, min(profile.cpus_per_task, size.vcpus * gpus // whole // ntasks))
