"""Recorded jobs under a real Slurm, beside each a small process per node that notes how busy it is."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcai import processes, shell
from hpcai.render import job as rendering
from hpcai.runs import jsonl
from hpcai.runs.paths import RunPaths
from tests.launch.metadata_service import metadata_service
from tests.launch.test_sampler import NVIDIA_SMI
from tests.real_cluster import RealCluster
from tests.render.on_slurm import Slurm, events, has_ended, logs
from tests.render.test_run_here import Here
from tests.waiting import until

pytestmark = pytest.mark.real

_BESIDE = {b"hpcai.launch.sampler", b"hpcai.launch.scheduled_events"}
# It waits for a file, and tells of the signals that it gets.
WAITS = "trap 'echo got USR1' USR1; echo ready; until [[ -e go ]]; do sleep 0.1; done"


@pytest.fixture(autouse=True)
def _samples_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SAMPLES_AFTER_S", 1)


@pytest.fixture(autouse=True)
def _no_job_is_left_behind(cluster: RealCluster) -> Iterator[None]:
    """One that waits for a failed test would keep the session's nodes from all others."""
    yield
    shell.run(["scancel", "--quiet", "--name=real"], timeout_s=60, env=cluster.environ, check=False)


@pytest.fixture
def plainly(cluster: RealCluster, tmp_path: Path) -> Slurm:
    return Slurm(cluster.environ | {"HPCAI_SAMPLES_EVERY_S": "0.5"}, tmp_path)


def samples(run: Path, node: str) -> list[dict[str, Any]]:
    return [line for line in jsonl.read(RunPaths(run).samples(node)) if "event" not in line]


def ready_ranks(run: Path) -> int:
    is_there = (run / "logs/0").is_dir()
    return sum(text == "ready\n" for text in logs(run).values()) if is_there else 0


