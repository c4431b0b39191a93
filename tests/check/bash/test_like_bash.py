"""Scripts as the reader takes them apart, held against the calls that bash itself makes of them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings

from hpcai.check.bash.values import calls_of
from hpcai.check.bash.words import UNKNOWN
from tests.check.bash.scripts import scripts

# A file for each call: those of a pipe run at once.
_HEAD = 'shopt -s extglob\np() { printf \'%s\\1\' "${@:2}" > "$TOLD/$1"; }\n'


def of_bash(script: str) -> dict[str, list[str]] | None:
    """The words of each call by its number; None where bash cannot read the script."""
    with tempfile.TemporaryDirectory() as folder:
        told, empty = Path(folder) / "told", Path(folder) / "empty"
        told.mkdir()
        empty.mkdir()
        environ = {"PATH": os.environ["PATH"], "HOME": "/home/me", "TOLD": str(told), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-c", _HEAD + script],
            env=environ,
            cwd=empty,
            check=False,
            timeout=20,
            capture_output=True,
        )
        if b"syntax error" in done.stderr or b"unexpected" in done.stderr or b"here-document" in done.stderr:
            return None
        return {call.name: call.read_text().split("\1")[:-1] for call in told.iterdir()}


def as_read(script: str) -> dict[str, list[str]]:
    calls = calls_of(_HEAD + script, None, {"HOME": "/home/me"})
    words = [[word.text for word in call.words] for call in calls]
    return {call[1]: call[2:] for call in words if call[0] == "p" and len(call) > 1}


def fits(read: list[str], given: list[str]) -> bool:
    """Whether the words are those that bash gave, where UNKNOWN may be anything."""
    pattern = "\1".join(map(re.escape, read)).replace(re.escape(UNKNOWN), ".*")
    return re.fullmatch(pattern, "\1".join(given), re.DOTALL) is not None


@pytest.mark.programs
@settings(max_examples=60, deadline=None)
@given(scripts())
def test_every_call_is_read_as_bash_makes_it(script: str) -> None:
    given = of_bash(script)
    assume(given is not None)
    assert given is not None
    read = as_read(script)
    assert read.keys() == given.keys()
    assert [number for number in read if not fits(read[number], given[number])] == []
