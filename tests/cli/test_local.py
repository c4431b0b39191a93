"""`hpcai local`: what it prints, and the exit status of every way to get it wrong."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.cli.local import up
from hpcai.slurm.local import prefix, record
from hpcai.slurm.local.conf import Shape
from hpcai.slurm.local.places import Place
from tests import warm
from tests.real_cluster import RELEASE, RealCluster


def hpcai(*words: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    base = {key: value for key, value in os.environ.items() if key != "HPCAI_LOCAL"}
    return warm.hpcai("local", *words, env={**base, **(environ or {})})


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """A cache in which the clusters 'alpha' and 'beta' were set up once and are down."""
    cache = tmp_path / "hpcai"
    for name in ("alpha", "beta"):
        where = Place(cache, name)
        where.state.mkdir(parents=True)
        shape = Shape(nodes=2, cpus_per_node=4, gpus_per_node=0, memory_mib_per_node=1000, blob=True)
        made = record.Cluster(
            shape, where.state, cache / "slurm", "22.05.8", 20000, (20001, 20002), 20003, ("node",)
        )
        record.save_cluster(where, made)
        assert record.load_cluster(where) == made
    return {"XDG_CACHE_HOME": str(tmp_path)}


@pytest.mark.programs
@pytest.mark.parametrize("words", [["down"], ["env"], ["exec", "true"], ["fault", "drain", "n1"], ["status"]])
def test_an_unknown_cluster_is_5_with_the_nearest_and_all(words: list[str], site: dict[str, str]) -> None:
    split = 2 if words[0] == "fault" else 1
    done = hpcai(*words[:split], "--name", "alhpa", *words[split:], environ=site)
    assert (done.returncode, done.stdout) == (5, "")
    assert (
        "There is no embedded cluster 'alhpa'.\nDid you mean 'alpha'? There are: alpha, beta.\n"
        in done.stderr
    )
    # Who wants a cluster to be down does not want it up.
    assert done.stderr.endswith(
        "hpcai local status\n" if words == ["down"] else "hpcai local up --name alhpa\n"
    )


@pytest.mark.programs
@pytest.mark.parametrize("words", [["env"], ["exec", "true"], ["fault", "resume", "n1"]])
def test_a_cluster_that_is_down_is_4_with_the_way_up(words: list[str], site: dict[str, str]) -> None:
    done = hpcai(*words, environ={**site, "HPCAI_LOCAL": "beta"})
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "hpcai: The embedded cluster 'beta' is down.\nhpcai local up --name beta\n"


@pytest.mark.programs
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "No Such"], "'No Such' cannot name a cluster.\nA name is 1 to 32 of a-z"),
        (["--nodes", "0"], "nodes is 0.\n1 to 64 are possible."),
        (["--nodes", "1000"], "nodes is 1000.\n1 to 64 are possible."),
        (["--cpus-per-node", "0"], "cpus_per_node is 0.\n"),
        (["--gpus-per-node", "-1"], "gpus_per_node is -1.\n0 to 64 are possible."),
        (["--memory-mib-per-node", "0"], "memory_mib_per_node is 0.\n"),
        (["--nodes", "two"], "'two' is not a valid integer"),
        (["--slurm", "23.02"], "'23.02' is not one of '22.05', '24.11', 'testing'"),
        (["--pyxis-version", "0.24"], "--pyxis-version is given without --containers.\nAdd --containers."),
        (["--containers", "--pyxis-version", "1"], "Pyxis '1' cannot be played.\nIt may be 0.20, 0.21,"),
    ],
)
def test_up_of_what_cannot_be_is_2(words: list[str], told: str, site: dict[str, str]) -> None:
    done = hpcai("up", *words, environ=site)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.programs
def test_up_on_a_machine_without_apt_is_4(tmp_path: Path) -> None:
    done = hpcai("up", environ={"XDG_CACHE_HOME": str(tmp_path), "PATH": "/nowhere"})
    assert done.returncode == 4
    assert "'apt-get', and it is not on this machine" in done.stderr


@pytest.mark.programs
def test_down_of_what_is_down_is_0(site: dict[str, str]) -> None:
    done = hpcai("down", "--all", environ=site)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Cluster 'alpha' was down already.\nCluster 'beta' was down already.\n"


@pytest.mark.programs
def test_down_of_all_and_of_one_is_2_and_ends_nothing(site: dict[str, str]) -> None:
    done = hpcai("down", "--all", "--name", "alpha", "--purge", environ=site)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--all and --name both say which cluster. Give one of them.\n" in done.stderr
    # A name that nobody typed leaves it at all of them, and both are still there.
    both = hpcai("down", "--all", environ={**site, "HPCAI_LOCAL": "beta"})
    assert both.stderr == "Cluster 'alpha' was down already.\nCluster 'beta' was down already.\n"
    assert both.returncode == 0


@pytest.mark.programs
def test_down_purge_forgets(site: dict[str, str]) -> None:
    assert hpcai("down", "--name", "alpha", "--purge", environ=site).returncode == 0
    assert [
        entry["name"] for entry in json.loads(hpcai("status", "-o", "json", environ=site).stdout)["clusters"]
    ] == ["beta"]


@pytest.mark.programs
def test_nothing_there_is_0_and_says_so(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    status = hpcai("status", "-o", "json", environ=environ)
    assert (status.returncode, json.loads(status.stdout)) == (0, {"schema_version": 1, "clusters": []})
    assert status.stderr == "There is no embedded cluster yet: hpcai local up\n"
    down = hpcai("down", "--all", environ=environ)
    assert (down.returncode, down.stderr) == (0, "There is no embedded cluster.\n")


def test_the_versions_that_up_takes_are_those_that_can_be_had() -> None:
    (option,) = (one for one in up.params if one.name == "slurm")
    assert list(option.type.choices) == list(prefix.SUITES)  # type: ignore[attr-defined]


@pytest.mark.programs
def test_status_of_what_is_down(site: dict[str, str]) -> None:
    table = hpcai("status", environ=site).stdout.splitlines()
    assert table[0].split() == ["NAME", "STATE", "NODES", "UPTIME_S", "BLOB_ENDPOINT", "SLURM_VERSION"]
    assert table[1].split() == ["alpha", "down", "n1", "down,", "n2", "down", "-", "-", "22.05.8"]
    one = hpcai("status", "--name", "beta", environ=site).stdout.splitlines()
    assert [line.split() for line in one] == [
        ["NAME", "STATE", "PID", "RESTARTS", "REASON"],
        ["n1", "down", "-", "0", "-"],
        ["n2", "down", "-", "0", "-"],
    ]


@pytest.mark.real
def test_status_of_what_is_up(cluster: RealCluster) -> None:
    (one,) = json.loads(hpcai("status", "--name", cluster.name, "-o", "json").stdout)["clusters"]
    assert (one["state"], one["shape"]["nodes"], len(one["nodes"])) == ("up", 3, 3)
    assert set(one["pids"]) == {"blob", "munged", "n1", "n2", "n3", "slurmctld", "supervisor"}
    assert one["blob_endpoint"] == cluster.environ["HPCAI_STORAGE_ENDPOINT"]
    assert one["uptime_s"] > 0


@pytest.mark.real
def test_up_again_is_0_in_the_same_shape_and_4_in_another(cluster: RealCluster) -> None:
    shape = ["--nodes", "3", "--cpus-per-node", "4", "--gpus-per-node", "2", "--blob"]
    if RELEASE is not None:
        shape += ["--slurm", RELEASE]
    again = hpcai("up", "--name", cluster.name, *shape)
    assert (again.returncode, again.stdout) == (0, "")
    assert "was up already, in this very shape" in again.stderr
    other = hpcai("up", "--name", cluster.name, *shape, "--nodes", "2")
    assert other.returncode == 4
    assert "in another shape: nodes is 3, not 2.\n" in other.stderr
    without = hpcai("up", "--name", cluster.name, *(word for word in shape if word != "--blob"))
    assert "in another shape: blob is yes, not no.\n" in without.stderr


@pytest.mark.real
def test_exec_is_the_program(cluster: RealCluster, tmp_path: Path) -> None:
    environ = {"HPCAI_LOCAL": cluster.name}
    done = hpcai("exec", "sh", "-c", "sinfo -h -o %D; echo --name >&2; exit 7", environ=environ)
    assert (done.returncode, done.stdout, done.stderr) == (7, "3\n", "--name\n")
    killed = hpcai("exec", "--", "sh", "-c", "kill -9 $$", environ=environ)
    assert killed.returncode == -9
    plain = tmp_path / "plain"
    plain.write_text("true\n")
    plain.chmod(0o755)
    nothing = hpcai("exec", str(plain), environ=environ)
    assert (nothing.returncode, nothing.stderr.splitlines()[0]) == (
        4,
        f"hpcai: {str(plain)!r} cannot be started: Exec format error.",
    )
    missing = hpcai("exec", "no-such-program", environ=environ)
    assert missing.returncode == 4
    assert missing.stderr == (
        "hpcai: 'no-such-program' is not on PATH.\n"
        f"hpcai local env --name {cluster.name}  # prints the PATH that was searched\n"
    )


@pytest.mark.real
def test_a_shell_takes_env(cluster: RealCluster) -> None:
    call = f"{shlex.quote(sys.executable)} -m hpcai local env --name {cluster.name}"
    done = subprocess.run(
        ["sh", "-c", f'eval "$({call})"; eval "$({call})"; sinfo -h -o %D; env'],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("3\n")
    (path,) = (line for line in done.stdout.splitlines() if line.startswith("PATH="))
    assert path.count("/slurm/bin") == 1
    names = {key for key in cluster.environ if key.startswith(("HPCAI_", "SLURM_CONF", "AZURE_"))}
    assert names <= {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert "account_key" not in done.stdout


@pytest.mark.real
def test_an_unknown_node_is_5_with_all(cluster: RealCluster) -> None:
    done = hpcai("fault", "kill-node", "--name", cluster.name, "n33")
    assert done.returncode == 5
    assert done.stderr.endswith("has no node 'n33'.\nDid you mean 'n3'? Its nodes are: n1, n2, n3.\n")


@pytest.mark.real
def test_drain_and_resume(cluster: RealCluster) -> None:
    def state() -> tuple[str, str | None]:
        (one,) = json.loads(hpcai("status", "--name", cluster.name, "-o", "json").stdout)["clusters"]
        return one["nodes"][1]["state"], one["nodes"][1]["reason"]

    try:
        assert hpcai("fault", "drain", "--name", cluster.name, "n2", "--reason", "for a test").returncode == 0
        assert state() == ("drained", "for a test")
    finally:
        back = hpcai("fault", "resume", "--name", cluster.name, "n2")
    assert back.stderr == "Node 'n2' is back.\n"
    assert state()[0] == "idle"
    again = hpcai("fault", "resume", "--name", cluster.name, "n2")
    assert (again.returncode, again.stderr) == (0, "Node 'n2' was neither killed nor drained.\n")
