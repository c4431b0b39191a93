from __future__ import annotations

import os
import signal
import threading

import pytest

from hpcai.train.stopping import StopSignal, Watchdog

DEADLINE_S = 30.0


def test_sigterm_is_remembered_and_then_left_to_whoever_had_it() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop.came
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.came
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_rank_that_stands_still_is_ended_and_says_where(capfd: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()
    with Watchdog(0.05, "rank 3", ended.set) as watchdog:
        watchdog.beat("at training step 7")
        assert ended.wait(DEADLINE_S)
    words = capfd.readouterr().err
    assert "rank 3 has stood still for 0.05 s while at training step 7: another rank was lost" in words
    assert "test_stopping.py" in words


def test_a_rank_that_beats_is_left_alone() -> None:
    ended = threading.Event()
    with Watchdog(DEADLINE_S, "rank 0", ended.set) as watchdog:
        watchdog.beat("at training step 1")
    assert not ended.is_set()


def test_a_process_alone_does_not_look_for_another_rank(capfd: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()
    with Watchdog(0.05, "rank 0", ended.set, alone=True):
        assert ended.wait(DEADLINE_S)
    words = capfd.readouterr().err
    assert "while starting. Every thread's place" in words
    assert "another rank" not in words


def test_sigusr1_asks_for_a_checkpoint_and_not_for_the_end() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (stop.came, stop.save_came) == (False, True)
    assert signal.getsignal(signal.SIGUSR1) == before
