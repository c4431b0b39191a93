"""Completion of IDs: from the records alone, and quick."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcai.runs.record import Run, create_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    made = [
        create_run(tmp_path, experiment, name, spec_text="", resolved={}, script="")
        for experiment, name in (("default", "alpha"), ("default", "beta"), ("other", "alpine"))
    ]
    for number, run in enumerate(made):
        run.append_event("submitted", job_id=4710 + number)
    return made


def complete(root: Path, command: str, word: str) -> list[str]:
    environ = {
        **os.environ,
        "HPCAI_RUNS_ROOT": str(root),
        # Whoever asks Slurm here finds none.
        "PATH": "/nonexistent",
        "_HPCAI_COMPLETE": "bash_complete",
        "COMP_WORDS": f"hpcai {command} {word}",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "hpcai"], env=environ, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_names_job_ids_and_last(runs: list[Run], tmp_path: Path) -> None:
    assert sorted(complete(tmp_path, "show", "al")) == sorted([runs[0].name, runs[2].name])
    assert complete(tmp_path, "logs", "other/") == [runs[2].ident]
    assert complete(tmp_path, "cancel", "471")[::-1] == ["4710", "4711", "4712"]
    assert complete(tmp_path, "show", "@") == ["@last"]
    assert complete(tmp_path, "show", "zz") == []


def test_no_runs_yet(tmp_path: Path) -> None:
    assert complete(tmp_path / "nothing", "show", "a") == []


@pytest.mark.usefixtures("runs")
def test_it_is_quick(tmp_path: Path) -> None:
    def took() -> float:
        begin = time.perf_counter()
        complete(tmp_path, "show", "al")
        return time.perf_counter() - begin

    # 100 ms on a quiet machine; a test must hold on a busy one.
    assert min(took() for _ in range(4)) < 0.5
