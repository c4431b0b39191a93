"""What a job is: validated, frozen data.

A field's name is its YAML key and, with `-` for `_` and the unit cut off, Slurm's long option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hpcai.specs.components import ComponentSpec, contradictions_of_components
from hpcai.specs.container import ContainerSpec, is_of_azure
from hpcai.specs.fields import Many, Model, Name, Shell, Variable, matches, refuse, wrong
from hpcai.specs.gpus import GpusAsked, gpus_asked
from hpcai.specs.mistakes import Contradiction
from hpcai.specs.retry import RetrySpec, retry_contradictions
from hpcai.specs.schedule import Schedule
from hpcai.specs.secrets import IsMap, SecretReference
from hpcai.specs.slurm_fields import Count, OneLine, SlurmFields, component_contradictions, job_contradictions

Launcher = Literal["srun", "mpi", "horovod", "torchrun", "tensorflow"]
Controller = Literal["mpi", "gloo"]

# What people who come from elsewhere write for our keys.
ALIASES = {
    "account_name": "account",
    "cpus": "cpus_per_task",
    "cwd": "workdir",
    "datasets": "data",
    "display_name": "name",
    "environment_variables": "env",
    "experiment_name": "experiment",
    "image": "container",
    "inputs": "data",
    "instance_count": "nodes",
    "instance_type": "profile",
    "job_name": "name",
    "mem": "mem_gib",
    "mem_gb": "mem_gib",
    "memory": "mem_gib",
    "num_nodes": "nodes",
    "process_count_per_node": "ntasks_per_node",
    "queue": "partition",
    "script": "command",
    "sku": "profile",
    "tasks_per_node": "ntasks_per_node",
    "time": "time_min",
    "time_limit": "time_min",
    "timeout_min": "time_min",
    "vm_size": "profile",
    "walltime": "time_min",
}


def _source(text: str) -> str:
    # Neither is repeated: it would go on into logs.
    if re.search(r"[?&]sig=", text, re.IGNORECASE):
        raise wrong(f"carries a signature, which is a secret; {_SECRETS_GO}")
    if re.match(r"[^/]*//[^/?#]*@", text):
        raise wrong(f"carries a user or password before the host; {_SECRETS_GO}")
    if (
        re.fullmatch(r"azure://[a-z0-9](?:-?[a-z0-9]){2,62}/\S.*|https?://[^\s/]+/\S*|file:///.*", text)
        is None
    ):
        raise wrong(
            f"got {text!r}; 'azure://CONTAINER/PREFIX', 'https://HOST/PATH' or 'file:///PATH' "
            "(the folder that holds manifest.json)"
        )
    return text


Version = Annotated[str, matches(r"[0-9a-f]{8,32}", "the first 8 to 32 digits of what `hpcai data ls` shows")]

# Opens an account to whoever reads a script, a record or a report: every variable goes into them.
_SECRET = re.compile(
    r"AZURE_STORAGE_((ACCOUNT_|ACCESS_)?KEY|SAS(_TOKEN)?|(ACCOUNT_)?CONNECTION_STRING)|AZURE_CLIENT_SECRET"
)
_SECRETS_GO = "keys and SAS go into a file of mode 0600 that HPCAI_STORAGE_CREDENTIALS names"
_RESERVED = re.compile(
    r"HPCAI_(RUN_DIR|ATTEMPT|OUTPUTS|OUTPUT_.*|PYTHON|DATA_.*|EXIT_STATUS)|SLURM_.*|SLURMD_.*"
)
# What bash does not let a script set, or reads itself, and what would change the job behind the file's back.
_NOT_OURS = {
    **dict.fromkeys(("UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS"), "cannot be set in bash"),
    **dict.fromkeys(
        ("IFS", "SECONDS", "RANDOM", "LINENO", "BASH_ENV", "OLDPWD", "PWD", "_"), "is read by bash itself"
    ),
    "PATH": "would hide Slurm's commands from the script; in setup: export PATH=/my/bin:$PATH",
    "PYXIS_CONTAINER_IMAGE": "would put every step into that image; container.image names one",
}


def _value(text: str) -> str:
    if "\0" in text:
        raise wrong(f"got {text!r}; a variable cannot hold a zero byte")
    return text


def _nowhere(text: str) -> str:
    raise wrong(
        f"got {text!r}; nothing sends outputs to another place yet: leave it out, and find them in the "
        "run's record, below outputs/"
    )


_DATA_NAME = matches(r"[a-z][a-z0-9_-]{0,31}", "lower-case letters, digits, '_', '-', at most 32")


class OutputSpec(Model):
    """A folder of the run's record for one kind of what the job leaves behind."""

    name: Annotated[str, _DATA_NAME]
    to: Annotated[str, AfterValidator(_nowhere)] | None = None

    @property
    def variable(self) -> str:
        """The variable that names the folder in every task."""
        return "HPCAI_OUTPUT_" + self.name.upper().replace("-", "_")


