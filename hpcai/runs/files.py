"""Whole files of a record: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpcai.errors import StageError
from hpcai.files import write_whole
from hpcai.runs import jsonl

SCHEMA_VERSION = 1


def write_text(path: Path, text: str) -> None:
    """Put a whole file in place of what stood there.

    Raises StageError when it cannot be written.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        raise jsonl.cannot_write(path, error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Put a file in a folder that is not yet a run's, byte by byte as it is.

    Raises StageError when it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise jsonl.cannot_write(path, error) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put a JSON object in place, with `schema_version` first.

    Raises StageError when it cannot be written.
    """
    write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file; {} when the file is not there.

    Raises StageError when it is damaged, not readable, or of a schema version newer than this hpcai.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StageError(f"{str(path)!r} cannot be read: {reason}.") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StageError(f"{str(path)!r} is damaged: it is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise StageError(f"{str(path)!r} is damaged: it holds no JSON object.")
    _require_known_version(path, value.get("schema_version"))
    return value


def _require_known_version(path: Path, version: object) -> None:
    if isinstance(version, int) and 1 <= version <= SCHEMA_VERSION:
        return
    raise StageError(
        f"{str(path)!r} has schema_version {version!r}.",
        allowed=f"This hpcai reads versions 1 to {SCHEMA_VERSION}.",
        next_step="pip install --upgrade hpcai",
    )
