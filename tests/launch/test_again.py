"""The command that submits a run's job once more: typed anywhere, it gives the same resolved job."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpcai.errors import SpecError, StageError, ToolError, UsageError
from hpcai.launch.again import job_of, submit_again
from hpcai.launch.resolve import resolve
from hpcai.launch.script import create_record
from hpcai.runs.find import list_runs
from hpcai.runs.record import Run
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site

pytestmark = pytest.mark.programs

KEPT = Path(__file__).parent.parent / "cases/runs/v1/demo/digits-20261118-110640"


def record(runs_root: Path, *overrides: str, **fields: object) -> Run:
    spec = JobSpec.model_validate({"kind": "job", "name": "x", "command": "true", **fields})
    # In a folder with a space too this checkout can be mounted.
    site = Site(runs_root, pyxis_version="0.24")
    return create_record(resolve(spec, site), "slurm", site, "kind: job\n", overrides)


def test_a_task_of_an_array_is_submitted_again_alone(tmp_path: Path) -> None:
    run = record(tmp_path, "array=0-3", "nodes=2", array="0-3")
    again = submit_again(run.of_task(2))
    assert again is not None
    words = shlex.split(again)
    assert [word for word in words if word.startswith(("array=", "nodes="))] == ["nodes=2", "array=2"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A site without Slurm whose `hpcai` is this one."""
    program = tmp_path / "bin/hpcai"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hpcai "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HPCAI_RUNS_ROOT": str(tmp_path / "runs root's"), "HPCAI_LOCAL": ""}


def type_in(command: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


def newest(environ: dict[str, str]) -> Run:
    return list_runs(Path(environ["HPCAI_RUNS_ROOT"]))[0]


@pytest.mark.parametrize("fields", [{"workdir": "the code"}, {}], ids=["relative workdir", "no workdir"])
def test_the_suggested_command_gives_the_same_job(
    tmp_path: Path, environ: dict[str, str], fields: dict[str, str]
) -> None:
    folder = tmp_path / "my jobs"
    (folder / "the code").mkdir(parents=True)
    job = {"kind": "job", "name": "x", "nodes": 2, "command": 'exit "$STATUS"', **fields}
    (folder / "job.yaml").write_text(json.dumps(job))
    words = "--set nodes=1 --set env.STATUS=7 --set env.LR=0.10 --set 'comment=two words'"
    first = type_in(f"hpcai submit job.yaml {words} --where local", folder, environ)
    assert first.returncode == 7, first.stderr
    [suggested] = [line.strip() for line in first.stderr.splitlines() if "hpcai submit" in line]
    ran = newest(environ)
    assert suggested == f"{submit_again(ran)} --follow"
    second = type_in(suggested, tmp_path, environ)
    assert second.returncode == 7, second.stderr
    assert newest(environ) != ran
    assert newest(environ).resolved() == ran.resolved()
    assert newest(environ).paths.spec.read_bytes() == (folder / "job.yaml").read_bytes()
    # One more round changes no word of it.
    assert submit_again(newest(environ)) == str(submit_again(ran)).replace(ran.name, newest(environ).name)


@pytest.mark.parametrize("words", ["- < job.yaml", "<(cat job.yaml)"])
def test_a_file_from_a_pipe_is_in_the_record_as_it_was_given(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    (tmp_path / "job.yaml").write_text("# mine\nkind: job\nname: piped\ncommand: pwd\n")
    done = type_in(f"hpcai submit --where local --set comment=x {words}", tmp_path, environ)
    assert done.returncode == 0, done.stderr
    ran = newest(environ)
    assert ran.paths.spec.read_bytes() == (tmp_path / "job.yaml").read_bytes()
    again = type_in(str(submit_again(ran)), Path("/"), environ)
    assert again.returncode == 0, again.stderr
    assert newest(environ).resolved() == ran.resolved()


def test_the_report_says_the_same_command(tmp_path: Path, environ: dict[str, str]) -> None:
    run = record(Path(environ["HPCAI_RUNS_ROOT"]), "nodes=1", workdir=str(tmp_path))
    done = type_in(f"hpcai report {run.name}", tmp_path, environ)
    assert done.returncode == 0, done.stderr
    [page] = [line for line in done.stdout.splitlines() if line.endswith(".md")]
    assert str(submit_again(run)) in Path(page).read_text()
    assert "--set nodes=1" in str(submit_again(run))


def test_only_the_last_workdir_is_said(tmp_path: Path) -> None:
    run = record(tmp_path, "workdir=beside", "workdirs=3", workdir="/the/last")
    assert shlex.split(str(submit_again(run)))[3:] == ["--set", "workdirs=3", "--set", "workdir=/the/last"]


def test_a_record_that_does_not_tell_of_overrides_still_gives_a_command(tmp_path: Path) -> None:
    assert submit_again(Run(KEPT)) == shlex.join(["hpcai", "submit", str(KEPT / "spec.yaml")])
    older = record(tmp_path, "nodes=1", workdir="/code")
    older.paths.events.write_text('{"event": "created", "hpcai": "0.1.0", "time": 1}\n')
    assert submit_again(older) == f"hpcai submit {older.paths.spec} --set workdir=/code"
    older.append_event("submitted", where="local", pid=1)
    older.paths.resolved.write_text("{")
    assert submit_again(older) == f"hpcai submit {older.paths.spec} --where local"


def test_a_function_has_no_command(tmp_path: Path) -> None:
    assert submit_again(record(tmp_path, env={"SUBMITIT_EXECUTOR": "slurm"})) is None


KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "profile": {"profile": "Standard_ND96isr_H100_v5", "nodes": 2},
    "part of a node": {"profile": "Standard_ND96isr_H100_v5", "gpus_per_node": 2},
    "horovod": {"launcher": "horovod", "ntasks": 4, "nodes": 2},
    "parts": {"components": [{"nodes": 1, "command": "a"}, {"nodes": 2, "command": "b"}]},
    "container": {"container": {"image": "nvcr.io#nvidia/pytorch:25.09-py3", "writable": True}},
    "array": {"array": "0-8:2%2", "env": {"A": "0.10", "B": "it's\n$X"}},
    "retry": {"retry": {"node_failure": 2}},
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=list(KINDS))
def test_what_is_run_again_is_resolved_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object]
) -> None:
    run = record(tmp_path / "runs", **fields)
    monkeypatch.chdir(tmp_path)
    again = job_of(run)
    site = Site(tmp_path / "runs", pyxis_version="0.24")
    assert resolve(again.spec, site).to_json() == run.resolved()
    new = create_record(resolve(again.spec, site), "slurm", site, again.text, parent=run)
    assert (new.parent, run.parent) == (run.ident, None)
    assert new.resolved() == run.resolved()


