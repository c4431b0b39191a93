"""The demo as `./dev demo` runs it; the README's session holds the whole of it against its words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.slurm.local import cluster

ROOT = Path(__file__).parents[2]
DEMO = ["sh", str(ROOT / "examples" / "digits" / "demo.sh"), "--set", "env.EPOCHS=1"]


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
