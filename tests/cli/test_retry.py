"""Retries on a real Slurm: what puts a job back, what ends it, and which nodes are left out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai import shell
from hpcai.render.job import render_job
from hpcai.render.resolved import resolve_job
from hpcai.runs import jsonl
from hpcai.runs.find import find_run
from hpcai.runs.record import Run
from hpcai.slurm.local import fault
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from tests import warm
from tests.real_cluster import RealCluster
from tests.waiting import until


class Slurm:
    """The session's cluster with a runs root of its own."""

    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self.folder = folder
        self.environ = {**cluster.environ, "HPCAI_RUNS_ROOT": str(folder / "runs")}

    def hpcai(self, *words: str) -> subprocess.CompletedProcess[str]:
        return warm.hpcai(*words, env=self.environ)

    def command(self, *words: str) -> str:
        return shell.run(words, timeout_s=60, env=self.environ).stdout

    def submit(self, command: str, **fields: object) -> Run:
        path = self.folder / "job.yaml"
        path.write_text(json.dumps({"kind": "job", "name": "x", "command": command, **fields}))
        done = self.hpcai("submit", "-q", str(path))
        assert done.returncode == 0, done.stderr
        return find_run(self.folder / "runs", done.stdout.strip())

    def status(self, run: Run) -> int:
        return self.hpcai("show", run.name, "--wait").returncode


@pytest.fixture
def slurm(cluster: RealCluster, tmp_path: Path) -> Slurm:
    return Slurm(cluster, tmp_path)


def words(run: Run) -> list[str]:
    return [line for line in run.paths.batch_log.read_text().splitlines() if line.startswith("hpcai: ")]


def causes(run: Run) -> list[tuple[int, str | None, int | None]]:
    return [(attempt.number, attempt.cause, attempt.exit_status) for attempt in run.attempts()]


@pytest.mark.real
def test_a_failure_is_tried_again_on_another_node_until_the_budget_is_used_up(slurm: Slurm) -> None:
    run = slurm.submit('echo "$SLURMD_NODENAME"; exit 75', retry={"failed": 2}, exclude="n3")
    assert slurm.status(run) == 75
    first, second, third = (run.paths.log(number, 0).read_text().strip() for number in range(3))
    assert {first, second} == {"n1", "n2"}
    assert third in (first, second), "leaving out the last one would leave none"
    assert causes(run) == [(number, "failed", 75) for number in range(3)]
    job = run.job_id
    assert words(run) == [
        f"hpcai: job {job} begins attempt 0",
        "hpcai: tried again after failed (exit status 75), time 1 of 2",
        f"hpcai: the next attempt leaves out {first},n3",
        f"hpcai: job {job} begins attempt 1",
        "hpcai: tried again after failed (exit status 75), time 2 of 2",
        f"hpcai: {second} may be taken again: without it 0 nodes of main are up",
        f"hpcai: job {job} begins attempt 2",
        "hpcai: not tried again: it ended by failed, which came 3 times, and retry allows 2",
    ]
    shown = json.loads(slurm.hpcai("show", run.name, "-o", "json").stdout)
    assert [one["cause"] for one in shown["attempts"]] == ["failed"] * 3


@pytest.mark.real
def test_only_the_node_whose_task_failed_is_left_out(slurm: Slurm) -> None:
    command = 'echo "$SLURMD_NODENAME"; [[ $HPCAI_ATTEMPT != 0 || $SLURM_PROCID != 1 ]] || exit 3; sleep 1'
    run = slurm.submit(command, nodes=2, retry={"failed": 1, "statuses": [3]})
    assert slurm.status(run) == 0
    bad = run.paths.log(0, 1).read_text().strip()
    assert bad not in {run.paths.log(1, rank).read_text().strip() for rank in (0, 1)}
    assert causes(run) == [(0, "failed", 3), (1, "completed", 0)]
    assert f"hpcai: the next attempt leaves out {bad}" in words(run)


