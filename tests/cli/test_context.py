"""How a command finds Slurm and storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcai.cli import context
from hpcai.errors import NotFoundError, ToolError
from hpcai.slurm.local import cluster
from hpcai.slurm.local.places import DEFAULT, place
from tests.closed import as_ordinary_user

EMBEDDED = {
    "HPCAI_LOCAL": "default",
    "HPCAI_SCRATCH": "/state/scratch/%n",
    "SLURM_CONF": "/state/slurm.conf",
    "AZURE_STORAGE_ACCOUNT": "emulated",
    "HPCAI_STORAGE_ENDPOINT": "http://127.0.0.1:1/emulated",
    "HPCAI_STORAGE_CREDENTIALS": "/state/blob.json",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in (*EMBEDDED, "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "SLURM_CONF_SERVER"):
        # Set first, so that what the code under test sets is taken away again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(context, "_SYSTEM_CONFIGS", (str(tmp_path / "slurm.conf"),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The embedded cluster `default` is up."""
    bin_dir = tmp_path / "embedded"
    bin_dir.mkdir()
    _program(bin_dir / "sbatch")
    ready = place(tmp_path / "hpcai", DEFAULT).ready
    ready.parent.mkdir(parents=True)
    ready.touch()
    monkeypatch.setattr(
        cluster, "environment", lambda name: {**EMBEDDED, "HPCAI_LOCAL": name, "PATH": str(bin_dir)}
    )


def _program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_no_slurm_is_an_error_only_for_who_needs_it() -> None:
    found = context.find_context()
    assert found.slurm is None
    with pytest.raises(ToolError, match="hpcai local up"):
        _ = found.client


@pytest.mark.usefixtures("embedded")
def test_the_embedded_cluster_is_used_when_there_is_no_other_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = context.find_context()
    assert found.client.environ["SLURM_CONF"] == "/state/slurm.conf"
    assert (found.site.storage_account, found.site.scratch) == ("emulated", "/state/scratch/%n")
    assert capsys.readouterr().err == "Using the embedded cluster 'default'.\n"


@pytest.mark.usefixtures("embedded")
def test_a_slurm_on_path_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(tmp_path / "sbatch")
    monkeypatch.setenv("SLURM_CONF", "/etc/of/site.conf")
    found = context.find_context()
    assert found.client.environ["SLURM_CONF"] == "/etc/of/site.conf"
    assert found.site.storage_account is None
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("embedded")
def test_the_systems_slurm_needs_no_variable(tmp_path: Path) -> None:
    _program(tmp_path / "sbatch")
    (tmp_path / "slurm.conf").touch()
    assert "SLURM_CONF" not in context.find_context().client.environ


@pytest.mark.usefixtures("embedded")
def test_slurms_commands_without_a_cluster_do_not_count(tmp_path: Path) -> None:
    _program(tmp_path / "sbatch")
    assert context.find_context().client.environ["SLURM_CONF"] == "/state/slurm.conf"


@pytest.mark.usefixtures("embedded")
def test_the_named_embedded_cluster_wins_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(tmp_path / "sbatch")
    monkeypatch.setenv("SLURM_CONF", "/etc/of/site.conf")
    monkeypatch.setenv("HPCAI_LOCAL", "other")
    assert context.find_context().client.environ["HPCAI_LOCAL"] == "other"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("variable", ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "HPCAI_STORAGE_ENDPOINT"])
def test_storage_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "mine")
    found = context.find_context()
    assert found.client.environ[variable] == "mine"
    assert "HPCAI_STORAGE_CREDENTIALS" not in found.client.environ


def test_a_named_cluster_that_is_down_leaves_records_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_name: str) -> dict[str, str]:
        raise ToolError("the embedded cluster 'x' is down", next_step="hpcai local up --name x")

    monkeypatch.setenv("HPCAI_LOCAL", "x")
    monkeypatch.setattr(cluster, "environment", down)
    found = context.find_context()
    with pytest.raises(ToolError, match="is down"):
        _ = found.client


def test_a_named_cluster_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCAI_LOCAL", "nope")
    with pytest.raises(NotFoundError, match="nope"):
        context.find_context()


def test_a_cache_that_is_closed_holds_no_embedded_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/closed")
    with as_ordinary_user():
        assert context.find_context().slurm is None
