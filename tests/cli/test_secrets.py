"""Planted secrets reach the tasks of a real job, and are found nowhere else."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.runs.find import find_run
from hpcai.runs.record import Run
from tests import warm
from tests.container_cluster import Containers
from tests.real_cluster import RealCluster
from tests.staging.key_vault_stand_in import Vault, running
from tests.waiting import until

pytestmark = pytest.mark.real

PLANTED = {
    "FROM_FILE": "planted-in-a-file-7f3a 'q' $HOME",
    "FROM_ENV": "planted-in-the-environment-91cc",
    "FROM_VAULT": "planted-in-a-vault-5be0",
}
# Each task says by digests what it got, waits until it may go on, and prints nothing of a value.
COMMAND = (
    'for name in FROM_FILE FROM_ENV FROM_VAULT; do printf %s "${!name-none}" | md5sum; done; '
    'echo begun; until [[ -e "$HPCAI_RUN_DIR/go" ]]; do sleep 0.1; done; (exit "${STATUS:-0}")'
)


@pytest.fixture
def environ(cluster: RealCluster, tmp_path: Path) -> Iterator[dict[str, str]]:
    vault = Vault()
    vault.secrets = {"db": PLANTED["FROM_VAULT"]}
    with running(vault) as variables:
        yield {
            **cluster.environ,
            **variables,
            "HPCAI_RUNS_ROOT": str(tmp_path / "runs"),
            "MY_TOKEN": PLANTED["FROM_ENV"],
        }


def hpcai(environ: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    return warm.hpcai(*words, env=environ)


def job_file(folder: Path, **fields: object) -> Path:
    key = folder / "it's a key"
    key.write_text(PLANTED["FROM_FILE"] + "\n")
    key.chmod(0o600)
    secrets = {"FROM_FILE": f"file:{key}", "FROM_ENV": "env:MY_TOKEN", "FROM_VAULT": "keyvault://my-vault/db"}
    path = folder / "job.yaml"
    spec = {"kind": "job", "name": "planted", "command": COMMAND, "secrets": secrets, **fields}
    path.write_text(json.dumps(spec))
    return path


def found_in(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [name for name, value in PLANTED.items() if value[:20].encode() in data]


def files_with_secrets(folder: Path) -> dict[str, list[str]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.name: found for path in files if (found := found_in(path.read_bytes()))}


def command_lines() -> bytes:
    """Of every process that there is now."""
    found = b""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                found += (entry / "cmdline").read_bytes()
            except OSError:
                continue
    return found


def environs(needle: bytes) -> set[str]:
    """The programs of this machine in whose environment it stands."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and needle in (entry / "environ").read_bytes():
                found.add((entry / "comm").read_text().strip())
        except OSError:
            continue
    return found


def submitted(environ: dict[str, str], path: Path) -> Run:
    done = hpcai(environ, "submit", "-q", path)
    assert done.returncode == 0, done.stderr
    assert not found_in(done.stdout + done.stderr)
    return find_run(Path(environ["HPCAI_RUNS_ROOT"]), done.stdout.strip())


def got(run: Run, rank: int = 0) -> list[str]:
    log = run.paths.log(0, rank)
    until(lambda: log.exists() and "begun" in log.read_text(), 60, f"{log} begins")
    return [line.split()[0] for line in log.read_text().splitlines()[:3]]


def digests() -> list[str]:
    return [hashlib.md5(value.encode(), usedforsecurity=False).hexdigest() for value in PLANTED.values()]


def test_values_reach_the_tasks_and_nothing_else(environ: dict[str, str], tmp_path: Path) -> None:
    path = job_file(tmp_path, nodes=2)
    run = submitted(environ, path)
    assert got(run) == got(run, 1) == digests()

    # While it runs: its files, its script, what Slurm has, every command line, what hpcai shows.
    runs = tmp_path / "runs"
    assert files_with_secrets(runs) == {}
    assert files_with_secrets(tmp_path) == {"it's a key": ["FROM_FILE"], "FROM_ENV": ["FROM_ENV"]}
    slurm = subprocess.run(
        ["scontrol", "write", "batch_script", str(run.job_id), "-"],
        env=environ,
        capture_output=True,
        check=True,
    )
    assert b"hpcai_with_secrets" in slurm.stdout and not found_in(slurm.stdout)
    state = Path(environ["SLURM_CONF"]).parent / "state"
    assert files_with_secrets(state.parent) == {}, "Slurm keeps the environment of a submission"
    assert not found_in(command_lines())
    # Every step of this job has them, its batch part and hpcai's own helpers have not.
    holders = environs(PLANTED["FROM_VAULT"].encode())
    assert "srun" in holders and not holders & {"slurmctld", "slurmd"}
    for words in (("show", run.name), ("config", path), ("submit", path, "--dry-run"), ("check", path)):
        for form in ("table", "json"):
            done = hpcai(environ, *words, "-o", form)
            assert done.returncode == 0, done.stderr
            assert not found_in(done.stdout + done.stderr), words

    (run.path / "go").touch()
    assert hpcai(environ, "show", run.name, "--wait").returncode == 0
    assert files_with_secrets(tmp_path) == {"it's a key": ["FROM_FILE"]}, (
        "it ended: what waited for it is gone"
    )
    assert not found_in(hpcai(environ, "logs", run.name).stdout)


