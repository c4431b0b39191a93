"""The processes of an embedded cluster are found by their marks."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.slurm.local import marks
from tests.sleeper import sleeper
from tests.waiting import until

pytestmark = pytest.mark.programs


def pids(state: Path, *confs: str, node: str | None = None) -> set[int]:
    return {process.pid for process in marks.of_cluster(state, confs, node=node)}


def test_daemons_are_found_by_state_and_node(tmp_path: Path) -> None:
    state = {marks.STATE_MARK: str(tmp_path)}
    with (
        sleeper(**state) as controller,
        sleeper(**state, **{marks.NODE_MARK: "n1"}) as one,
        sleeper(**state, **{marks.NODE_MARK: "n2"}) as two,
        sleeper(**{marks.STATE_MARK: f"{tmp_path}x"}),
    ):
        assert pids(tmp_path) == {controller.pid, one.pid, two.pid}
        assert pids(tmp_path, node="n2") == {two.pid}
        assert tmp_path in marks.marked_states()


def test_tasks_are_found_and_a_shell_with_the_clusters_environment_is_not(tmp_path: Path) -> None:
    with sleeper(SLURM_CONF="/c") as shell, sleeper(SLURM_CONF="/c", SLURMD_NODENAME="n2") as task:
        assert pids(tmp_path, "/c") == {task.pid}
        assert pids(tmp_path, "/c", node="n1") == set()
        assert pids(tmp_path, "/other") == set()
        assert shell.poll() is None


def test_a_step_is_found_by_its_nodes_folder(tmp_path: Path) -> None:
    folder = marks.spool(tmp_path) / "n2"
    folder.mkdir(parents=True)
    with sleeper(cwd=folder, SLURM_CONF="/c") as step:
        assert pids(tmp_path, "/c", node="n2") == {step.pid}
        assert pids(tmp_path, "/c", node="n1") == set()


def test_a_step_of_a_newer_slurm_shows_nothing_but_its_program_and_folder(tmp_path: Path) -> None:
    folder = marks.spool(tmp_path) / "n2"
    folder.mkdir(parents=True)
    sleep = str(shutil.which("sleep"))
    program = shutil.copy(sleep, tmp_path / "slurmstepd")
    with (
        subprocess.Popen([program, "600"], cwd=folder, env={}) as step,
        subprocess.Popen([sleep, "600"], cwd=folder, env={}) as shell,
    ):
        try:
            until(lambda: pids(tmp_path, "/c", node="n2") == {step.pid}, 10, "the step is found")
            assert pids(tmp_path, "/c", node="n1") == set()
            assert shell.poll() is None
        finally:
            step.kill()
            shell.kill()


def test_children_that_wiped_their_environment_belong_to_it(tmp_path: Path) -> None:
    script = f"env -i {shlex.quote(sys.executable)} -c 'print(flush=True); input()' & echo $!; wait"
    argv = ["sh", "-c", f"exec 3<&0; {script.replace('input()', 'open(3).read()')}"]
    environ = {"PATH": os.environ["PATH"], marks.STATE_MARK: str(tmp_path)}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as program:
        assert program.stdin and program.stdout
        child = int(next(line for line in program.stdout if line.strip()))
        assert {program.pid, child} <= pids(tmp_path)
        program.stdin.close()
