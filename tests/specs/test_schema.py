"""An editor that reads the schema takes what the door takes, and marks what it refuses by key or type."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hpcai.specs.schema import schema_of
from hpcai.specs.yaml_text import parse

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "examples").rglob("*.yaml"), *(ROOT / "cluster-configs").glob("*.yaml")]


def mistakes(kind: str, data: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema_of(kind))
    return sorted(".".join(map(str, one.path)) for one in validator.iter_errors(data))


# A table of docs/job.md -> the model whose keys it tells of.
TABLES = {
    "key": "JobSpec",
    "key of `data`": "DataSpec",
    "key of `retry`": "RetrySpec",
    "key of `outputs`": "OutputSpec",
    "key of `container`": "ContainerSpec",
    "key of a file of steps": "StepsSpec",
    "key of a step": "StepSpec",
}


def rows_of_the_page() -> Iterator[tuple[str, str, str, str]]:
    """Each key that docs/job.md tells of, in plain words."""
    model = None
    for line in (ROOT / "docs/job.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[0] in TABLES:
            model = TABLES[cells[0]]
        elif len(cells) != 3:
            model = None
        elif model is not None and not line.startswith("|---"):
            for key in re.findall(r"`(\w+)`", cells[0]):
                yield model, key, plain(cells[1]), plain(cells[2])


def plain(text: str) -> str:
    """Without what only a page has: links, and `see below`."""
    text = re.sub(r"[,;] see (\[below\]\(#[\w-]+\)|below)", "", text)
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).rstrip(".")


def test_the_words_of_the_schemas_are_those_of_the_page(golden: Callable[[Path, str], None]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("of", "key", "what", "left_out"))
    writer.writerows(rows_of_the_page())
    golden(ROOT / "hpcai/specs/keys.csv", text.getvalue())


def test_every_key_of_a_job_and_of_steps_is_described() -> None:
    schema = schema_of("steps")
    maps = {"StepsSpec": schema, **schema["$defs"], **schema_of("job")["$defs"]}
    maps["JobSpec"] = {"properties": schema["$defs"]["StepSpec"]["properties"]["job"]["properties"]}
    bare = [
        f"{name}.{key}"
        for name, one in maps.items()
        for key, value in one.get("properties", {}).items()
        if not value.get("description")
    ]
    assert bare == []
    nodes = schema_of("job")["properties"]["nodes"]["description"]
    assert nodes == "How many nodes (sbatch --nodes). Left out: 1."
    assert schema_of("config")["properties"]["job"]["properties"]["nodes"]["description"] == nodes


def test_a_file_of_steps_is_held_against_its_jobs_too() -> None:
    def steps(**step: Any) -> dict[str, Any]:
        return {"kind": "steps", "name": "x", "steps": [{"name": "a", **step}]}

    assert mistakes("steps", steps(job={"command": "true", "nodes": 2, "data": []})) == []
    assert mistakes("steps", steps(file="a.yaml", after=[], when="ended")) == []
    assert mistakes("steps", steps(job={"command": "true", "nodes": "two"})) == ["steps.0.job.nodes"]
    assert mistakes("steps", steps(job={"ptition": "x"}, wen="ended")) == ["steps.0", "steps.0.job"]


@pytest.mark.parametrize("kind", ["job", "steps", "cluster", "config"])
def test_it_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_that_we_ship_fits(path: Path) -> None:
    data = parse(path.read_text(), str(path)).data
    assert mistakes(data["kind"], data) == []


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"nodes": "two"}, ["nodes"]),
        ({"launcher": "ssh"}, ["launcher"]),
        ({"ptition": "x"}, [""]),
        ({"container": {"imgae": "x"}}, ["container", "container"]),
        ({"data": [{"name": "x", "source": 3}]}, ["data.0.source"]),
    ],
)
def test_a_wrong_value_is_marked(change: dict[str, Any], at: list[str]) -> None:
    found = mistakes("job", {"kind": "job", "name": "x", "command": "true", **change})
    assert set(found) & set(at) or found == at


def test_a_config_file_takes_settings_and_defaults_of_jobs() -> None:
    job = {"nodes": 2, "env": {"A": "1"}}
    good = {"kind": "config", "scratch": "/x", "partitions": {"gpu": "S"}, "job": job}
    assert mistakes("config", good) == []
    assert mistakes("config", {"job": {"name": "x"}}) == ["job"]
    assert mistakes("config", {"allow_http": "x", "scrach": "y"}) == ["", "allow_http"]
