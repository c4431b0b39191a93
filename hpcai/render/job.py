"""A job spec resolved against its profile and site, and rendered to the script that sbatch runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpcai.catalog.profiles import Profile, profile
from hpcai.catalog.share import memory_gib, share
from hpcai.catalog.sizes import VmSize, vm_sizes
from hpcai.errors import RenderError
from hpcai.render import container, options
from hpcai.render.environment import quote, render
from hpcai.render.secrets import needs_stash, secret_lines
from hpcai.specs.job import Controller, JobSpec, as_json
from hpcai.specs.secrets import stash_of
from hpcai.specs.site import Site

Where = Literal["slurm", "local"]
# After so long a teardown is ended.
TEARDOWN_S = 60
# So many ports on each node are a job's; those of the next job are the next.
TENSORFLOW_PORTS = 64


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
    part = _part(found, _gpus(spec, found))
    update: dict[str, Any] = {**_shape(spec, part)}
    if spec.mem_gib is None and spec.mem_per_cpu_gib is None and spec.mem_per_gpu_gib is None:
        update["mem_gib"] = _memory_gib(found, found if spec.exclusive else part, update)
    # The masks name one place per task of a full node.
    shape = ("ntasks_per_node", "gpus_per_node", "cpus_per_task")
    binds = is_even and all(update[key] == getattr(part, key) for key in shape)
    if not is_even:
        update["ntasks_per_node"] = None
    return update, part.cpu_bind if binds else None


def _per_node(spec: JobSpec) -> JobSpec:
    """The same with the tasks of a node, of the fullest where they are not as many on each."""
    if spec.ntasks is None or spec.ntasks_per_node is not None:
        return spec
    return spec.model_copy(update={"ntasks_per_node": -(-spec.ntasks // spec.nodes)})


_OTHER_GPUS = ("gpus", "gpus_per_task", "gpus_per_socket", "gres", "tres_per_task", "resources")


def _part(found: Profile, gpus: int | None) -> Profile:
    # A whole node needs no size: the table is not read for it.
    return found if gpus == found.gpus_per_node else share(found, _size(found), gpus)


def _size(found: Profile) -> VmSize | None:
    return vm_sizes().get(found.vm_size) if found.name else None


def _gpus(spec: JobSpec, found: Profile) -> int | None:
    """GPUs per node; on a profile of one task per GPU they follow the tasks where the spec has none.

    None too where the spec asks for GPUs in another of Slurm's ways.
    """
    if any(getattr(spec, field) is not None for field in _OTHER_GPUS):
        return spec.gpus_per_node
    one_each = found.gpus_per_node is not None and found.gpus_per_node == found.ntasks_per_node
    gpus = spec.ntasks_per_node if one_each and spec.gpus_per_node is None else spec.gpus_per_node
    return found.gpus_per_node if gpus is None else gpus


def _shape(spec: JobSpec, part: Profile) -> dict[str, int | None]:
    """Tasks, GPUs and CPUs per node; more or fewer tasks than the profile has share the cores of the job."""
    ntasks = spec.ntasks_per_node or part.ntasks_per_node or 1
    cpus = spec.cpus_per_task or part.cpus_per_task
    if spec.cpus_per_task is None and part.ntasks_per_node and part.cpus_per_task:
        cpus = max(1, part.ntasks_per_node * part.cpus_per_task // ntasks)
    return {"ntasks_per_node": ntasks, "gpus_per_node": _gpus(spec, part), "cpus_per_task": cpus}


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


def render_job(job: ResolvedJob, run_dir: Path | None, *, where: Where = "slurm") -> str:
    """The whole script, for `sbatch` or, with where="local", for `bash` on this machine.

    `run_dir` is the folder of the job's record, None for a job that has none: its output, and what it
    leaves behind, then go to the folder that the script is started from.
    Raises RenderError for what the script cannot carry.
    """
    spec = job.spec
    _check(job, run_dir, where)
    stash = stash_of_job(job, run_dir)
    gloo = spec.launcher == "horovod" and spec.horovod_controller == "gloo"
    return render(
        "sbatch/job.sh.j2",
        **_container(job, run_dir, steps=2 if gloo else 1),
        job=spec,
        env=_env(spec),
        where=where,
        run_dir=None if run_dir is None else str(run_dir),
        workdir=str(job.workdir),
        interpreter=str(job.interpreter),
        places=job.places,
        options=list(options.sbatch_options(spec, run_dir)),
        parts=_parts(job),
        ntasks=sum(options.tasks(part) for part in spec.parts),
        log=_own_logs(spec),
        secrets=list(secret_lines(spec.secrets, stash)),
        stash=stash,
        launcher="gloo" if gloo else spec.launcher,
        mpi=spec.needs_pmix,
        heredoc=_heredoc(spec),
        ports=TENSORFLOW_PORTS,
        teardown_s=TEARDOWN_S,
        workers=options.tasks(spec) - 1 - (spec.parameter_servers or 0),
    )


def stash_of_job(job: ResolvedJob, run_dir: Path | None) -> Path | None:
    """The folder that keeps what the job takes from its submitter's environment; None: it takes nothing."""
    if run_dir is None or job.own_secrets is None or not needs_stash(job.spec.secrets):
        return None
    return stash_of(job.own_secrets, run_dir)


