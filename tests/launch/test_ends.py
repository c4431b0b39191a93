"""How attempts ended, from what Slurm says and what the batch part left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from hpcai.errors import NotFoundError, StageError
from hpcai.launch import ends
from hpcai.launch.ends import Evidence, Outcome
from hpcai.runs import jsonl
from hpcai.runs.record import Run, create_run
from hpcai.slurm.answers import JobInfo, NodeInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.failures import AccountingUnreachable, NoAccounting

CANCELLED_AT = "2026-11-20T11:45:21"
NODE_FAILURE = (
    f"slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT {CANCELLED_AT} DUE TO NODE FAILURE, SEE LOG ***\n"
)
REQUEUE = f"slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT {CANCELLED_AT} DUE TO JOB REQUEUE ***\n"
PREEMPTION = f"slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT {CANCELLED_AT} DUE TO PREEMPTION ***\n"
STEP = f"slurmstepd-n1: error: *** STEP 7.0 ON n1 CANCELLED AT {CANCELLED_AT} DUE TO NODE FAILURE ***\n"
CANCELLED = f"slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT {CANCELLED_AT} ***\n"
THEN = datetime.fromisoformat(CANCELLED_AT).timestamp()


@pytest.mark.parametrize(
    ("state", "exit_status", "signal", "status"),
    [
        ("COMPLETED", 0, None, 0),
        ("FAILED", 7, None, 7),
        ("FAILED", 137, None, 137),
        ("FAILED", 0, 9, 137),
        ("TIMEOUT", 0, 15, 143),
        ("CANCELLED", 0, 15, 143),
        ("CANCELLED", 0, None, 9),
        ("NODE_FAIL", 0, None, 9),
        ("OUT_OF_MEMORY", 0, None, 9),
        ("UNKNOWN", None, None, 9),
    ],
)
def test_status_of_waiting_is_0_for_a_job_that_completed_only(
    state: str, exit_status: int | None, signal: int | None, status: int
) -> None:
    assert Outcome(state, ends.cause_of(state), exit_status, signal).status == status


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("COMPLETED", "completed"),
        ("FAILED", "failed"),
        ("TIMEOUT", "time_limit"),
        ("DEADLINE", "time_limit"),
        ("NODE_FAIL", "node_failure"),
        ("BOOT_FAIL", "node_failure"),
        ("PREEMPTED", "preempted"),
        ("OUT_OF_MEMORY", "out_of_memory"),
        ("CANCELLED", "cancelled"),
        ("SOMETHING_NEW", "unknown"),
    ],
)
def test_causes(state: str, cause: str) -> None:
    assert ends.cause_of(state) == cause


def test_last_words_are_of_this_job_and_of_the_whole_job() -> None:
    log = "start\n" + STEP + NODE_FAILURE + NODE_FAILURE.replace("JOB 7", "JOB 8") + CANCELLED
    assert ends.last_words(log, 7) == [(THEN, "node_failure")]
    assert ends.last_words(REQUEUE + PREEMPTION, 7) == [(THEN, "requeued"), (THEN, "preempted")]


def test_a_word_belongs_to_the_attempt_that_ran_then() -> None:
    words = ends.words_by_attempt([(THEN, "preempted")], {0: THEN - 100, 1: THEN - 10, 2: THEN + 30})
    assert words == {1: (THEN, "preempted")}
    assert ends.words_by_attempt([(THEN, "preempted")], {}) == {}


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (Evidence("preempted", a_node_is_down=True, exit_status=143), "preempted"),
        (Evidence(None, a_node_is_down=True, exit_status=143), "node_failure"),
        (Evidence(None, a_node_is_down=False, exit_status=None), "node_failure"),
        (Evidence(None, a_node_is_down=False, exit_status=0), "requeued"),
    ],
)
def test_cause_of_an_attempt_that_slurm_followed_by_another(evidence: Evidence, cause: str) -> None:
    assert ends.cause_of_requeue(evidence) == cause


class Slurm:
    """Answers as a SlurmClient does."""

    def __init__(self, job: JobInfo | None, nodes: Sequence[NodeInfo] = ()) -> None:
        self._job = job
        self._nodes = nodes

    def tasks(self, _ident: str, is_it: Callable[[JobInfo], bool]) -> list[JobInfo]:
        if self._job is None or not is_it(self._job):
            raise NotFoundError("Slurm knows no such job")
        return [self._job]

    def nodes(self, _names: str) -> Sequence[NodeInfo]:
        return self._nodes


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="#!/bin/sh\n")
    run.append_event("submitted", job_id=7)
    return run


def starts(run: Run, number: int, instant: float) -> None:
    line: dict[str, Any] = {"attempt": number, "job_id": 7, "node_list": "n[1-2]", "event": "start"}
    jsonl.append(run.paths.attempts, {**line, "time": instant})


def collect(run: Run, job: JobInfo | None, nodes: Sequence[NodeInfo] = ()) -> list[tuple[int, str, str]]:
    ends.collect(run, cast(SlurmClient, Slurm(job, nodes)))
    return [(end["attempt"], end["state"], end["cause"]) for end in run.ends()]


def info(run: Run, state: str, **fields: Any) -> JobInfo:
    return replace(JobInfo(7, "x", state, command=str(run.paths.script)), **fields)


def test_an_end_is_written_once(run: Run) -> None:
    starts(run, 0, THEN - 5)
    job = info(run, "TIMEOUT", exit_status=0, signal=15, end_time=THEN)
    assert collect(run, job) == collect(run, job) == [(0, "TIMEOUT", "time_limit")]
    [end] = run.ends()
    assert (end["signal"], end["end"]) == (15, THEN)


def test_a_full_disk_hides_no_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StageError("'ends.jsonl' cannot be written: No space left on device.")

    monkeypatch.setattr(Run, "append_end", full)
    job = info(run, "FAILED", exit_status=4, end_time=THEN)
    client = cast(SlurmClient, Slurm(job))
    for _ in range(2):
        outcome = ends.outcome_of_run(run, ends.collect(run, client))
        assert outcome is not None and (outcome.state, outcome.status) == ("FAILED", 4)
    (said,) = caplog.messages
    assert said.startswith("'ends.jsonl' cannot be written: No space left on device.")


def test_nothing_is_written_while_the_job_goes_on(run: Run) -> None:
    assert collect(run, info(run, "RUNNING")) == []


def test_every_attempt_of_a_requeued_job_has_its_own_end(run: Run) -> None:
    starts(run, 0, THEN - 50)
    starts(run, 1, THEN + 5)
    run.paths.batch_log.write_text(PREEMPTION)
    assert collect(run, info(run, "RUNNING", restarts=1)) == [(0, "PREEMPTED", "preempted")]
    assert run.ends()[0]["end"] == THEN
    done = info(run, "COMPLETED", restarts=1, exit_status=0, signal=0, end_time=THEN + 9)
    assert collect(run, done) == [(0, "PREEMPTED", "preempted"), (1, "COMPLETED", "completed")]


def test_a_node_that_died_without_a_word(run: Run) -> None:
    starts(run, 0, THEN - 50)
    job = info(run, "PENDING", restarts=1, submit_time=THEN)
    assert collect(run, job, [NodeInfo("n2", "DOWN")]) == [(0, "NODE_FAIL", "node_failure")]
    assert run.ends()[0]["end"] == THEN


def test_while_an_attempt_is_being_ended_its_cause_is_left_open(run: Run) -> None:
    starts(run, 0, THEN - 50)
    assert collect(run, info(run, "COMPLETING", restarts=1)) == []


def test_a_job_that_slurm_has_forgotten(run: Run) -> None:
    assert collect(run, None) == []


def test_a_job_id_that_is_anothers_now(run: Run) -> None:
    job = replace(info(run, "FAILED", exit_status=1), command="/somebody/else.sh")
    assert collect(run, job) == []
    assert ends.collect(run, cast(SlurmClient, Slurm(job))) is None


def test_a_runs_folder_by_another_path_holds_the_same_runs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path.parent)
    same = Run(tmp_path / "link" / run.name)
    assert collect(same, info(run, "FAILED", exit_status=1)) == [(0, "FAILED", "failed")]


def test_outcome_by_the_record_alone(run: Run) -> None:
    assert ends.outcome_of_record(run) is None
    starts(run, 0, THEN)
    assert ends.outcome_of_record(run) is None
    line = {"attempt": 0, "job_id": 7, "event": "end", "exit_status": 3, "time": time.time()}
    jsonl.append(run.paths.attempts, line)
    assert ends.outcome_of_record(run) == Outcome("FAILED", "failed", 3, None)


@pytest.mark.parametrize(
    ("kind", "attempt", "cause"),
    [
        ("Preempt", 0, "evicted"),
        ("Terminate", 0, "evicted"),
        ("Reboot", 0, "node_failure"),
        ("Freeze", 0, "node_failure"),
        # Of the attempt after it.
        ("Preempt", 1, "node_failure"),
    ],
)
def test_an_attempt_that_lost_a_node_of_which_azure_gave_notice_was_evicted(
    run: Run, kind: str, attempt: int, cause: str
) -> None:
    run.paths.notices_dir.mkdir()
    note = {"time": THEN, "attempt": attempt, "event": "notice", "type": kind, "status": "Scheduled"}
    jsonl.append(run.paths.notices("n2"), note)
    starts(run, 0, THEN - 5)
    run.paths.batch_log.write_text(NODE_FAILURE)
    again = info(run, "RUNNING", restarts=1, submit_time=THEN + 1)
    assert collect(run, again) == [(0, "NODE_FAIL", cause)]


def test_a_notice_makes_no_other_end_an_eviction(run: Run) -> None:
    run.paths.notices_dir.mkdir()
    jsonl.append(run.paths.notices("n2"), {"attempt": 0, "event": "notice", "type": "Preempt"})
    starts(run, 0, THEN - 5)
    assert collect(run, info(run, "COMPLETED", exit_status=0, end_time=THEN)) == [
        (0, "COMPLETED", "completed")
    ]
    other = info(run, "NODE_FAIL", end_time=THEN + 1)
    assert collect(run, other)[-1] == (0, "NODE_FAIL", "evicted")


class SlurmOfAnArray(Slurm):
    """slurmctld knows some tasks of an array, accounting the others, or does not answer."""

    def __init__(self, *known: JobInfo, kept: Sequence[JobInfo] = (), error: Exception | None = None) -> None:
        super().__init__(known[0] if known else None)
        self._known, self._kept, self._error = known, kept, error
        self.questions = 0

    def tasks(self, _ident: str, is_it: Callable[[JobInfo], bool]) -> list[JobInfo]:
        super().tasks(_ident, is_it)
        return [*self._known]

    def kept(self, _idents: Sequence[str]) -> list[JobInfo]:
        self.questions += 1
        if self._error is not None:
            raise self._error
        return [*self._kept]


@pytest.fixture
def array(tmp_path: Path) -> Run:
    run = create_run(tmp_path, "default", "x", spec_text="", resolved={"array": "0-2"}, script="#!/bin/sh\n")
    run.append_event("submitted", job_id=7, mark="hpcai:default/x:0123456789abcdef")
    return run


def task(run: Run, number: int, state: str, **fields: Any) -> JobInfo:
    return info(run, state, array_job_id=7, array_task_id=str(number), comment=run.mark, **fields)


def states(run: Run) -> list[str | None]:
    ends_of = (run.of_task(number).ends() for number in run.task_ids())
    return [str(found[-1]["state"]) if found else None for found in ends_of]


def test_tasks_that_slurmctld_has_forgotten_before_others_come_from_accounting(array: Run) -> None:
    kept = [task(array, 0, "TIMEOUT", is_forgotten=True), task(array, 2, "RUNNING", is_forgotten=True)]
    slurm = SlurmOfAnArray(task(array, 2, "RUNNING"), kept=kept)
    for _ in range(2):
        told = ends.collect_tasks(array, cast(SlurmClient, slurm))
        assert states(array) == ["TIMEOUT", "CANCELLED", None]
        assert told[0].state == "RUNNING"
    # What the record holds is not asked again.
    assert slurm.questions == 1


def test_without_accounting_a_task_that_nobody_tells_of_was_cancelled(array: Run) -> None:
    slurm = SlurmOfAnArray(task(array, 2, "RUNNING"), error=NoAccounting("none"))
    ends.collect_tasks(array, cast(SlurmClient, slurm))
    assert states(array) == ["CANCELLED", "CANCELLED", None]


def test_while_slurmdbd_is_away_nothing_is_written_of_tasks_that_it_may_know(array: Run) -> None:
    slurm = SlurmOfAnArray(task(array, 1, "FAILED"), error=AccountingUnreachable("away"))
    ends.collect_tasks(array, cast(SlurmClient, slurm))
    assert states(array) == [None, "FAILED", None]


def test_an_array_that_all_have_forgotten_was_not_cancelled(array: Run) -> None:
    assert ends.collect_tasks(array, cast(SlurmClient, SlurmOfAnArray())) == []
    assert states(array) == [None, None, None]


def test_a_record_without_a_mark_knows_its_forgotten_job_by_the_time(run: Run) -> None:
    submitted = run.events()[-1]["time"]
    of_another = JobInfo(7, "x", "FAILED", submit_time=submitted - 3600, is_forgotten=True)
    assert not ends.is_job_of(run, of_another)
    assert ends.is_job_of(run, replace(of_another, submit_time=submitted + 2))
    assert not ends.is_job_of(run, replace(of_another, submit_time=submitted, is_forgotten=False))


def test_a_forgotten_job_whose_start_accounting_missed_is_known_by_its_time(run: Run) -> None:
    run.append_event("submitted", job_id=7, where="slurm", mark="hpcai:default/x:0123456789abcdef")
    submitted = run.events()[-1]["time"]
    bare_row = JobInfo(7, "allocation", "FAILED", submit_time=submitted + 2, is_forgotten=True)
    assert ends.is_job_of(run, bare_row)
    assert not ends.is_job_of(run, replace(bare_row, told={"SubmitLine": "sbatch of-another.sh"}))
    assert not ends.is_job_of(run, replace(bare_row, submit_time=submitted - 3600))