def samplers(run: Path) -> dict[str, processes.Process]:
    """The processes beside a run that live on this machine, by node."""
    found = {}
    for seen in processes.everything():
        try:
            words = Path(f"/proc/{seen.process.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if _BESIDE & set(words) and str(run).encode() in words[3]:
            found[Path(os.fsdecode(words[3])).stem] = seen.process
    return found


def wait_for_samples(run: Path, *nodes: str, more_than: int = 0) -> None:
    until(lambda: all(len(samples(run, node)) > more_than for node in nodes), 30, f"samples of {nodes}")


def wait_until_gone(run: Path) -> None:
    until(lambda: not samplers(run), 10, "no sampler of the run lives")


def test_a_job_does_not_notice_what_notes_its_use_nor_that_one_of_them_dies(plainly: Slurm) -> None:
    tools = plainly.folder / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(NVIDIA_SMI)
    (tools / "nvidia-smi").chmod(0o755)
    plainly.environ["PATH"] = f"{tools}:{plainly.environ['PATH']}"
    # What a step gets by itself of `gpus` differs from node to node.
    job_id, run = plainly.submit(command=WAITS, nodes=2, ntasks_per_node=2, gpus="4", mem_gib=0.5)
    plainly.wait(job_id, is_there=lambda job: job["JobState"] == "RUNNING")
    nodes = until(lambda: events(run), 30, "start")[0]["node_list"]
    first, second = plainly.command("scontrol", "show", "hostnames", nodes).split()
    wait_for_samples(run, first, second)
    processes.send(samplers(run)[second], signal.SIGKILL)
    until(lambda: second not in samplers(run), 10, "the sampler was killed")
    plainly.command("scancel", "--signal=USR1", job_id)
    wait_for_samples(run, first, more_than=len(samples(run, first)) + 2)
    (plainly.folder / "go").touch()
    job = plainly.wait(job_id, is_there=has_ended)
    assert (job["JobState"], job["ExitCode"]) == ("COMPLETED", "0:0")
    wait_until_gone(run)
    assert (run / "logs/batch.out").read_text() == ""
    told = {name: text for name, text in logs(run).items() if name.endswith(".out")}
    assert told == {f"{rank}.out": "ready\ngot USR1\n" for rank in range(4)}
    assert [line["event"] for line in events(run)] == ["start", "end"]
    assert len(samples(run, first)) > len(samples(run, second)) > 0
    assert {
        len(line.get("gpu_busy_percent", "  ")) for node in (first, second) for line in samples(run, node)
    } == {2}
    assert all("gpu_busy_percent" in samples(run, node)[0] for node in (first, second))


@pytest.mark.parametrize(
    "how",
    [
        "scancel",
        pytest.param("requeue", marks=pytest.mark.long),
        pytest.param("fails", marks=pytest.mark.long),
    ],
)
def test_it_ends_with_the_job_however_that_ends(plainly: Slurm, how: str) -> None:
    command = f"{WAITS}; exit 7" if how == "fails" else "exec sleep 300"
    job_id, run = plainly.submit(command=command, teardown=["sleep 1"], requeue=True)
    wait_for_samples(run, node := until(lambda: events(run), 30, "start")[0]["node_list"])
    if how == "fails":
        (plainly.folder / "go").touch()
    else:
        plainly.command(
            "scancel" if how == "scancel" else "scontrol", *([] if how == "scancel" else [how]), job_id
        )
    wait_until_gone(run)
    if how == "requeue":
        plainly.command("scancel", job_id)
    job = plainly.wait(job_id, is_there=has_ended)
    assert job["JobState"] == ("FAILED" if how == "fails" else "CANCELLED")
    assert jsonl.read(RunPaths(run).samples(node))[0]["event"] == "started"
    assert "sampl" not in (run / "logs/batch.out").read_text()


def test_a_job_of_a_moment_ends_at_once_and_takes_no_step_more(
    plainly: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    _, run = plainly.run(command="echo $SLURM_STEP_ID")
    start, end = events(run)
    assert end["time"] - start["time"] < rendering.SAMPLES_AFTER_S / 2
    assert logs(run) == {"0.out": "0\n"} and not list((run / "samples").iterdir())


def test_a_job_that_is_sampled_ends_when_its_command_does(plainly: Slurm) -> None:
    job_id, run = plainly.submit(command=f"{WAITS}; date +%s.%N")
    wait_for_samples(run, until(lambda: events(run), 30, "start")[0]["node_list"])
    (plainly.folder / "go").touch()
    plainly.wait(job_id, is_there=has_ended)
    ended = float(logs(run)["0.out"].split()[-1])
    assert events(run)[-1]["time"] - ended < 1


def test_without_the_interpreter_there_is_silence(plainly: Slurm) -> None:
    job, run = plainly.run(command="sleep 3", interpreter=Path("/nowhere/python"))
    assert (job["JobState"], (run / "logs/batch.out").read_text()) == ("COMPLETED", "")
    assert not list((run / "samples").iterdir())


@pytest.mark.long
def test_each_part_of_a_heterogeneous_job_is_sampled(plainly: Slurm) -> None:
    parts = [{"nodes": 1}, {"nodes": 1, "ntasks_per_node": 2}]
    job_id, run = plainly.submit(command=WAITS, components=parts)
    nodes = until(lambda: events(run), 30, "start")[0]["node_list"].split(",")
    wait_for_samples(run, *nodes)
    (plainly.folder / "go").touch()
    assert plainly.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED"
    assert len(set(nodes)) == 2 and (run / "logs/batch.out").read_text() == ""
    wait_until_gone(run)


@pytest.mark.long
def test_a_run_folder_that_is_gone_stays_gone(plainly: Slurm) -> None:
    job_id, run = plainly.submit(command=WAITS)
    wait_for_samples(run, until(lambda: events(run), 30, "start")[0]["node_list"])
    shutil.rmtree(run)
    until(lambda: samplers(run), 5, "it lives on")
    (plainly.folder / "go").touch()
    plainly.wait(job_id, is_there=has_ended)
    wait_until_gone(run)
    assert not run.exists()


def test_on_this_machine_the_samples_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    here = Here(tmp_path)
    here.python = Path(sys.executable)
    script = here.render(command="until compgen -G '../run/samples/*.jsonl'; do sleep 0.1; done; sleep 1.5")
    environ = {**os.environ, "HPCAI_SAMPLES_EVERY_S": "0.5"}
    done = shell.run(["bash", script], timeout_s=30, env=environ)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    (file,) = RunPaths(here.run).sample_files()
    assert len(samples(here.run, file.stem)) >= 1
    wait_until_gone(here.run)


SAVER = """import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(print("saved", flush=True)))
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.mark.parametrize(
    "fields",
    [
        {"launcher": "torchrun"},
        pytest.param({"launcher": "srun", "signal": "B:USR1@60"}, marks=pytest.mark.long),
    ],
)
def test_a_notice_of_azure_reaches_every_rank_in_time(
    cluster: RealCluster, tmp_path: Path, fields: dict[str, Any]
) -> None:
    with metadata_service() as service:
        slurm = Slurm(cluster.environ | {"HPCAI_METADATA_URL": service.url}, tmp_path)
        (tmp_path / "saver.py").write_text(SAVER)
        command = '"$HPCAI_PYTHON" saver.py'
        job_id, run = slurm.submit(
            command=command, nodes=2, ntasks_per_node=2, scheduled_events=True, samples=False, **fields
        )
        until(lambda: ready_ranks(run) == 4, 60, "4 ranks are ready")
        _, last = slurm.command("scontrol", "show", "hostnames", events(run)[0]["node_list"]).split()
        file = RunPaths(run).notices(last)
        until(lambda: jsonl.read(file), 30, "it watches")
        service.announce("Preempt", f"vm-{last}")
        slurm.wait(job_id, is_there=has_ended)
    told = {name: text for name, text in logs(run).items() if name[0].isdigit() and name.endswith(".out")}
    assert told == {f"{rank}.out": "ready\nsaved\n" for rank in range(4)}
    assert [line["event"] for line in jsonl.read(file)] == ["watching", "notice", "relayed"]
    wait_until_gone(run)


@pytest.mark.long
def test_an_eviction_that_the_command_heeds_uses_up_a_budget_of_its_own(
    cluster: RealCluster, tmp_path: Path
) -> None:
    with metadata_service() as service:
        slurm = Slurm(cluster.environ | {"HPCAI_METADATA_URL": service.url}, tmp_path)
        command = (
            "trap 'echo saved; exit 75' USR1; [[ $HPCAI_ATTEMPT = 0 ]] || exit 0; while :; do sleep 0.1; done"
        )
        retry = {"evicted": 1, "failed": 0}
        job_id, run = slurm.submit(command=command, scheduled_events=True, samples=False, retry=retry)
        node = until(lambda: events(run), 60, "it begins")[0]["node_list"]
        until(lambda: jsonl.read(RunPaths(run).notices(node)), 30, "it watches")
        service.announce("Preempt", f"vm-{node}")
        until(lambda: [one for one in events(run) if one["event"] == "requeue"], 30, "it is put back")
        service.events.clear()
        job = slurm.wait(job_id, is_there=lambda job: job["JobState"] == "COMPLETED")
    assert (job["ExitCode"], job["Restarts"]) == ("0:0", "1")
    assert [one["cause"] for one in events(run) if one["event"] == "requeue"] == ["evicted"]
