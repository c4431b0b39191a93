"""Processes are found and ended, and never mistaken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai import processes
from hpcai.processes import Process
from tests.sleeper import sleeper
from tests.waiting import until

pytestmark = pytest.mark.programs


def test_processes_are_found_by_a_variable_of_their_environment(tmp_path: Path) -> None:
    mark = str(tmp_path)
    with sleeper(MARK=mark) as one, sleeper(MARK=f"{mark}x"), sleeper(OTHER=mark), sleeper(XMARK=mark):
        assert [process.pid for process in processes.with_variable("MARK", mark)] == [one.pid]


def test_the_one_who_searches_is_not_found(tmp_path: Path) -> None:
    code = (
        "import os; from hpcai import processes; print(processes.with_variable('MARK', os.environ['MARK']))"
    )
    env = {**os.environ, "MARK": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"


def test_a_reused_number_is_not_the_same_process() -> None:
    with sleeper() as program:
        found = processes.find(program.pid)
        assert found is not None
        other = Process(found.pid, found.started - 1)
        processes.send(other, signal.SIGKILL)
        assert processes.is_alive(found)
        assert not processes.is_alive(other)


def test_a_zombie_has_ended() -> None:
    with sleeper() as program:
        found = processes.find(program.pid)
        assert found is not None
        program.kill()
        until(lambda: not processes.is_alive(found), 10, "it has ended")
        assert Path(f"/proc/{program.pid}/stat").exists()
        assert processes.find(program.pid) is None


def test_what_ignores_the_request_is_killed(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-c",
        "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); input()",
    ]
    environ = {"MARK": str(tmp_path)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as program:
        assert program.stdout
        program.stdout.readline()
        processes.end(lambda _: processes.with_variable("MARK", str(tmp_path)), grace_s=0.2)
        assert program.wait(10) == -signal.SIGKILL
