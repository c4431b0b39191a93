"""A cluster that keeps accounts: what it needs, what of it is secret, and that it outlives `down`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcai.errors import UnreachableError
from hpcai.files import scratch_folder
from hpcai.slurm.local import accounting, apt, conf, ports, prefix, record
from hpcai.slurm.local.conf import Layout, Shape
from hpcai.slurm.local.places import place
from hpcai.specs.site import cache_dir
from tests.accounting_cluster import Accounts, accounts_of, require

SHAPE = Shape(nodes=1, cpus_per_node=4, gpus_per_node=0, memory_mib_per_node=4000, blob=False)


def test_without_accounting_no_line_speaks_of_it() -> None:
    text = conf.slurm_conf(SHAPE, Layout(Path("/c/local/x"), "me", 26800, (26801,)))
    assert "AccountingStorage" not in text


def test_with_accounting_limits_are_enforced_and_the_password_is_slurmdbds_alone() -> None:
    layout = Layout(Path("/c/local/x"), "me", 26800, (26801,), accounting_port=26802)
    text = conf.slurm_conf(SHAPE, layout)
    assert "AccountingStorageEnforce=associations,limits,qos\n" in text
    assert "AccountingStoragePort=26802\n" in text
    assert "word" not in text
    assert "StoragePass=word\n" in conf.slurmdbd_conf(layout, "word")
    assert "StorageHost=localhost\n" in conf.slurmdbd_conf(layout, "word")


def test_packages_that_cannot_be_had_are_named_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise UnreachableError(
            "apt could not fetch packages: E: Unable to locate package mariadb-server-core."
        )

    monkeypatch.setattr(apt, "require", lambda: None)
    monkeypatch.setattr("hpcai.slurm.local.tools.patchelf", lambda _: Path("patchelf"))
    monkeypatch.setattr(prefix, "unpack", refuse)
    monkeypatch.setattr(prefix.Prefix, "version", lambda _: "24.11.5")
    with pytest.raises(UnreachableError) as caught:
        accounting.ensure(tmp_path, prefix.Prefix(tmp_path), None)
    assert str(caught.value).splitlines() == [
        "Accounting needs slurmdbd and MariaDB, and they could not be fetched: "
        "apt could not fetch packages: E: Unable to locate package mariadb-server-core.",
        "They come from the packages slurmdbd, slurm-wlm-mysql-plugin, mariadb-server-core, "
        "mariadb-client-core.",
        "Start the cluster without --accounting.",
    ]
    assert not accounting.is_made(tmp_path)


@pytest.mark.parametrize(
    ("kept", "wanted", "serves"), [("24.11.5", "24.11.6", True), ("24.05.1", "24.11.5", False)]
)
def test_a_slurmdbd_older_than_slurm_does_not_serve(
    tmp_path: Path, kept: str, wanted: str, serves: bool
) -> None:
    (tmp_path / "parts.json").write_text(
        f'{{"layout": {accounting.LAYOUT}, "root": "{tmp_path.resolve()}", "slurm": "{kept}"}}'
    )
    assert accounting._stands(tmp_path, wanted) == serves


@pytest.mark.parametrize("begin", ["mysql", "mariadb"])
def test_the_tables_of_old_and_new_mariadb_are_found(tmp_path: Path, begin: str) -> None:
    share = tmp_path / "usr" / "share" / begin
    for name in ("english", "charsets"):
        (share / name).mkdir(parents=True)
    for name in accounting.TABLES:
        (share / f"{begin}_{name}.sql").write_text(f"-- {name}")
    with scratch_folder(tmp_path) as new:
        accounting._keep_messages(tmp_path, new / "share" / "mariadb")
        assert accounting.Parts(new).tables().splitlines() == [f"-- {name}" for name in accounting.TABLES]


@pytest.mark.long
@pytest.mark.parametrize("release", list(prefix.SUITES))
def test_each_release_keeps_accounts(release: str, tmp_path: Path) -> None:
    require(release)
    name = "test-" + str(os.getpid()) + "-" + release.replace(".", "")
    with accounts_of(release, name, tmp_path) as made:
        run = made.submit("echo out; exit 3")
        bare = made.sbatch("echo bare; exit 4")
        made.has_ended(bare)
        made.has_ended(made.json("show", run)["job_id"])
        made.forget(100)
        shown = made.json("show", run)
        assert (shown["state"], shown["exit_status"], shown["is_forgotten"]) == ("FAILED", 3, True)
        made.hpcai("show", str(bare), "--wait", status=4)
        # Where the output of a job went is kept since 24.05.
        logs = made.hpcai("logs", str(bare), status=4 if release == "22.05" else 0)
        assert (
            ("that came with Slurm 24.05" in logs.stderr) if release == "22.05" else logs.stdout == "bare\n"
        )
        with made.without("slurmdbd"):
            assert "slurmdbd does not answer" in made.hpcai("show", str(bare), status=6).stderr
        where = place(cache_dir(), name)
    assert not where.state.exists()


@pytest.mark.long
def test_clusters_with_accounting_side_by_side(accounts: Accounts, tmp_path: Path) -> None:
    with accounts_of(accounts.release, f"test-{os.getpid()}-b", tmp_path) as other:
        job = other.sbatch("exit 9")
        other.has_ended(job)
        taken = [record.load_cluster(place(cache_dir(), one.name)) for one in (accounts, other)]
        first, second = (set(one.ports) for one in taken if one is not None)
        assert not first & second and all(ports.is_listening(port) for port in first | second)
        assert [one.exit_status for one in other.client.kept([str(job)])] == [9]
        assert 9 not in [one.exit_status for one in accounts.client.kept([str(job)])]
