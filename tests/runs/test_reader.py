"""Records of every schema_version stay readable: the committed ones are read with all that they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.runs import files
from hpcai.runs.attempts import RunAttempt
from hpcai.runs.find import find_run, list_runs
from hpcai.runs.record import Run
from hpcai.runs.waterfall import of_run

CASES = Path(__file__).parents[1] / "cases" / "runs"


@pytest.fixture
def v1() -> Run:
    return find_run(CASES / "v1", "12")


def test_there_is_a_record_of_every_version() -> None:
    assert [len(list_runs(CASES / f"v{version}")) for version in range(1, files.SCHEMA_VERSION + 1)] == [1]


def test_version_1_names_and_files(v1: Run) -> None:
    assert v1.ident == "demo/digits-20261118-110640"
    assert v1.resolved()["nodes"] == 2
    assert v1.environment()["hostnames"] == {"n2": "node-b", "n3": "node-c"}
    assert [event["event"] for event in v1.events()] == ["submitted", "cancel_requested"]
    assert v1.paths.spec.read_text().startswith("kind: job\n")
    assert v1.paths.script.read_text().startswith("#!/bin/bash\n")
    assert [path.name for path in v1.paths.logs(0)] == ["0.out"]
    assert v1.paths.batch_log.is_file()


def test_version_1_attempts(v1: Run) -> None:
    first, second = v1.attempts()
    assert (first.number, first.job_id, first.node_list) == (0, 12, "n[1-2]")
    assert (first.state, first.cause, first.exit_status) == ("NODE_FAIL", "node_failure", None)
    assert isinstance(second, RunAttempt)
    assert (second.number, second.cause, second.exit_status) == (1, "completed", 0)
    assert second.start is not None
    assert second.staged is not None
    assert second.start < second.staged


def test_version_1_metrics(v1: Run) -> None:
    series = v1.metrics()
    assert series["top1"].last == pytest.approx(0.9785, abs=1e-4)
    assert len(series["loss"]) == len(series["loss"].finite()) + 1
    assert [mark.name for mark in v1.marks() if mark.attempt == 1] == [
        *("resumed", "started", "first_step", "trained", "saved")
    ]
    assert of_run(v1).lost_s == pytest.approx(35.5, abs=0.1)


def test_version_1_data(v1: Run) -> None:
    data = v1.data()
    assert list(data) == ["n1", "n2"]
    assert [line["event"] for line in data["n1"]] == ["done", "reused"]
    assert data["n1"][0]["bytes_from"] == {"blob": 2_831_155, "cache": 0}


def test_what_older_records_call_launcher_is_what_started_the_ranks(tmp_path: Path) -> None:
    run = Run(tmp_path)
    files.write_json(run.paths.environment, {"comm": "ddp", "launcher": "slurm", "ranks": 2})
    assert list(run.environment().items())[1:] == [("comm", "ddp"), ("started_by", "slurm"), ("ranks", 2)]
