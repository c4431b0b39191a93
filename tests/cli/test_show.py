"""What `hpcai show` tells of a run and its job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpcai.cli import show
from hpcai.cli.target import Target
from hpcai.runs.record import Run, create_run
from hpcai.slurm.answers import JobInfo

FAILED = JobInfo(5, "x", "FAILED", reason="NonZeroExitCode", exit_status=3, submit_time=90.0, start_time=90.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="")
    made.append_event("submitted", job_id=5, where="slurm")
    return made


def test_a_person_is_told_nothing_twice(run: Run) -> None:
    shown = show._for_people(show._facts(Target(run, FAILED)))
    assert shown["state"] == "FAILED" and not {"why", "cause"} & shown.keys()
    late = show._for_people(show._facts(Target(run, replace(FAILED, state="TIMEOUT"))))
    assert late["cause"] == "time_limit"
    waits = show._for_people(show._facts(Target(run, replace(FAILED, state="PENDING", reason="Priority"))))
    assert waits["why"] == "other jobs go first"


def test_no_job_starts_before_it_is_submitted(run: Run) -> None:
    facts = show._facts(Target(run, FAILED))
    assert facts["submitted"] == facts["started"] == 90.0
    (submitted,) = (event for event in run.events() if event["event"] == "submitted")
    assert show._facts(Target(run, None))["submitted"] == submitted["time"]
