"""Scripts without a record, as `--dry-run` prints them and sbatch/ holds them, run by a real Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_cluster import RealCluster
from tests.render.on_slurm import SAVES, Slurm, has_ended
from tests.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def slurm(cluster: RealCluster, tmp_path: Path) -> Slurm:
    return Slurm(cluster.environ, tmp_path)


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_all_that_the_ranks_print_is_in_one_file_and_what_they_leave_in_a_folder(
    slurm: Slurm, launcher: str
) -> None:
    rank = "RANK" if launcher == "torchrun" else "SLURM_PROCID"
    job_id, out = slurm.submit_by_hand(
        command=f'echo "rank ${rank} of attempt $HPCAI_ATTEMPT" | tee "$HPCAI_OUTPUTS/${rank}"',
        launcher=launcher,
        nodes=2,
        cpus_per_task=1,
    )
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED"
    # (torchrun complains of an agent that ends before the others.)
    said = [line for line in out.read_text().splitlines() if line.startswith("rank")]
    assert sorted(said) == ["rank 0 of attempt 0", "rank 1 of attempt 0"]
    assert sorted(slurm.folder.iterdir()) == [slurm.folder / "by-hand.sbatch", out.with_suffix(""), out]
    assert (out.with_suffix("") / "outputs/1").read_text() == "rank 1 of attempt 0\n"


def test_tasks_have_their_environment_also_where_sbatch_was_told_to_export_none(slurm: Slurm) -> None:
    # What --export=NONE leaves to srun; with that itself this cluster's srun would not be found, and with
    # any --export=NAME=VALUE Slurm asks for a login's environment, which can take it a minute and a half.
    told = Slurm({**slurm.environ, "SLURM_EXPORT_ENV": "NONE"}, slurm.folder)
    job_id, out = told.submit_by_hand(command='echo "got $VALUE"', env={"VALUE": "it"})
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED", out.read_text()
    assert out.read_text() == "got it\n"


@pytest.mark.parametrize(("setup", "status"), [("exit 0", 1), ("exit 4", 4), ("false", 1)])
def test_a_setup_that_ends_the_task_fails_it(slurm: Slurm, setup: str, status: int) -> None:
    job_id, out = slurm.submit_by_hand(command="echo trained", setup=[setup])
    job = slurm.wait(job_id, is_there=has_ended)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", f"{status}:0")
    assert (
        "setup ended before the command, with status" in out.read_text() and "trained" not in out.read_text()
    )


def test_the_job_ends_with_the_status_of_its_task(slurm: Slurm) -> None:
    job_id, _ = slurm.submit_by_hand(command="exit 7")
    job = slurm.wait(job_id, is_there=has_ended)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "7:0")


def test_a_cancelled_job_waits_until_its_tasks_have_saved(slurm: Slurm) -> None:
    (slurm.folder / "saves.py").write_text(SAVES)
    told = slurm.folder / "told"
    command = 'exec "$HPCAI_PYTHON" saves.py'
    job_id, out = slurm.submit_by_hand(command=command, nodes=2, teardown=[f"echo ended >'{told}'"])
    slurm.wait(job_id, is_there=lambda _: out.exists() and out.read_text().count("ready") == 2)
    slurm.command("scancel", job_id)
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "CANCELLED"
    until(told.exists, 30, "the teardown has run")
    assert out.read_text().count("saved") == 2


@pytest.mark.parametrize("signal", ["TERM", "HUP"])
def test_a_signal_for_the_script_alone_reaches_the_tasks(slurm: Slurm, signal: str) -> None:
    (slurm.folder / "saves.py").write_text(SAVES.replace("SIGTERM", f"SIG{signal}"))
    job_id, out = slurm.submit_by_hand(command='"$HPCAI_PYTHON" saves.py || exit 3', signal=f"B:{signal}@60")
    slurm.wait(job_id, is_there=lambda _: out.exists() and "ready" in out.read_text())
    slurm.command("scancel", "--batch", f"--signal={signal}", job_id)
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED", out.read_text()
    assert "saved" in out.read_text()


def test_parameter_servers_end_with_their_chief(slurm: Slurm) -> None:
    command = 'case $TF_CONFIG in *\'"type": "chief"\'*) echo trained ;; *) exec sleep 300 ;; esac'
    job_id, out = slurm.submit_by_hand(
        command=command, launcher="tensorflow", parameter_servers=1, nodes=3, cpus_per_task=1
    )
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "COMPLETED", out.read_text()
    assert "trained" in out.read_text()


def test_retry_is_said_to_need_the_record(slurm: Slurm) -> None:
    job_id, _ = slurm.submit_by_hand(command="exit 7", retry={"failed": 2})
    assert "and what retry allows with it" in (slurm.folder / "by-hand.sbatch").read_text()
    assert slurm.wait(job_id, is_there=has_ended)["JobState"] == "FAILED"