@pytest.mark.real
def test_what_is_cancelled_or_of_another_status_is_not_tried_again(slurm: Slurm) -> None:
    run = slurm.submit("exit 4", retry={"failed": 3, "statuses": [75]})
    assert slurm.status(run) == 4
    assert words(run)[-1] == "hpcai: not tried again: exit status 4 is none of retry's statuses"
    run = slurm.submit("echo begun; sleep 600", retry={"failed": 3})
    log = run.paths.log(0, 0)
    until(lambda: log.exists() and "begun" in log.read_text(), 60, "it begins")
    assert slurm.hpcai("cancel", run.name).returncode == 0
    assert causes(run)[0][:2] == (0, "cancelled") and len(run.attempts()) == 1


@pytest.mark.real
def test_a_preempted_job_comes_back_as_often_as_its_budget_allows(slurm: Slurm) -> None:
    run = slurm.submit("echo begun; sleep 600", nodes=3, retry={"preempted": 1, "failed": 5}, exclusive=True)
    for attempt in (0, 1):
        log = run.paths.log(attempt, 0)
        until(lambda log=log: log.exists() and "begun" in log.read_text(), 90, f"attempt {attempt} begins")  # type: ignore[misc]
        slurm.command("srun", "--partition=urgent", "--nodes=3", "--exclusive", "true")
    assert slurm.status(run) not in (0, 8)
    assert [cause for _, cause, _ in causes(run)] == ["preempted", "preempted", "failed"]
    assert words(run)[-1] == (
        "hpcai: not tried again: attempt 1 ended by preempted, which came 2 times, and retry allows 1"
    )


@pytest.mark.long
def test_a_lost_node_counts_and_its_budget_ends_the_job(slurm: Slurm, cluster: RealCluster) -> None:
    run = slurm.submit("echo begun; sleep 600", retry={"node_failure": 1, "failed": 5})
    for attempt in (0, 1):
        log = run.paths.log(attempt, 0)
        until(lambda log=log: log.exists() and "begun" in log.read_text(), 90, f"attempt {attempt} begins")  # type: ignore[misc]
        node = run.attempts()[attempt].node_list
        assert node is not None
        fault.kill_node(cluster.name, node)
        try:
            # Only then is it up again: what is down tells why.
            until(lambda at=attempt: run.attempts()[at].noted, 60, "Slurm starts it again")  # type: ignore[misc]
        finally:
            fault.resume(cluster.name, node)
    assert slurm.status(run) == 9
    assert [cause for _, cause, _ in causes(run)] == ["node_failure", "node_failure", "failed"]
    assert words(run)[-1] == (
        "hpcai: not tried again: attempt 1 ended by node_failure, which came 2 times, and retry allows 1"
    )


@pytest.mark.real
def test_where_slurm_refuses_its_reason_is_told(slurm: Slurm) -> None:
    run = slurm.submit("until [[ -e $HPCAI_RUN_DIR/go ]]; do sleep 0.1; done; exit 7", retry={"failed": 3})
    until(lambda: run.attempts(), 60, "it begins")
    slurm.command("scontrol", "update", f"JobId={run.job_id}", "Requeue=0")
    (run.path / "go").touch()
    assert slurm.status(run) == 7
    assert "hpcai: not tried again: Slurm does not put the job back: Requested operation" in words(run)[-1]


# ---- What cannot be had here: a stand-in for srun that says what Slurm says with control groups.

PROGRAMS = {
    # Tells of n8 that it is down.
    "sinfo": "\n[[ $* != *--nodes=n8*--states=down* ]] || echo n8",
    "srun": """
while [[ $1 == --* ]]; do shift; done
[[ ! -d $HPCAI_RUN_DIR ]] || touch "$HPCAI_RUN_DIR/logs/$HPCAI_ATTEMPT/0.out"
echo "slurmstepd-n7: error: Detected 1 oom_kill event in StepId=5.0. Some of the tasks were OOM Killed." >&2
echo "srun: error: n7: task 0: Out Of Memory" >&2
exit 137""",
    "scontrol": """
case "$*" in
  *"show job"*) echo "JobId=5 JobState=RUNNING ExcNodeList=(null)" ;;
  requeue*) echo "$*" >>"$HPCAI_RUN_DIR/called" ;;
  *) echo "$*" >>"$HPCAI_RUN_DIR/called" ;;
esac""",
}


