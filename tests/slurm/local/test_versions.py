"""Slurm of other suites of Debian: the same life on each, and clusters of several versions side by side."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcai.errors import ToolError
from hpcai.runs.find import find_run
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.local import cluster, fault, marks, prefix
from hpcai.slurm.local.places import place
from hpcai.specs.site import cache_dir
from hpcai.specs.slurm_options import slurm_version
from tests.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of its own, but for the programs: those are made once per machine."""
    for release in prefix.SUITES:
        prefix.ensure(cache_dir(), release)
    cache = tmp_path / "hpcai"
    cache.mkdir()
    (cache / "slurm").symlink_to(cache_dir() / "slurm")
    return cache


class Site:
    """One cluster of one release, and what a user types there."""

    def __init__(self, cache: Path, release: str, *, nodes: int) -> None:
        self.cache, self.name = cache, "v" + release.replace(".", "")
        assert cluster.up(self.name, nodes=nodes, cpus_per_node=2, slurm=release, cache=cache)
        self.environ = {
            **os.environ,
            **cluster.environment(self.name, cache=cache),
            "XDG_CACHE_HOME": str(cache.parent),
            "HPCAI_RUNS_ROOT": str(cache / f"runs {self.name}"),
            "NO_COLOR": "1",
        }

    def run(self, *words: str) -> str:
        return subprocess.run(words, env=self.environ, capture_output=True, text=True, check=True).stdout

    def hpcai(self, *words: str, status: int = 0) -> str:
        argv = [sys.executable, "-m", "hpcai", *words]
        done = subprocess.run(
            argv, env=self.environ, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def file(self, command: str, **fields: object) -> str:
        file = self.cache / "job.yaml"
        file.write_text(json.dumps({"kind": "job", "name": "job", "command": command, **fields}))
        return str(file)

    def submit(self, command: str, **fields: object) -> str:
        """The name of the run."""
        return self.hpcai("submit", "-q", self.file(command, **fields)).strip()

    def log(self, run: str, attempt: int = 0) -> str:
        """What rank 0 of an attempt has printed so far."""
        file = find_run(Path(self.environ["HPCAI_RUNS_ROOT"]), run).paths.log(attempt, 0)
        return file.read_text() if file.exists() else ""

    def shown(self, run: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.hpcai("show", run, "-o", "json"))
        return told


@pytest.fixture(params=prefix.SUITES)
def site(request: pytest.FixtureRequest, cache: Path) -> Iterator[Site]:
    made = Site(cache, request.param, nodes=2)
    yield made
    if made.name in cluster.known(cache=cache):
        cluster.down(made.name, purge=True, cache=cache)


def test_status_and_headers_tell_the_version_that_runs(site: Site) -> None:
    told = cluster.status(site.name, cache=site.cache).slurm_version
    assert site.run("sinfo", "--version").split()[1].startswith(told)
    release = next(one for one in prefix.SUITES if site.name == "v" + one.replace(".", ""))
    assert release == "testing" or told.startswith(release)
    headers = prefix.ensure(site.cache, release).headers / "slurm"
    number = re.search(r"SLURM_VERSION_NUMBER (0x[0-9a-f]+)", (headers / "slurm_version.h").read_text())
    assert number and (int(number[1], 16) >> 16, int(number[1], 16) >> 8 & 255) == slurm_version(told)
    assert (headers / "spank.h").is_file()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a plugin is compiled")
def test_a_plugin_compiled_with_the_headers_is_loaded(site: Site, tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text(
        "#include <slurm/spank.h>\nSPANK_PLUGIN(probe, 1);\n"
        "int slurm_spank_task_init(spank_t task, int count, char **words) {\n"
        '    return spank_setenv(task, "PROBE", "here", 1);\n}\n'
    )
    known = prefix.Prefix(Path(cluster.require_up(site.name, cache=site.cache)[1].prefix))
    include = ["-I", str(known.headers)]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *include, "-o", tmp_path / "p.so", tmp_path / "p.c"], check=True
    )
    home = place(site.cache, site.name).state
    (home / "plugstack.conf").write_text(f"required {tmp_path}/p.so\n")
    assert site.run("srun", "-N2", "printenv", "PROBE") == "here\n" * 2


