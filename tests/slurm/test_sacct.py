"""What sacct prints: jobs by their submission, numbers used again, requeues, and what is no answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, SlurmError
from hpcai.slurm import sacct
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.failures import AccountingUnreachable, NoAccounting
from hpcai.slurm.parse import SEPARATOR
from tests.slurm.stand_ins import Programs

OLD, NEW = (22, 5), (24, 11)
MARK = "hpcai:default/x:0123456789abcdef"


def row(job: str, submit: str, *, version: tuple[int, int] = NEW, **fields: str) -> str:
    """A line of sacct as Slurm 24.11 printed it on the embedded cluster."""
    names = sacct.FIELDS + (sacct.OUTPUT_FIELDS if version >= sacct.OUTPUT_SINCE else ())
    values = dict.fromkeys(names, "") | {
        "JobID": job,
        "JobIDRaw": job.partition("_")[0],
        "JobName": "x",
        "User": "ada",
        "Partition": "main",
        "State": "COMPLETED",
        "ExitCode": "0:0",
        "Reason": "None",
        "Submit": submit,
        "Start": submit,
        "End": submit,
        "Timelimit": "00:05:00",
        "NNodes": "1",
        "NodeList": "n1",
        "WorkDir": "/home/ada",
        "Account": "local",
        "QOS": "normal",
        "ReqTRES": "billing=1,cpu=1,mem=1G,node=1",
        "SubmitLine": "sbatch x.sh",
    }
    return "".join(value + SEPARATOR for value in (values | fields).values()) + "\n"


def test_a_job_as_accounting_keeps_it() -> None:
    text = row(
        "7", "2026-11-21T18:00:00", State="CANCELLED by 1000", ExitCode="0:15", StdOut="/o", StdErr="/e"
    )
    [job] = sacct.jobs(text, NEW)
    assert (job.job_id, job.ident, job.state, job.exit_status, job.signal) == (7, "7", "CANCELLED", 0, 15)
    assert (job.time_limit_s, job.nodes, job.node_list, job.user) == (300, 1, "n1", "ada")
    assert (job.stdout, job.stderr, job.reason, job.restarts) == ("/o", "/e", None, 0)
    assert job.is_forgotten and job.is_final and job.told["Account"] == "local"


def test_output_is_asked_where_the_version_keeps_it() -> None:
    [job] = sacct.jobs(row("7", "2026-11-21T18:00:00", version=OLD), OLD)
    assert (job.stdout, job.stderr) == (None, None)
    assert "StdOut" in sacct.argv(["7"], NEW)[-1] and "--expand-patterns" in sacct.argv(["7"], NEW)
    assert "StdOut" not in sacct.argv(["7"], OLD)[-1] and "--expand-patterns" not in sacct.argv(["7"], OLD)


def test_many_jobs_are_one_question() -> None:
    assert "--jobs=7,12_3,13" in sacct.argv(["7", "12_3", "13_[4-9]", "7"], NEW)


def test_a_job_that_waited_when_it_was_cancelled_had_no_node() -> None:
    text = row("7", "2026-11-21T18:00:00", State="CANCELLED by 0", NodeList="None assigned", Start="None")
    [job] = sacct.jobs(text, NEW)
    assert (job.node_list, job.start_time) == (None, None)


def test_tasks_of_an_array_one_by_one_and_those_that_never_ran_together() -> None:
    text = row("7_0", "2026-11-21T18:00:00", JobIDRaw="8") + row(
        "7_[1-3]", "2026-11-21T18:00:00", JobIDRaw="7"
    )
    first, rest = sacct.jobs(text, NEW)
    assert (first.job_id, first.array_job_id, first.ident) == (8, 7, "7_0")
    assert (rest.job_id, rest.array_task_ids, rest.ident) == (7, (1, 2, 3), "7_[1-3]")


def test_each_requeue_is_a_row_and_a_restart() -> None:
    text = row("7", "2026-11-21T18:10:00") + row("7", "2026-11-21T18:00:00", State="NODE_FAIL")
    [job] = sacct.jobs(text, NEW)
    assert (job.state, job.restarts) == ("COMPLETED", 1)


def test_a_number_used_again_is_another_job_known_by_its_submission() -> None:
    mine = f"sbatch --parsable --comment=own {MARK} /runs/x/script.sbatch"
    text = row("7", "2026-11-21T18:00:00", SubmitLine=mine) + row("7", "2026-12-21T18:00:00")
    first, second = sacct.jobs(text, NEW)
    assert (first.comment, second.comment) == (MARK, None)
    assert (first.restarts, second.restarts) == (0, 0)


def test_a_newline_in_a_value_ends_no_row() -> None:
    text = row("7", "2026-11-21T18:00:00", SubmitLine="sbatch --wrap echo a\necho b") + row("8", "")
    assert [job.job_id for job in sorted(sacct.jobs(text, NEW), key=lambda job: job.job_id)] == [
        7,
        8,
    ]


@pytest.mark.parametrize("text", ["7|COMPLETED\n", row("seven", "")])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sacct printed 1 fields where 22|is no job id"):
        sacct.jobs(text, NEW)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    made = Programs(tmp_path)
    made.answers("scontrol", (1, "", "slurm_load_jobs error: Invalid job id specified"))
    made.answers("sinfo", (0, "slurm-wlm 24.11.5\n", ""))
    return made


def client(programs: Programs) -> SlurmClient:
    return SlurmClient(programs.environ, pause_s=0.001)


@pytest.mark.programs
def test_an_end_that_slurmdbd_was_not_told_of_is_no_end(programs: Programs) -> None:
    """slurmctld has forgotten the job, and its message to slurmdbd was lost or has not arrived yet."""
    programs.answers("sacct", (0, row("7", "2026-11-21T18:00:00", State="RUNNING", End="Unknown"), ""))
    with pytest.raises(NotFoundError, match=r"its accounting was not told of its end: RUNNING\."):
        client(programs).job(7)


@pytest.mark.programs
@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("Slurm accounting storage is disabled", NoAccounting),
        (
            "sacct: error: slurm_persist_conn_open: No response to persist_init\n"
            "sacct: error: Problem talking to the database: Resource temporarily unavailable",
            AccountingUnreachable,
        ),
        ("sacct: error: Problem talking to the database: Connection refused", AccountingUnreachable),
        ("sacct: error: Invalid field requested", SlurmError),
    ],
)
def test_who_does_not_answer_is_told_apart(programs: Programs, words: str, error: type[Exception]) -> None:
    programs.answers("sacct", (1, "", words))
    with pytest.raises(error) as caught:
        client(programs).kept(["7"])
    assert type(caught.value) is error
    assert len(programs.calls("sacct")) == 1


@pytest.mark.programs
def test_what_slurmctld_knows_is_no_question_to_slurmdbd(programs: Programs) -> None:
    programs.answers("scontrol", (0, "JobId=7 JobName=x\n   JobState=RUNNING Reason=None\n", ""))
    assert client(programs).job(7).state == "RUNNING"
    assert programs.calls("sacct") == []
