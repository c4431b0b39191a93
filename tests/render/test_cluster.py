"""The rendered template is checked against CycleCloud's grammar as far as it is public."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpcai.catalog.profiles import profiles
from hpcai.render.cluster import open_parameters, parameter_groups, render_cluster
from hpcai.render.environment import shipped
from hpcai.render.job import render_job, resolve_job
from hpcai.specs.cluster import ClusterSpec
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
    *("Cloud.Credentials", "Cloud.Region", "Azure.ManagedIdentity", "Integer", "Text"),
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
    for line in text.splitlines():
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
        assigned = re.fullmatch(r"([\w.]+) = (.*\S)", stripped)
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
    used = set(re.findall(r"\$([A-Za-z_]\w*)", template)) | {"ClusterName"}
    assert used - {"ClusterName"} == set(declared)
    assert list(json.loads(parameters)) == list(declared)


def test_parameters_have_known_types_and_the_defaults_of_the_parameters_file(spec: ClusterSpec) -> None:
    template, parameters = render_cluster(spec)
    values = json.loads(parameters)
    for name, section in parameters_of(parse(template)).items():
        assert section.values.get("ParameterType", "Text") in TYPES
        default = section.values.get("DefaultValue")
        if values[name] is None:
            assert default == ("=undefined" if section.values.get("Required") != "true" else None)
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
    for volume in (one for one in sections if one.kind == "volume"):
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


def test_what_is_the_users_own_stays_open_until_it_is_given(spec: ClusterSpec) -> None:
    still_open = open_parameters(spec)
    assert still_open == ([] if spec.region else ["Region", "SubnetId", "Credentials"])
    assert len([one for group in parameter_groups(spec) for one in group.parameters if one.required]) == 3


@pytest.mark.parametrize(
    "config", sorted(shipped("cluster-configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_example_job_renders_for_the_cluster_with_nothing_changed_but_its_profile(config: Path) -> None:
    cluster = load_as(ClusterSpec, config)
    for array in cluster.nodearrays:
        if array.machine_type not in profiles():
            continue
        overrides = [f"profile={array.machine_type}", f"partition={array.partition_name}"]
        job = load(TESTS.parent / "examples/digits/resnet50.yaml", overrides)
        assert isinstance(job, JobSpec)
        resolved = resolve_job(
            job, Site(Path("/shared/home/me/runs")), interpreter=Path("/shared/venv/bin/python")
        )
        script = render_job(resolved, Path("/shared/home/me/runs/a"))
        assert f"#SBATCH --partition={array.partition_name}" in script.splitlines()
        assert "export NCCL_TOPO_FILE=/opt/microsoft/ndv5-topo.xml" in script.splitlines()
        return
    pytest.fail(f"{config.name} has no nodearray with a run profile")
