"""Many who follow jobs of one user on a real Slurm."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from hpcai.launch.script import submit
from hpcai.launch.watch import RunFollower
from hpcai.slurm.client import SlurmClient
from hpcai.specs.job import JobSpec
from hpcai.specs.site import load_site
from tests.real_cluster import RealCluster
from tests.waiting import until

pytestmark = pytest.mark.real

COUNTING = """#!/bin/sh
echo "$0" >>"{folder}/asked"
exec "{real}" "$@"
"""
FOLLOWERS = 100


def test_a_hundred_who_follow_cost_one_question_per_interval(cluster: RealCluster, tmp_path: Path) -> None:
    for name in ("squeue", "scontrol"):
        real = shutil.which(name, path=cluster.environ["PATH"])
        (tmp_path / name).write_text(COUNTING.format(folder=tmp_path, real=real))
        (tmp_path / name).chmod(0o755)
    environ = {
        **cluster.environ,
        "PATH": f"{tmp_path}:{cluster.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HPCAI_RUNS_ROOT": str(tmp_path / "runs"),
    }
    client, site = SlurmClient(environ), load_site(environ)
    spec = JobSpec(name="followed", command="sleep 300", workdir=str(tmp_path))
    run = submit(spec, site=site, client=client)
    try:
        followers = [RunFollower(run, client) for _ in range(FOLLOWERS)]

        def running() -> bool:
            states = [one.state.job.state for one in followers if one.poll() and one.state.job]
            return states == ["RUNNING"] * FOLLOWERS

        until(running, 60, "all know that it runs")
        (tmp_path / "asked").write_text("")
        # Intervals of 1, 1.2, 1.44 and 1.73 s: five questions, and one that was on its way.
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert all(one.poll().outcome is None for one in followers)
            time.sleep(0.25)
        asked = (tmp_path / "asked").read_text().splitlines()
        assert 1 <= len(asked) <= 6, asked
    finally:
        client.cancel(str(run.job_id))

    def ended() -> bool:
        return all(one.poll().outcome is not None for one in followers)

    until(ended, 60, "all know that it has ended")
    assert {one.state.outcome.cause for one in followers if one.state.outcome} == {"cancelled"}
