"""The rendered template is checked against CycleCloud's grammar as far as it is public."""

from __future__ import annotations

import functools
import json
import operator
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpcai import shell
from hpcai.catalog.profiles import profiles
from hpcai.render.cluster import open_parameters, parameter_groups, prefix, render_cluster
from hpcai.render.environment import shipped
from hpcai.render.job import render_job
from hpcai.render.resolved import ResolvedJob, resolve_job
from hpcai.specs.cluster import ClusterSpec, Nodearray
from hpcai.specs.job import JobSpec
from hpcai.specs.load import load, load_as
from hpcai.specs.site import Site

TESTS = Path(__file__).parent.parent
GOLDEN = TESTS / "golden" / "cluster"
CONFIGS = [
    *sorted(shipped("cluster-configs").glob("*.yaml")),
    *sorted((TESTS / "cases/cluster").glob("*.yaml")),
]
PARENTS = {
    "cluster": {None},
    "node": {"cluster"},
    "nodearray": {"cluster"},
    "parameters": {None, "parameters"},
    "parameter": {"parameters"},
    "configuration": {"node", "nodearray"},
    "cluster-init": {"node", "nodearray"},
    "network-interface": {"node", "nodearray"},
    "volume": {"node", "nodearray"},
}
TYPES = {
    *("Boolean", "Cloud.MachineType", "Cloud.ClusterInitSpecs", "Cloud.Image", "StringList", "Azure.Subnet"),
    *("Cloud.Credentials", "Cloud.Region", "Azure.ManagedIdentity", "Integer", "Text", "Record"),
}


@dataclass
class Section:
    rank: int
    kind: str
    name: str
    parent: Section | None
    values: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> list[Section]:
    """The sections of a template; fails on what the grammar does not hold."""
    sections: list[Section] = []
    for line in re.sub(r"'''.*?'''", "a text of several lines", text, flags=re.DOTALL).splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        header = re.fullmatch(r"(\[+)([\w-]+)(?: ([^\[\]]+))?(\]+)", stripped)
        if header:
            rank = len(header[1])
            assert rank == len(header[4]), f"brackets do not match: {line!r}"
            parent = next((one for one in reversed(sections) if one.rank < rank), None)
            assert (parent.rank if parent else 0) == rank - 1, f"a rank is skipped: {line!r}"
            assert (parent.kind if parent else None) in PARENTS[header[2]], f"in the wrong section: {line!r}"
            sections.append(Section(rank, header[2], header[3] or "", parent))
            continue
        assigned = re.fullmatch(r"([\w.]+) :?= (.*\S)", stripped)
        assert assigned, f"neither header nor assignment: {line!r}"
        key, value = assigned.groups()
        assert "#" not in value, f"would be cut off as a comment: {line!r}"
        assert value.count('"') % 2 == 0, f"a quote is open: {line!r}"
        assert value.count("{") == value.count("}"), f"a brace is open: {line!r}"
        assert key not in sections[-1].values, f"is here twice: {line!r}"
        sections[-1].values[key] = value
    return sections


def parameters_of(sections: list[Section]) -> dict[str, Section]:
    found = [section for section in sections if section.kind == "parameter"]
    assert len({section.name.lower() for section in found}) == len(found)
    return {section.name: section for section in found}


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def spec(request: pytest.FixtureRequest) -> ClusterSpec:
    return load_as(ClusterSpec, request.param)


def test_a_cluster_becomes_its_template_and_parameters(
    spec: ClusterSpec, golden: Callable[[Path, str], None]
) -> None:
    template, parameters = render_cluster(spec)
    golden(GOLDEN / f"{spec.name}.txt", template)
    golden(GOLDEN / f"{spec.name}.json", parameters)


def test_every_parameter_that_is_used_is_declared_and_the_other_way_round(spec: ClusterSpec) -> None:
    template, parameters = render_cluster(spec)
    declared = parameters_of(parse(template))
    used = set(re.findall(r"\$([A-Za-z_]\w*)", template))
    for expression in re.findall(r"\$\{(.*)\}", template):
        # Names are what is neither a text nor a function.
        used |= set(re.findall(r"[A-Za-z_]\w*\b(?!\()", re.sub(r'"[^"]*"', "", expression)))
    assert used - {"ClusterName", "undefined"} == set(declared)
    assert list(json.loads(parameters)) == list(declared)


