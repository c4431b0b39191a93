"""Fixtures for tests of accounting: a cluster with a real slurmdbd and MariaDB, and what can happen to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcai.launch.environment import TESTED
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.local import accounting, prefix
from hpcai.slurm.local import cluster as embedded
from hpcai.slurm.local.places import place
from hpcai.specs.site import cache_dir
from tests import warm
from tests.real_cluster import sweep_left_over
from tests.waiting import until

SIZE = {"nodes": 1, "cpus_per_node": 4}


@dataclass
class Accounts:
    """A cluster with accounting: n1 with 4 CPUs, and its user's account `local`."""

    name: str
    release: str
    environ: dict[str, str]
    home: Path
    folder: Path

    @property
    def client(self) -> SlurmClient:
        return SlurmClient(self.environ)

    def run(self, *words: str) -> str:
        """What a program prints that must succeed."""
        argv = [str(word) for word in words]
        done = subprocess.run(
            argv, env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def hpcai(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = warm.hpcai(*words, env=self.environ, cwd=self.folder)
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, status: int = 0) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.hpcai(*words, "-o", "json", status=status).stdout)
        return told

    def submit(self, command: str, **fields: object) -> str:
        """The name of a run that has been submitted, as experiment/run."""
        file = self.folder / "job.yaml"
        file.write_text(json.dumps({"kind": "job", "name": "job", "command": command, **fields}))
        return self.hpcai("submit", "-q", str(file)).stdout.strip()

    def sbatch(self, command: str, *options: str) -> int:
        """The number of a job that hpcai did not submit."""
        return int(self.run("sbatch", "--parsable", *options, f"--wrap={command}"))

    def has_ended(self, job_id: int | str) -> None:
        """Waits until accounting knows the end of a job, the last that had this number."""
        client = self.client
        until(
            lambda: [job.is_final for job in client.kept([str(job_id)])][-1:] == [True], 30, f"{job_id} ended"
        )

    def pid(self, daemon: str) -> int | None:
        return embedded.status(self.name).pids.get(daemon)

    @contextmanager
    def without(self, daemon: str) -> Iterator[None]:
        """A daemon is killed, and stays dead inside."""
        mark = self.home / "killed" / daemon
        mark.touch()
        pid = self.pid(daemon)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.pid(daemon) is None, 20, f"{daemon} is dead")
        try:
            yield
        finally:
            mark.unlink()
            supervisor = self.pid("supervisor")
            assert supervisor is not None
            os.kill(supervisor, signal.SIGHUP)
            until(lambda: self.pid(daemon) is not None, 20, f"{daemon} runs again")

    @contextmanager
    def hung(self, daemon: str) -> Iterator[None]:
        """A daemon stands still inside."""
        pid = self.pid(daemon)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def forget(self, next_job_id: int) -> None:
        """slurmctld begins anew: it knows no job, and gives this number to the next one."""
        conf = self.home / "slurm.conf"
        text = re.sub(r"FirstJobId=.*\n", "", conf.read_text(encoding="utf-8"))
        conf.write_text(f"{text}FirstJobId={next_job_id}\n", encoding="utf-8")
        with self.without("slurmctld"):
            for file in (self.home / "state").glob("job_state*"):
                file.unlink()
        until(self._controller_answers, 30, "slurmctld answers")

    def _controller_answers(self) -> bool:
        argv = ["scontrol", "ping"]
        done = subprocess.run(argv, env=self.environ, capture_output=True, text=True, check=False, timeout=60)
        return " UP" in done.stdout

    def sql(self, words: str) -> str:
        """What MariaDB answers to slurmdbd's own user."""
        told = (self.home / "slurmdbd.conf").read_text(encoding="utf-8")
        password = re.findall(r"StoragePass=(.*)", told)[0]
        program = f"{self.home}/accounting/bin/mariadb"
        argv = [
            program,
            "--no-defaults",
            f"--socket={self.home}/run/database.sock",
            "--user=slurm",
            "--batch",
        ]
        done = subprocess.run(
            [*argv, "--execute", words, "slurm"],
            env={**self.environ, "MYSQL_PWD": password},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def require(release: str) -> None:
    """Skips the test where the programs are not in the cache: no test fetches them."""
    cache = cache_dir()
    if not (prefix.is_made(cache, release) and accounting.is_made(cache, release)):
        pytest.skip(
            f"slurmdbd {release} and MariaDB are not in the cache: ./dev setup fetches those of {TESTED}"
        )


@contextmanager
def accounts_of(release: str, name: str, folder: Path) -> Iterator[Accounts]:
    """A cluster of this release with accounting; gone afterwards."""
    try:
        embedded.up(name, **SIZE, accounting=True, slurm=release)
        environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))},
            **embedded.environment(name),
            "HPCAI_RUNS_ROOT": str(folder / "runs"),
            "NO_COLOR": "1",
        }
        home = place(cache_dir(), name).state
        yield Accounts(name, release, environ, home, folder)
    finally:
        if name in embedded.known():
            embedded.down(name, purge=True)


@pytest.fixture(scope="session")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    """A cluster with accounting that all tests of the session share; its slurmctld may forget any job."""
    require(TESTED)
    sweep_left_over()
    with accounts_of(TESTED, f"test-{os.getpid()}-a", tmp_path_factory.mktemp("accounts")) as made:
        yield made
