"""A cluster spec rendered to a CycleCloud template and its parameters file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hpcai.render.environment import render
from hpcai.specs.cluster import ClusterSpec, FileSystem, Nodearray

# Arrays that Microsoft's own Slurm template has too keep its parameter names, so that a cluster made
# from that template can be taken over.
_PUBLISHED = {"hpc": "HPC", "htc": "HTC", "gpu": "GPU"}
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Parameter:
    """A parameter of the template; a `value` of None is left to the person who makes the cluster."""

    name: str
    label: str
    value: Any
    type: str | None = None
    description: str | None = None
    required: bool = False
    plugin: str | None = None
    is_default: bool = False
    """Whether the spec says nothing of it, and `value` is what holds then."""

    @property
    def is_open(self) -> bool:
        return self.is_default or self.value is None


@dataclass(frozen=True)
class Group:
    """Parameters that the web form shows together."""

    name: str
    parameters: tuple[Parameter, ...]


def prefix(array: Nodearray) -> str:
    """What the parameters of a nodearray begin with: `HPC`, or `BigMem` for `big-mem`."""
    return _PUBLISHED.get(array.name) or "".join(word.capitalize() for word in array.name.split("-"))


def render_cluster(spec: ClusterSpec, filled_in: Mapping[str, Any] = NOTHING) -> tuple[str, str]:
    """The template's text and the parameters file's JSON text, with the values of `filled_in`.

    A parameter that neither gives is null in the JSON: CycleCloud asks for it.
    """
    groups = parameter_groups(spec)
    template = render("cyclecloud/slurm.txt.j2", cluster=spec, prefix=prefix, groups=groups)
    values = {one.name: filled_in.get(one.name, one.value) for group in groups for one in group.parameters}
    return template, json.dumps(values, indent=2) + "\n"


def filled_in(
    spec: ClusterSpec, values: Mapping[str, Any], rendered: Mapping[str, Any] = NOTHING
) -> dict[str, Any]:
    """What a person has given in a parameters file with these values, of what the spec leaves open.

    `rendered` are the values that a spec gave when the file was made: those are nobody's.
    """
    left = {
        one.name: one.value for group in parameter_groups(spec) for one in group.parameters if one.is_open
    }
    return {
        name: value
        for name, value in values.items()
        if name in left and value not in (left[name], rendered.get(name))
    }


def open_parameters(spec: ClusterSpec, filled_in: Mapping[str, Any] = NOTHING) -> list[str]:
    """The names of the parameters that must still be given before the cluster can be made."""
    every = [one for group in parameter_groups(spec) for one in group.parameters]
    return [one.name for one in every if one.required and one.value is None and one.name not in filled_in]


def parameter_groups(spec: ClusterSpec) -> list[Group]:
    """All parameters of a cluster, as the web form shows them."""
    groups = [
        _place(spec),
        _every_node(spec),
        Group("Scheduler", (_machine("Scheduler", spec.scheduler), _image("Scheduler", spec.scheduler))),
    ]
    if spec.login is not None:
        groups.append(_login(spec))
    groups += [_array(array) for array in spec.nodearrays]
    groups.append(
        Group(
            "Shared Folders",
            (*_folder("sched", "NFSSched", spec.sched), *_folder("shared", "NFS", spec.shared)),
        )
    )
    return [*groups, _slurm(spec)]


def _place(spec: ClusterSpec) -> Group:
    return Group(
        "Place",
        (
            Parameter("Region", "Region", spec.region, "Cloud.Region", required=True),
            Parameter(
                "SubnetId",
                "Subnet",
                spec.subnet_id,
                "Azure.Subnet",
                "Resource group, virtual network and subnet: all nodes get their addresses from it",
                required=True,
            ),
            Parameter("Credentials", "Credentials", spec.credentials, "Cloud.Credentials", required=True),
            Parameter(
                "ManagedIdentity",
                "Managed Identity",
                None,
                "Azure.ManagedIdentity",
                "Lets jobs reach Blob storage without a key",
            ),
        ),
    )


def _every_node(spec: ClusterSpec) -> Group:
    return Group(
        "Every Node",
        (
            Parameter(
                "BootDiskSize",
                "Boot Disk Size in GB",
                spec.boot_disk_gb or 0,
                "Integer",
                "0 leaves the boot disk as large as the image",
                is_default=spec.boot_disk_gb is None,
            ),
            Parameter(
                "NodeTags",
                "VM Tags",
                spec.tags,
                "Record",
                "For bills and policies",
                is_default=not spec.tags,
            ),
            Parameter(
                "EnableTerminateNotification",
                "Wait For onTerminate.sh",
                False,
                "Boolean",
                "Runs your onTerminate.sh before a node is deleted; Spot nodes are warned without it",
                is_default=True,
            ),
        ),
    )


def _machine(prefix: str, role: Any) -> Parameter:
    # Microsoft's template writes this one name with a small letter.
    name = "loginMachineType" if prefix == "Login" else f"{prefix}MachineType"
    return Parameter(name, f"{prefix} VM Size", role.machine_type, "Cloud.MachineType")


def _image(prefix: str, role: Any) -> Parameter:
    return Parameter(f"{prefix}ImageName", f"{prefix} Image", role.image_name, "Cloud.Image")


def _login(spec: ClusterSpec) -> Group:
    login = spec.login
    assert login is not None
    return Group(
        "Login Nodes",
        (
            _machine("Login", login),
            _image("Login", login),
            Parameter("NumberLoginNodes", "Login Nodes", login.initial_count, "Integer"),
            Parameter("MaxLoginNodeCount", "Most Login Nodes", login.max_count, "Integer"),
        ),
    )


def _array(array: Nodearray) -> Group:
    start = prefix(array)
    parameters = [
        _machine(start, array),
        _image(start, array),
        Parameter(f"Max{start}ExecuteNodeCount", f"Most {start} Nodes", array.max_count, "Integer"),
    ]
    if array.max_scaleset_size is not None:
        parameters.append(
            Parameter(
                f"{start}MaxScalesetSize",
                f"{start} Scale Set Size",
                array.max_scaleset_size,
                "Integer",
                "All nodes of the partition share one scale set and one InfiniBand fabric",
            )
        )
    parameters += [
        Parameter(
            f"{start}AvailabilityZone",
            f"{start} Availability Zone",
            None if array.zone is None else [str(array.zone)],
            "StringList",
        ),
        Parameter(f"{start}UseLowPrio", f"{start} Spot", array.interruptible, "Boolean"),
        Parameter(
            f"{start}SpotMaxPrice",
            f"{start} Spot Price Limit",
            _price(array),
            description="USD per hour; -1 keeps nodes whatever the price",
            plugin="pico.form.NumberTextBox",
            is_default=array.max_price is None,
        ),
        Parameter(f"{start}ClusterInitSpecs", f"{start} Cluster-Init", None, "Cloud.ClusterInitSpecs"),
    ]
    return Group(f"Nodearray {array.name}", tuple(parameters))


def _price(array: Nodearray) -> float | int:
    if array.max_price is None:
        # CycleCloud's word for no limit.
        return -1
    return int(array.max_price) if array.max_price == int(array.max_price) else array.max_price


def _folder(folder: str, nfs: str, system: FileSystem) -> list[Parameter]:
    if system.type == "builtin":
        name = "SchedFilesystemSize" if folder == "sched" else "FilesystemSize"
        return [
            Parameter(
                name, f"/{folder} Size in GB", system.size_gb, "Integer", "Cannot be changed afterwards"
            )
        ]
    path = f"{nfs}ExportPath" if folder == "sched" else f"{nfs}SharedExportPath"
    options = f"{nfs}MountOptions" if folder == "sched" else f"{nfs}SharedMountOptions"
    return [
        Parameter(f"{nfs}Address", f"/{folder} Server", system.address),
        Parameter(path, f"/{folder} Export Path", system.export_path or f"/{folder}"),
        Parameter(options, f"/{folder} Mount Options", system.options),
    ]


def _slurm(spec: ClusterSpec) -> Group:
    return Group(
        "Slurm",
        (
            Parameter("configuration_slurm_version", "Slurm Version", spec.slurm_version),
            Parameter("Autoscale", "Start And Stop Nodes With The Queue", True, "Boolean", is_default=True),
            Parameter("additional_slurm_config", "More Lines For slurm.conf", None, "Text"),
        ),
    )
