"""What an array asks for that Slurm refuses."""

from __future__ import annotations

import pytest

from hpcai.slurm.arrays import array_breaches
from hpcai.specs.job import JobSpec


@pytest.mark.parametrize(
    ("array", "config", "what"),
    [
        ("0-1000", {"MaxArraySize": "1001"}, None),
        ("0-1001%2", {"MaxArraySize": "1001"}, "has a task 1001, and MaxArraySize of this Slurm is 1001."),
        ("0", {"MaxArraySize": "0"}, "MaxArraySize of this Slurm is 0: it takes no arrays."),
        ("0-9", {}, None),
        ("0-9", {"SchedulerParameters": "bf_max=3,max_array_tasks=10"}, None),
        ("0-10", {"SchedulerParameters": "max_array_tasks=10,x"}, "has 11 tasks, and this Slurm allows 10"),
        (None, {"MaxArraySize": "0"}, None),
    ],
)
def test_an_array_fits(array: str | None, config: dict[str, str], what: str | None) -> None:
    found = list(array_breaches(JobSpec(name="x", command="true", array=array), config))
    assert [breach.key for breach in found] == (["array"] if what else [])
    assert what is None or (what in found[0].what and found[0].is_certain)
