"""`hpcai report` as it is typed: paths to stdout, words to stderr, the contract's exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcai.cli.report import report
from hpcai.runs.record import Run
from tests import warm
from tests.report import samples

pytestmark = pytest.mark.programs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs here"
    samples.plain_run(root, "solver-20261118-113640")
    samples.plain_run(root, "solver-20261118-114640")
    return root


def hpcai(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HPCAI_RUNS_ROOT": str(root)}
    return warm.hpcai("report", *argv, env=environment)


def test_the_paths_go_to_stdout_and_lie_beside_the_runs(root: Path) -> None:
    done = hpcai(root, "solver-20261118-113640")
    folder = root / "demo" / "reports" / "solver-20261118-113640"
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"{folder}/report.html", f"{folder}/report.md"],
    )
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert "one file that you can open and send" in done.stderr


def stdout_of(root: Path, *argv: str) -> str:
    """What the command prints, called within this process, which has matplotlib loaded already."""
    done = CliRunner().invoke(report, argv, env={"HPCAI_RUNS_ROOT": str(root)}, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_json_names_everything_that_was_made(root: Path, tmp_path: Path) -> None:
    printed = stdout_of(root, "@last", "-d", str(tmp_path / "out"), "-o", "json")
    assert json.loads(printed) == {
        "schema_version": 1,
        "html": f"{tmp_path}/out/report.html",
        "markdown": f"{tmp_path}/out/report.md",
        "figures": [f"{tmp_path}/out/figures/waterfall.svg"],
        "runs": ["demo/solver-20261118-114640"],
    }


def test_csv_has_one_row_per_fact(root: Path, tmp_path: Path) -> None:
    printed = stdout_of(root, "@last", "--to", str(tmp_path / "out"), "-o", "csv")
    assert printed.splitlines()[:3] == [
        "field,value",
        f"html,{tmp_path}/out/report.html",
        f"markdown,{tmp_path}/out/report.md",
    ]


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        ([], 2, "Missing argument 'ID...'"),
        (
            ["solver"],
            2,
            "hpcai: 'solver' fits 2 runs: 'demo/solver-20261118-114640', 'demo/solver-20261118-113640'",
        ),
        (["solvr"], 5, "hpcai: There is no run 'solvr'.\nDid you mean 'solver-20261118-114640'?"),
        (["4711"], 5, "hpcai: No run has the Slurm job id 4711"),
        (["@last", "-d", "/dev/null/x"], 7, "hpcai: '/dev/null/x' cannot be made: Not a directory"),
    ],
)
def test_exit_statuses(root: Path, argv: list[str], status: int, says: str) -> None:
    done = hpcai(root, *argv)
    assert (done.returncode, says in done.stderr) == (status, True), done.stderr


def test_no_runs_at_all(tmp_path: Path) -> None:
    done = hpcai(tmp_path / "none", "@last")
    assert done.returncode == 5
    assert "holds no runs.\n`hpcai submit FILE` makes one" in done.stderr


def test_a_record_that_cannot_be_read(root: Path) -> None:
    run = Run(root / "demo" / "solver-20261118-113640")
    run.paths.ends.unlink()
    run.paths.ends.mkdir()
    done = hpcai(root, run.name)
    assert done.returncode == 7
    assert "ends.jsonl' cannot be read: Is a directory" in done.stderr


def test_a_damaged_file_of_a_record_is_told_and_the_rest_reported(root: Path) -> None:
    run = Run(root / "demo" / "solver-20261118-113640")
    run.paths.resolved.write_text("{")
    run.paths.spec.unlink()
    done = hpcai(root, run.name)
    page = Path(done.stdout.splitlines()[0])
    assert (done.returncode, page.name, page.exists()) == (7, "report.html", True)
    for problem in ("resolved.json' is damaged: it is not JSON", "spec.yaml' cannot be read: No such file"):
        assert done.stderr.count(problem) == 1