class DataSpec(Model):
    """A data set that is brought to every node's own scratch before the command starts."""

    name: Annotated[str, _DATA_NAME]
    source: Annotated[str, AfterValidator(_source)]
    version: Version | None = None
    verify: bool = False
    """Whether a node reads all of it again although nobody wrote to it since it was verified."""

    @property
    def variable(self) -> str:
        """The variable that names the data set's place in every task."""
        return "HPCAI_DATA_" + self.name.upper().replace("-", "_")


class _Heading(Model):
    """What a reader looks for first."""

    kind: Literal["job"] = "job"
    name: Name
    experiment: Name = "default"
    command: Shell
    launcher: Launcher = "srun"
    horovod_controller: Controller | None = None
    """None: MPI where this Slurm has PMIx, else Gloo."""
    parameter_servers: Count | None = None
    """None: TensorFlow's tasks are all workers."""
    profile: OneLine | None = None


class JobSpec(SlurmFields, _Heading):
    """One job.  `None` leaves a Slurm option out."""

    # Whoever writes a secret where its reference belongs finds it in no error.
    model_config = ConfigDict(hide_input_in_errors=True)

    workdir: Annotated[Path, Field(strict=False)] | None = None
    code: Annotated[Path, Field(strict=False)] | None = None
    """The folder whose state at submission the job runs from; workdir lies inside it."""
    setup: Many[Shell] = ()
    teardown: Many[Shell] = ()
    env: dict[Variable, Annotated[str, AfterValidator(_value)]] = Field(default_factory=dict)
    secrets: Annotated[dict[Variable, SecretReference], IsMap] = Field(default_factory=dict)
    container: ContainerSpec | None = None
    data: Many[DataSpec] = ()
    outputs: Many[OutputSpec] = ()
    samples: bool = True
    """Whether a small process on each node notes how busy it is, where the job has a record."""
    components: Many[ComponentSpec] = ()
    scheduled_events: bool = False
    """Whether each node watches Azure's notices, where the job has a record."""
    retry: RetrySpec | None = None
    schedule: Schedule | None = None
    """When the file is submitted anew, each time as a run of its own."""

    @property
    def parts(self) -> tuple[JobSpec, ...]:
        """The parts of a heterogeneous job, each as a job with what it leaves out filled in; else the job."""
        if not self.components:
            return (self,)
        return tuple(self.model_copy(update={"components": (), **one.given()}) for one in self.components)

    @property
    def commands(self) -> tuple[tuple[str, str], ...]:
        """Each command that the job runs, behind the place in its file."""
        own = (
            (f"components[{number}].command", part.command)
            for number, part in enumerate(self.components)
            if part.command is not None
        )
        return (("command", self.command), *own)

    @property
    def needs_pmix(self) -> bool:
        """Whether Slurm's PMIx tells its ranks of each other."""
        return self.launcher == "mpi" or (self.launcher == "horovod" and self.horovod_controller != "gloo")

    @model_validator(mode="after")
    def _fits_together(self) -> JobSpec:
        refuse(contradictions(self))
        return self


def contradictions(job: JobSpec) -> Iterator[Contradiction]:
    """What in a job of valid fields cannot be meant together."""
    yield from job_contradictions(job)
    yield from contradictions_of_components(job) if job.components else component_contradictions(job)
    yield from _data_contradictions(job)
    yield from _container_contradictions(job)
    yield from _env_contradictions(job)
    yield from _secret_contradictions(job)
    yield from retry_contradictions(
        job.retry,
        job.requeue,
        has_components=bool(job.components),
        hears_of_evictions=job.scheduled_events,
    )
    if job.code is not None and job.workdir is not None and not _lies_in(job.workdir, job.code):
        what = f"{str(job.workdir)!r} does not lie in code: {str(job.code)!r}, which the job runs from"
        yield Contradiction(("workdir", "code"), what)
    if job.launcher in ("horovod", "torchrun", "tensorflow"):
        yield from _uneven_contradictions(job)
    yield from _launcher_contradictions(job)


def _env_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    for variable in job.env:
        if _RESERVED.fullmatch(variable):
            yield Contradiction(("env",), "is set by the job script itself", ("env", variable))
        elif variable in _NOT_OURS or variable.startswith("SBATCH_"):
            what = _NOT_OURS.get(variable, "is read by sbatch, before the script: set the field itself")
            yield Contradiction(("env",), what, ("env", variable))
        if _SECRET.fullmatch(variable.upper()):
            what = f"is a secret, and env stands in the script and in the run's record; {_SECRETS_GO}"
            yield Contradiction(("env",), what, ("env", variable))


