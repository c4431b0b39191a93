"""Fixtures for tests marked `real`: one embedded cluster and its Blob service per test session."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcai.slurm.client import SlurmClient
from hpcai.slurm.local import cluster as embedded

# The version of the cluster's Slurm, as `hpcai local up --slurm` takes it.
RELEASE = os.environ.get("HPCAI_TEST_SLURM") or None
OURS = re.compile(r"test-(\d+)(-[ac])?")


@dataclass(frozen=True)
class RealCluster:
    """A running cluster: n1, n2, n3 with 4 CPUs and 2 pretended GPUs each; programs use it by `environ`."""

    name: str
    environ: dict[str, str]

    def skip_without_pmix(self) -> None:
        """Ubuntu 22.04's Slurm has no PMIx: tests of MPI's ranks cannot run there."""
        if "pmix" not in SlurmClient(self.environ).mpi_plugins():
            pytest.skip("this distribution's Slurm has no PMIx")


@dataclass(frozen=True)
class RealBlob:
    """The running Blob service; `variables` are those of `environ` that tell of it."""

    account: str
    endpoint: str
    account_key: str
    credentials: Path
    variables: dict[str, str]


def sweep_left_over() -> None:
    """Removes clusters of test sessions that were killed."""
    for name in embedded.known():
        match = OURS.fullmatch(name)
        if match and not Path(f"/proc/{match[1]}").exists():
            embedded.down(name, purge=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealCluster]:
    """A cluster that all tests of the session share: leave its nodes as you found them.

    HPCAI_TEST_SLURM chooses its version, as `hpcai local up --slurm` does.
    """
    sweep_left_over()
    name = f"test-{os.getpid()}"
    try:
        embedded.up(name, nodes=3, cpus_per_node=4, gpus_per_node=2, blob=True, slurm=RELEASE)
        yield RealCluster(name, {**os.environ, **embedded.environment(name)})
    finally:
        if name in embedded.known():
            embedded.down(name, purge=True)


@pytest.fixture(scope="session")
def blob(cluster: RealCluster) -> RealBlob:
    """The cluster's Blob service: make a container of your own in it."""
    names = ("AZURE_STORAGE_ACCOUNT", "HPCAI_STORAGE_ENDPOINT", "HPCAI_STORAGE_CREDENTIALS")
    variables = {name: cluster.environ[name] for name in names}
    credentials = Path(variables["HPCAI_STORAGE_CREDENTIALS"])
    return RealBlob(
        account=variables["AZURE_STORAGE_ACCOUNT"],
        endpoint=variables["HPCAI_STORAGE_ENDPOINT"],
        account_key=json.loads(credentials.read_text(encoding="utf-8"))["account_key"],
        credentials=credentials,
        variables=variables,
    )
