"""Runs of Slurm where Slurm is not here, is silent, or knows nothing of them: never waited for in vain."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from hpcai.cli import context
from hpcai.cli.cancel import cancel
from hpcai.cli.logs import logs
from hpcai.cli.show import show
from hpcai.cli.why import why
from hpcai.errors import HpcaiError, ToolError, UnreachableError
from hpcai.launch import ends, watch
from hpcai.runs import jsonl
from hpcai.runs.record import Run, create_run
from hpcai.slurm.answers import JobInfo
from hpcai.slurm.client import SlurmClient
from hpcai.specs.site import Site

WAITING = [(show, "--wait"), (logs, "-f")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="#!/bin/sh\n")
    made.append_event("submitted", job_id=7, where="slurm")
    return made


def invoke(
    monkeypatch: pytest.MonkeyPatch, command: click.Command, run: Run, *words: str, slurm: bool
) -> Result:
    """The command as typed for a run, with or without a Slurm that `ends.collect` asks."""
    client = SlurmClient({}) if slurm else None
    found = context.Context(Site(run.path.parent.parent), client)
    monkeypatch.setattr(context, "find_context", lambda: found)
    return CliRunner().invoke(command, [run.name, *words])


def answer(monkeypatch: pytest.MonkeyPatch, *answers: JobInfo | HpcaiError | None) -> None:
    """What Slurm says of the run's job, question after question; the last stays."""
    rest = list(answers)

    def collect(_: Run, __: SlurmClient) -> JobInfo | None:
        said = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(said, HpcaiError):
            raise said
        return said

    monkeypatch.setattr(ends, "collect", collect)


@pytest.mark.parametrize(("command", "word"), WAITING)
def test_without_slurm_there_is_nothing_to_wait_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: click.Command, word: str
) -> None:
    done = invoke(monkeypatch, command, run, word, slurm=False)
    assert isinstance(done.exception, ToolError) and "There is no Slurm here" in str(done.exception)


@pytest.mark.parametrize(("command", "word"), WAITING)
def test_without_slurm_the_record_tells_of_an_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: click.Command, word: str
) -> None:
    run.append_end(0, "TIMEOUT", 0, 15, "time_limit")
    log = run.paths.log(0, 0)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("printed\n")
    done = invoke(monkeypatch, command, run, word, slurm=False)
    assert done.exit_code == 143
    assert command is show or done.stdout == "printed\n"


@pytest.mark.parametrize(("command", "word"), [*WAITING, (cancel, "--")])
def test_a_submission_that_was_cut_off_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, word: str
) -> None:
    run = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="")
    run.append_event("submission_in_doubt")
    answer(monkeypatch, None)
    done = invoke(monkeypatch, command, run, word, slurm=True)
    assert isinstance(done.exception, ToolError)
    assert str(done.exception).startswith(
        f"No job of {run.name} is known: its submission was cut off.\n"
        "Slurm may have accepted the job all the same.\n`squeue --me` tells"
    )


@pytest.mark.parametrize(("command", "word"), WAITING)
def test_a_job_that_slurm_has_forgotten_and_nobody_recorded_is_9(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: click.Command, word: str
) -> None:
    answer(monkeypatch, None)
    assert invoke(monkeypatch, command, run, word, slurm=True).exit_code == 9


def test_what_waiting_found_out_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, None)
    shown = json.loads(invoke(monkeypatch, show, run, "--wait", "-o", "json", slurm=True).stdout)
    assert (shown["state"], shown["cause"], shown["exit_status"]) == ("UNKNOWN", "unknown", 9)


def test_a_slurm_that_is_silent_at_first_is_asked_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line: dict[str, Any] = {"attempt": 0, "job_id": 7, "time": 1.0}
    jsonl.append(run.paths.attempts, {**line, "event": "start"})
    run.append_end(0, "PREEMPTED", None, None, "preempted")
    ended = JobInfo(7, "x", "FAILED", exit_status=3, restarts=1)
    answer(monkeypatch, UnreachableError("slurmctld does not answer."), ended)
    assert invoke(monkeypatch, show, run, "--wait", slurm=True).exit_code == 3


@pytest.mark.parametrize(("command", "word"), WAITING)
def test_a_slurm_that_stays_silent_is_told_once_and_then_6(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: click.Command, word: str
) -> None:
    answer(monkeypatch, UnreachableError("slurmctld does not answer."))
    # Any silence counts, and one of a second is too long.
    monkeypatch.setattr(watch, "LONGEST_INTERVAL_S", -2)
    monkeypatch.setattr(watch, "SILENCE_LIMIT_S", 1.0)
    done = invoke(monkeypatch, command, run, word, slurm=True)
    assert isinstance(done.exception, UnreachableError)
    assert done.stderr.startswith("Slurm has not answered for ") and done.stderr.count("\n") == 1


@pytest.mark.programs
def test_without_slurm_nothing_of_a_slurm_job_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "600"], env={**os.environ, "HPCAI_RUN_DIR": str(run.path)}) as part:
        done = invoke(monkeypatch, cancel, run, slurm=False)
        is_alive = part.poll() is None
        part.kill()
    assert is_alive and isinstance(done.exception, ToolError)
    assert "There is no Slurm here" in str(done.exception)
    assert run.ends() == [] and [event["event"] for event in run.events()] == ["created", "submitted"]


def test_why_tells_from_the_record_alone_when_slurm_is_silent(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    jsonl.append(
        run.paths.attempts, {"attempt": 0, "job_id": 7, "event": "start", "time": 1.0, "node_list": "n1"}
    )
    jsonl.append(
        run.paths.attempts, {"attempt": 0, "job_id": 7, "event": "end", "exit_status": 3, "time": 2.0}
    )
    answer(monkeypatch, UnreachableError("slurmctld does not answer."))
    told = invoke(monkeypatch, why, run, "-q", slurm=True)
    assert (told.exit_code, told.stdout) == (0, "failed-without-a-log\n")
    assert "This is what the record tells. slurmctld does not answer." in told.stderr


@pytest.mark.parametrize("slurm", [True, False])
def test_why_a_job_without_a_record(monkeypatch: pytest.MonkeyPatch, run: Run, slurm: bool) -> None:
    def silent(*_: object) -> JobInfo:
        raise UnreachableError("slurmctld does not answer.")

    monkeypatch.setattr(SlurmClient, "job", silent)
    client = SlurmClient({}) if slurm else None
    monkeypatch.setattr(
        context, "find_context", lambda: context.Context(Site(run.path.parent.parent), client)
    )
    told = CliRunner().invoke(why, ["12345"])
    assert isinstance(told.exception, HpcaiError)
    assert told.exception.exit_status == (6 if slurm else 5)


def test_why_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    answer(monkeypatch, JobInfo(7, "x", "PENDING", reason="QOSMaxJobsPerUserLimit", told={"QOS": "normal"}))
    monkeypatch.setattr(SlurmClient, "node_groups", lambda *_: [])
    monkeypatch.setattr(SlurmClient, "bound", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke(monkeypatch, why, run, slurm=True).stdout.splitlines()
    assert " waits until other jobs end: a limit of its QOS normal" in lines[0]
    assert max(map(len, lines)) <= 80 and "\x1b" not in "".join(lines)
    assert "  Slurm's Reason    QOSMaxJobsPerUserLimit" in lines
    assert "  squeue --qos=normal --states=RUNNING  # what runs under it" in lines