def test_slurms_own_commands(site: Site) -> None:
    assert sorted(site.run("srun", "-N2", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2"]
    version = SlurmClient(site.environ).version()
    if version >= (23, 2):
        told = json.loads(site.run("scontrol", "show", "nodes", "--json"))
        assert [node["name"] for node in told["nodes"]] == ["n1", "n2"]
    assert json.loads(site.run("squeue", "--json"))["jobs"] is not None
    # Debian's testing has no plugin for PMIx.
    has_pmix = "pmix" in SlurmClient(site.environ).mpi_plugins()
    assert has_pmix or site.name == "vtesting"
    if has_pmix:
        told = site.run("srun", "-N2", "--mpi=pmix", "printenv", "PMIX_RANK")
        assert sorted(told.split()) == ["0", "1"]


def test_an_array_and_a_heterogeneous_job(site: Site) -> None:
    array = site.submit("[ $SLURM_ARRAY_TASK_ID != 2 ] || exit 7", array="0-4:2%2")
    site.hpcai("show", array, "--wait", status=7)
    assert site.shown(array)["tasks"] == {"total": 3, "completed": 2, "failed": 1}
    assert site.shown(f"{array}_2")["exit_status"] == 7
    held = site.submit("true", array="0-98:3", hold=True)
    site.hpcai("cancel", f"{held}_33")
    assert site.shown(held)["tasks"] == {"total": 33, "cancelled": 1, "waiting": 32}
    site.hpcai("cancel", held)
    assert site.shown(held)["tasks"] == {"total": 33, "cancelled": 33}
    # Over its parts Slurm's own numbers of tasks in names of logs are not the same in each release.
    parts = [{"ntasks_per_node": 2}, {"command": "echo two $SLURM_PROCID of $SLURM_NTASKS"}]
    file = site.file("echo one $SLURM_PROCID of $SLURM_NTASKS", components=parts)
    site.hpcai("check", file)
    run = site.hpcai("submit", "-q", file).strip()
    site.hpcai("show", run, "--wait")
    told = [site.hpcai("logs", run, "--rank", str(rank)) for rank in range(3)]
    assert told == ["one 0 of 3\n", "one 1 of 3\n", "two 2 of 3\n"]


def test_without_pmix_horovod_goes_by_gloo_and_mpi_is_refused(site: Site) -> None:
    has_pmix = "pmix" in SlurmClient(site.environ).mpi_plugins()
    horovod = site.hpcai("submit", "--dry-run", site.file("true", launcher="horovod", nodes=2))
    assert f"export HOROVOD_CONTROLLER={'mpi' if has_pmix else 'gloo'}\n" in horovod
    file = site.file("true", launcher="mpi", nodes=2)
    findings = json.loads(site.hpcai("check", file, "-o", "json", status=0 if has_pmix else 3))["findings"]
    errors = [one["what"] for one in findings if one["severity"] == "error"]
    assert has_pmix == (errors == []) and all("PMIx" in what for what in errors)


def test_a_plain_jobs_life(site: Site) -> None:
    run = site.submit('echo "rank $SLURM_PROCID"; hostname >/dev/null', nodes=2, time_min=5)
    site.hpcai("show", run, "--wait")
    assert site.hpcai("logs", run, "--rank", "1") == "rank 1\n"
    shown = site.shown(run)
    assert (shown["state"], shown["nodes"]) == ("COMPLETED", 2), shown
    findings = json.loads(site.hpcai("check", str(site.cache / "job.yaml"), "-o", "json"))["findings"]
    assert [one for one in findings if one["severity"] == "error"] == []

    endless = site.submit("echo begun; sleep 600", nodes=1)
    until(lambda: "begun" in site.log(endless), 30, "the job has begun")
    assert endless in site.hpcai("queue")
    site.hpcai("cancel", endless)
    until(lambda: site.shown(endless)["state"] == "CANCELLED", 30, "the job has ended")


def test_a_killed_nodes_job_runs_again(site: Site) -> None:
    command = 'echo "attempt $HPCAI_ATTEMPT"; test "$HPCAI_ATTEMPT" = 1 || sleep 600'
    run = site.submit(command, nodes=1, requeue=True, nodelist="n2")
    until(lambda: "attempt 0" in site.log(run), 30, "the job runs")
    fault.kill_node(site.name, "n2", cache=site.cache)
    until(lambda: site.shown(run)["restarts"] == 1, 90, "the job goes back to the queue")
    assert fault.resume(site.name, "n2", cache=site.cache)
    site.hpcai("show", run, "--wait")
    assert site.hpcai("logs", run) == "attempt 1\n"


def test_down_leaves_nothing(site: Site) -> None:
    run = site.submit("sleep 600", nodes=2)
    until(lambda: site.shown(run)["state"] == "RUNNING", 30, "the job runs")
    assert cluster.down(site.name, cache=site.cache)
    assert place(site.cache, site.name).state not in marks.marked_states()


def test_versions_side_by_side_and_one_name_for_one_version(cache: Path) -> None:
    sites = []
    try:
        sites += [Site(cache, release, nodes=1) for release in prefix.SUITES]
        told = [SlurmClient(one.environ).version() for one in sites]
        assert told[:2] == [(22, 5), (24, 11)] and told[2] > (24, 11)
        assert [one.run("srun", "echo", one.name) for one in sites] == [f"{one.name}\n" for one in sites]
        with pytest.raises(ToolError, match=r"in another shape: .*slurm is 24\.11\.\d+, not testing"):
            cluster.up("v2411", nodes=1, cpus_per_node=2, slurm="testing", cache=cache)
        cluster.down("v2411", cache=cache)
        with pytest.raises(
            ToolError, match=r"its Slurm 24\.11\.\d+, which 22\.05\.\d+ may not read\.\n.*--purge"
        ):
            cluster.up("v2411", nodes=1, slurm="22.05", cache=cache)
    finally:
        for name in cluster.known(cache=cache):
            cluster.down(name, purge=True, cache=cache)
