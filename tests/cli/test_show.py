"""What `hpcai show` tells of a run and its job."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcai.cli import show
from hpcai.cli.target import Target
from hpcai.runs import jsonl
from hpcai.runs.find import find_run
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


def test_lines_of_a_record_that_were_cut_off_are_passed_over(run: Run) -> None:
    start = '{"attempt": 0, "event": "start", "node_list": "n1", "time": 1}'
    end = '{"attempt": 0, "state": "FAILED", "cause": "failed"}'
    run.paths.attempts.write_text(f"{start}\n{start[:20]}")
    run.paths.ends.write_text(f"{end[:30]}\n{end}")
    with run.paths.events.open("a") as file:
        file.write('{"event": "cancel_req')
    facts = show._facts(Target(run, None))
    assert (facts["job_id"], facts["state"], facts["cause"]) == (5, "FAILED", "failed")
    assert [(one["node_list"], one["cause"]) for one in facts["attempts"]] == [("n1", "failed")]
    run.append_event("again")
    assert run.job_id == 5 and run.events()[-1]["event"] == "again"


def test_one_of_a_thousand_runs_is_found_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        folder = tmp_path / "default" / f"run-20261121-12{number // 60:02}{number % 60:02}"
        folder.mkdir(parents=True)
        (folder / "resolved.json").write_text('{"schema_version": 1}')
        (folder / "events.jsonl").write_text(f'{{"event": "submitted", "job_id": {number + 1}}}\n')
    opened: list[Path] = []
    real = jsonl.read
    monkeypatch.setattr(jsonl, "read", lambda path: opened.append(path) or real(path))
    assert find_run(tmp_path, "run-20261121-120003").name.endswith("120003") and opened == []
    assert find_run(tmp_path, "@last").name.endswith("121639") and opened == []
    assert find_run(tmp_path, "1").name.endswith("120000")
    assert len(opened) <= 1001
    begin = time.process_time()
    for ident in ("run-20261121-120003", "@last", "1"):
        find_run(tmp_path, ident)
    # 20 ms each on a quiet machine.
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(
    ("state", "cause", "of_array", "command"),
    [
        ("PENDING", None, False, "hpcai why x"),
        ("RUNNING", None, False, "hpcai logs -f x"),
        ("RUNNING", None, True, "hpcai show x --wait"),
        ("FAILED", "failed", False, "hpcai why x"),
        ("FAILED", "failed", True, "hpcai why x"),
        ("COMPLETED", "completed", False, "hpcai logs x"),
        ("COMPLETED", "completed", True, "hpcai report x"),
    ],
)
def test_what_to_type_next(state: str, cause: str | None, of_array: bool, command: str) -> None:
    facts = {"run": "x", "state": state, "cause": cause, **({"tasks": {}} if of_array else {})}
    assert show._next_command(facts) == command
