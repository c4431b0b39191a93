"""A job spec resolved against its profile and site: every default explicit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpcai.catalog.profiles import Profile, profile
from hpcai.catalog.share import memory_gib, share
from hpcai.catalog.sizes import VmSize, vm_sizes
from hpcai.specs.gpus import gpus_asked
from hpcai.specs.job import Controller, JobSpec, as_json
from hpcai.specs.site import Site

Where = Literal["slurm", "local"]


@dataclass(frozen=True)
class ResolvedJob:
    """A job with its profile merged and every default explicit."""

    spec: JobSpec
    workdir: Path
    interpreter: Path
    cpu_binds: tuple[str | None, ...] = (None,)
    """Of each part of a heterogeneous job, else of the job."""
    mounts: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    """The site's variables that every task needs; none is a secret."""
    pyxis_version: str | None = None
    enroot_version: str | None = None
    images: Path = Path("/images")
    """The folder of images that are imported once for all nodes."""
    code: Path | None = None
    """The folder that the job runs from where it is not the one that it is submitted from."""
    own_secrets: Path | None = None
    """The user's own folder for secrets that wait for their job; no record names it."""

    @property
    def cpu_bind(self) -> str | None:
        """How tasks are bound to cores, where the job is not heterogeneous."""
        return self.cpu_binds[0]

    def to_json(self) -> dict[str, Any]:
        """The job as JSON's own types: the spec's fields, and beside them what was resolved."""
        return as_json(self.spec) | {
            "schema_version": 1,
            "nodes": sum(part.nodes for part in self.spec.parts),
            "workdir": str(self.workdir),
            "interpreter": str(self.interpreter),
            "cpu_bind": self.cpu_binds[0] if len(self.cpu_binds) == 1 else list(self.cpu_binds),
            "mounts": list(self.mounts),
            "places": dict(self.places),
        }


def resolve_job(
    spec: JobSpec, site: Site, *, interpreter: Path, cwd: Path | None = None, has_pmix: bool = True
) -> ResolvedJob:
    """The job with its profile merged; what the spec says wins over the profile.

    `cwd` (default: the current folder) is where the command starts when the spec names no workdir.
    `has_pmix`: whether ranks of MPI find each other here; where not, Horovod goes by Gloo.
    Raises NotFoundError for an unknown profile.
    """
    found = profile(spec.profile) if spec.profile is not None else Profile("")
    shaped = [_shaped(part, found) for part in spec.parts]
    env = {**found.env, **spec.env}
    update: dict[str, Any] = {"horovod_controller": _controller(spec, has_pmix), "env": env}
    if spec.components:
        update["components"] = tuple(
            one.model_copy(update=shape) for one, (shape, _) in zip(spec.components, shaped, strict=True)
        )
    else:
        update |= shaped[0][0]
        update["env"] = {**_threads(shaped[0][0]), **env}
    if spec.requeue is None and spec.retry is not None:
        update["requeue"] = spec.retry.requeue
    merged = spec.model_copy(update=update)
    return ResolvedJob(
        spec=merged,
        workdir=Path(spec.workdir or spec.code or cwd or Path.cwd()),
        code=spec.code,
        interpreter=interpreter,
        cpu_binds=tuple(_cpu_bind(merged, mask) for _, mask in shaped),
        mounts=found.mounts if merged.container is not None else (),
        places=_places(site),
        own_secrets=site.own_secrets,
        pyxis_version=site.pyxis_version,
        enroot_version=site.enroot_version,
        images=site.images,
    )


def _threads(shape: Mapping[str, Any]) -> dict[str, str]:
    cpus = shape["cpus_per_task"]
    return {} if cpus is None else {"OMP_NUM_THREADS": str(cpus)}


def _shaped(spec: JobSpec, found: Profile) -> tuple[dict[str, Any], str | None]:
    """What the profile fills in of a job or of one part of it, and how it binds tasks to cores."""
    is_even = spec.ntasks is None or spec.ntasks % spec.nodes == 0
    spec = _per_node(spec)
    gpus = _gpus(spec, found)
    part = _part(found, gpus)
    update: dict[str, Any] = _shape(spec, part, gpus)
    if gpus is None:
        # Of so many tasks as the profile has, perhaps each asks for some.
        gpus = gpus_asked(spec.model_copy(update=update)).per_node
    update["gpus_per_node"] = gpus
    if spec.mem_gib is None and spec.mem_per_cpu_gib is None and spec.mem_per_gpu_gib is None:
        update["mem_gib"] = _memory_gib(found, found if spec.exclusive else part, update)
    # The masks name one place per task of a full node.
    shape = ("ntasks_per_node", "gpus_per_node", "cpus_per_task")
    binds = is_even and all(update[key] == getattr(part, key) for key in shape)
    if not is_even:
        update["ntasks_per_node"] = None
    if gpus_asked(spec).key not in (None, "gpus_per_node") or spec.ntasks_per_gpu is not None:
        # The field that asks for them, or for their tasks, says it to Slurm.
        update["gpus_per_node"] = None
    return update, part.cpu_bind if binds else None


