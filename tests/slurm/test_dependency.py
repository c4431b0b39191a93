"""Which dependencies can no longer come true."""

from __future__ import annotations

import pytest

from hpcai.errors import NotFoundError
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.dependency import dependency_breach, dependency_breaches


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


@pytest.mark.parametrize(
    ("dependency", "version", "found"),
    [
        ("afterok:9", (25, 11), [("dependency-unknown", True)]),
        ("afternotok:1,afterok:8:9", (23, 2), [("dependency-never", True), ("dependency-unknown", True)]),
        ("afterok:9", (22, 5), [("dependency-unknown", False)]),
        ("afterok:9+5?afterok:1", None, [("dependency-unknown", False)]),
        ("afterok:1,afterany:9,after:9,singleton", (25, 11), []),
        # Of another cluster of a federation.
        ("afterok:67108873", (25, 11), []),
        (None, (25, 11), []),
    ],
)
def test_jobs_that_slurm_does_not_know(
    dependency: str | None, version: tuple[int, int] | None, found: list[tuple[str, bool]]
) -> None:
    breaches = dependency_breaches(dependency, Jobs(), version)
    assert [(one.id, one.is_certain) for one in breaches] == found
