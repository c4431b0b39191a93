"""JSON Schemas of the files that people write, for editors."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

from hpcai.specs.load import KINDS
from hpcai.specs.settings import OF_EACH_JOB, SETTINGS
from hpcai.specs.slurm_options import slurm_options

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: dict[str, dict[str, Any]] = {
    "path": {"type": "string"},
    "text": {"type": "string"},
    "version": {"type": ["string", "number"]},
    "region": {"type": "string", "pattern": "^[a-z0-9]+$"},
    "list": {"type": "array", "items": {"type": "string"}},
    "folders": {"type": "array", "items": {"type": "string", "pattern": "^/"}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
}


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of files of a kind: job, steps, cluster, config."""
    made = {"config": _config, "steps": _steps}.get(kind, lambda: _model(kind))
    return {"$schema": _DIALECT, **made()}


def described() -> dict[tuple[str, str], tuple[str, str]]:
    """What each key of a model is, and what holds where it is left out, in the words of docs/job.md."""
    with Path(__file__).with_name("keys.csv").open(encoding="utf-8", newline="") as file:
        return {(row["of"], row["key"]): (row["what"], row["left_out"]) for row in csv.DictReader(file)}


def _model(kind: str) -> dict[str, Any]:
    module, name = KINDS[kind]
    schema: dict[str, Any] = getattr(importlib.import_module(module), name).model_json_schema()
    # Without it a file is of no kind: the default is for Python.
    schema["required"] = ["kind", *schema.get("required", ())]
    if kind != "cluster":
        for title, part in {name: schema, **schema.get("$defs", {})}.items():
            _describe(title, part)
    return schema


def _describe(title: str, part: dict[str, Any]) -> None:
    """Say of each key of a map what an editor shows beside it."""
    words, options = described(), {row.field: option for option, row in slurm_options().items()}
    # What a part of a heterogeneous job has of its own is said as of the job.
    titles = (title, "JobSpec") if title == "ComponentSpec" else (title,)
    for key, value in part.get("properties", {}).items():
        found = next((words[of, key] for of in titles if (of, key) in words), None)
        if found is None:
            continue
        what, left_out = found
        option = f" (sbatch --{options[key]})" if titles[-1] == "JobSpec" and key in options else ""
        rest = "It must be given." if left_out == "must be given" else f"Left out: {left_out}."
        value["description"] = f"{what[0].upper()}{what[1:]}{option}. {rest}"


def _steps() -> dict[str, Any]:
    """That of a file of steps, in each of which a job may stand."""
    schema, job = _model("steps"), _model("job")
    own = {key: value for key, value in job["properties"].items() if key not in ("kind", "name")}
    place = schema["$defs"]["StepSpec"]["properties"]["job"]
    place.pop("anyOf")
    place |= {"type": ["object", "null"], "additionalProperties": False, "properties": own}
    schema["$defs"] |= job["$defs"]
    return schema


def _config() -> dict[str, Any]:
    job = _model("job")
    own = {key: value for key, value in job["properties"].items() if key not in OF_EACH_JOB}
    container = job["$defs"]["ContainerSpec"]
    container.pop("required", None)
    settings = {key: {**_TYPES[one.kind], "description": one.what} for key, one in SETTINGS.items()}
    return {
        "title": "Config",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "kind": {"const": "config"},
            **settings,
            "job": {
                "type": "object",
                "description": "what holds for every job whose own file does not say otherwise",
                "additionalProperties": False,
                "properties": own,
            },
        },
        "$defs": job["$defs"],
    }
