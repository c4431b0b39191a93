"""A job is submitted once, whatever sbatch answers; programs that answer as Slurm does stand in for it."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from hpcai.errors import SlurmError, UnreachableError
from hpcai.shell import NoRoomToStart
from hpcai.slurm import parse
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.marks import listed, new_mark
from hpcai.slurm.submission import ATTEMPTS, SubmissionInDoubt
from tests.slurm.stand_ins import Programs

pytestmark = pytest.mark.programs

FAILED = "sbatch: error: Batch job submission failed: "
NOT_REACHED = (1, "", f"{FAILED}Unable to contact slurm controller (connect failure)")
TIMED_OUT = (1, "", f"{FAILED}Socket timed out on send/recv operation")
BUSY = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
TOO_BUSY = (1, "", f"{BUSY}\n{FAILED}Resource temporarily unavailable")
NO_ANSWER = (1, "", "slurm_load_jobs error: Socket timed out on send/recv operation")
REFUSED = (1, "", f"{FAILED}Invalid partition name specified")
ACCEPTED = (0, "15\n", "")
NO_JOBS = (0, "", "")
MARK = new_mark("default/x-1")


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    folder = tmp_path / "bin with space"
    folder.mkdir()
    made = Programs(folder)
    made.answers("scontrol", (0, "MinJobAge               = 300 sec\n", ""))
    return made


def submit(programs: Programs, script: Path | bytes = Path("/runs/script.sbatch"), **environ: str) -> int:
    client = SlurmClient({**programs.environ, **environ}, pause_s=0.001, settle_s=0.01, timeout_s=5)
    return client.submit(script, mark=MARK)


def line(
    job_id: int,
    *,
    array: int | None = None,
    first: str = "N/A",
    comment: str = "",
    of: str = "",
    at: str = "",
) -> str:
    values = (str(job_id), str(array or job_id), first, at, comment, of)
    return "".join(value + parse.SEPARATOR for value in values) + "\n"


def marked(*ids: int) -> tuple[int, str, str]:
    return (0, line(3, of="/else") + "".join(line(one, comment=f"mine {MARK}") for one in ids), "")


def test_the_job_id_and_the_mark(programs: Programs, tmp_path: Path) -> None:
    programs.answers("sbatch", (0, "12;hpc\n", ""))
    script = tmp_path / "a b.sbatch"
    script.write_text('#!/bin/sh\n#SBATCH --comment="mine # it is"\n')
    client = SlurmClient(programs.environ)
    assert client.submit(script, args=["--hold"], mark=MARK) == 12
    assert programs.calls("sbatch") == [f"--parsable --hold --comment=mine # it is {MARK} {script}"]
    assert programs.calls("squeue") == []


@pytest.mark.parametrize(("length", "is_marked"), [(900, True), (1015, False)])
def test_a_comment_that_leaves_no_room_stays_as_it_is(
    programs: Programs, tmp_path: Path, length: int, is_marked: bool
) -> None:
    programs.answers("sbatch", ACCEPTED)
    script = f"#!/bin/sh\n#SBATCH --comment={'x' * length}\n".encode()
    assert submit(programs, script) == 15
    [call] = programs.calls("sbatch")
    assert call == f"--parsable --comment={'x' * length}{f' {MARK}' if is_marked else ''}"


def test_marks_differ_and_name_the_run() -> None:
    assert re.fullmatch(r"hpcai:default/x-1:[0-9a-f]{16}", MARK)
    assert len({new_mark() for _ in range(100)}) == 100


def test_the_id_is_the_one_that_sbatch_tells() -> None:
    array = line(6, array=5) + line(7, array=5) + line(5, array=5)
    parts = line(4, first="3") + line(3, first="3")
    assert {job.job_id for job in listed(array)} == {5}
    assert {job.job_id for job in listed(parts)} == {3}
    [job] = listed(line(9, at="1970-01-01T00:01:00", comment="a K", of="(null)"))
    assert (job.submitted, job.comment, job.command) == (60.0, "a K", "")
    with pytest.raises(SlurmError, match="cannot be read: 1 fields, not 6"):
        listed("surprise\n")


@pytest.mark.parametrize(
    ("answer", "words"), [(NOT_REACHED, "does not answer"), (TOO_BUSY, "Resource temporarily unavailable")]
)
def test_a_request_that_did_not_arrive_is_made_again_and_logged(
    programs: Programs, caplog: pytest.LogCaptureFixture, answer: tuple[int, str, str], words: str
) -> None:
    programs.answers("sbatch", answer, answer, (0, "13\n", ""))
    with caplog.at_level(logging.WARNING):
        assert submit(programs) == 13
    assert words in caplog.text and f"3 of {ATTEMPTS}" in caplog.text
    assert programs.calls("squeue") == []


def test_after_some_attempts_it_is_left(programs: Programs) -> None:
    programs.answers("sbatch", NOT_REACHED)
    with pytest.raises(UnreachableError) as caught:
        submit(programs)
    assert not isinstance(caught.value, SubmissionInDoubt)
    assert len(programs.calls("sbatch")) == ATTEMPTS


def test_a_refusal_is_never_repeated(programs: Programs) -> None:
    programs.answers("sbatch", REFUSED)
    with pytest.raises(SlurmError, match="Invalid partition"):
        submit(programs)
    assert (len(programs.calls("sbatch")), programs.calls("squeue")) == (1, [])


# What sbatch leaves when its answer is lost.
LOST = {
    "timed out": TIMED_OUT,
    "first busy, then timed out": (1, "", f"{BUSY}\n{TIMED_OUT[2]}"),
    "no id": (0, "", ""),
    "no word": (1, "", ""),
    "killed below a wrapper": (137, "", "sbatch: line 3: 71 Killed  /usr/bin/sbatch"),
    "a wrapper failed": (1, "", "Traceback (most recent call last):\nOSError: disk full"),
    "reset": (1, "", f"{FAILED}Unable to contact slurm controller (receive failure)"),
}


@pytest.mark.parametrize("answer", LOST.values(), ids=list(LOST))
def test_a_job_whose_answer_was_lost_is_found_by_its_mark(
    programs: Programs, answer: tuple[int, str, str]
) -> None:
    programs.answers("sbatch", answer, ACCEPTED)
    programs.answers("squeue", NO_JOBS, marked(14))
    assert submit(programs) == 14
    assert len(programs.calls("sbatch")) == 1


def test_a_job_without_its_mark_is_found_by_its_own_script(programs: Programs) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", (0, line(14, of="/runs/script.sbatch"), ""))
    assert submit(programs) == 14


@pytest.mark.parametrize("answer", [TIMED_OUT, LOST["no id"], LOST["no word"]])
def test_a_job_that_was_not_accepted_is_submitted_again(
    programs: Programs, answer: tuple[int, str, str]
) -> None:
    programs.answers("sbatch", answer, ACCEPTED)
    programs.answers("squeue", (0, line(3, of="/else"), ""))
    assert submit(programs) == 15
    assert len(programs.calls("sbatch")) == 2


def test_a_wrapper_that_refuses_is_asked_once(programs: Programs) -> None:
    programs.answers("sbatch", (1, "", "Your project has no hours left."))
    programs.answers("squeue", NO_JOBS)
    with pytest.raises(SlurmError, match="no hours left"):
        submit(programs)
    assert len(programs.calls("sbatch")) == 1


def test_one_that_comes_late_is_taken_out_again(programs: Programs, caplog: pytest.LogCaptureFixture) -> None:
    programs.answers("sbatch", TIMED_OUT, ACCEPTED)
    programs.answers("squeue", NO_JOBS, NO_JOBS, marked(14, 15))
    programs.answers("scancel", (0, "", ""))
    with caplog.at_level(logging.WARNING):
        assert submit(programs) == 14
    assert programs.calls("scancel") == ["15"]
    assert "Job 15 is cancelled: it is job 14, which came late, once more." in caplog.text


def test_in_doubt_nothing_is_submitted_again(programs: Programs) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", NO_ANSWER)
    with pytest.raises(SubmissionInDoubt, match="may have accepted"):
        submit(programs)
    assert (len(programs.calls("sbatch")), len(programs.calls("squeue"))) == (1, ATTEMPTS)


@pytest.mark.parametrize("answer", [(1, "", "squeue: error: you may not"), (0, "surprise\n", "")])
def test_a_squeue_that_refuses_is_no_refusal_of_the_job(
    programs: Programs, answer: tuple[int, str, str]
) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", answer)
    with pytest.raises(SubmissionInDoubt, match="may have accepted"):
        submit(programs)
    assert len(programs.calls("sbatch")) == 1


@pytest.mark.parametrize("comment", ["", "the site's own"])
def test_a_job_of_the_same_script_whose_comment_does_not_tell_leaves_doubt(
    programs: Programs, tmp_path: Path, comment: str
) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n")
    client = SlurmClient(programs.environ, pause_s=0.001, settle_s=0.01)
    programs.answers("sbatch", TIMED_OUT, ACCEPTED)
    # One from long ago and one with the mark of another submission are others.
    others = line(3, of=str(script), at="2020-01-01T00:00:00")
    others += line(4, of=str(script), at="2100-01-01T00:00:00", comment=new_mark("default/other"))
    programs.answers("squeue", (0, others, ""))
    assert client.submit(script, mark=MARK, as_is=True) == 15
    programs.answers("sbatch", TIMED_OUT, TIMED_OUT, TIMED_OUT)
    unmarked = line(5, of=str(script), at="2100-01-01T00:00:00", comment=comment)
    programs.answers("squeue", (0, others + unmarked, ""))
    with pytest.raises(SubmissionInDoubt, match="job 5 of the same script may be this one"):
        client.submit(script, mark=MARK, as_is=True)


def test_slurms_own_time_limit_tells_how_long_a_job_may_come_late(programs: Programs) -> None:
    config = "MinJobAge               = 300 sec\nMessageTimeout          = 1 sec\n"
    programs.answers("scontrol", (0, config, ""))
    programs.answers("sbatch", TIMED_OUT, ACCEPTED)
    programs.answers("squeue", NO_JOBS)
    begun = time.monotonic()
    assert SlurmClient(programs.environ, pause_s=0.001).submit(Path("/runs/script.sbatch"), mark=MARK) == 15
    assert time.monotonic() - begun > 1


def test_a_slurm_that_comes_back_tells(programs: Programs) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", NO_ANSWER, NO_ANSWER, marked(14))
    assert submit(programs) == 14


FORGETFUL = (0, "MinJobAge               = 2 sec\n", "")


def test_a_job_that_slurm_has_forgotten_is_found_in_accounting(programs: Programs) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", NO_JOBS)
    programs.answers("scontrol", FORGETFUL)
    programs.answers("sacct", (0, f"13||sbatch x\n14_2||sbatch --parsable --comment={MARK} x\n", ""))
    assert submit(programs) == 14
    programs.answers("sacct", (0, "13||sbatch x\n", ""))
    programs.answers("sbatch", TIMED_OUT, TIMED_OUT, ACCEPTED)
    assert submit(programs) == 15


def test_where_slurm_forgets_and_nothing_remembers_there_is_doubt(programs: Programs) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", NO_JOBS)
    programs.answers("scontrol", FORGETFUL)
    programs.answers("sacct", (1, "", "Slurm accounting storage is disabled"))
    with pytest.raises(SubmissionInDoubt, match="no accounting to ask") as caught:
        submit(programs)
    assert "`squeue --me` tells" in str(caught.value)
    assert len(programs.calls("sbatch")) == 1


@pytest.mark.parametrize("environ", [{}, {"SBATCH_CLUSTERS": "east"}], ids=["script", "environment"])
def test_of_several_clusters_the_one_asked_does_not_tell(programs: Programs, environ: dict[str, str]) -> None:
    programs.answers("sbatch", TIMED_OUT)
    programs.answers("squeue", NO_JOBS)
    script = b"#!/bin/sh\n" + (b"" if environ else b"#SBATCH -M east\n")
    with pytest.raises(SubmissionInDoubt, match="--clusters=east"):
        submit(programs, script, **environ)
    assert len(programs.calls("sbatch")) == 1


def test_an_sbatch_for_which_there_is_no_room_leaves_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(NoRoomToStart, match="'sbatch' cannot be started: Cannot allocate memory"):
        SlurmClient({}, pause_s=0.001).submit(Path("/runs/script.sbatch"))


def test_what_a_wrapper_has_started_ends_with_it(programs: Programs, tmp_path: Path) -> None:
    late = tmp_path / "late"
    wrapper = programs.folder / "sbatch"
    wrapper.write_text(f'#!/bin/sh\n(sleep 0.6; touch "{late}") & echo 21; sleep 60\n')
    wrapper.chmod(0o755)
    client = SlurmClient(programs.environ, timeout_s=0.3)
    # What it said before its time was over counts.
    assert client.submit(Path("/runs/script.sbatch")) == 21
    sleeping = subprocess.run(["pgrep", "-f", str(late)], capture_output=True, text=True, check=False)
    assert sleeping.stdout == "" and not late.exists()
