from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpcai.cli.submit import submit
from hpcai.cli.submit_local import tell_without_slurm
from hpcai.specs.job import JobSpec


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"partition": "gpu", "mem_gib": 4.0}, ""),
        (
            {"time_min": 5, "dependency": "afterok:1"},
            "Without Slurm these keys say nothing: dependency, time_min.\n",
        ),
    ],
)
def test_what_nobody_heeds_without_slurm_is_told(
    fields: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_without_slurm(JobSpec(**{"name": "x", "command": "true"} | fields))
    assert capsys.readouterr().err == told


@pytest.mark.programs
def test_a_job_here_tells_it_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCAI_RUNS_ROOT", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("kind: job\nname: x\ncommand: hostname\ntime_min: 5\n")
    done = CliRunner().invoke(submit, ["job.yaml", "--where", "local", "-q"])
    assert done.exit_code == 0 and "Without Slurm these keys say nothing: time_min.\n" in done.stderr