def _per_node(spec: JobSpec) -> JobSpec:
    """The same with the tasks of a node, of the fullest where they are not as many on each."""
    if spec.ntasks is None or spec.ntasks_per_node is not None:
        return spec
    return spec.model_copy(update={"ntasks_per_node": -(-spec.ntasks // spec.nodes)})


def _part(found: Profile, gpus: int | None) -> Profile:
    # A whole node needs no size: the table is not read for it.
    return found if gpus == found.gpus_per_node else share(found, _size(found), gpus)


def _size(found: Profile) -> VmSize | None:
    return vm_sizes().get(found.vm_size) if found.name else None


def _gpus(spec: JobSpec, found: Profile) -> int | None:
    """GPUs per node; on a profile of one task per GPU they follow the tasks where the spec has none.

    None too where Slurm lays them out over the nodes.
    """
    asked = gpus_asked(spec)
    if asked.key is not None:
        return asked.per_node
    one_each = found.gpus_per_node is not None and found.gpus_per_node == found.ntasks_per_node
    return (spec.ntasks_per_node if one_each else None) or found.gpus_per_node


def _shape(spec: JobSpec, part: Profile, gpus: int | None) -> dict[str, Any]:
    """Tasks per node and CPUs per task; more or fewer tasks than the profile has share the job's cores.

    None where they are counted per GPU.
    """
    one_each = gpus if spec.launcher in ("torchrun", "horovod") else None
    ntasks = spec.ntasks_per_node or part.ntasks_per_node or one_each or 1
    cpus = spec.cpus_per_task or part.cpus_per_task
    if spec.cpus_per_task is None and part.ntasks_per_node and part.cpus_per_task:
        cpus = max(1, part.ntasks_per_node * part.cpus_per_task // ntasks)
    return {
        "ntasks_per_node": ntasks if spec.ntasks_per_gpu is None else None,
        "cpus_per_task": cpus if spec.cpus_per_gpu is None else None,
    }


def _memory_gib(found: Profile, part: Profile, shape: Mapping[str, int | None]) -> float | None:
    """Memory per node: that of `part` with its GPUs; without GPUs it goes by the cores."""
    if found.mem_gib is None or not found.ntasks_per_node or not found.cpus_per_task:
        return None
    if shape["gpus_per_node"]:
        memory = part.mem_gib
    else:
        cores = (shape["ntasks_per_node"] or 1) * (shape["cpus_per_task"] or 1)
        whole = found.ntasks_per_node * found.cpus_per_task
        memory = found.mem_gib if cores >= whole else memory_gib(_size(found), cores, whole)
    return None if memory is None else float(memory)


def _controller(spec: JobSpec, has_pmix: bool) -> Controller | None:
    """By what Horovod's ranks find each other; None for another launcher."""
    if spec.launcher != "horovod" or spec.horovod_controller is not None:
        return spec.horovod_controller
    operations = spec.env.get("HOROVOD_CPU_OPERATIONS", "").lower()
    if operations in ("mpi", "gloo"):
        # Measured: Horovod 0.28 crashes when the two differ.
        return "gloo" if operations == "gloo" else "mpi"
    return "mpi" if has_pmix else "gloo"


def _cpu_bind(job: JobSpec, mask: str | None) -> str | None:
    # The ranks of one torchrun task share its cores; a mask for one task would squeeze them all.
    return "none" if mask and job.launcher == "torchrun" else mask


def _places(site: Site) -> dict[str, str]:
    places = {
        "HPCAI_SCRATCH": site.scratch,
        "AZURE_STORAGE_ACCOUNT": site.storage_account,
        "HPCAI_STORAGE_ENDPOINT": site.storage_endpoint,
        "HPCAI_STORAGE_CREDENTIALS": site.storage_credentials,
        "HPCAI_ALLOW_HTTP": ",".join(site.allow_http) or None,
    }
    return {name: str(value) for name, value in places.items() if value is not None}
