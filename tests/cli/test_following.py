"""Ctrl-C while waiting: the words, what a program is told, and the status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcai.cli import following
from hpcai.cli.show import show
from hpcai.runs.record import create_run


@pytest.mark.parametrize("output", ["table", "json"])
def test_ctrl_c_while_waiting_says_what_to_type_next(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, "default", "one", spec_text="", resolved={}, script="")
    run.append_event("submitted", where="local")
    for name in ("HPCAI_LOCAL", "SLURM_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (
        ("PATH", "/nonexistent"),
        ("XDG_CACHE_HOME", tmp_path),
        ("HPCAI_RUNS_ROOT", tmp_path),
    ):
        monkeypatch.setenv(name, str(value))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following.time, "sleep", interrupt)
    done = CliRunner().invoke(show, ["one", "--wait", "-o", output])
    assert done.exit_code == 130
    assert done.stderr == (
        f"\nNo longer waiting; {run.name} goes on.\nNext:\n"
        f"  hpcai show {run.name} --wait\n  hpcai logs -f {run.name}\n  hpcai cancel {run.name}\n"
    )
    if output == "table":
        assert done.stdout == ""
    else:
        facts = json.loads(done.stdout)
        assert (facts["run"], facts["state"]) == (run.name, "RUNNING")
