"""Rendered scripts run by a real Slurm, with a real MPI, Horovod and torchrun."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpcai.render.environment import sbatch_quote
from hpcai.runs import jsonl
from hpcai.slurm.client import SlurmClient
from tests.real_cluster import RealCluster
from tests.render.on_slurm import SAVES, Slurm, events, has_ended, logs
from tests.waiting import until

pytestmark = pytest.mark.real

HOROVOD = """
import horovod.torch as hvd, torch
hvd.init()
total = int(hvd.allreduce(torch.ones(1) * (hvd.rank() + 1), op=hvd.Sum))
places = hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), hvd.cross_rank(), hvd.cross_size()
print(*places, "gloo" if hvd.gloo_enabled() else "mpi", total)
"""
TORCH = """
import os, torch
torch.distributed.init_process_group("gloo")
total = torch.ones(1) * (torch.distributed.get_rank() + 1)
torch.distributed.all_reduce(total)
print(os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"], int(total))
torch.distributed.destroy_process_group()
"""
MPI = "from mpi4py import MPI; c = MPI.COMM_WORLD; print(c.rank, c.size, c.allreduce(c.rank + 1))"


@pytest.fixture
def slurm(cluster: RealCluster, weird_folder: Path) -> Slurm:
    return Slurm(cluster.environ, weird_folder)


@pytest.fixture
def plainly(cluster: RealCluster, tmp_path: Path) -> Slurm:
    return Slurm(cluster.environ, tmp_path)


@pytest.mark.parametrize("weird_folder", ['100%t %% it\'s "q" $HOME #a é'], indirect=True)
def test_every_rank_has_its_own_log_whatever_the_folder_is_called(slurm: Slurm) -> None:
    value = 'it\'s "$HOME" `x` \\ 100% #\nsecond line'
    command = 'printf \'%s|\' $SLURM_PROCID $SLURMD_NODENAME "$HPCAI_SCRATCH" "$PWD" "$VALUE"'
    job, run = slurm.run(command=command, nodes=2, ntasks_per_node=2, env={"VALUE": value})
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    scratch = slurm.environ["HPCAI_SCRATCH"]
    assert "%n" in scratch
    first, second = slurm.command("scontrol", "show", "hostnames", events(run)[0]["node_list"]).split()
    assert logs(run) == {
        f"{rank}.out": f"{rank}|{node}|{scratch.replace('%n', node)}|{slurm.folder}|{value}|"
        for rank, node in enumerate((first, first, second, second))
    }
    assert [(line["event"], line.get("exit_status")) for line in events(run)] == [("start", None), ("end", 0)]
    assert (run / "logs/batch.out").read_text() == ""


# The task's own bash handles USR1; any other program ends by it.
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("exit 7", 7),
        ("kill -SEGV $$", 139),
        ("exec sh -c 'kill -USR1 $$'", 138),
        ("exec sh -c 'kill -PIPE $$'", 141),
    ],
)
def test_the_job_ends_with_the_status_of_the_task_that_failed(plainly: Slurm, end: str, status: int) -> None:
    # Slurm ends the other task, which counts as 143.
    job, run = plainly.run(command=f"[[ $SLURM_PROCID = 1 ]] || exec sleep 60; {end}", nodes=2)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", f"{status}:0")
    assert events(run)[-1]["exit_status"] == status
    assert ": task 1: " in (run / "logs/batch.out").read_text()


def test_a_full_disk_beneath_the_batch_part_changes_no_status(plainly: Slurm) -> None:
    job, run = plainly.run(
        command="[[ $SLURM_PROCID = 1 ]] || exec sleep 60; exit 7", nodes=2, args=["--output=/dev/full"]
    )
    assert (job["ExitCode"], events(run)[-1]["exit_status"]) == ("7:0", 7)


def test_a_task_that_never_started_is_a_failure_whatever_srun_says(plainly: Slurm) -> None:
    # Where a log should be is a folder: the node cannot open it, and srun 22.05 ends with 0.
    job, run = plainly.run(command="true", nodes=2, beside="logs/0/1.out")
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "1:0")
    # Newer ones say it themselves, and end with 1.
    told = (run / "logs/batch.out").read_text()
    assert "task 1 was never started" in told or "task 1 launch failed" in told


@pytest.mark.parametrize("launcher", ["srun", "mpi"])
def test_tasks_that_are_no_whole_number_per_node(cluster: RealCluster, plainly: Slurm, launcher: str) -> None:
    if launcher == "mpi":
        cluster.skip_without_pmix()
    command = f'"$HPCAI_PYTHON" -c "{MPI}"' if launcher == "mpi" else "echo $SLURM_PROCID $SLURM_NTASKS 6"
    job, run = plainly.run(command=command, launcher=launcher, nodes=2, ntasks=3)
    assert (job["JobState"], job["NumNodes"]) == ("COMPLETED", "2"), (run / "logs/batch.out").read_text()
    assert logs(run) == {f"{rank}.out": f"{rank} 3 6\n" for rank in range(3)}


TF = """import json, os, sys
config = json.loads(os.environ["TF_CONFIG"])
task, cluster = config["task"], config["cluster"]
assert set(config) == {"cluster", "task"} and cluster[task["type"]][task["index"]]
print(json.dumps(config), flush=True)
if "ps" in cluster and task["type"] != "chief":
    import signal
    signal.pause()
sys.exit(int(os.environ.get("STATUS", "0")))
"""


def configs(run: Path) -> list[dict[str, Any]]:
    """The TF_CONFIG of each rank, in their order."""
    told = {int(name.removesuffix(".out")): text for name, text in logs(run).items() if name.endswith(".out")}
    return [json.loads(told[rank]) for rank in sorted(told)]


def test_tensorflow_finds_all_workers_in_tf_config(plainly: Slurm) -> None:
    """A program stands in for TensorFlow: MultiWorkerMirroredStrategy reads nothing but TF_CONFIG."""
    (plainly.folder / "tf.py").write_text(TF)
    fields: dict[str, Any] = {
        "command": '"$HPCAI_PYTHON" tf.py',
        "launcher": "tensorflow",
        "ntasks_per_node": 2,
    }
    job, run = plainly.run(nodes=2, **fields)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    nodes = plainly.command("scontrol", "show", "hostnames", events(run)[0]["node_list"]).split()
    told = configs(run)
    [cluster] = {json.dumps(one["cluster"]) for one in told}
    workers = json.loads(cluster)["worker"]
    assert [address.partition(":")[0] for address in workers] == [nodes[0], nodes[0], nodes[1], nodes[1]]
    assert len(set(workers)) == 4
    assert [one["task"] for one in told] == [{"type": "worker", "index": rank} for rank in range(4)]
    # The next job has other ports.
    (plainly.folder / "next").mkdir()
    _, run = Slurm(plainly.environ, plainly.folder / "next").run(**{**fields, "command": "echo $TF_CONFIG"})
    assert not {one.partition(":")[2] for one in workers} & {
        one.partition(":")[2] for one in configs(run)[0]["cluster"]["worker"]
    }


@pytest.mark.parametrize("status", [0, 7])
def test_parameter_servers_serve_until_the_chief_has_ended(plainly: Slurm, status: int) -> None:
    (plainly.folder / "tf.py").write_text(TF)
    fields: dict[str, Any] = {
        "command": '"$HPCAI_PYTHON" tf.py',
        "launcher": "tensorflow",
        "parameter_servers": 1,
    }
    job, run = plainly.run(nodes=2, ntasks_per_node=2, env={"STATUS": str(status)}, **fields)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED" if status else "COMPLETED", f"{status}:0")
    told = configs(run)
    cluster = told[0]["cluster"]
    assert {name: len(tasks) for name, tasks in cluster.items()} == {"chief": 1, "worker": 2, "ps": 1}
    assert [(one["task"]["type"], one["task"]["index"]) for one in told] == [
        *(("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0))
    ]
    assert len({address for tasks in cluster.values() for address in tasks}) == 4


def test_the_chief_of_one_task_of_an_array_ends_its_own_servers_only(plainly: Slurm) -> None:
    # The task with the highest number has the number of the whole array; here its chief ends first.
    command = """if [[ $SLURM_PROCID = 0 && $SLURM_ARRAY_TASK_ID = 2 ]]; then exit 0; fi
[[ $SLURM_PROCID = 0 ]] || exec sleep 300
until [[ -s $HPCAI_RUN_DIR/../2/logs/0/chief ]]; do sleep 0.2; done; sleep 3; echo whole"""
    fields: dict[str, Any] = {"launcher": "tensorflow", "parameter_servers": 1, "ntasks_per_node": 3}
    job_id, run = plainly.submit(command=command, array="1-2", **fields)
    attempts = [run / f"tasks/{task}/attempts.jsonl" for task in (1, 2)]

    def ends() -> list[int]:
        lines = [line for path in attempts for line in jsonl.read(path) if line["event"] == "end"]
        return [line["exit_status"] for line in lines] if len(lines) == 2 else []

    assert until(ends, 60, "both tasks have ended") == [0, 0]
    assert (run / "tasks/1/logs/0/0.out").read_text() == "whole\n"
    assert jsonl.read(attempts[1])[0]["job_id"] == int(job_id)


def test_one_task_of_an_array_is_tried_again_alone(plainly: Slurm) -> None:
    # The task with the highest number has the number of the whole array.
    command = """echo begun; [[ $SLURM_ARRAY_TASK_ID = 1 || $HPCAI_ATTEMPT = 1 ]] || exit 5
[[ $SLURM_ARRAY_TASK_ID = 2 ]] || until [[ -s $HPCAI_RUN_DIR/../2/logs/1/0.out ]]; do sleep 0.2; done"""
    job_id, run = plainly.submit(command=command, array="1-2", retry={"failed": 1}, requeue=True)
    attempts = [run / f"tasks/{task}/attempts.jsonl" for task in (1, 2)]

    def ended() -> bool:
        ends = [[line for line in jsonl.read(path) if line["event"] == "end"] for path in attempts]
        return all(lines and lines[-1]["exit_status"] == 0 for lines in ends)

    until(ended, 90, "both tasks have ended well")
    starts = [[one["attempt"] for one in jsonl.read(path) if one["event"] == "start"] for path in attempts]
    assert starts == [[0], [0, 1]]
    assert jsonl.read(attempts[1])[0]["job_id"] == int(job_id)


PARTS = [{"ntasks_per_node": 2, "cpus_per_task": 1}, {"nodes": 2, "cpus_per_task": 2}]


@pytest.mark.parametrize("launcher", ["srun", "mpi"])
def test_the_parts_of_a_heterogeneous_job_are_one_step(
    cluster: RealCluster, plainly: Slurm, launcher: str
) -> None:
    if launcher == "mpi":
        cluster.skip_without_pmix()
    program = f'"$HPCAI_PYTHON" -c "{MPI}"' if launcher == "mpi" else "echo $SLURM_PROCID $SLURM_NTASKS 10"
    told = "; echo %s on $SLURMD_NODENAME $OMP_NUM_THREADS $SLURM_JOB_ID"
    parts = [PARTS[0], {**PARTS[1], "command": program + told % "two"}]
    command = program + told % "one"
    job, run = plainly.run(command=command, launcher=launcher, components=parts)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    [first, *others] = plainly.command("scontrol", "show", "hostnames", events(run)[0]["node_list"]).split()
    number = events(run)[0]["job_id"]
    assert logs(run) == {
        "0.out": f"0 4 10\none on {first} 1 {number}\n",
        "1.out": f"1 4 10\none on {first} 1 {number}\n",
        "2.out": f"2 4 10\ntwo on {others[0]} 2 {number}\n",
        "3.out": f"3 4 10\ntwo on {others[1]} 2 {number}\n",
    }


def test_data_comes_to_the_nodes_of_every_part(plainly: Slurm) -> None:
    stand_in = plainly.folder / "python"
    stand_in.write_text(
        f'#!/bin/bash\necho "$SLURMD_NODENAME $7" >>"{plainly.folder}/pulled-$SLURMD_NODENAME"\n'
    )
    stand_in.chmod(0o755)
    data = [{"name": "mesh", "source": "azure://datasets/mesh"}]
    command = 'echo "$SLURMD_NODENAME $HPCAI_DATA_MESH"'
    job, run = plainly.run(command=command, components=PARTS, data=data, interpreter=stand_in)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    pulled = {path.read_text() for path in plainly.folder.glob("pulled-*")}
    assert len(pulled) == 3
    # What each task is told is what was brought to its own node.
    assert set(logs(run).values()) == pulled


def test_a_part_that_fails_ends_the_others(plainly: Slurm) -> None:
    parts = [PARTS[0], {"nodes": 2, "command": "[[ $SLURM_PROCID = 3 ]] || exec sleep 300; exit 7"}]
    job, run = plainly.run(command="exec sleep 300", components=parts)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "7:0"), (run / "logs/batch.out").read_text()
    assert events(run)[-1]["exit_status"] == 7


def test_mpi_ranks_see_each_other(cluster: RealCluster, plainly: Slurm) -> None:
    cluster.skip_without_pmix()
    job, run = plainly.run(command=f'"$HPCAI_PYTHON" -c "{MPI}"', launcher="mpi", nodes=2)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    assert logs(run) == {"0.out": "0 2 3\n", "1.out": "1 2 3\n"}


@pytest.mark.parametrize("controller", ["mpi", "gloo"])
def test_horovod_ranks_see_each_other_and_their_places(
    cluster: RealCluster, plainly: Slurm, controller: str
) -> None:
    pytest.importorskip("horovod.torch")
    if controller == "mpi":
        cluster.skip_without_pmix()
    (plainly.folder / "ranks.py").write_text(HOROVOD)
    job, run = plainly.run(
        command='exec "$HPCAI_PYTHON" ranks.py',
        launcher="horovod",
        horovod_controller=controller,
        nodes=2,
        cpus_per_task=1,
    )
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    printed = logs(run)
    assert printed["0.out"] == f"0 2 0 1 0 2 {controller} 3\n"
    assert printed["1.out"] == f"1 2 0 1 1 2 {controller} 3\n"


def test_torchrun_ranks_see_each_other_and_have_their_own_logs(plainly: Slurm) -> None:
    (plainly.folder / "ranks.py").write_text(TORCH)
    command = 'exec "$HPCAI_PYTHON" ranks.py'
    job, run = plainly.run(command=command, launcher="torchrun", nodes=2, ntasks_per_node=1, cpus_per_task=1)
    assert job["JobState"] == "COMPLETED", (run / "logs/batch.out").read_text()
    printed = logs(run)
    assert printed["0.out"] == "0 2 0 3\n"
    assert printed["1.out"] == "1 2 0 3\n"


def test_a_script_whose_record_is_gone_runs_by_hand_with_an_output_of_its_own(plainly: Slurm) -> None:
    job_id, run = plainly.submit(command='echo "rank $SLURM_PROCID"', nodes=2)
    plainly.wait(job_id, is_there=has_ended)
    kept = plainly.folder / "kept.sbatch"
    (run / "script.sbatch").rename(kept)
    shutil.rmtree(run)
    # Slurm itself opens --output, before the first line of the script; since 23.02 it makes the folder.
    makes_folders = SlurmClient(plainly.environ).version() >= (23, 2)
    job_id = plainly.command("sbatch", "--parsable", kept).strip()
    told = plainly.wait(job_id, is_there=has_ended)["JobState"]
    assert (told, run.exists()) == (("COMPLETED", True) if makes_folders else ("FAILED", False))
    shutil.rmtree(run, ignore_errors=True)
    job_id = plainly.command("sbatch", "--parsable", "--output=by-hand-%j.out", kept).strip()
    assert plainly.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED"
    printed = (plainly.folder / f"by-hand-{job_id}.out").read_text()
    assert sorted(printed.splitlines()) == ["rank 0", "rank 1"]
    assert not run.exists()


def test_a_requeued_job_has_a_second_attempt_with_its_own_logs(plainly: Slurm) -> None:
    command = 'echo "attempt $HPCAI_ATTEMPT"; [[ $HPCAI_ATTEMPT = 1 ]] || exec sleep 60'
    job_id, run = plainly.submit(command=command, requeue=True)
    first = run / "logs/0/0.out"
    plainly.wait(job_id, is_there=lambda _: first.exists() and first.read_text() != "")
    plainly.command("scontrol", "requeue", job_id)
    job = plainly.wait(job_id, is_there=has_ended)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert logs(run, 0)["0.out"] == "attempt 0\n"
    assert logs(run, 1) == {"0.out": "attempt 1\n"}
    starts = [line["attempt"] for line in events(run) if line["event"] == "start"]
    assert starts == [0, 1]
    assert events(run)[-1] | {"time": 0} == {
        "attempt": 1,
        "job_id": int(job_id),
        "node_list": job["NodeList"],
        "event": "end",
        "exit_status": 0,
        "time": 0,
    }


def test_a_cancelled_job_leaves_its_end_in_the_record(plainly: Slurm) -> None:
    command = "trap 'echo saved; exit 0' TERM; echo ready; while :; do read -rt 0.1 <> <(:) || true; done"
    job_id, run = plainly.submit(command=command)
    log = run / "logs/0/0.out"
    plainly.wait(job_id, is_there=lambda _: log.exists() and "ready" in log.read_text())
    plainly.command("scancel", job_id)
    job = plainly.wait(job_id, is_there=has_ended)
    assert job["JobState"] == "CANCELLED"
    assert log.read_text() == "ready\nsaved\n"
    assert events(run)[-1]["event"] == "end"


def test_the_teardown_of_a_cancelled_job_runs_and_a_signal_does_not_end_it(plainly: Slurm) -> None:
    outputs = plainly.folder / "told"
    # Slurm signals the batch part's processes too.
    teardown = [f"sleep 1; echo \"$HPCAI_EXIT_STATUS\" >>'{outputs}'"]
    job_id, run = plainly.submit(command="echo ready; exec sleep 300", teardown=teardown, nodes=2)
    log = run / "logs/0/0.out"
    plainly.wait(job_id, is_there=lambda _: log.exists() and "ready" in log.read_text())
    plainly.command("scancel", job_id)
    assert plainly.wait(job_id, is_there=has_ended)["JobState"] == "CANCELLED"
    until(lambda: outputs.exists() and outputs.read_text(), 10, "the teardown has run")
    assert outputs.read_text() == f"{events(run)[-1]['exit_status']}\n"
    assert events(run)[-1]["event"] == "end"


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_a_program_among_others_handles_the_signal_that_the_job_asked_for(
    plainly: Slurm, launcher: str
) -> None:
    (plainly.folder / "saves.py").write_text(SAVES)
    command = '"$HPCAI_PYTHON" saves.py ||\n  echo after'
    job_id, run = plainly.submit(command=command, launcher=launcher, nodes=2, ntasks_per_node=1)
    rank_logs = [run / f"logs/0/{rank}.out" for rank in (0, 1)]
    plainly.wait(job_id, is_there=lambda _: all(log.exists() and log.read_text() for log in rank_logs))
    plainly.command("scancel", "--signal=USR1", job_id)
    assert plainly.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED", logs(run)
    assert [log.read_text() for log in rank_logs] == ["ready\nafter\n"] * 2


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_a_command_of_several_parts_lets_its_program_save_at_sigterm(plainly: Slurm, launcher: str) -> None:
    (plainly.folder / "saves.py").write_text(SAVES)
    command = 'cd . && "$HPCAI_PYTHON" saves.py\necho after'
    job_id, run = plainly.submit(command=command, launcher=launcher, nodes=2, ntasks_per_node=1)
    rank_logs = [run / f"logs/0/{rank}.out" for rank in (0, 1)]
    plainly.wait(job_id, is_there=lambda _: all(log.exists() and log.read_text() for log in rank_logs))
    plainly.command("scancel", "--signal=TERM", job_id)
    job = plainly.wait(job_id, is_there=has_ended)
    assert [log.read_text() for log in rank_logs] == ["ready\nsaved\n"] * 2
    # torchrun has a status of its own for the signal.
    assert job["JobState"] == ("COMPLETED" if launcher == "srun" else "FAILED")


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "it's",
        '"',
        "\\",
        "#1",
        "a\\\"b 'c' #d",
        "100% %j",
        "$HOME `x` $(y)",
        "é漢",
        "a=b,c:d;e|f&g<h>i!j*k?~",
    ],
)
def test_a_value_on_an_sbatch_line_arrives_unchanged(plainly: Slurm, text: str) -> None:
    script = plainly.folder / "held.sbatch"
    script.write_text(f"#!/bin/bash\n#SBATCH --hold --comment={sbatch_quote(text)}\n:\n", encoding="utf-8")
    job_id = plainly.command("sbatch", "--parsable", script).strip()
    shown = plainly.command("scontrol", "show", "job", job_id)
    plainly.command("scancel", job_id)
    comments = [line.strip() for line in shown.splitlines() if line.strip().startswith("Comment=")]
    assert comments == [f"Comment={text}"]
