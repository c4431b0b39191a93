"""This site: what a node tells, the facts that are kept, and the assertions that a real site is held to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcai import entry
from hpcai.check import exports, paths, places, site_file
from hpcai.check.fidelity import ASSERTIONS, assertions_of
from hpcai.check.findings import Finding
from hpcai.check.job import Surroundings
from hpcai.check.nodes import awake
from hpcai.check.probe import Probe, facts_of, probe_of
from hpcai.check.site import SiteLook, check_site, check_without_slurm
from hpcai.check.told import Told
from hpcai.errors import SlurmError, StageError
from hpcai.slurm.answers import Association, NodeInfo, PartitionInfo
from hpcai.slurm.client import SlurmClient
from hpcai.slurm.plugstack import pyxis_version
from hpcai.specs.settings import load_settings, mistakes_of
from hpcai.specs.site import Site
from hpcai.specs.yaml_text import parse
from tests.closed import as_ordinary_user

ROOT = Path(__file__).parents[2]
NODE = NodeInfo("far-1", "IDLE", cpus=96, gpus=8, memory_mib=1_848_320, hostname="far-1")
GPU = PartitionInfo("gpu", is_default=True, node_list="far-1", total_nodes=1)
SOUND = """
vm_size=Standard_ND96isr_H100_v5
region=eastus
priority=Spot
enroot=4.0.1
enroot_data=/nvme/enroot-data
enroot_runtime=/nvme/enroot-run
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
        ("infiniband", {}, SOUND + PORTS.replace("NDR)", "NDR) Ethernet", 1)),
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
    assert settings.values["spot_partitions"] == ["gpu"]
    assert "# Enroot, images on a node of gpu: /nvme/enroot-data" in text
    assert "# InfiniBand on a node of gpu: mlx5_ib0 4: ACTIVE" in text
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


class FarSlurm(SlurmClient):
    """Answers of a Slurm whose nodes are other machines, without a process."""

    def __init__(self, answer: str | None) -> None:
        super().__init__({})
        self.answer = answer
        self.asked: list[str] = []
        self.lacks_plugin = False

    def within(self, timeout_s: float) -> SlurmClient:  # noqa: ARG002
        return self

    def partitions(self) -> list[PartitionInfo]:
        return [GPU, PartitionInfo("empty")]

    def nodes(self, names: str | None = None) -> list[NodeInfo]:  # noqa: ARG002
        return [NODE]

    def config(self) -> dict[str, str]:
        return {"SLURM_VERSION": "25.11.5", "ClusterName": "cc", "MaxArraySize": "1001"}

    def version(self) -> tuple[int, int]:
        return (25, 11)

    def mpi_plugins(self) -> frozenset[str]:
        return frozenset({"none", "pmix"})

    def has_pyxis(self) -> bool:
        if self.lacks_plugin:
            raise SlurmError("srun refused: Plug-in initialization failed; Dlopen of plugin file failed.")
        return True

    def sbatch_has_pyxis(self) -> bool:
        return True

    def pyxis_release(self) -> str | None:
        return "0.24"

    def associations(self, user: str) -> list[Association]:  # noqa: ARG002
        raise SlurmError("sacctmgr refused: no accounting.")

    def run_on(self, node: str, script: str, *, partition: str, within_s: float) -> str:  # noqa: ARG002
        self.asked.append(f"{node} in {partition}")
        if self.answer is None:
            raise SlurmError("srun refused: Unable to allocate resources.")
        return self.answer


def of_far_site(answer: str | None, folder: Path, *, on_nodes: bool) -> tuple[SiteLook, FarSlurm]:
    client = FarSlurm(answer)
    site = Site(folder / "runs", scratch="/nvme")
    return check_site(site, client, environ={"HOME": str(folder)}, on_nodes=on_nodes), client


