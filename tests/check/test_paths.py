"""Looking at paths that do not answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hpcai import entry
from hpcai.check.paths import PathSilent, answer_of
from hpcai.cli.check_files import look_at_all
from hpcai.cli.context import Context
from hpcai.errors import SpecError
from hpcai.specs import load
from hpcai.specs.site import Site


def test_a_path_that_does_not_answer_is_named() -> None:
    comes_back = threading.Event()

    def look() -> None:
        with entry.looking_at(Path("/shared")), entry.looking_at(Path("/shared/away")):
            comes_back.wait()

    begun = time.monotonic()
    with pytest.raises(PathSilent, match="'/shared/away' did not answer") as found:
        answer_of(look, 0.1)
    assert time.monotonic() - begun < 5
    assert str(found.value.next_step).startswith("timeout -s KILL 5 ls -d /shared/away")
    comes_back.set()


def test_who_computes_for_long_is_waited_for(tmp_path: Path) -> None:
    computed = threading.Event()
    threading.Timer(0.3, computed.set).start()

    def compute() -> int:
        looked = entry.looked_at(tmp_path)
        assert computed.wait(10)
        return looked.mode

    assert answer_of(compute, 0.05) == tmp_path.stat().st_mode


def test_what_a_call_raises_comes_through() -> None:
    def refuse() -> None:
        raise SpecError("No.")

    with pytest.raises(SpecError, match="No"):
        answer_of(refuse, 1)


def test_a_file_whose_workdir_does_not_answer_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_back = threading.Event()

    def never(path: Path) -> entry.Entry:
        with entry.looking_at(path):
            comes_back.wait()
        return entry.Entry()

    monkeypatch.setattr(load, "looked_at", never)
    file = tmp_path / "job.yaml"
    file.write_text("kind: job\nname: x\ncommand: hostname\nworkdir: /shared/away\n")
    seen = look_at_all([file], (), Context(Site(tmp_path), None), None)[str(file)]
    comes_back.set()
    assert [(one.id, one.severity) for one in seen.findings] == [("path-silent", "warning")]
    assert seen.status == 6 and "'/shared/away' did not answer" in seen.findings[0].what
