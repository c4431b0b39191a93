"""`hpcai submit SCRIPT.sh` on a real cluster: sbatch gets the script as it is, and it has a record."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.launch.bare import folder_name
from hpcai.runs.record import Run
from tests.cli.test_jobs import Cli
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real

# Bytes that are no UTF-8, and no newline at the end.
SCRIPT = b"""#!/bin/bash
#SBATCH --job-name="my job"
#SBATCH --output=out-%j.txt --error=err-%j.txt --comment='mine # 1'
# caf\xe9
echo "in $PWD as $SLURM_JOB_NAME of $1"; echo "to stderr" >&2
exit 3"""


@pytest.fixture
def cli(cluster: RealCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = Cli(folder, {**cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs"), "NO_COLOR": "1"})
    yield made
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def script(cli: Cli, content: bytes | str, name: str = "job.sh") -> str:
    path = cli.folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def slurm_has(cli: Cli, run: Run) -> bytes:
    """The script that Slurm keeps."""
    argv = ["scontrol", "write", "batch_script", str(run.job_id), "-"]
    return subprocess.run(argv, env=cli.environ, capture_output=True, check=True).stdout


def scontrol(cli: Cli, run: Run) -> str:
    argv = ["scontrol", "show", "job", str(run.job_id)]
    return subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True).stdout


def test_a_script_goes_through_unchanged_and_is_known_to_every_command(cli: Cli) -> None:
    script(cli, SCRIPT)
    done = cli("submit", "job.sh", "--follow", status=3)
    run = cli.run("@last")
    assert run.name.startswith("my-job-")
    # Slurm adds the newline that a text file ends with.
    assert slurm_has(cli, run).removesuffix(b"\n") == SCRIPT == run.paths.script.read_bytes()
    assert not run.paths.spec.exists() and not run.paths.logs_dir.exists()
    shown = scontrol(cli, run)
    assert f"Command={cli.folder}/job.sh" in shown and f"WorkDir={cli.folder}" in shown
    assert f"Comment=mine # 1 {run.mark}" in shown
    assert "failed with status 3 after" in done.stderr and "  | to stderr" in done.stderr
    assert f"hpcai logs {run.name}\n" in done.stderr
    for ident in (run.name, str(run.job_id), "@last"):
        printed = cli("logs", ident)
        assert (printed.stdout, printed.stderr) == (
            f"in {cli.folder} as my job of \n",
            "to stderr\n",
        )
    facts = cli.json("show", run.name)
    assert (facts["state"], facts["cause"], facts["exit_status"]) == ("FAILED", "failed", 3)
    [attempt] = facts["attempts"]
    assert attempt["node_list"] and attempt["start"] is not None and attempt["end"] >= attempt["start"]
    assert (cli.folder / f"out-{run.job_id}.txt").exists()


def test_when_slurm_has_forgotten_it_the_record_tells(cli: Cli) -> None:
    cli("submit", "-q", "--follow", script(cli, SCRIPT), status=3)
    run = cli.run("@last")
    away = Cli(
        cli.folder, {**cli.environ, "PATH": "/usr/bin:/bin", "HPCAI_LOCAL": "", "HOME": "/nonexistent"}
    )
    assert away("logs", run.name).stderr == "to stderr\n"
    assert away.json("show", run.name)["exit_status"] == 3


def test_what_users_set_for_sbatch_holds_for_their_scripts(cli: Cli) -> None:
    theirs = Cli(cli.folder, {**cli.environ, "SBATCH_JOB_NAME": "named", "SBATCH_PARTITION": "urgent"})
    name = theirs("submit", "-q", script(cli, "#!/bin/sh\n#SBATCH --hold -J x -p main\n:\n")).stdout
    assert name.startswith("named-")
    # sbatch takes its variables before a script's lines.
    assert cli.json("show", name.strip())["partition"] == "urgent"


def test_what_is_printed_in_each_form(cli: Cli) -> None:
    file = script(cli, "#!/bin/sh\n#SBATCH --hold\n:\n", "a b.sbatch")
    row = cli("submit", file)
    run = cli.run("@last")
    assert row.stdout.splitlines()[1].split()[:2] == [run.name, str(run.job_id)]
    assert f"hpcai logs -f {run.name}" in row.stderr
    facts = cli.json("submit", file)
    assert facts["schema_version"] == 1 and facts["run"].startswith("a-b-")
    name = cli("submit", "-q", file).stdout.strip()
    queued = {job["run"]: job for job in cli.json("queue")["jobs"]}
    assert queued[name]["record"] == str(cli.run(name).path)
    nothing = cli("logs", name, status=4).stderr
    assert "has no output that can be read here: it is held by you" in nothing
    cli("cancel", name)
    assert cli.json("show", name)["state"] == "CANCELLED"


def test_a_script_from_a_pipe(cli: Cli) -> None:
    argv = [*Cli._argv("submit", "-q", "-")]
    text = "#!/bin/sh\n#SBATCH -o /dev/null\nexit 0\n"
    done = subprocess.run(argv, env=cli.environ, input=text, capture_output=True, text=True, check=True)
    run = cli.run(done.stdout.strip())
    assert run.name.startswith("script-") and run.paths.script.read_text() == text
    cli("show", run.name, "--wait")
    assert slurm_has(cli, run).decode() == text


def test_an_array_of_a_script(cli: Cli) -> None:
    text = "#!/bin/sh\n#SBATCH --array=1-5:2%2 -o {}/%A-%a.out\necho task $SLURM_ARRAY_TASK_ID\n"
    file = script(cli, text.format(cli.folder.parent) + "[ $SLURM_ARRAY_TASK_ID != 3 ] || exit 5\n")
    done = cli("submit", "--follow", file, status=5)
    assert "2 of 3 tasks completed" in done.stderr
    run = cli.run("@last")
    assert run.task_ids() == (1, 3, 5)
    assert cli("logs", f"{run.name}_5").stdout == "task 5\n"
    assert "Its tasks are 1,3,5." in cli("logs", run.name, status=4).stderr
    assert cli.json("show", f"{run.name}_3")["exit_status"] == 5


def test_its_output_is_followed_as_it_comes(cli: Cli) -> None:
    gate = cli.folder / "gate"
    file = script(
        cli,
        f'#!/bin/sh\n#SBATCH -o /dev/null -o "{cli.folder}/o.txt"\necho one\n'
        f'until [ -e "{gate}" ]; do sleep 0.1; done\necho two >&2\n',
    )
    run = cli.run(cli("submit", "-q", file).stdout.strip())
    following = cli.start("logs", "-f", run.name)
    assert following.stdout is not None and following.stdout.readline() == "one\n"
    gate.touch()
    out, words = following.communicate(timeout=60)
    assert (following.returncode, out) == (0, "two\n")
    assert words == f"{run.name} completed.\n"


def test_a_bare_job_that_is_put_back_has_two_attempts(cli: Cli) -> None:
    begun = cli.folder / "begun"
    text = (
        f'#!/bin/sh\n#SBATCH -o /dev/null --requeue\n[ -e "{begun}" ] && exit 0\ntouch "{begun}"; sleep 600\n'
    )
    run = cli.run(cli("submit", "-q", script(cli, text)).stdout.strip())
    until(begun.exists, 60, "it runs")
    subprocess.run(["scontrol", "requeue", str(run.job_id)], env=cli.environ, check=True)
    cli("show", run.name, "--wait")
    assert [(one.number, one.cause) for one in run.attempts()] == [(0, "requeued"), (1, "completed")]


def test_a_dry_run_prints_the_scripts_own_bytes(cli: Cli) -> None:
    file = script(cli, SCRIPT)
    argv = Cli._argv("submit", "--dry-run", file)
    done = subprocess.run(argv, env=cli.environ, capture_output=True, check=True)
    assert done.stdout == SCRIPT
    assert cli.json("submit", "--dry-run", file)["script"] == SCRIPT.decode(errors="replace")
    assert not cli.runs_root.exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--set", "nodes=2"), 2, "is a script, which goes to sbatch unchanged: --set sets keys of a YAML"),
        (("--where", "local"), 2, "is a script for sbatch: --where local runs jobs of a YAML file"),
        (("--dry-run", "--follow"), 2, "--follow does not go with it"),
    ],
)
def test_options_of_a_yaml_file_are_refused(cli: Cli, words: tuple[str, ...], status: int, said: str) -> None:
    assert said in " ".join(cli("submit", script(cli, SCRIPT), *words, status=status).stderr.split())
    assert not cli.runs_root.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "echo no interpreter\n",
            "sbatch refused: This does not look like a batch script",
        ),
        ("#!/bin/sh\n#SBATCH -p nope\n", "`#SBATCH --partition` in the file names one."),
        ("", "sbatch refused: Batch script is empty!"),
        ("#!/bin/sh\r\n:\r\n", "DOS line breaks"),
    ],
)
def test_what_sbatch_refuses_leaves_no_record(cli: Cli, text: str, said: str) -> None:
    assert said in cli("submit", script(cli, text), status=4).stderr
    assert not list(cli.runs_root.glob("*/*"))


def test_what_a_script_has_no_ranks_and_attempts_for_is_told(cli: Cli) -> None:
    run = cli.run(cli("submit", "-q", script(cli, "#!/bin/sh\n#SBATCH --hold\n:\n")).stdout.strip())
    assert (
        "nothing tells its ranks and attempts apart" in cli("logs", "--rank", "1", run.name, status=4).stderr
    )
    assert "There is no file 'jobb.sh'" in cli("submit", "jobb.sh", status=5).stderr


@pytest.mark.parametrize(
    ("text", "name"),
    [("my job", "my-job"), ("-x/../y", "x-..-y"), ("ünï", "n"), ("***", "script"), ("a" * 300, "a" * 80)],
)
def test_names_of_jobs_as_names_of_runs(text: str, name: str) -> None:
    assert folder_name(text) == name


def test_the_report_of_a_script(cli: Cli) -> None:
    cli("submit", "-q", "--follow", script(cli, "#!/bin/sh\n#SBATCH -o /dev/null\nexit 0\n"))
    run = cli.run("@last")
    assert cli("report", run.name, "--to", str(cli.folder / "report")).returncode == 0
