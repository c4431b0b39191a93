"""Which dependencies can no longer come true."""

from __future__ import annotations

import pytest

from hpcai.errors import NotFoundError
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.dependency import dependency_breach


class Jobs(SlurmClient):
    """Slurm with three jobs: 1 completed, 2 failed, 3 runs."""

    def job(self, job_id: int) -> JobInfo:
        states = {1: "COMPLETED", 2: "FAILED", 3: "RUNNING"}
        if job_id not in states:
            raise NotFoundError(f"Slurm knows no job {job_id}.")
        return JobInfo(job_id, "x", states[job_id])


@pytest.mark.parametrize(
    ("dependency", "why"),
    [
        ("afterok:2", "job 2 ended FAILED"),
        ("afterok:1:2", "job 2 ended FAILED"),
        ("afterok:1+5:2+5", "job 2 ended FAILED"),
        ("afterany:2,afternotok:1", "job 1 ended COMPLETED"),
        ("afterok:2?afternotok:1", "job 2 ended FAILED, job 1 ended COMPLETED"),
    ],
)
def test_what_cannot_come_true(dependency: str, why: str) -> None:
    breach = dependency_breach(dependency, Jobs())
    assert breach is not None and breach.what == f"`{dependency}` cannot come true: {why}."


@pytest.mark.parametrize(
    "dependency",
    [
        *(None, "", "afterok:1", "afterok:3", "afterok:9", "afterok:2_1", "afterok:2?afterok:3"),
        *("afterany:2", "afternotok:2", "singleton", "after:2+5"),
    ],
)
def test_what_may_come_true(dependency: str | None) -> None:
    assert dependency_breach(dependency, Jobs()) is None
