"""Clusters of their own, started, hurt and ended: whatever happens, nothing is left running."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcai import processes
from hpcai.errors import HpcaiError, NotFoundError, ToolError
from hpcai.slurm.local import cluster, fault, marks, ports, prefix, record
from hpcai.slurm.local.places import place
from hpcai.specs.site import cache_dir
from tests.waiting import until

pytestmark = pytest.mark.real

NAME = f"test-{os.getpid()}"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of its own, but for the programs: those are made once per machine."""
    prefix.ensure(cache_dir())
    cache = tmp_path / "c"
    cache.mkdir()
    (cache / "slurm").symlink_to(cache_dir() / "slurm")
    return cache


@pytest.fixture
def name(cache: Path) -> Iterator[str]:
    """The name of a cluster that does not exist yet, and does not exist afterwards."""
    yield "own"
    if "own" in cluster.known(cache=cache) + cluster.leftovers(cache=cache):
        cluster.down("own", purge=True, cache=cache)


def words_in(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def run(cache: Path, name: str, *words: str) -> str:
    environ = {**os.environ, **cluster.environment(name, cache=cache)}
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout


def until_it_completes(cache: Path, name: str, job: str) -> None:
    shown = ["scontrol", "show", "job", job]
    until(lambda: "JobState=COMPLETED" in run(cache, name, *shown), 60, "the job ends")


def start_stubborn_job(cache: Path, name: str, folder: Path, *, orphans: bool) -> list[processes.Process]:
    """Processes that left their session, wiped their environment and ignore SIGTERM: one per node.

    `orphans` have outlived their task, step and job.
    """
    stubborn = 'trap "" TERM; echo $$ >> "$0"; while :; do sleep 1; done'
    apart = f"setsid env -i sh -c {shlex.quote(stubborn)} {folder}/pids >/dev/null 2>&1 &"
    task = apart if orphans else f"{apart} wait"
    (folder / "job.sh").write_text(f"#!/bin/sh\nsrun sh -c {shlex.quote(task)}\n")
    argv = ["sbatch", "-N2", "-n2", "-o", f"{folder}/job.out", "--parsable", f"{folder}/job.sh"]
    job = run(cache, name, *argv).strip()
    until(lambda: len(words_in(folder / "pids")) == 2, 20, "two programs have started")
    if orphans:
        until_it_completes(cache, name, job)
    found = [processes.find(int(pid)) for pid in (folder / "pids").read_text().split()]
    return [process for process in found if process is not None]


def kill_daemons(cache: Path, name: str, names: list[str]) -> None:
    pids = cluster.status(name, cache=cache).pids
    killed = [pids[daemon] for daemon in names or sorted(pids, key=lambda one: one != "supervisor")]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(processes.find(pid) for pid in killed), 20, "what was killed is gone")


@pytest.mark.parametrize(
    "killed", [["supervisor"], ["supervisor", "slurmctld", "n1"], []], ids=["supervisor", "some", "all"]
)
def test_down_leaves_nothing_after_kill_9_of(
    killed: list[str], cache: Path, name: str, tmp_path: Path
) -> None:
    cluster.up(name, nodes=2, cache=cache)
    stubborn = start_stubborn_job(cache, name, tmp_path, orphans=False)
    kill_daemons(cache, name, killed)
    assert cluster.status(name, cache=cache).state == ("unsupervised" if killed else "down")
    assert_down_leaves_nothing(cache, name, stubborn)


def test_down_leaves_nothing_of_what_outlived_its_job(cache: Path, name: str, tmp_path: Path) -> None:
    cluster.up(name, nodes=2, cache=cache)
    stubborn = start_stubborn_job(cache, name, tmp_path, orphans=True)
    assert_down_leaves_nothing(cache, name, stubborn)


