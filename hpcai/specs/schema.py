"""JSON Schemas of the files that people write, for editors."""

from __future__ import annotations

import importlib
from typing import Any

from hpcai.specs.load import KINDS
from hpcai.specs.settings import SETTINGS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: dict[str, dict[str, Any]] = {
    "path": {"type": "string"},
    "text": {"type": "string"},
    "list": {"type": "array", "items": {"type": "string"}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
}


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of files of a kind: job, cluster, config."""
    return {"$schema": _DIALECT, **(_config() if kind == "config" else _model(kind))}


def _model(kind: str) -> dict[str, Any]:
    module, name = KINDS[kind]
    schema: dict[str, Any] = getattr(importlib.import_module(module), name).model_json_schema()
    # Without it a file is of no kind: the default is for Python.
    schema["required"] = ["kind", *schema.get("required", ())]
    return schema


def _config() -> dict[str, Any]:
    job = _model("job")
    own = {
        key: value
        for key, value in job["properties"].items()
        if key not in ("kind", "name", "command", "schedule")
    }
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
