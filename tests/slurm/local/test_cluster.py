"""The embedded cluster as a whole: it runs programs on its nodes."""

from __future__ import annotations

import subprocess

import pytest

from tests.real_cluster import RealBlob, RealCluster


@pytest.mark.real
def test_a_program_runs_on_every_node(cluster: RealCluster) -> None:
    argv = ["srun", "-N3", "sh", "-c", "echo $SLURMD_NODENAME"]
    done = subprocess.run(argv, env=cluster.environ, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["n1", "n2", "n3"]


@pytest.mark.real
def test_blob(blob: RealBlob) -> None:
    assert blob.endpoint.startswith("http://127.0.0.1:")
