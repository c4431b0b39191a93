"""Never twice: a real sbatch that is killed, delayed or robbed of its answer by chance, on a real cluster."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpcai.slurm.client import SlurmClient
from hpcai.slurm.local import cluster as embedded
from hpcai.slurm.marks import new_mark
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real
LOG = logging.getLogger(__name__)

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
BUSY = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
# What may happen to a call of sbatch; "$@" is the real one with its words.
FATES = {
    "answers": 'exec "$@"',
    "killed before": "kill -9 $$",
    "killed after": '"$@" >/dev/null; kill -9 $$',
    "killed in the middle": '"$@" >/dev/null 2>&1 & sleep 0.0$((RANDOM % 8))$((RANDOM % 10)); kill -9 $! $$',
    "begins too late": 'sleep 60; exec "$@"',
    "ends too late": '"$@" >/dev/null; sleep 60',
    "answers and hangs": '"$@"; sleep 60',
    "arrives after its end": '(sleep 0.2; exec "$@") >/dev/null 2>&1 & exit 1',
    "loses the answer": '"$@" >/dev/null',
    "accepted, timed out": f'"$@" >/dev/null; echo "{TIMED_OUT}" >&2; exit 1',
    "timed out": f'echo "{TIMED_OUT}" >&2; exit 1',
    "no room": f'echo "{BUSY}" >&2; exit 1',
}
# Of five calls four meet such a fate by chance: the last goes well, so that each job comes to be.
DRAWN = 4
WEIGHTS = [4, *[1] * (len(FATES) - 1)]
# Held jobs, arrays, and jobs that have ended before anybody asks for them.
SCRIPTS = (
    "#!/bin/sh\n#SBATCH --hold --output=/dev/null\n:\n",
    '#!/bin/sh\n#SBATCH --hold --output=/dev/null --comment="my own # one"\n:\n',
    "#!/bin/sh\n#SBATCH --hold --output=/dev/null --array=1-3\n:\n",
    "#!/bin/sh\n#SBATCH --hold --output=/dev/null\n#SBATCH hetjob\n#SBATCH -n1\n:\n",
)
ENDS_AT_ONCE = "#!/bin/sh\n#SBATCH --output=/dev/null\n:\n"


@dataclass
class Unlucky:
    """Submits through an sbatch whose calls meet a fate by chance, and notes what was told."""

    environ: dict[str, str]
    folder: Path
    seed: int
    told: dict[str, int] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # Written once: a file that another thread's child still holds open for writing cannot be started.
        self.wrapper = self.folder / "bin" / "sbatch"
        self.wrapper.parent.mkdir()
        real = shutil.which("sbatch", path=self.environ["PATH"])
        self.wrapper.write_text(
            f'#!/bin/bash\necho call >>"$FATES/calls"\nset -- "{real}" "$@"\n. "$FATES/fates"\n'
        )
        self.wrapper.chmod(0o755)

    def submit(self, number: int) -> None:
        chance = random.Random(self.seed + number)
        folder = self.folder / str(number)
        folder.mkdir()
        drawn = chance.choices(list(FATES), WEIGHTS, k=DRAWN)
        cases = "".join(f"{number}) {FATES[fate]} ;;\n" for number, fate in enumerate(drawn, start=1))
        (folder / "fates").write_text(f'case $(wc -l <"$FATES/calls") in\n{cases}*) exec "$@" ;;\nesac\n')
        script = folder / "script.sh"
        script.write_text(ENDS_AT_ONCE if number % 20 == 0 else chance.choice(SCRIPTS))
        path = f"{self.wrapper.parent}:{self.environ['PATH']}"
        environ = {**self.environ, "PATH": path, "FATES": str(folder)}
        client = SlurmClient(environ, pause_s=0.02, timeout_s=2.0, settle_s=2.0)
        mark = new_mark(f"chance/{number}")
        what = script.read_bytes() if number % 3 == 0 else script
        self.told[mark] = client.submit(what, mark=mark, as_is=True)
        self.met.update(drawn[: (folder / "calls").read_text().count("\n")])


def submit_many(cluster: RealCluster, folder: Path, count: int, *, threads: int = 8) -> Unlucky:
    unlucky = Unlucky(cluster.environ, folder, seed=random.SystemRandom().randrange(10**9))
    LOG.warning("The seed is %d.", unlucky.seed)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(unlucky.submit, number) for number in range(count)]:
            done.result()
    return unlucky


def jobs_by_mark(cluster: RealCluster) -> dict[str, set[int]]:
    """The ids that sbatch told, or would have, of all jobs that there ever were, by their marks."""
    form = "--Format=JobID:|,ArrayJobID:|,HetJobID:|,Comment:|"
    argv = ["squeue", "--noheader", "--states=all", "--me", form]
    done = subprocess.run(argv, env=cluster.environ, capture_output=True, text=True, check=True)
    found = defaultdict(set)
    for line in done.stdout.splitlines():
        job_id, array_id, first_id, comment = line.split("|")[:4]
        if "hpcai:chance/" in comment:
            found[comment.split()[-1]].add(int(first_id if first_id.isdecimal() else array_id or job_id))
    return found


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here is only one: what tests before these have submitted without a mark is earlier for sure."""
    monkeypatch.setattr("hpcai.slurm.submission._CLOCKS_DIFFER_S", 0.0)


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster: RealCluster) -> Iterator[None]:
    yield
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def require_each_once(cluster: RealCluster, unlucky: Unlucky, count: int) -> None:
    LOG.warning("Calls of sbatch: %s.", dict(unlucky.met))
    found = {mark: ids for mark, ids in jobs_by_mark(cluster).items() if mark in unlucky.told}
    assert len(unlucky.told) == count
    assert found == {mark: {job_id} for mark, job_id in unlucky.told.items()}