def assert_down_leaves_nothing(cache: Path, name: str, stubborn: list[processes.Process]) -> None:
    assert [processes.is_alive(process) for process in stubborn] == [True, True]
    assert cluster.down(name, cache=cache)
    assert [processes.is_alive(process) for process in stubborn] == [False, False]
    assert place(cache, name).state not in marks.marked_states()
    assert not cluster.down(name, cache=cache)


def test_down_finds_a_cluster_whose_folder_was_deleted(cache: Path, name: str) -> None:
    cluster.up(name, nodes=1, cache=cache)
    where = place(cache, name)
    subprocess.run(["rm", "-rf", where.state], check=True)
    assert cluster.leftovers(cache=cache) == [name]
    assert cluster.down(name, cache=cache)
    assert cluster.leftovers(cache=cache) == []
    assert where.state not in marks.marked_states()


def test_what_dies_is_started_again_and_jobs_go_on(cache: Path, name: str, tmp_path: Path) -> None:
    cluster.up(name, nodes=1, cache=cache)
    before = cluster.status(name, cache=cache).pids
    job = run(
        cache, name, "sbatch", "--parsable", "-o", f"{tmp_path}/out", "--wrap", "sleep 2; echo done"
    ).strip()
    # The controller writes down what it was given a moment later; what it did not, a kill -9 loses.
    until((place(cache, name).state / "state" / "job_state").exists, 20, "Slurm has saved its jobs")
    for daemon in ("munged", "slurmctld", "n1"):
        os.kill(before[daemon], signal.SIGKILL)

    def is_back() -> bool:
        now = cluster.status(name, cache=cache)
        return now.pids.keys() == before.keys() and not set(now.pids.values()) & (
            set(before.values()) - {before["supervisor"]}
        )

    until(is_back, 20, "the daemons are back")
    until_it_completes(cache, name, job)
    assert (tmp_path / "out").read_text() == "done\n"
    log = (place(cache, name).logs / "supervisor.log").read_text()
    assert "munged ended with status -9: again in 0.2 s" in log


WITHOUT_NETWORK = """
import fcntl, os, socket, struct, subprocess, sys
from pathlib import Path
from hpcai.slurm.local import cluster
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    SIOCSIFFLAGS, IFF_UP = 0x8914, 1
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH", b"lo", IFF_UP))
cache = Path(sys.argv[1])
cluster.up("own", nodes=2, cache=cache)
try:
    environ = {**os.environ, **cluster.environment("own", cache=cache)}
    subprocess.run(["srun", "-N2", "echo", "ran"], env=environ)
finally:
    cluster.down("own", purge=True, cache=cache)
"""


def test_a_machine_that_has_only_loopback_has_a_cluster(cache: Path, name: str) -> None:
    apart = ["unshare", "-n"] if os.getuid() == 0 else ["unshare", "-nc", "--keep-caps"]
    words = [*apart, sys.executable, "-c", WITHOUT_NETWORK, str(cache)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)
    if done.stderr.startswith("unshare"):
        pytest.skip("this kernel lets nobody make a network of their own")
    assert done.stdout == "ran\nran\n", done.stderr


def test_two_ups_at_once_make_one_cluster(cache: Path, name: str) -> None:
    code = (
        "import sys; from pathlib import Path; from hpcai.slurm.local import cluster\n"
        "print(cluster.up(sys.argv[1], nodes=1, cache=Path(sys.argv[2])))"
    )
    argv = [sys.executable, "-c", code, name, str(cache)]
    # Their output is a pipe: that it ends shows that the daemons do not hold it.
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(program.communicate(timeout=60)[0] for program in both) == ["False\n", "True\n"]
    assert [program.returncode for program in both] == [0, 0]
    assert not cluster.up(name, nodes=1, cache=cache)
    with pytest.raises(
        ToolError, match=r"is up in another shape: nodes is 1, not 2, gpus_per_node is 0, not 4\.\n.*down"
    ):
        cluster.up(name, nodes=2, gpus_per_node=4, cache=cache)