def test_a_real_site_is_looked_at_from_its_login_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        places, "mounts", lambda: [("disk", "/", "ext4"), ("server:/home", "/shared", "nfs4")]
    )
    seen, client = of_far_site(SOUND + GPUS + PORTS + "end=yes\n", tmp_path, on_nodes=True)
    by_id = {finding.id: finding for finding in seen.findings}
    assert client.asked == ["far-1 in gpu"]
    assert "Standard_ND96isr_H100_v5; " in by_id["node"].what
    assert by_id["node-unasked"].where == "partition empty"
    assert "Pyxis 0.24 or later" in by_id["pyxis"].what
    assert "/shared (server:/home)" in by_id["shared-folders"].what
    assert by_id["folder-not-on-nodes"].severity == "warning"
    assert {"limits", "fidelity"} <= set(by_id) and "nodes-unseen" not in by_id
    assert seen.facts.values["partitions"] == {"gpu": "Standard_ND96isr_H100_v5"}
    assert seen.facts.values["pyxis_version"] == "0.24"


def test_a_real_site_without_its_nodes_says_so(tmp_path: Path) -> None:
    seen, client = of_far_site(None, tmp_path, on_nodes=False)
    by_id = {finding.id: finding for finding in seen.findings}
    assert client.asked == []
    assert by_id["nodes-unseen"].fix == "hpcai check --nodes"
    assert "look like Standard_ND96amsr_A100_v4 or Standard_ND96isr_H100_v5" in " ".join(
        finding.what for finding in seen.findings if finding.id == "partition"
    )
    assert "partitions" not in seen.facts.values


def test_a_node_that_gives_no_answer_is_named(tmp_path: Path) -> None:
    for answer in (None, "vm_size=x\n"):
        seen, _ = of_far_site(answer, tmp_path, on_nodes=True)
        [unasked] = [one for one in seen.findings if one.where == "node far-1"]
        assert (unasked.id, unasked.severity) == ("node-unasked", "warning")
        assert unasked.fix == "srun -w far-1 -p gpu hostname  # tells"


def test_a_runs_folder_below_a_closed_one_is_an_error_and_no_defect(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with as_ordinary_user():
        found = check_without_slurm(Site(tmp_path / "closed/runs"), environ={})
    [one] = [finding for finding in found if finding.id == "runs-not-writable"]
    assert "is not a folder that you may write to" in one.what


def test_a_runs_folder_on_a_share_that_is_away_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_back = threading.Event()
    monkeypatch.setattr(entry, "looked_at", lambda _: comes_back.wait() and entry.Entry(0o40755))
    monkeypatch.setattr(paths, "ANSWERS_WITHIN_S", 0.2)
    found = check_without_slurm(Site(tmp_path / "runs"), environ={})
    comes_back.set()
    [one] = [finding for finding in found if finding.id == "path-silent"]
    assert (one.where, one.severity) == ("runs folder", "warning")
    assert {"scratch-unseen", "interpreter"} <= {finding.id for finding in found}


def test_a_defect_in_a_look_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        yield from [][0]

    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with pytest.raises(RuntimeError, match="container broke off"):
        paths.in_time({"container": broken}, 5)
    assert told[0].exc_type is IndexError


def test_what_this_machine_exports_and_nodes_mount_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exports").write_text(
        '# a scheduler of CycleCloud\n"/shared" *(rw)\n/sched \\\n *(rw)\n/my\\040data *(ro)\n'
    )
    monkeypatch.setattr(exports, "NOW", tmp_path / "etab")
    monkeypatch.setattr(exports, "TOLD", (tmp_path / "exports", tmp_path / "exports.d"))
    assert exports.exports() == ["/shared", "/sched", "/my data"]
    monkeypatch.setattr(places, "mounts", lambda: [("/dev/md0", "/", "ext4")])
    own = SOUND.replace("server:/home", f"{socket.gethostname()}:/shared")
    assert site_file.facts_of_site(around(), {"gpu": probe(own)}).values["shared_folders"] == ["/shared"]
    # Another server's folder of that name is another one.
    other = SOUND.replace("server:/home", "server:/shared")
    assert "shared_folders" not in site_file.facts_of_site(around(), {"gpu": probe(other)}).values
    assert places.is_exported(Path("/shared/home/me")) and not places.is_exported(Path("/mnt/x"))


