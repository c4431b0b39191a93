"""What following makes of Slurm's answers, and of what keeps them from coming."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hpcai.launch import watch
from hpcai.launch.follow import Snapshot
from hpcai.launch.watch import RunFollower
from hpcai.runs.record import Run, create_run
from hpcai.shell import NoRoomToStart
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from tests.waiting import until


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="")
    made.append_event("submitted", job_id=7, where="slurm")
    return made


def following(run: Run, monkeypatch: pytest.MonkeyPatch, *answers: JobInfo | Exception | None) -> RunFollower:
    """A follower whose questions are answered so, one after the other."""
    rest = list(answers)

    def collect(_: Run, __: SlurmClient) -> JobInfo | None:
        answer = rest.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(watch.ends, "collect", collect)
    monkeypatch.setattr(watch, "FIRST_INTERVAL_S", 0.0)
    return RunFollower(run, SlurmClient({}))


def test_no_room_for_a_question_is_no_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [JobInfo(7, "x", state) for state in ("RUNNING", "COMPLETED")]
    short = NoRoomToStart("'scontrol' cannot be started: Resource temporarily unavailable.")
    follower = following(run, monkeypatch, short, states[0], short, states[1])
    seen: list[Snapshot] = []
    until(lambda: seen.append(follower.poll()) or seen[-1].outcome, 10, "an end")
    assert seen[-1].outcome is not None and seen[-1].outcome.state == "COMPLETED"
    assert "RUNNING" in [one.state for one in seen]


def test_what_nobody_foresaw_is_raised_where_it_is_followed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = following(run, monkeypatch, BlockingIOError(11, "Resource temporarily unavailable"))
    with pytest.raises(BlockingIOError):
        until(lambda: follower.poll().outcome, 10, "an end")


def test_no_thread_for_a_question_is_no_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = following(run, monkeypatch, JobInfo(7, "x", "COMPLETED"))
    start = threading.Thread.start

    def refuse(_: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    until(lambda: follower.poll().outcome, 10, "an end")


def test_where_no_slurm_is_asked_none_is_silent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Any silence counts.
    monkeypatch.setattr(watch, "LONGEST_INTERVAL_S", -2)
    assert RunFollower(run, None).poll().silent_s == 0
