"""What a job takes from its submitter's environment, from the submission to the job's end."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcai.errors import NotFoundError, SlurmError
from hpcai.launch import script, secrets
from hpcai.render.job import stash_of_job
from hpcai.render.resolved import ResolvedJob, resolve_job
from hpcai.runs.find import list_runs
from hpcai.runs.record import Run, create_run
from hpcai.slurm.answers import JobInfo
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from tests.closed import as_ordinary_user

SPEC = JobSpec(name="a", command="true", secrets={"TOKEN": "env:MY_TOKEN"})
Made = Callable[[], tuple[ResolvedJob, Run, Path]]


class Slurm:
    """A stand-in for Slurm's answers about jobs."""

    def __init__(self, *states: tuple[int, str]) -> None:
        self.found = [JobInfo(number, "a", state) for number, state in states]

    def jobs(self, ids: object) -> list[JobInfo]:
        return [job for job in self.found if job.job_id in set(ids)]  # type: ignore[call-overload]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes the record of a job with its secret kept, which is worth `hunter2`."""
    monkeypatch.setenv("MY_TOKEN", "hunter2")

    def make() -> tuple[ResolvedJob, Run, Path]:
        job = resolve_job(SPEC, Site(tmp_path / "runs"), interpreter=Path("/usr/bin/python3"))
        run = create_run(tmp_path / "runs", "x", "a", spec_text="", resolved={}, script="")
        secrets.keep(job, run)
        stash = stash_of_job(job, run.path)
        assert stash is not None
        return job, run, stash

    return make


def age(stash: Path) -> None:
    old = time.time() - 7200
    os.utime(stash, (old, old))


def test_it_is_kept_where_nobody_else_may_read_and_no_record_is(made: Made, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        _, _, stash = made()
    finally:
        os.umask(previous)
    assert (stash / "TOKEN").read_text() == "hunter2"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (stash, stash.parent, stash / "TOKEN")}
    assert list(modes.values()) == [0o700, 0o700, 0o600]
    assert stash.parent.parent == tmp_path and not stash.is_relative_to(tmp_path / "runs")


@pytest.mark.parametrize(
    ("states", "stays"),
    [([(7, "PENDING")], True), ([(7, "RUNNING")], True), ([(7, "COMPLETED")], False), ([], False)],
    ids=["waiting", "running", "ended", "forgotten"],
)
def test_the_next_submission_removes_it_once_its_job_has_ended(
    made: Made, states: list[tuple[int, str]], stays: bool
) -> None:
    _, run, stash = made()
    run.append_event("submitted", job_id=7)
    secrets.sweep(stash.parent, Slurm(*states))  # type: ignore[arg-type]
    assert stash.exists() is stays


def test_what_is_being_submitted_and_what_cannot_be_told_stays(made: Made, tmp_path: Path) -> None:
    _, run, stash = made()
    secrets.sweep(stash.parent, Slurm())  # type: ignore[arg-type]
    assert stash.exists(), "its job is not known yet"
    run.append_event("submitted", job_id=7)
    secrets.sweep(stash.parent, None)
    assert stash.exists(), "nobody could be asked"
    age(stash)
    (tmp_path / "runs").rename(tmp_path / "not mounted")
    secrets.sweep(stash.parent, Slurm())  # type: ignore[arg-type]
    assert stash.exists(), "the runs are not there"


def test_one_whose_record_was_removed_goes(made: Made) -> None:
    _, run, stash = made()
    run.path.rename(run.path.with_name("gone"))
    (run.path.with_name("gone") / "resolved.json").unlink()
    secrets.sweep(stash.parent, Slurm())  # type: ignore[arg-type]
    assert stash.exists()
    age(stash)
    secrets.sweep(stash.parent, Slurm())  # type: ignore[arg-type]
    assert not stash.exists()


class Refusing:
    def submit(self, *_: object, **__: object) -> int:
        raise SlurmError("No.")


def test_a_job_that_slurm_refuses_leaves_none(made: Made) -> None:
    job, run, stash = made()
    with pytest.raises(SlurmError):
        script.submit_run(run, job, Refusing())  # type: ignore[arg-type]
    assert not stash.exists() and not run.path.exists()


def test_without_the_variable_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    job = resolve_job(SPEC, Site(tmp_path / "runs"), interpreter=Path("/usr/bin/python3"))
    with pytest.raises(NotFoundError, match="MY_TOKEN, which is not set here"):
        script.create_record(job, "slurm", Site(tmp_path / "runs"))
    assert list_runs(tmp_path / "runs") == [] and list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_looked_at_is_left_alone(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        with as_ordinary_user():
            secrets.sweep(closed / ".hpcai-secrets-0", None)
    finally:
        closed.chmod(0o755)
