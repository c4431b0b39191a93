"""Where the time went: each attempt's stages, and what a failed attempt cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcai.runs import jsonl
from hpcai.runs.attempts import RunAttempt
from hpcai.runs.metrics import Value
from hpcai.runs.record import create_run
from hpcai.runs.waterfall import Course, build, of_run


def stages(course: Course) -> dict[str, tuple[float, float]]:
    return {stage.name: (stage.begin, stage.end) for stage in course.stages}


def marks(attempt: int, **instants: float) -> list[Value]:
    return [Value(f"mark/{name}", float(attempt), 0, instant) for name, instant in instants.items()]


def test_a_trained_run_has_every_stage() -> None:
    attempt = RunAttempt(0, start=12.0, staged=15.0, end=100.0, exit_status=0, cause="completed")
    waterfall = build(10.0, [attempt], marks(0, started=16.0, first_step=20.0, trained=90.0, saved=95.0))
    assert stages(waterfall.courses[0]) == {
        "queued": (10.0, 12.0),
        "staging": (12.0, 15.0),
        "starting": (15.0, 20.0),
        "training": (20.0, 90.0),
        "saving": (90.0, 95.0),
        "ending": (95.0, 100.0),
    }
    assert (waterfall.begin, waterfall.end, waterfall.lost_s) == (10.0, 100.0, 0)


def test_evaluating_and_saving_on_the_way_belong_to_training() -> None:
    attempt = RunAttempt(0, start=12.0, end=100.0, exit_status=0, cause="completed")
    values = [
        *marks(0, first_step=20.0),
        *marks(0, evaluated=30.0, saved=31.0),
        *marks(0, trained=80.0, evaluated=85.0, saved=86.0),
    ]
    assert stages(build(10.0, [attempt], values).courses[0]) == {
        "queued": (10.0, 12.0),
        "starting": (12.0, 20.0),
        "training": (20.0, 80.0),
        "evaluating": (80.0, 85.0),
        "saving": (85.0, 86.0),
        "ending": (86.0, 100.0),
    }
    killed = RunAttempt(0, start=12.0, end=50.0, cause="node_failure")
    assert stages(build(10.0, [killed], values[:3]).courses[0])["training"] == (20.0, 50.0)


def test_what_training_did_not_train_is_told() -> None:
    attempt = RunAttempt(0, start=12.0, end=100.0, exit_status=0, cause="completed")
    values = [
        *marks(0, first_step=20.0),
        Value("data_wait_s", 0.5, 10, 25.0),
        *marks(0, evaluating=26.0, evaluated=30.0, saving=30.0, saved=31.5),
        Value("data_wait_s", 0.25, 20, 39.0),
        *marks(0, evaluating=40.0, evaluated=45.0),
        *marks(0, trained=80.0, evaluating=80.0, evaluated=85.0, saving=85.0, saved=86.0),
    ]
    (course,) = build(10.0, [attempt], values).courses
    assert (course.evaluating_s, course.saving_s, course.data_wait_s) == (9.0, 1.5, 0.75)
    (killed,) = build(10.0, [attempt], values[:4]).courses
    assert (killed.evaluating_s, killed.saving_s) == (4.0, None)


def test_a_job_that_says_nothing_of_its_course_is_running() -> None:
    waterfall = build(10.0, [RunAttempt(0, start=12.0, end=100.0, exit_status=0)], [])
    assert stages(waterfall.courses[0]) == {"queued": (10.0, 12.0), "running": (12.0, 100.0)}


def test_a_missing_instant_lengthens_the_next_stage() -> None:
    attempt = RunAttempt(0, start=12.0, end=100.0)
    waterfall = build(None, [attempt], marks(0, trained=90.0, saved=95.0))
    assert stages(waterfall.courses[0]) == {
        "training": (12.0, 90.0),
        "saving": (90.0, 95.0),
        "ending": (95.0, 100.0),
    }
    assert waterfall.courses[0].submitted is None


def test_clocks_that_differ_make_no_negative_stage() -> None:
    attempt = RunAttempt(0, start=12.0, staged=11.5, end=14.0)
    waterfall = build(12.2, [attempt], [])
    assert all(stage.seconds >= 0 for stage in waterfall.courses[0].stages)


@pytest.mark.parametrize("attempts", [[], [RunAttempt(0, cause="cancelled", state="CANCELLED")]])
def test_what_never_started_has_no_stages(attempts: list[RunAttempt]) -> None:
    waterfall = build(10.0, attempts, [])
    assert [course.stages for course in waterfall.courses] == [()] * len(attempts)
    assert (waterfall.begin, waterfall.end) == (None, None)


def test_a_run_that_goes_on_reaches_to_its_last_sign() -> None:
    values = [*marks(0, first_step=20.0), Value("loss", 1.0, 1, 33.0)]
    (course,) = build(10.0, [RunAttempt(0, start=12.0)], values).courses
    assert stages(course)["training"] == (20.0, 33.0)
    assert course.end_is_last_sign


def test_the_time_that_a_failed_attempt_cost_is_counted() -> None:
    attempts = [RunAttempt(0, start=10.0, cause="node_failure"), RunAttempt(1, start=50.0, end=100.0)]
    values = [
        *marks(0, first_step=20.0),
        *[Value("loss", 1.0, step, 20.0 + step) for step in range(1, 11)],
        # It went on from step 6, which attempt 0 had reached at 26, and trained its first step at 60.
        Value("mark/resumed", 1.0, 6, 55.0),
        *marks(1, first_step=60.0, trained=90.0, saved=91.0),
        *[Value("loss", 1.0, step, 60.0 + step) for step in range(7, 20)],
    ]
    first, second = build(8.0, attempts, values).courses
    assert first.lost is not None
    assert (first.lost.begin, first.lost.end) == (26.0, 60.0)
    assert stages(first)["training"] == (20.0, 30.0)
    assert first.end_is_last_sign
    assert second.resumed_step == 6
    assert second.lost is None
    assert stages(second)["queued"] == (30.0, 50.0)


@pytest.mark.parametrize(("cause", "lost_s"), [("node_failure", 30.0), ("completed", 0)])
def test_an_attempt_that_trained_everything_loses_none_of_it(cause: str, lost_s: float) -> None:
    """The next one finds that its checkpoint holds all epochs, and has no first step."""
    attempts = [
        RunAttempt(0, start=10.0, end=110.0, cause=cause),
        RunAttempt(1, start=130.0, end=135.0, exit_status=0, cause="completed"),
    ]
    values = [
        *marks(0, started=11.0, first_step=20.0),
        *[Value("loss", 1.0, step, 20.0 + step) for step in range(10, 81, 10)],
        Value("mark/saved", 0.0, 80, 105.0),
        Value("mark/resumed", 1.0, 80, 132.0),
    ]
    assert build(8.0, attempts, values).lost_s == lost_s


def test_an_attempt_that_is_not_resumed_is_lost_from_its_first_step() -> None:
    attempts = [RunAttempt(0, start=10.0, end=40.0), RunAttempt(1, start=50.0, end=100.0)]
    values = [*marks(0, first_step=20.0), Value("loss", 1.0, 5, 25.0), *marks(1, first_step=60.0)]
    assert build(8.0, attempts, values).lost_s == 40.0


def test_attempts_that_never_train_are_lost_to_the_next_start() -> None:
    attempts = [
        RunAttempt(0, start=10.0, end=40.0),
        RunAttempt(1, start=50.0, end=60.0),
        RunAttempt(2, start=70.0, end=90.0),
    ]
    waterfall = build(8.0, attempts, [])
    assert [course.lost.seconds if course.lost else None for course in waterfall.courses] == [
        40.0,
        20.0,
        None,
    ]
    assert waterfall.lost_s == 60.0


def test_the_waterfall_of_a_record(tmp_path: Path) -> None:
    run = create_run(tmp_path, "demo", "digits", spec_text="", resolved={}, script="")
    jsonl.append(run.paths.events, {"event": "submitted", "job_id": 3, "time": 10.0})
    jsonl.append(run.paths.events, {"event": "cancel_requested", "time": 13.0})
    jsonl.append(run.paths.attempts, {"attempt": 0, "job_id": 3, "event": "start", "time": 12.0})
    jsonl.append(
        run.paths.attempts, {"attempt": 0, "job_id": 3, "event": "end", "exit_status": 0, "time": 14.0}
    )
    assert stages(of_run(run).courses[0]) == {"queued": (10.0, 12.0), "running": (12.0, 14.0)}
