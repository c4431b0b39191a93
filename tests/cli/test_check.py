"""`hpcai check FILE...` without Slurm: findings for every file, claiming no more than was seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.closed import never_looks_at_everything

pytestmark = pytest.mark.programs

CLUSTER = Path(__file__).parents[2] / "cluster-configs/nd-h100-slurm.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text('kind: job\nname: x\ncommand: "true"\n')
    (tmp_path / "bad.yaml").write_text('kind: job\nname: x\nnodes: two\ncommand: "true"\n')
    return tmp_path


def hpcai(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HPCAI_", "AZURE_"))}
    variables = {
        "HPCAI_RUNS_ROOT": str(folder / "runs"),
        "XDG_CACHE_HOME": str(folder),
        "PATH": "/nonexistent",
    }
    return warm.hpcai(*words, env={**kept, **variables, **environ}, cwd=folder)


def test_a_missing_file_hides_nothing_of_the_others(folder: Path) -> None:
    done = hpcai(folder, "check", "good.yaml", "bad.yaml", "goood.yaml", "-o", "json")
    assert done.returncode == 5, done.stderr
    found = [
        (row["file"], row["severity"], row["place"], row["where"], row["what"])
        for row in json.loads(done.stdout)["findings"]
        if row["id"] not in ("no-slurm", "no-time-limit", "price-unknown")
    ]
    assert found == [
        ("good.yaml", "ok", None, "script", "Renders; when it would start only Slurm can tell."),
        ("bad.yaml", "error", "bad.yaml:3:8", "nodes", "got 'two'; a whole number"),
        ("goood.yaml", "error", None, "file", "There is no file 'goood.yaml'."),
    ]


def test_a_file_that_is_closed_hides_nothing_of_the_others(folder: Path) -> None:
    (folder / "bad.yaml").chmod(0)
    environ = {**os.environ, "HPCAI_RUNS_ROOT": str(folder / "runs"), "PATH": "/nonexistent"}
    argv = [sys.executable, "-m", "hpcai", "check", "bad.yaml", "good.yaml"]
    done = subprocess.run(
        argv,
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=never_looks_at_everything,
    )
    assert done.returncode == 2, done.stderr
    assert "file: 'bad.yaml' cannot be read: Permission denied. [file-unread]" in done.stdout
    assert "[script-renders]" in done.stdout


@pytest.mark.parametrize(
    ("files", "status"),
    [
        (("good.yaml",), 0),
        (("good.yaml", "bad.yaml"), 3),
        (("good.yaml", "bad.yaml", "."), 2),
        (("none.yaml", "bad.yaml", "."), 5),
        (("good.yaml", "--set", "nodes"), 2),
    ],
)
def test_the_exit_status_of_several_files(files: tuple[str, ...], status: int, folder: Path) -> None:
    assert hpcai(folder, "check", *files).returncode == status


def test_quiet_names_the_files_with_errors(folder: Path) -> None:
    done = hpcai(folder, "check", "-q", "good.yaml", "bad.yaml", "none.yaml")
    assert (done.returncode, done.stdout) == (5, "bad.yaml\nnone.yaml\n")


def test_a_cluster_is_rendered_and_what_was_checked_is_said(folder: Path) -> None:
    done = hpcai(folder, "check", str(CLUSTER))
    assert done.returncode == 0, done.stderr
    assert "warning  parameters: Still to fill in before the cluster can start: Region, " in done.stdout
    assert "ok       template: Renders to " in done.stdout
    assert "(nodearrays: hpc, htc); CycleCloud was not asked." in done.stdout
    assert "\nok       start: " not in done.stdout


def test_a_job_that_could_keep_no_record_is_an_error(folder: Path) -> None:
    done = hpcai(folder, "check", "good.yaml", HPCAI_RUNS_ROOT=str(folder / "good.yaml/runs"))
    assert done.returncode == 3
    assert "error    runs folder: " in done.stdout
    assert "export HPCAI_RUNS_ROOT=FOLDER" in done.stdout


def test_the_kind_is_looked_at_before_the_rest(folder: Path) -> None:
    (folder / "a cluster.yaml").write_text("kind: cluster\nname: x\nnonsense: 1\n")
    done = hpcai(folder, "submit", "a cluster.yaml")
    assert (done.returncode, done.stderr) == (
        2,
        "hpcai: 'a cluster.yaml' is of kind 'cluster', which this command does not take.\n"
        "hpcai cluster render 'a cluster.yaml'\n",
    )
    done = hpcai(folder, "cluster", "render", "bad.yaml")
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, "hpcai submit bad.yaml")


def test_a_profile_that_does_not_exist_has_a_place(folder: Path) -> None:
    (folder / "size.yaml").write_text('kind: job\nname: x\nprofile: ND96isr_H100\ncommand: "true"\n')
    done = hpcai(folder, "submit", "size.yaml")
    assert done.returncode == 5
    assert done.stderr == (
        "hpcai: size.yaml:3:10: profile: got 'ND96isr_H100', which is no run profile."
        " Did you mean 'Standard_ND96isr_H100_v5'?\n"
    )
    checked = hpcai(folder, "check", "size.yaml")
    assert (checked.returncode, "error    size.yaml:3:10: profile: " in checked.stdout) == (3, True)
    both = hpcai(folder, "submit", "size.yaml", "--set", "nodes=0")
    assert (both.returncode, len(both.stderr.splitlines())) == (3, 2)


def test_a_site_without_slurm_is_looked_at_all_the_same(folder: Path) -> None:
    done = hpcai(folder, "check", "-o", "json")
    assert done.returncode == 4, done.stderr
    found = {row["where"]: row for row in json.loads(done.stdout)["findings"]}
    assert found["slurm"]["severity"] == "error" and "There is no Slurm here" in found["slurm"]["what"]
    assert "hpcai local up" in found["slurm"]["fix"]
    assert {"runs folder", "interpreter", "scratch", "storage"} <= found.keys()


@pytest.mark.parametrize("words", [["--dry-run"], ["--where", "local", "-q"]])
def test_submit_warns_of_a_secret_as_check_does_and_goes_on(folder: Path, words: list[str]) -> None:
    key = ["--set", "env.WANDB_API_KEY=hush"]
    checked = hpcai(folder, "check", "good.yaml", *key).stdout.splitlines()
    (first,) = (
        number
        for number, line in enumerate(checked)
        if line.startswith("warning  --set: env.WANDB_API_KEY: 'WANDB_API")
    )
    done = hpcai(folder, "submit", "good.yaml", *key, *words, PATH=os.environ["PATH"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[:2] == checked[first : first + 2]
    assert "hush" not in done.stderr
    plain = hpcai(folder, "submit", "good.yaml", "--set", "env.SORT_KEY=a", *words, PATH=os.environ["PATH"])
    assert (plain.returncode, "looks like a secret" in plain.stderr) == (0, False)


def test_profile_auto_without_slurm(folder: Path) -> None:
    auto = ("good.yaml", "--set", "profile=auto")
    checked = json.loads(hpcai(folder, "check", *auto, "-o", "json").stdout)["findings"]
    [untold] = [row for row in checked if row["id"] == "profile-untold"]
    assert (untold["severity"], untold["place"]) == ("warning", "--set")
    refused = hpcai(folder, "submit", "--dry-run", *auto)
    assert (refused.returncode, "`profile: auto`" in refused.stderr) == (5, True)
    (folder / "hpcai.yaml").write_text("partitions: {gpu: nd96isr_h100_v5}\n")
    assert "--gpus-per-node=8" in hpcai(folder, "submit", "--dry-run", *auto).stdout
    # This machine is no node of a partition.
    here = hpcai(folder, "submit", *auto, "--where", "local", "-q", PATH=os.environ["PATH"])
    assert here.returncode == 0, here.stderr


def test_a_script_is_checked_without_slurm(folder: Path) -> None:
    (folder / "job.sh").write_text("#!/bin/bash\n#SBATCH --container-image=reg#ml/demo:1\nhostname\n")
    done = hpcai(folder, "check", "job.sh")
    assert done.returncode == 3
    assert "error    job.sh:2:30: #SBATCH: sbatch stops reading at a raw #" in done.stdout
    assert "[hash-cuts-line]" in done.stdout
    (folder / "job.sh").write_text("#!/bin/bash\n#SBATCH -t 5\nIMAGE=$1\nsrun --container-image=$IMAGE a\n")
    done = hpcai(folder, "check", "job.sh")
    assert done.returncode == 0
    assert "script: No error was found; when it would start only Slurm can tell." in done.stdout
    assert "job.sh:4:6: --container-image: Only the running script knows all of" in done.stdout


def test_every_step_is_named_at_its_place(folder: Path) -> None:
    step = "- {name: a, job: {command: python none.py}}\n- {name: b, file: good.yaml}\n"
    (folder / "steps.yaml").write_text(f"kind: steps\nname: s\nsteps:\n{step}")
    found = json.loads(hpcai(folder, "check", "steps.yaml", "-o", "json").stdout)["findings"]
    at = {(row["where"], row["id"]): row["place"] for row in found}
    assert at["a: command", "script-missing"] == "steps.yaml:4:28"
    assert at["b: time_min", "no-time-limit"] == f"{folder}/good.yaml:1:1"


def test_a_table_and_csv_carry_the_ids(folder: Path) -> None:
    assert "[file-mistake]" in hpcai(folder, "check", "bad.yaml").stdout
    lines = hpcai(folder, "check", "bad.yaml", "-o", "csv").stdout.splitlines()
    assert lines[0] == "file,id,severity,place,where,what,fix"
    assert lines[1].startswith("bad.yaml,file-mistake,error,bad.yaml:3:8,nodes,")
