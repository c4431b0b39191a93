"""Processes are found by their marks, and never mistaken."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcai.slurm.local import processes
from hpcai.slurm.local.processes import Process
from tests.waiting import until

SLEEP = [sys.executable, "-c", "print(flush=True); input()"]


@contextmanager
def sleeper(cwd: Path | None = None, **marks: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that waits; it has started when the block begins."""
    environ = {"PATH": os.defpath, **marks}
    program = subprocess.Popen(SLEEP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=cwd)
    assert program.stdin and program.stdout
    try:
        program.stdout.readline()
        yield program
    finally:
        program.kill()
        program.communicate()


def pids(state: Path, *confs: str, node: str | None = None) -> set[int]:
    return {process.pid for process in processes.of_cluster(state, confs, node=node)}


def test_daemons_are_found_by_state_and_node(tmp_path: Path) -> None:
    state = {processes.STATE_MARK: str(tmp_path)}
    with (
        sleeper(**state) as controller,
        sleeper(**state, **{processes.NODE_MARK: "n1"}) as one,
        sleeper(**state, **{processes.NODE_MARK: "n2"}) as two,
        sleeper(**{processes.STATE_MARK: f"{tmp_path}x"}),
    ):
        assert pids(tmp_path) == {controller.pid, one.pid, two.pid}
        assert pids(tmp_path, node="n2") == {two.pid}
        assert tmp_path in processes.marked_states()


def test_tasks_are_found_and_a_shell_with_the_clusters_environment_is_not(tmp_path: Path) -> None:
    with sleeper(SLURM_CONF="/c") as shell, sleeper(SLURM_CONF="/c", SLURMD_NODENAME="n2") as task:
        assert pids(tmp_path, "/c") == {task.pid}
        assert pids(tmp_path, "/c", node="n1") == set()
        assert pids(tmp_path, "/other") == set()
        assert shell.poll() is None


def test_a_step_is_found_by_its_nodes_folder(tmp_path: Path) -> None:
    folder = processes.spool(tmp_path) / "n2"
    folder.mkdir(parents=True)
    with sleeper(cwd=folder, SLURM_CONF="/c") as step:
        assert pids(tmp_path, "/c", node="n2") == {step.pid}
        assert pids(tmp_path, "/c", node="n1") == set()


def test_children_that_wiped_their_environment_belong_to_it(tmp_path: Path) -> None:
    script = f"env -i {shlex.quote(sys.executable)} -c 'print(flush=True); input()' & echo $!; wait"
    argv = ["sh", "-c", f"exec 3<&0; {script.replace('input()', 'open(3).read()')}"]
    environ = {"PATH": os.environ["PATH"], processes.STATE_MARK: str(tmp_path)}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as program:
        assert program.stdin and program.stdout
        child = int(next(line for line in program.stdout if line.strip()))
        assert {program.pid, child} <= pids(tmp_path)
        program.stdin.close()


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
    environ = {processes.STATE_MARK: str(tmp_path)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as program:
        assert program.stdout
        program.stdout.readline()
        processes.end(lambda known: processes.of_cluster(tmp_path, (), also=known), grace_s=0.2)
        assert program.wait(10) == -signal.SIGKILL