def test_forty_submissions_are_forty_jobs(cluster: RealCluster, tmp_path: Path) -> None:
    require_each_once(cluster, submit_many(cluster, tmp_path, 40), 40)


@pytest.mark.long
def test_a_thousand_submissions_are_a_thousand_jobs(cluster: RealCluster, tmp_path: Path) -> None:
    unlucky = submit_many(cluster, tmp_path, 1000)
    require_each_once(cluster, unlucky, 1000)
    assert set(unlucky.met) == set(FATES)


@contextmanager
def slurmctld_that_comes_and_goes(cluster: RealCluster, rounds: int) -> Iterator[None]:
    """Inside, it stands still for a while and is started anew, some times over."""
    over = threading.Event()

    def meddle() -> None:
        for _ in range(rounds):
            for number, pause_s in ((signal.SIGSTOP, 1.0), (signal.SIGCONT, 1.0), (signal.SIGTERM, 2.0)):
                os.kill(embedded.status(cluster.name).pids["slurmctld"], number)
                if over.wait(pause_s):
                    return

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        until(lambda: answers(cluster), 60, "slurmctld answers again")


def answers(cluster: RealCluster) -> bool:
    argv = ["scontrol", "ping"]
    done = subprocess.run(argv, env=cluster.environ, capture_output=True, text=True, check=False)
    return done.returncode == 0 and "is UP" in done.stdout


def test_a_slurmctld_that_is_started_anew_in_the_middle(cluster: RealCluster, tmp_path: Path) -> None:
    with slurmctld_that_comes_and_goes(cluster, rounds=1):
        unlucky = submit_many(cluster, tmp_path, 12, threads=4)
    require_each_once(cluster, unlucky, 12)


def test_the_authors_comment_stands_before_the_mark(cluster: RealCluster, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --hold --comment='it is \"mine\" # and = stays'\n:\n")
    client = SlurmClient(cluster.environ)
    mark = new_mark("default/x")
    job_id = client.submit(script, mark=mark)
    assert client.job(job_id).comment == f'it is "mine" # and = stays {mark}'
    assert [job.comment for job in client.jobs([job_id])] == [f'it is "mine" # and = stays {mark}']
