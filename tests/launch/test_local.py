"""A job as processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.errors import RenderError
from hpcai.launch import local, script
from hpcai.runs.find import list_runs
from hpcai.runs.record import Run, create_run
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from tests.waiting import until

pytestmark = pytest.mark.programs


def spec(command: str, **fields: object) -> JobSpec:
    return JobSpec.model_validate({"kind": "job", "name": "x", "command": command, **fields})


def nap(seconds: int) -> str:
    """A time to sleep that names the sleepers of this test session."""
    return f"{seconds}.{os.getpid()}"


def processes_with(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    ("command", "state", "status", "cause"),
    [
        ("true", "COMPLETED", 0, "completed"),
        ("exit 3", "FAILED", 3, "failed"),
        ("kill -9 $$", "FAILED", 137, "failed"),
    ],
)
def test_ends_are_recorded(weird_folder: Path, command: str, state: str, status: int, cause: str) -> None:
    if "\\" in str(weird_folder):
        pytest.skip("Slurm cannot write logs there")
    run = script.submit(spec(command, ntasks_per_node=2), where="local", site=Site(weird_folder))
    [attempt] = run.attempts()
    assert (attempt.state, attempt.exit_status, attempt.cause) == (state, status, cause)


def test_ranks_and_logs_are_as_under_slurm(tmp_path: Path) -> None:
    command = 'echo "$SLURM_PROCID of $SLURM_NTASKS in $HPCAI_OUTPUTS"'
    run = script.submit(spec(command, ntasks_per_node=2), where="local", site=Site(tmp_path))
    assert [run.paths.log(0, rank).read_text() for rank in (0, 1)] == [
        f"{rank} of 2 in {run.paths.outputs}\n" for rank in (0, 1)
    ]


def test_stopping_ends_every_process_and_says_so(tmp_path: Path) -> None:
    started = script.start_here(
        spec(f"trap '' TERM; sleep {nap(61)} & wait", ntasks_per_node=2), site=Site(tmp_path)
    )
    with started:
        until(lambda: len(processes_with(nap(61))) >= 2, 20, "the ranks sleep")
        local.GRACE_S, before = 0.2, local.GRACE_S
        try:
            started.stop()
        finally:
            local.GRACE_S = before
    assert processes_with(nap(61)) == []
    assert started.run.attempts()[0].cause == "cancelled"


def test_what_a_job_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    script.submit(spec(f"setsid sleep {nap(62)} & exit 0"), where="local", site=Site(tmp_path))
    assert processes_with(nap(62)) == []


def test_another_process_can_end_it(tmp_path: Path) -> None:
    with script.start_here(spec(f"sleep {nap(63)}"), site=Site(tmp_path)) as started:
        until(lambda: processes_with(nap(63)), 20, "the rank sleeps")
        assert local.stop(Run(started.run.path))
        started.wait()
    assert processes_with(nap(63)) == []
    assert started.run.attempts()[0].cause == "cancelled"
    assert not local.stop(started.run)


def test_what_cannot_run_here_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="--set nodes=1"):
        script.submit(spec("true", nodes=2), where="local", site=Site(tmp_path))
    assert list_runs(tmp_path) == []


def submit_here(folder: Path, command: str, *before: str) -> subprocess.Popen[str]:
    file = folder / "job.yaml"
    file.write_text(json.dumps({"kind": "job", "name": "here", "command": command}))
    argv = [*before, sys.executable, "-m", "hpcai", "submit", "--where", "local", str(file)]
    environ = {**os.environ, "HPCAI_RUNS_ROOT": str(folder / "runs"), "HPCAI_LOCAL": ""}
    return subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sent: sent.name)
def test_a_signal_ends_the_processes_and_is_128_and_itself(tmp_path: Path, sent: signal.Signals) -> None:
    process = submit_here(tmp_path, f"sleep {nap(64)}")
    until(lambda: processes_with(nap(64)), 30, "the rank sleeps")
    process.send_signal(sent)
    _, words = process.communicate(timeout=30)
    # Python itself ends by the signal when an import was interrupted; a shell shows both as 130.
    assert process.returncode in (128 + sent, *([-sent] if sent == signal.SIGINT else [])), words
    assert processes_with(nap(64)) == []
    [run] = list_runs(tmp_path / "runs")
    assert "was ended" in words
    assert run.attempts()[0].cause == "cancelled"


def test_under_nohup_a_terminal_that_closes_ends_nothing(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    process = submit_here(tmp_path, f"while [ ! -e '{go_on}' ]; do sleep 0.1; done", "nohup")
    until(lambda: list(tmp_path.glob("runs/default/*/logs/0/0.out")), 30, "the rank has begun")
    process.send_signal(signal.SIGHUP)
    go_on.touch()
    _, words = process.communicate(timeout=30)
    assert process.returncode == 0, words


@pytest.mark.parametrize("what", ["both", "hpcai"])
def test_a_run_whose_hpcai_was_killed_ends_with_what_is_true(tmp_path: Path, what: str) -> None:
    """Killed with its hpcai nobody notes its end; without it the script goes on and notes it itself."""
    (tmp_path / "job.yaml").write_text(
        f"kind: job\nname: x\ncommand: echo begun; until [ -e {tmp_path}/go ]; do sleep 0.1; done; exit 3\n"
    )
    environ = {**os.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs"), "HPCAI_LOCAL": ""}
    hpcai = [sys.executable, "-m", "hpcai"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environ}
    argv = [*hpcai, "submit", "--where", "local", str(tmp_path / "job.yaml")]
    started = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = until(lambda: next(iter(list_runs(tmp_path / "runs")), None), 60, "a record")
    until(lambda: run.paths.log(0, 0).exists() and run.paths.log(0, 0).read_text(), 60, "the job runs")
    with (
        subprocess.Popen([*hpcai, "show", "--wait", "-o", "json", "x"], **streams) as waiting,  # type: ignore[call-overload]
        subprocess.Popen([*hpcai, "logs", "-f", "x"], **streams) as following,  # type: ignore[call-overload]
    ):
        started.kill()
        started.wait()
        local.settle(run)
        assert run.ends() == [], "its script goes on"
        if what == "both":
            for process in local._processes_of(run):
                os.kill(process.pid, signal.SIGKILL)
        (tmp_path / "go").touch()
        shown, words = json.loads(waiting.communicate(timeout=60)[0]), following.communicate(timeout=60)[1]
    expected = ("UNKNOWN", "unknown", 9) if what == "both" else ("FAILED", "failed", 3)
    assert (shown["state"], shown["cause"], shown["exit_status"]) == expected
    assert (waiting.returncode, following.returncode) == (expected[2], expected[2])
    said = "ended in a way that nobody recorded" if what == "both" else "failed with status 3"
    assert f"{run.name} {said}.\n" in words


def test_a_run_of_another_machine_is_not_judged_from_here(tmp_path: Path) -> None:
    run = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="")
    run.append_event("submitted", where="local", pid=1, host="elsewhere", processes=[[2**22, 1]])
    local.settle(run)
    assert run.ends() == [] and local.is_elsewhere(run) == "elsewhere"