class Scripted:
    """A script that runs under stand-ins of Slurm's commands, one attempt per call."""

    def __init__(self, folder: Path, **fields: object) -> None:
        self.run = Run(folder / "runs/x/run")
        (self.run.path / "logs").mkdir(parents=True)
        (folder / "bin").mkdir()
        for name, body in PROGRAMS.items():
            (folder / "bin" / name).write_text(f"#!/bin/bash{body}\n")
            (folder / "bin" / name).chmod(0o755)
        spec = JobSpec.model_validate({"name": "a", "command": "true", "workdir": str(folder), **fields})
        job = resolve_job(spec, Site(folder / "runs"), interpreter=Path(sys.executable))
        self.run.paths.script.write_text(render_job(job, self.run.path))
        self.environ = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "SLURM_JOB_ID": "5",
            "SLURM_JOB_NODELIST": "n7",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_PARTITION": "main",
            "SLURMD_NODENAME": "n7",
        }

    def attempt(self, number: int, said: str = "") -> int:
        with self.run.paths.batch_log.open("a") as log:
            log.write(said)
            log.flush()
            argv = ["bash", str(self.run.paths.script)]
            environ = {**self.environ, "SLURM_RESTART_COUNT": str(number)}
            return subprocess.run(argv, env=environ, stdout=log, stderr=log, check=False).returncode

    def noted(self) -> list[str]:
        lines = jsonl.read(self.run.paths.attempts)
        return [line["cause"] for line in lines if line["event"] == "requeue"]


@pytest.mark.programs
def test_out_of_memory_has_a_budget_of_its_own(tmp_path: Path) -> None:
    script = Scripted(tmp_path, retry={"failed": 9, "out_of_memory": 1})
    assert script.attempt(0) == script.attempt(1) == 137
    assert script.noted() == ["out_of_memory"]
    assert (script.run.path / "called").read_text() == "requeue 5\n", "more memory, not another node"
    assert words(script.run)[-1].endswith("it ended by out_of_memory, which came 2 times, and retry allows 1")


WORD = "slurmstepd-n7: error: *** JOB {} ON n7 CANCELLED AT 2026-11-21T16:00:00 DUE TO {} ***\n"


@pytest.mark.programs
@pytest.mark.parametrize(
    ("said", "end", "cause", "status"),
    [
        (WORD.format(5, "PREEMPTION"), None, "preempted", 9),
        (WORD.format(5, "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"), None, "node_failure", 9),
        ("", None, "node_failure", 9),
        (WORD.format(4, "PREEMPTION"), None, "node_failure", 9),
        (WORD.format(5, "PREEMPTION"), 143, "preempted", 143),
        (WORD.format(5, "JOB REQUEUE"), 0, "requeued", 137),
        ("", 143, "requeued", 137),
        ("n8", 0, "node_failure", 9),
    ],
)
def test_why_slurm_put_it_back_is_read_from_what_it_left(
    tmp_path: Path, said: str, end: int | None, cause: str, status: int
) -> None:
    script = Scripted(tmp_path, retry={"preempted": 0, "node_failure": 0, "failed": 1, "statuses": [1]})
    of = {"attempt": 0, "job_id": 5, "node_list": said if said == "n8" else "n7"}
    jsonl.append(script.run.paths.attempts, {**of, "event": "start", "time": 1.0})
    if end is not None:
        jsonl.append(script.run.paths.attempts, {**of, "event": "end", "exit_status": end, "time": 2.0})
    assert script.attempt(1, said) == status
    assert script.noted() == [cause]
    assert script.run.attempts()[0].cause == cause


