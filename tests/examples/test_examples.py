"""Every example runs as it stands, on two nodes of a real Slurm, by the command that its user types."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.runs.find import find_run
from hpcai.runs.record import Run
from hpcai.specs.load import load
from tests.real_cluster import RealCluster

EXAMPLES = Path(__file__).parents[2] / "examples"


def submit(cluster: RealCluster, runs_root: Path, file: str, *words: str) -> list[Run]:
    """The runs that it became, ended well; `python` is this one, as in an environment that is active."""
    path = f"{Path(sys.executable).parent}:{cluster.environ['PATH']}"
    environ = {**cluster.environ, "HPCAI_RUNS_ROOT": str(runs_root), "PATH": path}
    argv = [sys.executable, "-m", "hpcai", "submit", str(EXAMPLES / file), "--follow", "-q", *words]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return [find_run(runs_root, name) for name in done.stdout.split()]


def printed(run: Run, rank: int = 0) -> str:
    return run.paths.log(0, rank).read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_file_loads(path: Path) -> None:
    load(path)


@pytest.mark.real
def test_a_plain_script(cluster: RealCluster, tmp_path: Path) -> None:
    (run,) = submit(cluster, tmp_path, "hello.yaml")
    told = [printed(run, rank) for rank in range(4)]
    assert told == [f"rank {rank} of 4 on n{1 + rank // 2}\n" for rank in range(4)]


@pytest.mark.real
def test_mpi(cluster: RealCluster, tmp_path: Path) -> None:
    cluster.skip_without_pmix()
    (run,) = submit(cluster, tmp_path, "mpi/pi.yaml")
    found = re.fullmatch(r"pi is about (3\.1\d+) by 4 ranks\n", printed(run))
    assert found is not None, printed(run)


@pytest.mark.real
def test_a_language_model_by_fsdp_goes_on_from_its_checkpoint(cluster: RealCluster, tmp_path: Path) -> None:
    (run,) = submit(cluster, tmp_path, "fsdp/train.yaml", "--set", "env.STEPS=30")
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed(run))]
    assert len(losses) == 3 and losses[-1] < losses[0] < 5
    assert json.loads((run.paths.outputs / "checkpoint/last.json").read_text()) == {"step": 30}
    assert sorted(path.name for path in (run.paths.outputs / "checkpoint/step-30").iterdir()) == [
        ".metadata",
        "__0_0.distcp",
        "__1_0.distcp",
    ]


@pytest.mark.real
def test_horovod_in_a_script_of_ones_own(cluster: RealCluster, tmp_path: Path) -> None:
    (run,) = submit(cluster, tmp_path, "horovod/train.yaml")
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+) on 2 ranks", printed(run))]
    assert len(losses) == 3 and losses[-1] < losses[0]


@pytest.mark.real
def test_a_batch_of_files_is_scored_once_each(cluster: RealCluster, tmp_path: Path) -> None:
    inputs = tmp_path / "my inputs"
    inputs.mkdir()
    for number in range(11):
        (inputs / f"{number}.txt").write_text("x" * number)
    (run,) = submit(cluster, tmp_path / "runs", "files/score.yaml", "--set", f"env.INPUTS={inputs}")
    parts = sorted((run.paths.outputs / "results").glob("*.jsonl"))
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [part.name for part in parts] == [f"{rank}.jsonl" for rank in range(4)]
    assert sorted(row["bytes"] for row in rows) == list(range(11))


@pytest.mark.real
def test_steps(cluster: RealCluster, tmp_path: Path) -> None:
    prepare, total, clean = submit(cluster, tmp_path, "steps/nightly.yaml")
    assert (total.paths.outputs / "total").read_text() == "500500\n"
    assert not (prepare.paths.outputs / "numbers").exists()
    assert [one.cause for one in clean.attempts()] == ["completed"]


@pytest.mark.real
def test_an_array(cluster: RealCluster, tmp_path: Path) -> None:
    (run,) = submit(cluster, tmp_path, "array/rates.yaml")
    told = [(run.of_task(task).paths.outputs / "result").read_text() for task in run.task_ids()]
    assert told == ["rate 0.1\n", "rate 0.03\n", "rate 0.01\n", "rate 0.003\n"]


@pytest.mark.real
def test_tensorflow(cluster: RealCluster, tmp_path: Path) -> None:
    (run,) = submit(cluster, tmp_path, "tensorflow/train.yaml")
    found = [
        re.fullmatch(r"worker (\d) of 4 listens at (\S+):(\d+)\n", printed(run, rank)) for rank in range(4)
    ]
    assert [one and one[1] for one in found] == ["0", "1", "2", "3"]
    assert len({one[0].rpartition(" ")[2] for one in found if one}) == 4
