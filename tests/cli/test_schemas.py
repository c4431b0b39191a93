"""What queue, show and why print with -o json is what their JSON Schemas say, and no key more."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from hpcai.cli import queue, show, transport
from hpcai.cli.config import config
from hpcai.cli.target import Target
from hpcai.launch.transport import Transport
from hpcai.runs.attempts import CAUSES
from hpcai.runs.record import Run, create_run
from hpcai.runs.samples import summary
from hpcai.slurm.answers import JobInfo
from tests.cli.test_jobs import Cli, begun
from tests.real_cluster import RealCluster
from tests.waiting import until

KINDS = ("queue", "show", "why")


def schema(kind: str) -> dict[str, Any]:
    """What `hpcai config --schema` prints."""
    done = CliRunner().invoke(config, ["--schema", kind], catch_exceptions=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def mistakes(kind: str, value: object) -> list[str]:
    return [str(one.message) for one in jsonschema.Draft202012Validator(schema(kind)).iter_errors(value)]


def objects(part: object) -> Iterator[dict[str, Any]]:
    """Every object that a schema describes."""
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield part
        for one in part.values():
            yield from objects(one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_tells_of_each_key_and_takes_no_other(kind: str) -> None:
    found = schema(kind)
    jsonschema.Draft202012Validator.check_schema(found)
    for one in objects(found):
        assert "additionalProperties" in one
        for name, value in one.get("properties", {}).items():
            told = value.get("description") or one["properties"].keys() <= {"total"} or "properties" in value
            assert told, f"{kind}: {name} has no description"


def test_the_schemas_have_the_keys_of_the_code(tmp_path: Path) -> None:
    shown = schema("show")["properties"]
    assert [*schema("queue")["$defs"]["job"]["properties"]] == [*queue.COLUMNS]
    assert set(shown["use"]["properties"]) == {"attempt", "why_none", *summary([], [], 0.0)}
    told = transport._as_json(Transport("nccl", "2.21", "infiniband", ("NET/IB",), (), "line"))
    assert set(shown["transport"]["properties"]["libraries"]["items"]["properties"]) == set(told)
    assert shown["cause"]["enum"] == [*CAUSES, None]


def test_a_key_that_the_schema_does_not_know_is_refused(tmp_path: Path) -> None:
    run = create_run(tmp_path, "default", "x", spec_text="", resolved={}, script="")
    facts = {"schema_version": 1, **show._facts(Target(run, JobInfo(5, "x", "FAILED", exit_status=3)))}
    assert mistakes("show", facts) == []
    assert mistakes("show", {**facts, "colour": 1}) and mistakes("show", {**facts, "job_id": "5"})


@pytest.fixture(scope="module")
def cli(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("schemas")
    yield Cli(folder, {**cluster.environ, "HPCAI_RUNS_ROOT": str(folder / "runs"), "NO_COLOR": "1"})
    subprocess.run(["scancel", "--me"], env=cluster.environ, check=False)


def foreign(cli: Cli) -> str:
    argv = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap", "true"]
    done = subprocess.run(argv, env=cli.environ, capture_output=True, text=True, check=True, cwd=cli.folder)
    return done.stdout.strip()


@pytest.mark.real
def test_real_output_is_what_the_schemas_say(cli: Cli) -> None:
    failed, array = cli.submit("exit 3", name="failed"), cli.submit("exit $SLURM_ARRAY_TASK_ID", array="0-1")
    cli("show", "--wait", failed.name, status=3)
    cli("show", "--wait", array.name, status=1)
    running: Run = cli.submit("echo begun; sleep 600", name="running")
    until(lambda: begun(running), 60, "the job runs")
    held = foreign(cli)
    jobs = cli.json("queue")
    assert mistakes("queue", jobs) == [] and {job["job"] for job in jobs["jobs"]} >= {held}
    lines = [json.loads(line) for line in cli("queue", "-o", "jsonl").stdout.splitlines()]
    of_job = jsonschema.Draft202012Validator(schema("queue")["$defs"]["job"])
    for line in lines:
        assert line.pop("schema_version") == 1 and of_job.is_valid(line)
    names = (failed.name, f"{array.name}_1", running.name, held)
    for name in (*names, array.name):
        assert mistakes("show", cli.json("show", name)) == [], name
    for name in names:
        assert mistakes("why", cli.json("why", name)) == [], name
    # Of Slurm, which forgets, and of a place without it, the record alone tells.
    nothing = {"PATH": "/nonexistent", "HPCAI_LOCAL": "", "HOME": str(cli.folder)}
    without = Cli(cli.folder, {**cli.environ, **nothing})
    for name in (failed.name, array.name):
        assert mistakes("show", without.json("show", name)) == [], name
    assert mistakes("why", without.json("why", failed.name)) == []
    for ident in (running.name, held):
        cli("cancel", ident)
