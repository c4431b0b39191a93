"""Python functions as jobs on a real cluster."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import submitit

import hpcai
from hpcai.errors import SlurmError, SpecError, StageError, UsageError
from hpcai.launch import function
from hpcai.launch.function import FunctionExecutor
from hpcai.runs.find import list_runs
from hpcai.runs.record import Run
from hpcai.slurm.client import SlurmClient
from hpcai.specs.site import Site
from tests.real_cluster import RealCluster
from tests.waiting import until


def add(left: int, right: int) -> int:
    sys.stdout.write("adding\n")
    return left + right


def fail(word: str) -> None:
    raise ValueError(f"no {word}")


def rank(_: object) -> tuple[str, str]:
    return os.environ["SLURM_PROCID"], os.environ["HPCAI_ATTEMPT"]


@pytest.fixture
def executor(cluster: RealCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FunctionExecutor:
    # submitit's own calls (scancel) look for Slurm in this process's environment.
    monkeypatch.setenv("PATH", cluster.environ["PATH"])
    monkeypatch.setenv("SLURM_CONF", cluster.environ["SLURM_CONF"])
    made: FunctionExecutor = hpcai.executor(
        tmp_path / "it's a folder",
        site=Site(tmp_path / "runs"),
        client=SlurmClient(cluster.environ),
        name="functions",
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return made


@pytest.mark.real
def test_functions_in_slurm(
    executor: FunctionExecutor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = executor.submit(add, 2, 3)
    many = executor.map_array(add, [1, 2, 3], [10, 20, 30])
    failing = executor.submit(fail, "way")
    executor.update_parameters(nodes=2)
    ranks = executor.submit(rank, None)
    executor.update_parameters(components=[{"nodes": 1}, {"nodes": 1, "ntasks": 2}])
    parts = executor.submit(rank, None)
    assert one.result() == 5
    assert "adding" in one.stdout()
    assert [job.result() for job in many] == [11, 22, 33]
    assert {job.job_id.partition("_")[0] for job in many} == {many[0].job_id.partition("_")[0]}
    with pytest.raises(submitit.core.utils.FailedJobError, match="no way"):
        failing.result()
    assert sorted(ranks.results()) == [("0", "0"), ("1", "0")]
    assert [one[0] for one in sorted(parts.results())] == ["0", "1", "2"]
    until(lambda: one.get_info()["State"] == "COMPLETED", 20, "Slurm has seen the end too")
    # Slurm without accounting is nothing that a user must read about.
    assert "accounting" not in capfd.readouterr().err
    runs = list_runs(tmp_path / "runs")
    assert len(runs) == 5
    # Each task of the array wrote to a folder of its own.
    array = next(run for run in runs if run.task_ids())
    assert [one.attempts()[0].exit_status for one in map(array.of_task, array.task_ids())] == [0, 0, 0]
    assert not array.paths.attempts.exists()
    assert "#SBATCH --signal=USR2@90\n" in runs[0].paths.script.read_text()


@pytest.mark.real
def test_a_cancelled_function_has_not_completed(executor: FunctionExecutor) -> None:
    job = executor.submit(time.sleep, 600)
    job.cancel()
    job._results_timeout_s = 0
    with pytest.raises(submitit.core.utils.UncompletedJobError):
        job.result()


@pytest.mark.real
def test_a_function_that_asks_too_much_leaves_nothing(executor: FunctionExecutor, tmp_path: Path) -> None:
    executor.update_parameters(nodes=9)
    with pytest.raises(SlurmError, match="asks for 9"):
        executor.submit(add, 1, 2)
    assert list(executor.folder.iterdir()) == []
    assert list_runs(tmp_path / "runs") == []


@pytest.fixture
def job_7_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FunctionExecutor:
    """An executor whose Slurm, a stand-in, gives every job the number 7, as if it were always new."""
    monkeypatch.setattr(function, "refuse_hopeless", lambda *_: None)
    monkeypatch.setattr(SlurmClient, "submit", lambda *_, **__: 7)
    made: FunctionExecutor = hpcai.executor(tmp_path / "functions", site=Site(tmp_path / "runs"))
    return made


def test_a_job_whose_number_was_used_before_has_its_own_function_and_result(
    job_7_again: FunctionExecutor,
) -> None:
    before = job_7_again.submit(add, 2, 3)
    with submitit.core.utils.temporary_save_path(before.paths.result_pickle) as path:
        submitit.core.utils.cloudpickle_dump(("success", 5), path)
    after = job_7_again.submit(add, 20, 30)
    assert before.job_id == after.job_id == "7"
    assert before.result() == 5
    assert not after.paths.result_pickle.exists()
    assert submitit.core.utils.DelayedSubmission.load(after.paths.submitted_pickle).args == (20, 30)
    script = after.paths.submission_file.read_text()
    assert f"submitit.core._submit {after.paths.folder}" in script
    first, second = job_7_again.map_array(add, [1, 2], [1, 2])
    assert first.paths.submission_file.name == "7_submission.sh"
    assert first.paths.submission_file.samefile(second.paths.submission_file)


def test_what_fails_after_slurm_has_accepted_a_job_takes_no_function_from_it(
    job_7_again: FunctionExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Run.append_event

    def fail(run: Run, event: str, **facts: object) -> None:
        if event == "submitted":
            raise StageError("the disk is full")
        append(run, event, **facts)

    monkeypatch.setattr(Run, "append_event", fail)
    with pytest.raises(StageError, match="the disk is full"):
        job_7_again.submit(add, 2, 3)
    assert [path.name for path in job_7_again.folder.glob("*/*")] == ["7_submitted.pkl"]


@pytest.mark.parametrize(
    ("fields", "signal"),
    [
        ({}, "USR2@90"),
        ({"time_min": 2}, "USR2@90"),
        ({"time_min": 1}, None),
        ({"signal": "USR1@9"}, "USR1@9"),
    ],
)
def test_the_signal_of_checkpoints_leaves_a_function_time(
    tmp_path: Path, fields: dict[str, Any], signal: str | None
) -> None:
    made = hpcai.executor(tmp_path, site=Site(tmp_path / "runs"), **fields)
    assert made.spec.signal == signal


def test_wrong_fields_are_told_as_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"^hpcai\.executor: nodse: is not a key here; did you mean 'nodes'\?"
    ):
        hpcai.executor(tmp_path, nodse=2)
    with pytest.raises(UsageError, match="The function is the command here"):
        hpcai.executor(tmp_path, command="true")
    with pytest.raises(UsageError, match="has the same function as the others"):
        hpcai.executor(tmp_path, components=[{}, {"command": "true"}])
    with pytest.raises(UsageError, match="are tasks of one array"):
        hpcai.executor(tmp_path, array="0-3")
    with pytest.raises(SpecError, match="not JSON serializable"):
        hpcai.executor(tmp_path, env=object)


def test_a_folder_that_cannot_be_written_is_told() -> None:
    executor = hpcai.executor("/proc/x")
    with pytest.raises(UsageError, match=r"'/proc/x' of hpcai\.executor cannot be written"):
        executor.submit(add, 1, 2)
