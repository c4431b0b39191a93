"""What a set-up tells: one line per step, the lines that matter of a program that failed."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from hpcai.errors import ToolError
from hpcai.launch.steps import Steps


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "setup.log", io.StringIO())


def told(steps: Steps) -> str:
    assert isinstance(steps.words, io.StringIO)
    return steps.words.getvalue()


def test_a_step_is_one_line_and_its_program_goes_to_the_log(steps: Steps) -> None:
    with steps.step("compiles"):
        steps.run([sys.executable, "-c", "print('noise')"], next_step="")
    assert re.fullmatch(r"  compiles {46}  +\d+\.\d s\n", told(steps))
    assert "noise" in steps.log.read_text()
    assert "$ " in steps.log.read_text()


def test_a_failure_shows_its_cause_and_its_end_and_names_the_log(steps: Steps) -> None:
    program = (
        "print('x.cc:1: error: no such header')\nfor n in range(90): print('line', n)\nraise SystemExit(3)"
    )
    with (
        pytest.raises(ToolError, match="ended with status 3") as caught,
        steps.step("compiles"),
    ):
        steps.run([sys.executable, "-c", program], next_step="Do this.")
    assert str(steps.log) in caught.value.what
    assert caught.value.next_step == "Do this."
    lines = told(steps).splitlines()
    assert lines[1] == "    | x.cc:1: error: no such header"
    assert [line.split()[-1] for line in lines[2:8]] == ["84", "85", "86", "87", "88", "89"]
    assert lines[8].startswith("failed after")


def test_only_the_failed_program_is_quoted(steps: Steps) -> None:
    steps.run([sys.executable, "-c", "print('error: of before')"], next_step="")
    with pytest.raises(ToolError):
        steps.run([sys.executable, "-c", "raise SystemExit('now')"], next_step="")
    assert "of before" not in told(steps)
    assert "now" in told(steps)


def test_a_program_is_ended_with_the_step(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    class Interrupted:
        def __init__(self) -> None:
            self.waits = 0

        def wait(self) -> int:
            self.waits += 1
            if self.waits == 1:
                raise KeyboardInterrupt
            return -15

        def terminate(self) -> None:
            ended.append(self)

    monkeypatch.setattr("hpcai.shell.start", lambda *_, **__: Interrupted())
    with pytest.raises(KeyboardInterrupt), steps.step("compiles"):
        steps.run(["cc"], next_step="")
    assert len(ended) == 1
    assert "failed after" in told(steps)
