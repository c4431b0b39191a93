"""`hpcai init`: from options, from questions on a terminal, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.specs.job import JobSpec
from hpcai.specs.load import load_as
from tests import warm
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.programs


def init(folder: Path, *words: str, status: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    done = warm.hpcai("init", *words, cwd=folder, env={**os.environ, **environ})
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_options_become_a_file_that_is_never_changed(tmp_path: Path) -> None:
    done = init(tmp_path, "--command", "python train.py --lr 0.1", "--nodes", "2", "--launcher", "torchrun")
    assert done.stdout == "job.yaml is written.\n"
    assert done.stderr == "Next:\n  hpcai check job.yaml\n  hpcai submit job.yaml --follow\n"
    text = (tmp_path / "job.yaml").read_text()
    assert text == (
        "kind: job\n"
        "name: train\n"
        "nodes: 2\n"
        "launcher: torchrun\n"
        "# time_min: 60             # without it, the partition's own limit\n"
        "# partition: gpu           # `sinfo -s` lists them; without it, Slurm's default\n"
        "# retry: {node_failure: 3}  # every key: docs/job.md, or hpcai config --schema job\n"
        "# What it leaves behind belongs into $HPCAI_OUTPUTS.\n"
        "command: python train.py --lr 0.1\n"
    )
    assert "is there already" in init(tmp_path, "--command", "true", status=2).stderr
    assert (tmp_path / "job.yaml").read_text() == text


def test_forms_of_output(tmp_path: Path) -> None:
    assert init(tmp_path, "it's a.yaml", "--command", "x", "-q").stdout == "it's a.yaml\n"
    assert load_as(JobSpec, tmp_path / "it's a.yaml").name == "it-s-a"
    told = json.loads(init(tmp_path, "b.yaml", "--command", "x", "-o", "json").stdout)
    assert told == {"schema_version": 1, "file": str(tmp_path / "b.yaml")}
    assert init(tmp_path, "it's c.yaml", "--command", "x").stderr.count("'it'\"'\"'s c.yaml'") == 2


def test_what_the_settings_say_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "hpcai.yaml").write_text("job: {partition: gpu, account: vision, time_min: 30}\n")
    init(tmp_path, "--command", "x", "--partition", "gpu", "--account", "other")
    text = (tmp_path / "job.yaml").read_text()
    assert "partition" not in text and "time_min" not in text and "\naccount: other\n" in text


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ((), 2, "Nobody can be asked here: --command says what the job runs."),
        (("--command", "x", "--nodes", "0"), 2, "--nodes"),
        (("--command", "  "), 3, "command"),
        (("--command", "x", "--launcher", "torchrum"), 3, "did you mean 'torchrun'?"),
        (("--command", "x", "--profile", "Standard_ND96isr_H100_v6"), 5, "Standard_ND96isr_H100_v5"),
        (("--command", "x", "--name", "a b"), 3, "name"),
        (("none/job.yaml", "--command", "x"), 7, "'none/job.yaml' cannot be written: No such file"),
    ],
)
def test_what_cannot_be_meant_writes_nothing(
    tmp_path: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    assert message in init(tmp_path, *words, status=status).stderr
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "hpcai", "init", "--name", "asked"]
    program = subprocess.Popen(argv, cwd=tmp_path, stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    answers = [b"What does every task run", b"On how many nodes", b"VM size", b"Container image"]
    for question, answer in zip(answers, [b"python x.py", b"3", b"", b"a/b:1"], strict=True):
        heard = b""
        while question not in heard:
            heard += os.read(ours, 1000)
        os.write(ours, answer + b"\n")
    until(lambda: program.poll() is not None, 20, "it ends")
    os.close(ours)
    spec = load_as(JobSpec, tmp_path / "job.yaml")
    assert (spec.name, spec.command, spec.nodes, spec.profile) == ("asked", "python x.py", 3, None)
    assert spec.container is not None and spec.container.image == "a/b:1"


@pytest.mark.real
def test_what_it_writes_passes_check_and_runs(cluster: RealCluster, tmp_path: Path) -> None:
    environ = {**cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs")}
    init(tmp_path, "--command", "echo hello", "--nodes", "2", "--time-min", "5")
    for words in (("check", "job.yaml"), ("submit", "job.yaml", "--follow")):
        argv = [sys.executable, "-m", "hpcai", *words]
        done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