def _check(job: ResolvedJob, run_dir: Path | None, where: Where) -> None:
    for path in (run_dir, job.workdir, job.interpreter):
        if path is not None and not path.is_absolute():
            raise RenderError(f"{str(path)!r} is not an absolute path, and a script runs in many places.")
    tasks, servers = options.tasks(job.spec), job.spec.parameter_servers
    if servers is not None and tasks < servers + 2:
        raise RenderError(
            f"`parameter_servers: {servers}` of {tasks} tasks leaves no chief and worker.",
            allowed="One task is the chief, and at least one a worker.",
        )
    if job.spec.launcher == "tensorflow" and (options.tasks_per_node(job.spec) or 0) > TENSORFLOW_PORTS:
        raise RenderError(f"`launcher: tensorflow` takes at most {TENSORFLOW_PORTS} tasks per node.")
    if where == "local" and job.spec.nodes > 1:
        raise RenderError(
            f"`nodes: {job.spec.nodes}` cannot run on this machine alone.",
            next_step="Add --set nodes=1, or leave out --where local.",
        )
    if where == "local" and job.spec.retry is not None:
        raise RenderError(
            "`retry:` needs Slurm, which puts jobs back into its queue.",
            next_step="Add --set retry=null, or leave out --where local.",
        )
    if where == "local" and job.spec.components:
        raise RenderError(
            "`components:` needs Slurm, which gives each part nodes of its own.",
            next_step="Add --set components=null, or leave out --where local.",
        )
    if where == "local" and job.spec.array is not None:
        raise RenderError(
            f"`array: {job.spec.array}` needs Slurm, which numbers its tasks and starts each.",
            next_step="Add --set array=null, or leave out --where local.",
        )
    if where == "local" and job.spec.container is not None:
        raise RenderError(
            "`container:` needs Slurm with Pyxis.",
            next_step="Add --set container=null, or leave out --where local.",
        )


@dataclass(frozen=True)
class _Part:
    """One part of a heterogeneous job, or the whole of another, as templates read it."""

    nodes: int
    command: str | None
    """None where it is the job's."""
    threads: int | None
    """OMP_NUM_THREADS, where parts differ; srun's --export of one part would reach those behind it too."""
    step: list[str]


def _parts(job: ResolvedJob) -> list[_Part]:
    spec, found = job.spec, []
    for number, part in enumerate(spec.parts):
        words = _step_words(part, job.cpu_binds[number])
        threads = part.cpus_per_task if spec.components and "OMP_NUM_THREADS" not in spec.env else None
        command = spec.components[number].command if spec.components else None
        found.append(_Part(part.nodes, command, threads, words))
    return found


def _own_logs(spec: JobSpec) -> str:
    """What srun's own logs begin with, where each rank opens a log itself; else nothing.

    Torchrun's ranks are not Slurm's, and over the parts of a heterogeneous job Slurm's %t is not the rank.
    """
    if spec.components:
        return "part-"
    return "torchrun-" if spec.launcher == "torchrun" else ""


def _step_words(spec: JobSpec, cpu_bind: str | None) -> list[str]:
    """The words of the launching srun that do not change from site to site."""
    words = [f"--nodes={spec.nodes}", f"--ntasks={options.tasks(spec)}"]
    per_node = options.tasks_per_node(spec)
    if per_node is not None:
        words.append(f"--ntasks-per-node={per_node}")
    cpus = options.cpus_per_task(spec)
    if cpus is not None:
        # Slurm 22.05 and later do not pass the job's own value on to srun.
        words.append(f"--cpus-per-task={cpus}")
    if spec.launcher == "tensorflow" and spec.distribution is None:
        words.append("--distribution=block")
    words += ["--kill-on-bad-exit=1"]
    if cpu_bind is not None:
        words.append(f"--cpu-bind={quote(cpu_bind)}")
    return words


def _env(job: JobSpec) -> dict[str, str]:
    controller = job.horovod_controller
    if controller is None:
        return job.env
    # Left to itself Horovod takes what it was built with first, and mixing the two crashes it.
    return {"HOROVOD_CONTROLLER": controller, "HOROVOD_CPU_OPERATIONS": controller, **job.env}


def _container(job: ResolvedJob, run_dir: Path | None, *, steps: int) -> dict[str, Any]:
    """What the templates say of a container; `steps` of the job enter it."""
    spec = job.spec.container
    if spec is None:
        return {"pyxis": [], "image": None, "save": None, "kept": None, "leaves": False}
    # Pyxis mounts no folder that is not there.
    own = [container.bind(str(path)) for path in (run_dir, job.code or job.workdir) if path is not None]
    mounts = [*own, *job.mounts]
    container.refuse_what_pyxis_lacks(spec, mounts, job.pyxis_version or container.PYXIS)
    container.refuse_what_enroot_lacks(spec, job.enroot_version)
    shared = container.shared_image(spec, sum(part.nodes for part in job.spec.parts), job.images)
    kept = container.kept_name(spec, steps)
    pyxis = container.pyxis_words(
        spec,
        workdir=str(job.workdir),
        mounts=mounts,
        env_names=[*_env(job.spec), *job.places, *job.spec.secrets],
        steps_in_container=steps,
        imported=shared is not None,
    )
    return {
        "pyxis": pyxis,
        "image": shared,
        "save": container.saved_file(spec, str(job.workdir)),
        "kept": kept,
        "leaves": kept is not None or (shared is not None and shared.moves),
    }


def _heredoc(spec: JobSpec) -> str:
    """A word that ends a here-document and is no line of the text inside it."""
    lines = {line for command in (*spec.setup, *spec.teardown) for line in command.splitlines()}
    word = "END"
    while word in lines:
        word += "_"
    return word