def test_parameters_have_known_types_and_the_defaults_of_the_parameters_file(spec: ClusterSpec) -> None:
    template, parameters = render_cluster(spec)
    values = json.loads(parameters)
    for name, section in parameters_of(parse(template)).items():
        assert section.values.get("ParameterType", "Text") in TYPES
        default = section.values.get("DefaultValue")
        if values[name] is None:
            assert default == ("=undefined" if section.values.get("Required") != "true" else None)
        elif isinstance(values[name], dict):
            assert default == "[]"
        elif isinstance(values[name], list):
            assert default == f"{{ {json.dumps(values[name])[1:-1]} }}"
        else:
            assert default == (
                json.dumps(values[name]) if not isinstance(values[name], str) else values[name]
            )


def test_every_concrete_node_has_what_it_needs_to_start(spec: ClusterSpec) -> None:
    sections = parse(render_cluster(spec)[0])
    defaults = next(section for section in sections if section.name == "defaults")
    assert {"SubnetId", "Credentials", "Region"} <= defaults.values.keys()
    nodes = [one for one in sections if one.kind in ("node", "nodearray") and one is not defaults]
    for node in nodes:
        if node.values.get("Abstract") != "true":
            assert {"MachineType", "ImageName"} <= node.values.keys(), node.name
        if "Extends" in node.values:
            assert node.values["Extends"] in {one.name for one in nodes}
    for volume in (one for one in sections if one.kind == "volume" and one.name != "boot"):
        assert f"cyclecloud.mounts.{volume.values['Mount']}" in {one.name for one in sections}


def test_partitions_are_those_of_the_spec_and_one_is_the_default(spec: ClusterSpec) -> None:
    sections = parse(render_cluster(spec)[0])
    arrays = [one for one in sections if one.values.get("Extends") == "nodearraybase"]
    configurations = {one.parent.name: one.values for one in sections if one.parent in arrays and one.values}
    assert {name: values["slurm.partition"] for name, values in configurations.items()} == {
        array.name: array.partition_name for array in spec.nodearrays
    }
    assert [values["slurm.default_partition"] for values in configurations.values()].count("true") == 1
    for array in spec.nodearrays:
        assert configurations[array.name]["slurm.hpc"] == ("true" if array.hpc else "false")


def test_every_node_has_the_boot_disk_and_the_tags_of_the_spec(spec: ClusterSpec) -> None:
    template, parameters = render_cluster(spec)
    sections, values = parse(template), json.loads(parameters)
    [boot] = [one for one in sections if (one.kind, one.name) == ("volume", "boot")]
    assert boot.parent is not None
    assert (boot.parent.name, boot.parent.values["Tags"]) == ("defaults", "$NodeTags")
    assert boot.values["Size"] == "${ifThenElse(BootDiskSize > 0, BootDiskSize, undefined)}"
    assert (values["BootDiskSize"], values["NodeTags"]) == (spec.boot_disk_gb, spec.tags)


def test_without_a_size_the_boot_disk_is_as_large_as_the_image() -> None:
    assert (
        json.loads(render_cluster(nd_h100().model_copy(update={"boot_disk_gb": None}))[1])["BootDiskSize"]
        == 0
    )


def test_a_nodearray_goes_to_its_zone_and_azure_may_wait_before_it_deletes_a_node(spec: ClusterSpec) -> None:
    values = json.loads(render_cluster(spec)[1])
    assert values["EnableTerminateNotification"] is False
    for array in spec.nodearrays:
        node, start = effective(spec, array), prefix(array)
        assert node["Zone"] == f"${start}AvailabilityZone"
        assert values[f"{start}AvailabilityZone"] == ([str(array.zone)] if array.zone else None)
        assert node["EnableTerminateNotification"] == "$EnableTerminateNotification"
        assert node["TerminateNotificationTimeout"] == "10m"


def test_what_is_the_users_own_stays_open_until_it_is_given(spec: ClusterSpec) -> None:
    still_open = open_parameters(spec)
    assert still_open == ([] if spec.region else ["Region", "SubnetId", "Credentials"])
    assert len([one for group in parameter_groups(spec) for one in group.parameters if one.required]) == 3


def cloud_init(template: str) -> str:
    [text] = re.findall(r"CloudInit = '''(.*?)'''", template, re.DOTALL)
    return str(text)


def nd_h100() -> ClusterSpec:
    return load_as(ClusterSpec, shipped("cluster-configs") / "nd-h100-slurm.yaml")


