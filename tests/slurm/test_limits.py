"""What stands between a job and its start, case by case."""

from __future__ import annotations

import dataclasses

import pytest

from hpcai.slurm.answers import NodeInfo, PartitionInfo
from hpcai.slurm.limits import Breach, breaches
from hpcai.specs.job import JobSpec

MAIN = PartitionInfo("main", is_default=True, node_list="n[1-2]", total_nodes=2, max_nodes=2, max_time_s=3600)
WIDE = PartitionInfo("wide", node_list="n[1-2]", total_nodes=2, min_nodes=2, max_cpus_per_node=4)
SMALL = PartitionInfo("small", node_list="n[1-2]", total_nodes=2, max_nodes=1)
NODES = [
    NodeInfo("n1", "IDLE", cpus=8, memory_mib=65536, gpus=4),
    NodeInfo("n2", "IDLE", cpus=8, memory_mib=32768, gpus=2),
]


def found(**fields: object) -> list[Breach]:
    job = JobSpec.model_validate({"kind": "job", "name": "x", "command": "true", **fields})
    return breaches(job, [MAIN, WIDE, SMALL], NODES)


def test_each_part_of_a_heterogeneous_job_is_held_against_its_partition() -> None:
    parts = [{"nodes": 2}, {"gpus_per_node": 5}, {"partition": "maim"}]
    told = found(components=parts)
    assert [one.key for one in told] == ["components[1].gpus_per_node", "components[2].partition"]
    assert told[0].what.startswith("components[1]: The job asks for 5 GPUs per node")


@pytest.mark.parametrize(
    ("fields", "key", "what"),
    [
        ({"nodes": 3}, "nodes", "has 2 nodes, and the job asks for 3"),
        ({"nodes": 2, "partition": "small"}, "nodes", "allows 1 node per job, not 2"),
        ({"nodes": 2, "ntasks": 19}, "ntasks", "asks for 9 CPUs per node"),
        ({"partition": "wide"}, "nodes", "takes jobs of 2 nodes or more, not 1"),
        ({"time_min": 61}, "time_min", "allows 0-01:00:00, not 61 minutes"),
        ({"partition": "maim"}, "partition", "There is no partition 'maim'"),
        (
            {"gpus_per_node": 5},
            "gpus_per_node",
            "5 GPUs per node, and the largest node of partition 'main' has 4 GPUs.",
        ),
        (
            {"nodes": 2, "gpus_per_node": 4},
            "gpus_per_node",
            "asks for 2 nodes with 4 GPUs each, and only 1 of the 2 nodes of partition 'main' has that; "
            "the smallest has 2 GPUs.",
        ),
        ({"nodes": 2, "mem_gib": 48}, "mem_gib", "2 nodes with 48 GiB of memory each"),
        (
            {"mem_gib": 4000},
            "mem_gib",
            "4000 GiB of memory per node, and the largest node of partition 'main' has 64 GiB of memory.",
        ),
        ({"ntasks_per_node": 9}, "ntasks_per_node", "9 CPUs per node"),
        ({"ntasks_per_node": 2, "cpus_per_task": 5}, "cpus_per_task", "10 CPUs per node"),
        ({"nodes": 2, "partition": "wide", "cpus_per_task": 5}, "cpus_per_task", "5 CPUs per node"),
    ],
)
def test_a_job_that_would_never_start(fields: dict[str, object], key: str, what: str) -> None:
    [breach] = found(**fields)
    assert (breach.key, breach.is_certain) == (key, True)
    assert what in breach.what
    assert breach.fix


@pytest.mark.parametrize(
    ("fields", "key", "fix"),
    [
        ({"launcher": "mpi"}, "launcher", "Ask who runs this Slurm"),
        (
            {"launcher": "horovod", "horovod_controller": "mpi"},
            "horovod_controller",
            "Set horovod_controller to gloo, or leave it out.",
        ),
    ],
)
def test_mpi_asked_by_name_needs_pmix(fields: dict[str, object], key: str, fix: str) -> None:
    job = JobSpec.model_validate({"name": "x", "command": "true", **fields})
    assert breaches(job, [MAIN], NODES, {"none", "pmix", "pmix_v4"}) == []
    [breach] = breaches(job, [MAIN], NODES, {"none", "pmi2"})
    assert (breach.key, breach.is_certain) == (key, True)
    assert "srun --mpi=list has only none, pmi2" in breach.what
    assert fix in breach.fix