def test_keys_can_be_changed_and_what_was_filled_in_for_them_goes(tmp_path: Path) -> None:
    run = record(tmp_path, profile="Standard_ND96isr_H100_v5", env={"LR": "1"})
    again = job_of(run, ["cpus_per_task=4", "env.LR=2", "nodes=3"])
    assert (again.spec.nodes, again.spec.env["LR"]) == (3, "2")
    assert resolve(again.spec, Site(tmp_path)).spec.env["OMP_NUM_THREADS"] == "4"
    with pytest.raises(UsageError, match="--set profile does not change them") as caught:
        job_of(run, ["profile=Standard_HB120rs_v3"])
    assert str(run.paths.spec) in str(caught.value)
    with pytest.raises(SpecError, match="got 'two'"):
        job_of(run, ["nodes=two"])


def test_what_is_not_asked_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = record(tmp_path, dependency="afterok:12", kill_on_invalid_dep=True)
    assert (job_of(run).spec.dependency, job_of(run).spec.kill_on_invalid_dep) == (None, None)
    assert f"It does not wait, as {run.name} did, for afterok:12" in caplog.text
    assert job_of(record(tmp_path, dependency="singleton")).spec.dependency == "singleton"
    assert job_of(record(tmp_path, array="0-3").of_task(2)).spec.array == "2"


def test_what_cannot_be_run_again(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is a Python function, whose arguments were of that one job"):
        job_of(record(tmp_path, env={"SUBMITIT_EXECUTOR": "slurm"}))
    gone = tmp_path / "code"
    gone.mkdir()
    (gone / "train.py").touch()
    run = record(tmp_path, code=str(gone))
    run.paths.code.unlink()
    with pytest.raises(StageError, match="ran from is gone"):
        job_of(run)
    run.paths.resolved.unlink()
    with pytest.raises(StageError, match="nothing tells what"):
        job_of(run)
