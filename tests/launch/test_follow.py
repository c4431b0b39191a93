"""A run as its records arrive."""

from __future__ import annotations

from typing import Any

import pytest

from hpcai.launch.ends import Outcome
from hpcai.launch.follow import RunState
from hpcai.runs.metrics import Value
from hpcai.slurm.answers import JobInfo

RESOLVED = {"nodes": 2, "command": "python train.py", "data": [{"name": "digits"}]}


def state(**job: Any) -> RunState:
    made = RunState.of(RESOLVED)
    made.submitted = 100.0
    if job:
        made.job = JobInfo(7, "x", **job)
    return made


def line(number: int, event: str, time: float, **fields: Any) -> dict[str, Any]:
    return {"attempt": number, "job_id": 7, "node_list": "n[1-2]", "event": event, "time": time, **fields}


def mark(name: str, time: float, step: int = 0, attempt: int = 0) -> Value:
    return Value(f"mark/{name}", attempt, step, time)


def running(*values: Value) -> RunState:
    made = state(state="RUNNING")
    made.feed_attempts([line(0, "start", 110.0), line(0, "staged", 111.0)])
    made.feed_values(values)
    return made


@pytest.mark.parametrize(
    ("job", "phase", "words"),
    [
        ({}, "submitted", None),
        ({"state": "PENDING", "reason": "Resources"}, "waiting", "waits for nodes to become free"),
        ({"state": "CONFIGURING"}, "starting", "its nodes are being made ready"),
        ({"state": "RUNNING"}, "starting", "runs"),
        ({"state": "COMPLETING"}, "ending", "is ending"),
    ],
)
def test_phases_before_an_attempt_writes(job: dict[str, Any], phase: str, words: str | None) -> None:
    now = state(**job).snapshot(105.0)
    assert (now.phase, now.words, now.since) == (phase, words, 100.0)


def test_staging_and_what_each_node_brought() -> None:
    made = state(state="RUNNING")
    made.feed_attempts([line(0, "start", 110.0)])
    assert made.snapshot(111.0).phase == "staging"
    record = {
        "data": "digits",
        "event": "done",
        "bytes": 10,
        "bytes_from": {"blob": 10, "cache": 0},
        "seconds": 0.5,
    }
    made.feed_data("n1", [{**record, "attempt": 0}])
    now = made.snapshot(112.0)
    assert [(one.node, one.data, one.from_blob_bytes) for one in now.staged] == [("n1", "digits", 10)]
    assert (now.wanted_data, now.node_list, now.since) == (2, "n[1-2]", 110.0)


@pytest.mark.parametrize(
    ("marks", "phase"),
    [
        ((), "running"),
        (("started",), "first step"),
        (("started", "first_step"), "training"),
        (("started", "first_step", "evaluating"), "evaluating"),
        (("started", "first_step", "evaluating", "evaluated"), "training"),
        (("started", "first_step", "saving"), "saving"),
        (("started", "first_step", "saving", "saved"), "training"),
        (("started", "first_step", "trained", "evaluating", "evaluated"), "saving"),
        (("started", "first_step", "trained", "saving", "saved"), "ending"),
        (("started", "somebodys_own"), "first step"),
    ],
)
def test_phases_by_the_trainers_marks(marks: tuple[str, ...], phase: str) -> None:
    made = running(*(mark(name, 112.0 + index) for index, name in enumerate(marks)))
    assert made.snapshot(130.0).phase == phase


def test_metrics_without_marks_mean_training() -> None:
    assert running(Value("loss", 1.0, 5, 112.0)).snapshot(113.0).phase == "training"


def test_numbers_pace_and_time_left() -> None:
    made = running(mark("first_step", 112.0), Value("epochs", 4, 0, 112.0))
    for step in range(1, 21):
        made.feed_values(
            [Value("epoch", step / 10, step, 112.0 + step), Value("loss", 1 / step, step, 112.0 + step)]
        )
    made.feed_values([Value("top1", 0.9, 20, 133.0), Value("images_per_s", 35.0, 20, 133.0)])
    now = made.snapshot(132.0)
    assert (now.epoch, now.epochs, now.step, now.loss, now.top1) == (2, 4, 20, 0.05, 0.9)
    assert (now.fraction, now.evaluations, now.images_per_s) == (0.5, 1, (35.0,))
    # 2 epochs more at 10 s each.
    assert now.left_s == pytest.approx(20.0)
    assert made.snapshot(142.0).left_s == pytest.approx(10.0)
    assert made.snapshot(999.0).left_s == 0


@pytest.mark.parametrize(("value", "epoch"), [(0.05, 1), (1.0, 1), (1.05, 2), (4.0, 4)])
def test_the_epoch_counts_from_1(value: float, epoch: int) -> None:
    assert running(Value("epoch", value, 1, 112.0)).snapshot(113.0).epoch == epoch


def test_the_number_of_epochs_is_told_by_a_metric() -> None:
    assert running(Value("epochs", 90, 0, 112.0)).snapshot(113.0).epochs == 90


def test_a_second_attempt_begins_anew() -> None:
    made = running(mark("first_step", 112.0), Value("loss", 0.5, 9, 113.0), mark("trained", 114.0))
    made.feed_ends([{"attempt": 0, "cause": "node_failure"}])
    made.job = JobInfo(7, "x", "PENDING", reason="BeginTime", restarts=1)
    waiting = made.snapshot(120.0)
    assert (waiting.phase, waiting.attempt, waiting.loss) == ("waiting", 1, None)
    assert waiting.ended_attempts == ((0, "node_failure"),)
    made.job = JobInfo(7, "x", "RUNNING", restarts=1)
    made.feed_attempts([line(1, "start", 130.0), line(1, "staged", 131.0)])
    made.feed_values([mark("started", 132.0), mark("resumed", 133.0, step=8)])
    now = made.snapshot(134.0)
    assert (now.phase, now.resumed_step, now.loss, now.since) == ("first step", 8, None, 130.0)


def test_records_of_a_whole_run_read_at_once_give_its_last_attempt() -> None:
    made = state(state="RUNNING")
    made.feed_attempts([line(0, "start", 110.0), line(1, "start", 130.0), line(1, "staged", 131.0)])
    made.feed_values([Value("loss", 0.5, 9, 113.0), Value("loss", 0.4, 10, 133.0)])
    now = made.snapshot(140.0)
    assert (now.attempt, now.loss, now.step) == (1, 0.4, 10)


def test_the_end() -> None:
    made = running(mark("first_step", 112.0))
    made.feed_attempts([line(0, "end", 150.0, exit_status=0)])
    assert made.snapshot(150.5).phase == "ending"
    made.outcome = Outcome("COMPLETED", "completed", 0, None)
    assert made.snapshot(151.0).phase == "ended"


@pytest.mark.parametrize(
    "record", [{}, {"attempt": "0", "time": 1.0}, {"attempt": 0, "event": "end", "time": 1.0}]
)
def test_lines_that_make_no_sense_change_nothing(record: dict[str, Any]) -> None:
    made = state(state="RUNNING")
    made.feed_attempts([record])
    made.feed_ends([record])
    assert made.snapshot(120.0).phase == "starting"
