from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpcai.cli.cluster import cluster
from hpcai.errors import NotFoundError, SpecError, StageError, UsageError
from hpcai.render.environment import shipped

CONFIG = str(shipped("cluster-configs") / "nd-h100-slurm.yaml")


def test_the_template_goes_to_stdout_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cluster, ["render", CONFIG], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []
    assert result.stdout.startswith("# nd-h100-slurm: Slurm on Azure CycleCloud")
    assert result.stderr == ""


def test_both_files_are_written_and_what_is_open_is_said(weird_folder: Path) -> None:
    folder = weird_folder / "new"
    arguments = ["render", CONFIG, "--to", str(folder), "--set", "region=westeurope"]
    result = CliRunner().invoke(cluster, arguments, catch_exceptions=False)
    assert result.stdout.splitlines() == [
        str(folder / "nd-h100-slurm.txt"),
        str(folder / "nd-h100-slurm.json"),
    ]
    assert json.loads((folder / "nd-h100-slurm.json").read_text())["Region"] == "westeurope"
    assert "Still to fill in, there or with --set: SubnetId, Credentials." in result.stderr


def render_to(folder: Path, *words: str) -> tuple[dict[str, Any], str]:
    """The values of the parameters file, and what was said."""
    done = CliRunner().invoke(
        cluster, ["render", CONFIG, "--to", str(folder), *words], catch_exceptions=False
    )
    return json.loads((folder / "nd-h100-slurm.json").read_text()), done.stderr


def fill_in(folder: Path, **values: object) -> None:
    file = folder / "nd-h100-slurm.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_what_a_person_has_filled_in_stays_and_is_said(tmp_path: Path) -> None:
    first, said = render_to(tmp_path)
    assert "Kept" not in said
    given = {"Region": "westeurope", "SubnetId": "g/v/s", "Autoscale": False, "Credentials": ""}
    fill_in(tmp_path, **given)
    again, said = render_to(tmp_path, "--set", "boot_disk_gb=300")
    assert again == {**first, **given, "Credentials": None, "BootDiskSize": 300}
    assert "Kept from the parameters file as it was: Region, SubnetId, Autoscale.\n" in said
    assert "Still to fill in, there or with --set: Credentials.\n" in said


def test_what_the_cluster_s_file_says_goes_before_and_what_it_replaces_is_said(tmp_path: Path) -> None:
    first, _ = render_to(tmp_path)
    fill_in(tmp_path, Region="westeurope", MaxHPCExecuteNodeCount=99, OfNoArray=5)
    again, said = render_to(tmp_path, "--set", "region=eastus")
    assert again == {**first, "Region": "eastus"}
    assert "Kept" not in said
    lost = "Region (was 'westeurope'), MaxHPCExecuteNodeCount (was 99), OfNoArray (was 5)"
    assert f"Not kept from the parameters file, because of the cluster's file: {lost}.\n" in said


def test_a_key_that_is_taken_out_of_the_cluster_s_file_is_open_again(tmp_path: Path) -> None:
    first, _ = render_to(tmp_path)
    keys = ("region=westeurope", "boot_disk_gb=64", "tags={team: vision}", "nodearrays.0.max_price=0.5")
    given, _ = render_to(tmp_path, *(word for key in keys for word in ("--set", key)))
    assert len([name for name in first if first[name] != given[name]]) == len(keys)
    fill_in(tmp_path, SubnetId="g/v/s")
    # Whatever was rendered in between: what a person has filled in stays theirs.
    for _ in range(2):
        again, said = render_to(tmp_path)
        assert again == {**first, "SubnetId": "g/v/s"}
        assert "Kept from the parameters file as it was: SubnetId.\n" in said


@pytest.mark.parametrize("text", ['{"Region": "westeurope",', "[]", "\x80"])
def test_a_parameters_file_that_cannot_be_read_is_not_overwritten(tmp_path: Path, text: str) -> None:
    file = tmp_path / "nd-h100-slurm.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"'.*/nd-h100-slurm\.json' (is no JSON|holds no JSON object)"):
        render_to(tmp_path)
    assert (
        [file.read_bytes()] == [path.read_bytes() for path in tmp_path.iterdir()] == [text.encode("latin-1")]
    )


def test_files_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render_to(tmp_path)
    file = tmp_path / "nd-h100-slurm.json"
    before = file.read_text()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StageError, match="cannot be written: No space left on device"):
        render_to(tmp_path, "--set", "region=eastus")
    assert file.read_text() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match="cannot be written"):
        CliRunner().invoke(
            cluster, ["render", CONFIG, "--to", str(tmp_path / "file/x")], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["no-such.yaml"], NotFoundError),
        ([CONFIG, "--set", "nodearrays=null"], SpecError),
        ([CONFIG, "--set", "kind=job"], UsageError),
    ],
)
def test_a_wrong_file_ends_in_its_error(arguments: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        CliRunner().invoke(cluster, ["render", *arguments], catch_exceptions=False)
