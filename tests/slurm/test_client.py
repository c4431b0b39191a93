"""What the client makes of Slurm's answers; programs that answer as Slurm does stand in for its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, SlurmError, UnreachableError
from hpcai.shell import Completed, ProgramMissing
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.failures import failure
from hpcai.slurm.parse import JOB_FIELDS, SEPARATOR
from tests.slurm.stand_ins import Programs

pytestmark = pytest.mark.programs

CONNECT_FAILURE = (
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    folder = tmp_path / "bin with space"
    folder.mkdir()
    return Programs(folder)


def client(programs: Programs, **environ: str) -> SlurmClient:
    return SlurmClient({**programs.environ, **environ}, pause_s=0.001)


def squeue_line(job_id: int, command: str) -> str:
    values = dict.fromkeys(JOB_FIELDS, "") | {"JobID": str(job_id), "State": "PENDING", "Command": command}
    return "".join(values[field] + SEPARATOR for field in JOB_FIELDS) + "\n"


PYXIS = "Options provided by plugins:\n      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH"


@pytest.mark.parametrize(
    ("words", "has_pyxis", "release"),
    [
        ("      --container   Path to OCI container bundle", False, None),
        (PYXIS, True, "0.19"),
        (f"{PYXIS}\n      --container-entrypoint-log", True, None),
        (f"{PYXIS}\n      --container-entrypoint-log\n      --container-unshare=NS[,NS...]", True, "0.24"),
    ],
)
def test_pyxis_is_there_when_srun_tells_its_options(
    programs: Programs, words: str, has_pyxis: bool, release: str | None
) -> None:
    programs.answers("srun", (0, f"Usage: srun [OPTIONS]\n{words}\n", ""))
    slurm = client(programs)
    assert [slurm.has_pyxis(), slurm.has_pyxis()] == [has_pyxis] * 2
    assert slurm.pyxis_release() == release
    assert programs.calls("srun") == ["--help"]


def test_the_mpi_plugins_are_read_from_where_each_release_prints_them(programs: Programs) -> None:
    programs.answers("srun", (0, "", "srun: MPI types are...\nsrun: none\nsrun: pmix\n"))
    assert client(programs).mpi_plugins() == {"none", "pmix"}
    assert programs.calls("srun") == ["--mpi=list"]
    programs.answers("srun", (0, "", "srun: warning: of a plugin\n"))
    with pytest.raises(SlurmError, match="What srun --mpi=list printed cannot be read"):
        client(programs).mpi_plugins()


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", "sinfo -s"),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "ask for less",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination",
            "sacctmgr",
        ),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid", "time_min"),
        ("sbatch: error: Memory specification can not be satisfied", "mem_gib"),
        ("sbatch: error: something that only this site says", ""),
    ],
)
def test_a_refusal_keeps_slurms_words_and_says_what_to_do(
    programs: Programs, words: str, advice: str
) -> None:
    programs.answers("sbatch", (1, "", words + "\n"))
    with pytest.raises(SlurmError) as caught:
        client(programs).submit(Path("/runs/script.sbatch"))
    assert words.removeprefix("sbatch: error: ") in str(caught.value)
    assert advice in (caught.value.next_step or "")
    assert len(programs.calls("sbatch")) == 1


def test_the_line_that_says_most_comes_first(programs: Programs) -> None:
    lines = "sbatch: error: invalid partition: nope\nsbatch: error: Batch job submission failed: Invalid"
    programs.answers("sbatch", (1, "", lines))
    with pytest.raises(SlurmError) as caught:
        client(programs).submit(Path("/runs/script.sbatch"))
    assert caught.value.what == (
        "sbatch refused: Batch job submission failed: Invalid; invalid partition: nope."
    )


def test_slurmctld_away_is_unreachable_after_the_retries(programs: Programs) -> None:
    programs.answers(
        "squeue", (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    )
    with pytest.raises(UnreachableError) as caught:
        client(programs).jobs()
    assert caught.value.exit_status == 6
    assert len(programs.calls("squeue")) == 2


def test_no_configuration(programs: Programs) -> None:
    programs.answers("squeue", (1, "", "squeue: fatal: Unable to process configuration file\n"))
    with pytest.raises(SlurmError, match="SLURM_CONF"):
        client(programs).jobs()


def test_many_jobs_are_one_query(programs: Programs) -> None:
    programs.answers("squeue", (0, squeue_line(1, "/a") + squeue_line(2, "/b"), ""))
    assert [job.job_id for job in client(programs).jobs([2, 1, 2])] == [1, 2]
    [call] = programs.calls("squeue")
    assert call.endswith("--states=all --jobs=1,2")


def test_no_jobs_is_no_query(programs: Programs) -> None:
    programs.answers("squeue", (0, "", ""))
    assert client(programs).jobs([]) == []
    assert programs.calls("squeue") == []


def test_jobs_that_slurm_has_forgotten(programs: Programs) -> None:
    programs.answers("squeue", (1, "", "slurm_load_jobs error: Invalid job id specified"))
    assert client(programs).jobs([9]) == []
    programs.answers("scontrol", (1, "", "slurm_load_jobs error: Invalid job id specified"))
    with pytest.raises(NotFoundError, match="queue"):
        client(programs).job(9)


def block(job_id: int, of_array: str = "") -> str:
    return f"JobId={job_id} {of_array}JobName=x\n   JobState=RUNNING\n\n"


def test_a_job_is_the_one_that_was_asked_for(programs: Programs) -> None:
    # What `scontrol show job 0` prints: every job.
    programs.answers("scontrol", (0, block(7) + block(8, "ArrayJobId=6 ArrayTaskId=1 "), ""))
    slurm = client(programs)
    assert [slurm.job(one).ident for one in (7, 6, 8, "6_1")] == ["7", "6", "6_1", "6_1"]
    for other in (0, 9, "8_1", "6_2"):
        with pytest.raises(NotFoundError, match=f"no job {other}"):
            slurm.job(other)


def test_an_array_goes_on_while_a_task_of_it_does(programs: Programs) -> None:
    tasks = [block(9 - number, f"ArrayJobId=6 ArrayTaskId={number} ") for number in (3, 2, 1)]
    ended = [tasks[0].replace("RUNNING", "COMPLETED"), tasks[1].replace("RUNNING", "FAILED")]
    programs.answers("scontrol", (0, "".join([*ended, tasks[2]]), ""), (0, "".join(ended), ""))
    slurm = client(programs)
    assert [(job.job_id, job.ident, job.state) for job in (slurm.job(6), slurm.job(6))] == [
        (6, "6", "RUNNING"),
        (6, "6", "FAILED"),
    ]


def test_an_array_that_waits_in_part_runs(programs: Programs) -> None:
    waiting = block(6, "ArrayJobId=6 ArrayTaskId=2-5%1 ").replace("RUNNING", "PENDING")
    programs.answers("scontrol", (0, waiting + block(7, "ArrayJobId=6 ArrayTaskId=1 "), ""))
    slurm = client(programs)
    assert (slurm.job(6).ident, slurm.job(6).state) == ("6", "RUNNING")
    assert (slurm.job("6_[2-5]").ident, slurm.job("6_[2-5]").state) == ("6_[2-5]", "PENDING")
    # Only those that were named: what is cancelled must not be more.
    with pytest.raises(NotFoundError, match="no job 6_"):
        slurm.job("6_[3]")
    assert set(programs.calls("scontrol")) == {"show job 6"}


def test_a_task_that_still_stands_among_others_that_wait(programs: Programs) -> None:
    waiting = "JobId=6 ArrayJobId=6 ArrayTaskId=2,4-6%1 JobName=x\n   JobState=PENDING\n\n"
    programs.answers("scontrol", (0, waiting, ""))
    slurm = client(programs)
    job = slurm.job("6_5")
    assert (job.ident, job.state, job.array_task_ids) == ("6_5", "PENDING", (5,))
    assert [one.array_task_ids for one in slurm.tasks(6)] == [(2, 4, 5, 6)]
    assert programs.environment("scontrol")["SLURM_BITSTR_LEN"] == "0"
    with pytest.raises(NotFoundError, match="no job 6_3"):
        slurm.job("6_3")


def test_of_an_arrays_tasks_that_did_not_complete_the_first_to_end_tells(programs: Programs) -> None:
    def task(number: int, state: str, end: str) -> str:
        first = f"JobId={number} ArrayJobId=6 ArrayTaskId={number} JobName=x\n"
        return f"{first}   JobState={state} ExitCode={number}:0\n   EndTime=2026-11-21T12:00:{end}\n\n"

    told = [task(1, "FAILED", "05"), task(2, "FAILED", "03"), task(3, "COMPLETED", "01")]
    programs.answers("scontrol", (0, "".join(told), ""))
    assert client(programs).job(6).exit_status == 2


def test_a_query_is_in_utc_and_without_the_users_own_formats(programs: Programs) -> None:
    programs.answers("squeue", (0, "", ""))
    client(programs, TZ="Asia/Tokyo", SQUEUE_STATES="RUNNING", SLURM_TIME_FORMAT="relative").jobs()
    environ = programs.environment("squeue")
    assert (environ["TZ"], environ["SLURM_TIME_FORMAT"]) == ("UTC", "standard")
    assert environ["SLURM_BITSTR_LEN"] == "0"
    assert "SQUEUE_STATES" not in environ


def test_a_submission_from_within_a_job_leaves_that_jobs_variables_out(programs: Programs) -> None:
    programs.answers("sbatch", (0, "12\n", ""))
    client(
        programs, SLURM_CONF="/dev/null", SLURM_NTASKS="8", SLURM_JOB_ID="3", PMIX_RANK="0", TZ="Asia/Tokyo"
    ).submit(Path("/runs/script.sbatch"))
    environ = programs.environment("sbatch")
    assert environ["SLURM_CONF"] == "/dev/null" and environ["TZ"] == "Asia/Tokyo"
    assert not {"SLURM_NTASKS", "SLURM_JOB_ID", "PMIX_RANK"} & set(environ)


def test_no_slurm_at_all(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="hpcai local up"):
        SlurmClient({"PATH": str(tmp_path)}).jobs()


def test_what_cannot_be_read_is_said(programs: Programs) -> None:
    programs.answers("squeue", (0, "surprise\n", ""))
    with pytest.raises(SlurmError, match="cannot be read"):
        client(programs).jobs()


def test_the_version_is_asked_once(programs: Programs) -> None:
    programs.answers("sinfo", (0, "slurm-wlm 22.05.8\n", ""))
    slurm = client(programs)
    assert slurm.version() == slurm.version() == (22, 5)
    assert programs.calls("sinfo") == ["--version"]


@pytest.mark.parametrize("as_is", [True, False])
def test_what_users_set_for_sbatch_holds_for_their_own_scripts_alone(
    programs: Programs, tmp_path: Path, as_is: bool
) -> None:
    would = "sbatch: Job 7 to start at 2026-11-21T20:00:00 using 1 processors on nodes n1 in partition main\n"
    programs.answers("sbatch", (0, "", would))
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --partition=main\n")
    slurm = client(programs, SBATCH_PARTITION="urgent", SLURM_JOB_ID="1")
    slurm.test_only(script, as_is=as_is)
    told = programs.environment("sbatch")
    assert ("SBATCH_PARTITION" in told, "SLURM_JOB_ID" in told) == (as_is, False)


def test_a_node_that_is_silent_is_not_taken_for_slurmctld() -> None:
    said = (
        "srun: error: Task launch for StepId=81.0 failed on node n1: Socket timed out on send/recv\n"
        "srun: error: Application launch failed: Socket timed out on send/recv operation\n"
    )
    error = failure(Completed(("srun",), 1, "", said))
    assert isinstance(error, UnreachableError)
    assert str(error).startswith("The node does not answer: ")
