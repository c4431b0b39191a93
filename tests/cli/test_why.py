"""`hpcai why` on a real cluster: causes that are provoked here, few and quick."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.slurm.local import fault
from tests.cli.test_jobs import Cli
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real

TRAIN = """import os, time
def load(path):
    return open(path)
if os.environ["SLURM_PROCID"] == "1":
    load("/data/train.idx")
time.sleep(600)
"""


@pytest.fixture(scope="module")
def cli(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("why")
    made = Cli(folder, {**cluster.environ, "HPCAI_RUNS_ROOT": str(folder / "runs"), "NO_COLOR": "1"})
    yield made
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def slurm(cli: Cli, *words: str) -> str:
    done = subprocess.run(words, env=cli.environ, capture_output=True, text=True, check=True, cwd=cli.folder)
    return done.stdout.strip()


def places(told: dict[str, object]) -> str:
    evidence = told["evidence"]
    assert isinstance(evidence, list)
    return "\n".join(f"{one['where']}: {one['what']}" for one in evidence)


def test_a_job_that_waits_for_nodes_and_one_that_waits_for_it(cli: Cli) -> None:
    first = slurm(cli, "sbatch", "--parsable", "--nodes=3", "--exclusive", "--wrap", "sleep 600")
    second = slurm(cli, "sbatch", "--parsable", "--nodes=2", "--exclusive", "--wrap", "true")
    third = slurm(cli, "sbatch", "--parsable", f"--dependency=afterok:{first}", "--wrap", "true")
    until(lambda: cli("why", second, "-q").stdout == "waits-resources\n", 30, "waits for resources")
    told = cli.json("why", second)
    assert told["schema_version"] == 1 and told["state"] == "PENDING"
    assert "3 of its 3 nodes are busy" in told["sentence"]
    assert "Slurm's Reason: Resources" in places(told)
    told = cli.json("why", third)
    assert told["case"] == "waits-dependency"
    assert f"waits for job {first} (wrap), which runs" in told["sentence"]
    slurm(cli, "scancel", first)
    until(lambda: cli("why", third, "-q").stdout == "dependency-never\n", 30, "it never starts")
    assert cli("why", first, "-q").stdout == "cancelled\n"
    assert f"hpcai cancel {third}" in cli("why", third).stdout
    slurm(cli, "scancel", second, third)


def test_a_traceback_in_one_of_two_ranks(cli: Cli) -> None:
    (cli.folder / "train.py").write_text(TRAIN)
    run = cli.submit("python3 train.py", nodes=2, name="trains", workdir=str(cli.folder))
    ended = cli("show", run.name, "--wait", status=1)
    assert f"Next:\n  hpcai why {run.name}\n" in ended.stderr
    told = cli.json("why", run.name)
    assert told["case"] == "file-missing"
    assert told["sentence"].startswith(f"{run.name} failed: rank 1 on n")
    assert told["sentence"].endswith("did not find /data/train.idx at train.py:3.")
    lines = run.paths.log(0, 1, "err").read_text().splitlines()
    number = 1 + next(at for at, line in enumerate(lines) if line.startswith("FileNotFoundError"))
    assert f"{run.paths.log(0, 1, 'err')}:{number}: FileNotFoundError" in places(told)
    assert f"{cli.folder}/train.py:3: the last line of your own code" in places(told)
    assert any(step.startswith("hpcai submit ") for step in told["next"])
    table = cli("why", "@last").stdout
    assert table.replace("\n", " ").startswith(told["sentence"])
    assert "\x1b" not in table and max(map(len, table.partition("\nNext:")[0].splitlines())) <= 400
    assert json.loads(cli("why", run.name, "-o", "jsonl").stdout)["case"] == "file-missing"
    rows = dict(csv.reader(io.StringIO(cli("why", run.name, "-o", "csv").stdout)))
    assert rows["case"] == "file-missing"


def test_a_status_without_a_word_and_a_job_that_completed(cli: Cli) -> None:
    run = cli.submit("echo nothing to tell; exit 7", name="says-nothing")
    done = cli("submit", "--follow", cli.file("echo bad; exit 7"), status=7)
    assert f"  hpcai why {cli.run('@last').name}\n" in done.stderr
    cli("show", run.name, "--wait", status=7)
    told = cli.json("why", run.name)
    assert told["case"] == "rank-failed" and "ended with status 7" in told["sentence"]
    good = cli.submit("echo Traceback: an error, CUDA out of memory.", name="good")
    assert cli("show", good.name, "--wait").stderr == f"Next:\n  hpcai logs {good.name}\n"
    assert cli("why", good.name, "-q").stdout == "completed\n"


def test_an_array_of_which_one_task_fails(cli: Cli) -> None:
    run = cli.submit('exit "$SLURM_ARRAY_TASK_ID"', array="0,4", name="array")
    cli("show", run.name, "--wait", status=4)
    done = cli("why", run.name, "-o", "json")
    assert done.stderr.startswith("1 of 2 tasks did not complete; this is the first of them, task 4.\n")
    told = json.loads(done.stdout)
    assert told["id"] == f"{run.ident}_4"
    assert "ended with status 4" in told["sentence"]
    assert cli("why", f"{run.name}_0", "-q").stdout == "completed\n"


def test_a_run_that_its_owner_cancelled(cli: Cli) -> None:
    run = cli.submit("echo begun; sleep 600", name="stopped")
    until(lambda: run.paths.log(0, 0).exists(), 30, "it runs")
    assert cli("why", run.name, "-q").stdout == "running\n"
    cli("cancel", run.name)
    cli("show", run.name, "--wait", status=143)
    told = cli.json("why", run.name)
    assert told["case"] == "cancelled-by-owner"
    assert "was cancelled by `hpcai cancel`" in told["sentence"]


def test_a_node_that_fails_and_a_time_limit(cli: Cli, cluster: RealCluster) -> None:
    limited = slurm(cli, "sbatch", "--parsable", "--time=1", "--nodelist=n1", "--wrap", "sleep 600")
    until(lambda: "RUNNING" in slurm(cli, "scontrol", "show", "job", limited), 30, "it runs")
    # An end that is set is a limit that is set; Slurm looks at limits every 30 s.
    slurm(cli, "scontrol", "update", f"JobId={limited}", "EndTime=now")
    run = cli.submit("echo begun; sleep 600", name="unlucky", nodelist="n3", requeue=False)
    until(lambda: run.paths.log(0, 0).exists(), 30, "it runs")
    try:
        fault.kill_node(cluster.name, "n3")
        until(lambda: cli.json("show", run.name)["state"] == "NODE_FAIL", 60, "its node is given up")
        told = cli.json("why", run.name)
    finally:
        fault.resume(cluster.name, "n3")
    assert told["case"] == "node-failed"
    assert "lost a node of n3" in told["sentence"]
    assert "node n3: DOWN" in places(told)
    until(lambda: "TIMEOUT" in slurm(cli, "scontrol", "show", "job", limited), 60, "it is ended")
    told = cli.json("why", limited)
    assert told["case"] == "time-limit"
    assert "Slurm's Reason: TimeLimit" in places(told)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["why"], 2, "Missing argument 'ID'"),
        (["why", "no-such-run"], 5, "no-such-run"),
        (["why", "99999999"], 5, "99999999"),
        (["why", "@last", "-o", "yaml"], 2, "yaml"),
    ],
)
def test_what_cannot_be_told(cli: Cli, words: list[str], status: int, message: str) -> None:
    done = cli(*words, status=status)
    assert message in done.stderr and done.stdout == ""


def test_the_cluster_status_is_found_by_its_setting(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text("{")
    job = slurm(cli, "sbatch", "--parsable", "--hold", "--wrap", "true")
    told = Cli(cli.folder, {**cli.environ, "HPCAI_CLUSTER_STATUS": str(tmp_path / "status.json")}).json(
        "why", job
    )
    assert told["case"] == "held-by-user"
    assert "half-written or damaged" in places(told)
    slurm(cli, "scancel", job)
