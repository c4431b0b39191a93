"""What following makes of Slurm's answers, and of what keeps them from coming."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from hpcai.launch import watch
from hpcai.launch.follow import Snapshot
from hpcai.launch.watch import RunFollower
from hpcai.runs.record import Run, create_run
from hpcai.shell import NoRoomToStart
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.follower import FollowingClient
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


def test_once_the_batch_part_has_ended_slurm_is_asked_again_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [JobInfo(7, "x", state) for state in ("RUNNING", "COMPLETING", "COMPLETING", "COMPLETED")]
    follower = following(run, monkeypatch, *states)
    monkeypatch.setattr(watch, "FIRST_INTERVAL_S", 600.0)
    start = {"attempt": 0, "event": "start", "job_id": 7, "node_list": "n1", "time": 1}
    end = {**start, "event": "end", "exit_status": 0, "time": 2}
    run.paths.attempts.write_text("".join(json.dumps(line) + "\n" for line in (start, end)))
    until(lambda: follower.poll().outcome, 10, "an end")


def test_no_answer_is_read_again_by_whom_it_was_given_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def collect(_: Run, client: FollowingClient) -> JobInfo:
        asked.append((time.monotonic(), client.max_age_s))
        return JobInfo(7, "x", "RUNNING" if len(asked) < 4 else "COMPLETED")

    monkeypatch.setattr(watch.ends, "collect", collect)
    monkeypatch.setattr(watch, "FIRST_INTERVAL_S", 0.1)
    follower = RunFollower(run, SlurmClient({}))
    until(lambda: follower.poll().outcome, 10, "an end")
    assert all(age < now - before for (before, _), (now, age) in pairwise(asked))
