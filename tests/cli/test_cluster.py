from __future__ import annotations

import json
from pathlib import Path

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
