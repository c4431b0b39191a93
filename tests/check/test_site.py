"""This site: what a node tells, the facts that are kept, and the assertions that a real site is held to."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.check import places, site_file
from hpcai.check.fidelity import ASSERTIONS, assertions_of
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.check.nodes import awake
from hpcai.check.probe import Probe, facts_of, probe_of
from hpcai.check.told import Told
from hpcai.errors import StageError
from hpcai.slurm.answers import Association, NodeInfo, PartitionInfo
from hpcai.specs.settings import load_settings, mistakes_of
from hpcai.specs.site import Site
from hpcai.specs.yaml_text import parse

ROOT = Path(__file__).parents[2]
NODE = NodeInfo("far-1", "IDLE", cpus=96, gpus=8, memory_mib=1_848_320, hostname="far-1")
GPU = PartitionInfo("gpu", is_default=True, node_list="far-1", total_nodes=1)
SOUND = """
vm_size=Standard_ND96isr_H100_v5
region=eastus
enroot=4.0.1
mpi=none pmi2 pmix
launch_address=10.0.0.4
own_address=10.0.0.5
mounted=/dev/md0 /nvme xfs
mounted=server:/home /shared nfs4
scratch=/nvme 1000000
hpcai=0.1
runs=yes
"""
GPUS = "".join(f"gpu=/dev/nvidia{index}\n" for index in range(8))
PORTS = "".join(f"port=mlx5_ib{index} 4: ACTIVE 400 Gb/sec (4X NDR)\n" for index in range(8))


def told(**fields: object) -> Told:
    config = {"TaskPlugin": "task/cgroup,task/affinity", "ProctrackType": "proctrack/cgroup"}
    known: dict[str, object] = {
        "partitions": [GPU],
        "nodes": [NODE],
        "config": config,
        "version": (24, 11),
        "mpi_plugins": frozenset({"none", "pmix"}),
        "srun_takes_containers": True,
        "associations": [Association("a", None, (), None)],
    }
    return Told(**{**known, **fields})  # type: ignore[arg-type]


def around(site: Site | None = None, **fields: object) -> Surroundings:
    return Surroundings(site or Site(Path("/shared/runs")), {}, Path("/none"), told(**fields))


def probe(text: str = SOUND + GPUS + PORTS) -> Probe:
    return probe_of(text + "end=yes\n")


def held(where: Surroundings, probes: dict[str, Probe]) -> dict[str, Finding]:
    return {finding.where.removeprefix("fidelity "): finding for finding in assertions_of(where, probes)}


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    yield


def test_a_sound_site_shows_what_can_be_shown() -> None:
    found = held(around(), {"gpu": probe()})
    unseen = {"allreduce", "throttling", "stale-sockets", "import", "accuracy"}
    assert {name for name, one in found.items() if one.severity == "note"} == unseen
    assert {one.severity for name, one in found.items() if name not in unseen} == {"ok"}, found


@pytest.mark.parametrize(
    ("ident", "fields", "text"),
    [
        ("slurm-release", {"version": (25, 11)}, SOUND),
        ("cgroups", {"config": {"TaskPlugin": "task/none"}}, SOUND),
        ("requeue", {"config": {"JobRequeue": "0"}}, SOUND),
        ("accounting", {"associations": None}, SOUND),
        ("pmix-on-nodes", {}, SOUND.replace(" pmix", "")),
        ("scratch", {}, SOUND.replace("/nvme xfs", "/nvme nfs4")),
        ("vm-size", {}, SOUND.replace("H100", "H200")),
        ("gpus", {}, SOUND + "gpu=/dev/nvidia0\n"),
        ("infiniband", {}, SOUND + PORTS.replace("ACTIVE", "DOWN", 1).replace("4: DOWN", "1: DOWN")),
        ("addresses", {}, SOUND.replace("10.0.0.4", "127.0.0.1")),
        ("containers", {}, SOUND.replace("enroot=4.0.1\n", "")),
    ],
)
def test_what_a_real_site_does_not_show_is_a_warning(
    ident: str, fields: dict[str, object], text: str
) -> None:
    site = Site(Path("/shared/runs"), partitions={"gpu": "Standard_ND96isr_H100_v5"})
    found = held(around(site, **fields), {"gpu": probe(text)})[ident]
    assert (found.severity, found.what.startswith("Not as ")) == ("warning", True), found


def test_without_a_node_it_is_said_what_was_not_looked_at() -> None:
    found = held(around(), {})
    assert "no node was asked" in found["gpus"].what
    assert found["scratch"].severity == "note"


def test_the_page_on_fidelity_lists_every_assertion() -> None:
    text = (ROOT / "docs/fidelity.md").read_text().partition("asserts on a real site")[2]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", text.partition("\n## ")[0], flags=re.MULTILINE)
    assert rows == [(one.id, one.what) for one in ASSERTIONS]


def test_facts_become_a_file_that_settings_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "mounts", lambda: [("server:/home", "/shared", "nfs4"), ("a", "/b", "nfs4")])
    facts = site_file.facts_of_site(around(), {"gpu": probe()})
    path = tmp_path / "conf" / "site.yaml"
    site_file.write(facts, path, 0.0)
    text = path.read_text()
    assert list(mistakes_of(parse(text, "site.yaml"))) == []
    assert "1970-01-01" in text and "# Azure's metadata service on a node" in text
    settings = load_settings({"HPCAI_CONFIG_HOME": str(path.parent), "HPCAI_SITE_CONFIG": "/none"}, tmp_path)
    assert settings.values["partitions"] == {"gpu": "Standard_ND96isr_H100_v5"}
    assert settings.values["shared_folders"] == ["/shared"]
    assert (settings.values["region"], settings.values["scratch"]) == ("eastus", "/nvme")
    assert settings.values["enroot_version"] == "4.0.1"
    assert settings.origins["region"].startswith(str(path))
    site_file.write(facts, path, 1.0)


def test_a_size_that_only_fits_by_its_counts_is_written_as_judged() -> None:
    node = NodeInfo("n", "IDLE", cpus=96, gpus=8, memory_mib=int(900 * 1024 * 0.95), hostname="n")
    one = PartitionInfo("a", node_list="n", total_nodes=1)
    facts = site_file.facts_of_site(around(partitions=[one], nodes=[node]), {})
    assert facts.values["partitions"] == {"a": "Standard_ND96asr_v4"}
    assert facts.origins["partitions.a"].startswith("judged by ")


def test_a_file_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("kind: config\n")
    with pytest.raises(StageError, match="was not written by"):
        site_file.write(site_file.Facts(), path, 0.0)
    assert path.read_text() == "kind: config\n"
    (tmp_path / "a").write_text("")
    with pytest.raises(StageError, match="cannot be written"):
        site_file.write(site_file.Facts(), tmp_path / "a" / "site.yaml", 0.0)


def test_what_nodes_tell_differently_is_no_fact() -> None:
    other = probe(SOUND.replace("4.0.1", "3.5.0").replace("eastus", "westeurope"))
    assert facts_of({"a": probe(), "b": other}) == {"scratch": "/nvme"}


def test_an_answer_that_is_cut_off_is_none() -> None:
    with pytest.raises(ValueError, match="did not end"):
        probe_of(SOUND)


def test_only_a_node_that_is_switched_on_is_asked() -> None:
    def node(name: str, state: str = "IDLE", *flags: str) -> NodeInfo:
        return NodeInfo(name, state, frozenset(flags))

    nodes = [node("n1", "DOWN"), node("n2", "IDLE", "POWERED_DOWN"), node("n3", "ALLOCATED"), node("n4")]
    assert awake(PartitionInfo("a", node_list="n[1-4]"), nodes) == "n4"
    assert awake(PartitionInfo("a", node_list="n[1-3]"), nodes) is None
