"""`hpcai config`: what holds, and who said it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpcai import shell
from hpcai.cli.config import config
from hpcai.cli.root import hpcai
from hpcai.specs.mistakes import SpecFileError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPCAI_RUNS_ROOT", raising=False)
    (tmp_path / "hpcai.yaml").write_text("runs_root: runs\njob:\n  partition: gpu\n  env: {A: 1}\n")
    (tmp_path / "job.yaml").write_text('kind: job\nname: x\ncommand: "true"\n')
    return tmp_path


def run(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(config, words, env=environ, catch_exceptions=False)


def rows(*words: str, **environ: str) -> dict[str, tuple[object, str]]:
    listed = json.loads(run(*words, "-o", "json", **environ).stdout)["settings"]
    return {row["key"]: (row["value"], row["origin"]) for row in listed}


def test_settings_and_defaults_of_jobs_with_their_origins(project: Path) -> None:
    found = rows(HPCAI_SCRATCH="/nvme", HPCAI_JOB_QOS="fast")
    file = project / "hpcai.yaml"
    assert found["runs_root"] == (str(project / "runs"), f"{file}:1")
    assert found["scratch"] == ("/nvme", "HPCAI_SCRATCH")
    assert found["storage_account"] == (None, None)
    assert found["job.partition"] == ("gpu", f"{file}:3")
    assert found["job.env.A"] == (1, f"{file}:4")
    assert found["job.qos"] == ("fast", "HPCAI_JOB_QOS")


def test_all_values_of_a_job(project: Path) -> None:
    found = rows("job.yaml", "--set", "nodes=2")
    assert found["name"] == ("x", "job.yaml:2")
    assert found["partition"] == ("gpu", f"{project}/hpcai.yaml:3")
    assert found["nodes"] == (2, "--set")
    assert found["env.A"] == ("1", f"{project}/hpcai.yaml:4")
    assert found["launcher"] == ("srun", "built-in")


def test_a_person_sees_what_somebody_said_and_a_map_key_by_key(project: Path) -> None:
    (project / "hpcai.yaml").write_text("job:\n  container: {mount_home: true}\n  qos: low\n")
    done = run("job.yaml", "--set", "container.image=x.sqsh")
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert lines["container.image"] == ["x.sqsh", "--set"]
    assert lines["container.mount_home"] == ["True", f"{project}/hpcai.yaml:2"]
    assert lines["launcher"] == ["srun", "built-in"]
    assert "hold" not in lines and "container.writable" not in lines
    assert "more keys are left out of the job; `-o json` has them all." in done.stderr
    assert rows("job.yaml", "--set", "container.image=x.sqsh")["hold"] == (None, "built-in")


@pytest.mark.programs
def test_a_job_from_stdin(project: Path) -> None:
    text = (project / "job.yaml").read_text()
    done = shell.run([sys.executable, "-m", "hpcai", "config", "-"], timeout_s=30, stdin=text, check=False)
    assert (done.status, done.stderr.count("left out")) == (0, 1)
    assert ["name", "x", "-:2"] in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("job: {nodez: 3}\n", ":1:7: nodez: is not a key here; did you mean 'nodes'?"),
        ("job:\n  nodes: abc\n  env: {A: [1]}\n", ":2:10: nodes: got 'abc'; a whole number"),
        ("job: {container: {image: x y}}\n", ":1:26: container.image: got 'x y'; REGISTRY#IMAGE:TAG"),
        ("job: {profile: ND97}\n", ":1:16: profile: got 'ND97', which is no run profile"),
    ],
)
def test_a_default_that_no_job_could_have_is_told_before_there_is_a_job(
    project: Path, text: str, told: str
) -> None:
    (project / "hpcai.yaml").write_text(text)
    with pytest.raises(SpecFileError) as raised:
        run()
    assert str(raised.value).startswith(f"{project}/hpcai.yaml{told}")


def test_a_default_that_a_job_may_put_right_is_none(project: Path) -> None:
    (project / "hpcai.yaml").write_text("job: {mail_user: ada, container: {writable: true}, setup: [x]}\n")
    assert rows()["job.mail_user"][0] == "ada"


def test_a_schema_is_json() -> None:
    assert json.loads(run("--schema", "job").stdout)["properties"]["nodes"]["type"] == "integer"
    assert json.loads(run("--schema", "steps").stdout)["properties"]["steps"]["type"] == "array"


@pytest.mark.programs
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_variable_that_click_reads(shell: str) -> None:
    done = CliRunner().invoke(hpcai, ["config", "--completion", shell], catch_exceptions=False)
    assert f"_HPCAI_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize("words", [("job.yaml", "--schema", "job"), ("--set", "a=b"), ("--schema", "x")])
def test_words_that_do_not_go_together(project: Path, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_variables_that_nobody_reads_are_told(project: Path) -> None:
    said = run(HPCAI_RUNS_ROT="/x", HPCAI_WEATHER="wet", HPCAI_SITE_CONFIG="/none.yaml").stderr
    assert "Nobody reads the variable HPCAI_RUNS_ROT. Did you mean HPCAI_RUNS_ROOT?\n" in said
    assert "Nobody reads the variable HPCAI_WEATHER.\n" in said
    assert "HPCAI_SITE_CONFIG is '/none.yaml', and there is no such file.\n" in said
    assert "variable" not in run(HPCAI_JOB_NODES="2", HPCAI_DATA_X="/x").stderr
