"""`hpcai shell` and `submit --shell` at a terminal, on a real cluster."""

from __future__ import annotations

import getpass
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.specs.site import cache_dir
from tests.cli.test_jobs import Cli
from tests.container_cluster import Containers
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real


def user(environ: dict[str, str], tmp_path: Path, name: str = "it's a folder") -> Cli:
    """Somebody whose shell reads no files of its own."""
    folder, home = tmp_path / name, tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    own = {"HPCAI_RUNS_ROOT": str(tmp_path / "runs"), "NO_COLOR": "1", "HOME": str(home), "PS1": "$ "}
    own |= {"SHELL": "/bin/bash", "XDG_CACHE_HOME": str(cache_dir().parent)}
    return Cli(folder, {**environ, **own})


@pytest.fixture
def cli(cluster: RealCluster, tmp_path: Path) -> Iterator[Cli]:
    made = user(cluster.environ, tmp_path)
    yield made
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def typed(cli: Cli, *words: str, line: str, status: int) -> str:
    """What stands on a terminal after a line was typed into the shell that this command opens."""
    argv = Cli._argv(*words)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        os.execvpe(argv[0], argv, cli.environ)
    told, is_typed = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        told += data
        # The prompt, whatever the shell makes of it, ends in a space.
        if not is_typed and told.rstrip(b"\x1b[?2004h").endswith((b"$ ", b"# ")):
            os.write(terminal, f"{line}\n".encode())
            is_typed = True
    else:
        os.kill(pid, signal.SIGKILL)
    text = told.decode(errors="replace")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status, text
    return text


def running(cli: Cli, name: str) -> None:
    until(lambda: cli.json("show", name)["state"] == "RUNNING", 60, "it runs")


def test_a_shell_has_the_runs_environment_on_the_node_that_was_asked_for(cli: Cli) -> None:
    fields = {
        "nodes": 2,
        "workdir": str(cli.folder),
        "env": {"X": "it's $X"},
        "setup": ["export FROM_SETUP=yes"],
    }
    run = cli.submit("sleep 600", **fields)
    running(cli, run.name)
    ask = 'echo "<$SLURMD_NODENAME|$X|$FROM_SETUP|$HPCAI_RUN_DIR|$SLURM_JOB_ID|$PWD>"; exit 7'
    told = typed(cli, "shell", run.name, "--node", "n2", line=ask, status=7)
    assert f"<n2|it's $X|yes|{run.path}|{run.job_id}|{cli.folder}>" in told
    assert "<n1|" in typed(cli, "shell", str(run.job_id), line=ask, status=7)
    # It is the job that goes on, and its record tells of no attempt of the shell.
    assert cli.json("show", run.name)["state"] == "RUNNING"
    assert [one.number for one in run.attempts()] == [0]


def test_a_task_of_an_array_is_a_job_of_its_own(cli: Cli) -> None:
    run = cli.submit("sleep 600", array="1-2")
    until(lambda: cli.json("show", f"{run.name}_2")["state"] == "RUNNING", 60, "it runs")
    told = typed(cli, "shell", f"{run.name}_2", line='echo "<$HPCAI_RUN_DIR>"; exit', status=0)
    assert f"<{run.path}/tasks/2>" in told
    assert "each of its tasks is a job of its own" in cli("shell", run.name, status=4).stderr


def test_of_other_jobs_it_is_the_users_own_shell(cli: Cli) -> None:
    argv = ["sbatch", "--parsable", "--output=/dev/null", f"--chdir={cli.folder}", "--wrap=sleep 600"]
    job_id = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout.strip()
    running(cli, job_id)
    told = typed(cli, "shell", job_id, line='echo "<$SLURM_JOB_ID|$PWD|$0>"; exit 2', status=2)
    assert f"<{job_id}|{cli.folder}|/bin/bash>" in told


def test_a_job_that_does_not_run_has_no_shell(cli: Cli) -> None:
    waiting = cli.submit("true", hold=True)
    assert cli("shell", waiting.name, status=4).stderr == (
        f"hpcai: No shell can be opened in {waiting.name}: it is held by you; "
        "`scontrol release` lets it go.\n"
        f"hpcai show {waiting.ident}\n"
    )
    cli("submit", "-q", "--follow", cli.file("exit 3"), status=3)
    assert "it failed with status 3" in cli("shell", "@last", status=4).stderr
    cli("submit", "--where", "local", cli.file("true"))
    assert "processes of the machine" in cli("shell", "@last", status=4).stderr
    assert "knows no job 4000000000" in cli("shell", "4000000000", status=5).stderr
    assert "There is no run 'nope'" in cli("shell", "nope", status=5).stderr


