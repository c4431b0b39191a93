"""Ctrl-C while waiting: the words, what a program is told, and the status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpcai.cli import cancel as cancelling
from hpcai.cli import context, following
from hpcai.cli.show import show
from hpcai.errors import WaitTimeout
from hpcai.launch.follow import Snapshot
from hpcai.runs.record import create_run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.specs.site import Site


class OneJob(SlurmClient):
    """Slurm with a job 5 that stays as it is."""

    def __init__(self, state: str, reason: str | None = None) -> None:
        super().__init__({})
        self.stays = JobInfo(5, "x", state, reason=reason)
        self.cancelled: list[str] = []

    def job(self, ident: int | str) -> JobInfo:  # noqa: ARG002
        return self.stays

    def cancel(self, ident: str) -> None:
        self.cancelled.append(ident)


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("output", ["table", "json"])
def test_ctrl_c_while_waiting_says_what_to_type_next(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, "default", "one", spec_text="", resolved={}, script="")
    run.append_event("submitted", where="local")
    for name in ("HPCAI_LOCAL", "SLURM_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (
        ("PATH", "/nonexistent"),
        ("XDG_CACHE_HOME", tmp_path),
        ("HPCAI_RUNS_ROOT", tmp_path),
    ):
        monkeypatch.setenv(name, str(value))

    monkeypatch.setattr(following.time, "sleep", interrupt)
    done = CliRunner().invoke(show, ["one", "--wait", "-o", output])
    assert done.exit_code == 130
    assert done.stderr == (
        f"\nNo longer waiting; {run.name} goes on.\nNext:\n"
        f"  hpcai show {run.name} --wait\n  hpcai logs -f {run.name}\n  hpcai cancel {run.name}\n"
    )
    if output == "table":
        assert done.stdout == ""
    else:
        facts = json.loads(done.stdout)
        assert (facts["run"], facts["state"]) == (run.name, "RUNNING")


def test_ctrl_c_while_a_job_ends_says_that_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = OneJob("COMPLETING")
    monkeypatch.setattr(context, "find_context", lambda: context.Context(Site(tmp_path), slurm))
    monkeypatch.setattr(cancelling.time, "sleep", interrupt)
    done = CliRunner().invoke(cancelling.cancel, ["5"])
    assert (done.exit_code, slurm.cancelled) == (130, ["5"])
    assert done.stderr == ("\nNo longer waiting; job 5 was told to end.\nNext:\n  hpcai show 5 --wait\n")


def test_a_job_that_never_starts_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    slurm = OneJob("PENDING", "PartitionTimeLimit")
    with pytest.raises(WaitTimeout) as late:
        following.wait_for_job(slurm, slurm.stays, 0.6)
    words = "never starts as it is: its partition does not allow so long a time"
    assert capsys.readouterr().err == f"Job 5 {words}.\nNext:\n  hpcai cancel 5\n"
    assert late.value.next_step == "hpcai cancel 5"
    tell = following._teller("x-1")
    for now in (1.0, 2.0):
        tell(Snapshot(now=now, phase="waiting", words=words, state="PENDING", never_starts=True))
    assert capsys.readouterr().err.partition("  ")[2] == f"the job {words}\nNext:\n  hpcai cancel x-1\n"
