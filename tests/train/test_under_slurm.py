"""The trainer in real jobs of two nodes, without MPI."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from hpcai.runs.record import Run
from tests.real_cluster import RealCluster
from tests.render.test_run_real import Slurm, logs
from tests.train.test_run import TINY

pytestmark = pytest.mark.real


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_ddp_meets_where_slurm_says(
    launcher: str, cluster: RealCluster, tiny_data: Path, tmp_path: Path
) -> None:
    trainer = [sys.executable, "-m", "hpcai.train", "--data", tiny_data, "--comm", "ddp", *TINY]
    job, run = Slurm(cluster.environ, tmp_path).run(
        launcher=launcher,
        nodes=2,
        command=shlex.join(map(str, trainer)),
        env={"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert job["JobState"] == "COMPLETED", logs(run)
    environment = Run(run).environment()
    assert (environment["comm"], environment["ranks"]) == ("ddp", 2)
    assert environment["started_by"] == ("slurm" if launcher == "srun" else "torchrun")