def test_the_way_to_a_port_is_one_line(cli: Cli) -> None:
    run = cli.submit("sleep 600", nodes=2)
    running(cli, run.name)
    me = getpass.getuser()
    done = cli("shell", run.name, "--port", "jupyter")
    assert done.stdout == f"ssh -N -L 8888:n1:8888 {me}@{os.uname().nodename}\n"
    assert "http://localhost:8888" in done.stderr
    there = Cli(cli.folder, {**cli.environ, "HPCAI_LOGIN_HOST": "login.example.com"})
    done = there("shell", run.name, "--port", "tensorboard", "--node", "n2")
    assert done.stdout == f"ssh -N -L 6006:n2:6006 {me}@login.example.com\n"
    assert cli("shell", run.name, "--port", "8080").stdout.startswith("ssh -N -L 8080:n1:8080 ")
    for wrong in ("0", "65536", "jupiter"):
        assert f"'{wrong}' is no port" in cli("shell", run.name, "--port", wrong, status=2).stderr
    refused = cli("shell", run.name, "--node", "n9", status=4).stderr
    assert f"Job {run.job_id} has no node 'n9'.\nIts nodes are n1, n2.\n" in refused
    assert "A shell needs a terminal." in cli("shell", run.name, status=2).stderr


def test_a_shell_instead_of_the_command_gives_the_allocation_back(cli: Cli) -> None:
    file = cli.file("echo never", nodes=2, env={"X": "one"}, setup=["export FROM_SETUP=yes"], name="wide")
    ask = 'echo "<$SLURM_NNODES|$SLURMD_NODENAME|$X|$FROM_SETUP|$SLURM_JOB_NAME>"; exit 5'
    told = typed(cli, "submit", "--shell", file, "--set", "env.X=two", line=ask, status=5)
    assert "|n1|two|yes|" in told and "never" not in told.replace("echo never", "")
    [job_id] = {word.split()[0] for word in told.split("Granted job allocation ")[1:]}
    until(lambda: cli.json("show", job_id)["state"] == "FAILED", 60, "it is given back")
    assert cli.json("show", job_id)["nodes"] == 2
    assert not cli.runs_root.exists()


def test_a_shell_in_its_own_allocation_as_text(cli: Cli) -> None:
    printed = cli("submit", "--shell", "--dry-run", cli.file("true", nodes=3, time_min=5)).stdout
    assert printed.startswith("salloc --job-name=x --nodes=3 ") and "--time=5" in printed
    assert subprocess.run(["bash", "-n"], input=printed, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("fields", "words", "status", "said"),
    [
        ({}, ("--follow",), 2, "--follow does not go with it"),
        ({}, ("--where", "local"), 2, "--where does not go with it"),
        ({}, (), 2, "A shell needs a terminal."),
        ({"array": "1-2"}, ("--dry-run",), 3, "`array:` is several jobs at once, and a shell is one."),
        ({"components": [{}, {}]}, ("--dry-run",), 3, "Add --set components=null."),
        ({"partition": "nope"}, ("--dry-run",), 4, "nope"),
    ],
)
def test_what_has_no_shell(
    cli: Cli, fields: dict[str, object], words: tuple[str, ...], status: int, said: str
) -> None:
    assert said in cli("submit", "--shell", cli.file("true", **fields), *words, status=status).stderr


def test_a_script_is_not_opened(cli: Cli) -> None:
    (cli.folder / "job.sh").write_text("#!/bin/sh\n:\n")
    assert "is a script" in cli("submit", "--shell", str(cli.folder / "job.sh"), status=2).stderr


@pytest.mark.usefixtures("checkout_in_containers")
@pytest.mark.parametrize("name", [None, "mine"], ids=["image", "named"])
def test_a_shell_in_the_container_of_a_job(containers: Containers, tmp_path: Path, name: str | None) -> None:
    # This version of Pyxis mounts no folder with a space in its name.
    cli = user(containers.environ, tmp_path, "folder")
    container = {"image": str(containers.squashfs), "writable": True, **({"name": name} if name else {})}
    run = cli.submit(
        "touch /left; echo begun; sleep 600", container=container, env={"X": "one"}, cpus_per_task=1
    )
    try:
        until(lambda: "begun" in cli("logs", run.name).stdout if run.paths.logs(0) else "", 60, "it runs")
        ask = 'echo "<$FROM_IMAGE|$X|$(ls -d /left 2>/dev/null)>"; exit 4'
        told = typed(cli, "shell", run.name, line=ask, status=4)
        # One with a name is the very container of the job, another is made of the same image.
        assert f"<image|one|{'/left' if name else ''}>" in told
        told = typed(cli, "submit", "--shell", cli.file("true", container=container), line=ask, status=4)
        assert "<image||>" in told
    finally:
        cli("cancel", run.name)
