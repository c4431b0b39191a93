"""States and reasons in words."""

from __future__ import annotations

import pytest

from hpcai.slurm.answers import JobInfo
from hpcai.slurm.reasons import in_words, never_starts


def pending(reason: str | None) -> JobInfo:
    return JobInfo(1, "x", "PENDING", reason=reason)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "waits for nodes to become free"),
        ("Priority", "other jobs go first"),
        ("BeginTime", "up to 2 minutes"),
        ("ReqNodeNotAvail,_UnavailableNodes:n2", "down, drained or reserved"),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved", "down, drained or reserved"),
        ("QOSMaxCpuPerUserLimit", "QOS"),
        ("launch_failed_requeued_held", "a node could not start it"),
        ("job requeued in held state", "`scontrol release` lets it go"),
        ("AssocGrpGRES", "account"),
        (None, "only just come"),
        ("SomethingNew", "waits: SomethingNew"),
    ],
)
def test_why_a_job_waits(reason: str | None, words: str) -> None:
    assert words in in_words(pending(reason))


def test_jobs_that_never_start() -> None:
    assert never_starts(pending("PartitionNodeLimit")) and never_starts(pending("DependencyNeverSatisfied"))
    assert not never_starts(pending("Resources"))
    assert not never_starts(JobInfo(1, "x", "RUNNING", reason="PartitionNodeLimit"))


def test_states() -> None:
    assert in_words(JobInfo(1, "x", "RUNNING")) == "runs"
    assert in_words(JobInfo(1, "x", "NODE_FAIL")) == "lost a node"
    assert in_words(JobInfo(1, "x", "NEW_STATE")) == "is in the state NEW_STATE"
