"""A job with `code:` runs from what the folder held at submission, and its record tells what that was."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from hpcai.launch import script
from hpcai.launch.again import submit_again
from hpcai.launch.resolve import preview
from hpcai.render.resolved import resolve_job
from hpcai.runs.find import find_run
from hpcai.runs.record import Run
from hpcai.specs.job import JobSpec
from hpcai.specs.site import Site
from tests import warm
from tests.real_cluster import RealCluster

ENVIRON = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a job's file, and a change that is not committed."""
    folder = tmp_path / 'my "code"'
    (folder / "src").mkdir(parents=True)
    (folder / "src/train.py").write_text("print('first')\n")
    (folder / "job.yaml").write_text(
        json.dumps(
            {"kind": "job", "name": "a", "code": ".", "workdir": "src", "command": "python3 train.py; pwd"}
        )
    )
    for words in (["init", "-q", "-b", "trunk"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-C", folder, *words], check=True, env=ENVIRON)
    (folder / "src/train.py").write_text("print('second')\n")
    return folder


def hpcai(environ: dict[str, str], *words: str | Path) -> str:
    done = warm.hpcai(*words, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.real
def test_a_job_runs_from_the_state_at_submission(cluster: RealCluster, project: Path, tmp_path: Path) -> None:
    environ = {**cluster.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs")}
    name = hpcai(environ, "submit", "-q", project / "job.yaml", "--set", "hold=true").strip()
    run = find_run(tmp_path / "runs", name)
    (project / "src/train.py").write_text("print('edited after submission')\n")
    subprocess.run(["scontrol", "release", str(run.job_id)], env=environ, check=True)
    hpcai(environ, "show", name, "--wait")
    place = run.paths.code.resolve() / "src"
    assert run.paths.log(0, 0).read_text() == f"second\n{place}\n"
    assert place.parent.parent == run.path.parent / "snapshots"
    assert run.paths.code.readlink() == Path(f"../snapshots/{place.parent.name}")
    facts = json.loads(run.paths.code_facts.read_text())
    assert facts["tree"] == place.parent.name and facts["folder"] == str(project)
    assert (facts["branch"], facts["remote"], facts["is_changed"], facts["files"]) == ("trunk", None, True, 2)
    assert "-print('first')\n+print('second')\n" in run.paths.code_diff.read_text()


@pytest.mark.programs
def test_what_runs_again_is_what_ran(project: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "HPCAI_RUNS_ROOT": str(tmp_path / "runs")}
    submit = ("submit", "-q", "--where", "local", project / "job.yaml")
    first = find_run(tmp_path / "runs", hpcai(environ, *submit).strip())
    (project / "src/train.py").write_text("print('third')\n")
    again = submit_again(first)
    assert again is not None
    second = find_run(tmp_path / "runs", hpcai(environ, *shlex.split(again)[1:], "-q").strip())
    assert second.paths.log(0, 0).read_text() == first.paths.log(0, 0).read_text()
    assert second.paths.code.resolve() == first.paths.code.resolve()
    third = find_run(tmp_path / "runs", hpcai(environ, *submit).strip())
    assert third.paths.log(0, 0).read_text().startswith("third\n")


def record(tmp_path: Path, **fields: object) -> Run:
    spec = JobSpec.model_validate({"name": "a", "command": "true", **fields})
    site = Site(tmp_path / "runs")
    job = resolve_job(spec, site, interpreter=Path("/usr/bin/python3"))
    return script.create_record(job, "slurm", site)


@pytest.mark.programs
def test_a_container_sees_all_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "code/src").mkdir(parents=True)
    (tmp_path / "code/src/a.py").write_text("")
    code = tmp_path / "code"
    run = record(tmp_path, code=str(code), workdir=str(code / "src"), container={"image": "i"})
    root = run.paths.code.resolve()
    text = run.paths.script.read_text()
    assert f"{root}:{root}'\n" in text and f"--container-workdir={root}/src\n" in text
    assert json.loads(run.paths.code_facts.read_text()).keys() >= {"tree", "files", "bytes", "schema_version"}
    assert not run.paths.code_diff.exists()


@pytest.mark.programs
def test_without_a_workdir_it_is_the_code_folder(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.py").write_text("")
    run = record(tmp_path, code=str(tmp_path / "code"))
    assert run.resolved()["workdir"] == str(run.paths.code.resolve())


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    spec = JobSpec(name="a", command="true", code=tmp_path)
    text = preview(spec, where="local", site=Site(tmp_path / "runs"))
    assert f"hpcai_workdir={tmp_path}\n" in text
    assert list(tmp_path.iterdir()) == []
