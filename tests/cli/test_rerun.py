"""`hpcai rerun` on a real cluster: the job of then, whatever has become of its files since."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_jobs import Cli
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def cli(cluster: RealCluster, tmp_path: Path) -> Iterator[Cli]:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    made = Cli(folder, {**cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs"), "NO_COLOR": "1"})
    yield made
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def test_the_code_and_the_spec_are_those_of_then(cli: Cli) -> None:
    (cli.folder / "said").write_text("then\n")
    file = cli.file('cat said; echo "$X"; exit 4', code=".", env={"X": "one"}, name="old")
    cli("submit", "-q", "--follow", file, status=4)
    old = cli.run("@last")
    (cli.folder / "said").write_text("now\n")
    Path(file).unlink()
    done = cli("rerun", old.name, "--follow", "-q", status=4)
    new = cli.run(done.stdout.strip())
    snapshot = str(old.paths.code.resolve())
    assert new != old and new.parent == old.ident
    assert new.resolved() == {**old.resolved(), "code": snapshot}
    assert cli("logs", new.name).stdout == "then\none\n"
    assert new.paths.code_facts.read_text() == old.paths.code_facts.read_text()
    changed = cli("rerun", new.name, "--set", "env.X=two", "--follow", "-o", "json", status=4)
    told = json.loads(changed.stdout)
    assert (told["schema_version"], told["state"], told["exit_status"]) == (1, "FAILED", 4)
    assert cli("logs", told["run"]).stdout == "then\ntwo\n"
    assert cli.json("show", told["run"])["rerun_of"] == new.ident
    rendered = cli("rerun", "--dry-run", told["run"]).stdout
    assert "export X=two" in rendered and rendered.startswith("#!/bin/bash\n")
    changed_name = told["run"]
    assert cli.run("@last").name == changed_name
    refused = cli("rerun", old.name, "--set", 'command=echo "x', status=3).stderr
    assert "Bash cannot read the command" in refused and cli.run("@last").name == changed_name
    shutil.rmtree(cli.runs_root / "default/snapshots")
    assert "The code that" in cli("rerun", new.name, status=7).stderr


def test_a_script_is_run_again_from_its_copy(cli: Cli) -> None:
    path = cli.folder / "job.sh"
    path.write_text('#!/bin/sh\n#SBATCH -o out-%A-%a.txt --array=1-2\necho "$SLURM_JOB_NAME $PWD"; exit 3\n')
    subprocess.run(
        Cli._argv("submit", "-q", "--follow", "job.sh"), cwd=cli.folder, env=cli.environ, check=False
    )
    old = cli.run("@last")
    text = path.read_text()
    path.write_text("#!/bin/sh\nexit 0\n")
    again = cli("rerun", f"{old.name}_2", "--follow", "-q", status=3)
    new = cli.run(again.stdout.strip())
    assert (new.parent, new.task_ids(), new.paths.script.read_text()) == (f"{old.ident}_2", (2,), text)
    assert cli("logs", f"{new.name}_2").stdout == f"job.sh {cli.folder}\n"
    assert cli("rerun", "--dry-run", old.name).stdout == text
    refused = cli("rerun", old.name, "--set", "nodes=2", status=2)
    assert "is a script of your own, which has no keys for --set" in refused.stderr
    path.unlink()
    cli.folder.rename(cli.folder.with_name("away"))
    assert "in which" in cli("rerun", old.name, status=7).stderr


def test_what_ran_here_runs_here_again(cli: Cli) -> None:
    cli("submit", "--where", "local", cli.file("echo here; exit 6"), status=6)
    old = cli.run("@last")
    assert cli("rerun", old.name, status=6).stdout == ""
    assert cli.run("@last").is_local and cli.run("@last").parent == old.ident
    assert "it ran as processes of a machine" in cli("rerun", old.name, "--in-place", status=4).stderr


def test_in_place_is_the_same_job_in_another_attempt(cli: Cli) -> None:
    cli("submit", "-q", "--follow", cli.file("exit $((7 - SLURM_RESTART_COUNT))"), status=7)
    run = cli.run("@last")
    done = cli("rerun", run.name, "--in-place", "--follow", status=6)
    assert "failed with status 6" in done.stderr and "in 2 attempts" in done.stderr
    assert [one.exit_status for one in run.attempts()] == [7, 6]
    assert [event["event"] for event in run.events()].count("requeue_requested") == 1
    assert cli.run("@last") == run


def test_in_place_is_refused_with_the_reason(cli: Cli) -> None:
    waiting = cli.submit("true", hold=True)
    refused = cli("rerun", waiting.name, "--in-place", status=4).stderr
    assert refused == (
        f"hpcai: {waiting.name} cannot be put back into the queue: it still waits in the queue.\n"
        f"hpcai show {waiting.ident}\n"
    )
    fixed = cli.submit("sleep 600", requeue=False)
    until(lambda: cli.json("show", fixed.name)["state"] == "RUNNING", 60, "it runs")
    refused = cli("rerun", fixed.name, "--in-place", status=4).stderr
    assert "one that may not be requeued" in refused and f"hpcai rerun {fixed.ident}\n" in refused
    fixed.append_event("submitted", job_id=999999, where="slurm")
    assert "Slurm has forgotten it" in cli("rerun", fixed.name, "--in-place", status=4).stderr


def test_a_job_that_hpcai_did_not_submit(cli: Cli) -> None:
    argv = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 5"]
    job_id = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout.strip()
    cli("show", job_id, "--wait", status=5)
    assert f"hpcai rerun {job_id} --in-place" in cli("rerun", job_id, status=4).stderr
    assert cli("rerun", job_id, "--in-place", "-q").stdout == f"{job_id}\n"
    until(lambda: cli.json("show", job_id)["restarts"] == 1, 60, "it was put back")
    assert "knows no job 4000000000" in cli("rerun", "4000000000", status=5).stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--dry-run", "--follow"), 2, "--dry-run submits nothing: --follow does not go with it."),
        (("--in-place", "--set", "nodes=2"), 2, "--in-place starts the same job anew: --set does not go"),
        (("--in-place", "--dry-run"), 2, "--in-place starts the same job anew: --dry-run does not go"),
        (("--set", "nodez=2"), 3, "nodes"),
        (("--set", "profile=x"), 2, "hpcai submit"),
    ],
)
def test_wrong_usage(cli: Cli, words: tuple[str, ...], status: int, said: str) -> None:
    run = cli.submit("true", hold=True)
    assert said in cli("rerun", run.name, *words, status=status).stderr
    assert cli.run("@last") == run
