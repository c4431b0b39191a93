"""What a set-up tells: one line per step, the lines that matter of a program that failed."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from hpcai.errors import HpcaiError, StageError, ToolError, UnreachableError
from hpcai.launch.steps import Steps

pytestmark = pytest.mark.programs


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


def test_what_is_said_within_a_step_leaves_its_seconds_behind_its_title(steps: Steps) -> None:
    with steps.step("fetches"):
        steps.say_within("fetches", "more than thought")
    first, said, last = told(steps).splitlines()
    assert (first.strip(), said) == ("fetches", "more than thought")
    assert re.fullmatch(r"  fetches +\d+\.\d s", last)


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


PIP_OFFLINE = """\
WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/torch/
ERROR: Cannot install click because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested click>=8
    The user requested (constraint) click==8.1.8

To fix this you could try to:
1. loosen the range of package versions you've specified"""
APT_OFFLINE = "E: Failed to fetch https://x/g.deb  Temporary failure resolving 'x'"
NPM_FULL = "npm error code ENOSPC\nnpm error syscall write"


@pytest.mark.parametrize(
    ("printed", "kind", "words"),
    [
        (PIP_OFFLINE, UnreachableError, r"Nothing answered: .*\nConnect\."),
        (APT_OFFLINE, UnreachableError, r"Nothing answered: .*\nConnect\."),
        ("npm error code ENOTFOUND", UnreachableError, r"Nothing answered: .*\nConnect\."),
        ("OSError: [Errno 28] No space left on device", StageError, "No space is left .*XDG_CACHE_HOME"),
        (NPM_FULL, StageError, "No space is left .*XDG_CACHE_HOME"),
        ("cc: error: no such file", ToolError, r"^\S+ ended with status 1; .*\nConnect\."),
    ],
)
def test_what_was_missing_is_told_apart(
    steps: Steps, printed: str, kind: type[HpcaiError], words: str
) -> None:
    argv = [sys.executable, "-c", f"print({printed!r}); raise SystemExit(1)"]
    with pytest.raises(HpcaiError, match=f"(?s){words}") as caught:
        steps.run(argv, next_step="Connect.")
    assert type(caught.value) is kind
    assert printed.splitlines()[0] in told(steps)
    assert "loosen" not in told(steps), "advice for another failure"


def test_a_full_disk_is_told_even_though_the_log_lies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(tmp_path / "setup.log", io.StringIO())
    (tmp_path / "setup.log").symlink_to("/dev/full")
    monkeypatch.setattr(Steps, "_note", lambda *_: None)
    argv = [sys.executable, "-c", "raise SystemExit('No space left on device')"]
    with pytest.raises(StageError, match="No space is left"):
        steps.run(argv, next_step="")


def test_a_program_is_ended_with_the_step(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    class Interrupted:
        def __init__(self) -> None:
            self.stdout = io.BytesIO()
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
