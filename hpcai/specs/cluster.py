"""What a CycleCloud cluster is: validated, frozen data.  CycleCloud's words stay CycleCloud's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpcai.specs.fields import Model, matches, refuse
from hpcai.specs.mistakes import Contradiction

ALIASES = {
    "SubnetId": "subnet_id",
    "Region": "region",
    "Credentials": "credentials",
    "arrays": "nodearrays",
    "location": "region",
    "partitions": "nodearrays",
    "queues": "nodearrays",
    "subnet": "subnet_id",
}


# What a template's bare value can hold without being read as something else.
Word = Annotated[str, matches(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", "letters, digits and . _ : / @ + - only")]
Name = Annotated[
    str, matches(r"[A-Za-z][A-Za-z0-9-]{0,31}", "letters, digits and '-', at most 32, a letter first")
]
ArrayName = Annotated[
    str, matches(r"[a-z][a-z0-9-]{0,31}", "lower-case letters, digits and '-', at most 32, a letter first")
]
SubnetId = Annotated[
    str,
    matches(r"[^/\s]+/[^/\s]+/[^/\s]+", "RESOURCE-GROUP/VIRTUAL-NETWORK/SUBNET (not the long resource id)"),
]
FolderPath = Annotated[str, matches(r"/[A-Za-z0-9._/-]*", "an absolute path of letters, digits and . _ - /")]
Count = Annotated[int, Field(ge=0, le=10_000)]
# A narrower set than Azure's: no dot, which CycleCloud reads as a path, and nothing that needs an escape.
TagName = Annotated[
    str, matches(r"[A-Za-z][A-Za-z0-9_-]{0,127}", "letters, digits, _ and '-', at most 128, a letter first")
]
TagValue = Annotated[
    str, matches(r"[A-Za-z0-9 ._:/@+=-]{0,256}", "letters, digits, spaces and . _ : / @ + = -, at most 256")
]
Image = Word


class Scheduler(Model):
    """The node that runs slurmctld."""

    machine_type: Word
    image_name: Image = "cycle.image.ubuntu22"


class Login(Model):
    """The nodes that people log in to."""

    machine_type: Word
    image_name: Image = "cycle.image.ubuntu22"
    initial_count: Count = 1
    max_count: Count = 10


class FileSystem(Model):
    """A shared folder: a disk of the scheduler that it exports, or an NFS server that exists."""

    type: Literal["builtin", "nfs"] = "builtin"
    size_gb: Annotated[int, Field(ge=10, le=32_000)] | None = None
    address: Word | None = None
    export_path: FolderPath | None = None
    options: Annotated[str, matches(r"[A-Za-z0-9=,._-]+", "mount options, comma between them")] | None = None


class Nodearray(Model):
    """Nodes of one VM size that start and stop with the queue; one nodearray is one Slurm partition."""

    name: ArrayName
    machine_type: Word
    image_name: Image = "cycle.image.ubuntu22"
    max_count: Annotated[int, Field(ge=1, le=10_000)]
    partition: ArrayName | None = None
    default_partition: bool = False
    hpc: bool = False
    max_scaleset_size: Annotated[int, Field(ge=1, le=1000)] | None = None
    zone: Annotated[int, Field(ge=1, le=3)] | None = None
    """The availability zone; one only, since no InfiniBand fabric spans two."""
    use_pcpu: bool = True
    interruptible: bool = False
    max_price: Annotated[float, Field(gt=0)] | None = None
    enable_node_health_checks: bool = False
    nvme_scratch: bool = False
    """Whether the local NVMe disks of a node become one scratch at /nvme, for Enroot and hpcai."""

    @property
    def partition_name(self) -> str:
        return self.partition or self.name


class ClusterSpec(Model):
    """One CycleCloud cluster with Slurm.  `region`, `subnet_id` and `credentials` may be left open."""

    kind: Literal["cluster"] = "cluster"
    name: Name
    region: Word | None = None
    subnet_id: SubnetId | None = None
    credentials: Word | None = None
    slurm_version: Word = "25.11.5"
    boot_disk_gb: Annotated[int, Field(ge=30, le=4095)] | None = None
    """The operating system's disk of every node; None leaves it as large as the image."""
    tags: dict[TagName, TagValue] = Field(default_factory=dict)
    """What Azure writes on every node, for bills and policies."""
    scheduler: Scheduler
    login: Login | None = None
    sched: FileSystem = FileSystem(size_gb=30)
    shared: FileSystem = FileSystem(size_gb=100)
    nodearrays: Annotated[tuple[Nodearray, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> ClusterSpec:
        refuse(contradictions(self))
        return self


def contradictions(cluster: ClusterSpec) -> Iterator[Contradiction]:
    """What in a cluster of valid fields cannot be meant together."""
    # By what their parameters begin with, which holds no '-'.
    names = {"scheduler": "scheduler", "login": "login"}
    partitions: set[str] = set()
    for index, array in enumerate(cluster.nodearrays):
        word = array.name.replace("-", "")
        if names.get(word) == array.name:
            yield _at(index, "name", f"{array.name!r} is taken by another node or nodearray")
        elif word in names:
            what = (
                f"{array.name!r} and {names[word]!r} would share their parameters: only '-' tells them apart"
            )
            yield _at(index, "name", what)
        names.setdefault(word, array.name)
        if array.partition_name in partitions:
            yield _at(index, "partition", f"{array.partition_name!r} is taken by another nodearray")
        partitions.add(array.partition_name)
        yield from _scale_set_contradictions(index, array)
    defaults = [array.partition_name for array in cluster.nodearrays if array.default_partition]
    if len(defaults) != 1:
        got = " and ".join(map(repr, defaults)) or "none"
        yield Contradiction(("nodearrays",), f"exactly one must have default_partition: true; got {got}")
    yield from _tag_contradictions(cluster.tags)
    for folder in ("sched", "shared"):
        yield from _folder_contradictions(folder, getattr(cluster, folder))


def _at(index: int, key: str, message: str) -> Contradiction:
    return Contradiction(("nodearrays",), message, ("nodearrays", index, key))


def _scale_set_contradictions(index: int, array: Nodearray) -> Iterator[Contradiction]:
    size = array.max_scaleset_size
    if array.hpc and size is not None and array.max_count > size:
        # All nodes of an InfiniBand partition are in one scale set.
        yield _at(index, "max_count", f"{array.max_count} is above max_scaleset_size {size}")
    if size is not None and not array.hpc:
        yield _at(index, "max_scaleset_size", "is only read with hpc: true")


def _tag_contradictions(tags: dict[str, str]) -> Iterator[Contradiction]:
    seen: dict[str, str] = {}
    for name in tags:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            message = f"{first!r} and {name!r} are one tag to Azure, which ignores case"
            yield Contradiction(("tags",), message, ("tags", name))


def _folder_contradictions(key: str, folder: FileSystem) -> Iterator[Contradiction]:
    if folder.type == "builtin" and folder.size_gb is None:
        yield Contradiction((key,), "type: builtin needs size_gb")
    if folder.type == "builtin" and (folder.address or folder.export_path or folder.options):
        yield Contradiction((key,), "address, export_path and options are only read with type: nfs")
    if folder.type == "nfs" and folder.address is None:
        yield Contradiction((key,), "type: nfs needs address")
    if folder.type == "nfs" and folder.size_gb is not None:
        yield Contradiction((key,), "size_gb is only read with type: builtin")
