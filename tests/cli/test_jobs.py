"""A job's life by the commands that a user types, on a real cluster; folders have spaces and quotes."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcai.errors import NotFoundError
from hpcai.runs.find import find_run
from hpcai.runs.record import Run, create_run
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.failures import NoAccounting
from tests import warm
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real

LINES = 'for i in 1 2 3; do echo "line $i of rank $SLURM_PROCID"; done; echo "to stderr" >&2'
FOREVER = "echo begun; sleep 600"


@dataclass(frozen=True)
class Cli:
    """The program `hpcai` as the user of one cluster and one runs folder."""

    folder: Path
    environ: dict[str, str]

    @property
    def runs_root(self) -> Path:
        return Path(self.environ["HPCAI_RUNS_ROOT"])

    def __call__(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = warm.hpcai(*words, env=self.environ)
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self(*words, "-o", "json").stdout)
        return value

    def start(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._argv(*words), env=self.environ, stdout=pipe, stderr=pipe, text=True)

    def file(self, command: str, **fields: object) -> str:
        """A job file with this command."""
        path = self.folder / f"job {len(list(self.folder.glob('job *')))}.yaml"
        path.write_text(json.dumps({"kind": "job", "name": "x", "command": command, **fields}))
        return str(path)

    def submit(self, command: str, **fields: object) -> Run:
        return self.run(self("submit", "-q", self.file(command, **fields)).stdout.strip())

    def run(self, name: str) -> Run:
        return find_run(self.runs_root, name)

    @staticmethod
    def _argv(*words: str) -> list[str]:
        return [sys.executable, "-m", "hpcai", *words]


@pytest.fixture(scope="module")
def cli(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp('it\'s a "job"')
    made = Cli(folder, {**cluster.environ, "HPCAI_RUNS_ROOT": str(folder / "runs root"), "NO_COLOR": "1"})
    yield made
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def begun(run: Run, attempt: int = 0) -> bool:
    return run.paths.log(attempt, 0).exists() and "begun" in run.paths.log(attempt, 0).read_text()


def test_a_dry_run_prints_the_script_and_writes_nothing(cli: Cli) -> None:
    script = cli("submit", "--dry-run", cli.file(LINES, nodes=2)).stdout
    assert script.startswith("#!/bin/bash\n") and "#SBATCH --nodes=2\n" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=True).returncode == 0
    assert not cli.runs_root.exists()


@pytest.fixture(scope="module")
def finished(cli: Cli) -> Run:
    """A run of two ranks that completed, followed by `logs -f` from before its start."""
    run = cli.submit(LINES, name="lines", nodes=2)
    followed = cli("logs", "-f", run.name)
    assert followed.stdout == "".join(f"line {number} of rank 0\n" for number in (1, 2, 3))
    assert "to stderr" in followed.stderr and f"{run.name} completed." in followed.stderr
    return run


def test_what_each_rank_printed(cli: Cli, finished: Run) -> None:
    done = cli("logs", finished.name, "--rank", "1")
    assert done.stdout.splitlines()[0] == "line 1 of rank 1"
    assert done.stderr == "to stderr\n"


def test_there_are_more_ranks_than_the_first(cli: Cli, finished: Run) -> None:
    assert (
        cli("logs", finished.name).stderr
        == "to stderr\nThis was rank 0 of 2; --rank N prints another, --rank all every one.\n"
    )
    assert cli("logs", finished.name, "--rank", "0").stderr == "to stderr\n"
    for option in ("--rank", "--attempt"):
        both = cli("logs", finished.name, "--batch", option, "0", status=2)
        assert f"--batch and {option} both say what to print." in both.stderr


def test_a_rank_that_printed_nothing_is_told(cli: Cli) -> None:
    run = cli.submit("true", name="silent")
    cli("show", run.name, "--wait")
    done = cli("logs", run.name)
    assert (done.stdout, done.stderr) == (
        "",
        f"Rank 0 printed nothing. What Slurm and the batch part said:\nhpcai logs --batch {run.name}\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rank", "99"), "has no rank 99: it completed.\nIts ranks are 0 to 1."),
        (("-f", "--rank", "99"), "has no rank 99: it completed.\nIts ranks are 0 to 1."),
        (("--attempt", "3"), "has no attempt 3: its only attempt is 0"),
        (("-f", "--attempt", "3"), "has no attempt 3: its only attempt is 0"),
    ],
)
def test_logs_that_do_not_fit_are_4_with_the_state(
    cli: Cli, finished: Run, words: tuple[str, ...], message: str
) -> None:
    assert message in cli("logs", finished.name, *words, status=4).stderr


def test_a_run_in_full_and_its_end(cli: Cli, finished: Run) -> None:
    shown = cli.json("show", str(finished.job_id))
    assert (shown["run"], shown["state"], shown["cause"]) == (finished.name, "COMPLETED", "completed")
    assert (shown["exit_status"], shown["nodes"], len(shown["attempts"])) == (0, 2, 1)
    assert shown["attempts"][0]["cause"] == "completed"
    cli("show", "@last", "--wait")
    assert [(end["attempt"], end["cause"]) for end in finished.ends()] == [(0, "completed")]


def test_an_ended_job_cannot_be_cancelled(cli: Cli, finished: Run) -> None:
    assert "cannot be cancelled: it completed" in cli("cancel", finished.name, status=4).stderr


def test_what_is_no_job_id_means_no_job(cli: Cli) -> None:
    run = cli.submit(FOREVER, name="kept")
    until(lambda: begun(run), 30, "the job runs")
    # 0 is every job for Slurm; the last is this job's id in other digits.
    others = str(run.job_id).translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
    for ident in ("0", "00", others, "9" * 5000):
        for words in (("cancel",), ("show", "--wait"), ("logs",)):
            told = cli(*words, ident, status=5).stderr
            assert "There is no run" in told and len(told) < 400
    assert cli.json("show", run.name)["state"] == "RUNNING"
    cli("cancel", run.name)


def test_a_job_that_never_starts_is_told_once_with_what_ends_it(cli: Cli) -> None:
    go = cli.folder / "go"
    failed = cli.submit(f"until [ -e {shlex.quote(str(go))} ]; do sleep 0.1; done; exit 3", name="first")
    file = cli.file("true", name="after", dependency=f"afterok:{failed.job_id}")
    run = cli.run(cli("submit", "-q", file).stdout.strip())
    go.touch()
    cli("show", failed.name, "--wait", status=3)
    hopeless = f"`afterok:{failed.job_id}` cannot come true: job {failed.job_id} ended FAILED."
    assert hopeless in cli("check", file, status=3).stdout
    refusal = f"{hopeless}\nCorrect or leave out dependency.\n`hpcai check FILE` shows all findings.\n"
    assert refusal in cli("submit", file, status=4).stderr
    until(lambda: cli.json("show", run.name)["reason"] == "DependencyNeverSatisfied", 30, "Slurm sees it")
    never = "never starts: the job that it depends on ended otherwise"
    words = cli("show", run.name, "--wait", "--timeout-s", "3", status=8).stderr
    assert words.startswith(f"{run.name} {never}.\nNext:\n  hpcai cancel {run.name}\n")
    assert words.count(never) == 2 and words.endswith(f"it {never}.\nhpcai cancel {run.name}\n")
    reading = cli.start("logs", "-f", run.name)
    assert reading.stderr is not None
    assert reading.stderr.readline() == f"{run.name} {never}.\n"
    cli("cancel", run.name)
    reading.communicate(timeout=30)


@pytest.mark.parametrize("word", ["show", "logs", "cancel"])
def test_an_unknown_name_is_5_with_the_nearest(cli: Cli, finished: Run, word: str) -> None:
    assert f"Did you mean {finished.name!r}?" in cli(word, "linse", status=5).stderr
    assert "no job 999999" in cli(word, "999999", status=5).stderr


def test_a_name_that_fits_two_runs_is_2_with_both(cli: Cli, finished: Run) -> None:
    other = cli.submit("true", name="lines")
    message = cli("show", "lines", status=2).stderr
    assert finished.ident in message and other.ident in message


def test_a_failing_command_passes_its_status_on_and_shows_its_last_words(cli: Cli) -> None:
    done = cli("submit", "--follow", "-o", "json", cli.file("echo the reason >&2; exit 37"), status=37)
    end = json.loads(done.stdout)
    assert (end["state"], end["cause"], end["exit_status"]) == ("FAILED", "failed", 37)
    assert re.search(r"\d\d:\d\d:\d\d  started on n\d\n", done.stderr)
    assert "failed with status 37" in done.stderr and "  | the reason" in done.stderr
    assert f"\n{cli.json('why', end['run'])['sentence']}\n  | " in done.stderr
    cli("logs", "-f", end["run"], status=37)
    cli("logs", end["run"])
    assert re.search(r"Next:\n  hpcai why (x-\S+)\n  hpcai logs \1\n", done.stderr)


@pytest.mark.parametrize("how", ["--follow", "--where=local"])
def test_quiet_prints_the_name_alone(cli: Cli, how: str) -> None:
    done = cli("submit", how, "-q", "-o", "json", cli.file("exit 3", name="quiet"), status=3)
    assert cli.run("@last").name == done.stdout.strip()


@pytest.mark.parametrize("option", ["--follow", "--quiet"])
def test_a_dry_run_takes_no_option_of_a_submission(cli: Cli, option: str) -> None:
    assert option in cli("submit", "--dry-run", option, cli.file("true"), status=2).stderr


def with_sbatch(cli: Cli, folder: Path, script: str) -> Cli:
    """The same user where sbatch is this shell script."""
    sbatch = folder / "sbatch"
    sbatch.write_text(f"#!/bin/sh\n{script}\n")
    sbatch.chmod(0o755)
    # HPCAI_LOCAL would put the embedded cluster's own programs first.
    environ = {name: value for name, value in cli.environ.items() if name != "HPCAI_LOCAL"}
    return Cli(cli.folder, {**environ, "PATH": f"{folder}:{environ['PATH']}"})


def test_ctrl_c_while_slurm_is_asked_to_take_the_job_says_so(cli: Cli, tmp_path: Path) -> None:
    slow = with_sbatch(cli, tmp_path, f"touch {tmp_path}/asked; exec sleep 600")
    submitting = slow.start("submit", cli.file("true", name="doubt"))
    until((tmp_path / "asked").exists, 60, "sbatch is asked")
    submitting.send_signal(signal.SIGINT)
    out, words = submitting.communicate(timeout=30)
    run = cli.run("doubt")
    assert (submitting.returncode, out) == (130, "")
    assert words.startswith(f"\nThe submission of {run.name} was cut off.\nSlurm may have accepted the job")
    assert "its submission was cut off" in cli("show", run.name, "--wait", status=4).stderr


def test_a_job_whose_name_cannot_be_printed_is_named_on_stderr(cli: Cli) -> None:
    for words in (("-q",), ("-o", "json"), ("-o", "csv"), ("-q", "--follow")):
        with Path("/dev/full").open("w") as full:
            argv = [sys.executable, "-m", "hpcai", "submit", cli.file("true", name="untold"), *words]
            done = subprocess.run(
                argv, env=cli.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 7, done.stderr
        told, what, _ = done.stderr.splitlines()
        name, _, job_id = told.removesuffix(".").partition(" is job ")
        assert cli.run(name).job_id == int(job_id)
        assert what.startswith("hpcai: What would be printed is lost: stdout cannot be written")


def test_the_queue_has_the_same_columns_in_every_form(cli: Cli) -> None:
    run = cli.submit(FOREVER, name="queued")
    until(lambda: begun(run), 30, "the job runs")
    until(lambda: listed(cli) == [(run.name, "RUNNING")], 30, "what earlier tests submitted has ended")
    (job,) = cli.json("queue")["jobs"]
    (head, row) = csv.reader(io.StringIO(cli("queue", "-o", "csv").stdout))
    assert head == list(job) and "elapsed_s" in head
    assert dict(zip(head, row, strict=True))["record"] == job["record"]
    assert (
        cli("queue", "-q").stdout == f"{run.job_id}\n"
        and cli("show", "-q", "@last").stdout == f"{run.name}\n"
    )
    # The same runs folder by another path, as an automount has it.
    link = cli.folder / "link"
    link.symlink_to(cli.runs_root)
    by_link = Cli(cli.folder, {**cli.environ, "HPCAI_RUNS_ROOT": str(link)})
    assert by_link.json("show", run.name)["state"] == "RUNNING"
    by_link("cancel", run.name)


def test_a_job_whose_ranks_never_began_ends_following_with_its_own_status(cli: Cli) -> None:
    first = cli.submit(FOREVER)
    held = cli.submit("true", dependency=f"afterok:{first.job_id}")
    waits = cli("logs", "--batch", held.name, status=4).stderr
    assert waits.startswith(f"hpcai: The batch part of {held.name} has printed nothing: it waits")
    cli("cancel", held.name)
    followed = cli("logs", "-f", held.name, status=9)
    assert f"logs --batch {held.name}\n{held.name} was cancelled.\n" in followed.stderr
    cli("cancel", first.name)
    broken = cli.submit("true", setup=["exit 7"])
    cli("show", "--wait", broken.name, status=7)
    assert f"{broken.name} failed with status 7.\n" in cli("logs", "-f", broken.name, status=7).stderr


def test_a_batch_part_that_a_signal_ends_is_128_and_the_signal(cli: Cli) -> None:
    run = cli.submit(FOREVER)
    until(lambda: begun(run), 30, "the job runs")
    subprocess.run(["scancel", "--batch", "-s", "KILL", str(run.job_id)], env=cli.environ, check=True)
    cli("show", run.name, "--wait", status=137)
    assert cli.json("show", run.name)["cause"] == "failed"


def test_ctrl_c_leaves_the_job_running_and_cancel_ends_it(cli: Cli) -> None:
    following = cli.start("submit", "--follow", "-o", "json", cli.file(FOREVER, name="long"))
    run = until(
        lambda: next((Run(path) for path in cli.runs_root.glob("default/long-*")), None), 30, "a record"
    )
    until(lambda: begun(run), 30, "the job runs")
    following.send_signal(signal.SIGINT)
    said, words = following.communicate(timeout=20)
    assert following.returncode == 130, words
    facts = json.loads(said)
    assert (facts["run"], facts["job_id"], facts["cause"]) == (run.name, run.job_id, None)
    assert facts["state"] in ("RUNNING", "PENDING")
    assert f"job {run.job_id} goes on" in words and f"hpcai cancel {run.name}" in words
    # An answer of Slurm's is good for 5 s.
    until(lambda: listed(cli) == [(run.name, "RUNNING")], 20, "the queue has it")
    assert cli("show", run.name, "--wait", "--timeout-s", "0.5", status=8).stderr.endswith(
        f"hpcai show {run.name} --wait\n"
    )
    cli("cancel", run.name)
    assert (run.attempts()[0].state, run.attempts()[0].cause) == ("CANCELLED", "cancelled")
    assert "No job of yours" in cli("queue").stderr
    cli("show", run.name, "--wait", status=143)


def listed(cli: Cli) -> list[tuple[str, str]]:
    return [(job["run"], job["state"]) for job in cli.json("queue")["jobs"]]


@pytest.fixture
def array(cli: Cli) -> Run:
    """A run that is an array of four tasks: 0 to 2 go on, and the last has ended."""
    script = '#!/bin/bash\n[ "$SLURM_ARRAY_TASK_ID" = 3 ] || sleep 600\n'
    run = create_run(cli.runs_root, "default", "array", spec_text="", resolved={}, script=script)
    argv = ["sbatch", "--parsable", "--array=0-3", "--output=/dev/null", str(run.paths.script)]
    job_id = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout
    run.append_event("submitted", job_id=int(job_id), where="slurm")
    ended = f"{run.job_id}_3"
    until(lambda: cli.json("show", ended)["state"] == "COMPLETED", 30, "the last task has ended")
    until(lambda: len(cli.json("queue")["jobs"]) == 3, 30, "the others run")
    return run


def test_an_array_and_a_task_of_it_are_cancelled(cli: Cli, array: Run) -> None:
    one = f"{array.job_id}_0"
    assert cli("cancel", one).stderr == f"job {one} has ended.\n"
    assert cli.json("show", one)["state"] == "CANCELLED"
    assert "cannot be cancelled: it was cancelled" in cli("cancel", one, status=4).stderr
    others = [f"{array.job_id}_{number}" for number in (1, 2)]
    assert sorted(cli("queue", "-q").stdout.split()) == others
    # A task by its own number is that task, too.
    own = str(cli.json("show", others[0])["job_id"])
    assert cli("show", "-q", own).stdout == f"{others[0]}\n"
    cli("show", one, "--wait", status=143)
    cli("cancel", array.name)
    assert cli("queue", "-q").stdout == ""
    cli("show", array.name)
    assert [(end["job_id"], end["cause"]) for end in array.ends()] == [(array.job_id, "cancelled")]
    assert "knows no job" in cli("show", f"{array.job_id}_99", status=5).stderr


def test_what_the_queue_names_is_shown_and_cancelled(cli: Cli) -> None:
    argv = ["sbatch", "--parsable", "--array=1-9:2%1", "--output=/dev/null", "--wrap=sleep 600"]
    job_id = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout.strip()
    named = [f"{job_id}_1", f"{job_id}_[3,5,7,9]"]
    until(lambda: cli("queue", "-q").stdout.split() == named, 30, "the first task runs")
    assert [cli.json("show", one)["state"] for one in named] == ["RUNNING", "PENDING"]
    assert [cli("show", "-q", one).stdout for one in named] == [f"{one}\n" for one in named]
    assert cli.json("show", job_id)["state"] == "RUNNING"
    cli("cancel", named[1])
    assert cli("queue", "-q").stdout.split() == named[:1]
    cli("cancel", named[0])
    assert cli("queue", "-q").stdout == ""


def test_a_heterogeneous_job_is_checked_followed_and_cancelled_as_a_whole(cli: Cli) -> None:
    parts: list[dict[str, object]] = [{"ntasks_per_node": 2}, {"nodes": 2, "command": "echo two"}]
    file = cli.file("echo one", name="parts", components=parts)
    assert "says Slurm." in cli("check", file).stdout
    facts = json.loads(cli("submit", "--follow", "-o", "json", file).stdout)
    assert (facts["state"], facts["exit_status"]) == ("COMPLETED", 0)
    assert [cli("logs", facts["run"], "--rank", rank).stdout for rank in "023"] == ["one\n", "two\n", "two\n"]
    assert cli.json("show", facts["run"])["nodes"] == 3
    refused = cli("submit", file, "--set", "components.1.nodes=9", status=4).stderr
    assert refused.startswith("hpcai: components[1]: Partition 'main' has 3 nodes, and the job asks for 9.")
    run = cli.submit(FOREVER, name="long", components=parts[:1] * 2)
    until(lambda: begun(run), 30, "the job runs")
    until(lambda: len(listed(cli)) == 2, 30, "its two parts alone are in the queue")
    cli("cancel", run.name)
    assert "No job of yours" in cli("queue").stderr
    assert run.attempts()[0].cause == "cancelled"


def test_two_submissions_at_once_are_two_runs(cli: Cli) -> None:
    file = cli.file("true", name="twin")
    both = [cli.start("submit", "-q", file) for _ in range(2)]
    names = {process.communicate(timeout=60)[0].strip() for process in both}
    assert len(names) == 2
    for name in names:
        cli("show", name, "--wait")


def test_a_preempted_job_goes_on_in_a_second_attempt(cli: Cli) -> None:
    command = f'echo "attempt $HPCAI_ATTEMPT"; [ "$HPCAI_ATTEMPT" = 1 ] || {{ {FOREVER}; }}'
    run = cli.submit(command, name="low", nodes=3, exclusive=True, requeue=True)
    until(lambda: begun(run), 30, "the job runs")
    reading = cli.start("logs", "-f", run.name)
    cli("submit", "--follow", cli.file("true", partition="urgent", nodes=3, exclusive=True))
    out, words = reading.communicate(timeout=60)
    assert reading.returncode == 0, words
    assert out == "attempt 0\nbegun\nattempt 1\n"
    assert "==> attempt 1 <==" in words
    assert [(one.number, one.cause) for one in run.attempts()] == [(0, "preempted"), (1, "completed")]
    assert cli("logs", run.name, "--attempt", "0").stdout == "attempt 0\nbegun\n"
    from_first = cli("logs", "-f", run.name, "--attempt", "0")
    assert (from_first.stdout, from_first.stderr.count("==> attempt")) == (out, 1)
    assert cli("logs", "-f", run.name).stdout == "attempt 1\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 9}, "Partition 'main' has 3 nodes, and the job asks for 9."),
        ({"gpus_per_node": 3}, "3 GPUs per node"),
        ({"partition": "mian"}, "Did you mean 'main'?"),
        ({"constraint": "infiniband"}, "Invalid feature specification"),
    ],
)
def test_what_slurm_would_refuse_leaves_no_record(cli: Cli, fields: dict[str, object], message: str) -> None:
    done = cli("submit", cli.file("true", name="refused", experiment="refused", **fields), status=4)
    assert message in done.stderr
    assert not (cli.runs_root / "refused").exists()


def test_a_slurm_without_pmix_runs_horovod_by_gloo_and_refuses_mpi(
    cli: Cli, cluster: RealCluster, tmp_path: Path
) -> None:
    cluster.skip_without_pmix()
    srun = tmp_path / "srun"
    real = shutil.which("srun", path=cluster.environ["PATH"])
    srun.write_text(f'#!/bin/sh\n{real} "$@" | sed /pmix/d\n')
    srun.chmod(0o755)
    # HPCAI_LOCAL would put the embedded cluster's own programs first.
    environ = {name: value for name, value in cli.environ.items() if name != "HPCAI_LOCAL"}
    without = Cli(cli.folder, {**environ, "PATH": f"{tmp_path}:{environ['PATH']}"})
    free = cli.file("true", launcher="horovod")
    assert "export HOROVOD_CONTROLLER=mpi" in cli("submit", "--dry-run", free).stdout
    assert "export HOROVOD_CONTROLLER=gloo" in without("submit", "--dry-run", free).stdout
    without("check", free)
    by_name = cli.file("true", launcher="horovod", horovod_controller="mpi")
    refused = without("submit", by_name, status=4)
    assert "horovod_controller: mpi needs Slurm's PMIx plugin" in refused.stderr
    assert "Set horovod_controller to gloo, or leave it out." in refused.stderr
    assert "needs Slurm's PMIx plugin" in without("check", by_name, status=3).stdout
    cli("check", by_name)


def test_a_slurmctld_that_does_not_answer_is_6(cli: Cli, cluster: RealCluster, tmp_path: Path) -> None:
    conf = Path(cluster.environ["SLURM_CONF"]).read_text()
    dead = tmp_path / "slurm.conf"
    dead.write_text(re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=1", conf) + "\nMessageTimeout=1\n")
    away = Cli(cli.folder, {**cli.environ, "SLURM_CONF": str(dead), "HPCAI_LOCAL": ""})
    assert "slurmctld does not answer" in away("queue", status=6).stderr
    assert (
        "slurmctld does not answer" in away("submit", away.file("true", experiment="away"), status=6).stderr
    )
    assert not (cli.runs_root / "away").exists()
    # What is in a record needs no Slurm.
    assert "This is what the record tells." in away("show", "@last").stderr


def test_check_of_this_site_and_of_files(cli: Cli) -> None:
    site = {row["where"]: row for row in cli.json("check")["findings"]}
    assert site["partition main"]["severity"] == "ok" and "3 nodes" in site["partition main"]["what"]
    assert site["storage"]["what"].endswith("is opened by the account key.")
    assert site["limits"]["what"] == "MaxArraySize 1001, MaxJobCount 10000."
    assert site["pyxis"]["what"] == "srun has no --container-image: a job with container: is refused here."
    assert {row["severity"] for name, row in site.items() if name != "pyxis"} == {"ok"}, site
    good = cli.json("check", cli.file("true", nodes=2))["findings"]
    assert {row["id"] for row in good} == {"start", "no-time-limit", "price-unknown"}
    bad = cli("check", cli.file("true", nodes=9, gpus_per_node=3), status=3).stdout
    assert ": nodes: Partition 'main' has 3 nodes" in bad and ": gpus_per_node: The job asks for" in bad
    assert "[partition-nodes]" in bad and "[node-too-small]" in bad
    missing = cli.file("true", data=[{"name": "d", "source": "azure://no-such-container/d"}])
    assert ": data d: " in cli("check", missing, status=3).stdout
    contained = cli.file("true", container={"image": "ubuntu"}, experiment="contained")
    assert ": container: A container needs Pyxis" in cli("check", contained, status=3).stdout
    assert "A container needs Pyxis" in cli("submit", contained, status=4).stderr
    assert not (cli.runs_root / "contained").exists()
    # Of a checkout in a folder with a space the newest Pyxis alone could show anything to a container.
    newest = Cli(cli.folder, {**cli.environ, "HPCAI_PYXIS_VERSION": "0.24"})
    assert "--container-image=ubuntu" in newest("submit", contained, "--dry-run").stdout
    refused = cli("submit", missing, "--set", "experiment=no-data", status=5)
    assert "There is no container 'no-such-container'" in refused.stderr
    assert not (cli.runs_root / "no-data").exists()
    wrong = cli.folder / "wrong.yaml"
    wrong.write_text("kind: job\nname: x\ncommand: true\nnodes: two\n")
    assert f"{wrong}:4:8: nodes: got 'two'" in cli("check", str(wrong), status=3).stdout
    cli("check", "no such file.yaml", status=5)


@pytest.mark.long
def test_a_time_limit(cli: Cli) -> None:
    run = cli.submit(FOREVER, time_min=1)
    cli("show", run.name, "--wait", status=143)
    assert run.attempts()[0].cause == "time_limit"


def test_a_foreign_job_is_shown_and_read_too(cli: Cli, tmp_path: Path) -> None:
    argv = ["sbatch", "--parsable", "--job-name=foreign", f"--output={tmp_path}/out", "--wrap", "echo said"]
    job_id = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout.strip()
    cli("show", job_id, "--wait")
    assert cli.json("show", job_id)["state"] == "COMPLETED"
    assert cli("logs", "-f", job_id).stdout == "said\n"
    argv = ["sbatch", "--parsable", f"--output={tmp_path}/other", "--wrap", FOREVER]
    job_id = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout.strip()
    until((tmp_path / "other").exists, 30, "the job runs")
    following = cli.start("logs", "-f", job_id)
    assert following.stdout is not None and following.stdout.readline() == "begun\n"
    following.send_signal(signal.SIGINT)
    assert f"job {job_id} goes on.\nNext:\n" in following.communicate(timeout=20)[1]
    assert following.returncode == 130
    subprocess.run(["scancel", job_id], env=cli.environ, check=True)
    cli("logs", "-f", job_id, status=143)
    assert cli("logs", job_id, "--batch").stdout.startswith("begun\n")
    for option in ("--rank", "--attempt"):
        assert "no run record" in cli("logs", job_id, option, "0", status=4).stderr


def test_where_there_is_no_accounting_it_is_told_apart(cluster: RealCluster) -> None:
    with pytest.raises(NoAccounting, match="This Slurm keeps no accounting"):
        SlurmClient(cluster.environ).kept(["1"])
    with pytest.raises(NotFoundError, match="an ended job it forgets after a while"):
        SlurmClient(cluster.environ).job(987654)
