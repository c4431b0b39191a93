"""What submit refuses before anything is written, and what it leaves to Slurm and the nodes."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hpcai.cli import submit_checks
from hpcai.cli.context import Context
from hpcai.cli.submit import submit
from hpcai.errors import SlurmError, SpecError, UnreachableError
from hpcai.slurm.answers import NodeInfo
from hpcai.specs.job import JobSpec
from hpcai.specs.load import open_text
from hpcai.specs.site import Site

# `bash -n` reads what the jobs give to bash.
pytestmark = pytest.mark.programs
IMAGE = "kind: job\nname: x\ncommand: hostname\ncontainer: {image: /data/none.sqsh}\n"


class Slurm:
    """Slurm with one node."""

    def __init__(self, hostname: str | None) -> None:
        self.hostname = hostname

    def within(self, _: float) -> Slurm:
        return self

    def nodes(self) -> list[NodeInfo]:
        if self.hostname is None:
            raise UnreachableError("No answer.")
        known: dict[str, Any] = {"name": "n1", "state": "IDLE", "hostname": self.hostname}
        return [NodeInfo(**known)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: job\nname: x\ncommand: python nope.py\n", ":3:10: command: The command starts 'nope.py'"),
        ("kind: job\nname: x\ncommand: 'echo \"a'\n", ":3:10: command: Bash cannot read the command"),
        ("kind: job\nname: x\ncommand: srun hostname\n", ":3:10: command: The command runs in a step"),
        (
            "kind: job\nname: x\ncommand: hostname\nsecrets: {A: file:/none}\n",
            ":4:14: secrets.A: The file '/none' of the secret A does not exist.",
        ),
        (
            "kind: job\nname: x\nschedule: '@daily'\ncommand: python nope.py\n",
            ":4:10: command: The command starts 'nope.py'",
        ),
        (
            "kind: steps\nname: x\nsteps:\n- {name: a, job: {command: python nope.py}}\n",
            ":4:28: a: command: The command starts 'nope.py'",
        ),
    ],
    ids=["script", "syntax", "launcher", "secret", "schedule", "steps"],
)
def test_a_sure_error_is_refused_before_anything_is_written(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    site = Site(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    for name in ("submit", "submit_steps"):
        module = importlib.import_module(f"hpcai.cli.{name}")
        monkeypatch.setattr(module, "find_context", lambda: Context(site, None))
    done = CliRunner().invoke(submit, ["job.yaml"])
    assert isinstance(done.exception, SpecError), done.exception
    assert done.exception.exit_status == 3
    assert f"job.yaml{told}" in str(done.exception)
    assert "`hpcai check job.yaml` shows all findings." in str(done.exception)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("hostname", "is_refused"), [(socket.gethostname(), True), ("another-machine", False), (None, False)]
)
def test_a_file_that_only_the_nodes_may_have_is_left_to_them(
    hostname: str | None, is_refused: bool, tmp_path: Path
) -> None:
    assert bool(_refused(IMAGE, Slurm(hostname), tmp_path)) is is_refused


def test_what_slurm_refuses_without_a_next_step_is_sent_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SlurmError("sbatch refused: Invalid --begin specification.")

    (tmp_path / "job.yaml").write_text("kind: job\nname: x\ncommand: hostname\nbegin: never\n")
    around = Context(Site(tmp_path / "runs"), Slurm("n1"))  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("hpcai.cli.submit"), "find_context", lambda: around)
    monkeypatch.setattr("hpcai.launch.script.submit", refuse)
    done = CliRunner().invoke(submit, ["job.yaml"])
    assert isinstance(done.exception, SlurmError)
    assert done.exception.next_step == "`hpcai check job.yaml` tells where in the file."


def test_what_a_job_before_this_one_may_make_is_left_to_it(tmp_path: Path) -> None:
    head = "kind: job\nname: x\ncommand: python nope.py\n"
    assert _refused(head, Slurm("n1"), tmp_path)
    assert not _refused(f"{head}dependency: afterok:17\n", Slurm("n1"), tmp_path)
    assert not _refused(head, Slurm("n1"), tmp_path, is_behind=True)


def _refused(text: str, slurm: Slurm, folder: Path, *, is_behind: bool = False) -> str:
    opened = open_text(text, "job.yaml", base=folder)
    assert isinstance(opened.spec, JobSpec)
    given = submit_checks.Given(opened.spec, opened.document, None, is_behind)
    around = Context(Site(folder / "runs"), slurm)  # type: ignore[arg-type]
    try:
        submit_checks.refuse_errors([given], Path("job.yaml"), around, "slurm")
    except SpecError as error:
        return str(error)
    return ""
