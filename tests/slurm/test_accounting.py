"""Jobs that slurmctld has forgotten, on a real slurmdbd: told from its database, or why they cannot be."""

from __future__ import annotations

import re
import stat
import subprocess
import time
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError
from hpcai.runs.find import find_run
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.failures import AccountingUnreachable
from hpcai.slurm.local import cluster as embedded
from tests.accounting_cluster import SIZE, Accounts
from tests.waiting import until

pytestmark = pytest.mark.real


def job_of(accounts: Accounts, run: str) -> int:
    job_id = find_run(Path(accounts.environ["HPCAI_RUNS_ROOT"]), run).job_id
    assert job_id is not None
    return job_id


def test_every_command_tells_of_a_job_that_slurmctld_has_forgotten(accounts: Accounts) -> None:
    run = accounts.submit("echo out; exit 3")
    bare = accounts.sbatch("echo bare; exit 4")
    accounts.has_ended(job_of(accounts, run))
    accounts.has_ended(bare)
    accounts.forget(1000)
    shown = accounts.json("show", run)
    assert (shown["state"], shown["cause"], shown["exit_status"]) == ("FAILED", "failed", 3)
    assert shown["is_forgotten"] is True and shown["node_list"] == "n1"
    told = accounts.hpcai("show", str(bare), "--wait", status=4)
    assert "Slurm has forgotten the job" in told.stderr and "FAILED" in told.stdout
    accounts.hpcai("show", run, "--wait", status=3)
    assert accounts.hpcai("logs", run).stdout == "out\n"
    assert accounts.hpcai("logs", str(bare)).stdout == "bare\n"
    why = accounts.json("why", str(bare))
    assert {"where": "sacct, State", "what": "FAILED"} in why["evidence"]
    assert {"where": "sacct, ExitCode", "what": "4:0 (status:signal)"} in why["evidence"]
    assert "bare" not in accounts.hpcai("queue").stdout
    missing = accounts.hpcai("show", "987654", status=5).stderr
    assert "Slurm knows no job 987654, and its accounting keeps none." in missing


def test_a_number_that_slurm_has_used_twice_means_the_job_that_is_meant(accounts: Accounts) -> None:
    accounts.forget(2000)
    first = accounts.submit("exit 3")
    accounts.has_ended(2000)
    accounts.forget(2000)
    second = accounts.submit("exit 5")
    assert job_of(accounts, first) == job_of(accounts, second) == 2000
    client = accounts.client
    until(lambda: len([job for job in client.kept(["2000"]) if job.is_final]) == 2, 30, "both are accounted")
    shown = [accounts.json("show", run) for run in (first, second)]
    assert [(one["exit_status"], one["is_forgotten"]) for one in shown] == [(3, True), (5, False)]
    accounts.forget(2100)
    shown = [accounts.json("show", run) for run in (first, second)]
    assert [(one["exit_status"], one["is_forgotten"]) for one in shown] == [(3, True), (5, True)]
    assert client.job(2000).exit_status == 5


@pytest.mark.long
def test_an_array_is_told_task_by_task_and_a_number_of_an_array_may_be_a_jobs(accounts: Accounts) -> None:
    accounts.forget(3000)
    array = accounts.submit("exit $SLURM_ARRAY_TASK_ID", array="0-2")
    until(lambda: len([job for job in accounts.client.kept(["3000"]) if job.is_final]) == 3, 30, "it ended")
    accounts.forget(3000)
    assert accounts.json("show", array)["tasks"] == {"total": 3, "completed": 1, "failed": 2}
    assert accounts.json("show", f"{array}_2")["exit_status"] == 2
    assert accounts.client.job("3000_1").exit_status == 1
    alone = accounts.sbatch("exit 6")
    accounts.has_ended(alone)
    accounts.forget(3100)
    assert [job.exit_status for job in accounts.client.tasks(3000)] == [6]