def test_a_cancelled_jobs_are_removed_at_the_next_submission(environ: dict[str, str], tmp_path: Path) -> None:
    run = submitted(environ, job_file(tmp_path))
    got(run)
    assert hpcai(environ, "cancel", run.name).returncode == 0
    run = submitted(environ, job_file(tmp_path, secrets={}))
    stashes = list(tmp_path.glob(".hpcai-secrets-*/*"))
    assert stashes == []
    assert hpcai(environ, "cancel", run.name).returncode == 0


def test_a_secret_that_goes_away_is_named_and_ends_the_job(environ: dict[str, str], tmp_path: Path) -> None:
    path = job_file(tmp_path)
    run_words = hpcai(environ, "submit", "-q", path, "--set", "hold=true")
    run = find_run(tmp_path / "runs", run_words.stdout.strip())
    (tmp_path / "it's a key").unlink()
    subprocess.run(["scontrol", "release", str(run.job_id)], env=environ, check=True)
    assert hpcai(environ, "show", run.name, "--wait").returncode == 1
    assert (
        f"the secret FROM_FILE was not read from file:{tmp_path}/it's a key"
        in run.paths.batch_log.read_text()
    )


def test_what_others_may_read_is_refused_before_the_queue(environ: dict[str, str], tmp_path: Path) -> None:
    path = job_file(tmp_path)
    (tmp_path / "it's a key").chmod(0o644)
    done = hpcai(environ, "submit", path)
    assert done.returncode == 3
    assert f"{path}:" in done.stderr and "has mode 0644: others may read it.\n" in done.stderr
    assert f"chmod 600 '{tmp_path}/it'\"'\"'s a key'" in done.stderr
    assert not found_in(done.stderr) and not (tmp_path / "runs").exists()
    done = hpcai({name: value for name, value in environ.items() if name != "MY_TOKEN"}, "check", path)
    assert done.returncode == 3
    assert "MY_TOKEN, which is not set here" in done.stdout and "has mode 0644" in done.stdout


def test_on_this_machine_the_same(environ: dict[str, str], tmp_path: Path) -> None:
    command = 'printf %s "$FROM_FILE" "$FROM_ENV" "$FROM_VAULT" | md5sum; echo "${MY_TOKEN-not here}"'
    path = job_file(tmp_path, command=command)
    done = hpcai(environ, "submit", "-q", path, "--where", "local")
    assert done.returncode == 0, done.stderr
    run = find_run(tmp_path / "runs", done.stdout.strip())
    whole = "".join(PLANTED.values()).encode()
    digest = hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert run.paths.log(0, 0).read_text() == f"{digest}  -\nnot here\n"
    assert files_with_secrets(tmp_path) == {"it's a key": ["FROM_FILE"]}
    assert list((tmp_path / f".hpcai-secrets-{os.getuid()}").iterdir()) == []


@pytest.mark.usefixtures("checkout_in_containers")
def test_in_a_container_over_attempts_until_the_job_is_done(containers: Containers, tmp_path: Path) -> None:
    environ = {
        **containers.environ,
        "HPCAI_RUNS_ROOT": str(tmp_path / "runs"),
        "MY_TOKEN": PLANTED["FROM_ENV"],
    }
    path = tmp_path / "job.yaml"
    spec = {
        "kind": "job",
        "name": "planted",
        # The image has a SHARED_VAR of its own.
        "command": 'echo "$HPCAI_ATTEMPT ${#SHARED_VAR} $FROM_IMAGE"; exit "$((HPCAI_ATTEMPT ? 0 : 75))"',
        "container": {"image": str(containers.squashfs), "name": "mine"},
        "secrets": {"SHARED_VAR": "env:MY_TOKEN"},
        "retry": {"failed": 1, "statuses": [75]},
        "teardown": ['echo "$HPCAI_EXIT_STATUS ${SHARED_VAR-none}" >>"$HPCAI_RUN_DIR/ended"'],
    }
    path.write_text(json.dumps(spec))
    run = submitted(environ, path)
    done = hpcai(environ, "show", run.name, "--wait")
    assert done.returncode == 0, run.paths.batch_log.read_text()
    length = len(PLANTED["FROM_ENV"])
    assert [run.paths.log(attempt, 0).read_text() for attempt in (0, 1)] == [
        f"{attempt} {length} image\n" for attempt in (0, 1)
    ]
    assert (run.path / "ended").read_text() == "75 none\n0 none\n", (
        "behind each attempt, and without the secret"
    )
    assert [attempt.cause for attempt in run.attempts()] == ["failed", "completed"]
    assert files_with_secrets(tmp_path) == {}, "it waited for the second attempt, and is gone now"