def test_what_a_node_runs_first_holds_nothing_that_a_template_could_read_as_its_own() -> None:
    text = cloud_init(render_cluster(nd_h100())[0])
    assert text.startswith("#!/usr/bin/env python3\n")
    assert not re.search(r"[$\\`]|^\s*[#\[]", text.partition("\n")[2], re.MULTILINE)


@pytest.mark.programs
def test_free_nvme_disks_become_one_scratch_that_everybody_may_write_to(tmp_path: Path) -> None:
    disks = [
        {
            "name": "/dev/sda",
            "model": "Virtual Disk",
            "mountpoint": None,
            "children": [{"name": "/dev/sda1"}],
        },
        {"name": "/dev/nvme0n1", "model": "Microsoft NVMe Direct Disk v2", "mountpoint": None},
        {"name": "/dev/nvme1n1", "model": "Microsoft NVMe Direct Disk v2", "mountpoint": None},
        {"name": "/dev/nvme2n1", "model": "Microsoft NVMe Direct Disk v2", "mountpoint": "/mnt/taken"},
        {"name": "/dev/loop0", "model": None, "mountpoint": None},
    ]
    calls = first_boot(tmp_path, disks)
    assert calls == [
        "mdadm --create /dev/md/nvme --run --force --level=0 --raid-devices=2 /dev/nvme0n1 /dev/nvme1n1",
        "mkfs.xfs -f -K -L nvme /dev/md/nvme",
        f"mount {tmp_path}/nvme",
    ]
    assert (tmp_path / "nvme").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "fstab").read_text() == f"LABEL=nvme {tmp_path}/nvme xfs defaults,nofail 0 0\n"


@pytest.mark.programs
def test_a_node_without_a_free_nvme_disk_starts_all_the_same(tmp_path: Path) -> None:
    assert first_boot(tmp_path, [{"name": "/dev/sda", "model": "Virtual Disk", "mountpoint": None}]) == []
    assert not (tmp_path / "nvme").exists()