def _uneven_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    """Of a launcher that needs the same tasks on every node."""
    if job.ntasks_per_gpu is not None:
        what = f"lets Slurm count the tasks, and launcher: {job.launcher} needs ntasks_per_node"
        yield Contradiction(("ntasks_per_gpu", "launcher"), what)
    uneven = f"are not the same number on each of {job.nodes} nodes, as launcher: {job.launcher} needs"
    if job.ntasks is not None and job.ntasks % job.nodes:
        yield Contradiction(("ntasks", "launcher", "nodes"), f"{job.ntasks} tasks {uneven}")
    if gpus_asked(job) == GpusAsked("gpus", None):
        yield Contradiction(("gpus", "launcher", "nodes"), f"{job.gpus} {uneven}")


def _launcher_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    if job.launcher == "torchrun" and job.batch is not None:
        what = "may run the script on another node than rank 0, and the ranks meet where the script runs"
        yield Contradiction(("batch", "launcher"), what)
    if job.launcher == "torchrun" and job.tres_per_task is not None:
        what = "counts Slurm's tasks, of which launcher: torchrun has one on each node; take gpus_per_node"
        yield Contradiction(("tres_per_task", "launcher"), what)
    for key, reader in (("parameter_servers", "tensorflow"), ("horovod_controller", "horovod")):
        if getattr(job, key) is not None and job.launcher != reader:
            what = f"is only read with launcher: {reader}, and launcher is {job.launcher!r}"
            yield Contradiction((key, "launcher"), what)
    if job.launcher == "tensorflow":
        yield from _tensorflow_contradictions(job)
    operations = job.env.get("HOROVOD_CPU_OPERATIONS", "").lower()
    if job.horovod_controller is not None and operations in {"mpi", "gloo"} - {job.horovod_controller}:
        # Measured: Horovod 0.28 crashes when the two differ.
        yield Contradiction(
            ("env", "launcher", "horovod_controller"),
            f"must not differ from horovod_controller {job.horovod_controller!r}",
            ("env", "HOROVOD_CPU_OPERATIONS"),
        )


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(folder.absolute()))


def _secret_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    for variable in job.secrets:
        if _RESERVED.fullmatch(variable):
            yield Contradiction(("secrets",), "is set by the job script itself", ("secrets", variable))
        elif job.schedule is not None and job.secrets[variable].startswith("env:"):
            what = (
                "comes from the environment of whoever submits, and a schedule has none; file: or keyvault:"
            )
            yield Contradiction(("secrets", "schedule"), what, ("secrets", variable))
        elif variable in job.env:
            yield Contradiction(("secrets", "env"), "stands under env too", ("secrets", variable))


def _container_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    container = job.container
    if container is None:
        return
    many = "components" if job.components else "array" if job.array is not None else None
    if container.save is not None and many is not None:
        what = f"would be written by each of its {'parts' if many == 'components' else 'tasks'} at once"
        yield Contradiction(("container", many), what, ("container", "save"))
    elif container.save is not None and job.nodes > 1:
        what = f"would be written by each of the {job.nodes} nodes at once; save with nodes: 1"
        yield Contradiction(("container", "nodes"), what, ("container", "save"))
    if container.login is not None and not is_of_azure(container.image):
        what = f"is for images of an Azure registry, NAME.azurecr.io, and image is {container.image!r}"
        yield Contradiction(("container",), what, ("container", "login"))
    elif container.login is not None and re.match("dockerd://|[^#/]*@", container.image):
        what = "gets the image by itself: leave dockerd:// and USER@ out of image"
        yield Contradiction(("container",), what, ("container", "login"))
    if container.entrypoint_log and container.entrypoint is False:
        what = "shows what the entrypoint prints, and entrypoint is false"
        yield Contradiction(("container",), what, ("container", "entrypoint_log"))


def _tensorflow_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    if "TF_CONFIG" in job.env:
        yield Contradiction(("env",), "is set by launcher: tensorflow itself", ("env", "TF_CONFIG"))
    servers = job.parameter_servers
    # A profile may bring more tasks on each node.
    tasks = job.ntasks or (job.nodes * job.ntasks_per_node if job.ntasks_per_node else None)
    if tasks is None and job.profile is None:
        tasks = job.nodes
    if servers is not None and tasks is not None and tasks < servers + 2:
        what = (
            f"{servers} of {tasks} tasks leaves no chief and worker; one is the chief, at least one a worker"
        )
        yield Contradiction(("parameter_servers", "ntasks_per_node", "ntasks", "nodes"), what)
    if job.distribution is not None and not job.distribution.startswith("block"):
        what = f"got {job.distribution!r}; TF_CONFIG names the tasks node by node, which is block"
        yield Contradiction(("distribution", "launcher"), what)


def _data_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    for key in ("data", "outputs"):
        seen: dict[str, str] = {}
        for index, one in enumerate(getattr(job, key)):
            if one.variable in seen:
                what = f"{seen[one.variable]!r} and {one.name!r} both become {one.variable}"
                yield Contradiction((key,), what, (key, index, "name"))
            seen[one.variable] = one.name


def as_json(model: BaseModel) -> dict[str, Any]:
    """The model as JSON's own types."""
    return model.model_dump(mode="json")
