from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hpcai
from hpcai.errors import SpecError
from hpcai.slurm.answers import NodeInfo
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site

# `bash -n` reads what the jobs give to bash.
pytestmark = pytest.mark.programs


class Slurm:
    """Slurm with one node, another machine."""

    def within(self, _: float) -> Slurm:
        return self

    def nodes(self) -> list[NodeInfo]:
        known: dict[str, Any] = {"name": "n1", "state": "IDLE", "hostname": "another-machine"}
        return [NodeInfo(**known)]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"command": "python nope.py"}, "command: The command starts 'nope.py'"),
        ({"setup": ("if true",)}, "setup[0]: Bash cannot read setup"),
        (
            {"secrets": {"A": "env:NOPE_NOWHERE"}},
            "secrets.A: The secret A comes from the variable NOPE_NOWHERE",
        ),
    ],
)
def test_python_too_is_refused_what_surely_cannot_run(
    fields: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = JobSpec(**{"name": "x", "command": "hostname"} | fields)
    with pytest.raises(SpecError) as caught:
        hpcai.submit(spec, site=Site(tmp_path / "runs"), client=Slurm())  # type: ignore[arg-type]
    assert str(caught.value).startswith(told)
    assert list(tmp_path.iterdir()) == []


def test_what_can_run_runs(tmp_path: Path) -> None:
    run = hpcai.submit(JobSpec(name="x", command="echo told"), where="local", site=Site(tmp_path / "runs"))
    assert run.attempts()[-1].exit_status == 0
