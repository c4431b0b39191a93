"""Schedules by the commands that a user types, with Slurm's scrontab or, where it has none, a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.runs.find import list_runs
from tests import warm
from tests.real_cluster import RealCluster

pytestmark = pytest.mark.real

# What scrontab(1) says of -l, -r and a file named -.
STAND_IN = """#!/bin/bash
tab=$(dirname "$0")/tab
[[ ! -e $tab.disabled ]] || { echo 'scrontab: fatal: scrontab is disabled on this cluster' >&2; exit 1; }
case $1 in
  -l) [[ -s $tab ]] || { echo "no crontab for $USER"; exit 1; }; cat "$tab" ;;
  -r) rm -f "$tab" ;;
  -) cat >"$tab" ;;
  *) exit 2 ;;
esac
"""


class Cron:
    """The program `hpcai` of a user whose scrontab is empty at first."""

    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.environ = {**cluster.environ, "HPCAI_RUNS_ROOT": str(folder / "my runs"), "NO_COLOR": "1"}
        self.is_real = shutil.which("scrontab", path=cluster.environ["PATH"]) is not None
        if not self.is_real:
            self.programs.mkdir()
            (self.programs / "scrontab").write_text(STAND_IN)
            (self.programs / "scrontab").chmod(0o755)
            self.environ["PATH"] = f"{self.programs}:{self.environ['PATH']}"

    def __call__(self, *words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = warm.hpcai(*words, env=self.environ, cwd=self.folder)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def tab(self, text: str | None = None) -> str:
        """What stands in the scrontab, or is now put there."""
        argv = ["scrontab", "-l" if text is None else "-"]
        done = subprocess.run(argv, env=self.environ, input=text, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    def file(self, name: str = "it's a job.yaml", **fields: object) -> Path:
        path = self.folder / name
        path.write_text(json.dumps({"kind": "job", "name": "again", "command": "true", **fields}))
        return path


@pytest.fixture
def cron(cluster: RealCluster, tmp_path: Path) -> Iterator[Cron]:
    made = Cron(cluster, tmp_path)
    yield made
    if made.is_real:
        subprocess.run(["scrontab", "-r"], env=made.environ, check=False)


def test_a_schedule_is_put_replaced_and_taken_away(cron: Cron) -> None:
    own = "# my own\n@monthly true\n"
    cron.tab(own)
    file = cron.file(schedule="30 3 * * *", partition="main")
    done = cron("submit", file.name, "--set", "nodes=2")
    assert done.stdout.splitlines()[1].startswith("30 3 * * *  2") and done.stdout.count(" 03:30") == 3
    assert f"hpcai cancel '{cron.folder}/it'\"'\"'s a job.yaml'" in done.stderr
    text = cron.tab()
    assert text.startswith(own) and text.count("\n30 3 * * * exec >>") == 1
    assert "#SCRON --partition=main\n" in text and " nodes=2" in text
    assert list_runs(cron.folder / "my runs") == []

    told = json.loads(cron("submit", file, "--set", "schedule=@hourly", "-o", "json").stdout)
    assert told["replaced"] and told["schedule"] == "@hourly" and len(told["next"]) == 3
    text = cron.tab()
    assert "30 3 * * *" not in text and text.count("# BEGIN hpcai submit") == 1

    cron("cancel", file.name)
    assert cron.tab() == own
    assert f"There is no schedule of '{file}'." in cron("cancel", file, status=5).stderr.replace('"', "'")


@pytest.mark.parametrize("kind", ["job", "steps"])
def test_its_entry_submits_a_run_of_its_own_from_a_bare_environment(cron: Cron, kind: str) -> None:
    fields: dict[str, object] = {"schedule": "@daily"}
    if kind == "steps":
        steps = [{"name": name, "job": {"command": "true"}} for name in ("one", "two")]
        file = cron.folder / "steps.yaml"
        file.write_text(json.dumps({"kind": "steps", "name": "again", "steps": steps, **fields}))
    else:
        file = cron.file(**fields)
    assert cron("submit", "-q", file, "--set", "experiment=nightly").stdout == f"{file}\n"
    [line] = [line for line in cron.tab().splitlines() if line.startswith("@daily ")]
    bare = {"HOME": os.environ.get("HOME", "/"), "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        argv = ["sh", "-c", line.removeprefix("@daily ")]
        done = subprocess.run(argv, env=bare, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    runs = list_runs(cron.folder / "my runs")
    log = (cron.folder / "my runs/nightly/schedules/again.out").read_text()
    assert sorted(log.split()) == sorted(run.name for run in runs)
    assert len(runs) == 2 * (2 if kind == "steps" else 1)
    assert all(run.experiment == "nightly" and run.job_id for run in runs)
    cron("cancel", file)
    assert cron.tab() == ""


def test_what_does_not_go_with_a_schedule(cron: Cron) -> None:
    file = cron.file(schedule="@daily")
    for words in (("--follow",), ("--where", "local")):
        assert "--set schedule=null submits it once" in cron("submit", file, *words, status=2).stderr
    done = cron("submit", file, "--dry-run")
    assert done.stdout.startswith("#!/bin/bash\n") and "next at " in done.stderr
    assert "61" in cron("submit", file, "--set", "schedule=61 * * * *", status=3).stderr
    assert "nodes" in cron("submit", file, "--set", "nodes=99", status=4).stderr
    assert "holds a line's end" in cron("submit", file, "--set", 'command="a\nb"', status=2).stderr
    assert cron.tab() == ""


def test_where_slurm_has_none_one_line_says_so(cron: Cron, tmp_path: Path) -> None:
    if cron.is_real:
        pytest.skip("this Slurm has scrontab")
    file = cron.file(schedule="@daily")
    (cron.programs / "tab.disabled").touch()
    told = cron("submit", file, status=4).stderr
    assert told.startswith("hpcai: `schedule:` needs scrontab, which this Slurm has disabled.\n")
    (cron.programs / "scrontab").unlink()
    told = cron("submit", file, status=4).stderr
    assert told.startswith("hpcai: `schedule:` needs the program scrontab, which is not among Slurm's")
    assert "needs the program scrontab" in cron("cancel", file, status=4).stderr
    assert "schedule: `schedule:` needs the program scrontab" in cron("check", file, status=3).stdout
    steps = [{"name": "one", "job": {"command": "true"}}]
    file.write_text(json.dumps({"kind": "steps", "name": "x", "steps": steps, "schedule": "@daily"}))
    assert "schedule: `schedule:` needs the program scrontab" in cron("check", file, status=3).stdout