def first_boot(folder: Path, disks: list[dict[str, object]]) -> list[str]:
    """What a node's first program calls; everything that it would change lies in `folder`."""
    (folder / "disks").write_text(json.dumps({"blockdevices": disks}))
    for name in ("mdadm", "mkfs.xfs", "mount"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/calls"\n')
    (folder / "lsblk").write_text(f'#!/bin/sh\ncat "{folder}/disks"\n')
    for name in ("lsblk", "mdadm", "mkfs.xfs", "mount"):
        (folder / name).chmod(0o755)
    text = cloud_init(render_cluster(nd_h100())[0])
    program = text.replace(" /nvme", f" {folder}/nvme").replace('"/nvme', f'"{folder}/nvme')
    program = program.replace("/etc/fstab", str(folder / "fstab"))
    assert not re.search(r"[ \"]/(nvme|etc)", program), "would touch this machine"
    shell.run([sys.executable, "-c", program], timeout_s=30, env={"PATH": f"{folder}:{os.environ['PATH']}"})
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


# MicrosoftDocs/azure-compute-docs, ndh100v5-series.md (2025-09-02).
CORES, GPUS = 96, 8


@dataclass(frozen=True)
class OnTheCluster:
    """The demo's job with a profile and nothing else, as the InfiniBand cluster's login node renders it."""

    cluster: ClusterSpec
    array: Nodearray
    values: dict[str, str]
    job: ResolvedJob
    script: str

    @property
    def lines(self) -> list[str]:
        return self.script.splitlines()

    def exported(self, name: str) -> str:
        [line] = [line for line in self.lines if line.startswith(f"export {name}=")]
        return line.partition("=")[2]


@pytest.fixture(scope="module")
def demo() -> OnTheCluster:
    cluster = nd_h100()
    [array] = [array for array in cluster.nodearrays if array.machine_type in profiles()]
    spec = load(TESTS.parent / "examples/digits/resnet50.yaml", [f"profile={array.machine_type}"])
    assert isinstance(spec, JobSpec)
    home = Path("/shared/home/user")
    site = Site(home / "hpcai/runs", storage_account="myaccount")
    job = resolve_job(spec, site, interpreter=home / "hpcai/.venv/bin/python", cwd=home / "hpcai")
    script = render_job(job, site.runs_root / "digits/resnet50-digits-20261121-120000")
    return OnTheCluster(cluster, array, effective(cluster, array), job, script)


def effective(cluster: ClusterSpec, array: Nodearray) -> dict[str, str]:
    """What the template says of a nodearray, with what it inherits."""
    sections = parse(render_cluster(cluster)[0])
    values: dict[str, str] = {}
    for name in ("defaults", "nodearraybase", array.name):
        for section in sections:
            if name in (section.name, section.parent and section.parent.name):
                values.update(section.values)
    return values


def test_the_demos_job_on_the_infiniband_cluster(
    demo: OnTheCluster, golden: Callable[[Path, str], None]
) -> None:
    golden(GOLDEN / "resnet50-digits-on-nd-h100.sbatch", demo.script)


def test_it_goes_to_the_default_partition_which_has_the_profiles_size_and_nodes_enough(
    demo: OnTheCluster,
) -> None:
    assert not any("--partition" in line for line in demo.lines)
    assert (demo.values["slurm.default_partition"], demo.values["slurm.autoscale"]) == ("true", "true")
    assert demo.array.machine_type == demo.job.spec.profile
    assert demo.array.max_scaleset_size is not None
    assert demo.job.spec.nodes <= demo.array.max_count <= demo.array.max_scaleset_size


def test_it_takes_whole_nodes_one_rank_per_gpu(demo: OnTheCluster) -> None:
    for option in (
        "nodes=2",
        f"ntasks-per-node={GPUS}",
        f"gpus-per-node={GPUS}",
        "cpus-per-task=12",
        "mem=0",
    ):
        assert f"#SBATCH --{option}" in demo.lines
    # Slurm counts cores there, and the ranks take all of them.
    assert demo.values["slurm.use_pcpu"] == "true"
    spec = demo.job.spec
    assert (spec.ntasks_per_node or 0) * (spec.cpus_per_task or 0) == CORES
    masks = [int(mask, 16) for mask in (demo.job.cpu_bind or "").removeprefix("mask_cpu:").split(",")]
    assert len(masks) == GPUS
    assert functools.reduce(operator.or_, masks) == 2**CORES - 1


def test_its_ranks_find_each_other_by_pmix_over_one_infiniband_fabric(demo: OnTheCluster) -> None:
    # All nodes in one placement group; a Spot node would take the whole job down with it.
    assert demo.values["slurm.hpc"] == "true"
    assert demo.values["Azure.MaxScalesetSize"] == "$HPCMaxScalesetSize"
    assert not demo.array.interruptible
    assert "  --mpi=pmix \\" in demo.lines
    assert demo.exported("HOROVOD_CONTROLLER") == demo.exported("HOROVOD_CPU_OPERATIONS") == "mpi"
    assert demo.exported("UCX_NET_DEVICES") == "mlx5_ib0:1"
    assert demo.exported("NCCL_SOCKET_IFNAME") == "eth0"
    assert "NCCL_IB_DISABLE" not in demo.script
    # The topology file is part of Azure's HPC images alone.
    assert demo.exported("NCCL_TOPO_FILE") == "/opt/microsoft/ndv5-topo.xml"
    assert ":ubuntu-hpc:" in demo.array.image_name


def test_its_data_goes_to_the_scratch_that_the_cluster_makes_of_nvme_and_enroot_goes_there_too(
    demo: OnTheCluster,
) -> None:
    assert "CloudInit" in demo.values
    assert 'subprocess.run(["mount", "/nvme"]' in cloud_init(render_cluster(demo.cluster)[0])
    [line] = [line for line in demo.lines if line.startswith("  for HPCAI_SCRATCH in ")]
    places = line.split()
    # Enroot's place on such a cluster is /nvme if that is mounted, else /mnt.
    assert places.index("/nvme") < places.index("/mnt")


def test_what_all_its_nodes_must_see_lies_on_the_shared_folder(demo: OnTheCluster) -> None:
    sections = parse(render_cluster(demo.cluster)[0])
    shared = {
        one.values["mountpoint"]
        for one in sections
        if one.values.get("type") == "nfs" and "mountpoint" in one.values
    }
    places = [demo.exported("HPCAI_RUN_DIR"), demo.exported("HPCAI_PYTHON"), str(demo.job.workdir)]
    assert all(any(place.startswith(f"{folder}/") for folder in shared) for place in places)


def test_without_a_key_its_nodes_reach_the_data_by_their_identity(demo: OnTheCluster) -> None:
    assert demo.exported("AZURE_STORAGE_ACCOUNT") == "myaccount"
    assert "HPCAI_STORAGE_CREDENTIALS" not in demo.script
    assert demo.values["Azure.Identities"] == "$ManagedIdentity"
