"""What a job is: validated, frozen data.

A field's name is its YAML key and, with `-` for `_` and the unit cut off, Slurm's long option.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from hpcai.specs.container import ContainerSpec
from hpcai.specs.fields import Many, Model, Name, Shell, Variable, matches, wrong
from hpcai.specs.mistakes import Contradiction
from hpcai.specs.slurm_fields import OneLine, SlurmFields, job_contradictions

Launcher = Literal["srun", "mpi", "horovod", "torchrun"]
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


def _true(value: bool) -> bool:
    if not value:
        # Slurm has no option that forbids it, and a key without effect would be a promise.
        raise wrong(
            "got False; true, or leave the key out: whether nodes are shared is the partition's matter"
        )
    return value


Version = Annotated[str, matches(r"[0-9a-f]{8,32}", "the first 8 to 32 digits of what `hpcai data ls` shows")]

# Opens an account to whoever reads a script, a record or a report: every variable goes into them.
_SECRET = re.compile(
    r"AZURE_STORAGE_((ACCOUNT_|ACCESS_)?KEY|SAS(_TOKEN)?|(ACCOUNT_)?CONNECTION_STRING)|AZURE_CLIENT_SECRET"
)
_SECRETS_GO = "keys and SAS go into a file of mode 0600 that HPCAI_STORAGE_CREDENTIALS names"
_RESERVED = re.compile(r"HPCAI_(RUN_DIR|ATTEMPT|OUTPUTS|PYTHON|DATA_.*)|SLURM_.*|SLURMD_.*")


def _value(text: str) -> str:
    if "\0" in text:
        raise wrong(f"got {text!r}; a variable cannot hold a zero byte")
    return text


class DataSpec(Model):
    """A data set that is brought to every node's own scratch before the command starts."""

    name: Annotated[
        str, matches(r"[a-z][a-z0-9_-]{0,31}", "lower-case letters, digits, '_', '-', at most 32")
    ]
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
    profile: OneLine | None = None


class JobSpec(SlurmFields, _Heading):
    """One job.  `None` leaves a Slurm option out."""

    workdir: Annotated[Path, Field(strict=False)] | None = None
    setup: Many[Shell] = ()
    env: dict[Variable, Annotated[str, AfterValidator(_value)]] = Field(default_factory=dict)
    container: ContainerSpec | None = None
    data: Many[DataSpec] = ()

    @property
    def needs_pmix(self) -> bool:
        """Whether Slurm's PMIx tells its ranks of each other."""
        return self.launcher == "mpi" or (self.launcher == "horovod" and self.horovod_controller != "gloo")

    @model_validator(mode="after")
    def _fits_together(self) -> JobSpec:
        found = list(contradictions(self))
        if found:
            raise PydanticCustomError(
                "contradictions",
                "{text}",
                {"text": "; ".join(one.message for one in found), "contradictions": found},
            )
        return self


def contradictions(job: JobSpec) -> Iterator[Contradiction]:
    """What in a job of valid fields cannot be meant together."""
    yield from job_contradictions(job)
    yield from _data_contradictions(job)
    yield from _container_contradictions(job)
    for variable in job.env:
        if _RESERVED.fullmatch(variable):
            yield Contradiction(("env",), "is set by the job script itself", ("env", variable))
        if _SECRET.fullmatch(variable.upper()):
            what = f"is a secret, and env stands in the script and in the run's record; {_SECRETS_GO}"
            yield Contradiction(("env",), what, ("env", variable))
    even = job.launcher in ("horovod", "torchrun")
    if even and job.ntasks is not None and job.ntasks % job.nodes:
        yield Contradiction(
            ("ntasks", "launcher", "nodes"),
            f"{job.ntasks} tasks are not the same number on each of {job.nodes} nodes, as launcher: "
            f"{job.launcher} needs",
        )
    if job.horovod_controller is not None and job.launcher != "horovod":
        yield Contradiction(
            ("horovod_controller", "launcher"),
            f"is only read with launcher: horovod, and launcher is {job.launcher!r}",
        )
    operations = job.env.get("HOROVOD_CPU_OPERATIONS", "").lower()
    if job.horovod_controller is not None and operations in {"mpi", "gloo"} - {job.horovod_controller}:
        # Measured: Horovod 0.28 crashes when the two differ.
        yield Contradiction(
            ("env", "launcher", "horovod_controller"),
            f"must not differ from horovod_controller {job.horovod_controller!r}",
            ("env", "HOROVOD_CPU_OPERATIONS"),
        )


def _container_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    container = job.container
    if container is None:
        return
    if container.save is not None and job.nodes > 1:
        what = f"would be written by each of the {job.nodes} nodes at once; save with nodes: 1"
        yield Contradiction(("container", "nodes"), what, ("container", "save"))
    if container.entrypoint_log and container.entrypoint is False:
        what = "shows what the entrypoint prints, and entrypoint is false"
        yield Contradiction(("container",), what, ("container", "entrypoint_log"))


def _data_contradictions(job: JobSpec) -> Iterator[Contradiction]:
    seen: dict[str, str] = {}
    for index, data in enumerate(job.data):
        if data.variable in seen:
            what = f"{seen[data.variable]!r} and {data.name!r} both become {data.variable}"
            yield Contradiction(("data",), what, ("data", index, "name"))
        seen[data.variable] = data.name


def as_json(model: BaseModel) -> dict[str, Any]:
    """The model as JSON's own types."""
    return model.model_dump(mode="json")
