"""The demo as `./dev demo` runs it; the README's session holds the whole of it against its words."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.slurm.local import cluster
from tests.waiting import until

ROOT = Path(__file__).parents[2]
DEMO = ["sh", str(ROOT / "examples" / "digits" / "demo.sh"), "--set", "env.EPOCHS=1"]

# Blocks as the cluster starts, and is told a second time that the terminal is gone while it stops.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
"local up "*) exec sleep 60 ;;
"local down "*) kill -HUP 0 && echo stopped >>"$CALLS" ;;
esac
"""


@pytest.mark.programs
def test_a_demo_whose_terminal_closes_stops_everything(tmp_path: Path) -> None:
    demo = tmp_path / "examples" / "digits" / "demo.sh"
    hpcai = tmp_path / ".venv" / "bin" / "hpcai"
    for folder in (demo.parent, hpcai.parent):
        folder.mkdir(parents=True)
    shutil.copy(DEMO[1], demo)
    hpcai.write_text(STAND_IN)
    hpcai.chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    environ = {**os.environ, "CALLS": str(calls)}
    # A session of its own, whose processes all get the signal, as from a terminal. Tests may have nohup.
    argv = ["env", "--default-signal=HUP", "sh", demo]
    with subprocess.Popen(argv, env=environ, start_new_session=True) as process:
        until(lambda: "local up" in calls.read_text(), 20, "the cluster starts")
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(20) == 128 + signal.SIGHUP
    name = f"demo-{process.pid}"
    started = f"local up --nodes 2 --cpus-per-node 1 --blob --name {name}"
    assert calls.read_text().splitlines() == [started, f"local down --name {name} --purge", "stopped"]
    assert not (tmp_path / ".hpcai" / name).exists()


@pytest.mark.long
@pytest.mark.real
def test_two_demos_at_once_end_well_and_leave_nothing(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "HPCAI_RUNS_ROOT": str(tmp_path / "the runs")}
    demos = [
        subprocess.Popen(DEMO, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    printed = [demo.communicate(timeout=900)[0] for demo in demos]
    for demo, words in zip(demos, printed, strict=True):
        assert demo.returncode == 0, words
        assert f"Cluster 'demo-{demo.pid}' is down." in words
        assert f"demo-{demo.pid}" not in cluster.known() + cluster.leftovers()
        assert not (ROOT / ".hpcai" / f"demo-{demo.pid}").exists()
    pages = {found for words in printed for found in re.findall(r"^/.*report\.html$", words, re.MULTILINE)}
    assert len(pages) == 2
    assert all("Held-out top-1" in Path(page).read_text() for page in pages)
