"""An editor that reads the schema takes what the door takes, and marks what it refuses by key or type."""

from __future__ import annotations

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


@pytest.mark.parametrize("kind", ["job", "cluster", "config"])
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
