"""Slurm is asked all at once, and what does not answer in time is named."""

from __future__ import annotations

import threading
import time

import pytest

from hpcai.check.told import Told, all_at_once
from hpcai.errors import SlurmError, UnreachableError


def test_what_is_late_or_refused_keeps_no_other_answer_back() -> None:
    never = threading.Event()

    def refuse() -> None:
        raise SlurmError("No.")

    begin = time.monotonic()
    calls = {"quick": lambda: 1, "late": never.wait, "refused": refuse}
    answers, errors = all_at_once(calls, 0.2)
    assert time.monotonic() - begin < 2
    never.set()
    assert answers == {"quick": 1}
    assert list(errors) == ["late", "refused"]
    assert isinstance(errors["late"], UnreachableError) and "0.2 s" in errors["late"].what
    assert Told(errors=errors).unanswered == ["late"]


def test_calls_wait_beside_each_other() -> None:
    both = threading.Barrier(2, timeout=5)
    answers, _ = all_at_once({"a": both.wait, "b": both.wait}, 5)
    assert sorted(answers.values()) == [0, 1]


def test_a_defect_in_a_question_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with pytest.raises(RuntimeError, match="nodes broke off"):
        all_at_once({"nodes": lambda: {}["none"]}, 5)
    assert told[0].exc_type is KeyError
