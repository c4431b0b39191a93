"""Steps on a real cluster: what runs, what is left out, and that nothing stays when one is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.runs.find import find_run, list_runs
from hpcai.runs.record import Run
from hpcai.slurm.client import SlurmClient
from tests import warm
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real

STEPS = """kind: steps
name: night
steps:
  - name: prepare
    job: {command: 'echo 41 > "$HPCAI_OUTPUTS/answer"'}
  - name: train
    job: {command: 'read -r x < "$HPCAI_STEP_PREPARE/answer"; exit "$x"'}
  - name: score
    job: {command: 'true'}
  - name: alarm
    after: [prepare, train]
    when: failed
    job: {command: 'true'}
  - name: clean
    after: [score, train]
    when: ended
    job: {command: 'true'}
"""


@pytest.fixture
def environ(cluster: RealCluster, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "steps here").mkdir()
    (tmp_path / "steps here/s.yaml").write_text(STEPS)
    return {**cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs")}


def submit(environ: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return warm.hpcai("submit", folder / "steps here/s.yaml", *words, env=environ, cwd=folder)


def test_each_step_starts_as_those_before_it_ended(environ: dict[str, str], tmp_path: Path) -> None:
    done = submit(environ, tmp_path, "--follow", "-o", "json")
    rows = json.loads(done.stdout)["steps"]
    assert [row["after"] for row in rows] == [
        [],
        ["prepare"],
        ["train"],
        ["prepare", "train"],
        ["score", "train"],
    ]
    runs: list[Run] = [find_run(tmp_path / "runs", row["run"]) for row in rows]
    ends = {run.name.split("-")[1]: [one.cause for one in run.attempts()] for run in runs}
    assert ends == {
        "prepare": ["completed"],
        "train": ["failed"],
        "score": ["cancelled"],
        "alarm": ["completed"],
        "clean": ["completed"],
    }
    assert done.returncode == 41
    assert f"{rows[2]['run']} was left out: it starts after train: when it completed." in done.stderr
    part = next(event for event in runs[3].events() if event["event"] == "part_of_steps")
    assert (part["steps"], part["step"]) == ("night", "alarm")
    assert part["after"] == [run.ident for run in runs[:2]]
    # A step alone, once more: it finds what the one above it left then.
    for again in (["rerun", runs[1].name], ["submit", str(runs[1].paths.spec)]):
        done = warm.hpcai(*again, "--follow", "-q", env=environ, cwd=tmp_path)
        assert done.returncode == 41, done.stderr


def test_a_step_that_slurm_would_never_start_is_told_before_any_is_submitted(
    environ: dict[str, str], tmp_path: Path
) -> None:
    done = submit(environ, tmp_path, "--set", "steps.2.job.partition=nosuch")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("hpcai: Step 'score': There is no partition 'nosuch'.")
    assert list_runs(tmp_path / "runs") == []


def test_what_slurm_refuses_later_takes_back_what_was_accepted(
    environ: dict[str, str], tmp_path: Path
) -> None:
    done = submit(environ, tmp_path, "-q", "--set", "steps.3.job.account=")
    assert done.returncode == 0
    # Slurm itself refuses a reservation that is not there; hpcai does not look for it.
    done = submit(
        environ, tmp_path, "--set", "steps.3.job.reservation=nosuch", "--set", "steps.0.job.command=sleep 9"
    )
    assert done.returncode == 4 and "eservation" in done.stderr
    client = SlurmClient(environ)
    until(lambda: not [job for job in client.jobs(ended=False) if not job.is_final], 30, "all are taken back")


BY_HAND = "# ---- by hand: sbatch --dependency="
INVALID = " --kill-on-invalid-dep=yes script.sbatch"


def test_a_dry_run_prints_every_script_and_when_it_starts(environ: dict[str, str], tmp_path: Path) -> None:
    printed = submit(environ, tmp_path, "--dry-run").stdout
    heads = [line for line in printed.splitlines() if line.startswith("# ----")]
    assert heads == [
        "# ---- step prepare, at once",
        "# ---- step train, after prepare: when it completed",
        f"{BY_HAND}'afterok:<job of prepare>'{INVALID}",
        "# ---- step score, after train: when it completed",
        f"{BY_HAND}'afterok:<job of train>'{INVALID}",
        "# ---- step alarm, after prepare, train: when any of them failed",
        f"{BY_HAND}'afternotok:<job of prepare>?afternotok:<job of train>'{INVALID}",
        "# ---- step clean, after score, train: when all of them ended",
        f"{BY_HAND}'afterany:<job of score>,afterany:<job of train>'{INVALID}",
    ]
    asked = ":?set it to the folder where step prepare left its outputs}"
    assert printed.count(f'export HPCAI_STEP_PREPARE="${{HPCAI_STEP_PREPARE{asked}"\n') == 4
    assert printed.count("#!/bin/bash") == 5 and not (tmp_path / "runs").exists()


def test_steps_are_checked_each(environ: dict[str, str], tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "hpcai", "check", str(tmp_path / "steps here/s.yaml")]
    argv += ["--set", "steps.1.job.nodes=99"]
    done = subprocess.run(argv, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and ": train: nodes:" in done.stdout


def test_local_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    assert submit(environ, tmp_path, "--where", "local").returncode == 2