@pytest.mark.parametrize(
    "fields", [{}, {"launcher": "torchrun"}, {"launcher": "horovod", "horovod_controller": "gloo"}]
)
def test_other_launchers_do_without_pmix(fields: dict[str, object]) -> None:
    job = JobSpec.model_validate({"name": "x", "command": "true", **fields})
    assert breaches(job, [MAIN], NODES, {"none", "pmi2"}) == []


def test_a_job_that_fits() -> None:
    assert found(nodes=2, ntasks_per_node=8, gpus_per_node=2, mem_gib=32, time_min=60) == []


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert [breach.key for breach in found(nodes=3, gpus_per_node=9, time_min=100)] == [
        "nodes",
        "time_min",
        "gpus_per_node",
    ]


def test_the_nearest_partition_is_offered() -> None:
    [breach] = found(partition="smal")
    assert "Did you mean 'small'?" in breach.fix


def test_of_several_partitions_all_must_exist() -> None:
    # Slurm: "invalid partition specified: nope", whatever stands beside it.
    [breach] = found(partition="nope,main")
    assert breach.what == "There is no partition 'nope'."


def test_a_job_starts_in_any_of_its_partitions() -> None:
    assert found(partition="small,main", nodes=2) == []
    assert found(partition="main,small", nodes=2, time_min=60) == []
    both = found(partition="wide,small", nodes=3)
    assert [breach.what for breach in both if breach.is_certain] == [
        "Partition 'wide' has 2 nodes, and the job asks for 3.",
        "Partition 'small' has 2 nodes, and the job asks for 3.",
    ]


def test_a_partition_that_is_only_away_lets_the_job_wait() -> None:
    away = [NODES[0], dataclasses.replace(NODES[1], state="DOWN")]
    job = JobSpec.model_validate({"name": "x", "command": "true", "nodes": 2, "partition": "small,main"})
    [breach] = breaches(job, [SMALL, MAIN], away)
    assert not breach.is_certain and "Only 1 of the 2 nodes of partition 'main'" in breach.what


def test_a_qos_can_lift_a_partitions_limits() -> None:
    [breach] = found(time_min=61, qos="long")
    assert not breach.is_certain


def test_no_default_partition() -> None:
    job = JobSpec.model_validate({"kind": "job", "name": "x", "command": "true"})
    [breach] = breaches(job, [SMALL], NODES)
    assert "no default partition" in breach.what and "small" in breach.fix


@pytest.mark.parametrize("state", ["INACTIVE", "DRAIN"])
def test_a_partition_that_takes_no_jobs(state: str) -> None:
    job = JobSpec.model_validate({"kind": "job", "name": "x", "command": "true"})
    [breach] = breaches(job, [dataclasses.replace(MAIN, state=state)], NODES)
    assert state in breach.what


def test_nodes_that_are_away_make_a_job_wait_but_not_for_ever() -> None:
    away = [NODES[0], dataclasses.replace(NODES[1], state="DOWN", reason="Not responding")]
    job = JobSpec.model_validate({"kind": "job", "name": "x", "command": "true", "nodes": 2})
    [breach] = breaches(job, [MAIN], away)
    assert not breach.is_certain
    assert "Only 1 of the 2 nodes" in breach.what and "n2 is down: Not responding" in breach.what


def test_a_container_needs_pyxis() -> None:
    job = JobSpec.model_validate({"name": "x", "command": "true", "container": {"image": "a"}})
    [breach] = breaches(job, [MAIN], NODES, has_pyxis=False)
    assert (breach.key, breach.is_certain) == ("container", True)
    assert "has no --container-image" in breach.what
    for has_pyxis in (True, None):
        assert breaches(job, [MAIN], NODES, has_pyxis=has_pyxis) == []
    plain = JobSpec(name="x", command="true")
    assert breaches(plain, [MAIN], NODES, has_pyxis=False) == []