@pytest.mark.long
def test_up_after_kill_9_of_everything_runs_the_lost_job_again(
    cache: Path, name: str, tmp_path: Path
) -> None:
    cluster.up(name, nodes=1, cache=cache)
    out = tmp_path / "out"
    script = f'echo "$SLURM_RESTART_COUNT" >> {out}; test "$SLURM_RESTART_COUNT" && exit; sleep 600'
    job = run(cache, name, "sbatch", "--parsable", "-o", "/dev/null", "--wrap", script).strip()
    until(out.exists, 20, "the job runs")
    saved = place(cache, name).state / "state" / "job_state"
    run(cache, name, "scontrol", "reconfigure")
    until(lambda: saved.exists() and saved.stat().st_mtime > out.stat().st_mtime, 20, "Slurm has saved")
    kill_daemons(cache, name, [])
    assert cluster.up(name, nodes=1, cache=cache)
    until_it_completes(cache, name, job)
    assert out.read_text() == "\n1\n"


def test_ctrl_c_while_it_comes_up_leaves_nothing(cache: Path, name: str) -> None:
    code = (
        "import sys; from pathlib import Path; from hpcai.slurm.local import cluster, lifecycle\n"
        "lifecycle._is_ready = lambda *_: print('coming', flush=True)\n"
        "cluster.up(sys.argv[1], nodes=1, cache=Path(sys.argv[2]))"
    )
    argv = [sys.executable, "-c", code, name, str(cache)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout
        program.stdout.readline()
        until((place(cache, name).daemons).exists, 20, "daemons start")
        program.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in program.communicate(timeout=30)[1]
    assert place(cache, name).state not in marks.marked_states()


def test_clusters_side_by_side_share_nothing(cache: Path, name: str) -> None:
    try:
        cluster.up(name, nodes=1, cache=cache)
        cluster.up("other", nodes=1, cache=cache)
        assert cluster.running(cache=cache) == ["other", name]
        loaded = [record.load_cluster(place(cache, one)) for one in ("other", name)]
        assert len({port for one in loaded if one for port in one.ports}) == 4
        cluster.down("other", cache=cache)
        assert run(cache, name, "srun", "echo", "alive") == "alive\n"
    finally:
        cluster.down("other", purge=True, cache=cache)


def test_a_next_life_goes_on_with_job_numbers_and_forgets_drained_nodes(cache: Path, name: str) -> None:
    cluster.up(name, nodes=1, cache=cache)
    first = int(run(cache, name, "sbatch", "--parsable", "-o", "/dev/null", "--wrap", "true"))
    fault.drain(name, "n1", reason="a test", cache=cache)
    assert cluster.status(name, cache=cache).nodes[0].reason == "a test"
    cluster.down(name, cache=cache)
    cluster.up(name, nodes=1, cache=cache)
    assert cluster.status(name, cache=cache).nodes[0].state == "idle"
    assert int(run(cache, name, "sbatch", "--parsable", "-o", "/dev/null", "--wrap", "true")) == first + 1


def test_a_cache_with_a_long_and_odd_path(cache: Path, name: str) -> None:
    odd = cache.parent / ("a cache: it's 100%t, long=" + "x" * 60)
    cache.rename(odd)
    cluster.up(name, nodes=2, gpus_per_node=1, cache=odd)
    try:
        told = run(odd, name, "srun", "-N2", "--gpus-per-node=1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
        assert told == "0\n0\n"
        scratch = cluster.environment(name, cache=odd)["HPCAI_SCRATCH"]
        assert " " not in scratch
        assert Path(scratch.replace("%n", "n2")).is_dir()
    finally:
        cluster.down(name, purge=True, cache=odd)
    assert not Path(scratch).parent.parent.is_symlink()


def test_ports_taken_between_look_and_start_are_given_up(
    cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        real = ports.free_ports
        calls: list[str] = []

        def first_time_taken(count: int, *, taken: set[int], salt: str) -> list[int]:
            calls.append(salt)
            found = real(count, taken=taken, salt=salt)
            return found if len(calls) > 1 else [found[0], other.getsockname()[1]]

        monkeypatch.setattr(ports, "free_ports", first_time_taken)
        assert cluster.up(name, nodes=1, cache=cache)
    assert len(calls) == 2
    assert cluster.running(cache=cache) == [name]


def test_a_cluster_that_cannot_come_up_says_why_and_leaves_nothing(
    cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpcai.slurm.local import conf

    real = conf.slurm_conf
    monkeypatch.setattr(conf, "slurm_conf", lambda *given: real(*given) + "SelectType=select/none_such\n")
    with pytest.raises(ToolError, match=r"did not come up: \w+ keeps ending: .*\n.*log"):
        cluster.up(name, nodes=1, cache=cache)
    assert place(cache, name).state not in marks.marked_states()


def test_a_killed_node_loses_its_job_which_runs_again_elsewhere(
    cache: Path, name: str, tmp_path: Path
) -> None:
    cluster.up(name, nodes=3, cache=cache)
    out = tmp_path / "out"
    script = 'echo "$SLURM_RESTART_COUNT $SLURM_JOB_NODELIST"; srun sh -c "echo \\$\\$ >> $0.pids; sleep 600"'
    (tmp_path / "job").write_text(f"#!/bin/sh\nset -- {tmp_path}/job; {script.replace('$0', '$1')}\n")
    options = ["-N2", "--ntasks-per-node=1", "-o", str(out), "--open-mode=append"]
    job = run(cache, name, "sbatch", "--parsable", *options, f"{tmp_path}/job").strip()
    until(lambda: len(words_in(tmp_path / "job.pids")) == 2, 20, "both tasks run")
    state = run(cache, name, "scontrol", "show", "job", job)
    assert "NodeList=n[1-2]" in state
    fault.kill_node(name, "n2", cache=cache)
    assert "n2" not in cluster.status(name, cache=cache).pids
    until(lambda: out.read_text().split()[-1:] == ["n[1,3]"], 90, "the job starts on other nodes")
    # What a power loss cannot leave behind: a step that reported how its task ended.
    assert "task 1: Killed" not in out.read_text()
    assert "1 n[1,3]" in out.read_text()
    assert cluster.status(name, cache=cache).nodes[1].pid is None
    assert fault.resume(name, "n2", cache=cache)
    assert cluster.status(name, cache=cache).nodes[1].state == "idle"
    assert not fault.resume(name, "n2", cache=cache)
    with pytest.raises(NotFoundError, match=r"has no node 'n4'\.\n.*n1, n2, n3"):
        fault.kill_node(name, "n4", cache=cache)


def test_an_unknown_cluster(cache: Path, name: str) -> None:
    asked: list[Callable[[], object]] = [
        lambda: cluster.down(name, cache=cache),
        lambda: cluster.status(name, cache=cache),
        lambda: cluster.environment(name, cache=cache),
        lambda: fault.drain(name, "n1", cache=cache),
    ]
    for ask in asked:
        with pytest.raises(
            HpcaiError, match=r"There is no embedded cluster 'own'\.\nThere is no embedded cluster yet"
        ):
            ask()


def test_no_secret_is_where_others_can_read_it(cache: Path, name: str) -> None:
    (cache / "azurite").symlink_to(cache_dir() / "azurite")
    cluster.up(name, nodes=1, blob=True, cache=cache)
    environment = cluster.environment(name, cache=cache)
    credentials = Path(environment["HPCAI_STORAGE_CREDENTIALS"])
    key = json.loads(credentials.read_text())["account_key"]
    assert credentials.stat().st_mode & 0o777 == 0o600
    assert place(cache, name).state.stat().st_mode & 0o777 == 0o700
    assert key not in json.dumps(environment)
    arguments = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert not [line for line in arguments if key.encode() in line]
    logs = [file.read_text(errors="replace") for file in place(cache, name).logs.iterdir()]
    assert not [text for text in logs if key in text]