def notice(script: Scripted, kind: str, attempt: int) -> None:
    """What the watcher on n7 writes down when Azure's service tells it of an event."""
    line = {
        "time": 1.5,
        "attempt": attempt,
        "event": "notice",
        "id": "E",
        "type": kind,
        "status": "Scheduled",
    }
    script.run.paths.notices_dir.mkdir(exist_ok=True)
    jsonl.append(script.run.paths.notices("n7"), line)


@pytest.mark.programs
@pytest.mark.parametrize(
    ("kind", "of_attempt", "cause"),
    [
        ("Preempt", 0, "evicted"),
        ("Terminate", 0, "evicted"),
        ("Reboot", 0, "node_failure"),
        ("Preempt", 1, "node_failure"),
    ],
)
def test_a_node_that_azure_took_back_has_a_budget_of_its_own(
    tmp_path: Path, kind: str, of_attempt: int, cause: str
) -> None:
    script = Scripted(tmp_path, scheduled_events=True, retry={"node_failure": 0, "evicted": 1})
    start = {"attempt": 0, "job_id": 5, "node_list": "n7", "event": "start", "time": 1.0}
    jsonl.append(script.run.paths.attempts, start)
    notice(script, kind, of_attempt)
    status = script.attempt(1)
    assert script.noted() == [cause]
    # Where it goes on, the stand-in for srun ends it.
    assert status == (137 if cause == "evicted" else 9)
    assert script.run.attempts()[0].cause == cause


@pytest.mark.programs
def test_a_command_that_heeds_azures_notice_is_tried_again_as_evicted(tmp_path: Path) -> None:
    script = Scripted(tmp_path, scheduled_events=True, retry={"evicted": 1, "failed": 5})
    for attempt in (0, 1):
        notice(script, "Preempt", attempt)
        assert script.attempt(attempt) == 137
    assert script.noted() == ["evicted"]
    assert (script.run.path / "called").read_text() == "requeue 5\n", "its node goes by itself"
    assert words(script.run)[-1].endswith("it ended by evicted, which came 2 times, and retry allows 1")


# The script is told when it waits for its step.
TOLD = """
if [[ $* != *" beside "* ]]; then
  until read -r state <"/proc/$PPID/stat" && [[ $state == *") S "* ]]; do :; done
  kill -TERM "$PPID"
  until [[ -e $HPCAI_RUN_DIR/told ]]; do sleep 0.02; done
fi
"""


@pytest.mark.programs
@pytest.mark.parametrize(("kind", "noted"), [("Preempt", ["evicted"]), ("Reboot", [])])
def test_a_notice_that_asks_the_script_to_end_is_no_cancel(
    tmp_path: Path, kind: str, noted: list[str]
) -> None:
    script = Scripted(tmp_path, scheduled_events=True, retry={"evicted": 1, "failed": 5}, signal="B:TERM@20")
    srun, scancel = tmp_path / "bin/srun", tmp_path / "bin/scancel"
    srun.write_text(srun.read_text().replace("#!/bin/bash", f"#!/bin/bash{TOLD}", 1))
    scancel.write_text('#!/bin/bash\ntouch "$HPCAI_RUN_DIR/told"\n')
    scancel.chmod(0o755)
    notice(script, kind, 0)
    assert script.attempt(0) == 137
    assert script.noted() == noted


@pytest.mark.programs
def test_without_a_record_nothing_is_tried_again(tmp_path: Path) -> None:
    script = Scripted(tmp_path, retry={"failed": 1, "out_of_memory": 1})
    moved = tmp_path / "script"
    script.run.paths.script.rename(moved)
    shutil.rmtree(script.run.path)
    argv = ["bash", str(moved)]
    environ = {**script.environ, "HPCAI_RUN_DIR": "x"}
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 137
    assert not re.search("tried again after", done.stderr)