def test_slurmdbd_that_hangs_is_given_up_on(accounts: Accounts) -> None:
    job = accounts.sbatch("true")
    accounts.has_ended(job)
    with accounts.hung("slurmdbd"):
        client = SlurmClient(accounts.environ, timeout_s=1)
        began = time.monotonic()
        with pytest.raises(
            AccountingUnreachable, match=r"slurmdbd does not answer: sacct did not answer within"
        ):
            client.kept([str(job)])
        assert time.monotonic() - began < 5
        assert client.job(job).state == "COMPLETED"


def test_what_was_purged_from_the_database_only_the_record_tells(accounts: Accounts) -> None:
    run = accounts.submit("exit 3")
    bare = accounts.sbatch("exit 4")
    accounts.has_ended(job_of(accounts, run))
    accounts.has_ended(bare)
    accounts.sql(f"DELETE FROM local_job_table WHERE id_job IN ({job_of(accounts, run)}, {bare})")
    accounts.forget(5000)
    with pytest.raises(NotFoundError, match="its accounting keeps none"):
        accounts.client.job(bare)
    shown = accounts.json("show", run)
    assert (shown["state"], shown["exit_status"], shown["job_id"]) == ("FAILED", 3, job_of(accounts, run))
    assert "is_forgotten" not in shown
    accounts.hpcai("show", run, "--wait", status=3)


@pytest.mark.long
def test_a_job_that_was_requeued_keeps_its_restarts(accounts: Accounts) -> None:
    run = accounts.submit("test $HPCAI_ATTEMPT = 1 || sleep 60", requeue=True)
    number = job_of(accounts, run)
    until(lambda: accounts.json("show", run)["state"] == "RUNNING", 30, "the job runs")
    accounts.run("scontrol", "requeue", str(number))
    until(lambda: accounts.json("show", run)["state"] == "COMPLETED", 60, "the second attempt has ended")
    accounts.has_ended(number)
    accounts.forget(6000)
    shown = accounts.json("show", run)
    assert (shown["is_forgotten"], shown["restarts"], shown["state"]) == (True, 1, "COMPLETED")
    assert [one["cause"] for one in shown["attempts"]] == ["requeued", "completed"]


LIMITS = [
    # Where it stands and what is set, what a second job asks for, its reason, and what must be told.
    ("qos", "maxjobsperuser=1", "", "QOSMaxJobsPerUserLimit", "MaxJobsPU is 1, 1 in use"),
    ("account", "grptres=cpu=3", "", "AssocGrpCpuLimit", "GrpTRES is cpu=3, 2 in use"),
]
MORE_LIMITS = [
    ("qos", "maxtresperuser=cpu=2", "", "QOSMaxCpuPerUserLimit", "MaxTRESPU is cpu=2, 2 in use"),
    ("qos", "grptres=cpu=3", "", "QOSGrpCpuLimit", "GrpTRES is cpu=3, 2 in use"),
    ("account", "grpjobs=1", "", "AssocGrpJobsLimit", "GrpJobs is 1, 1 in use"),
    ("user", "maxjobs=1", "", "AssocMaxJobsLimit", "MaxJobs is 1, 1 in use"),
    ("qos", "maxwall=5", "--time=9", "QOSMaxWallDurationPerJobLimit", "MaxWall is 00:05:00"),
]
MORE = [pytest.param(*one, marks=pytest.mark.long) for one in MORE_LIMITS]