def test_a_machine_knows_its_own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert exports.is_this_machine("127.0.0.1")
    assert not exports.is_this_machine("192.0.2.1")


def test_a_plugin_that_is_not_there_is_an_error_of_the_site(tmp_path: Path) -> None:
    client = FarSlurm(None)
    client.lacks_plugin = True
    found = check_site(Site(tmp_path / "runs"), client, environ={"HOME": str(tmp_path)}).findings
    [one] = [finding for finding in found if finding.id == "plugin-of-other-slurm"]
    assert (one.severity, "cannot be loaded" in one.what) == ("error", True)
    [pyxis] = [finding for finding in found if finding.id == "pyxis"]
    assert "is not known" in pyxis.what


def test_the_plugin_says_itself_which_release_of_pyxis_it_is(tmp_path: Path) -> None:
    (tmp_path / "spank_pyxis.so").write_bytes(b"\x7fELF\0\0pyxis: version v0.21.0\0more")
    (tmp_path / "plugstack.conf").write_text("include plugstack.conf.d/*\n")
    (tmp_path / "plugstack.conf.d").mkdir()
    line = f"required {tmp_path}/spank_pyxis.so runtime_path=/nvme/enroot-runtime\n"
    (tmp_path / "plugstack.conf.d/pyxis.conf").write_text(line)
    environ = {"SLURM_CONF": f"{tmp_path}/slurm.conf", "HOME": str(tmp_path)}
    assert pyxis_version(environ) == "0.21.0"
    seen = check_site(Site(tmp_path / "runs"), FarSlurm(None), environ=environ)
    [pyxis] = [finding for finding in seen.findings if finding.id == "pyxis"]
    assert "; Pyxis 0.21.0; images go to /nvme/enroot-runtime of a node." in pyxis.what
    assert seen.facts.values["pyxis_version"] == "0.21.0"
    client = SlurmClient(environ)
    vars(client)["_srun_help"] = "--container-image --container-entrypoint-log"
    assert client.pyxis_release() == "0.21.0"
    (tmp_path / "spank_pyxis.so").unlink()
    assert client.pyxis_release() is None
    assert pyxis_version(environ) is None


def test_settings_about_partitions_and_sizes_that_there_are_not_are_told(tmp_path: Path) -> None:
    site = Site(
        tmp_path / "runs",
        partitions={"gpu": "Standard_ND96isr_H100_v6", "gup": "Standard_ND96isr_H100_v5"},
        spot_partitions=("empty", "spot"),
    )
    found = check_site(site, FarSlurm(None), environ={"HOME": str(tmp_path)}).findings
    told = {one.where: one.fix for one in found if one.id == "setting-unheeded"}
    assert told == {
        "partitions.gup": "Did you mean 'gpu'?",
        "spot_partitions.spot": "The partitions are: gpu, empty.",
        "partitions.gpu": "Did you mean 'Standard_ND96isr_H100_v5'?",
    }


def test_a_node_that_gave_no_answer_is_not_asked_for_another_partition(tmp_path: Path) -> None:
    class Shared(FarSlurm):
        def partitions(self) -> list[PartitionInfo]:
            return [replace(GPU, name=name, node_list="far-[1-2]") for name in ("gpu", "urgent", "late")]

        def nodes(self, names: str | None = None) -> list[NodeInfo]:  # noqa: ARG002
            return [NODE, replace(NODE, name="far-2")]

    client = Shared(None)
    found = check_site(
        Site(tmp_path / "runs"), client, environ={"HOME": str(tmp_path)}, on_nodes=True
    ).findings
    assert client.asked == ["far-1 in gpu", "far-2 in urgent"]
    unasked = [one.where for one in found if one.id == "node-unasked"]
    assert unasked == ["node far-1", "node far-2", "partition late"]
