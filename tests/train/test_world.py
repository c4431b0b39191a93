from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcai.errors import UsageError
from hpcai.train.world import ALONE, World, allotted_cpus, read_world

CASES = sorted((Path(__file__).parents[1] / "cases" / "world").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_launchers_environment_is_read(path: Path) -> None:
    case = json.loads(path.read_text())
    if "error" in case:
        with pytest.raises(UsageError) as raised:
            read_world(case["environ"])
        assert case["error"] in str(raised.value)
    else:
        world = read_world(case["environ"])
        assert {name: getattr(world, name) for name in case["world"]} == case["world"]


def test_a_process_may_be_alone_in_a_larger_job_when_that_is_meant() -> None:
    assert read_world({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, alone_is_meant=True) == ALONE
    with pytest.raises(UsageError, match="Slurm placed 2,1"):
        read_world({"SLURM_STEP_TASKS_PER_NODE": "2,1"}, alone_is_meant=True)


def world_of(local_size: int) -> World:
    return World(0, local_size, 0, local_size, "n1", "slurm")


def test_cpus_come_from_slurm_before_the_machine() -> None:
    assert allotted_cpus(ALONE, {"SLURM_CPUS_PER_TASK": "6", "SLURM_CPUS_ON_NODE": "96"}) == 6
    assert allotted_cpus(world_of(4), {"SLURM_CPUS_ON_NODE": "96"}) == 24
    assert allotted_cpus(world_of(8), {"SLURM_CPUS_ON_NODE": "4"}) == 1
    assert allotted_cpus(ALONE, {"SLURM_CPUS_PER_TASK": "²", "SLURM_CPUS_ON_NODE": "4"}) == 4


def test_cpus_without_slurm_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert allotted_cpus(world_of(2), {"OMP_NUM_THREADS": "1"}) == 4
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert allotted_cpus(world_of(2), {}) == 8