@pytest.mark.parametrize(("of", "limit", "option", "reason", "bound"), [*LIMITS, *MORE])
def test_why_tells_the_number_of_a_limit(
    accounts: Accounts, of: str, limit: str, option: str, reason: str, bound: str
) -> None:
    user = accounts.run("id", "-un").strip()
    key = limit.partition("=")[0]
    which = {
        "qos": ["qos", "normal"],
        "account": ["account", "local"],
        "user": ["user", user, "account=local"],
    }
    words = [
        "sacctmgr",
        "--immediate",
        "modify",
        which[of][0],
        "where",
        f"name={which[of][1]}",
        *which[of][2:],
    ]
    none = f"{key}={'cpu=' if 'cpu' in limit else ''}-1"
    accounts.run(*words, "set", limit)
    jobs: list[int] = []
    try:
        options = ["--cpus-per-task=2", "--time=2"]
        jobs = [accounts.sbatch("sleep 60", *options, *([option] if option else [])) for _ in range(2)]
        client = accounts.client
        until(lambda: client.job(jobs[1]).reason == reason, 20, f"job {jobs[1]} waits for {reason}")
        told = accounts.json("why", str(jobs[1]))
        assert [one["what"] for one in told["evidence"] if one["where"].startswith("sacctmgr")] == [bound]
        assert f"({reason}: {bound})" in told["sentence"]
    finally:
        accounts.run(*words, "set", none)
        subprocess.run(["scancel", *map(str, jobs)], env=accounts.environ, check=False)
        until(lambda: not accounts.run("squeue", "--noheader").strip(), 30, "the jobs have gone")


def test_the_user_has_an_account_and_secrets_are_files_of_the_user_alone(accounts: Accounts) -> None:
    told = accounts.run(
        "sacctmgr", "--noheader", "--parsable2", "show", "user", "format=DefaultAccount,Admin"
    )
    assert told == "local|Administrator\n"
    password = re.findall(r"StoragePass=(.*)", (accounts.home / "slurmdbd.conf").read_text())[0]
    holders = {
        path.relative_to(accounts.home)
        for path in accounts.home.rglob("*")
        if path.is_file() and path.stat().st_size < 10**6 and password in path.read_text(errors="replace")
    }
    assert holders == {Path("slurmdbd.conf"), Path("secrets/database.sql")}
    assert {stat.S_IMODE((accounts.home / name).stat().st_mode) for name in holders} == {0o600}
    for daemon in ("database", "slurmdbd"):
        pid = accounts.pid(daemon)
        for name in ("cmdline", "environ"):
            assert password not in Path(f"/proc/{pid}/{name}").read_bytes().decode()


def test_the_database_listens_on_no_port(accounts: Accounts) -> None:
    pid = accounts.pid("database")
    held = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    lines += Path("/proc/net/tcp6").read_text().splitlines()[1:]
    assert not [line for line in lines if f"socket:[{line.split()[9]}]" in held]
    assert stat.S_IMODE(accounts.home.stat().st_mode) == 0o700


def test_accounts_outlive_down(accounts: Accounts) -> None:
    job = accounts.sbatch("exit 3", "--job-name=before")
    accounts.has_ended(job)
    embedded.down(accounts.name)
    assert embedded.status(accounts.name).pids == {}
    assert embedded.up(accounts.name, **SIZE, accounting=True, slurm=accounts.release)
    kept = accounts.client.kept([str(job)])
    assert (kept[-1].name, kept[-1].exit_status) == ("before", 3)


# The last one: slurmctld waits 10 s before it turns to a new slurmdbd.
def test_slurmdbd_that_is_killed_is_named_and_the_record_tells(accounts: Accounts) -> None:
    run = accounts.submit("echo out; exit 3")
    bare = accounts.sbatch("exit 4")
    accounts.has_ended(job_of(accounts, run))
    accounts.has_ended(bare)
    accounts.forget(4000)
    with accounts.without("slurmdbd"):
        shown = accounts.hpcai("show", run)
        assert "This is what the record tells. slurmdbd does not answer: " in shown.stderr
        assert "failed, status 3" in shown.stdout
        assert "This is what the record tells." in accounts.hpcai("why", run).stderr
        assert accounts.hpcai("logs", run).stdout == "out\n"
        began = time.monotonic()
        accounts.hpcai("show", run, "--wait", status=3)
        assert time.monotonic() - began < 20
        assert "slurmdbd does not answer" in accounts.hpcai("show", str(bare), status=6).stderr
        # What slurmctld knows needs no slurmdbd.
        job = accounts.sbatch("true", "--hold")
        assert accounts.json("show", str(job))["is_forgotten"] is False
        accounts.run("scancel", str(job))
