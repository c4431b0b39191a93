"""An array's life by the commands that a user types, on a real cluster."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.launch.ends import outcomes_of_tasks
from hpcai.runs.record import Run
from tests.cli.test_jobs import Cli
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real

COMMAND = """answer=$HPCAI_OUTPUTS/answer.$SLURM_PROCID
echo "task $SLURM_ARRAY_TASK_ID of rank $SLURM_PROCID" >"$answer"
cat "$answer"
[[ $SLURM_ARRAY_TASK_ID != 3 ]] || {
  echo "no way" >&2
  # Slurm ends the other rank as soon as one has failed, also before it has said all this.
  touch "$HPCAI_OUTPUTS/told.$SLURM_PROCID"
  until [[ -e $HPCAI_OUTPUTS/told.0 && -e $HPCAI_OUTPUTS/told.1 ]]; do read -rt 0.1 <> <(:) || true; done
  exit 7
}"""


@pytest.fixture(scope="module")
def cli(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("it's an array")
    made = Cli(folder, {**cluster.environ, "HPCAI_RUNS_ROOT": str(folder / "runs root"), "NO_COLOR": "1"})
    yield made
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


@pytest.fixture(scope="module")
def followed(cli: Cli) -> tuple[Run, str]:
    """An array of four tasks on two nodes each, of which one failed, and what following it said."""
    file = cli.file(COMMAND, name="sweep", array="0-2,3%2", nodes=2)
    done = cli("submit", "--follow", "-o", "json", file, status=7)
    facts = json.loads(done.stdout)
    assert (facts["state"], facts["cause"], facts["exit_status"]) == ("FAILED", "failed", 7)
    return cli.run(facts["run"]), done.stderr


def test_following_tells_each_task_as_it_ends(followed: tuple[Run, str]) -> None:
    run, words = followed
    for task in (0, 1, 2):
        assert f"  task {task} completed" in words
    assert "  task 3 failed with status 7" in words
    assert "(4 of 4)\n" in words
    assert f"{run.name}: 3 of 4 tasks completed.\n  task 3 failed, status 7\n" in words
    assert f"  hpcai logs {run.name}_3\n" in words


def test_each_task_has_a_folder_like_a_runs(followed: tuple[Run, str]) -> None:
    run, _ = followed
    assert sorted(path.name for path in run.paths.tasks_dir.iterdir()) == ["0", "1", "2", "3"]
    assert not run.paths.attempts.exists() and not run.paths.ends.exists()
    for number in run.task_ids():
        task = run.of_task(number)
        [attempt] = task.attempts()
        assert (attempt.cause, attempt.exit_status) == (("failed", 7) if number == 3 else ("completed", 0))
        assert attempt.state is not None and attempt.job_id is not None
        folder = run.path / "tasks" / str(number)
        said = [f"task {number} of rank {rank}\n" for rank in (0, 1)]
        assert [(folder / f"logs/0/{rank}.out").read_text() for rank in (0, 1)] == said
        assert [(folder / f"outputs/answer.{rank}").read_text() for rank in (0, 1)] == said
        assert {"attempts.jsonl", "data", "ends.jsonl", "logs", "metrics", "outputs", "samples"} == {
            path.name for path in folder.iterdir()
        }
        assert task.paths.batch_log.parent == run.paths.logs_dir and task.paths.batch_log.exists()
    assert len({run.of_task(number).attempts()[0].job_id for number in run.task_ids()}) == 4


def test_an_array_is_shown_by_how_its_tasks_ended(cli: Cli, followed: tuple[Run, str]) -> None:
    run, _ = followed
    facts = cli.json("show", run.name)
    assert facts["tasks"] == {"total": 4, "completed": 3, "failed": 1}
    assert facts["not_completed"] == [{"task": 3, "state": "FAILED", "cause": "failed", "exit_status": 7}]
    assert (facts["state"], facts["exit_status"], facts["job_id"]) == ("FAILED", 7, run.job_id)
    attempts = [run.of_task(number).attempts()[0] for number in run.task_ids()]
    assert facts["started"] == min(one.start for one in attempts if one.start is not None)
    assert facts["ended"] == max(one.end for one in attempts if one.end is not None)
    assert facts["node_list"] is None
    shown = cli("show", run.name).stdout
    assert "4: 3 completed, 1 failed\n" in shown and "failed, status 7\n" in shown
    cli("show", run.name, "--wait", "-q", status=7)


@pytest.mark.parametrize("name", ["{run}_3", "{job}_3", "@last_3", "sweep_3", "{experiment}/{run}_3"])
def test_a_task_is_shown_and_read_by_its_number(cli: Cli, followed: tuple[Run, str], name: str) -> None:
    run, _ = followed
    ident = name.format(run=run.name, job=run.job_id, experiment=run.experiment)
    facts = cli.json("show", ident)
    assert (facts["run"], facts["record"]) == (f"{run.name}_3", str(run.path / "tasks/3"))
    assert (facts["job"], facts["state"], facts["exit_status"]) == (f"{run.job_id}_3", "FAILED", 7)
    assert len(facts["attempts"]) == 1
    assert "tasks" not in facts
    done = cli("logs", ident, "--rank", "1")
    assert (done.stdout, done.stderr) == ("task 3 of rank 1\n", "no way\n")


def test_what_names_no_task_is_told(cli: Cli, followed: tuple[Run, str]) -> None:
    run, _ = followed
    refused = cli("logs", run.name, status=4).stderr
    assert refused == (
        f"hpcai: {run.name} is an array, and each of its tasks has logs of its own.\n"
        f"Its tasks are 0-3.\nhpcai logs {run.name}_0\n"
    )
    assert cli("logs", "-f", "@last", status=4).stderr == refused
    for command in (("show",), ("logs",), ("cancel",)):
        missing = cli(*command, f"{run.name}_9", status=5).stderr
        assert missing == f"hpcai: {run.name} has no task 9.\nIts tasks are 0-3.\n"
    refused = cli("report", run.name, status=4).stderr
    assert f"hpcai report {run.name}_0 {run.name}_1 {run.name}_2\n" in refused


def test_tasks_are_reported_side_by_side(cli: Cli, followed: tuple[Run, str]) -> None:
    run, _ = followed
    made = Path(cli("report", "-q", f"{run.name}_0", f"{run.name}_3").stdout.strip())
    page = made.with_suffix(".md").read_text()
    assert f"{run.name}_0" in page and f"{run.name}_3" in page


@pytest.fixture
def going(cli: Cli) -> Run:
    """An array of which two tasks run for long and two wait for them."""
    run = cli.submit("echo begun; sleep 600", name="long", array="0-3%2")
    for number in (0, 1):
        log = run.of_task(number).paths.log(0, 0)
        until(lambda log=log: log.exists() and log.read_text(), 30, "two tasks run")
    return run


def test_a_task_is_cancelled_and_then_the_array(cli: Cli, going: Run) -> None:
    rows = {
        f"{going.name}_0": f"{going.job_id}_0",
        f"{going.name}_1": f"{going.job_id}_1",
        going.name: f"{going.job_id}_[2-3]",
    }

    def is_listed() -> bool:
        return {row["run"]: row["job"] for row in cli.json("queue")["jobs"]} == rows

    until(is_listed, 30, "the queue has it alone, with two tasks that wait")
    waiting = cli.json("show", f"{going.name}_3")
    assert (waiting["state"], waiting["job"], waiting["attempts"]) == ("PENDING", f"{going.job_id}_3", [])
    for number in (3, 0):
        assert cli("cancel", f"{going.name}_{number}").stderr == f"{going.name}_{number} has ended.\n"
    assert "it was cancelled" in cli("cancel", f"{going.job_id}_0", status=4).stderr
    until(lambda: going.of_task(2).attempts(), 30, "the last task has begun")
    assert cli.json("show", going.name)["tasks"] == {"total": 4, "cancelled": 2, "running": 2}
    cli("cancel", going.name)
    assert [end.outcome and end.outcome.cause for end in outcomes_of_tasks(going)] == ["cancelled"] * 4
    assert "No job of yours" in cli("queue").stderr
    assert cli("show", "--wait", "-q", going.name, status=143).stdout == f"{going.name}\n"


def test_ctrl_c_leaves_an_array_and_names_a_task_that_has_logs(cli: Cli) -> None:
    following = cli.start("submit", "--follow", "-o", "json", cli.file("sleep 600", name="left", array="2-3"))
    run = until(
        lambda: next((Run(path) for path in cli.runs_root.glob("default/left-*")), None), 30, "a record"
    )
    until(lambda: run.of_task(2).attempts(), 30, "a task runs")
    following.send_signal(signal.SIGINT)
    said, words = following.communicate(timeout=20)
    assert following.returncode == 130, words
    assert json.loads(said)["run"] == run.name
    assert f"hpcai logs -f {run.name}_2\n" in words
    assert cli("show", run.name, "--wait", "--timeout-s", "0.5", status=8).stderr
    cli("cancel", run.name)


def test_an_array_that_waits_is_cancelled_as_a_whole(cli: Cli) -> None:
    # Ids with gaps make a list that Slurm cuts at 64 characters unless it is asked for all of it.
    run = cli.submit("true", name="held", array="0-98:3", hold=True)
    cli("cancel", run.name)
    assert cli.json("show", run.name)["tasks"] == {"total": 33, "cancelled": 33}


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--set", "array=0-5000"), 4, "array: 0-5000 has a task 5000, and MaxArraySize of this Slurm is"),
        (("--set", "array=0-3", "--where", "local"), 3, "`array: 0-3` needs Slurm"),
    ],
)
def test_what_no_array_can_be_is_told_before_anything_is_submitted(
    cli: Cli, words: tuple[str, ...], status: int, message: str
) -> None:
    file = cli.file("true", name="never")
    assert message in cli("submit", file, *words, status=status).stderr
    assert not list(cli.runs_root.glob("default/never-*"))
    if "local" not in words:
        assert message in cli("check", file, *words, status=3).stdout


def test_a_step_after_an_array_finds_the_outputs_of_its_tasks(cli: Cli) -> None:
    file = cli.folder / "steps.yaml"
    file.write_text(
        json.dumps(
            {
                "kind": "steps",
                "name": "each",
                "steps": [
                    {
                        "name": "part",
                        "job": {
                            "array": "1-3",
                            "command": 'echo $((10 * SLURM_ARRAY_TASK_ID)) >"$HPCAI_OUTPUTS/x"',
                        },
                    },
                    {"name": "sum", "job": {"command": 'cat "$HPCAI_STEP_PART"/*/outputs/x'}},
                ],
            }
        )
    )
    done = cli("submit", "--follow", str(file))
    assert ": 3 of 3 tasks completed.\n" in done.stderr
    assert cli("logs", "each-sum").stdout == "10\n20\n30\n"
